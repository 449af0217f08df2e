//! The stimulus: what a talker sends, in talk-spurts that can be timed and judged.
//!
//! ```text
//! | chirp hop hop hop ... chirp hop hop ... chirp hop hop | silence | chirp hop ...
//! ```
//!
//! Chirps measure the delay: there is one at the start of each talk-spurt and two within, and each
//! talker has a sweep of its own, so that all can be timed in one mix. Hops measure the damage:
//! each 20 ms of the rest are a tone of a frequency that was not heard for half a second, so that
//! concealment, which continues the previous sound, never resembles the next hop. Hops are aligned
//! with packets.

use std::f64::consts::{PI, TAU};
use std::ops::Range;

use crate::join::pcm::{PcmError, Source};

/// The test signal of one talker: talk-spurts of chirps and hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stimulus {
    talker: u64,
}

/// The position of a chirp in a stimulus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chirp {
    /// The number of the chirp's first sample.
    pub at: u64,
    /// Whether it starts a talk-spurt.
    pub is_start: bool,
}

/// The position and the frequency of a hop in a stimulus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hop {
    /// The number of the hop's first sample.
    pub at: u64,
    /// The hop's frequency in hertz.
    pub hz: f64,
}

impl Stimulus {
    /// Returns the stimulus of talker number `talker`, below [`MOST_TALKERS`]. The first talker's
    /// hops are the loudest; all chirps are equally loud.
    pub fn new(talker: usize) -> Stimulus {
        Stimulus {
            talker: talker as u64,
        }
    }

    /// Returns the number of samples from the start of one talk-spurt to the start of the next. It
    /// is no multiple of a packet, so that talk-spurts start anywhere in a packet. It differs
    /// between talkers, so that the overlaps always change.
    pub fn period(&self) -> u64 {
        96_350 + 1_730 * self.talker
    }

    /// Returns the chirps that start within `range`.
    pub fn chirps(&self, range: Range<u64>) -> impl Iterator<Item = Chirp> + use<> {
        let period = self.period();
        (range.start / period..=range.end / period)
            .flat_map(move |spurt| {
                CHIRPS_AT.map(|within| Chirp {
                    at: spurt * period + within,
                    is_start: within == 0,
                })
            })
            .filter(move |chirp| range.contains(&chirp.at))
    }

    /// Returns the hops that lie completely within `range`.
    pub fn hops(&self, range: Range<u64>) -> impl Iterator<Item = Hop> + use<> {
        let stimulus = *self;
        let hops = range.start.div_ceil(HOP)..range.end / HOP;
        hops.filter(move |number| stimulus.is_hop(*number))
            .map(move |number| Hop {
                at: number * HOP,
                hz: stimulus.hz(number),
            })
    }

    /// Whether any sample of `range` belongs to a talk-spurt.
    pub fn is_talking(&self, range: Range<u64>) -> bool {
        let period = self.period();
        range.start % period < SOUND || range.start / period != range.end.saturating_sub(1) / period
    }

    /// Returns the samples of this talker's chirp.
    pub fn chirp(&self) -> Vec<f32> {
        let (from_hz, to_hz) = SWEEPS[self.talker as usize % SWEEPS.len()];
        let length = CHIRP as f64 / RATE;
        let at = |sample: u64| {
            let t = sample as f64 / RATE;
            let phase = TAU * (from_hz * t + (to_hz - from_hz) * t * t / (2.0 * length));
            let window = (PI * sample as f64 / CHIRP as f64).sin();
            (CHIRP_AMPLITUDE * window * phase.sin()) as f32
        };
        (0..CHIRP).map(at).collect()
    }

    /// Returns the signal as a source.
    pub fn source(self) -> Box<dyn Source> {
        Box::new(Spoken {
            chirp: self.chirp(),
            stimulus: self,
            at: 0,
        })
    }

    /// Returns the amplitude of a hop.
    pub fn hop_amplitude(&self) -> f64 {
        if self.talker == 0 { 0.1 } else { 0.03 }
    }

    /// Whether a hop's position overlaps neither a chirp nor silence.
    fn is_hop(&self, number: u64) -> bool {
        let first = number * HOP % self.period();
        let last = (number * HOP + HOP - 1) % self.period();
        let is_free = |within: u64| {
            let chirps = CHIRPS_AT.iter();
            within < SOUND
                && chirps
                    .clone()
                    .all(|at| !(*at..at + CHIRP).contains(&within))
        };
        is_free(first) && is_free(last) && first < last
    }

    fn hz(&self, number: u64) -> f64 {
        // A step that shares no factor with the number of frequencies visits all before any is
        // repeated.
        const STEPS: [u64; 6] = [7, 11, 5, 13, 17, 19];
        let step = STEPS[self.talker as usize % STEPS.len()];
        LOWEST_HZ + SPACING_HZ * (number * step % FREQUENCIES) as f64
    }

    fn hop_sample(&self, at: u64) -> f32 {
        let number = at / HOP;
        if !self.is_hop(number) {
            return 0.0;
        }
        let within = at % HOP;
        let edge = within.min(HOP - 1 - within).min(EDGE) as f64 / EDGE as f64;
        let window = (PI / 2.0 * edge).sin();
        let phase = TAU * (self.hz(number) * within as f64 / RATE).fract();
        (self.hop_amplitude() * window * phase.sin()) as f32
    }
}

