//! conference.
