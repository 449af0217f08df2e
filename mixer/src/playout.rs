//! playout.
