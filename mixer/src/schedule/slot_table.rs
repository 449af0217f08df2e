//! Table of the rooms that run in each slot.

use crate::format::TickLength;
use crate::schedule::{SLOTS, slots_of};

/// The rooms that run in each slot of the longest tick.
#[derive(Debug)]
pub(crate) struct SlotTable([Vec<usize>; SLOTS]);

impl SlotTable {
    /// Creates an empty table with space for `rooms` rooms in each slot.
    pub(crate) fn new(rooms: usize) -> SlotTable {
        SlotTable(core::array::from_fn(|_| Vec::with_capacity(rooms)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// The rooms that run in the slot with this number.
    pub(crate) fn due(&self, slot: u64) -> &[usize] {
        &self.0[(slot % SLOTS as u64) as usize]
    }

    pub(crate) fn insert(&mut self, room: usize, phase: usize, tick: TickLength) {
        for slot in slots_of(phase, tick) {
            self.0[slot].push(room);
        }
    }

    pub(crate) fn remove(&mut self, room: usize, phase: usize, tick: TickLength) {
        for slot in slots_of(phase, tick) {
            let rooms = &mut self.0[slot];
            if let Some(at) = rooms.iter().position(|other| *other == room) {
                rooms.swap_remove(at);
            }
        }
    }
}
