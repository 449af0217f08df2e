//! join.
