//! Which packets a tick waits for.
//!
//! A tick may come a few milliseconds later than its instant, so that a late packet is played instead of a guess. Whether
//! it does is for the room to decide; the playout knows whether a packet is missing.

use super::fade::FADE_END;
use super::fill::CONCEAL_STEP;
use super::{Playout, State};
use crate::format::SAMPLE_RATE_HZ;

impl Playout {
    /// Lets ticks come later than their instant, for packets that are late, from the next pull on.
    ///
    /// Real-time: safe.
    pub fn set_leeway(&mut self, samples: usize) {
        self.leeway_samples = samples;
    }

    /// Lets packets wait longer if ticks do not come later for those that are late.
    ///
    /// Real-time: safe.
    pub fn set_ticks_wait(&mut self, ticks_wait: bool) {
        self.delay.set_ticks_wait(ticks_wait);
    }

    /// Whether the next tick would have to make something up, the first since all was there, unless another packet comes.
    /// Of a sender for whom a tick has just waited in vain nothing is expected.
    pub fn lacks_packet(&self) -> bool {
        let goes_on = self.state == State::Playing && self.stalled == 0 && self.fade.run == 0;
        goes_on && !self.fresh && self.ticks_to_next_wait == 0 && !self.has_tick()
    }

    /// Takes note that the next tick waits, for a packet of this sender if it lacks one.
    ///
    /// Real-time: safe.
    pub fn await_packet(&mut self) {
        self.is_awaited = self.lacks_packet();
    }

    /// Notes whether the tick that is pulled has waited, and if so, whether in vain.
    pub(super) fn count_wait(&mut self) {
        let lacks = self.leeway_samples > 0 && self.lacks_packet();
        let has_come = core::mem::take(&mut self.is_awaited) && !lacks;
        let share_of_tick = self.tick_samples as f32 / WAITS_MEMORY_SAMPLES;
        self.share_awaited += (f32::from(u8::from(has_come)) - self.share_awaited) * share_of_tick;
        self.ticks_to_next_wait = match lacks {
            true => TICKS_BETWEEN_WAITS,
            false => self.ticks_to_next_wait.saturating_sub(1),
        };
    }

    /// By how much the wait may be shorter than packets should wait before time is put in; in samples.
    ///
    /// A splice is heard, and a late tick is not. So while ticks seldom wait, they wait, and no time is put in. Where
    /// packets are late again and again, time is put in, so that ticks can still wait for a packet that is later than those.
    pub(super) fn tolerated(&self) -> i64 {
        let leeway_samples = match self.share_awaited < MOST_AWAITED {
            true => self.leeway_samples as i64,
            false => 0,
        };
        self.delay.spare_samples().max(leeway_samples)
    }

    /// Whether a tick can be made of the packets stored and the copies they carry, or ends with the sender's pause.
    fn has_tick(&self) -> bool {
        let end = self.played_up_to() + self.tick_samples as i64;
        let (mut seq, mut time) = (self.next_seq, self.next_time);
        for entry in self.buffer.iter() {
            let missing = entry.time - time;
            if time >= end || missing > FADE_END as i64 {
                return true;
            }
            if missing >= CONCEAL_STEP as i64 {
                let is_lost = entry.seq > seq.max(self.refused_to);
                if !is_lost || !entry.fec {
                    // Without a loss the sender was silent.
                    return !is_lost;
                }
            }
            (seq, time) = (entry.seq + 1, entry.end());
        }
        time >= end
    }
}

/// After a tick that has waited in vain the next 25 do not wait for that sender. Whoever loses many packets, or leaves
/// some out on purpose, delays others twice a second at most.
const TICKS_BETWEEN_WAITS: u32 = 25;

/// Memory of the share of ticks that waited, recent ones weighing more: two seconds, as for the lateness of packets.
const WAITS_MEMORY_SAMPLES: f32 = 2.0 * SAMPLE_RATE_HZ as f32;

/// One tick in twenty may wait.
const MOST_AWAITED: f32 = 0.05;
