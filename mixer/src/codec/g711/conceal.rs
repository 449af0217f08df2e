//! What is played where packets of G.711 are missing: the last period again and again, fading.
//!
//! After the idea of G.711, Appendix I, without its delay: the seam at which the repetition begins is
//! smoothed by what is left of its step, and not by holding the sound back.

/// The last samples, and the repetition that goes on from them.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// Oldest first.
    past: [f32; PAST],
    cycle: [f32; MAX_PERIOD],
    period: usize,
    /// Samples made up in a row.
    run: usize,
    /// The step at the seam, which fades.
    offset: f32,
    /// Samples of sound until the repetition has faded out below it.
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

    /// Takes note of sound; what comes after a gap fades in over what was made up.
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

    /// Makes up what is missing.
    pub(super) fn conceal(&mut self, block: &mut [f32]) {
        // Anything heard since it was made is not known to it.
        if self.blend < BLEND {
            self.begin();
            self.blend = BLEND;
        }
        for sample in block.iter_mut() {
            *sample = self.next();
        }
        self.note(block);
    }

    /// Finds the period, and smooths the end of it into its beginning.
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

    /// The lag at which the last samples are most like those before them.
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
                    // A multiple of the period is as like, and the shorter repetition is no worse.
                    if of.1 > best.1 * CLEARLY { of } else { best }
                });
        period
    }
}

/// Periods of voices: 66 to 400 Hz.
const MIN_PERIOD: usize = 20;
const MAX_PERIOD: usize = 120;

/// What is compared: 20 ms.
const MATCHED: usize = 160;

const PAST: usize = MATCHED + MAX_PERIOD;

/// As loud as it was for 10 ms, gone after 60.
const FADE_FROM: usize = 80;
const FADE_TO: usize = 480;

/// 5 ms for sound to come back, half of it for the seam.
const BLEND: usize = 40;
const SEAM: usize = 20;

/// Better by less than this is no better.
const CLEARLY: f32 = 1.02;

/// What keeps silence from being divided by.
const FAINTEST: f32 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(at: usize) -> f32 {
        let turns = |hz: f32| (hz * at as f32 / 8_000.0).fract() * core::f32::consts::TAU;
        0.3 * turns(141.0).sin() + 0.2 * turns(282.0).sin() + 0.1 * turns(1_128.0).sin()
    }

    /// The steepest step of the voice itself.
    fn steepest() -> f32 {
        (0..8_000)
            .map(|at| (voice(at + 1) - voice(at)).abs())
            .fold(0.0, f32::max)
    }

    /// `lost` blocks of 2.5 ms out of the middle of a voice.
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
    fn nothing_lost_is_nothing_changed() {
        let all = heard(0..0);
        assert!(
            all.iter()
                .enumerate()
                .all(|(at, sample)| *sample == voice(at))
        );
    }

    #[test]
    fn gaps_of_any_length_make_no_click() {
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
    fn a_short_gap_is_filled_and_a_long_one_falls_silent() {
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
