//! Measures the bandwidth of the sound that a CELT-only stream carries, so that the stream is no
//! wider.
//!
//! At low bitrates, libopus narrows a stream to the bandwidth of its sound. At the bitrates of a
//! CELT-only stream it does not, and a voice from a 16 kHz microphone or a telephone is sent with
//! twelve empty bands above it. Leaving them out gives their bits to the audible bands (measured:
//! 0.12 PESQ at 64 kbit/s) and costs less to encode. So the stream is as wide as the widest sound
//! of the last two seconds: it widens with the very packet that needs it, and narrows only after a
//! while.

use crate::codec::Bandwidth;
use crate::format::SAMPLE_RATE_HZ;

/// Measures the bandwidth of one stream's sound.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BandwidthDetector {
    above: [HighPass; 2],
    now: Bandwidth,
    /// Widest bandwidth that was needed since the sound last needed `now`, and the samples since
    /// then.
    enough: Bandwidth,
    enough_samples: usize,
}

impl BandwidthDetector {
    /// Starts with the full bandwidth, until the sound turns out to be narrower.
    pub(super) fn new() -> BandwidthDetector {
        BandwidthDetector {
            above: [HighPass::above(8_000.0), HighPass::above(12_000.0)],
            now: Bandwidth::Full,
            enough: Bandwidth::Full,
            enough_samples: 0,
        }
    }

    /// The bandwidth that the stream should have from the packet of `pcm` on; `pcm` has one
    /// channel.
    ///
    /// Real-time: safe.
    pub(super) fn judge(&mut self, pcm: &[f32]) -> Bandwidth {
        let needed = self.needed(pcm);
        if needed >= self.now {
            self.now = needed;
            self.enough_samples = 0;
            return needed;
        }
        self.enough = match self.enough_samples {
            0 => needed,
            _ => self.enough.max(needed),
        };
        self.enough_samples += pcm.len();
        if self.enough_samples >= NARROWS_SAMPLES {
            self.now = self.enough;
            self.enough_samples = 0;
        }
        self.now
    }

    fn needed(&self, pcm: &[f32]) -> Bandwidth {
        let total = mean_square(pcm.iter().copied());
        let heard = (total * AUDIBLE_SHARE).max(AUDIBLE);
        let [wide, super_wide] = &self.above;
        if wide.mean_square(pcm) < heard {
            Bandwidth::Wide
        } else if super_wide.mean_square(pcm) < heard {
            Bandwidth::SuperWide
        } else {
            Bandwidth::Full
        }
    }
}

/// A linear-phase high-pass filter, to measure the level above a frequency.
#[derive(Debug, Clone, PartialEq)]
struct HighPass([f32; TAPS]);

impl HighPass {
    /// Creates a filter that stops frequencies below `hz` and passes those a few kilohertz above
    /// it: a sinc under a Blackman window.
    fn above(hz: f64) -> HighPass {
        // The middle of the filter's slope.
        let turns = (hz + SLOPE_HZ / 2.0) / f64::from(SAMPLE_RATE_HZ);
        let middle = (TAPS / 2) as f64;
        HighPass(core::array::from_fn(|tap| {
            let at = tap as f64 - middle;
            let x = core::f64::consts::TAU * turns * at;
            let low = match tap == TAPS / 2 {
                true => 2.0 * turns,
                false => x.sin() / (core::f64::consts::PI * at),
            };
            let angle = core::f64::consts::TAU * tap as f64 / TAPS as f64;
            let window = 0.42 - 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos();
            let whole = f64::from(u8::from(tap == TAPS / 2));
            (whole - low * window) as f32
        }))
    }

    /// Mean square of the filtered sound, taken at every fifth sample: enough for a level.
    fn mean_square(&self, pcm: &[f32]) -> f32 {
        let heard = pcm.windows(TAPS).step_by(STEP);
        mean_square(heard.map(|stretch| self.at(stretch)))
    }

    fn at(&self, stretch: &[f32]) -> f32 {
        // Eight sums side by side, which a processor computes at once.
        let mut sums = [0.0f32; LANES];
        let taps = self.0.as_chunks::<LANES>().0;
        for (tap, sample) in taps.iter().zip(stretch.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                sums[lane] += tap[lane] * sample[lane];
            }
        }
        sums.iter().sum()
    }
}

