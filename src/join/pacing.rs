//! Computes absolute deadlines for the media threads, so that no timing error accumulates.

use std::time::{Duration, Instant};

/// An endless sequence of deadlines, `period` apart.
#[derive(Debug)]
pub struct Pacer {
    origin: Instant,
    period: Duration,
    ticks: u64,
}

impl Pacer {
    /// Creates deadlines at `origin`, `origin + period` and so on.
    pub fn new(origin: Instant, period: Duration) -> Pacer {
        Pacer {
            origin,
            period,
            ticks: 0,
        }
    }

    /// Returns the next deadline, which [`Pacer::take`] has not returned yet.
    pub fn deadline(&self) -> Instant {
        let period_ns = self.period.as_nanos() as u64;
        self.origin + Duration::from_nanos(period_ns.saturating_mul(self.ticks))
    }

    /// Returns the next deadline and moves on to the one after it, if it has passed; otherwise
    /// returns `None`.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        let deadline = self.deadline();
        (deadline <= now).then(|| {
            self.ticks += 1;
            deadline
        })
    }

    /// Skips all deadlines that have passed except the last `keep`; returns the number skipped.
    pub fn skip_all_but(&mut self, keep: u64, now: Instant) -> u64 {
        let late = now.saturating_duration_since(self.deadline());
        let come =
            (late.as_nanos() / self.period.as_nanos()) as u64 + u64::from(self.deadline() <= now);
        let skipped = come.saturating_sub(keep);
        self.ticks += skipped;
        skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(20);

    #[test]
    fn pacer_does_not_drift_in_a_day_of_late_wake_ups() {
        let origin = Instant::now();
        let mut pacer = Pacer::new(origin, PERIOD);
        let ticks = 24 * 3600 * 50u64;
        let mut late_us = 0;
        for tick in 0..ticks {
            let due = pacer.deadline();
            assert_eq!(due - origin, Duration::from_millis(20 * tick));
            // Each wake-up is late by a different time from 0 to 19 ms.
            late_us = (late_us * 1_103 + 12_345) % 19_000;
            let now = due + Duration::from_micros(late_us);
            assert_eq!(pacer.skip_all_but(5, now), 0);
            assert_eq!(pacer.take(now), Some(due));
            assert_eq!(pacer.take(now), None);
        }
    }

    #[test]
    fn pacer_skips_all_but_the_last_deadlines_after_a_long_delay() {
        let origin = Instant::now();
        let mut pacer = Pacer::new(origin, PERIOD);
        let now = origin + Duration::from_millis(1_005);
        assert_eq!(pacer.skip_all_but(5, now), 46);
        let taken = std::iter::from_fn(|| pacer.take(now)).count();
        assert_eq!(taken, 5);
        assert_eq!(pacer.deadline(), origin + Duration::from_millis(1_020));
        assert_eq!(pacer.skip_all_but(5, now), 0);
    }
}
