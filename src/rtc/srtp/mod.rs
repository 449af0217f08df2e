//! SRTP for RTP packets in both directions, in place (RFC 3711; RFC 7714).
//!
//! The core does DTLS and SRTCP. RTP bypasses the core, which would use several times as much CPU
//! for each packet as the system call that sends it. The keys come from the core's DTLS, the
//! cryptographic primitives from the core's crypto provider.

mod cipher;
mod decrypt;
mod encrypt;
pub(super) mod key_capture;
mod keys;

pub use decrypt::Decryptor;
pub use encrypt::Encryptor;
pub use keys::{MasterKey, SrtpProfile};

#[cfg(test)]
mod tests;
