//! Converts audio of any sample rate to 48 kHz, piece by piece, without changing its duration or
//! its start.

use mixer::format::SAMPLE_RATE_HZ;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use super::PcmError;

/// Accepted sample rates of files: from telephone recorders to the fastest sound cards.
pub const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Converts mono PCM of one rate to 48 kHz.
pub struct ToEngineRate {
    fft: Option<Fft<f32>>,
    rate_hz: u32,
    pending: Vec<f32>,
    output: Vec<f32>,
    lead_samples: usize,
    taken_samples: u64,
    given_samples: u64,
}

impl ToEngineRate {
    /// Creates a converter from `rate_hz`; at 48 kHz it passes samples on unchanged.
    ///
    /// # Errors
    /// [`PcmError::Unsupported`] for rates outside [`RATES_HZ`].
    pub fn new(rate_hz: u32) -> Result<ToEngineRate, PcmError> {
        if !RATES_HZ.contains(&rate_hz) {
            return Err(unsupported(rate_hz));
        }
        let mut fft = None;
        let (mut lead_samples, mut output) = (0, Vec::new());
        if rate_hz != SAMPLE_RATE_HZ {
            let (from, to) = (rate_hz as usize, SAMPLE_RATE_HZ as usize);
            let made = Fft::<f32>::new(from, to, step_samples(rate_hz), 1, FixedSync::Both)
                .map_err(|_| unsupported(rate_hz))?;
            lead_samples = made.output_delay();
            output = vec![0.0; made.output_frames_max()];
            fft = Some(made);
        }
        Ok(ToEngineRate {
            fft,
            rate_hz,
            pending: Vec::new(),
            output,
            lead_samples,
            taken_samples: 0,
            given_samples: 0,
        })
    }

    /// Adds samples of the file's rate and appends to `out` those that are ready.
    pub fn push(&mut self, pcm: &[f32], out: &mut Vec<f32>) {
        self.taken_samples += pcm.len() as u64;
        if self.fft.is_none() {
            out.extend_from_slice(pcm);
            return;
        }
        self.pending.extend_from_slice(pcm);
        self.convert(out);
    }

    /// Appends the remaining samples, so that the output is as long as the input.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let Some(fft) = &self.fft else { return };
        let step_samples = fft.input_frames_next();
        let whole_samples =
            (self.taken_samples * u64::from(SAMPLE_RATE_HZ)).div_ceil(u64::from(self.rate_hz));
        let start = out.len();
        let given_before = self.given_samples;
        while self.given_samples < whole_samples {
            let missing = step_samples - self.pending.len() % step_samples;
            self.pending.resize(self.pending.len() + missing, 0.0);
            self.convert(out);
        }
        out.truncate(start + (whole_samples - given_before) as usize);
        self.given_samples = whole_samples;
    }

    fn convert(&mut self, out: &mut Vec<f32>) {
        let Some(fft) = &mut self.fft else { return };
        let step_samples = fft.input_frames_next();
        let mut done_samples = 0;
        while self.pending.len() - done_samples >= step_samples {
            let input = &self.pending[done_samples..done_samples + step_samples];
            let output_samples = self.output.len();
            let input =
                InterleavedSlice::new(input, 1, step_samples).expect("one channel, same length");
            let mut output = InterleavedSlice::new_mut(&mut self.output, 1, output_samples)
                .expect("one channel, same length");
            let (_, made_samples) = fft
                .process_into_buffer(&input, &mut output, None)
                .expect("both buffers have the lengths asked for");
            let skipped_samples = self.lead_samples.min(made_samples);
            self.lead_samples -= skipped_samples;
            out.extend_from_slice(&self.output[skipped_samples..made_samples]);
            self.given_samples += (made_samples - skipped_samples) as u64;
            done_samples += step_samples;
        }
        self.pending.drain(..done_samples);
    }
}

/// Returns the number of input samples that are converted at a time: about a thousand, in whole
/// periods of both rates.
///
/// The number is always even: the filter's middle then falls on a sample, and the delay that is
/// removed is exact.
fn step_samples(rate_hz: u32) -> usize {
    let mut divisor = (rate_hz, SAMPLE_RATE_HZ);
    while divisor.1 != 0 {
        divisor = (divisor.1, divisor.0 % divisor.1);
    }
    let pair = 2 * (rate_hz / divisor.0) as usize;
    WISHED_SAMPLES.next_multiple_of(pair)
}

/// The wished number of input samples per step: large enough for a steep filter, small enough for a
/// short step.
const WISHED_SAMPLES: usize = 1_024;

fn unsupported(rate_hz: u32) -> PcmError {
    PcmError::Unsupported {
        what: format!(
            "a sample rate of {rate_hz} Hz cannot be played; {} to {} Hz can",
            RATES_HZ.start(),
            RATES_HZ.end()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tones::{amplitude, sine};
    use super::*;

    #[test]
    fn resampling_keeps_length_tone_and_start_at_every_rate() {
        for rate_hz in [
            8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000,
        ] {
            let mut converter = ToEngineRate::new(rate_hz).unwrap();
            let pcm = sine(440.0, rate_hz, rate_hz as usize + 7);
            let mut out = Vec::new();
            for part in pcm.chunks(333) {
                converter.push(part, &mut out);
            }
            converter.finish(&mut out);
            let expected = (pcm.len() as u64 * 48_000).div_ceil(u64::from(rate_hz));
            assert_eq!(out.len() as u64, expected, "{rate_hz} Hz");
            assert!(
                (amplitude(&out[..48_000], 440.0) - 0.5).abs() < 0.01,
                "{rate_hz} Hz"
            );
            // The output is compared in phase with the original: no delay may have been added or
            // removed.
            let error = out[4_800..43_200]
                .iter()
                .zip(&sine(440.0, 48_000, 48_000)[4_800..43_200])
                .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(error < 0.02, "{rate_hz} Hz: {error}");
        }
    }

    #[test]
    fn resampling_refuses_rates_outside_the_range() {
        assert!(ToEngineRate::new(0).is_err());
        assert!(ToEngineRate::new(3_999).is_err());
        assert!(ToEngineRate::new(u32::MAX).is_err());
    }
}
