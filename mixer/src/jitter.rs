//! jitter.
