//! The client's Opus encoder and decoder.

use mixer::codec::opus::OpusDecoder;
use mixer::codec::{Decode, DecodeError};
use mixer::format::{Layout, MAX_PAYLOAD_BYTES, SAMPLE_RATE_HZ};
use opus::{Application, Bandwidth, Bitrate, Channels, Encoder, SoftClip};

use super::sdp::SendLimits;

/// The bitrate and the error correction of the sent audio, before the limits of the receiver are
/// applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceSettings {
    /// Bits per second of payload, 6,000..=510,000.
    pub bitrate_bps: u32,
    /// In-band error correction, for a tenth of the packets lost (RFC 6716, 2.1.7).
    pub fec: bool,
}

/// Encodes 48 kHz mono voice.
pub struct VoiceEncoder {
    encoder: Encoder,
    settings: VoiceSettings,
    dtx: bool,
}

impl VoiceEncoder {
    /// Creates an encoder for a receiver without limits.
    ///
    /// # Errors
    /// An error of libopus.
    pub fn new(settings: VoiceSettings) -> Result<VoiceEncoder, opus::Error> {
        let mut encoder = Encoder::new(SAMPLE_RATE_HZ, Channels::Mono, Application::Voip)?;
        encoder.set_complexity(COMPLEXITY)?;
        encoder.set_inband_fec(settings.fec)?;
        encoder.set_packet_loss_perc(if settings.fec {
            EXPECTED_LOSS_PERCENT
        } else {
            0
        })?;
        let mut voice = VoiceEncoder {
            encoder,
            settings,
            dtx: false,
        };
        voice.obey(&SendLimits::default())?;
        Ok(voice)
    }

    /// Applies the limits that the receiver's SDP answer sets.
    ///
    /// # Errors
    /// An error of libopus.
    pub fn obey(&mut self, limits: &SendLimits) -> Result<(), opus::Error> {
        let ceiling_bps = limits.max_average_bitrate_bps.unwrap_or(u32::MAX);
        let bitrate_bps = self.settings.bitrate_bps.min(ceiling_bps);
        self.encoder
            .set_bitrate(Bitrate::Bits(bitrate_bps as i32))?;
        self.encoder.set_vbr(!limits.cbr)?;
        self.dtx = limits.dtx;
        self.encoder.set_dtx(limits.dtx)?;
        self.encoder
            .set_max_bandwidth(match limits.max_playback_rate_hz {
                0..=8_000 => Bandwidth::Narrowband,
                8_001..=12_000 => Bandwidth::Mediumband,
                12_001..=16_000 => Bandwidth::Wideband,
                16_001..=24_000 => Bandwidth::Superwideband,
                _ => Bandwidth::Fullband,
            })
    }

    /// Encodes one frame of 10, 20, 40 or 60 ms into `payload`; returns the number of bytes, 0 if
    /// the encoder has gone silent (DTX) and nothing needs to be sent.
    ///
    /// # Errors
    /// An error of libopus for any other length.
    pub fn encode(
        &mut self,
        pcm: &[f32],
        payload: &mut [u8; MAX_PAYLOAD_BYTES],
    ) -> Result<usize, opus::Error> {
        let bytes = self.encoder.encode_float(pcm, payload)?;
        // A packet of one or two bytes holds no audio and need not be sent, as libopus documents.
        Ok(if self.dtx && bytes <= 2 { 0 } else { bytes })
    }
}

/// Decodes to 48 kHz mono, within full scale.
///
/// A decoded signal may be louder than the encoded one: a sound limited to -1 dBFS exceeds full
/// scale at some samples. Clipping it would crackle, so it is bent smoothly, as libopus does when
/// it decodes to 16 bits.
pub struct VoiceDecoder {
    decoder: OpusDecoder,
    clip: SoftClip,
}

impl VoiceDecoder {
    /// Creates a decoder without history.
    pub fn new() -> VoiceDecoder {
        VoiceDecoder {
            decoder: OpusDecoder::new(Layout::Mono),
            clip: SoftClip::new(Channels::Mono),
        }
    }
}

impl Default for VoiceDecoder {
    fn default() -> VoiceDecoder {
        VoiceDecoder::new()
    }
}

impl Decode for VoiceDecoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let samples = self.decoder.decode(payload, pcm)?;
        self.clip.apply(&mut pcm[..samples]);
        Ok(samples)
    }

    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.decoder.recover(next_payload, pcm)?;
        self.clip.apply(pcm);
        Ok(())
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        self.decoder.conceal(pcm);
        self.clip.apply(pcm);
    }

    fn guess(&mut self, after: usize, pcm: &mut [f32]) -> bool {
        let untouched = self.decoder.guess(after, pcm);
        self.clip.apply(pcm);
        untouched
    }

    fn miss(&mut self, samples: usize) {
        self.decoder.miss(samples);
    }

    fn reset(&mut self) {
        self.decoder.reset();
        self.clip = SoftClip::new(Channels::Mono);
    }
}

/// The complexity setting of libopus, its highest: a client encodes only one stream.
const COMPLEXITY: i32 = 10;

