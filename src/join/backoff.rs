//! Backoff: how long to wait before the next attempt to connect.

use std::time::Duration;

/// Waits that double from half a second to ten seconds, each shifted at random by up to a quarter,
/// so that the clients of a restarted server do not all reconnect at once.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Returns the wait before the next attempt, within [`SHORTEST`] and [`LONGEST`].
    ///
    /// - `chance`: a random number in `0.0..1.0` that determines the shift.
    pub fn next(&mut self, chance: f64) -> Duration {
        let wait = SHORTEST
            .saturating_mul(1 << self.attempts.min(5))
            .min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        wait.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0))
            .clamp(SHORTEST, LONGEST)
    }
}

/// The shortest wait.
pub const SHORTEST: Duration = Duration::from_millis(500);

/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_waits_grow_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next(0.5).as_millis()).collect();
        assert_eq!(
            waits,
            [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]
        );
    }

    #[test]
    fn backoff_waits_stay_within_their_bounds_for_any_random_number() {
        for chance in [0.0, 0.3, 0.99, 7.0, -1.0] {
            let mut backoff = Backoff::default();
            for _ in 0..1_000 {
                let wait = backoff.next(chance);
                assert!((SHORTEST..=LONGEST).contains(&wait));
            }
        }
        let second = |chance| {
            let mut backoff = Backoff::default();
            backoff.next(chance);
            backoff.next(chance)
        };
        assert_eq!(second(0.0), Duration::from_millis(750));
        assert_eq!(second(1.0), Duration::from_millis(1_250));
    }
}
