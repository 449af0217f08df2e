//! Which packets a tick waits for.
//!
//! A tick may come a few milliseconds later than its instant, so that a late packet is played instead of a prediction.
//! Whether it does is for the room to decide; the playout knows whether a packet is missing.

use crate::format::SAMPLE_RATE_HZ;

/// How often ticks have waited for the packets of one sender.
#[derive(Debug, Default)]
pub(super) struct LateTicks {
    /// How much later than its instant the next tick may come.
    pub leeway_samples: usize,
    /// So many ticks must pass before another waits for a packet.
    ticks_to_next_wait: u32,
    /// The next tick waits for a packet of this sender.
    is_awaited: bool,
    /// Share of the recent ticks that waited for a packet of this sender and got it.
    share_awaited: f32,
}

impl LateTicks {
    /// Whether a tick may wait for this sender. Of a sender for whom a tick has just waited in vain nothing is expected.
    pub fn may_wait(&self) -> bool {
        self.ticks_to_next_wait == 0
    }

    /// Takes note that the next tick waits.
    ///
    /// - `lacks`: it lacks a packet of this sender.
    pub fn wait(&mut self, lacks: bool) {
        self.is_awaited = lacks;
    }

    /// Notes whether the tick that is made now has waited, and if so, whether in vain.
    ///
    /// - `lacks`: it lacks a packet of this sender.
    pub fn count(&mut self, lacks: bool, tick_samples: usize) {
        let has_come = core::mem::take(&mut self.is_awaited) && !lacks;
        let share_of_tick = tick_samples as f32 / WAITS_MEMORY_SAMPLES;
        self.share_awaited += (f32::from(u8::from(has_come)) - self.share_awaited) * share_of_tick;
        self.ticks_to_next_wait = match lacks {
            true => TICKS_BETWEEN_WAITS,
            false => self.ticks_to_next_wait.saturating_sub(1),
        };
    }

    /// By how much the wait may fall short of the target because ticks wait; in samples.
    pub fn tolerated_samples(&self) -> i64 {
        match self.share_awaited < MOST_AWAITED {
            true => self.leeway_samples as i64,
            false => 0,
        }
    }
}

/// After a tick that has waited in vain the next 25 do not wait for that sender. A sender who
/// loses many packets, or leaves some out on purpose, delays others twice a second at most.
const TICKS_BETWEEN_WAITS: u32 = 25;

/// Memory of the share of ticks that waited, recent ones weighing more: two seconds, as for the lateness of packets.
const WAITS_MEMORY_SAMPLES: f32 = 2.0 * SAMPLE_RATE_HZ as f32;

/// One tick in twenty may wait.
const MOST_AWAITED: f32 = 0.05;
