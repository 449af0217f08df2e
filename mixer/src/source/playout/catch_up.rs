//! How a participant who spoke while they waited for the floor is caught up with.

use crate::format::SAMPLE_RATE_HZ;
use crate::source::stretch_buffer::MIN_LAG;

/// Whether what plays waited for a permission.
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
    /// What waited begins to play.
    pub fn begin() -> CatchUp {
        CatchUp::Going(MOST_SAMPLES)
    }

    /// One tick has passed; how much should be taken out, while that is decided here.
    ///
    /// - `slack`: how long before the tick that needs it the next packet should arrive, beyond the
    ///   target: of this the whole ticks can be spared.
    /// - `rest`: what the queue holds beside whole ticks, all of which can.
    pub fn excess(&mut self, slack: i64, rest: usize, tick: usize) -> Option<usize> {
        let CatchUp::Going(left) = self else {
            return (*self == CatchUp::Last).then_some(0);
        };
        *left = left.saturating_sub(tick);
        let ticks = (slack - SPARE_SAMPLES).max(0) as usize / tick;
        let excess = ticks * tick + rest;
        if excess < LEAST_SAMPLES || *left == 0 {
            *self = CatchUp::Done;
            return None;
        }
        Some(excess)
    }

    /// Beyond the target this much more waits than otherwise might.
    pub fn allowance(self) -> i64 {
        match self {
            CatchUp::Done => 0,
            CatchUp::Going(_) | CatchUp::Last => MOST_KEPT_SAMPLES,
        }
    }
}

/// What has not been caught up with after so long is left to the ordinary means: four seconds.
const MOST_SAMPLES: usize = 4 * SAMPLE_RATE_HZ as usize;

/// Most that may have been kept, beside the target: 320 ms, a tick more than what is kept.
const MOST_KEPT_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 * 320 / 1_000;

/// Left between what is caught up and the target: half a millisecond.
const SPARE_SAMPLES: i64 = 24;

/// Less than this is resampled away: 5 ms.
const LEAST_SAMPLES: usize = 2 * MIN_LAG;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: usize = 960;

    #[test]
    fn whole_ticks_and_what_is_left_over_can_be_spared_and_then_no_more() {
        let mut catch_up = CatchUp::Going(MOST_SAMPLES);
        assert_eq!(catch_up.excess(14_400, 300, TICK), Some(14 * TICK + 300));
        assert_eq!(catch_up.excess(TICK as i64, 500, TICK), Some(500));
        assert_eq!(
            catch_up.excess(-5_000, LEAST_SAMPLES, TICK),
            Some(LEAST_SAMPLES)
        );
        assert!(catch_up.allowance() > 14_400);
        assert_eq!(catch_up.excess(TICK as i64, LEAST_SAMPLES - 1, TICK), None);
        assert_eq!(catch_up.excess(14_400, 300, TICK), None, "it has ended");
        assert_eq!(catch_up.allowance(), 0);
    }

    #[test]
    fn it_does_not_go_on_for_ever_and_what_is_the_last_is_left_alone() {
        let mut catch_up = CatchUp::Going(MOST_SAMPLES);
        let ticks = (0..1_000).take_while(|_| catch_up.excess(14_400, 0, TICK).is_some());
        assert_eq!(ticks.count(), 199);
        let mut last = CatchUp::Last;
        assert!((0..1_000).all(|_| last.excess(14_400, 0, TICK) == Some(0)));
    }
}
