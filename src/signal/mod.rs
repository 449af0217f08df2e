//! signal.
