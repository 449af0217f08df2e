//! limiter.
