//! The audio sources of a swarm: encoded once, and sent by all of its clients.
//!
//! Talkers send the voices of the binary, or a tone each. Listeners send what real clients send
//! while their users are silent: comfort noise, silence at the full packet rate, or room noise.

use std::sync::Arc;

use bytes::Bytes;
use mixer::format::MAX_PAYLOAD_BYTES;
use thiserror::Error;

use crate::bench::speech::{self, SpeechError};
use crate::join::opus::{VoiceEncoder, VoiceSettings};
use crate::join::sdp::SendLimits;
use crate::join::uplink::level_of;

/// An Opus packet of 20 ms.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) payload: Bytes,
    /// The level sent with it (RFC 6464), with the voice bit.
    pub(super) level: Option<u8>,
}

/// A sound that is repeated endlessly. A missing frame means that nothing is sent (DTX).
#[derive(Debug)]
pub(super) struct Sound {
    pub(super) frames: Vec<Option<Frame>>,
}

impl Sound {
    /// Returns how many frames after frame `at` the next packet is sent, at least 1.
    pub(super) fn next_after(&self, at: usize) -> usize {
        let count = self.frames.len();
        (1..=count)
            .find(|step| self.frames[(at + step) % count].is_some())
            .unwrap_or(count)
    }

    /// Returns the number of frames before the sound repeats.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

/// What talkers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Speech {
    /// Speech with its pauses
    Voices,
    /// Speech without a pause
    Nonstop,
    /// Tones, of a different frequency for each talker
    Tones,
}

/// What listeners send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum ListenerKind {
    /// A packet every 400 ms, as sent by a client that honours `usedtx=1`
    Dtx,
    /// Silence at the full packet rate, with its audio level (127)
    Silence,
    /// Noise at -55 dBFS at the full packet rate, without audio levels
    Noise,
    /// Nothing: the offer is recvonly
    Recvonly,
}

