//! Whether somebody speaks: the meter's reading against a threshold, with hysteresis and hangover.
//!
//! Belongs to the strip. It decides and remembers; it touches no sample (the strip's ramp does).

use core::time::Duration;

use crate::codec::SKETCH_RATE_HZ;
use crate::format::{SAMPLE_RATE_HZ, TickLength};
use crate::frame::Frame;
use crate::units::Decibels;

/// Where the gate opens unless the room says otherwise.
pub const DEFAULT_THRESHOLD: Decibels = Decibels(-50.0);

/// How far below the opening threshold a voice may fall and still hold the gate.
pub const HYSTERESIS: Decibels = Decibels(6.0);

/// How long the gate stays open after the last sound: the pauses inside words and between most of
/// them.
pub const HANGOVER: Duration = Duration::from_millis(200);

/// What one tick of PCM measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Root mean square of the tick.
    pub level: Decibels,
    /// Root mean square of the loudest 5 ms in it: an onset late in the tick opens the gate all the
    /// same.
    pub onset: Decibels,
    /// Every sample is a number within what a decoder may sensibly give.
    pub sane: bool,
}

impl Reading {
    /// Digital silence.
    pub const SILENCE: Reading = Reading {
        level: Decibels::SILENCE,
        onset: Decibels::SILENCE,
        sane: true,
    };

    /// Measures one frame.
    ///
    /// Real-time: safe.
    pub fn of(frame: &Frame) -> Reading {
        Reading::of_windows(frame.samples(), WINDOW_SAMPLES * frame.layout().channels())
    }

    /// Measures a sketch.
    ///
    /// Real-time: safe.
    pub fn of_sketch(sketch: &[f32]) -> Reading {
        let window = WINDOW_SAMPLES * SKETCH_RATE_HZ as usize / SAMPLE_RATE_HZ as usize;
        Reading::of_windows(sketch, window)
    }

    fn of_windows(samples: &[f32], window: usize) -> Reading {
        let all_samples = samples.len().max(1);
        let (mut sum, mut loudest, mut peak) = (0.0f32, 0.0f32, 0.0f32);
        for samples in samples.chunks(window) {
            let window = Window::of(samples);
            sum += window.energy;
            loudest = loudest.max(window.energy);
            peak = peak.max(window.peak);
        }
        let level =
            |energy: f32, samples: usize| Decibels::from_factor((energy / samples as f32).sqrt());
        Reading {
            level: level(sum, all_samples),
            onset: level(loudest, window),
            // The sum is not a number if any sample is none.
            sane: sum.is_finite() && peak <= SANE_PEAK,
        }
    }
}

/// Largest magnitude a strip lets through from its decoder: +3.5 dBFS. Opus overshoots full scale a
/// little. A stream that switches coders with every packet makes it overshoot by far more, and what
/// that adds to the mix would hold the limiter down for everybody.
pub const SANE_PEAK: f32 = 1.5;

/// The gate of one strip.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    open: bool,
    hang_ms: u32,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}

impl Gate {
    /// A closed gate.
    pub const fn new() -> Gate {
        Gate {
            open: false,
            hang_ms: 0,
        }
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Closes it without hangover.
    pub fn close(&mut self) {
        *self = Gate::new();
    }

    /// Judges one tick; `threshold` `None` opens for anything but digital silence.
    ///
    /// Real-time: safe.
    pub fn judge(
        &mut self,
        reading: Reading,
        threshold: Option<Decibels>,
        tick: TickLength,
    ) -> bool {
        let opens_at = threshold.unwrap_or(ANYTHING).0;
        let needed = if self.open {
            opens_at - HYSTERESIS.0
        } else {
            opens_at
        };
        if reading.onset.0 >= needed.max(ANYTHING.0) {
            self.open = true;
            self.hang_ms = HANGOVER.as_millis() as u32;
        } else {
            self.hang_ms = self.hang_ms.saturating_sub(tick.ms());
            self.open &= self.hang_ms > 0;
        }
        self.open
    }
}

/// One window's sum of squares and largest magnitude.
struct Window {
    energy: f32,
    peak: f32,
}

impl Window {
    /// In lanes, which the compiler can turn into vector instructions.
    fn of(samples: &[f32]) -> Window {
        let (mut energies, mut peaks) = ([0.0f32; LANES], [0.0f32; LANES]);
        let rows = samples.chunks_exact(LANES);
        let rest = rows.remainder();
        for row in rows {
            for lane in 0..LANES {
                energies[lane] += row[lane] * row[lane];
                let magnitude = row[lane].abs();
                peaks[lane] = if magnitude > peaks[lane] {
                    magnitude
                } else {
                    peaks[lane]
                };
            }
        }
        Window {
            energy: energies.iter().sum::<f32>()
                + rest.iter().map(|sample| sample * sample).sum::<f32>(),
            peak: peaks
                .iter()
                .chain(rest)
                .fold(0.0, |peak, sample| peak.max(sample.abs())),
        }
    }
}

/// Two vectors of the smallest size there is.
const LANES: usize = 8;

/// 5 ms: shorter than any phoneme, long enough for a period of most voices.
const WINDOW_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 200;

/// The quietest sound that is not silence: the floor of RFC 6464, one step up.
const ANYTHING: Decibels = Decibels(-126.0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Layout;

    fn at(db: f32) -> Reading {
        Reading {
            level: Decibels(db),
            onset: Decibels(db),
            sane: true,
        }
    }

    #[test]
    fn opens_at_the_threshold_holds_below_it_and_hangs_over() {
        let mut gate = Gate::new();
        let mut judge = |db: f32| gate.judge(at(db), Some(DEFAULT_THRESHOLD), TickLength::Ms20);
        assert!(!judge(-51.0));
        assert!(judge(-49.0));
        assert!((0..100).all(|_| judge(-55.0)), "hysteresis");
        let open = (0..20).filter(|_| judge(-57.0)).count();
        assert_eq!(open, 9, "the tick that empties the hangover closes");
        assert!(!judge(-55.0), "closed, the full threshold counts again");
    }

    #[test]
    fn without_a_threshold_any_sound_opens() {
        let mut gate = Gate::new();
        assert!(!gate.judge(Reading::SILENCE, None, TickLength::Ms20));
        assert!(gate.judge(at(-100.0), None, TickLength::Ms20));
    }

    #[test]
    fn an_onset_in_the_last_five_milliseconds_counts() {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        frame.samples_mut()[720..].fill(0.004);
        let reading = Reading::of(&frame);
        assert!(reading.onset.0 > -50.0 && reading.level.0 < -50.0);
    }

    #[test]
    fn a_loud_voice_is_not_nonsense() {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        frame.samples_mut().fill(-1.2);
        assert!(Reading::of(&frame).sane);
    }

    #[test]
    fn nonsense_is_noticed() {
        for bad in [f32::NAN, f32::INFINITY, 1.0e20, -2.0] {
            let mut frame = Frame::new(Layout::Stereo, TickLength::Ms10);
            frame.samples_mut()[17] = bad;
            assert!(!Reading::of(&frame).sane);
        }
    }
}
