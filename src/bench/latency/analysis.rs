//! Compares what was spoken with what was heard: the delays, and the share that was damaged on the
//! way.
//!
//! A chirp is found by the peak of its correlation with what was heard, in the half second after it
//! was spoken. A hop counts as heard if a tone of its frequency, with at least a third of its
//! level, is found within 40 ms of the position that the nearest chirp predicts; sound that was
//! concealed, cut out or silent on the way does not count. The measure does not depend on what a
//! server counts itself.

use std::f64::consts::TAU;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::stimulus::{APART, CHIRP, Chirp, HOP, Stimulus};
use super::taps::{Heard, Spoken};

/// What one listener heard of one talker: delays, and damage.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Verdict {
    /// Delays from mouth to ear of the chirps that start a talk-spurt, in milliseconds.
    pub starts_ms: Vec<f64>,
    /// Delays of the other chirps, in milliseconds.
    pub within_ms: Vec<f64>,
    /// The number of chirps that were spoken but not heard.
    pub missed: usize,
    /// The number of hops that were spoken within the judged time.
    pub hops: usize,
    /// The number of these hops that were not heard.
    pub damaged: usize,
}

impl Verdict {
    /// Returns the delays of all chirps, in milliseconds.
    pub fn all_ms(&self) -> Vec<f64> {
        self.starts_ms
            .iter()
            .chain(&self.within_ms)
            .copied()
            .collect()
    }

    /// Adds the delays and counts of another connection or talker.
    pub fn add(&mut self, other: Verdict) {
        self.starts_ms.extend(other.starts_ms);
        self.within_ms.extend(other.within_ms);
        self.missed += other.missed;
        self.hops += other.hops;
        self.damaged += other.damaged;
    }

    /// Returns the percentage of hops that were not heard.
    pub fn damaged_percent(&self) -> f64 {
        100.0 * self.damaged as f64 / self.hops as f64
    }
}

/// Judges what a listener heard of one talker's stimulus.
///
/// - `since`: only what was spoken at or after this instant is judged.
pub(super) fn judge(
    stimulus: &Stimulus,
    spoken: &Spoken,
    since: Option<Instant>,
    heard: &Heard,
) -> Verdict {
    let mut verdict = Verdict::default();
    let finder = Finder::new(&stimulus.chirp());
    let mut chirps = Vec::new();
    let to_hear = chirps_to_hear(stimulus, spoken, heard);
    for (chirp, at) in to_hear.filter(|(_, at)| since.is_none_or(|since| *at >= since)) {
        let found = finder.find(heard, at);
        match found {
            Some((_, instant)) => {
                let delay_ms = instant.duration_since(at).as_secs_f64() * 1e3;
                match chirp.is_start {
                    true => verdict.starts_ms.push(delay_ms),
                    false => verdict.within_ms.push(delay_ms),
                }
            }
            None => verdict.missed += 1,
        }
        chirps.push((chirp.at, found.map(|(sample, _)| sample)));
    }
    let tones = Tones::new();
    let last = spoken.range().end.saturating_sub(LONGEST_DELAY_SAMPLES);
    for &(chirp, _) in &chirps {
        let hops = chirp + CHIRP..last.min(chirp + APART);
        match shift_near(chirp, &chirps) {
            Some(shift) => tones.count_hops(stimulus, hops, shift, heard, &mut verdict),
            // No chirp at all was found, so every hop counts as damaged.
            None => {
                let hops = stimulus.hops(hops).count();
                verdict.hops += hops;
                verdict.damaged += hops;
            }
        }
    }
    verdict
}

/// Returns by how many samples speech was shifted in the recording, at the nearest chirp that was
/// found.
fn shift_near(chirp: u64, chirps: &[(u64, Option<usize>)]) -> Option<i64> {
    chirps
        .iter()
        .filter_map(|&(spoken, heard)| Some((spoken, heard? as i64 - spoken as i64)))
        .min_by_key(|(spoken, _)| spoken.abs_diff(chirp))
        .map(|(_, shift)| shift)
}

/// Returns the chirps that can be judged: talker and listener were connected when the chirp was
/// spoken, and for the longest delay afterwards.
fn chirps_to_hear(
    stimulus: &Stimulus,
    spoken: &Spoken,
    heard: &Heard,
) -> impl Iterator<Item = (Chirp, Instant)> {
    let span = heard.span();
    let range = spoken.range();
    let last_spoken = range
        .end
        .checked_sub(1)
        .and_then(|last| spoken.instant_of(last));
    let chirps = stimulus.chirps(range);
    chirps.filter_map(move |chirp| {
        let at = spoken.instant_of(chirp.at)?;
        let (first, last) = span?;
        let end = last.min(last_spoken?);
        (at > first && at + LONGEST_DELAY < end).then_some((chirp, at))
    })
}

/// Measures tones in windows of a hop's length.
struct Tones {
    hann: Vec<f32>,
}

impl Tones {
    fn new() -> Tones {
        let turn = TAU / HOP as f64;
        let hann = (0..HOP).map(|at| (1.0 - (turn * at as f64).cos()) as f32);
        Tones {
            hann: hann.collect(),
        }
    }

