//! A gain that changes linearly from sample to sample, so that no change of loudness clicks.

/// A linear ramp from one gain to another.
///
/// Sample `n`, counted from 0, has the gain `from + (to - from) * (n + 1) / samples`: the first
/// sample already differs from `from`, and the last one has reached `to`, which all later samples
/// keep.
///
/// Real-time: safe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GainRamp {
    from: f32,
    to: f32,
    step: f32,
    samples: usize,
}

impl GainRamp {
    /// Creates a ramp from one linear gain to another within `samples` samples per channel.
    pub const fn new(from: f32, to: f32, samples: usize) -> GainRamp {
        GainRamp {
            from,
            to,
            step: (to - from) / samples as f32,
            samples,
        }
    }

    /// Whether the gain is 1 throughout.
    pub fn is_unity(&self) -> bool {
        self.to == 1.0 && (self.from == 1.0 || self.samples == 0)
    }

    /// Whether the gain is 0 throughout.
    pub fn is_zero(&self) -> bool {
        self.to == 0.0 && (self.from == 0.0 || self.samples == 0)
    }

    /// The gain of sample `n`.
    pub fn at(&self, n: usize) -> f32 {
        match n + 1 < self.samples {
            true => self.from + self.step * (n + 1) as f32,
            false => self.to,
        }
    }

    /// Multiplies interleaved samples by a gain that goes from `from` to `to` within all of them.
    pub fn across(pcm: &mut [f32], channels: usize, from: f32, to: f32) {
        let ramp = GainRamp::new(from, to, pcm.len() / channels);
        if !ramp.is_unity() {
            ramp.apply(pcm, channels);
        }
    }

    /// Multiplies interleaved samples by the gain.
    pub fn apply(&self, pcm: &mut [f32], channels: usize) {
        let changing = pcm.len().min(self.samples * channels);
        let (changing, steady) = pcm.split_at_mut(changing);
        if self.from != self.to {
            for (n, instant) in changing.chunks_exact_mut(channels).enumerate() {
                let gain = self.at(n);
                instant.iter_mut().for_each(|sample| *sample *= gain);
            }
        } else if self.to != 1.0 {
            changing.iter_mut().for_each(|sample| *sample *= self.to);
        }
        if self.to != 1.0 {
            steady.iter_mut().for_each(|sample| *sample *= self.to);
        }
    }

    /// Adds interleaved samples, multiplied by the gain, to a sum with the same number of channels.
    pub fn add(&self, pcm: &[f32], channels: usize, sum: &mut [f32]) {
        let instants = sum
            .chunks_exact_mut(channels)
            .zip(pcm.chunks_exact(channels));
        for (n, (out, samples)) in instants.enumerate() {
            let gain = self.at(n);
            for (out, sample) in out.iter_mut().zip(samples) {
                *out += gain * sample;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gain_ramp_reaches_its_end_with_the_last_sample_and_stays_there() {
        let mut pcm = [1.0; 6];
        GainRamp::new(0.0, 2.0, 4).apply(&mut pcm, 1);
        assert_eq!(pcm, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]);
        let mut stereo = [1.0; 6];
        GainRamp::new(1.0, 0.0, 2).apply(&mut stereo, 2);
        assert_eq!(stereo, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn gain_ramp_adds_the_same_samples_as_it_applies() {
        let pcm = [1.0, -1.0, 0.5, 0.25];
        for ramp in [
            GainRamp::new(1.0, 0.0, 2),
            GainRamp::new(-0.5, 1.0, 3),
            GainRamp::new(0.7, 0.7, 4),
            GainRamp::new(0.0, 0.3, 0),
        ] {
            let mut applied = pcm;
            ramp.apply(&mut applied, 1);
            let mut sum = [0.0; 4];
            ramp.add(&pcm, 1, &mut sum);
            assert_eq!(applied, sum, "{ramp:?}");
        }
    }

    #[test]
    fn gain_ramp_reports_unity_and_zero_gain() {
        assert!(GainRamp::new(1.0, 1.0, 48).is_unity());
        assert!(GainRamp::new(0.0, 1.0, 0).is_unity());
        assert!(!GainRamp::new(0.0, 1.0, 48).is_unity());
        assert!(GainRamp::new(0.0, 0.0, 48).is_zero());
        assert!(!GainRamp::new(0.5, 0.0, 48).is_zero());
    }
}
