//! How loud a tick is.

use crate::codec::SKETCH_RATE_HZ;
use crate::format::SAMPLE_RATE_HZ;
use crate::frame::Frame;
use crate::units::Decibels;

/// What one tick of PCM measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelReading {
    /// Root mean square of the tick.
    pub level: Decibels,
    /// Root mean square of the loudest 5 ms in it: an onset late in the tick opens the gate all the
    /// same.
    pub onset: Decibels,
    /// Every sample is a number within what a decoder may sensibly give.
    pub sane: bool,
}

impl LevelReading {
    /// Digital silence.
    pub const SILENCE: LevelReading = LevelReading {
        level: Decibels::SILENCE,
        onset: Decibels::SILENCE,
        sane: true,
    };

    /// Measures one frame.
    ///
    /// Real-time: safe.
    pub fn of(frame: &Frame) -> LevelReading {
        LevelReading::of_windows(frame.samples(), WINDOW_SAMPLES * frame.layout().channels())
    }

    /// Measures what was decoded roughly: mono, at [`SKETCH_RATE_HZ`].
    ///
    /// Real-time: safe.
    pub fn of_rough(rough: &[f32]) -> LevelReading {
        let window = WINDOW_SAMPLES * SKETCH_RATE_HZ as usize / SAMPLE_RATE_HZ as usize;
        LevelReading::of_windows(rough, window)
    }

    fn of_windows(samples: &[f32], window: usize) -> LevelReading {
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
        LevelReading {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Layout, TickLength};

    #[test]
    fn an_onset_in_the_last_five_milliseconds_counts() {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        frame.samples_mut()[720..].fill(0.004);
        let reading = LevelReading::of(&frame);
        assert!(reading.onset.0 > -50.0 && reading.level.0 < -50.0);
    }

    #[test]
    fn a_loud_voice_is_not_nonsense() {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        frame.samples_mut().fill(-1.2);
        assert!(LevelReading::of(&frame).sane);
    }

    #[test]
    fn nonsense_is_noticed() {
        for bad in [f32::NAN, f32::INFINITY, 1.0e20, -2.0] {
            let mut frame = Frame::new(Layout::Stereo, TickLength::Ms10);
            frame.samples_mut()[17] = bad;
            assert!(!LevelReading::of(&frame).sane);
        }
    }
}
