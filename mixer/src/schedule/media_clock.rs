//! The RTP clock of what a room sends.
//!
//! It follows the instants of the room's ticks, with one exception. A room that moves in a pause has one tick that
//! begins a few milliseconds later than the last one ends. A gap in RTP time would make every receiver fill it, and
//! libwebrtc's fills it with 10 ms or more, by which it lags from then on. Without the gap the packet just comes that
//! much later, which a receiver's buffer is for. The clock then runs *behind* the ticks, until a tick that comes
//! early makes up for it.

use crate::format::{SAMPLE_RATE_HZ, TickLength};
use crate::units::RtpTime;

/// RTP time of a room's ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MediaClock {
    /// When the last tick was, without what the clock runs behind.
    last: Option<RtpTime>,
    behind_samples: u32,
}

impl MediaClock {
    /// RTP time of a tick's first sample.
    ///
    /// - `time`: of the tick's instant.
    ///
    /// Real-time: safe.
    pub fn at(&mut self, time: RtpTime, tick: TickLength) -> RtpTime {
        let samples = tick.samples() as u32;
        let passed = self
            .last
            .map_or(samples, |last| time.0.wrapping_sub(last.0));
        self.last = Some(time);
        match passed {
            // Later than the end of the last tick: a move.
            late if late > samples && late < 2 * samples => {
                let behind = self.behind_samples + (late - samples);
                if behind <= MOST_BEHIND_SAMPLES {
                    self.behind_samples = behind;
                }
            }
            // Before it.
            early if early < samples => {
                self.behind_samples = self.behind_samples.saturating_sub(samples - early);
            }
            pause if pause > PAUSE_SAMPLES => self.behind_samples = 0,
            _ => {}
        }
        RtpTime(time.0.wrapping_sub(self.behind_samples))
    }
}

/// The clock runs behind by 10 ms at most: a packet that comes later than that may empty a receiver's buffer.
const MOST_BEHIND_SAMPLES: u32 = SAMPLE_RATE_HZ / 100;

/// A room that has slept so long has sent nothing: a fifth of a second.
const PAUSE_SAMPLES: u32 = SAMPLE_RATE_HZ / 5;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: TickLength = TickLength::Ms20;

    /// Steps of the clock at ticks that come so many samples after each other.
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
    fn clock_follows_ticks_and_skipped_ticks() {
        assert_eq!(steps(&[960, 960, 1_920, 960]), [960, 960, 1_920, 960]);
    }

    #[test]
    fn late_move_is_no_gap_and_early_move_makes_up_for_it() {
        let passed = [1_320, 960, 840, 720, 600];
        assert_eq!(steps(&passed), [960, 960, 960, 960, 600]);
    }

    #[test]
    fn clock_never_runs_far_behind() {
        assert_eq!(steps(&[1_320, 1_320, 1_080]), [960, 1_320, 960]);
        assert_eq!(steps(&[1_320, 48_000, 960]), [960, 48_360, 960]);
    }
}
