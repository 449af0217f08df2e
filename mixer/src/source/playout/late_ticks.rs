//! Decides whether a tick waits for a late packet of one sender.
//!
//! A tick may come a few milliseconds after its instant, so that a late packet is played instead of
//! concealment. The room decides whether the tick waits; the playout knows whether a packet is
//! missing.

use crate::format::SAMPLE_RATE_HZ;

/// How often ticks have waited for packets of one sender.
#[derive(Debug, Default)]
pub(super) struct LateTicks {
    /// How many samples after its instant the next tick may come.
    pub leeway_samples: usize,
    /// Number of ticks that must pass before another tick waits for a packet.
    ticks_to_next_wait: u32,
    /// The next tick waits for a packet of this sender.
    is_awaited: bool,
    /// Share of the recent ticks that waited for a packet of this sender and got it.
    share_awaited: f32,
}

impl LateTicks {
    /// Whether a tick may wait for this sender. Returns `false` for some ticks after a tick has
    /// waited in vain.
    pub fn may_wait(&self) -> bool {
        self.ticks_to_next_wait == 0
    }

    /// Records that the next tick waits.
    ///
    /// - `lacks`: the tick lacks a packet of this sender.
    pub fn wait(&mut self, lacks: bool) {
        self.is_awaited = lacks;
    }

    /// Records whether this tick has waited for the sender, and if so, whether in vain.
    ///
    /// - `lacks`: the tick lacks a packet of this sender.
    pub fn count(&mut self, lacks: bool, tick_samples: usize) {
        let has_come = core::mem::take(&mut self.is_awaited) && !lacks;
        let share_of_tick = tick_samples as f32 / WAITS_MEMORY_SAMPLES;
        self.share_awaited += (f32::from(u8::from(has_come)) - self.share_awaited) * share_of_tick;
        self.ticks_to_next_wait = match lacks {
            true => TICKS_BETWEEN_WAITS,
            false => self.ticks_to_next_wait.saturating_sub(1),
        };
    }

    /// By how many samples the wait may fall short of the target because ticks wait.
    pub fn tolerated_samples(&self) -> i64 {
        match self.share_awaited < MOST_AWAITED {
            true => self.leeway_samples as i64,
            false => 0,
        }
    }
}

/// After a tick that waited in vain, the next 25 ticks do not wait for that sender. A sender that
/// loses many packets, or leaves some out on purpose, delays others at most twice a second.
const TICKS_BETWEEN_WAITS: u32 = 25;

/// Memory of the share of ticks that waited, in which recent ticks weigh more: two seconds, as for
/// the lateness of packets.
const WAITS_MEMORY_SAMPLES: f32 = 2.0 * SAMPLE_RATE_HZ as f32;

/// At most one tick in twenty should wait.
const MOST_AWAITED: f32 = 0.05;
