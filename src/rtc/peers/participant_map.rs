//! The map from participant ids to keys in the table of peers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use mixer::ParticipantId;

/// Maps a participant's id to its key in the table of peers.
pub(super) type ParticipantMap = HashMap<ParticipantId, usize, BuildHasherDefault<IdHasher>>;

/// Hashes participant ids. The server itself chooses the ids, so no client can cause collisions.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|&byte| self.write_u32(u32::from(byte)));
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(GOLDEN);
    }

    /// Multiplication spreads bits upwards, while a hash table uses both the upper and the lower
    /// bits, so rotate the product.
    fn finish(&self) -> u64 {
        self.0.rotate_left(32)
    }
}

/// 2^64 divided by the golden ratio, as an odd number (Fibonacci hashing).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
