//! Storage of packets that have arrived and are not yet played.
//!
//! Stands between the network and the decoder. The buffer orders packets, refuses duplicates and is
//! bounded. [`super::delay_estimator`] decides how long a packet waits, and
//! [`crate::source::playout`] what to do about a missing packet. Payloads lie in cells of one
//! allocation made at set-up, so that storing packets of any size never allocates or fragments
//! memory.

use crate::format::MAX_PAYLOAD_BYTES;

/// Header of a stored packet, with unwrapped sequence number and media time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Unwrapped sequence number.
    pub seq: i64,
    /// Unwrapped media time of the first sample, at 48 kHz.
    pub time: i64,
    /// Length in samples per channel, at 48 kHz.
    pub samples: usize,
    /// The packet carries in-band FEC for the packet before it.
    pub fec: bool,
    first_cell: u16,
    len_bytes: u16,
}

impl Entry {
    /// Media time just after the last sample of the packet.
    pub fn end(&self) -> i64 {
        self.time + self.samples as i64
    }
}

/// The outcome of inserting a packet into the jitter buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The packet is stored.
    Stored,
    /// A packet with this sequence number is stored already.
    Duplicate,
    /// The buffer has no room for the packet.
    Full,
}

/// Stores received packets in order of their sequence numbers.
pub struct JitterBuffer {
    entries: [Option<Entry>; ENTRIES],
    count: usize,
    cells: Box<[[u8; CELL_BYTES]; CELLS]>,
    next_cell: [u16; CELLS],
    free_cell: u16,
    free_count: usize,
}

impl JitterBuffer {
    /// Creates an empty jitter buffer.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new() -> JitterBuffer {
        let cells = crate::memory::filled(CELLS, [0; CELL_BYTES]);
        let mut buffer = JitterBuffer {
            entries: [None; ENTRIES],
            count: 0,
            cells: cells
                .try_into()
                .expect("the slice was made with this length"),
            next_cell: [NO_CELL; CELLS],
            free_cell: NO_CELL,
            free_count: 0,
        };
        buffer.clear();
        buffer
    }

    /// Drops every stored packet.
    ///
    /// Real-time: safe.
    pub fn clear(&mut self) {
        self.count = 0;
        self.entries.fill(None);
        for (cell, next) in self.next_cell.iter_mut().enumerate() {
            *next = if cell + 1 < CELLS {
                cell as u16 + 1
            } else {
                NO_CELL
            };
        }
        self.free_cell = 0;
        self.free_count = CELLS;
    }

    /// Number of stored packets.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no packet is stored.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The packet with the lowest sequence number.
    pub fn first(&self) -> Option<&Entry> {
        self.entries[0].as_ref().filter(|_| self.count > 0)
    }

    /// All stored packets, in order of their sequence numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries[..self.count].iter().flatten()
    }

    /// The packet with the highest sequence number.
    pub fn last(&self) -> Option<&Entry> {
        self.count
            .checked_sub(1)
            .and_then(|at| self.entries[at].as_ref())
    }

    /// Stores a packet in order of its sequence number.
    ///
    /// - `seq`, `time`: unwrapped by the caller.
    /// - `payload`: at most [`MAX_PAYLOAD_BYTES`] bytes; longer ones are refused as
    ///   [`Inserted::Full`].
    ///
    /// Real-time: safe.
    pub fn insert(
        &mut self,
        seq: i64,
        time: i64,
        samples: usize,
        fec: bool,
        payload: &[u8],
    ) -> Inserted {
        let at = self.position(seq);
        if at < self.count && self.entry(at).seq == seq {
            return Inserted::Duplicate;
        }
        let needed = payload.len().div_ceil(CELL_BYTES);
        if self.count == ENTRIES || needed > self.free_count || payload.len() > MAX_PAYLOAD_BYTES {
            return Inserted::Full;
        }
        let first_cell = self.store(payload);
        self.entries.copy_within(at..self.count, at + 1);
        self.entries[at] = Some(Entry {
            seq,
            time,
            samples,
            fec,
            first_cell,
            len_bytes: payload.len() as u16,
        });
        self.count += 1;
        Inserted::Stored
    }

    /// Copies the payload of the first packet into `scratch` and leaves the packet stored.
    ///
    /// Real-time: safe.
    pub fn peek_payload<'a>(&self, scratch: &'a mut [u8; MAX_PAYLOAD_BYTES]) -> Option<&'a [u8]> {
        let entry = self.first()?;
        let len = usize::from(entry.len_bytes);
        let mut cell = entry.first_cell;
        for part in scratch[..len].chunks_mut(CELL_BYTES) {
            part.copy_from_slice(&self.cells[usize::from(cell)][..part.len()]);
            cell = self.next_cell[usize::from(cell)];
        }
        Some(&scratch[..len])
    }

    /// Removes the packet with the lowest sequence number and returns its header.
    ///
    /// Real-time: safe.
    pub fn drop_first(&mut self) -> Option<Entry> {
        let entry = *self.first()?;
        let mut cell = entry.first_cell;
        while cell != NO_CELL {
            let next = self.next_cell[usize::from(cell)];
            self.next_cell[usize::from(cell)] = self.free_cell;
            self.free_cell = cell;
            self.free_count += 1;
            cell = next;
        }
        self.entries.copy_within(1..self.count, 0);
        self.count -= 1;
        self.entries[self.count] = None;
        Some(entry)
    }

    fn entry(&self, at: usize) -> &Entry {
        self.entries[at]
            .as_ref()
            .expect("entries below `count` are filled")
    }

    /// Index where `seq` is or belongs. Searched from the back: nearly every packet is the newest.
    fn position(&self, seq: i64) -> usize {
        let mut at = self.count;
        while at > 0 && self.entry(at - 1).seq >= seq {
            at -= 1;
        }
        at
    }

    fn store(&mut self, payload: &[u8]) -> u16 {
        let mut first = NO_CELL;
        let mut previous = NO_CELL;
        for part in payload.chunks(CELL_BYTES) {
            let cell = self.free_cell;
            self.free_cell = self.next_cell[usize::from(cell)];
            self.free_count -= 1;
            self.next_cell[usize::from(cell)] = NO_CELL;
            self.cells[usize::from(cell)][..part.len()].copy_from_slice(part);
            if previous == NO_CELL {
                first = cell;
            } else {
                self.next_cell[usize::from(previous)] = cell;
            }
            previous = cell;
        }
        first
    }
}

