//! Hash maps keyed by the server's own ids.

use core::hash::{BuildHasherDefault, Hash, Hasher};
use std::collections::HashMap;

/// A hash map that never grows beyond the capacity it was made for.
pub(super) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Creates an empty map with twice the requested places, so that a map that has seen many entries
/// come and go is rehashed in place and never grows.
///
/// Each place is filled once with `value`, so that no place causes a page fault later.
///
/// Real-time: set-up only (allocates).
pub(super) fn map_for<K: Eq + Hash, V: Copy>(
    entries: usize,
    id: impl Fn(u32) -> K,
    value: V,
) -> IdMap<K, V> {
    let mut map = HashMap::with_capacity_and_hasher(entries * 2 + 1, BuildHasherDefault::default());
    map.extend((0..map.capacity() as u32).map(|number| (id(number), value)));
    map.clear();
    map
}

/// Hashes ids. The server chooses them, at random or in sequence, so no client can cause collisions
/// on purpose.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // Fibonacci hashing: an odd number near 2^64 over the golden ratio spreads neighbours over
        // the upper bits.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