/// The packet loss that forward error correction, if it is on, is to compensate.
const EXPECTED_LOSS_PERCENT: i32 = 10;

#[cfg(test)]
mod tests {
    use super::super::pcm::tones::{amplitude, sine};
    use super::*;
    use mixer::format::MAX_PACKET_SAMPLES;
    use opus::Decoder;

    fn rate_bps(limits: SendLimits) -> usize {
        let settings = VoiceSettings {
            bitrate_bps: 64_000,
            fec: false,
        };
        let mut encoder = VoiceEncoder::new(settings).unwrap();
        encoder.obey(&limits).unwrap();
        let mut payload = [0; MAX_PAYLOAD_BYTES];
        let pcm = sine(440.0, 48_000, 480_000);
        let bytes: usize = pcm
            .chunks(960)
            .map(|frame| encoder.encode(frame, &mut payload).unwrap())
            .sum();
        bytes * 8 / 10
    }

    #[test]
    fn voice_encoder_keeps_the_receivers_bitrate_limit() {
        assert!(rate_bps(SendLimits::default()) > 30_000);
        let limits = SendLimits {
            max_average_bitrate_bps: Some(12_000),
            ..SendLimits::default()
        };
        let bps = rate_bps(limits);
        assert!(bps < 13_000, "{bps}");
    }

    #[test]
    fn voice_encoder_sends_no_silence_if_the_receiver_asks_for_dtx() {
        for (dtx, most) in [(true, 20), (false, 150)] {
            let settings = VoiceSettings {
                bitrate_bps: 32_000,
                fec: true,
            };
            let mut encoder = VoiceEncoder::new(settings).unwrap();
            let limits = SendLimits {
                dtx,
                ..SendLimits::default()
            };
            encoder.obey(&limits).unwrap();
            let mut payload = [0; MAX_PAYLOAD_BYTES];
            let sent = (0..150)
                .filter(|_| encoder.encode(&[0.0; 960], &mut payload).unwrap() > 0)
                .count();
            assert!(sent <= most && (dtx || sent == 150), "{sent} of 150");
        }
    }

    #[test]
    fn voice_survives_the_codec_at_every_packet_duration() {
        for samples in [480, 960, 1_920, 2_880] {
            let settings = VoiceSettings {
                bitrate_bps: 32_000,
                fec: false,
            };
            let mut encoder = VoiceEncoder::new(settings).unwrap();
            let mut decoder = VoiceDecoder::new();
            let mut payload = [0; MAX_PAYLOAD_BYTES];
            let mut out = Vec::new();
            let mut pcm = vec![0.0; MAX_PACKET_SAMPLES];
            for frame in sine(440.0, 48_000, 57_600).chunks(samples) {
                let bytes = encoder.encode(frame, &mut payload).unwrap();
                assert_eq!(decoder.decode(&payload[..bytes], &mut pcm), Ok(samples));
                out.extend_from_slice(&pcm[..samples]);
            }
            assert!((amplitude(&out[9_600..], 440.0) - 0.5).abs() < 0.1);
        }
    }

    #[test]
    fn voice_decoder_stays_within_full_scale() {
        // A transform coder overshoots on a square wave; the linear predictor, at low rates,
        // saturates.
        let settings = VoiceSettings {
            bitrate_bps: 48_000,
            fec: false,
        };
        let mut encoder = VoiceEncoder::new(settings).unwrap();
        let mut decoder = VoiceDecoder::new();
        let mut plain = Decoder::new(SAMPLE_RATE_HZ, Channels::Mono).unwrap();
        let mut payload = [0; MAX_PAYLOAD_BYTES];
        let (mut within, mut beyond) = (0.0f32, 0.0f32);
        for frame in sine(440.0, 48_000, 48_000).chunks(960) {
            let square: Vec<f32> = frame.iter().map(|sample| 0.9 * sample.signum()).collect();
            let bytes = encoder.encode(&square, &mut payload).unwrap();
            let mut pcm = [0.0; 960];
            plain
                .decode_float(&payload[..bytes], &mut pcm, false)
                .unwrap();
            beyond = pcm
                .iter()
                .fold(beyond, |peak, sample| peak.max(sample.abs()));
            decoder.decode(&payload[..bytes], &mut pcm).unwrap();
            within = pcm
                .iter()
                .fold(within, |peak, sample| peak.max(sample.abs()));
        }
        assert!(beyond > 1.05 && within <= 1.0, "{beyond}, {within}");
    }

    #[test]
    fn voice_decoder_refuses_empty_and_malformed_payloads() {
        let mut decoder = VoiceDecoder::new();
        let mut pcm = [0.0; 960];
        assert_eq!(decoder.decode(&[], &mut pcm), Err(DecodeError::Malformed));
        assert_eq!(decoder.recover(&[], &mut pcm), Err(DecodeError::Malformed));
        assert!(decoder.decode(&[0xff; 7], &mut pcm).is_err());
        decoder.conceal(&mut pcm);
        decoder.reset();
    }
}
