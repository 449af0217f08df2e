//! Packets that wait for a permission instead of for their time: kept while it is asked for, played
//! from their first one when it is granted, and caught up with.
//!
//! While they are kept nothing plays. What is asked here is only how old they are, on the scale of
//! the arrivals; whose permission it is, and what it is called, is the strip's business.

use super::{Playout, Pushed, SIMILAR, State};
use crate::format::{MAX_PAYLOAD_BYTES, SAMPLE_RATE_HZ};
use crate::packet::Packet;
use crate::stretch::{MAX_LAG, MIN_LAG};
use crate::units::Time;

/// Whether what plays was kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// No longer, or never.
    #[default]
    Done,
    /// It is being caught up with, for so many more samples at most.
    Going(usize),
    /// It is the last, and played as it was spoken.
    Last,
}

impl CatchUp {
    /// One tick has passed; how much should be taken out, while that is decided here.
    ///
    /// - `slack`: how long before the tick that needs it the next packet should arrive, beyond the
    ///   target: of this the whole ticks can be spared.
    /// - `rest`: what the queue holds beside whole ticks, all of which can.
    pub(super) fn spare(&mut self, slack: i64, rest: usize, tick: usize) -> Option<usize> {
        let CatchUp::Going(left) = self else {
            return (*self == CatchUp::Last).then_some(0);
        };
        *left = left.saturating_sub(tick);
        let ticks = (slack - SPARE_SAMPLES).max(0) as usize / tick;
        let spare = ticks * tick + rest;
        if spare < LEAST_SAMPLES || *left == 0 {
            *self = CatchUp::Done;
            return None;
        }
        Some(spare)
    }

    /// Beyond the target this much more waits than otherwise might.
    pub(super) fn allowance(self) -> i64 {
        match self {
            CatchUp::Done => 0,
            CatchUp::Going(_) | CatchUp::Last => MOST_KEPT_SAMPLES,
        }
    }
}

impl Playout {
    /// Takes one packet in that is not to be played although others still are: its arrival is noted,
    /// and it is not lost.
    ///
    /// Real-time: safe.
    pub fn refuse(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        match self.admit(packet, arrival) {
            Ok(admitted) => {
                self.refused_to = self.refused_to.max(admitted.seq + 1);
                Pushed::Stored
            }
            Err(outcome) => outcome,
        }
    }

    /// The number that the packet stored first would have if none had been lost before it: what was
    /// refused is not missed.
    pub(super) fn expected(&self, first: i64) -> i64 {
        self.next_seq.max(self.refused_to.min(first))
    }

    /// Whether packets wait.
    pub fn is_keeping(&self) -> bool {
        self.buffer.first().is_some()
    }

    /// Forgets those of the packets kept that are older than `limit_samples`, beside what the network
    /// may hold one up; `each` is shown their payloads, oldest first. They are neither lost nor
    /// thrown away: nobody was to hear them.
    ///
    /// For use while nothing plays.
    ///
    /// Real-time: safe.
    pub fn forget_older(&mut self, now: Time, limit_samples: i64, each: impl FnMut(&[u8])) {
        let now = now.samples() as i64;
        let oldest = (self.delay.base()).map_or(i64::MAX, |base| {
            now - base - limit_samples - self.delay.target()
        });
        self.forget_before(oldest, each);
    }

    /// The same for all of them.
    ///
    /// Real-time: safe.
    pub fn forget_kept(&mut self, each: impl FnMut(&[u8])) {
        self.forget_before(i64::MAX, each);
    }

    fn forget_before(&mut self, oldest: i64, mut each: impl FnMut(&[u8])) {
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        while let Some(first) = self.buffer.first().filter(|it| it.time < oldest).copied() {
            if let Some(payload) = self.buffer.peek_payload(&mut scratch) {
                each(payload);
            }
            self.buffer.drop_first();
            self.next_seq = first.seq + 1;
            self.next_time = first.end();
            self.fresh = false;
        }
    }

    /// Plays what was kept from its first packet on, and then faster than it was spoken until it is
    /// where it would be without having been kept.
    ///
    /// Real-time: safe.
    pub fn catch_up(&mut self) {
        self.catch_up = CatchUp::Going(MOST_SAMPLES);
        self.ticks_to_next_splice = (UNTOUCHED_SAMPLES / self.tick_samples) as u32;
    }

