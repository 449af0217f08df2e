//! Load control: passes each change of a mixer's load governor to the mixer, to its rooms and to
//! the log.

use std::time::Instant;

use mixer::RoomId;

use super::effect::Effect;
use super::machine::Machine;
use crate::protocol::Event;
use crate::queues::MixerId;

impl Machine {
    /// Passes each governor the load of its mixer since the last call.
    ///
    /// - `busy_ns`: busy time of each mixer since its start in nanoseconds, indexed by mixer id.
    pub(super) fn observe_load(&mut self, busy_ns: &[u64], now: Instant) {
        let over = now.saturating_duration_since(self.governed);
        if over.is_zero() {
            return;
        }
        self.governed = now;
        let mut changed = Vec::new();
        let mixers = self.placement.mixers_mut().iter_mut();
        for ((at, mixer), busy_ns) in mixers.enumerate().zip(busy_ns) {
            let id = MixerId(at);
            let load = (busy_ns - mixer.busy_ns) as f32 / over.as_nanos() as f32;
            mixer.busy_ns = *busy_ns;
            let governor = &mut mixer.governor;
            if governor.observe(load, over) {
                let most = governor.max_complexity();
                self.effects.push(Effect::CapComplexity(id, most));
                let event = Event::Load {
                    load_percent: percent(governor.load()),
                    max_complexity: most,
                    joins_refused: governor.refuses_joins(),
                };
                tracing::warn!(
                    mixer = %id,
                    load_percent = percent(governor.load()),
                    max_complexity = most,
                    joins_refused = governor.refuses_joins(),
                    "the load of a mixer thread has changed its limits on encoding and joins"
                );
                changed.push((id, event));
            }
        }
        for (mixer, event) in changed {
            let is_there = |room: RoomId| self.placement.mixer_of(room) == Some(mixer);
            let rooms = self.registry.rooms.values();
            for room in rooms.filter(|room| is_there(room.id)) {
                self.effects.broadcast(room, &event);
            }
        }
    }
}

fn percent(load: f32) -> u32 {
    (load * 100.0).round() as u32
}
