//! Concealment for G.711: repeats the last pitch period of the sound and fades it out.
//!
//! Follows the idea of G.711, Appendix I, but without its delay: the step at the seam where the
//! repetition begins fades out gradually, instead of the sound being held back.

/// The last samples of a G.711 stream, and the repetition that continues them.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// Last samples of the stream, oldest first.
    past: [f32; PAST],
    cycle: [f32; MAX_PERIOD],
    period: usize,
    /// Samples of concealment in a row.
    run: usize,
    /// Height of the step where the repetition begins. It is added to the repetition and fades out.
    offset: f32,
    /// Number of decoded samples into which the repetition is still to be cross-faded.
    blend: usize,
}

impl Memory {
    pub(super) fn new() -> Memory {
        Memory {
            past: [0.0; PAST],
            cycle: [0.0; MAX_PERIOD],
            period: MAX_PERIOD,
            run: 0,
            offset: 0.0,
            blend: 0,
        }
    }

    /// Records decoded sound; after a gap, the sound fades in over the concealment.
    pub(super) fn hear(&mut self, block: &mut [f32]) {
        for sample in block.iter_mut() {
            if self.blend == 0 {
                break;
            }
            let share = self.blend as f32 / (BLEND + 1) as f32;
            *sample = (1.0 - share) * *sample + share * self.next();
            self.blend -= 1;
        }
        self.note(block);
    }

    /// Fills `block` with concealment.
    pub(super) fn conceal(&mut self, block: &mut [f32]) {
        // Sound was heard since the repetition was prepared: prepare a new one.
        if self.blend < BLEND {
            self.begin();
            self.blend = BLEND;
        }
        for sample in block.iter_mut() {
            *sample = self.next();
        }
        self.note(block);
    }

    /// Prepares the repetition: finds the pitch period, and crossfades its end into its beginning.
    fn begin(&mut self) {
        self.period = self.find_period();
        let (period, overlap) = (self.period, self.period / 4);
        let last = &self.past[PAST - period..];
        let before = &self.past[PAST - 2 * period..PAST - period];
        self.cycle[..period].copy_from_slice(last);
        for at in period - overlap..period {
            let share = (at + overlap - period + 1) as f32 / (overlap + 1) as f32;
            self.cycle[at] = (1.0 - share) * last[at] + share * before[at];
        }
        self.offset = self.past[PAST - 1] - before[period - 1];
        self.run = 0;
    }

    fn next(&mut self) -> f32 {
        let faded = self.run.saturating_sub(FADE_FROM) as f32 / (FADE_TO - FADE_FROM) as f32;
        let seam = 1.0 - self.run as f32 / SEAM as f32;
        let sample = self.cycle[self.run % self.period] + self.offset * seam.max(0.0);
        self.run += 1;
        sample * (1.0 - faded).max(0.0)
    }

    fn note(&mut self, block: &[f32]) {
        self.past.copy_within(block.len().., 0);
        self.past[PAST - block.len()..].copy_from_slice(block);
    }

    /// The lag at which the last samples are most similar to earlier ones.
    fn find_period(&self) -> usize {
        let recent = &self.past[PAST - MATCHED..];
        let likeness = |lag: usize| {
            let earlier = &self.past[PAST - MATCHED - lag..PAST - lag];
            let pairs = recent.iter().zip(earlier);
            let (product, energy) = pairs.fold((0.0, FAINTEST), |(product, energy), (a, b)| {
                (product + a * b, energy + b * b)
            });
            product / energy.sqrt()
        };
        let lags = MIN_PERIOD..=MAX_PERIOD;
        let (period, _) =
            lags.map(|lag| (lag, likeness(lag)))
                .fold((MIN_PERIOD, f32::MIN), |best, of| {
                    // A multiple of the period is as similar, and the shorter repetition is no
                    // worse.
                    if of.1 > best.1 * CLEARLY { of } else { best }
                });
        period
    }
}

/// Shortest and longest pitch period of voices, in samples at 8 kHz: 400 Hz and 66 Hz.
const MIN_PERIOD: usize = 20;
const MAX_PERIOD: usize = 120;

/// Number of samples compared to find the pitch period: 20 ms.
const MATCHED: usize = 160;

const PAST: usize = MATCHED + MAX_PERIOD;

/// Concealment keeps its level for 10 ms and has faded out after 60 ms.
const FADE_FROM: usize = 80;
const FADE_TO: usize = 480;

/// Sound returns within 5 ms; the step at the seam fades within half of that.
const BLEND: usize = 40;
const SEAM: usize = 20;

/// A longer lag must be more similar by this factor to be preferred.
const CLEARLY: f32 = 1.02;

/// Added to the energy so that silence does not divide by zero.
const FAINTEST: f32 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(at: usize) -> f32 {
        let turns = |hz: f32| (hz * at as f32 / 8_000.0).fract() * core::f32::consts::TAU;
        0.3 * turns(141.0).sin() + 0.2 * turns(282.0).sin() + 0.1 * turns(1_128.0).sin()
    }

    /// The largest step between two samples of the voice itself.
    fn steepest() -> f32 {
        (0..8_000)
            .map(|at| (voice(at + 1) - voice(at)).abs())
            .fold(0.0, f32::max)
    }

    /// A voice in blocks of 2.5 ms, of which the blocks in `lost` are concealed.
    fn heard(lost: core::ops::Range<usize>) -> Vec<f32> {
        let mut memory = Memory::new();
        let mut all = Vec::new();
        for number in 0..120 {
            let mut block: Vec<f32> = (0..20).map(|at| voice(number * 20 + at)).collect();
            if lost.contains(&number) {
                memory.conceal(&mut block);
            } else {
                memory.hear(&mut block);
            }
            all.extend(block);
        }
        all
    }

    #[test]
    fn g711_concealment_changes_nothing_without_loss() {
        let all = heard(0..0);
        assert!(
            all.iter()
                .enumerate()
                .all(|(at, sample)| *sample == voice(at))
        );
    }

    #[test]
    fn g711_concealment_makes_no_click_at_gaps_of_any_length() {
        for length in [1, 4, 8, 16, 24, 40] {
            let all = heard(60..60 + length);
            let step = all
                .windows(2)
                .map(|pair| (pair[1] - pair[0]).abs())
                .fold(0.0, f32::max);
            assert!(
                step < 1.5 * steepest(),
                "{length}: {step} of {}",
                steepest()
            );
        }
    }

    #[test]
    fn g711_concealment_fills_short_gaps_and_silences_long_ones() {
        let energy = |samples: &[f32]| samples.iter().map(|s| s * s).sum::<f32>();
        let (short, long) = (heard(60..68), heard(60..100));
        let gap = 1_200..1_360;
        let said: Vec<f32> = gap.clone().map(voice).collect();
        let ratio = energy(&short[gap]) / energy(&said);
        assert!((0.4..1.3).contains(&ratio), "{ratio}");
        assert_eq!(energy(&long[1_200 + 480..2_000]), 0.0, "after 60 ms");
        let tail = &long[2_040..];
        let as_said = tail.iter().enumerate();
        assert!(as_said.clone().all(|(at, s)| *s == voice(2_040 + at)));
    }
}
