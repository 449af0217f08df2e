//! Decides how the wait of one talk-spurt is kept where it should be: when time is taken out or put in, and how a clock
//! that is off is followed.
//!
//! It sees a [`Snapshot`] once per tick and touches no sample.

use super::catch_up::CatchUp;
use super::late_ticks::LateTicks;
use super::operation::{Acceleration, Operation, Reason};
use super::shrink_policy::{Shrink, ShrinkPolicy};
use crate::format::{SAMPLE_RATE_HZ, TickLength};
use crate::source::stretch_buffer::MIN_LAG;

/// What one tick of a talk-spurt shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    /// How long before the tick that needs it the next packet should arrive, beyond the target; in samples.
    pub slack: i64,
    /// Samples left in the queue once this tick is taken.
    pub queued: usize,
    /// Nobody would hear a splice.
    pub is_quiet: bool,
    /// The sender's clock is off.
    pub is_drifting: bool,
    /// By how much the target is more than the network asks for; in samples.
    pub spare_samples: i64,
}

/// What a splice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Splice {
    /// Samples taken out or put in; 0 where the sound does not repeat itself well enough.
    pub samples: usize,
    /// It was made where nobody hears it.
    pub was_quiet: bool,
}

/// Keeps the wait where it should be.
#[derive(Debug)]
pub(super) struct DelayControl {
    tick_samples: usize,
    pub catch_up: CatchUp,
    pub late_ticks: LateTicks,
    shrink: ShrinkPolicy,
    ticks_to_next_splice: u32,
    /// For how many ticks the sound has made no pause.
    loud_ticks: u32,
    /// How alike two periods must be to be spliced; falls with every attempt that found nothing.
    similarity: f32,
}

impl DelayControl {
    pub fn new(tick: TickLength) -> DelayControl {
        DelayControl {
            tick_samples: tick.samples(),
            catch_up: CatchUp::default(),
            late_ticks: LateTicks::default(),
            shrink: ShrinkPolicy::new(tick),
            ticks_to_next_splice: 0,
            loud_ticks: 0,
            similarity: SIMILAR,
        }
    }

    /// A talk-spurt begins.
    pub fn begin_talk_spurt(&mut self) {
        self.loud_ticks = 0;
        self.similarity = SIMILAR;
    }

    /// Playing goes on after a pause.
    pub fn resume(&mut self) {
        self.similarity = SIMILAR;
    }

    /// Plays what waited from its first packet on, and then faster than it was spoken, until the wait is what it would be
    /// otherwise.
    pub fn begin_catching_up(&mut self) {
        self.catch_up = CatchUp::begin();
        self.ticks_to_next_splice = (UNTOUCHED_SAMPLES / self.tick_samples) as u32;
    }

    /// The one splice of this tick, if there is to be one.
    ///
    /// - `snapshot`: `None` while nothing of the sender plays, or only what is made up.
    pub fn splice(&mut self, snapshot: Option<&Snapshot>) -> Option<Operation> {
        self.ticks_to_next_splice = self.ticks_to_next_splice.saturating_sub(1);
        let snapshot = snapshot?;
        let slack = snapshot.slack;
        let rest = snapshot.queued % self.tick_samples;
        if let Some(excess) = self.catch_up.excess(slack, rest, self.tick_samples) {
            return self.hurry(excess);
        }
        self.loud_ticks = match snapshot.is_quiet {
            true => 0,
            false => self.loud_ticks.saturating_add(1),
        };
        let shrink = self.shrink.judge(slack, self.tick_samples as i64);
        if slack < -self.tolerated_shortfall(snapshot.spare_samples) {
            return Some(Operation::Decelerate {
                min_similarity: self.similarity,
            });
        }
        let is_urgent = slack > URGENT_SAMPLES;
        if self.ticks_to_next_splice > 0 && !is_urgent {
            return None;
        }
        let excess = match snapshot.is_drifting {
            true => slack - 2 * self.tick_samples as i64,
            false if shrink.is_some() => slack,
            false => rest as i64,
        };
        let is_pressing =
            snapshot.is_drifting || shrink == Some(Shrink::Now) || self.is_pauseless();
        let least = match snapshot.is_quiet {
            true => REST_SAMPLES,
            false if is_pressing => MIN_LAG,
            false => return None,
        };
        if excess < least as i64 {
            return None;
        }
        if shrink.is_none() && !snapshot.is_drifting {
            // What is left over costs less than a splice that is heard.
            self.similarity = SIMILAR;
        }
        let min_similarity = if is_urgent { -1.0 } else { self.similarity };
        Some(Operation::Accelerate(Acceleration {
            excess: excess as usize,
            min_similarity,
            min_similarity_at_end: min_similarity,
            reason: Reason::Excess {
                is_unheard: snapshot.is_quiet,
            },
        }))
    }

