//! Decrypts received RTP: each SSRC of a client has its own index and replay window (RFC 3711,
//! section 3.3).

use std::collections::HashMap;

use rtc::crypto::{CryptoError, RTCCrypto};

use super::cipher::{Cipher, Index};
use super::keys::MasterKey;

/// Authenticates and decrypts the packets of one client.
///
/// An SSRC gets state only with its first authentic packet, so forged packets cost only their
/// authentication.
pub struct Decryptor {
    cipher: Cipher,
    current: Source,
    others: HashMap<u32, Source>,
}

/// Decryption state of one SSRC.
#[derive(Debug, Clone, Copy, Default)]
struct Source {
    ssrc: u32,
    /// Highest index of an authentic packet.
    highest: Index,
    /// Replay window: bit n is set if the packet n before the highest index was received. Zero
    /// before the first packet.
    window: u128,
}

impl Decryptor {
    /// Derives the session keys of `master`. Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// Returns an error if the keys do not have the lengths of their profile.
    pub fn new(crypto: &dyn RTCCrypto, master: &MasterKey<'_>) -> Result<Decryptor, CryptoError> {
        Ok(Decryptor {
            cipher: Cipher::new(crypto, master)?,
            current: Source::default(),
            others: HashMap::new(),
        })
    }

    /// Decrypts a packet in place and returns where its payload ends; `None` if the packet is
    /// forged, damaged or replayed, or if the client has used too many SSRCs.
    ///
    /// Allocates only for a new SSRC.
    pub fn open(
        &mut self,
        packet: &mut [u8],
        header_bytes: usize,
        ssrc: u32,
        sequence: u16,
    ) -> Option<usize> {
        let mut source = self.source(ssrc)?;
        let index = source.index_of(sequence);
        if source.was_here(index) {
            return None;
        }
        self.cipher.open(packet, header_bytes, ssrc, index).ok()?;
        source.note(index);
        self.keep(source);
        Some(packet.len() - self.cipher.tag_bytes())
    }

    /// Number of SSRCs that have state.
    #[cfg(test)]
    pub(super) fn sources(&self) -> usize {
        self.others.len() + usize::from(self.current.window != 0)
    }

    fn source(&self, ssrc: u32) -> Option<Source> {
        if self.current.ssrc == ssrc {
            return Some(self.current);
        }
        let fresh = || Source {
            ssrc,
            ..Source::default()
        };
        match self.others.get(&ssrc) {
            Some(source) => Some(*source),
            None => (self.others.len() < MAX_SOURCES).then(fresh),
        }
    }

    fn keep(&mut self, source: Source) {
        if source.ssrc != self.current.ssrc {
            self.others.remove(&source.ssrc);
            if self.current.window != 0 {
                self.others.insert(self.current.ssrc, self.current);
            }
        }
        self.current = source;
    }
}

impl Source {
    /// Returns the index of a sequence number: of the three possible roll-over counters, the one
    /// that gives the index nearest to the highest (RFC 3711, section 3.3.1).
    fn index_of(&self, sequence: u16) -> Index {
        if self.window == 0 {
            return Index::from(sequence);
        }
        let behind = (self.highest as u16).wrapping_sub(sequence);
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead < 0x8000 {
            self.highest + Index::from(ahead)
        } else {
            // No index comes before the first: such a packet can only belong to the first turn of
            // the sequence number.
            self.highest
                .checked_sub(Index::from(behind))
                .unwrap_or(Index::from(sequence))
        }
    }

    /// Whether a packet with this index was received before. Packets older than the window count as
    /// received (RFC 3711, section 3.3.2).
    fn was_here(&self, index: Index) -> bool {
        match self.highest.checked_sub(index) {
            Some(_) if self.window == 0 => false,
            Some(age) => age >= WINDOW || self.window >> age & 1 == 1,
            None => index > MAX_INDEX,
        }
    }

    fn note(&mut self, index: Index) {
        match index.checked_sub(self.highest) {
            _ if self.window == 0 => (self.highest, self.window) = (index, 1),
            Some(step) => {
                self.window = self.window.checked_shl(step as u32).unwrap_or(0) | 1;
                self.highest = index;
            }
            None => self.window |= 1 << (self.highest - index),
        }
    }
}

/// Length of the replay window in packets: 2.5 s with packets of 20 ms.
const WINDOW: Index = u128::BITS as Index;

/// Most SSRCs that a client may use in one session; their state takes about 1.5 MB.
const MAX_SOURCES: usize = 32_768;

const MAX_INDEX: Index = (1 << 48) - 1;
