//! The way between 8 and 48 kHz, in blocks that always have the same length on either side.
//!
//! The resampler is given, with every block, what it needs of the past, and is reset before it: so a
//! block depends on nothing but samples, there is no rounding that could add or leave out one in a
//! day, and who takes over the past goes on exactly where it stood.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// A way in one direction.
pub(super) struct Rate {
    resampler: Async<f32>,
    /// The past and the block, and nothing behind it.
    input: Box<[f32]>,
    output: Box<[f32]>,
    past: usize,
    block: usize,
    /// Samples of the output that stand before the block's.
    dropped: usize,
}

impl Rate {
    /// From 8 to 48 kHz: [`BLOCK`] samples become six times as many.
    ///
    /// Real-time: set-up only (allocates).
    pub(super) fn up() -> Rate {
        Rate::new(FACTOR as f64, TAPS, BLOCK, FACTOR)
    }

    /// From 48 to 8 kHz: six times [`LONG_BLOCK`] samples become that many.
    ///
    /// Real-time: set-up only (allocates).
    pub(super) fn down() -> Rate {
        Rate::new(1.0 / FACTOR as f64, TAPS * FACTOR, LONG_BLOCK * FACTOR, 1)
    }

    /// - `phases`: places between two samples of the input on which those of the output fall.
    fn new(ratio: f64, taps: usize, block: usize, phases: usize) -> Rate {
        let parameters = SincInterpolationParameters::new(taps, WindowFunction::Blackman2)
            .f_cutoff(CUTOFF)
            .oversampling_factor(phases)
            .interpolation(SincInterpolationType::Nearest);
        // The resampler begins with its window on nothing but its last sample; the block's first output
        // is the first whose window holds none from before the input.
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

    /// Takes in one block and gives it at the other rate, later by half the filter.
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
            // Fails only on wrong sizes, and these are what it asked for.
            let _ = self.resampler.process_into_buffer(&from, &mut to, None);
        }
        &self.output[self.dropped..]
    }

    /// Goes on where another one of the same direction stands.
    ///
    /// Real-time: safe.
    pub(super) fn follow(&mut self, other: &Rate) {
        self.input.copy_from_slice(&other.input);
    }

    /// Forgets the past.
    ///
    /// Real-time: safe.
    pub(super) fn reset(&mut self) {
        self.input.fill(0.0);
    }
}

/// How many samples at 48 kHz there are to one at 8.
pub(super) const FACTOR: usize = 6;

/// 2.5 ms at 8 kHz, the grid of all packets, and 10, that of all ticks.
pub(super) const BLOCK: usize = 20;
pub(super) const LONG_BLOCK: usize = 80;

/// The filter's length in samples at 8 kHz: it delays by 3 ms. And where it is at half, of 4 kHz: it
/// passes what a telephone does, up to 3.4 kHz.
const TAPS: usize = 48;
const CUTOFF: f32 = 0.925;

/// Less than any place between two samples, more than any rounding.
const ALMOST: f64 = 1e-6;

trait RoundUp {
    fn round_up(self) -> usize;
}

impl RoundUp for f64 {
    /// To the next whole number, unless it is one but for rounding.
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

    /// `seconds` of a tone through a way; the first tenth left out.
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
    fn voices_pass_and_what_8_khz_cannot_hold_does_not() {
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
    fn up_there_is_nothing_but_the_tone() {
        let up = through(Rate::up(), 1_000.0, 8_000.0);
        // A tone of 48 samples a period is told from what is left when the period before is taken away.
        let rest: Vec<f32> = up
            .windows(49)
            .map(|window| window[48] - window[0])
            .collect();
        assert!(rms(&rest) < 0.5 * 1e-4, "{}", rms(&rest));
        // And from one sample to the next it never jumps.
        let steepest = 0.5 * core::f32::consts::TAU / 48.0;
        for pair in up.windows(2) {
            assert!((pair[1] - pair[0]).abs() < steepest * 1.01);
        }
    }

    #[test]
    fn who_follows_goes_on_exactly() {
        let mut first = Rate::down();
        let input: Vec<f32> = (0..480).map(|at| tone(440.0, 48_000.0, at)).collect();
        first.take(&input);
        let mut second = Rate::down();
        second.follow(&first);
        assert_eq!(first.take(&input), second.take(&input));
    }
}
