//! Decrypts received packets: every source a client has ever had, each with its index and its replay window (RFC 3711, 3.3).

use std::collections::HashMap;

use rtc::crypto::{CryptoError, RTCCrypto};

use super::cipher::{Cipher, Index};
use super::keys::MasterKey;

/// Checks and decrypts the packets of one client.
///
/// A source gets a state with its first authentic packet only, so that whoever sends forged packets costs their
/// checking and nothing else.
pub struct Decryptor {
    cipher: Cipher,
    current: Source,
    others: HashMap<u32, Source>,
}

/// What is known of one source.
#[derive(Debug, Clone, Copy, Default)]
struct Source {
    ssrc: u32,
    /// Highest index that was authentic.
    highest: Index,
    /// Bit n: the packet n before the highest was here. Zero while there was none at all.
    window: u128,
}

impl Decryptor {
    /// Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// When the keys have not the lengths of their profile.
    pub fn new(crypto: &dyn RTCCrypto, master: &MasterKey<'_>) -> Result<Decryptor, CryptoError> {
        Ok(Decryptor {
            cipher: Cipher::new(crypto, master)?,
            current: Source::default(),
            others: HashMap::new(),
        })
    }

    /// Decrypts a packet in place and says where its payload ends; `None` if it is forged or damaged, was here before,
    /// or is of one source too many.
    ///
    /// Allocates only for a new source.
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

    /// Sources that have a state.
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
    /// RFC 3711, 3.3.1: of the three roll-over counters around, the one that makes the index the nearest.
    fn index_of(&self, sequence: u16) -> Index {
        if self.window == 0 {
            return Index::from(sequence);
        }
        let behind = (self.highest as u16).wrapping_sub(sequence);
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead < 0x8000 {
            self.highest + Index::from(ahead)
        } else {
            // Before the very beginning there is nothing: such a packet can only be of the first turn.
            self.highest
                .checked_sub(Index::from(behind))
                .unwrap_or(Index::from(sequence))
        }
    }

    /// RFC 3711, 3.3.2: what is older than the window counts as having been here.
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

/// Packets looked back on: 2.5 s of the usual.
const WINDOW: Index = u128::BITS as Index;

/// Sources a client may ever have in one session: about 1.5 MB.
const MAX_SOURCES: usize = 32_768;

const MAX_INDEX: Index = (1 << 48) - 1;
