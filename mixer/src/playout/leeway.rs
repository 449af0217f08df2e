//! Which packets a tick waits for.
//!
//! A tick may come a few milliseconds later than its instant, so that a late packet is played instead of a guess. Whether
//! it does is for the room to decide; the playout knows whether a packet is missing.

use super::fade::FADE_END;
use super::fill::CONCEAL_STEP;
use super::{Playout, State};

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

    /// Notes whether the tick that is pulled has waited in vain.
    pub(super) fn count_wait(&mut self) {
        self.ticks_to_next_wait = match self.leeway_samples > 0 && self.lacks_packet() {
            true => TICKS_BETWEEN_WAITS,
            false => self.ticks_to_next_wait.saturating_sub(1),
        };
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
