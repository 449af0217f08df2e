//! SRTP for RTP packets, both ways, in place (RFC 3711; RFC 7714).
//!
//! The core does DTLS and keeps SRTCP; RTP passes it by, because each of its packets costs the core several times what
//! the system call does. The keys are those of the core's own DTLS, the primitives those of its crypto provider.

mod cipher;
pub(super) mod exporter;
mod keys;
mod open;
mod seal;

pub use keys::{MasterKey, Profile};
pub use open::Opener;
pub use seal::Sealer;

#[cfg(test)]
mod tests;
