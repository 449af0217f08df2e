//! The ceiling of every mix: a soft limiter without lookahead.
//!
//! Two stages. A gain, driven by a peak follower that rises at once, holds and falls slowly,
//! removes a lasting excess without distortion. What comes too fast for the gain (the first
//! millisecond of a shout) is bent by a curve that starts with slope one at [`KNEE`] and never
//! reaches [`CEILING`]. Below the knee, with the gain at rest, the limiter leaves the samples
//! unchanged to the last bit.

use crate::format::{MAX_CHANNELS, SAMPLE_RATE_HZ};
use crate::frame::Frame;

/// Highest output level: -1 dBFS, the headroom that a lossy codec needs for its overshoot.
pub const CEILING: f32 = 0.891_25;

/// Level below which a limiter at rest changes nothing: -2 dBFS, where a well-set voice peaks.
pub const KNEE: f32 = 0.794_32;

/// The limiter state of one stream. `Copy`, so that a stream can be split off with its limiter
/// state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limiter {
    envelope: f32,
    held_samples: u32,
    gain: f32,
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter::new()
    }
}

impl Limiter {
    /// Creates a limiter at rest.
    pub const fn new() -> Limiter {
        Limiter {
            envelope: 0.0,
            held_samples: 0,
            gain: 1.0,
        }
    }

    /// The current gain, linear, `0.0..=1.0`; 1.0 at rest.
    pub fn gain(&self) -> f32 {
        self.gain
    }

    /// Resets the limiter to rest, between talk-spurts, when nobody can hear the gain jump.
    ///
    /// Real-time: safe.
    pub fn reset(&mut self) {
        *self = Limiter::new();
    }

    /// Limits one tick of a mix to the ceiling, in place. Samples that are not finite become
    /// silence.
    ///
    /// Real-time: safe.
    pub fn limit(&mut self, mix: &mut Frame) {
        if self.is_at_rest() && is_under_knee(mix.samples()) {
            return;
        }
        let channels = mix.layout().channels();
        debug_assert!(channels <= MAX_CHANNELS);
        for instant in mix.samples_mut().chunks_exact_mut(channels) {
            let mut peak = 0.0f32;
            for sample in instant.iter_mut() {
                *sample = if sample.is_finite() { *sample } else { 0.0 };
                peak = peak.max(sample.abs());
            }
            self.follow(peak);
            for sample in instant.iter_mut() {
                *sample = bend(*sample * self.gain);
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        self.gain == 1.0 && self.envelope <= KNEE
    }

    /// Advances envelope and gain by one sample; `peak` is the largest magnitude of its channels.
    fn follow(&mut self, peak: f32) {
        let peak = peak.min(ENVELOPE_MAX);
        if peak >= self.envelope {
            self.envelope = peak;
            self.held_samples = HOLD_SAMPLES;
        } else if self.held_samples > 0 {
            self.held_samples -= 1;
        } else {
            self.envelope = (self.envelope * RELEASE).max(peak);
        }
        let target = if self.envelope > KNEE {
            KNEE / self.envelope
        } else {
            1.0
        };
        self.gain += (target - self.gain) * GLIDE;
        if target == 1.0 && self.gain > NEARLY_ONE {
            self.gain = 1.0;
        }
    }
}

/// The limiter's curve: identity up to the knee, then a hyperbola that leaves the knee with slope
/// one and approaches the ceiling.
fn bend(sample: f32) -> f32 {
    let magnitude = sample.abs();
    if magnitude <= KNEE {
        return sample;
    }
    let over = ((magnitude - KNEE) / (CEILING - KNEE)).min(OVER_MAX);
    let bent = KNEE + (CEILING - KNEE) * (over / (1.0 + over));
    bent.min(CEILING).copysign(sample)
}

/// Whether all samples are under the knee. The comparison makes NaN count as over the knee.
fn is_under_knee(samples: &[f32]) -> bool {
    samples
        .iter()
        .fold(true, |under, sample| under & (sample.abs() <= KNEE))
}

/// How long a peak holds the envelope: half a period of 50 Hz, so that no voice modulates its own
/// gain.
const HOLD_SAMPLES: u32 = SAMPLE_RATE_HZ / 100;

/// Fall of the envelope per sample: to 1/e in 150 ms, slow enough not to pump between syllables.
const RELEASE: f32 = 1.0 - 1.0 / (0.150 * SAMPLE_RATE_HZ as f32);

/// Share of the way to its target that the gain moves per sample: 63 % in 0.5 ms, which leaves
/// little to the curve and is still a glide, not a step.
const GLIDE: f32 = 1.0 / (0.000_5 * SAMPLE_RATE_HZ as f32);

/// Gain above which the limiter snaps to rest: a step of -100 dB.
const NEARLY_ONE: f32 = 0.999_99;

/// Highest envelope: +36 dBFS. After a single absurd sample the gain is low no longer than the
/// release from this level takes: half a second.
const ENVELOPE_MAX: f32 = 64.0;

/// Keeps the curve's fraction from becoming infinity over infinity.
const OVER_MAX: f32 = 1.0e6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Layout, TickLength};

