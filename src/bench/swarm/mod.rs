//! Many light clients.
