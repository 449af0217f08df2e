//! Controls the delay within a talk-spurt: decides when time is removed or inserted, and how the
//! drift of a sender's clock is followed.
//!
//! A *splice* removes or inserts time by joining two similar pitch periods. The delay control sees
//! a [`Snapshot`] once per tick and touches no sample.

use super::catch_up::CatchUp;
use super::late_ticks::LateTicks;
use super::operation::{Acceleration, Reason, TimeStretch};
use super::shrink_policy::{Shrink, ShrinkPolicy};
use crate::format::{SAMPLE_RATE_HZ, TickLength};
use crate::source::stretch_buffer::MIN_LAG;

/// The state of a talk-spurt's delay in one tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    /// How long before the tick that needs it the next packet should arrive, beyond the target; in
    /// samples.
    pub slack: i64,
    /// Samples left in the queue after this tick.
    pub queued: usize,
    /// A splice would be inaudible.
    pub is_quiet: bool,
    /// The sender's clock drifts.
    pub is_drifting: bool,
    /// By how much the target exceeds what the network needs; in samples.
    pub spare_samples: i64,
}

/// The outcome of a splice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Splice {
    /// Samples removed or inserted; 0 where the sound does not repeat itself well enough.
    pub samples: usize,
    /// The splice lies in silence, where it is inaudible.
    pub was_quiet: bool,
}

/// Keeps the delay of one sender's playout near its target.
#[derive(Debug)]
pub(super) struct DelayControl {
    tick_samples: usize,
    pub catch_up: CatchUp,
    pub late_ticks: LateTicks,
    shrink: ShrinkPolicy,
    ticks_to_next_splice: u32,
    /// Number of ticks since the sound last paused.
    loud_ticks: u32,
    /// How similar two periods must be to be spliced; falls with every attempt that found no such
    /// periods.
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

    /// Prepares for a new talk-spurt.
    pub fn begin_talk_spurt(&mut self) {
        self.loud_ticks = 0;
        self.resume();
    }

    /// Prepares for going on after a pause of the sender.
    pub fn resume(&mut self) {
        self.similarity = SIMILAR;
    }

    /// Starts catching up: held packets play faster than they were spoken, after the first 60 ms
    /// and until the wait is back to normal.
    pub fn begin_catching_up(&mut self) {
        self.catch_up = CatchUp::begin();
        self.ticks_to_next_splice = (UNTOUCHED_SAMPLES / self.tick_samples) as u32;
    }

