//! Encrypts outgoing RTP: numbers and encrypts the packets of one SSRC (RFC 3711, section 3.3).

use rtc::crypto::{CryptoError, RTCCrypto};

use super::cipher::{Cipher, Index};
use super::keys::MasterKey;

/// Encrypts the packets of one SSRC.
///
/// The encryptor is the only user of its key, because RTP of this SSRC never passes through the
/// core. So no two packets have the same index. RTCP has its own index and keys (RFC 3711, section
/// 3.4), and the core encrypts it.
pub struct Encryptor {
    cipher: Cipher,
    ssrc: u32,
    /// Index of the next packet.
    index: Index,
}

impl Encryptor {
    /// Builds an encryptor whose first packet has sequence number `first`.
    ///
    /// Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// Returns an error if the keys do not have the lengths of their profile.
    pub fn new(
        crypto: &dyn RTCCrypto,
        master: &MasterKey<'_>,
        ssrc: u32,
        first: u16,
    ) -> Result<Encryptor, CryptoError> {
        Ok(Encryptor {
            cipher: Cipher::new(crypto, master)?,
            ssrc,
            index: Index::from(first),
        })
    }

    /// The sequence number of the next packet.
    pub fn next_sequence(&self) -> u16 {
        self.index as u16
    }

    /// Skips one sequence number, which receivers take for a lost packet.
    pub fn skip(&mut self) {
        self.index += 1;
    }

    /// Number of bytes that [`Encryptor::seal`] needs behind the payload.
    pub fn tag_bytes(&self) -> usize {
        self.cipher.tag_bytes()
    }

    /// Encrypts a packet in place; returns whether it may be sent.
    ///
    /// The packet's header must have [`Encryptor::next_sequence`], and its last
    /// [`Encryptor::tag_bytes`] bytes must be space for the tag.
    ///
    /// Real-time: safe.
    pub fn seal(&mut self, packet: &mut [u8], header_bytes: usize) -> bool {
        if self.index > MAX_INDEX {
            return false;
        }
        let index = self.index;
        // Count the packet even if its encryption fails: an index must never be used twice.
        self.index += 1;
        self.cipher
            .seal(packet, header_bytes, self.ssrc, index)
            .is_ok()
    }
}

/// Largest packet index: a key may encrypt 2^48 packets (RFC 3711, section 9.2), which takes
/// 180,000 years at 50 a second.
const MAX_INDEX: Index = (1 << 48) - 1;
