//! Limits how much of a source's sound is decoded on arrival, outside of ticks.
//!
//! A tick decodes one tick of sound for each source. Decoding on arrival is limited to real time as
//! well: 20 ms of sound for every 20 ms that pass, however many packets the source sends.

use core::time::Duration;

use crate::format::SAMPLE_RATE_HZ;
use crate::units::Time;

/// Duration of sound that may still be decoded on arrival; it grows as time passes.
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
    /// Takes `samples` at 48 kHz off the budget and returns `true`, if so many are left at `now`.
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

/// The budget at its fullest. A network may deliver a backlog of packets at once, and three packets
/// warm up a decoder: four packets of 60 ms in all.
const MOST: Duration = Duration::from_millis(240);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_budget_grants_no_more_sound_than_real_time() {
        let mut budget = DecodeBudget::default();
        let mut spent_ms = 0;
        for ms in 0..10_000 {
            let now = Time::from_us(5_000_000 + ms * 1_000);
            spent_ms += 20 * (0..10).filter(|_| budget.spend(960, now)).count();
        }
        assert!((10_220..=10_240).contains(&spent_ms), "{spent_ms}");
    }

    #[test]
    fn decode_budget_always_suffices_for_a_stream_in_real_time() {
        let mut budget = DecodeBudget::default();
        for number in 0..1_000u64 {
            // Five packets at once, as after a stall.
            let now = Time::from_us(5_000_000 + number / 5 * 100_000);
            assert!(budget.spend(960, now), "packet {number}");
        }
        assert!(budget.spend(960, Time::ZERO));
    }
}
