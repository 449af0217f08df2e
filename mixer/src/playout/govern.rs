//! Keeps the wait of one talk-spurt where it should be: splices time out or in, and follows a clock
//! that is off.

use rubato::{Adjustable, Resampler};

use super::patience::Cut;
use super::{Playout, State, duration_of};
use crate::format::SAMPLE_RATE_HZ;
use crate::jitter::Entry;
use crate::stretch::{MAX_LAG, MIN_LAG};

impl Playout {
    /// How long before the tick that needs it the next packet should arrive, beyond the target; in
    /// samples.
    ///
    /// - `queued`: samples left in the queue once this tick is taken.
    fn slack(&self, now: i64, queued: usize) -> Option<i64> {
        let base = self.base()?;
        let tick = self.tick_samples;
        let needed_at = now + ((queued / tick + 1) * tick) as i64;
        let packets = (tick - queued % tick).div_ceil(self.packet_samples);
        let start = self.next_time + ((packets - 1) * self.packet_samples) as i64;
        Some(needed_at - (base + start) - self.delay.target())
    }

    /// Puts time in or takes it out, one splice at most.
    pub(super) fn govern(&mut self, now: i64, needed: usize, drifting: bool) {
        self.ticks_to_next_splice = self.ticks_to_next_splice.saturating_sub(1);
        if self.state != State::Playing || self.stalled > 0 || self.fade.run > 0 {
            return;
        }
        let Some(slack) = self.slack(now, self.queue.len().saturating_sub(needed)) else {
            return;
        };
        let tick = self.tick_samples as i64;
        let rest = self.queue.len().saturating_sub(needed) % self.tick_samples;
        if let Some(spare) = self.catch_up.spare(slack, rest, self.tick_samples) {
            self.hurry(now, needed, spare);
            return;
        }
        let is_quiet = self.queue.is_quiet(2 * MIN_LAG);
        self.loud_ticks = match is_quiet {
            true => 0,
            false => self.loud_ticks.saturating_add(1),
        };
        let cut = self.patience.judge(slack, tick);
        if slack < -self.tolerated() {
            self.lengthen();
        } else if self.ticks_to_next_splice == 0 || slack > URGENT_SAMPLES {
            let excess = match drifting {
                true => slack - 2 * tick,
                false if cut.is_some() => slack,
                false => rest as i64,
            };
            let is_pressing = drifting || cut == Some(Cut::Now) || self.is_pauseless();
            let least = match is_quiet {
                true => REST_SAMPLES,
                false if is_pressing => MIN_LAG,
                false => return,
            };
            if excess < least as i64 {
                return;
            }
            if cut.is_none() && !drifting {
                // What is left over costs less than a splice that is heard.
                self.similarity = SIMILAR;
            }
            self.shorten(now, needed, excess as usize, slack > URGENT_SAMPLES);
            if is_quiet {
                // Nor is the next one heard.
                self.ticks_to_next_splice = 0;
            }
        }
    }

    fn lengthen(&mut self) {
        let inserted = self.queue.lengthen(MAX_LAG, self.similarity);
        self.stats.inserted_samples += inserted as u64;
        self.patience.regret();
        self.note_splice(inserted, 1);
    }

    fn shorten(&mut self, now: i64, needed: usize, excess: usize, urgent: bool) {
        // Two periods must be there to become one; only packets that are there are used for it.
        while self.queue.len() < needed + 2 * MAX_LAG && self.next_is_ready() {
            self.decode_first();
        }
        let similarity = if urgent { -1.0 } else { self.similarity };
        let spare = if self.next_is_ready() {
            excess
        } else {
            excess.min(self.queue.len().saturating_sub(needed))
        };
        let removed = self.queue.shorten(spare, similarity);
        self.stats.removed_samples += removed as u64;
        self.note_splice(removed, (SPLICE_REST_SAMPLES / self.tick_samples) as u32);
        self.fill(now, needed);
    }

    fn note_splice(&mut self, changed: usize, rest: u32) {
        if changed == 0 {
            self.similarity = (self.similarity - SIMILAR_STEP).max(SIMILAR_LEAST);
        } else {
            self.similarity = SIMILAR;
            self.ticks_to_next_splice = rest;
        }
    }

