//! Encrypts outgoing RTP: numbers and encrypts the packets of one SSRC (RFC 3711, section 3.3).

use rtc::crypto::{CryptoError, RTCCrypto};

use super::cipher::{Cipher, Index};
use super::keys::MasterKey;

/// Encrypts the packets of one SSRC.
///
/// The only user of its key: RTP of this SSRC never passes through the core, so no two packets have
/// one index. RTCP has its own index and keys (RFC 3711, section 3.4), and stays with the core.
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
    /// If the keys do not have the lengths of their profile.
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

    /// Bytes that [`Encryptor::seal`] needs behind the payload.
    pub fn tag_bytes(&self) -> usize {
        self.cipher.tag_bytes()
    }

    /// Encrypts a packet in place, whose header has [`Encryptor::next_sequence`] and whose last
    /// [`Encryptor::tag_bytes`] bytes are space for the tag; returns whether it may be sent.
    ///
    /// Real-time: safe.
    pub fn seal(&mut self, packet: &mut [u8], header_bytes: usize) -> bool {
        if self.index > MAX_INDEX {
            return false;
        }
        let index = self.index;
        // Count even if encryption fails: an index must never be used twice.
        self.index += 1;
        self.cipher
            .seal(packet, header_bytes, self.ssrc, index)
            .is_ok()
    }
}

/// Largest index: a key may be used for this many packets (RFC 3711, section 9.2), 180,000 years at
/// 50 a second.
const MAX_INDEX: Index = (1 << 48) - 1;
