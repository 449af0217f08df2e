//! RTP clock of the packets that a room sends.
//!
//! The clock follows the instants of the room's ticks, with one exception. When a room moves to
//! another slot in a pause, one tick begins a few milliseconds after the end of the tick before. A
//! gap in RTP time would make every receiver fill it, and libwebrtc's receiver fills it with 10 ms
//! or more, by which it lags from then on. Without the gap, the packet only comes that much later,
//! which a receiver's jitter buffer handles. The clock then runs *behind* the ticks, until a tick
//! that comes early makes up for it.

use crate::format::{SAMPLE_RATE_HZ, TickLength};
use crate::units::RtpTime;

/// Maps the instants of a room's ticks to RTP time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MediaClock {
    /// RTP time of the last tick, before the lag is subtracted.
    last: Option<RtpTime>,
    behind_samples: u32,
}

impl MediaClock {
    /// RTP time of the first sample of a tick.
    ///
    /// - `time`: RTP time of the tick's instant.
    ///
    /// Real-time: safe.
    pub fn at(&mut self, time: RtpTime, tick: TickLength) -> RtpTime {
        let samples = tick.samples() as u32;
        let passed = self
            .last
            .map_or(samples, |last| time.0.wrapping_sub(last.0));
        self.last = Some(time);
        match passed {
            // The tick begins later than the last one ended: the room has moved.
            late if late > samples && late < 2 * samples => {
                let behind = self.behind_samples + (late - samples);
                if behind <= MOST_BEHIND_SAMPLES {
                    self.behind_samples = behind;
                }
            }
            // The tick begins before the last one ended.
            early if early < samples => {
                self.behind_samples = self.behind_samples.saturating_sub(samples - early);
            }
            pause if pause > PAUSE_SAMPLES => self.behind_samples = 0,
            _ => {}
        }
        RtpTime(time.0.wrapping_sub(self.behind_samples))
    }
}

/// Most that the clock may run behind: 10 ms. A packet that comes later may empty a receiver's
/// buffer.
const MOST_BEHIND_SAMPLES: u32 = SAMPLE_RATE_HZ / 100;

/// After 200 ms without a tick, the room has slept and sent nothing: the clock follows the ticks
/// again.
const PAUSE_SAMPLES: u32 = SAMPLE_RATE_HZ / 5;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: TickLength = TickLength::Ms20;

    /// Steps of the clock at ticks that follow each other after `passed` samples.
    fn steps(passed: &[u32]) -> Vec<u32> {
        let mut clock = MediaClock::default();
        let mut time = 0u32.wrapping_sub(1_000);
        let mut before = clock.at(RtpTime(time), TICK);
        let step = |passed: &u32| {
            time = time.wrapping_add(*passed);
            let now = clock.at(RtpTime(time), TICK);
            let step = now.0.wrapping_sub(before.0);
            before = now;
            step
        };
        passed.iter().map(step).collect()
    }

    #[test]
    fn media_clock_follows_ticks_and_skipped_ticks() {
        assert_eq!(steps(&[960, 960, 1_920, 960]), [960, 960, 1_920, 960]);
    }

    #[test]
    fn media_clock_absorbs_a_late_tick_and_recovers_with_an_early_one() {
        let passed = [1_320, 960, 840, 720, 600];
        assert_eq!(steps(&passed), [960, 960, 960, 960, 600]);
    }

    #[test]
    fn media_clock_runs_at_most_10_ms_behind() {
        assert_eq!(steps(&[1_320, 1_320, 1_080]), [960, 1_320, 960]);
        assert_eq!(steps(&[1_320, 48_000, 960]), [960, 48_360, 960]);
    }
}
