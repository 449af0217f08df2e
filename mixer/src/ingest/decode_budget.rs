//! How much of a source's sound may be decoded on arrival, outside of ticks.
//!
//! A tick decodes a tick's worth of each source. What is decoded on arrival is
//! held to the same: no source costs more than the time its sound takes, however many packets it
//! sends.

use core::time::Duration;

use crate::format::SAMPLE_RATE_HZ;
use crate::units::Time;

/// Sound that may be decoded on arrival, which grows as time passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeBudget {
    left: Duration,
    counted: Time,
}

impl Default for DecodeBudget {
    fn default() -> DecodeBudget {
        DecodeBudget {
            left: MOST,
            counted: Time::ZERO,
        }
    }
}

impl DecodeBudget {
    /// Whether so many samples at 48 kHz may be decoded now; if so, they are taken off.
    pub fn spend(&mut self, samples: usize, now: Time) -> bool {
        let passed = now.since(self.counted);
        self.counted = self.counted.max(now);
        self.left = self.left.saturating_add(passed).min(MOST);
        let cost = Duration::from_micros(samples as u64 * 1_000_000 / u64::from(SAMPLE_RATE_HZ));
        let rest = self.left.checked_sub(cost);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }
}

/// What a network has held up comes at once, and a decoder is warmed up by three packets: four of
/// 60 ms.
const MOST: Duration = Duration::from_millis(240);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_decoded_than_time_passes() {
        let mut budget = DecodeBudget::default();
        let mut spent_ms = 0;
        for ms in 0..10_000 {
            let now = Time::from_us(5_000_000 + ms * 1_000);
            spent_ms += 20 * (0..10).filter(|_| budget.spend(960, now)).count();
        }
        assert!((10_220..=10_240).contains(&spent_ms), "{spent_ms}");
    }

    #[test]
    fn a_stream_in_real_time_is_always_within_it_and_time_may_stand_still() {
        let mut budget = DecodeBudget::default();
        for number in 0..1_000u64 {
            // In fives, as after a stall.
            let now = Time::from_us(5_000_000 + number / 5 * 100_000);
            assert!(budget.spend(960, now), "packet {number}");
        }
        assert!(budget.spend(960, Time::ZERO));
    }
}
