//! How made-up sound gives way to silence, and silence to sound, without a click.

/// The gain of made-up sound: full for the first 20 ms, gone after 120 ms, and back within 5 ms.
#[derive(Debug, Default)]
pub(super) struct Fade {
    /// Samples made up in a row.
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

    /// Fades made-up sound.
    pub(super) fn toward_silence(&mut self, pcm: &mut [f32], channels: usize) {
        for frame in pcm.chunks_mut(channels) {
            let gain = self.gain();
            frame.iter_mut().for_each(|sample| *sample *= gain);
            self.run += 1;
        }
    }

    /// Lets real sound come back.
    pub(super) fn toward_sound(&mut self, pcm: &mut [f32], channels: usize) {
        let gain = self.gain();
        self.run = 0;
        if gain < 1.0 {
            let frames = (pcm.len() / channels).min(FADE_IN);
            ramp(&mut pcm[..frames * channels], channels, gain, 1.0);
        }
    }
}

/// Multiplies interleaved PCM with a straight line from one gain to another.
pub(super) fn ramp(pcm: &mut [f32], channels: usize, from: f32, to: f32) {
    let frames = pcm.len() / channels;
    for (n, frame) in pcm.chunks_mut(channels).enumerate() {
        let gain = from + (to - from) * (n as f32 + 0.5) / frames as f32;
        frame.iter_mut().for_each(|sample| *sample *= gain);
    }
}

/// Made-up sound is at full gain this long: one lost packet of the usual length is hidden best by
/// the decoder alone.
pub(super) const FADE_START: usize = 960;

/// And has faded away by then: 120 ms.
pub(super) const FADE_END: usize = 5_760;

/// Sound returns within 5 ms, and leaves within as much.
pub(super) const FADE_IN: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_sound_is_gone_after_120_ms_and_sound_is_back_after_five() {
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
