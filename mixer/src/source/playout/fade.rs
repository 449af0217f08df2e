//! Fades concealment out into silence, and sound in, without a click.

use crate::gain_ramp::GainRamp;

/// The gain of concealment: full for the first 20 ms, zero after 120 ms. Sound returns within 5 ms.
#[derive(Debug, Default)]
pub(super) struct Fade {
    /// Samples of concealment in a row.
    pub(super) run: usize,
}

impl Fade {
    pub(super) fn gain(&self) -> f32 {
        Fade::gain_at(self.run)
    }

    fn gain_at(run: usize) -> f32 {
        let faded = run.saturating_sub(FADE_START) as f32 / (FADE_END - FADE_START) as f32;
        (1.0 - faded).max(0.0)
    }

    /// Fades out concealment.
    pub(super) fn toward_silence(&mut self, pcm: &mut [f32], channels: usize) {
        for frame in pcm.chunks_mut(channels) {
            let gain = self.gain();
            frame.iter_mut().for_each(|sample| *sample *= gain);
            self.run += 1;
        }
    }

    /// Fades decoded sound in from the gain that concealment has reached.
    pub(super) fn toward_sound(&mut self, pcm: &mut [f32], channels: usize) {
        let gain = self.gain();
        self.run = 0;
        if gain < 1.0 {
            let samples = pcm.len().min(FADE_IN * channels);
            GainRamp::across(&mut pcm[..samples], channels, gain, 1.0);
        }
    }
}

/// Concealment stays at full gain for 20 ms: the decoder alone hides one lost packet of the usual
/// length best.
pub(super) const FADE_START: usize = 960;

/// Concealment has faded out after 120 ms.
pub(super) const FADE_END: usize = 5_760;

/// Sound fades in, and out, within 5 ms.
pub(super) const FADE_IN: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concealment_fades_out_in_120_ms_and_sound_returns_in_5_ms() {
        let mut fade = Fade::default();
        let mut pcm = [1.0f32; 7_000];
        fade.toward_silence(&mut pcm, 1);
        assert!(pcm[..FADE_START].iter().all(|sample| *sample == 1.0));
        assert!(pcm.windows(2).all(|w| w[1] <= w[0] && w[0] - w[1] < 0.001));
        assert!(pcm[FADE_END..].iter().all(|sample| *sample == 0.0));
        let mut pcm = [1.0f32; 960];
        fade.toward_sound(&mut pcm, 1);
        assert!(pcm.windows(2).all(|w| (0.0..0.01).contains(&(w[1] - w[0]))));
        assert!(pcm[0] < 0.01 && pcm[FADE_IN..].iter().all(|sample| *sample == 1.0));
    }
}