    /// The splice of this tick, if one is needed.
    ///
    /// - `snapshot`: `None` while nothing of the sender plays, or only concealment.
    pub fn stretch(&mut self, snapshot: Option<&Snapshot>) -> Option<TimeStretch> {
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
            return Some(TimeStretch::Decelerate {
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
            // Samples left over beyond whole ticks cost less than an audible splice.
            self.similarity = SIMILAR;
        }
        let min_similarity = if is_urgent { -1.0 } else { self.similarity };
        Some(TimeStretch::Accelerate(Acceleration {
            excess: excess as usize,
            min_similarity,
            min_similarity_at_end: min_similarity,
            reason: Reason::Excess {
                is_unheard: snapshot.is_quiet,
            },
        }))
    }

    /// Records the outcome of the splice that [`stretch`](DelayControl::stretch) asked for.
    pub fn stretched(&mut self, stretch: &TimeStretch, splice: Splice) {
        match stretch {
            TimeStretch::Decelerate { .. } => {
                self.shrink.lengthened();
                self.rest_after(splice, 1);
            }
            TimeStretch::Accelerate(Acceleration { reason, .. }) => match reason {
                Reason::CatchUp => self.caught_up_by(splice),
                Reason::Excess { is_unheard } => {
                    self.rest_after(splice, (SPLICE_REST_SAMPLES / self.tick_samples) as u32);
                    if *is_unheard {
                        // The sound is quiet, so the next splice is inaudible as well.
                        self.ticks_to_next_splice = 0;
                    }
                }
            },
        }
    }

    /// The resampling ratio (output over input) that holds the delay steady against a drifting
    /// clock, or that uses up a remainder in the queue that is too short to be spliced out; `None`
    /// means no resampling.
    ///
    /// - `drift`: see [`DelayEstimator::drift`](crate::ingest::DelayEstimator::drift).
    /// - `queued`: samples in the queue.
    /// - `beyond_target`: how much longer than the target the sound that plays now has waited, in
    ///   samples; asked only while the clock drifts.
    pub fn resampling_ratio(
        &self,
        drift: Option<f64>,
        queued: usize,
        beyond_target: impl FnOnce() -> Option<i64>,
    ) -> Option<f64> {
        let Some(drift) = drift else {
            let rest = queued % self.tick_samples;
            let is_short = (REST_SAMPLES..2 * MIN_LAG).contains(&rest);
            return (is_short && self.is_pauseless()).then_some(1.0 / (1.0 + REST_CORRECTION));
        };
        let wanted = self.tick_samples as i64 + HYSTERESIS_SAMPLES;
        let error = (beyond_target()? - wanted) as f64;
        let correction =
            (error / DRIFT_SETTLING_SAMPLES).clamp(-MAX_DRIFT_CORRECTION, MAX_DRIFT_CORRECTION);
        Some(1.0 / (1.0 + (drift + correction).clamp(-MAX_DRIFT, MAX_DRIFT)))
    }

    /// Removes some time while catching up, unless the last splice was too recent.
    fn hurry(&self, excess: usize) -> Option<TimeStretch> {
        if excess == 0 || self.ticks_to_next_splice > 0 {
            return None;
        }
        Some(TimeStretch::Accelerate(Acceleration {
            excess,
            min_similarity: self.similarity,
            // The sound that is left is short, and may be the end of a word.
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

    /// By how much the wait may fall short of the target before time is inserted; in samples.
    ///
    /// A splice is audible, and a late tick is not. So while ticks seldom wait, they wait, and no
    /// time is inserted. Where packets are late again and again, time is inserted, so that ticks
    /// can still wait for packets that are even later.
    fn tolerated_shortfall(&self, spare_samples: i64) -> i64 {
        spare_samples.max(self.late_ticks.tolerated_samples())
    }

    /// Whether the sound has gone on for so long that no pause is to be expected.
    fn is_pauseless(&self) -> bool {
        self.loud_ticks as usize * self.tick_samples > PAUSELESS_SAMPLES
    }
}

/// A wait of more than 80 ms beyond the target is removed however it sounds.
const URGENT_SAMPLES: i64 = 3_840;

/// How much longer than the target plus one tick sound waits in a resampled queue: 2 ms.
const HYSTERESIS_SAMPLES: i64 = 96;

/// Fewer samples than this beyond whole ticks stay in the queue: a sixth of a millisecond, more
/// than one tick's resampling takes.
const REST_SAMPLES: usize = 8;

/// A longer remainder is spliced out in the next pause. Sound without a pause for three seconds is
/// not speech.
const PAUSELESS_SAMPLES: usize = 3 * SAMPLE_RATE_HZ as usize;

/// Without a pause, the remainder is removed by resampling: one sample per tick of 20 ms, which is
/// inaudible.
const REST_CORRECTION: f64 = 0.001;

/// One splice in 60 ms: about a tenth faster than natural, which listeners do not notice.
const SPLICE_REST_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 60 / 1_000;

/// How similar two periods must be at first and at last, and the step down after each failed
/// attempt.
const SIMILAR: f32 = 0.9;
const SIMILAR_STEP: f32 = 0.03;
const SIMILAR_LEAST: f32 = 0.2;

/// The similarity limits while catching up: every tick makes an attempt, and after seven failures
/// even a hiss is spliced.
const CATCH_UP_SIMILAR_STEP: f32 = 0.1;
const CATCH_UP_SIMILAR_LEAST: f32 = 0.25;
const SIMILAR_AT_END: f32 = 0.6;

/// Pace of catching up: a seventh faster than spoken. This removes a third of a second within two
/// and a half seconds, and listeners do not mind.
const CATCH_UP_PACE: usize = 7;

/// The first 60 ms after a grant are played at normal speed.
const UNTOUCHED_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 60 / 1_000;

/// The delay settles within two seconds, by no more than 2,000 ppm beside the drift itself.
const DRIFT_SETTLING_SAMPLES: f64 = 2.0 * SAMPLE_RATE_HZ as f64;
const MAX_DRIFT_CORRECTION: f64 = 0.002;

/// The drift that the slip resampler can follow with 10 ms ticks.
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
        /// Time is inserted only where the wait is too short, and removed only where it is too
        /// long. Audible splices keep their distance unless the wait is far too long.
        #[test]
        fn delay_control_splices_only_with_a_reason(
            ticks in proptest::collection::vec((proptest::option::of(any_snapshot()), 0usize..720), 1..300),
        ) {
            let mut control = DelayControl::new(TickLength::Ms20);
            let mut ticks_since_heard = u32::MAX;
            for (snapshot, samples) in ticks {
                ticks_since_heard = ticks_since_heard.saturating_add(1);
                let Some(stretch) = control.stretch(snapshot.as_ref()) else {
                    continue;
                };
                let Some(at) = snapshot else {
                    return Err(TestCaseError::fail("a splice while nothing plays"));
                };
                let mut next_distance = ticks_since_heard;
                match &stretch {
                    TimeStretch::Decelerate { min_similarity } => {
                        prop_assert!(at.slack < -at.spare_samples);
                        prop_assert!((SIMILAR_LEAST..=SIMILAR).contains(min_similarity));
                        if samples > 0 {
                            // The network needs a longer wait: the distance to the splice before no
                            // longer matters.
                            next_distance = u32::MAX;
                        }
                    }
                    TimeStretch::Accelerate(wish) => {
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
                }
                control.stretched(&stretch, Splice { samples, was_quiet: at.is_quiet });
                ticks_since_heard = next_distance;
            }
        }
    }

    #[test]
    fn delay_control_catches_up_after_60_ms_but_never_in_last_words() {
        let far = Snapshot {
            slack: 14_400,
            queued: 0,
            is_quiet: false,
            is_drifting: false,
            spare_samples: 0,
        };
        let mut control = DelayControl::new(TickLength::Ms20);
        control.begin_catching_up();
        let first = (0..10).find(|_| control.stretch(Some(&far)).is_some());
        assert_eq!(first, Some(2), "60 ms are heard as they were spoken");
        control.catch_up = CatchUp::Last;
        assert!((0..100).all(|_| control.stretch(Some(&far)).is_none()));
    }
}
