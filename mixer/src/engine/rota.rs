//! Which rooms run in which slot.

use crate::format::TickLength;
use crate::phase::{SLOTS, slots_of};

/// Which rooms run in which slot of the longest tick.
#[derive(Debug)]
pub(super) struct Rota([Vec<usize>; SLOTS]);

impl Rota {
    /// Nobody's.
    pub(super) fn new(rooms: usize) -> Rota {
        Rota(core::array::from_fn(|_| Vec::with_capacity(rooms)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// The rooms that run in this slot.
    pub(super) fn due(&self, slot: u64) -> &[usize] {
        &self.0[(slot % SLOTS as u64) as usize]
    }

    pub(super) fn enter(&mut self, room: usize, phase: usize, tick: TickLength) {
        for slot in slots_of(phase, tick) {
            self.0[slot].push(room);
        }
    }

    pub(super) fn strike(&mut self, room: usize, phase: usize, tick: TickLength) {
        for slot in slots_of(phase, tick) {
            let rooms = &mut self.0[slot];
            if let Some(at) = rooms.iter().position(|other| *other == room) {
                rooms.swap_remove(at);
            }
        }
    }
}