impl Default for JitterBuffer {
    fn default() -> JitterBuffer {
        JitterBuffer::new()
    }
}

impl core::fmt::Debug for JitterBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "JitterBuffer({} packets, {} cells free)",
            self.count, self.free_count
        )
    }
}

/// Maximum number of packets: half a second of the shortest packets (2.5 ms).
const ENTRIES: usize = 200;

/// Bytes of one cell: the shortest packets fit in one, an ordinary voice packet of 20 ms in two.
const CELL_BYTES: usize = 64;

/// Maximum number of cells: one for each packet, and 13 kB in all, enough for the longest target (a
/// quarter of a second) at 400 kbit/s.
const CELLS: usize = ENTRIES;

const NO_CELL: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jitter_buffer_returns_packets_in_order_and_unchanged() {
        let mut buffer = JitterBuffer::new();
        for seq in [3, 1, 2, 0] {
            let payload = vec![seq as u8; 90 + 100 * seq as usize];
            assert_eq!(
                buffer.insert(seq, seq * 960, 960, false, &payload),
                Inserted::Stored
            );
        }
        assert_eq!(buffer.insert(2, 0, 960, false, &[0]), Inserted::Duplicate);
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        for seq in 0..4 {
            let expected = vec![seq as u8; 90 + 100 * seq as usize];
            assert_eq!(buffer.peek_payload(&mut scratch), Some(&expected[..]));
            assert_eq!(buffer.drop_first().map(|entry| entry.seq), Some(seq));
        }
        assert!(buffer.is_empty() && buffer.first().is_none() && buffer.drop_first().is_none());
    }

    #[test]
    fn jitter_buffer_is_bounded_and_reuses_its_cells() {
        let mut buffer = JitterBuffer::new();
        let payload = [7; MAX_PAYLOAD_BYTES];
        let stored = (0..1_000)
            .filter(|seq| buffer.insert(*seq, 0, 120, false, &payload) == Inserted::Stored)
            .count();
        assert_eq!(stored, CELLS / MAX_PAYLOAD_BYTES.div_ceil(CELL_BYTES));
        while buffer.drop_first().is_some() {}
        assert_eq!(buffer.free_count, CELLS);
        let stored = (0..1_000)
            .filter(|seq| buffer.insert(*seq, 0, 120, false, &[1]) == Inserted::Stored)
            .count();
        assert_eq!(stored, ENTRIES);
    }

    proptest! {
        /// In any order of arrival, the buffer reorders, repeats and loses nothing, and every cell
        /// is freed again.
        #[test]
        fn jitter_buffer_neither_reorders_repeats_nor_loses_packets(
            steps in proptest::collection::vec((0i64..60, 0usize..MAX_PAYLOAD_BYTES, any::<bool>()), 0..200),
        ) {
            let mut buffer = JitterBuffer::new();
            let mut model = std::collections::BTreeMap::new();
            let mut scratch = [0; MAX_PAYLOAD_BYTES];
            for (seq, len, take) in steps {
                if take {
                    let expected = model.pop_first();
                    let payload = buffer.peek_payload(&mut scratch).map(<[u8]>::to_vec);
                    let entry = buffer.drop_first();
                    prop_assert_eq!(entry.map(|e| e.seq), expected.as_ref().map(|(seq, _)| *seq));
                    prop_assert_eq!(payload, expected.map(|(_, payload)| payload));
                } else {
                    let payload = vec![(seq + len as i64) as u8; len];
                    match buffer.insert(seq, seq * 960, 960, false, &payload) {
                        Inserted::Stored => prop_assert!(model.insert(seq, payload).is_none()),
                        Inserted::Duplicate => prop_assert!(model.contains_key(&seq)),
                        Inserted::Full => {}
                    }
                }
                prop_assert_eq!(buffer.len(), model.len());
            }
            while buffer.drop_first().is_some() {}
            prop_assert_eq!(buffer.free_count, CELLS);
        }
    }
}