fn mean_square(samples: impl Iterator<Item = f32>) -> f32 {
    let (count, sum) = samples.fold((0u32, 0.0f32), |(count, sum), it| {
        (count + 1, sum + it * it)
    });
    sum / count.max(1) as f32
}

const LANES: usize = 8;
const TAPS: usize = 8 * LANES;

/// Width of the slope between stopping and passing, for a Blackman window of this length.
const SLOPE_HZ: f64 = 5.5 * SAMPLE_RATE_HZ as f64 / TAPS as f64;

/// The filtered level is taken at every fifth sample. Five is not a simple fraction of the period
/// of any tone above 8 kHz, so no such tone is missed.
const STEP: usize = 5;

/// Sound above a frequency may be left out if it is 50 dB below the whole sound, or below -75 dBFS.
const AUDIBLE_SHARE: f32 = 1e-5;
const AUDIBLE: f32 = 3.2e-8;

/// Two seconds before the stream narrows: longer than a vowel and the breath after it.
const NARROWS_SAMPLES: usize = 2 * SAMPLE_RATE_HZ as usize;

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 960;

    fn tone(hz: f64, amplitude: f32) -> Vec<f32> {
        (0..PACKET)
            .map(|at| {
                let turns = hz * at as f64 / f64::from(SAMPLE_RATE_HZ);
                amplitude * (core::f64::consts::TAU * turns).sin() as f32
            })
            .collect()
    }

    fn after(width: &mut BandwidthDetector, pcm: &[f32], packets: usize) -> Bandwidth {
        let bandwidths = (0..packets).map(|_| width.judge(pcm));
        bandwidths.last().expect("there are packets")
    }

    #[test]
    fn stream_narrows_to_the_bandwidth_of_its_sound_within_seconds() {
        for (hz, bandwidth) in [
            (300.0, Bandwidth::Wide),
            (3_400.0, Bandwidth::Wide),
            (7_900.0, Bandwidth::Wide),
            (10_000.0, Bandwidth::SuperWide),
            (11_900.0, Bandwidth::SuperWide),
            (14_000.0, Bandwidth::Full),
            (19_000.0, Bandwidth::Full),
        ] {
            let mut width = BandwidthDetector::new();
            assert_eq!(after(&mut width, &tone(hz, 0.3), 1), Bandwidth::Full);
            assert_eq!(after(&mut width, &tone(hz, 0.3), 101), bandwidth, "{hz} Hz");
        }
    }

    #[test]
    fn stream_widens_at_once_and_stays_wide_over_a_vowel() {
        let mut width = BandwidthDetector::new();
        after(&mut width, &tone(500.0, 0.3), 200);
        assert_eq!(width.judge(&tone(16_000.0, 0.01)), Bandwidth::Full);
        let vowel = tone(500.0, 0.3);
        assert_eq!(after(&mut width, &vowel, 99), Bandwidth::Full);
        // A sound of 10.5 kHz within the two seconds is what the stream narrows to.
        assert_eq!(width.judge(&tone(10_500.0, 0.05)), Bandwidth::SuperWide);
        assert_eq!(after(&mut width, &vowel, 100), Bandwidth::Wide);
    }

    #[test]
    fn stream_ignores_inaudible_sound_when_it_narrows() {
        let mut width = BandwidthDetector::new();
        let mut sound = tone(700.0, 0.5);
        for (sample, hiss) in sound.iter_mut().zip(tone(15_000.0, 0.001)) {
            *sample += hiss;
        }
        assert_eq!(after(&mut width, &sound, 101), Bandwidth::Wide, "54 dB");
        let silence = [0.0; PACKET];
        assert_eq!(
            after(&mut BandwidthDetector::new(), &silence, 101),
            Bandwidth::Wide
        );
    }

    #[test]
    fn high_pass_misses_no_tone_between_its_samples() {
        let width = BandwidthDetector::new();
        for hz in (11_000..23_000).step_by(100) {
            let sound = tone(f64::from(hz), 0.1);
            let [wide, _] = &width.above;
            let db = 10.0 * (wide.mean_square(&sound) / 0.005).log10();
            assert!(db.abs() < 3.5, "{hz} Hz: {db} dB");
        }
    }
}
