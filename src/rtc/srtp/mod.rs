//! SRTP for RTP packets, both ways, in place (RFC 3711; RFC 7714).
//!
//! The core does DTLS and keeps SRTCP; RTP passes it by, because each of its packets costs the core several times what
//! the system call does. The keys are those of the core's own DTLS, the primitives those of its crypto provider.

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
