//! delay.
