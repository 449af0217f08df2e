//! Encrypts packets to send: one source, its packets numbered and encrypted (RFC 3711, 3.3).

use rtc::crypto::{CryptoError, RTCCrypto};

use super::cipher::{Cipher, Index};
use super::keys::MasterKey;

/// Encrypts the packets of one source.
///
/// The only one to do so with its key: RTP of this source never passes the core, so that no two packets can have one
/// index. RTCP has an index and keys of its own (RFC 3711, 3.4), and stays with the core.
pub struct Encryptor {
    cipher: Cipher,
    ssrc: u32,
    /// Of the next packet.
    index: Index,
}

impl Encryptor {
    /// A source whose first packet has the sequence number `first`.
    ///
    /// Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// When the keys have not the lengths of their profile.
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

    /// Leaves one sequence number out: receivers take it for a packet that was lost.
    pub fn skip(&mut self) {
        self.index += 1;
    }

    /// Bytes that [`Encryptor::seal`] needs behind the payload.
    pub fn tag_bytes(&self) -> usize {
        self.cipher.tag_bytes()
    }

    /// Encrypts a packet in place, whose header has [`Encryptor::next_sequence`] and whose last
    /// [`Encryptor::tag_bytes`] bytes are room for the tag; says whether it may be sent.
    ///
    /// Real-time: safe.
    pub fn seal(&mut self, packet: &mut [u8], header_bytes: usize) -> bool {
        if self.index > MAX_INDEX {
            return false;
        }
        let index = self.index;
        // Counted whatever happens: an index that was used once is never used again.
        self.index += 1;
        self.cipher
            .seal(packet, header_bytes, self.ssrc, index)
            .is_ok()
    }
}

/// A key is good for this many packets (RFC 3711, 9.2): 180,000 years at 50 a second.
const MAX_INDEX: Index = (1 << 48) - 1;