    /// Takes note of what became of the splice that [`splice`](DelayControl::splice) asked for.
    pub fn spliced(&mut self, operation: &Operation, splice: Splice) {
        match operation {
            Operation::Decelerate { .. } => {
                self.shrink.lengthened();
                self.rest_after(splice, 1);
            }
            Operation::Accelerate(Acceleration { reason, .. }) => match reason {
                Reason::CatchUp => self.caught_up_by(splice),
                Reason::Excess { is_unheard } => {
                    self.rest_after(splice, (SPLICE_REST_SAMPLES / self.tick_samples) as u32);
                    if *is_unheard {
                        // Nor is the next one heard.
                        self.ticks_to_next_splice = 0;
                    }
                }
            },
            _ => {}
        }
    }

    /// The resampling ratio (output over input) that holds the delay steady against a clock that is off, or that uses up a
    /// rest in the queue too short to be spliced out; `None`: no resampling.
    ///
    /// - `drift`: see [`DelayEstimator::drift`](crate::ingest::DelayEstimator::drift).
    /// - `queued`: samples in the queue.
    /// - `beyond_target`: how much longer than the target what plays now has waited, in samples.
    pub fn resampling_ratio(
        &self,
        drift: Option<f64>,
        queued: usize,
        beyond_target: Option<i64>,
    ) -> Option<f64> {
        let Some(drift) = drift else {
            let rest = queued % self.tick_samples;
            let is_short = (REST_SAMPLES..2 * MIN_LAG).contains(&rest);
            return (is_short && self.is_pauseless()).then_some(1.0 / (1.0 + REST_CORRECTION));
        };
        let wanted = self.tick_samples as i64 + HYSTERESIS_SAMPLES;
        let error = (beyond_target? - wanted) as f64;
        let correction =
            (error / DRIFT_SETTLING_SAMPLES).clamp(-MAX_DRIFT_CORRECTION, MAX_DRIFT_CORRECTION);
        Some(1.0 / (1.0 + (drift + correction).clamp(-MAX_DRIFT, MAX_DRIFT)))
    }

    /// Takes some time out while catching up, at most once in a while.
    fn hurry(&self, excess: usize) -> Option<Operation> {
        if excess == 0 || self.ticks_to_next_splice > 0 {
            return None;
        }
        Some(Operation::Accelerate(Acceleration {
            excess,
            min_similarity: self.similarity,
            // What is left is little, and may be the end of a word.
            min_similarity_at_end: self.similarity.max(SIMILAR_AT_END),
            reason: Reason::CatchUp,
        }))
    }

    fn caught_up_by(&mut self, splice: Splice) {
        if splice.samples == 0 {
            self.similarity -= CATCH_UP_SIMILAR_STEP;
            if self.similarity < CATCH_UP_SIMILAR_LEAST {
                self.similarity = -1.0;
            }
        } else if !splice.was_quiet {
            self.similarity = SIMILAR;
            let rest = (splice.samples * CATCH_UP_PACE).div_ceil(self.tick_samples);
            self.ticks_to_next_splice = rest as u32;
        }
    }

    fn rest_after(&mut self, splice: Splice, rest_ticks: u32) {
        if splice.samples == 0 {
            self.similarity = (self.similarity - SIMILAR_STEP).max(SIMILAR_LEAST);
        } else {
            self.similarity = SIMILAR;
            self.ticks_to_next_splice = rest_ticks;
        }
    }

    /// By how much the wait may be shorter than packets should wait before time is put in; in samples.
    ///
    /// A splice is heard, and a late tick is not. So while ticks seldom wait, they wait, and no time is put in. Where
    /// packets are late again and again, time is put in, so that ticks can still wait for a packet that is later than those.
    fn tolerated_shortfall(&self, spare_samples: i64) -> i64 {
        spare_samples.max(self.late_ticks.tolerated_samples())
    }

    /// Whether it has been loud for so long that no pause is to be waited for.
    fn is_pauseless(&self) -> bool {
        self.loud_ticks as usize * self.tick_samples > PAUSELESS_SAMPLES
    }
}

/// This much beyond the target is taken out without minding how it sounds: 80 ms.
const URGENT_SAMPLES: i64 = 3_840;

/// Slack that a resampled queue keeps beside its tick: 2 ms.
const HYSTERESIS_SAMPLES: i64 = 96;

/// A rest in the queue of less than this is left alone: a sixth of a millisecond, more than one tick's resampling takes.
const REST_SAMPLES: usize = 8;

/// A longer rest is spliced out in the next pause. A sender who makes none for three seconds is no speaker.
const PAUSELESS_SAMPLES: usize = 3 * SAMPLE_RATE_HZ as usize;

