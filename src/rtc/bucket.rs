//! A token bucket: so many at once, then one per interval.

use std::time::{Duration, Instant};

/// The bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    burst: u32,
    refill: Duration,
    tokens: u32,
    /// Until when what was earned is among the tokens.
    refilled: Instant,
}

impl Bucket {
    /// A full bucket of `burst`, with one more each `refill`.
    pub(super) fn new(now: Instant, burst: u32, refill: Duration) -> Bucket {
        Bucket {
            burst,
            refill,
            tokens: burst,
            refilled: now,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.take_or_wait(now).is_ok()
    }

    /// Takes one, if there is one.
    ///
    /// # Errors
    ///
    /// How long it takes until there is one.
    pub(super) fn take_or_wait(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.refilled);
        if since >= self.refill {
            let earned = since.as_nanos() / self.refill.as_nanos();
            let missing = u128::from(self.burst - self.tokens);
            if earned < missing {
                self.tokens += earned as u32;
                // The fraction of an interval counts for the next one.
                self.refilled += self.refill * earned as u32;
            } else {
                self.tokens = self.burst;
                self.refilled = now;
            }
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => Err(self.refill - now.saturating_duration_since(self.refilled)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 3, Duration::from_millis(10));
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((0..9).filter(|_| bucket.take(start)).count(), 3);
        assert_eq!(
            bucket.take_or_wait(at(9)),
            Err(Duration::from_millis(1)),
            "says how long"
        );
        assert!(bucket.take(at(10)) && !bucket.take(at(10)));
        assert_eq!(
            (0..9).filter(|_| bucket.take(at(1_000))).count(),
            3,
            "no more than the burst"
        );
    }

    #[test]
    fn the_rate_is_kept_whenever_it_is_asked() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 3, Duration::from_millis(10));
        // Every 19 ms, so that a fraction is left each time.
        let given = (0..=1_000u32).map(|n| start + n * Duration::from_millis(19));
        let given: usize = given
            .map(|now| (0..9).filter(|_| bucket.take(now)).count())
            .sum();
        assert_eq!(given, 3 + 19_000 / 10);
    }
}
