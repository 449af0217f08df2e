//! Measures the level of one tick of PCM.

use crate::codec::SKETCH_RATE_HZ;
use crate::format::SAMPLE_RATE_HZ;
use crate::frame::Frame;
use crate::units::Decibels;

/// The measured levels of one tick of PCM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelReading {
    /// Root mean square of the whole tick.
    pub level: Decibels,
    /// Root mean square of the loudest 5 ms of the tick, so that an onset late in the tick opens
    /// the gate too.
    pub onset: Decibels,
    /// Whether every sample is a number within [`SANE_PEAK`].
    pub sane: bool,
}

impl LevelReading {
    /// The reading of digital silence.
    pub const SILENCE: LevelReading = LevelReading {
        level: Decibels::SILENCE,
        onset: Decibels::SILENCE,
        sane: true,
    };

    /// Measures one decoded frame.
    ///
    /// Real-time: safe.
    pub fn of(frame: &Frame) -> LevelReading {
        LevelReading::of_windows(frame.samples(), WINDOW_SAMPLES * frame.layout().channels())
    }

    /// Measures roughly decoded PCM: mono, at [`SKETCH_RATE_HZ`].
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
            // The sum is not finite if any sample is NaN or infinite.
            sane: sum.is_finite() && peak <= SANE_PEAK,
        }
    }
}

/// Largest magnitude that a strip passes on from its decoder: +3.5 dBFS. Opus overshoots full scale
/// slightly. A stream that switches coders with every packet makes it overshoot by far more, and
/// such peaks in the mix would hold the limiter down for everybody.
pub const SANE_PEAK: f32 = 1.5;

/// Sum of squares and largest magnitude of one window.
struct Window {
    energy: f32,
    peak: f32,
}

impl Window {
    /// Measures one window in lanes, which the compiler can turn into vector instructions.
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

/// Sums that are computed side by side: two vectors of the smallest size that processors have.
const LANES: usize = 8;

/// Window of the onset: 5 ms, shorter than any phoneme, long enough for a period of most voices.
const WINDOW_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Layout, TickLength};

    #[test]
    fn meter_reports_an_onset_in_the_last_5_ms() {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        frame.samples_mut()[720..].fill(0.004);
        let reading = LevelReading::of(&frame);
        assert!(reading.onset.0 > -50.0 && reading.level.0 < -50.0);
    }

    #[test]
    fn meter_reports_a_loud_voice_as_sane() {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        frame.samples_mut().fill(-1.2);
        assert!(LevelReading::of(&frame).sane);
    }

    #[test]
    fn meter_reports_invalid_and_excessive_samples_as_not_sane() {
        for bad in [f32::NAN, f32::INFINITY, 1.0e20, -2.0] {
            let mut frame = Frame::new(Layout::Stereo, TickLength::Ms10);
            frame.samples_mut()[17] = bad;
            assert!(!LevelReading::of(&frame).sane);
        }
    }
}
