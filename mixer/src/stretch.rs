//! stretch.