/// Why a sound cannot be made.
#[derive(Debug, Error)]
pub enum SoundError {
    /// The voices in the binary cannot be read.
    #[error(transparent)]
    Voice(#[from] SpeechError),
    /// The encoder reported an error.
    #[error("cannot encode the audio that the benchmark's clients send: {0}")]
    Encoder(#[from] opus::Error),
}

/// The audio sources of a swarm.
pub(super) struct Sources {
    speech: Speech,
    /// Each voice without and with DTX.
    voices: Vec<[Arc<Sound>; 2]>,
    comfort: Arc<Sound>,
    silence: Arc<Sound>,
    noise: Arc<Sound>,
}

impl Sources {
    /// Encodes all sounds of the swarm; takes about a second.
    pub(super) fn new(speech: Speech) -> Result<Sources, SoundError> {
        let silence = encode(&vec![0.0; FRAME * 60], false)?;
        // After the encoder's start all silent frames are alike.
        let silent = silence.frames[50].clone();
        let mut comfort = vec![None; COMFORT_FRAMES];
        comfort[0] = silent.clone();
        let mut noise = encode(&noise(FRAME * 500), false)?;
        for frame in noise.frames.iter_mut().flatten() {
            frame.level = None;
        }
        let voices = match speech {
            Speech::Tones => Vec::new(),
            Speech::Voices | Speech::Nonstop => speech::voices()?
                .iter()
                .map(|voice| spoken(&voice.pcm, speech == Speech::Nonstop))
                .collect::<Result<_, _>>()?,
        };
        Ok(Sources {
            speech,
            voices,
            comfort: Arc::new(Sound { frames: comfort }),
            silence: Arc::new(Sound {
                frames: vec![silent],
            }),
            noise: Arc::new(noise),
        })
    }

    /// Returns the sound of talker `number` and the frame at which it starts. No two talkers send
    /// the same frame at one time.
    pub(super) fn talker(
        &self,
        number: usize,
        dtx: bool,
    ) -> Result<(Arc<Sound>, usize), SoundError> {
        if self.speech == Speech::Tones {
            let pcm: Vec<f32> = (0..FRAME * 50)
                .map(|at| {
                    let phase = at as f32 / 48_000.0 * tone_hz(number) as f32;
                    TONE_AMPLITUDE * (phase.fract() * std::f32::consts::TAU).sin()
                })
                .collect();
            return Ok((Arc::new(encode(&pcm, false)?), 0));
        }
        let sound = &self.voices[number % self.voices.len()][usize::from(dtx)];
        let start = (number as f64 * GOLDEN).fract() * sound.len() as f64;
        Ok((sound.clone(), start as usize))
    }

    /// Returns the sound of a listener, if it sends any.
    pub(super) fn listener(&self, kind: ListenerKind) -> Option<Arc<Sound>> {
        match kind {
            ListenerKind::Dtx => Some(self.comfort.clone()),
            ListenerKind::Silence => Some(self.silence.clone()),
            ListenerKind::Noise => Some(self.noise.clone()),
            ListenerKind::Recvonly => None,
        }
    }
}

/// Returns the frequency of a talker's tone. The sound lasts one second, which holds whole periods
/// of it.
pub fn tone_hz(number: usize) -> u32 {
    400 + 170 * (number as u32 % 40)
}

/// The fractional part of the golden ratio: its multiples, modulo 1, are evenly spread, however
/// many there are.
pub(super) const GOLDEN: f64 = 0.618_033_988_749_895;

/// Encodes a voice twice: without and with DTX.
fn spoken(pcm: &[f32], nonstop: bool) -> Result<[Arc<Sound>; 2], SoundError> {
    let pcm = if nonstop {
        without_pauses(pcm)
    } else {
        pcm.to_vec()
    };
    Ok([
        Arc::new(encode(&pcm, false)?),
        Arc::new(encode(&pcm, true)?),
    ])
}

/// Returns the frames that contain speech, joined without their pauses.
fn without_pauses(pcm: &[f32]) -> Vec<f32> {
    pcm.chunks_exact(FRAME)
        .filter(|frame| level_of(frame).wire() < PAUSE_LEVEL)
        .flatten()
        .copied()
        .collect()
}

fn encode(pcm: &[f32], dtx: bool) -> Result<Sound, SoundError> {
    let settings = VoiceSettings {
        bitrate_bps: BITRATE_BPS,
        fec: false,
    };
    let mut encoder = VoiceEncoder::new(settings)?;
    encoder.obey(&SendLimits {
        dtx,
        ..SendLimits::default()
    })?;
    let mut payload = [0; MAX_PAYLOAD_BYTES];
    let mut frames = Vec::with_capacity(pcm.len() / FRAME);
    for frame in pcm.chunks_exact(FRAME) {
        let bytes = encoder.encode(frame, &mut payload)?;
        let level = level_of(frame).wire();
        let voiced = if level < PAUSE_LEVEL { 0x80 } else { 0 };
        frames.push((bytes > 0).then(|| Frame {
            payload: Bytes::copy_from_slice(&payload[..bytes]),
            level: Some(level | voiced),
        }));
    }
    Ok(Sound { frames })
}

/// White noise of -55 dBFS.
fn noise(samples: usize) -> Vec<f32> {
    // An even distribution between +-a has a power of a^2 / 3.
    let amplitude = 10f32.powf(-55.0 / 20.0) * 3f32.sqrt();
    let mut state = 0x2545_f491u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    };
    (0..samples).map(|_| amplitude * next()).collect()
}

/// Samples of a frame of 20 ms.
const FRAME: usize = 960;

/// The bitrate of the encoders, which is what browsers send by default.
const BITRATE_BPS: u32 = 32_000;

/// Frames between two comfort noise packets, as libopus makes them: 400 ms.
const COMFORT_FRAMES: usize = 20;

/// Quiet enough for many tones at once: a server without a limiter would wrap.
const TONE_AMPLITUDE: f32 = 0.1;

/// Frames below -50 dBFS count as pauses.
const PAUSE_LEVEL: u8 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_source_has_its_stated_level() {
        let level = level_of(&noise(9_600)).wire();
        assert!((54..=56).contains(&level), "{level}");
    }

    #[test]
    fn swarm_listeners_send_comfort_noise_silence_noise_or_nothing() {
        let sounds = Sources::new(Speech::Tones).expect("libopus encodes");
        let comfort = sounds.listener(ListenerKind::Dtx).expect("sends");
        assert_eq!((comfort.next_after(0), comfort.len()), (20, 20));
        let silence = sounds.listener(ListenerKind::Silence).expect("sends");
        assert_eq!(silence.next_after(0), 1);
        let frame = silence.frames[0].as_ref().expect("a frame");
        assert_eq!(frame.level, Some(127));
        let noise = sounds.listener(ListenerKind::Noise).expect("sends");
        assert!(
            noise
                .frames
                .iter()
                .flatten()
                .all(|frame| frame.level.is_none())
        );
        assert!(sounds.listener(ListenerKind::Recvonly).is_none());
        let (tone, _) = sounds.talker(1, true).expect("encoded");
        assert_eq!(tone.len(), 50);
    }

    #[test]
    fn voices_have_pauses_unless_nonstop() {
        let pauses = Sources::new(Speech::Voices).expect("the voices are there");
        let (sound, start) = pauses.talker(1, true).expect("encoded");
        assert!(start < sound.len() && sound.len() > 20 * 50);
        assert!(sound.frames.iter().any(Option::is_none), "DTX");
        let (sound, _) = pauses.talker(1, false).expect("encoded");
        assert!(sound.frames.iter().all(Option::is_some));
        let pcm = [vec![0.0; FRAME], vec![0.5; FRAME], vec![0.0; FRAME]].concat();
        assert_eq!(without_pauses(&pcm), vec![0.5; FRAME]);
    }
}