    /// The first packet stored is the very next one.
    pub(super) fn next_is_ready(&self) -> bool {
        let ready = |first: &Entry| first.seq == self.next_seq && first.time == self.next_time;
        !self.fresh && self.state == State::Playing && self.buffer.first().is_some_and(ready)
    }

    /// The resampling ratio (output over input) that holds the delay steady against a clock that is
    /// off, or that uses up a rest in the queue too short to be spliced out.
    pub(super) fn resampling_ratio(&mut self, now: i64, drift: Option<f64>) -> Option<f64> {
        let Some(drift) = drift else {
            let rest = self.queue.len() % self.tick_samples;
            let is_short = (REST_SAMPLES..2 * MIN_LAG).contains(&rest);
            return (is_short && self.is_pauseless()).then_some(1.0 / (1.0 + REST_CORRECTION));
        };
        let wanted = self.delay.target() + self.tick_samples as i64 + HYSTERESIS_SAMPLES;
        let error = (self.current_delay(now)? - wanted) as f64;
        let correction =
            (error / DRIFT_SETTLING_SAMPLES).clamp(-MAX_DRIFT_CORRECTION, MAX_DRIFT_CORRECTION);
        Some(1.0 / (1.0 + (drift + correction).clamp(-MAX_DRIFT, MAX_DRIFT)))
    }

    /// Whether it has been loud for so long that no pause is to be waited for.
    fn is_pauseless(&self) -> bool {
        self.loud_ticks as usize * self.tick_samples > PAUSELESS_SAMPLES
    }

    /// Samples the tick takes from the queue.
    pub(super) fn input_needed(&mut self, ratio: Option<f64>) -> usize {
        let Some(ratio) = ratio else {
            return self.tick_samples;
        };
        // Refused only outside the range it clamps to, which MAX_DRIFT stays within.
        let _ = self.slip.set_resample_ratio(ratio, false);
        self.slip.input_frames_next()
    }

    /// How long what plays now has waited since it could first have arrived.
    fn current_delay(&self, now: i64) -> Option<i64> {
        Some(now - self.base()? - self.played_up_to())
    }

    /// The base of what plays; none while what is stored is of another timeline, since the base is
    /// then of that.
    pub(super) fn base(&self) -> Option<i64> {
        self.delay.base().filter(|_| !self.fresh)
    }

    /// Writes the delay down for whoever asks.
    pub(super) fn measure(&mut self, now: i64) {
        self.stats.target = duration_of(self.delay.target());
        if self.stalled > 0 {
            // Nothing plays: whether that is delay or the end of a talk-spurt will show.
            return;
        }
        let delay = self.current_delay(now).unwrap_or(0).max(0);
        self.stats.delay = duration_of(delay);
    }
}

/// This much beyond the target is taken out without minding how it sounds: 80 ms.
const URGENT_SAMPLES: i64 = 3_840;

/// Slack that a resampled queue keeps beside its tick: 2 ms.
const HYSTERESIS_SAMPLES: i64 = 96;

/// A rest in the queue of less than this is left alone: a sixth of a millisecond, more than one
/// tick's resampling takes.
const REST_SAMPLES: usize = 8;

/// A longer one is spliced out in the next pause. Who makes none for three seconds is no speaker.
const PAUSELESS_SAMPLES: usize = 3 * SAMPLE_RATE_HZ as usize;

/// And then it is used up by one sample in a tick of 20 ms, which no ear follows.
const REST_CORRECTION: f64 = 0.001;

/// One splice in 60 ms: about a tenth faster than natural, which listeners do not notice.
const SPLICE_REST_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 60 / 1_000;

/// How alike two periods must be, at first and at last, and what each vain attempt takes off.
pub(super) const SIMILAR: f32 = 0.9;
const SIMILAR_STEP: f32 = 0.03;
const SIMILAR_LEAST: f32 = 0.2;

/// The delay settles within two seconds, by no more than 2,000 ppm beside the drift itself.
const DRIFT_SETTLING_SAMPLES: f64 = 2.0 * SAMPLE_RATE_HZ as f64;
const MAX_DRIFT_CORRECTION: f64 = 0.002;

/// What the slip resampler can follow with 10 ms ticks.
const MAX_DRIFT: f64 = 0.006;
