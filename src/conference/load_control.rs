//! Load control: what each mixer's governor says is handed to the mixer, told to its rooms and logged.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mixer::RoomId;

use super::machine::Machine;
use crate::protocol::Event;

impl Machine {
    /// Shows every governor the load since it last looked.
    pub(super) fn observe_load(&mut self, now: Instant) {
        let over = now.saturating_duration_since(self.governed);
        if over.is_zero() {
            return;
        }
        self.governed = now;
        let mut changed = Vec::new();
        for link in self.placement.mixers_mut() {
            let busy_ns = link.mixer.handle().metrics().busy_ns.load(Relaxed);
            let load = (busy_ns - link.busy_ns) as f32 / over.as_nanos() as f32;
            link.busy_ns = busy_ns;
            if link.governor.observe(load, over) {
                let governor = &link.governor;
                link.mixer
                    .handle()
                    .cap_complexity(governor.max_complexity());
                let event = Event::Load {
                    load_percent: percent(governor.load()),
                    max_complexity: governor.max_complexity(),
                    joins_refused: governor.refuses_joins(),
                };
                tracing::warn!(
                    mixer = %link.mixer.handle().id(),
                    load_percent = percent(governor.load()),
                    max_complexity = governor.max_complexity(),
                    joins_refused = governor.refuses_joins(),
                    "the load calls for another way of working"
                );
                changed.push((link.mixer.handle().id(), event));
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