    /// Counts the hops in a range of spoken samples, and those of them that were not heard.
    fn count_hops(
        &self,
        stimulus: &Stimulus,
        range: Range<u64>,
        shift: i64,
        heard: &Heard,
        verdict: &mut Verdict,
    ) {
        for hop in stimulus.hops(range) {
            let Ok(expected) = usize::try_from(hop.at as i64 + shift) else {
                continue;
            };
            let around = expected.saturating_sub(STRAY)..expected + STRAY + HOP as usize;
            let Some(around) = heard.pcm.get(around) else {
                continue;
            };
            verdict.hops += 1;
            let likeness = self.loudest(around, hop.hz) / stimulus.hop_amplitude();
            if likeness < HEARD {
                verdict.damaged += 1;
                tracing::debug!(at = hop.at, likeness, "a received chirp is damaged");
            }
        }
    }

    /// Returns the largest amplitude of a tone in any window of a hop's length.
    fn loudest(&self, pcm: &[f32], hz: f64) -> f64 {
        // Multiplying by the tone's own phase makes components of its frequency constant, so that
        // they add up.
        let turn = TAU * hz / 48_000.0;
        let still: Vec<(f32, f32)> = pcm
            .iter()
            .enumerate()
            .map(|(at, sample)| {
                let (sin, cos) = (turn * at as f64).sin_cos();
                (sample * cos as f32, sample * sin as f32)
            })
            .collect();
        still
            .windows(self.hann.len())
            .step_by(STEP)
            .map(|window| self.amplitude(window))
            .fold(0.0, f64::max)
    }

    fn amplitude(&self, window: &[(f32, f32)]) -> f64 {
        let (re, im) = window
            .iter()
            .zip(&self.hann)
            .fold((0.0, 0.0), |(re, im), ((cos, sin), weight)| {
                (re + weight * cos, im + weight * sin)
            });
        2.0 * f64::from(f32::hypot(re, im)) / HOP as f64
    }
}

/// Finds a chirp in a recording: first coarsely, at a quarter of the sample rate, then exactly.
struct Finder {
    shape: Vec<f32>,
    coarse: Vec<f32>,
}

impl Finder {
    fn new(shape: &[f32]) -> Finder {
        Finder {
            shape: shape.to_vec(),
            coarse: thinned(shape),
        }
    }

    /// Returns the sample and the instant at which a chirp spoken at `at` was heard; `None` if it
    /// was not heard.
    fn find(&self, heard: &Heard, at: Instant) -> Option<(usize, Instant)> {
        let from = heard.from(at);
        let until = heard.from(at + LONGEST_DELAY) + self.shape.len();
        let pcm = heard.pcm.get(from..until.min(heard.pcm.len()))?;
        let (rough, _) = best(&thinned(pcm), &self.coarse, 0)?;
        let first = (rough * THINNED).saturating_sub(2 * THINNED);
        let last = (first + 4 * THINNED + self.shape.len()).min(pcm.len());
        let (exact, score) = best(pcm.get(first..last)?, &self.shape, first)?;
        let sample = from + exact;
        (score > LIKENESS).then_some((sample, heard.instant_of(sample)?))
    }
}

/// Returns the position at which `shape` correlates best with `pcm`, and the correlation: 1.0 is an
/// exact copy, whatever its level, above [`QUIETEST`]. Positions count from `offset`.
fn best(pcm: &[f32], shape: &[f32], offset: usize) -> Option<(usize, f32)> {
    let energy_of = |pcm: &[f32]| pcm.iter().map(|sample| sample * sample).sum::<f32>();
    let (shape_energy, floor) = (energy_of(shape), QUIETEST * energy_of(shape));
    pcm.windows(shape.len())
        .map(|window| {
            let (product, energy) = window
                .iter()
                .zip(shape)
                .fold((0.0, 0.0), |(product, energy), (a, b)| {
                    (product + a * b, energy + a * a)
                });
            product / (shape_energy * f32::max(energy, floor)).sqrt()
        })
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(at, score)| (offset + at, score))
}

/// Reduces the sample rate to a quarter by averaging. Chirps stay within the remaining bandwidth.
fn thinned(pcm: &[f32]) -> Vec<f32> {
    pcm.chunks_exact(THINNED)
        .map(|four| four.iter().sum::<f32>() / THINNED as f32)
        .collect()
}

/// The longest delay that is looked for: longer than that of any server, and shorter than the time
/// between two chirps.
const LONGEST_DELAY: Duration = Duration::from_millis(450);

/// The longest delay in samples.
const LONGEST_DELAY_SAMPLES: u64 = 21_600;

/// The least correlation at which a chirp counts as found. Two encoders at 32 kbit/s leave 0.95; a
/// loss or another talker lowers the correlation.
const LIKENESS: f32 = 0.4;

/// The energy below which the correlation drops, as a share of the chirp's energy: -20 dB. This
/// keeps near-silence from being taken for a chirp.
const QUIETEST: f32 = 0.01;

/// How far a hop may be from its predicted position, in samples: a playout that reduces its delay
/// moves what follows.
const STRAY: usize = 1_920;

