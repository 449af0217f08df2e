//! Decides how long packets must have been early before the playout delay (the wait) is cut by a
//! tick.
//!
//! Cutting and lengthening both cost a tick's worth of splices, and a wait that only just suffices
//! for the network would alternate for ever. So each time the wait turns out to have been cut too
//! short, packets must be early four times as long before the next cut.

use crate::format::TickLength;

/// Decides when the playout delay is cut by a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShrinkPolicy {
    tick_ms: u32,
    /// How long the packets have been early without interruption, in milliseconds.
    early_ms: u32,
    /// How long the packets must be early before a cut, in milliseconds.
    wanted_ms: u32,
    /// The packets are so early that the wait is cut at once, down to what is needed.
    far: bool,
    /// The wait was cut since it last had to be lengthened.
    cut: bool,
    /// Milliseconds since the wait had to be lengthened, saturating.
    calm_ms: u32,
}

/// Where in the sound time is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shrink {
    /// Only where the splice is inaudible.
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
    ///   target; in samples.
    /// - `tick`: length of a tick in samples.
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

    /// Records that the wait had to be lengthened.
    pub fn lengthened(&mut self) {
        // Lengthening by a tick takes several splices, which count once, and only a cut can have
        // been too short.
        if core::mem::take(&mut self.cut) {
            self.wanted_ms = (4 * self.wanted_ms).min(MOST_MS);
        }
        self.calm_ms = 0;
        self.early_ms = 0;
    }
}

/// Margin that a cut leaves above the target: half a millisecond.
const SPARE_SAMPLES: i64 = 24;

/// From two seconds, which the target takes to forget two late packets, to about a minute.
const LEAST_MS: u32 = 2_000;
const MOST_MS: u32 = 64_000;

/// After two minutes without a lengthening, the network is taken to have changed, and the policy
/// forgets its history.
const FORGETS_MS: u32 = 120_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: i64 = 960;

    /// Ticks until the wait is cut, with packets early by slightly more than a tick.
    fn ticks_to_cut(policy: &mut ShrinkPolicy) -> u32 {
        let cut =
            (1..10_000).find(|_| policy.judge(TICK + SPARE_SAMPLES, TICK) == Some(Shrink::InPause));
        cut.expect("it is cut at last")
    }

    #[test]
    fn shrink_policy_waits_longer_after_a_cut_that_made_the_wait_too_short() {
        let mut policy = ShrinkPolicy::new(TickLength::Ms20);
        assert_eq!(ticks_to_cut(&mut policy), 100);
        for ticks in [400, 1_600, 3_200, 3_200] {
            // Seven splices lengthen the wait by a tick, and count once.
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
    fn shrink_policy_cuts_two_ticks_at_once_and_never_less_than_one() {
        let mut policy = ShrinkPolicy::new(TickLength::Ms10);
        assert_eq!(policy.judge(960, 480), Some(Shrink::Now));
        let goes_on = policy.judge(480 + SPARE_SAMPLES, 480);
        assert_eq!(goes_on, Some(Shrink::Now));
        for _ in 0..10_000 {
            assert_eq!(policy.judge(480 + SPARE_SAMPLES - 1, 480), None);
        }
    }
}
