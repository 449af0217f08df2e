//! Held ticks: ticks that wait for a late packet.
//!
//! If a packet arrives after the tick that should play it, listeners hear concealment instead. A
//! tick that comes a few milliseconds late costs them nothing: a receiver's jitter buffer is made
//! for that. So a tick waits if a participant who is heard has sent no packet for it yet. The
//! tick's instant, which playouts and media clock follow, stays the same.

use super::Engine;
use crate::format::SLOT_SAMPLES;
use crate::memory;
use crate::output::Sink;
use crate::room::Room;
use crate::units::Time;

/// When a tick is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DueTick {
    pub slot: u64,
    /// The slot's instant on the clock that stamps arrivals.
    pub now: Time,
}

/// The rooms whose tick waits.
#[derive(Debug)]
pub(super) struct HeldTicks {
    waiting: Vec<(usize, DueTick)>,
    /// Whether slots are run right after each other, to make up for lost time.
    hurries: bool,
}

impl HeldTicks {
    /// Creates an empty list with a place for each room.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(rooms: usize) -> HeldTicks {
        HeldTicks {
            waiting: memory::list(rooms),
            hurries: false,
        }
    }

    /// Takes the waiting tick of one room out, if there is one.
    pub fn take(&mut self, index: usize) -> Option<DueTick> {
        let at = self.waiting.iter().position(|(room, _)| *room == index)?;
        Some(self.waiting.swap_remove(at).1)
    }
}

/// Holding ticks; each method is real-time safe.
impl Engine {
    /// Sets whether the following slots are run late, right after each other. No packet can arrive
    /// between such slots, so a waiting tick then waits until a slot comes on time.
    ///
    /// Real-time: safe.
    pub fn hurry(&mut self, hurries: bool) {
        self.held.hurries = hurries;
    }

    /// Runs the ticks that need not wait any longer.
    pub(super) fn run_held(&mut self, sink: &mut dyn Sink) {
        // From the end: when an entry is taken out, the last one moves to its index.
        for at in (0..self.held.waiting.len()).rev() {
            let Some(&(index, beat)) = self.held.waiting.get(at) else {
                continue;
            };
            if !self.waits(index, beat) {
                self.held.waiting.swap_remove(at);
                self.run_room(index, beat, sink);
            }
        }
    }

    /// Whether the room's tick at `beat` has to wait; if so, holds it.
    pub(super) fn hold(&mut self, index: usize, beat: DueTick) -> bool {
        let waits = self.waits(index, beat);
        if waits {
            self.stats.ticks_held_total += 1;
            self.enter(index, Room::await_packets);
            self.held.waiting.push((index, beat));
        }
        waits
    }

    fn waits(&mut self, index: usize, beat: DueTick) -> bool {
        let late_samples = (self.slot - beat.slot) as usize * SLOT_SAMPLES;
        let hurries = self.held.hurries;
        let waits = self.enter(index, |room| {
            let leeway_samples = room.leeway_samples();
            let has_time = late_samples < leeway_samples || (hurries && leeway_samples > 0);
            has_time && room.lacks_packet()
        });
        waits.unwrap_or(false)
    }
}
