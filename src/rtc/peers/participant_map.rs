//! The map from a participant's id to its place in the table of peers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use mixer::ParticipantId;

/// Maps a participant's id to its place in the table of peers.
pub(super) type ParticipantMap = HashMap<ParticipantId, usize, BuildHasherDefault<IdHasher>>;

/// Hashes ids, which the server itself chose: nobody can aim at a bucket.
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

    /// The multiplication mixes upwards, and a table looks at both ends.
    fn finish(&self) -> u64 {
        self.0.rotate_left(32)
    }
}

/// Odd, and near 2^64 over the golden ratio (Fibonacci hashing).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
