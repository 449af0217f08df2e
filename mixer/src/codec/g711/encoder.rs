//! G.711 encoder: PCM at 48 kHz to bytes.

use core::any::Any;
use core::convert::Infallible;
use core::fmt;

use super::rate::{FACTOR, LONG_BLOCK};
use super::{Law, Rate};
use crate::codec::{Encode, EncodeError, EncoderSettings};
use crate::format::MAX_PAYLOAD_BYTES;
use crate::packet::Payload;

/// Encodes mono PCM as G.711.
pub struct G711Encoder {
    law: Law,
    rate: Rate,
}

impl G711Encoder {
    /// Creates an encoder without history.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(law: Law) -> G711Encoder {
        G711Encoder {
            law,
            rate: Rate::down(),
        }
    }
}

impl Encode for G711Encoder {
    fn encode(&mut self, pcm: &[f32], payload: &mut Payload) -> Result<(), EncodeError> {
        let blocks = pcm.chunks_exact(LONG_BLOCK * FACTOR);
        let fits = pcm.len() / FACTOR <= MAX_PAYLOAD_BYTES;
        if pcm.is_empty() || !fits || !blocks.remainder().is_empty() {
            return Err(EncodeError::Length {
                got_samples: pcm.len(),
            });
        }
        let written = payload.fill_with(|bytes| {
            for (block, part) in blocks.zip(bytes.chunks_exact_mut(LONG_BLOCK)) {
                for (byte, sample) in part.iter_mut().zip(self.rate.take(block)) {
                    *byte = self.law.compress(*sample);
                }
            }
            Ok::<usize, Infallible>(pcm.len() / FACTOR)
        });
        match written {
            Ok(()) => Ok(()),
            Err(never) => match never {},
        }
    }

    /// Does nothing: G.711 has no settings.
    fn configure(&mut self, _: &EncoderSettings) {}

    fn reset(&mut self) {
        self.rate.reset();
    }

    fn follow(&mut self, other: &dyn Encode) -> bool {
        let other = other.as_any().downcast_ref::<G711Encoder>();
        let Some(other) = other.filter(|other| other.law == self.law) else {
            return false;
        };
        self.rate.follow(&other.rate);
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for G711Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G711Encoder({:?})", self.law)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Decode;
    use crate::codec::g711::G711Decoder;
    use crate::format::Layout;

    fn tone(samples: usize, from: usize) -> Vec<f32> {
        (from..from + samples)
            .map(|at| 0.5 * ((925.3 * at as f32 / 48_000.0).fract() * core::f32::consts::TAU).sin())
            .collect()
    }

    #[test]
    fn g711_encodes_and_decodes_a_tone_at_its_level() {
        for law in [Law::Mu, Law::A] {
            for samples in [480, 960, 1_920, 2_880] {
                let (mut encoder, mut payload) = (G711Encoder::new(law), Payload::EMPTY);
                let mut decoder = G711Decoder::new(law, Layout::Stereo);
                let mut heard = Vec::new();
                for number in 0..20 {
                    let input = tone(samples, number * samples);
                    encoder.encode(&input, &mut payload).unwrap();
                    assert_eq!(payload.as_slice().len(), samples / 6);
                    let mut pcm = vec![0.0; 2 * samples];
                    assert_eq!(decoder.decode(payload.as_slice(), &mut pcm), Ok(samples));
                    heard.extend(pcm.chunks_exact(2).map(|pair| pair[0]));
                }
                let heard = &heard[2_000..];
                let energy: f32 = heard.iter().map(|s| s * s).sum();
                let rms = (energy / heard.len() as f32).sqrt();
                assert!((rms - 0.353_5).abs() < 0.01, "{law:?} {samples}: {rms}");
            }
        }
    }

    #[test]
    fn g711_encoder_that_follows_another_encodes_the_same_bytes() {
        let (mut shared, mut own) = (G711Encoder::new(Law::A), G711Encoder::new(Law::A));
        let (mut left, mut right) = (Payload::EMPTY, Payload::EMPTY);
        shared.encode(&tone(960, 0), &mut left).unwrap();
        assert!(own.follow(&shared));
        shared.encode(&tone(960, 960), &mut left).unwrap();
        own.encode(&tone(960, 960), &mut right).unwrap();
        assert_eq!(left.as_slice(), right.as_slice());
        assert!(!own.follow(&G711Encoder::new(Law::Mu)));
    }

    #[test]
    fn g711_encoder_refuses_lengths_that_are_no_packet() {
        let (mut encoder, mut payload) = (G711Encoder::new(Law::Mu), Payload::EMPTY);
        for samples in [0, 479, 481, 9_600] {
            let refused = encoder.encode(&vec![0.0; samples], &mut payload);
            let error = EncodeError::Length {
                got_samples: samples,
            };
            assert_eq!(refused, Err(error));
        }
    }
}
