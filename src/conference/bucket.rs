//! How many messages a client may send: a leaky bucket of 20 that empties at 10 a second.

use std::time::Instant;

/// Messages that may come at once.
const BURST: f32 = 20.0;
/// Messages that may come every second for as long as one likes.
const PER_SECOND: f32 = 10.0;

/// A leaky bucket. Time is passed in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    filled: f32,
    at: Option<Instant>,
    warned: bool,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out.
    Pass,
    /// Drop it and tell the sender; said once each time the bucket runs over.
    Warn,
    /// Drop it; the sender was told and went on.
    Abuse,
}

impl Bucket {
    /// Counts one message.
    pub fn take(&mut self, now: Instant) -> Verdict {
        if let Some(before) = self.at {
            let leaked = now.saturating_duration_since(before).as_secs_f32() * PER_SECOND;
            self.filled = (self.filled - leaked).max(0.0);
        }
        self.at = Some(now);
        if self.filled + 1.0 <= BURST {
            self.filled += 1.0;
            // Forgiven once the sender has slowed down for a second.
            self.warned &= self.filled > BURST - PER_SECOND;
            Verdict::Pass
        } else if self.warned {
            Verdict::Abuse
        } else {
            self.warned = true;
            Verdict::Warn
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_warns_then_is_abuse() {
        let mut bucket = Bucket::default();
        let now = Instant::now();
        for _ in 0..20 {
            assert_eq!(bucket.take(now), Verdict::Pass);
        }
        assert_eq!(bucket.take(now), Verdict::Warn);
        assert_eq!(bucket.take(now), Verdict::Abuse);
    }

    #[test]
    fn ten_a_second_pass_for_ever() {
        let mut bucket = Bucket::default();
        let mut now = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(bucket.take(now), Verdict::Pass);
            now += Duration::from_millis(101);
        }
    }

    #[test]
    fn a_pause_forgives() {
        let mut bucket = Bucket::default();
        let mut now = Instant::now();
        for _ in 0..21 {
            bucket.take(now);
        }
        now += Duration::from_secs(2);
        assert_eq!(bucket.take(now), Verdict::Pass);
        for _ in 0..19 {
            assert_eq!(bucket.take(now), Verdict::Pass);
        }
        assert_eq!(bucket.take(now), Verdict::Warn);
    }
}
