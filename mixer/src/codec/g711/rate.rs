//! Resampling between 8 and 48 kHz, in blocks of a fixed length on both sides.
//!
//! With every block, the resampler is reset and given the past samples that it needs. So a block
//! depends only on samples, rounding never adds or drops a sample however long the call lasts, and
//! an encoder that takes over the past of another continues exactly where the other stands.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// A resampler of one stream, from 8 to 48 kHz or from 48 to 8 kHz.
pub(super) struct Rate {
    resampler: Async<f32>,
    /// The past samples and the block, followed by zeros.
    input: Box<[f32]>,
    output: Box<[f32]>,
    past: usize,
    block: usize,
    /// Number of output samples before those of the block.
    dropped: usize,
}

impl Rate {
    /// Creates a resampler from 8 to 48 kHz: [`BLOCK`] samples become six times as many.
    ///
    /// Real-time: set-up only (allocates).
    pub(super) fn up() -> Rate {
        Rate::new(FACTOR as f64, TAPS, BLOCK, FACTOR)
    }

    /// Creates a resampler from 48 to 8 kHz: six times [`LONG_BLOCK`] samples become
    /// [`LONG_BLOCK`].
    ///
    /// Real-time: set-up only (allocates).
    pub(super) fn down() -> Rate {
        Rate::new(1.0 / FACTOR as f64, TAPS * FACTOR, LONG_BLOCK * FACTOR, 1)
    }

    /// Creates a resampler for blocks of `block` samples, whose sampling rate it multiplies by
    /// `ratio`.
    ///
    /// - `phases`: number of positions between two input samples on which output samples fall.
    fn new(ratio: f64, taps: usize, block: usize, phases: usize) -> Rate {
        let parameters = SincInterpolationParameters::new(taps, WindowFunction::Blackman2)
            .f_cutoff(CUTOFF)
            .oversampling_factor(phases)
            .interpolation(SincInterpolationType::Nearest);
        // The resampler begins with only the last sample of its window in the input. The block's
        // first output sample is the first whose window lies wholly in the input.
        let step = 1.0 / ratio;
        let dropped = ((taps - 1) as f64 / step).round_up() - 1;
        let made = (block as f64 * ratio).round() as usize;
        let last = (dropped + made) as f64 * step - (taps - 1) as f64;
        let past = (last + ALMOST) as usize + taps - block;
        let resampler = Async::new_sinc(
            ratio,
            1.0,
            &parameters,
            dropped + made,
            1,
            FixedAsync::Output,
        )
        .expect("a fixed ratio and a block of some samples");
        let needed = resampler.input_frames_next();
        Rate {
            resampler,
            input: vec![0.0; needed.max(past + block)].into_boxed_slice(),
            output: vec![0.0; dropped + made].into_boxed_slice(),
            past,
            block,
            dropped,
        }
    }

    /// Takes in one block and returns it at the other rate, delayed by half the filter.
    ///
    /// Real-time: safe.
    pub(super) fn take(&mut self, block: &[f32]) -> &[f32] {
        debug_assert_eq!(block.len(), self.block);
        let end = self.past + self.block;
        self.input.copy_within(self.block..end, 0);
        self.input[self.past..end].copy_from_slice(block);
        self.resampler.reset();
        let (input, output) = (self.input.len(), self.output.len());
        let from = InterleavedSlice::new(&self.input, 1, input);
        let to = InterleavedSlice::new_mut(&mut self.output, 1, output);
        if let (Ok(from), Ok(mut to)) = (from, to) {
            // Fails only on wrong sizes, and the resampler itself asked for these sizes.
            let _ = self.resampler.process_into_buffer(&from, &mut to, None);
        }
        &self.output[self.dropped..]
    }

    /// Takes over the past of another resampler of the same direction.
    ///
    /// Real-time: safe.
    pub(super) fn follow(&mut self, other: &Rate) {
        self.input.copy_from_slice(&other.input);
    }

    /// Forgets the past samples.
    ///
    /// Real-time: safe.
    pub(super) fn reset(&mut self) {
        self.input.fill(0.0);
    }
}