    fn frame_of(sample: impl Fn(usize) -> f32) -> Frame {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        for (at, out) in frame.samples_mut().iter_mut().enumerate() {
            *out = sample(at);
        }
        frame
    }

    fn sine(amplitude: f32, hz: f32, from: usize) -> impl Fn(usize) -> f32 {
        move |at| {
            let turns = hz * (from + at) as f32 / SAMPLE_RATE_HZ as f32;
            amplitude * (turns.fract() * core::f32::consts::TAU).sin()
        }
    }

    proptest! {
        #[test]
        fn limiter_output_never_exceeds_the_ceiling(
            ticks in prop::collection::vec(prop::collection::vec(prop::num::f32::ANY, 960), 1..4),
        ) {
            let mut limiter = Limiter::new();
            for tick in ticks {
                let mut frame = frame_of(|at| tick[at]);
                limiter.limit(&mut frame);
                prop_assert!(frame.samples().iter().all(|sample| sample.abs() <= CEILING));
            }
            prop_assert!(limiter.gain().is_finite());
        }

        #[test]
        fn limiter_leaves_samples_below_the_knee_unchanged(
            tick in prop::collection::vec(-KNEE..=KNEE, 960),
        ) {
            let mut frame = frame_of(|at| tick[at]);
            Limiter::new().limit(&mut frame);
            prop_assert_eq!(frame.samples(), &tick[..]);
        }
    }

    #[test]
    fn limiter_ceiling_is_minus_one_dbfs_and_knee_minus_two() {
        assert!(20.0 * CEILING.log10() <= -1.0);
        assert!((20.0 * KNEE.log10() + 2.0).abs() < 0.01);
    }

    #[test]
    fn limiter_does_not_distort_a_lasting_sine_at_ten_times_full_scale() {
        // A lasting sine of amplitude 10 must come out as a sine at the knee: an excess that the
        // gain does not remove would be distorted by the curve.
        let mut limiter = Limiter::new();
        let mut worst = 0.0f32;
        for tick in 0..50 {
            let input = sine(10.0, 317.0, tick * 960);
            let mut frame = frame_of(&input);
            limiter.limit(&mut frame);
            if tick >= 5 {
                for (at, &got) in frame.samples().iter().enumerate() {
                    worst = worst.max((got - input(at) / 10.0 * KNEE).abs());
                }
            }
        }
        assert!(worst < 0.01, "deviates by {worst}");
    }

    #[test]
    fn limiter_gain_glides_down_and_returns_to_rest_within_two_seconds() {
        // Loud, then quiet: no two neighbouring gains differ by more than the glide of one sample.
        let mut limiter = Limiter::new();
        let mut last = 1.0f32;
        let mut steepest_rise = 0.0f32;
        for at in 0..96_000 {
            limiter.follow(if at < 9_600 { 8.0 } else { 0.2 });
            steepest_rise = steepest_rise.max(limiter.gain() - last);
            assert!(last - limiter.gain() <= GLIDE);
            last = limiter.gain();
        }
        assert_eq!(limiter.gain(), 1.0, "back at rest within two seconds");
        assert!(steepest_rise < 0.001);
    }

    #[test]
    fn limiter_recovers_from_an_absurd_sample_within_1200_ms() {
        let mut limiter = Limiter::new();
        limiter.limit(&mut frame_of(|at| if at == 0 { f32::MAX } else { 0.0 }));
        for _ in 0..60 {
            limiter.limit(&mut frame_of(|_| 0.1));
        }
        assert_eq!(limiter.gain(), 1.0);
    }
}
