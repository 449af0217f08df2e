//! How long packets must have been early before they are needed a tick earlier.
//!
//! Both ways cost a tick's worth of splices, and a wait that is just long enough for the network
//! most of the time would go to and fro for ever. So each time it turns out to have been cut too
//! short, the next cut is thought over for four times as long.

use crate::format::TickLength;

/// Decides when the wait is cut by a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShrinkPolicy {
    tick_ms: u32,
    /// How long the packets have been early without a break.
    early_ms: u32,
    /// How long they must be.
    wanted_ms: u32,
    /// So early that it is being cut without waiting, down to what is needed.
    far: bool,
    /// It was cut since it had to be lengthened last.
    cut: bool,
    /// How long ago the wait had to be lengthened, saturating.
    calm_ms: u32,
}

/// When time is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shrink {
    /// Where nobody hears it.
    InPause,
    /// Wherever the sound repeats itself.
    Now,
}

impl ShrinkPolicy {
    pub fn new(tick: TickLength) -> ShrinkPolicy {
        ShrinkPolicy {
            tick_ms: tick.ms(),
            early_ms: 0,
            wanted_ms: LEAST_MS,
            far: false,
            cut: false,
            calm_ms: u32::MAX,
        }
    }

    /// Whether the wait should be cut in this tick, and where.
    ///
    /// - `slack`: how long before the tick that needs it the next packet should arrive, beyond the
    ///   target; `tick`: a tick; both in samples.
    pub fn judge(&mut self, slack: i64, tick: i64) -> Option<Shrink> {
        self.calm_ms = self.calm_ms.saturating_add(self.tick_ms);
        if self.calm_ms >= FORGETS_MS {
            self.wanted_ms = LEAST_MS;
        }
        let early = slack >= tick + SPARE_SAMPLES;
        self.early_ms = match early {
            true => self.early_ms.saturating_add(self.tick_ms),
            false => 0,
        };
        self.far = early && (self.far || slack >= 2 * tick);
        if self.far {
            self.wanted_ms = LEAST_MS;
        }
        let over = self.far || self.early_ms >= self.wanted_ms;
        self.cut |= over;
        match over {
            true if self.far => Some(Shrink::Now),
            true => Some(Shrink::InPause),
            false => None,
        }
    }

    /// The wait had to be lengthened.
    pub fn lengthened(&mut self) {
        // A tick's worth takes several splices, and only a cut can have been too short.
        if core::mem::take(&mut self.cut) {
            self.wanted_ms = (4 * self.wanted_ms).min(MOST_MS);
        }
        self.calm_ms = 0;
        self.early_ms = 0;
    }
}

/// Left between what is cut and the target: half a millisecond.
const SPARE_SAMPLES: i64 = 24;

/// From two seconds, which the target takes to forget two late packets, to a minute.
const LEAST_MS: u32 = 2_000;
const MOST_MS: u32 = 64_000;

/// Two minutes without a lengthening: the network is another one.
const FORGETS_MS: u32 = 120_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: i64 = 960;

    /// Ticks until a cut, with the packets early by a tick and a bit.
    fn ticks_to_cut(policy: &mut ShrinkPolicy) -> u32 {
        let cut =
            (1..10_000).find(|_| policy.judge(TICK + SPARE_SAMPLES, TICK) == Some(Shrink::InPause));
        cut.expect("it is cut at last")
    }

    #[test]
    fn a_wait_cut_too_short_is_cut_later_the_next_time() {
        let mut policy = ShrinkPolicy::new(TickLength::Ms20);
        assert_eq!(ticks_to_cut(&mut policy), 100);
        for ticks in [400, 1_600, 3_200, 3_200] {
            // Seven splices lengthen it by a tick, and count once.
            for _ in 0..7 {
                policy.lengthened();
                assert_eq!(policy.judge(0, TICK), None);
            }
            assert_eq!(ticks_to_cut(&mut policy), ticks);
        }
        for _ in 0..6_000 {
            policy.judge(0, TICK);
        }
        assert_eq!(ticks_to_cut(&mut policy), 100);
    }

    #[test]
    fn two_ticks_are_cut_at_once_and_less_than_one_never() {
        let mut policy = ShrinkPolicy::new(TickLength::Ms10);
        assert_eq!(policy.judge(960, 480), Some(Shrink::Now));
        let goes_on = policy.judge(480 + SPARE_SAMPLES, 480);
        assert_eq!(goes_on, Some(Shrink::Now));
        for _ in 0..10_000 {
            assert_eq!(policy.judge(480 + SPARE_SAMPLES - 1, 480), None);
        }
    }
}