    /// Plays what is left as it was spoken: nothing comes after it.
    ///
    /// Real-time: safe.
    pub fn finish(&mut self) {
        self.catch_up = CatchUp::Last;
    }

    /// Whether all that came has been played, and what plays now, if anything, is made up.
    pub fn has_run_dry(&self) -> bool {
        !self.is_keeping() && (self.state == State::Waiting || self.stalled > 0)
    }

    /// Takes some time out while catching up, at most once in a while.
    pub(super) fn hurry(&mut self, now: i64, needed: usize, spare: usize) {
        if spare == 0 || self.ticks_to_next_splice > 0 {
            return;
        }
        while self.queue.len() < needed + 2 * MAX_LAG && self.next_is_ready() {
            self.decode_first();
        }
        let is_near = !self.next_is_ready();
        let (spare, similarity) = match is_near {
            // What is left is little, and may be the end of a word.
            true => {
                let left = self.queue.len().saturating_sub(needed);
                (spare.min(left), self.similarity.max(SIMILAR_NEAR))
            }
            false => (spare, self.similarity),
        };
        let quiet = self.queue.is_quiet(MAX_LAG);
        let removed = self.queue.shorten(spare, similarity);
        self.stats.removed_samples += removed as u64;
        if removed == 0 {
            self.similarity -= SIMILAR_STEP;
            if self.similarity < SIMILAR_LEAST {
                self.similarity = -1.0;
            }
        } else if !quiet {
            self.similarity = SIMILAR;
            self.ticks_to_next_splice = (removed * FASTER).div_ceil(self.tick_samples) as u32;
        }
        self.fill(now, needed);
    }
}

/// A seventh faster than it was spoken: of a third of a second nothing is left after two and a half,
/// and listeners do not mind.
const FASTER: usize = 7;

/// The first words are heard as they were spoken: 60 ms.
const UNTOUCHED_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 60 / 1_000;

/// What has not been caught up with after so long is left to the ordinary means: four seconds.
const MOST_SAMPLES: usize = 4 * SAMPLE_RATE_HZ as usize;

/// Most that may have been kept, beside the target: 320 ms, a tick more than what is kept.
const MOST_KEPT_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 * 320 / 1_000;

/// Left between what is caught up and the target: half a millisecond.
const SPARE_SAMPLES: i64 = 24;

/// Less than this is resampled away: 5 ms.
const LEAST_SAMPLES: usize = 2 * MIN_LAG;

/// A vain attempt is made every tick: seven of them, and even a hiss is spliced.
const SIMILAR_STEP: f32 = 0.1;
const SIMILAR_LEAST: f32 = 0.25;
const SIMILAR_NEAR: f32 = 0.6;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: usize = 960;

    #[test]
    fn whole_ticks_and_what_is_left_over_can_be_spared_and_then_no_more() {
        let mut catch_up = CatchUp::Going(MOST_SAMPLES);
        assert_eq!(catch_up.spare(14_400, 300, TICK), Some(14 * TICK + 300));
        assert_eq!(catch_up.spare(TICK as i64, 500, TICK), Some(500));
        assert_eq!(
            catch_up.spare(-5_000, LEAST_SAMPLES, TICK),
            Some(LEAST_SAMPLES)
        );
        assert!(catch_up.allowance() > 14_400);
        assert_eq!(catch_up.spare(TICK as i64, LEAST_SAMPLES - 1, TICK), None);
        assert_eq!(catch_up.spare(14_400, 300, TICK), None, "it has ended");
        assert_eq!(catch_up.allowance(), 0);
    }

    #[test]
    fn it_does_not_go_on_for_ever_and_what_is_the_last_is_left_alone() {
        let mut catch_up = CatchUp::Going(MOST_SAMPLES);
        let ticks = (0..1_000).take_while(|_| catch_up.spare(14_400, 0, TICK).is_some());
        assert_eq!(ticks.count(), 199);
        let mut last = CatchUp::Last;
        assert!((0..1_000).all(|_| last.spare(14_400, 0, TICK) == Some(0)));
    }
}