/// Number of samples at 48 kHz for each sample at 8 kHz.
pub(super) const FACTOR: usize = 6;

/// Samples at 8 kHz in 2.5 ms, the grid of all packets, and in 10 ms, the grid of all ticks.
pub(super) const BLOCK: usize = 20;
pub(super) const LONG_BLOCK: usize = 80;

/// Length of the filter in samples at 8 kHz, a delay of 3 ms, and its cutoff as a share of 4 kHz:
/// the filter passes the telephone band up to 3.4 kHz.
const TAPS: usize = 48;
const CUTOFF: f32 = 0.925;

/// Less than any distance between two sample positions, more than any rounding error.
const ALMOST: f64 = 1e-6;

trait RoundUp {
    fn round_up(self) -> usize;
}

impl RoundUp for f64 {
    /// Rounds up to the next whole number, with a tolerance for rounding errors.
    fn round_up(self) -> usize {
        (self - ALMOST).ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: f64, at: usize) -> f32 {
        (0.5 * (core::f64::consts::TAU * hz * at as f64 / rate).sin()) as f32
    }

    fn rms(samples: &[f32]) -> f64 {
        let sum: f64 = samples.iter().map(|s| f64::from(s * s)).sum();
        (sum / samples.len() as f64).sqrt()
    }

    /// Resamples a second of a tone and leaves out the first tenth.
    fn through(mut rate: Rate, hz: f64, rate_hz: f64) -> Vec<f32> {
        let block = rate.block;
        let mut out = Vec::new();
        for number in 0..(rate_hz as usize / block) {
            let input: Vec<f32> = (0..block)
                .map(|at| tone(hz, rate_hz, number * block + at))
                .collect();
            out.extend_from_slice(rate.take(&input));
        }
        out.split_off(out.len() / 10)
    }

    #[test]
    fn resampler_passes_voices_and_stops_tones_above_4_khz() {
        for (hz, expected_db) in [
            (300.0, 0.0),
            (1_000.0, 0.0),
            (3_000.0, 0.0),
            (3_400.0, -1.0),
        ] {
            let down = through(Rate::down(), hz, 48_000.0);
            assert_eq!(down.len(), 7_200);
            let db = 20.0 * (rms(&down) / 0.5 * 2f64.sqrt()).log10();
            assert!((db - expected_db).abs() < 1.0, "down {hz} Hz: {db:.2} dB");
            let up = through(Rate::up(), hz, 8_000.0);
            assert_eq!(up.len(), 43_200);
            let db = 20.0 * (rms(&up) / 0.5 * 2f64.sqrt()).log10();
            assert!((db - expected_db).abs() < 1.0, "up {hz} Hz: {db:.2} dB");
        }
        for hz in [4_800.0, 7_000.0, 15_000.0] {
            let down = through(Rate::down(), hz, 48_000.0);
            let db = 20.0 * (rms(&down) / 0.5 * 2f64.sqrt()).log10();
            assert!(db < -60.0, "{hz} Hz: {db:.1} dB");
        }
    }

    #[test]
    fn upsampler_adds_nothing_to_a_tone() {
        let up = through(Rate::up(), 1_000.0, 8_000.0);
        // The tone has a period of 48 samples: subtracting the period before leaves everything but
        // the tone.
        let rest: Vec<f32> = up
            .windows(49)
            .map(|window| window[48] - window[0])
            .collect();
        assert!(rms(&rest) < 0.5 * 1e-4, "{}", rms(&rest));
        // Successive samples never jump.
        let steepest = 0.5 * core::f32::consts::TAU / 48.0;
        for pair in up.windows(2) {
            assert!((pair[1] - pair[0]).abs() < steepest * 1.01);
        }
    }

    #[test]
    fn resampler_that_follows_another_gives_the_same_samples() {
        let mut first = Rate::down();
        let input: Vec<f32> = (0..480).map(|at| tone(440.0, 48_000.0, at)).collect();
        first.take(&input);
        let mut second = Rate::down();
        second.follow(&first);
        assert_eq!(first.take(&input), second.take(&input));
    }
}
