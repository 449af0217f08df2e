//! Catches up with a participant who spoke while waiting for the floor.

use crate::format::SAMPLE_RATE_HZ;
use crate::source::stretch_buffer::MIN_LAG;

/// Progress of catching up with packets that were held for a permit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// Not catching up.
    #[default]
    Done,
    /// Catching up, for at most this many more samples.
    Going(usize),
    /// No packets will follow: the remaining ones are played at normal speed.
    Last,
}

impl CatchUp {
    /// Starts catching up: the held packets begin to play.
    pub fn begin() -> CatchUp {
        CatchUp::Going(MOST_SAMPLES)
    }

    /// Counts one tick and returns how many samples should be removed; `None` if there is nothing
    /// to catch up with, so that the ordinary delay control decides.
    ///
    /// - `slack`: how long before the tick that needs it the next packet should arrive, beyond the
    ///   target. The whole ticks in it can be removed.
    /// - `rest`: samples in the queue beyond whole ticks. All of them can be removed.
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

    /// How many more samples than usual may wait beyond the target.
    pub fn allowance(self) -> i64 {
        match self {
            CatchUp::Done => 0,
            CatchUp::Going(_) | CatchUp::Last => MOST_KEPT_SAMPLES,
        }
    }
}

/// Catching up ends after four seconds; the ordinary delay control removes the rest.
const MOST_SAMPLES: usize = 4 * SAMPLE_RATE_HZ as usize;

/// Most that may be waiting beyond the target: 320 ms, a tick more than the 300 ms of packets that
/// are held.
const MOST_KEPT_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 * 320 / 1_000;

/// Kept beyond the target when catching up: half a millisecond.
const SPARE_SAMPLES: i64 = 24;

/// An excess below 5 ms is removed by resampling.
const LEAST_SAMPLES: usize = 2 * MIN_LAG;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: usize = 960;

    #[test]
    fn catch_up_removes_whole_ticks_and_the_remainder_and_then_ends() {
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
    fn catch_up_ends_after_four_seconds_and_never_shortens_last_words() {
        let mut catch_up = CatchUp::Going(MOST_SAMPLES);
        let ticks = (0..1_000).take_while(|_| catch_up.excess(14_400, 0, TICK).is_some());
        assert_eq!(ticks.count(), 199);
        let mut last = CatchUp::Last;
        assert!((0..1_000).all(|_| last.excess(14_400, 0, TICK) == Some(0)));
    }
}