/// A source that plays a stimulus without an end.
struct Spoken {
    stimulus: Stimulus,
    chirp: Vec<f32>,
    at: u64,
}

impl Source for Spoken {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        for sample in pcm.iter_mut() {
            let within = self.at % self.stimulus.period();
            let chirp = CHIRPS_AT
                .iter()
                .find_map(|at| self.chirp.get(within.checked_sub(*at)? as usize));
            *sample = match chirp {
                Some(chirp) => *chirp,
                None => self.stimulus.hop_sample(self.at),
            };
            self.at += 1;
        }
        Ok(pcm.len())
    }
}

/// The largest number of talkers: each has a sweep of its own, by which its chirps are recognised.
pub(super) const MOST_TALKERS: usize = SWEEPS.len();

/// Samples of a chirp: 50 ms.
pub(super) const CHIRP: u64 = 2_400;

/// Samples of a hop: a packet of 20 ms.
pub(super) const HOP: u64 = 960;

/// Samples of a talk-spurt: 1.3 s. The silence after it is longer than the hangover of any gate.
pub(super) const SOUND: u64 = 62_400;

/// The least distance of two chirps of one talker, in samples; the search for a chirp extends no
/// further.
pub(super) const APART: u64 = 25_000;

/// Positions of the chirps in a talk-spurt.
const CHIRPS_AT: [u64; 3] = [0, APART, 2 * APART];

/// Sweeps with little mutual correlation, in Hz, in the range of speech, which all codecs preserve.
const SWEEPS: [(f64, f64); 6] = [
    (300.0, 3_400.0),
    (3_400.0, 300.0),
    (300.0, 1_700.0),
    (1_700.0, 300.0),
    (1_500.0, 3_400.0),
    (3_400.0, 1_500.0),
];

/// The amplitude of a chirp: the sum of three talkers stays below the limiter's ceiling, or nearly.
const CHIRP_AMPLITUDE: f64 = 0.4;

// The frequencies of hops, far enough apart for a window of 20 ms to separate them.
const FREQUENCIES: u64 = 24;
const LOWEST_HZ: f64 = 500.0;
const SPACING_HZ: f64 = 150.0;

/// Samples of a hop's fade-in and fade-out: 1 ms.
const EDGE: u64 = 48;

/// Samples per second.
const RATE: f64 = 48_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(talker: usize, samples: usize) -> Vec<f32> {
        let mut pcm = vec![0.0; samples];
        Stimulus::new(talker).source().read(&mut pcm).unwrap();
        pcm
    }

    #[test]
    fn stimulus_contains_its_chirps_at_the_reported_positions() {
        let stimulus = Stimulus::new(1);
        let pcm = read(1, 300_000);
        let chirps: Vec<Chirp> = stimulus.chirps(0..300_000).collect();
        assert_eq!(chirps.len(), 10);
        assert_eq!(chirps.iter().filter(|chirp| chirp.is_start).count(), 4);
        for chirp in chirps {
            let at = chirp.at as usize;
            let shape = stimulus.chirp();
            assert!(pcm[at..].iter().zip(&shape).all(|(a, b)| a == b));
        }
    }

    #[test]
    fn stimulus_hops_are_tones_that_do_not_repeat_within_400_ms() {
        let stimulus = Stimulus::new(0);
        let pcm = read(0, 100_000);
        let hops: Vec<Hop> = stimulus.hops(0..96_000).collect();
        assert!((54..62).contains(&hops.len()), "{}", hops.len());
        for (at, hop) in hops.iter().enumerate() {
            let before = &hops[at.saturating_sub(20)..at];
            assert!(
                before
                    .iter()
                    .all(|other| other.hz != hop.hz || hop.at - other.at > 20_000)
            );
            let peak = pcm[hop.at as usize..][..HOP as usize]
                .iter()
                .fold(0.0f32, |peak, sample| peak.max(sample.abs()));
            assert!((0.09..=0.1).contains(&peak), "{peak}");
        }
    }

    #[test]
    fn talk_spurt_ends_in_silence() {
        let stimulus = Stimulus::new(2);
        let period = stimulus.period() as usize;
        let pcm = read(2, period);
        assert!(
            pcm[SOUND as usize + HOP as usize..]
                .iter()
                .all(|sample| *sample == 0.0)
        );
        assert!((period - SOUND as usize) as f64 / RATE > 0.6);
    }

    #[test]
    fn frame_that_overlaps_a_talk_spurt_counts_as_talking() {
        let stimulus = Stimulus::new(0);
        let period = stimulus.period();
        assert!(stimulus.is_talking(0..960) && stimulus.is_talking(SOUND - 1..SOUND + 959));
        assert!(!stimulus.is_talking(SOUND..SOUND + 960));
        assert!(!stimulus.is_talking(period - 960..period));
        assert!(stimulus.is_talking(period - 959..period + 1));
    }

    #[test]
    fn chirps_of_different_talkers_have_little_correlation() {
        for one in 0..MOST_TALKERS {
            for other in 0..one {
                let (a, b) = (Stimulus::new(one).chirp(), Stimulus::new(other).chirp());
                let energy: f32 = a.iter().map(|sample| sample * sample).sum();
                for shift in 0..a.len() {
                    let product: f32 = a[shift..].iter().zip(&b).map(|(a, b)| a * b).sum();
                    assert!(product.abs() < 0.35 * energy, "{one} {other} {shift}");
                }
            }
        }
    }
}