/// The samples from one window to the next: 2 ms.
const STEP: usize = 96;

/// The share of its amplitude at which a hop counts as heard. Concealment mostly leaves less than a
/// third of it, and the packet after a lost one, in which a decoder recovers, slightly more.
const HEARD: f64 = 0.35;

/// Samples that are averaged in the coarse search.
const THINNED: usize = 4;

#[cfg(test)]
mod tests {
    use mixer::RtpTime;
    use rtc::rtp::header::Header;

    use super::super::taps::{ListenerProbe, TalkerProbe, of_samples};
    use super::*;
    use crate::join::tap::Tap;

    /// Encodes and decodes a stimulus with Opus. Each packet arrives `delay` after it was complete;
    /// `lose` decides which packets a server's decoder conceals.
    fn listen(
        stimulus: Stimulus,
        seconds: u64,
        delay: Duration,
        lose: impl Fn(u64) -> bool,
    ) -> Verdict {
        let start = Instant::now() + Duration::from_secs(1);
        let (mouth, ear) = talk(stimulus, seconds, (start, delay), lose);
        judge(&stimulus, &mouth.spoken(), None, &ear.heard().unwrap())
    }

    fn talk(
        stimulus: Stimulus,
        seconds: u64,
        (start, delay): (Instant, Duration),
        lose: impl Fn(u64) -> bool,
    ) -> (TalkerProbe, ListenerProbe) {
        let mut source = stimulus.source();
        let (mouth, ear) = (TalkerProbe::default(), ListenerProbe::default());
        let encoder = || {
            let mut encoder =
                opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
            encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
            encoder
        };
        let (mut up, mut down) = (encoder(), encoder());
        let mut server = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
        let mut pcm = [0f32; 960];
        for packet in 0..seconds * 50 {
            source.read(&mut pcm).unwrap();
            let at = start + of_samples((packet + 1) * 960);
            mouth.taken(at, RtpTime(0), &pcm);
            let sent = up.encode_vec_float(&pcm, 1_000).unwrap();
            let arrived: &[u8] = if lose(packet) { &[] } else { &sent };
            let mut mixed = [0f32; 960];
            server.decode_float(arrived, &mut mixed, false).unwrap();
            let heard = down.encode_vec_float(&mixed, 1_000).unwrap();
            let header = Header {
                timestamp: (packet * 960) as u32,
                ..Header::default()
            };
            ear.received(at + delay, &header, &heard);
        }
        (mouth, ear)
    }

    #[test]
    fn chirps_before_the_first_packet_are_not_counted_as_missed() {
        let stimulus = Stimulus::new(0);
        let start = Instant::now();
        // Nothing of the first three seconds arrives.
        let (mouth, ear) = talk(stimulus, 12, (start, Duration::from_millis(30)), |packet| {
            packet < 150
        });
        let since = |seconds| start + Duration::from_secs(seconds);
        let verdict = |since| judge(&stimulus, &mouth.spoken(), since, &ear.heard().unwrap());
        let (all, later) = (verdict(None), verdict(Some(since(4))));
        assert!(all.missed >= 3 && all.damaged_percent() > 10.0, "{all:?}");
        assert_eq!(later.missed, 0, "{later:?}");
        assert!(later.damaged_percent() < 0.5, "{later:?}");
        assert!(later.all_ms().len() > 8 && later.hops < all.hops);
    }

    #[test]
    fn latency_analysis_of_an_undamaged_path_finds_the_exact_delay_and_no_damage() {
        for talker in 0..super::super::stimulus::MOST_TALKERS {
            let verdict = listen(Stimulus::new(talker), 12, Duration::from_millis(30), |_| {
                false
            });
            assert_eq!(verdict.missed, 0, "{talker}");
            assert!(verdict.starts_ms.len() >= 4 && verdict.within_ms.len() >= 9);
            // A packet's duration, the delay, and the look-ahead of two encoders.
            for delay_ms in verdict.all_ms() {
                assert!((62.5..63.5).contains(&delay_ms), "{talker}: {delay_ms}");
            }
            if talker == 0 {
                assert!(verdict.hops > 250, "{}", verdict.hops);
                assert!(verdict.damaged_percent() < 0.5, "{verdict:?}");
            }
        }
    }

    #[test]
    fn concealed_sound_counts_as_damaged() {
        for every in [50, 20, 7] {
            let verdict = listen(Stimulus::new(0), 30, Duration::from_millis(10), |packet| {
                packet % every == 3
            });
            let lost_percent = 100.0 / every as f64;
            let damaged_percent = verdict.damaged_percent();
            assert!(
                (0.7 * lost_percent..1.7 * lost_percent).contains(&damaged_percent),
                "{lost_percent} % lost, {damaged_percent} % damaged"
            );
        }
    }

    #[test]
    fn chirp_is_not_found_in_silence() {
        let verdict = listen(Stimulus::new(0), 6, Duration::ZERO, |_| true);
        assert!(
            verdict.all_ms().is_empty() && verdict.missed > 5,
            "{verdict:?}"
        );
    }
}