/// And then it is used up by one sample in a tick of 20 ms, which no ear follows.
const REST_CORRECTION: f64 = 0.001;

/// One splice in 60 ms: about a tenth faster than natural, which listeners do not notice.
const SPLICE_REST_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 60 / 1_000;

/// How alike two periods must be, at first and at last, and what each vain attempt takes off.
const SIMILAR: f32 = 0.9;
const SIMILAR_STEP: f32 = 0.03;
const SIMILAR_LEAST: f32 = 0.2;

/// The same while catching up: a vain attempt is made in every tick, and after seven of them even a hiss is spliced.
const CATCH_UP_SIMILAR_STEP: f32 = 0.1;
const CATCH_UP_SIMILAR_LEAST: f32 = 0.25;
const SIMILAR_AT_END: f32 = 0.6;

/// A seventh faster than it was spoken: of a third of a second nothing is left after two and a half, and listeners do not
/// mind.
const CATCH_UP_PACE: usize = 7;

/// The first words are heard as they were spoken: 60 ms.
const UNTOUCHED_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 60 / 1_000;

/// The delay settles within two seconds, by no more than 2,000 ppm beside the drift itself.
const DRIFT_SETTLING_SAMPLES: f64 = 2.0 * SAMPLE_RATE_HZ as f64;
const MAX_DRIFT_CORRECTION: f64 = 0.002;

/// What the slip resampler can follow with 10 ms ticks.
const MAX_DRIFT: f64 = 0.006;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        let slack = prop_oneof![-2_000i64..2_000, 0i64..30_000];
        (
            slack,
            0usize..4_000,
            any::<bool>(),
            any::<bool>(),
            0i64..300,
        )
            .prop_map(
                |(slack, queued, is_quiet, is_drifting, spare_samples)| Snapshot {
                    slack,
                    queued,
                    is_quiet,
                    is_drifting,
                    spare_samples,
                },
            )
    }

    proptest! {
        /// Time is put in only where the wait is too short, and taken out only where something is left over. Splices that are
        /// heard keep their distance unless the wait is far too long.
        #[test]
        fn delay_control_splices_only_with_a_reason(
            ticks in proptest::collection::vec((proptest::option::of(any_snapshot()), 0usize..720), 1..300),
        ) {
            let mut control = DelayControl::new(TickLength::Ms20);
            let mut ticks_since_heard = u32::MAX;
            for (snapshot, samples) in ticks {
                ticks_since_heard = ticks_since_heard.saturating_add(1);
                let Some(operation) = control.splice(snapshot.as_ref()) else {
                    continue;
                };
                let Some(at) = snapshot else {
                    return Err(TestCaseError::fail("a splice while nothing plays"));
                };
                let mut next_distance = ticks_since_heard;
                match &operation {
                    Operation::Decelerate { min_similarity } => {
                        prop_assert!(at.slack < -at.spare_samples);
                        prop_assert!((SIMILAR_LEAST..=SIMILAR).contains(min_similarity));
                        if samples > 0 {
                            // The network asks for a longer wait: the distance of the splice before counts no more.
                            next_distance = u32::MAX;
                        }
                    }
                    Operation::Accelerate(wish) => {
                        let left_over = at.slack.max((at.queued % 960) as i64);
                        prop_assert!(wish.excess >= REST_SAMPLES && wish.excess as i64 <= left_over);
                        prop_assert_eq!(wish.reason, Reason::Excess { is_unheard: at.is_quiet });
                        next_distance = match at.is_quiet {
                            true => u32::MAX,
                            false if samples > 0 => 0,
                            false => ticks_since_heard,
                        };
                        let keeps_distance = ticks_since_heard >= 3 || at.slack > URGENT_SAMPLES;
                        prop_assert!(at.is_quiet || keeps_distance, "{} ticks", ticks_since_heard);
                    }
                    other => return Err(TestCaseError::fail(format!("{other:?} is no splice"))),
                }
                control.spliced(&operation, Splice { samples, was_quiet: at.is_quiet });
                ticks_since_heard = next_distance;
            }
        }
    }

    #[test]
    fn catching_up_begins_after_the_first_words_and_leaves_the_last_ones_alone() {
        let far = Snapshot {
            slack: 14_400,
            queued: 0,
            is_quiet: false,
            is_drifting: false,
            spare_samples: 0,
        };
        let mut control = DelayControl::new(TickLength::Ms20);
        control.begin_catching_up();
        let first = (0..10).find(|_| control.splice(Some(&far)).is_some());
        assert_eq!(first, Some(2), "60 ms are heard as they were spoken");
        control.catch_up = CatchUp::Last;
        assert!((0..100).all(|_| control.splice(Some(&far)).is_none()));
    }
}
