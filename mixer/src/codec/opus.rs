//! Opus (RFC 6716) over libopus: both traits of [`codec`](super).
//!
//! Set-up allocates; afterwards libopus works on its own state and the stack, so every call is
//! real-time safe. Encoder and decoder use `opusic-sys` directly. The `opus` crate, which is built
//! on it, hides the memory of libopus; the encoder here copies that memory, and the decoder places
//! a full or a rough decoder in it.

mod bandwidth_detector;
mod decoder;
mod encoder;

pub use self::decoder::OpusDecoder;
pub use self::encoder::OpusEncoder;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Decode, DecodeError, Encode};
    use crate::codec::{Encoding, Profile, ReceiverLimits};
    use crate::format::Layout;
    use crate::format::{MAX_PACKET_SAMPLES, TickLength};
    use crate::packet::Payload;

    fn encoding(profile: Profile, stereo: bool) -> Encoding {
        let limits = ReceiverLimits {
            stereo,
            fec: true,
            ..ReceiverLimits::default()
        };
        Encoding::new(profile, &limits, TickLength::Ms20)
    }

    fn tone(samples: usize, channels: usize, from: usize) -> Vec<f32> {
        (0..samples * channels)
            .map(|at| {
                let turns = 441.7 * (from + at / channels) as f32 / 48_000.0;
                0.5 * (turns.fract() * core::f32::consts::TAU).sin()
            })
            .collect()
    }

    #[test]
    fn opus_encodes_and_decodes_a_tone_in_every_profile() {
        for (profile, stereo) in [
            (Profile::Voice, false),
            (Profile::LowDelay, false),
            (Profile::Thin, false),
            (Profile::Music, true),
        ] {
            let encoding = encoding(profile, stereo);
            let packet_samples = encoding.packet_ms as usize * 48;
            let mut encoder = OpusEncoder::new(&encoding);
            let mut decoder = OpusDecoder::new(Layout::Mono);
            let mut payload = Payload::EMPTY;
            let mut pcm = vec![0.0; MAX_PACKET_SAMPLES];
            let mut energy = 0.0;
            for packet in 0..20 {
                let input = tone(
                    packet_samples,
                    encoding.layout.channels(),
                    packet * packet_samples,
                );
                encoder.encode(&input, &mut payload).unwrap();
                let samples = decoder.decode(payload.as_slice(), &mut pcm).unwrap();
                assert_eq!(samples, packet_samples, "{profile}");
                if packet >= 10 {
                    energy += pcm[..samples].iter().map(|s| s * s).sum::<f32>() / samples as f32;
                }
            }
            let rms = (energy / 10.0).sqrt();
            assert!((rms - 0.353).abs() < 0.05, "{profile}: {rms}");
        }
    }

    #[test]
    fn opus_decoder_reports_an_empty_payload_as_malformed() {
        let mut decoder = OpusDecoder::new(Layout::Mono);
        let mut pcm = [7.0; 960];
        assert_eq!(decoder.decode(&[], &mut pcm), Err(DecodeError::Malformed));
        assert_eq!(decoder.recover(&[], &mut pcm), Err(DecodeError::Malformed));
    }

    #[test]
    fn opus_decoder_refuses_packets_of_excessive_length() {
        let mut decoder = OpusDecoder::new(Layout::Stereo);
        let mut pcm = vec![0.0; 2 * MAX_PACKET_SAMPLES];
        let code_three_of_49 = [&[0b1110_0011, 49][..], &[0; 100]].concat();
        let none_in_it = [&[0xfb, 0][..], &[0; 10]].concat();
        for bomb in [&code_three_of_49[..], &none_in_it, &[0x0b], &[0xff; 1_300]] {
            assert_eq!(decoder.decode(bomb, &mut pcm), Err(DecodeError::Malformed));
        }
        let six_times_twenty = [0xfb, 6, 0, 0, 0, 0, 0, 0];
        assert_eq!(decoder.decode(&six_times_twenty, &mut pcm), Ok(5_760));
        assert_eq!(
            decoder.decode(&six_times_twenty, &mut pcm[..1_920]),
            Err(DecodeError::TooLong {
                got_samples: 5_760,
                max_samples: 960
            })
        );
    }

    #[test]
    fn opus_encoder_keeps_to_its_average_bitrate() {
        for rung_bps in [6_000, 12_000, 24_000, 32_000, 64_000] {
            let limits = ReceiverLimits {
                max_average_bitrate_bps: Some(rung_bps),
                ..ReceiverLimits::default()
            };
            let encoding = Encoding::new(Profile::Voice, &limits, TickLength::Ms20);
            let mut encoder = OpusEncoder::new(&encoding);
            let (mut payload, mut bits, mut state) = (Payload::EMPTY, 0usize, 1u32);
            for _ in 0..250 {
                // Noise is the most expensive signal to encode.
                let noise: Vec<f32> = (0..960)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
                    })
                    .collect();
                encoder.encode(&noise, &mut payload).unwrap();
                bits += payload.as_slice().len() * 8;
            }
            let bps = bits / 5;
            assert!(bps <= rung_bps as usize * 102 / 100, "{rung_bps}: {bps}");
        }
    }

    #[test]
    fn opus_decoder_recovers_a_lost_packet_from_fec() {
        let encoding = encoding(Profile::Voice, false);
        let mut encoder = OpusEncoder::new(&encoding);
        encoder.configure(&encoding.settings(20));
        let mut decoder = OpusDecoder::new(Layout::Mono);
        let packets: Vec<Payload> = (0..30)
            .map(|packet| {
                let mut payload = Payload::EMPTY;
                encoder
                    .encode(&tone(960, 1, packet * 960), &mut payload)
                    .unwrap();
                payload
            })
            .collect();
        let mut pcm = [0.0; 960];
        for payload in &packets[..28] {
            decoder.decode(payload.as_slice(), &mut pcm).unwrap();
        }
        decoder.recover(packets[29].as_slice(), &mut pcm).unwrap();
        let rms = (pcm.iter().map(|s| s * s).sum::<f32>() / 960.0).sqrt();
        assert!((rms - 0.353).abs() < 0.1, "{rms}");
    }
}
