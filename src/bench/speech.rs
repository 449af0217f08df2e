//! The voices of a benchmark's talkers: running speech, embedded in the binary, so that all
//! measurements use the same.

use std::io::Cursor;

use mixer::Level;
use mixer::format::{MAX_PAYLOAD_BYTES, SAMPLE_RATE_HZ};
use thiserror::Error;

use crate::join::opus::{VoiceEncoder, VoiceSettings};
use crate::join::pcm::wav::WavSource;
use crate::join::pcm::{PcmError, read_all};
use crate::join::uplink::{Ptime, level_of};

/// A recording of one speaker, about 20 s long.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// Its file name among the fixtures, without the extension.
    pub name: &'static str,
    /// 48 kHz mono, -26 dBov while it speaks.
    pub pcm: Vec<f32>,
}

/// One packet of a voice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The Opus packet.
    pub payload: Vec<u8>,
    /// Its level, as a client would report it (RFC 6464).
    pub level: Level,
}

/// Why a voice is not available.
#[derive(Debug, Error)]
pub enum SpeechError {
    /// The recording cannot be read.
    #[error("cannot read the voice {name}: {source}")]
    Read {
        /// The voice's name.
        name: &'static str,
        /// Why the recording cannot be read.
        source: PcmError,
    },
    /// The speech cannot be encoded.
    #[error("cannot encode a voice as Opus: {0}")]
    Encode(#[from] opus::Error),
}

/// Returns all voices: three human ones, which the command line credits, and a synthetic one, the
/// only one with sound above 8 kHz.
///
/// # Errors
/// [`SpeechError`] when a recording cannot be read.
pub fn voices() -> Result<Vec<Voice>, SpeechError> {
    RECORDINGS
        .into_iter()
        .map(|(name, wav)| {
            let pcm = read(wav).map_err(|source| SpeechError::Read { name, source })?;
            Ok(Voice { name, pcm })
        })
        .collect()
}

/// Encodes 48 kHz mono PCM as a client does; the last packet is completed with silence.
///
/// # Errors
/// [`SpeechError::Encode`] when Opus does not support the bitrate.
pub fn encode(pcm: &[f32], bitrate_bps: u32, ptime: Ptime) -> Result<Vec<Spoken>, SpeechError> {
    let settings = VoiceSettings {
        bitrate_bps,
        fec: false,
    };
    let mut encoder = VoiceEncoder::new(settings)?;
    let samples = (ptime.ms() * SAMPLE_RATE_HZ / 1_000) as usize;
    let mut frame = vec![0.0; samples];
    let mut payload = [0; MAX_PAYLOAD_BYTES];
    let mut packets = Vec::with_capacity(pcm.len().div_ceil(samples));
    for part in pcm.chunks(samples) {
        frame[..part.len()].copy_from_slice(part);
        frame[part.len()..].fill(0.0);
        let bytes = encoder.encode(&frame, &mut payload)?;
        packets.push(Spoken {
            payload: payload[..bytes].to_vec(),
            level: level_of(&frame),
        });
    }
    Ok(packets)
}

fn read(wav: &'static [u8]) -> Result<Vec<f32>, PcmError> {
    read_all(&mut WavSource::new(Cursor::new(wav))?)
}

const RECORDINGS: [(&str, &[u8]); 4] = [
    (
        "human-en-female",
        include_bytes!("../../fixtures/voices/human-en-female.wav"),
    ),
    (
        "human-it-male",
        include_bytes!("../../fixtures/voices/human-it-male.wav"),
    ),
    (
        "human-fr-female",
        include_bytes!("../../fixtures/voices/human-fr-female.wav"),
    ),
    (
        "synthetic-de-male",
        include_bytes!("../../fixtures/voices/synthetic-de-male.wav"),
    ),
];

/// The credits of the voices; their licences require them wherever the voices go.
pub const CREDITS: &str = "Voices: Allison Smith and June Wallack (CC BY-SA 3.0), Carlo Flora (CC BY 3.0), \
from the Asterisk core sounds, cut and levelled; and espeak-ng.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_voices_speak_for_twenty_seconds() {
        for voice in voices().unwrap() {
            let seconds = voice.pcm.len() as f64 / 48_000.0;
            assert!((20.0..30.0).contains(&seconds), "{} {seconds}", voice.name);
            assert!(voice.pcm.iter().any(|sample| sample.abs() > 0.1));
        }
    }

    #[test]
    fn encoded_speech_has_the_requested_packet_duration_and_bitrate() {
        let voice = voices().unwrap().remove(0);
        for (ptime, samples) in [(Ptime::Ms10, 480), (Ptime::Ms20, 960), (Ptime::Ms60, 2_880)] {
            let packets = encode(&voice.pcm[..48_000 * 4], 32_000, ptime).unwrap();
            assert_eq!(packets.len(), (48_000 * 4usize).div_ceil(samples));
            let bytes: usize = packets.iter().map(|packet| packet.payload.len()).sum();
            let bps = bytes * 8 / 4;
            assert!((20_000..40_000).contains(&bps), "{bps} at {ptime:?}");
            let decoder = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
            for packet in &packets {
                assert_eq!(decoder.get_nb_samples(&packet.payload).unwrap(), samples);
            }
        }
    }

    #[test]
    fn levels_of_encoded_speech_distinguish_speech_from_pauses() {
        let voice = voices().unwrap().remove(0);
        let packets = encode(&voice.pcm, 32_000, Ptime::Ms20).unwrap();
        assert_eq!(packets[0].level, Level::SILENCE);
        let loudest = packets.iter().map(|packet| packet.level.wire()).min();
        assert!(loudest.is_some_and(|dbov| dbov < 26), "{loudest:?}");
    }
}
