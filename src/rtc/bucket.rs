//! A token bucket: so many at once, then one per interval.

use std::time::{Duration, Instant};

/// The bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    burst: u32,
    refill: Duration,
    tokens: u32,
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
        let earned =
            now.saturating_duration_since(self.refilled).as_nanos() / self.refill.as_nanos();
        if earned > 0 {
            let missing = self.burst - self.tokens;
            self.tokens += earned.min(u128::from(missing)) as u32;
            self.refilled = now;
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
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
        assert!(!bucket.take(at(9)));
        assert!(bucket.take(at(10)) && !bucket.take(at(10)));
        assert_eq!(
            (0..9).filter(|_| bucket.take(at(1_000))).count(),
            3,
            "no more than the burst"
        );
    }
}
