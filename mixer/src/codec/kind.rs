//! Codecs on the wire: the codec of a stream, and what a packet reveals without being decoded.

use crate::codec::opus_toc;
use crate::format::{MAX_PACKET_SAMPLES, MIN_PACKET_SAMPLES, SAMPLE_RATE_HZ};

/// The codec that one client sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Opus (RFC 6716).
    #[default]
    Opus,
    /// G.711, mu-law: 8 kHz, one byte a sample (RFC 3551, 4.5.14).
    Pcmu,
    /// G.711, A-law: 8 kHz, one byte a sample (RFC 3551, 4.5.14).
    Pcma,
}

impl Codec {
    /// The name of the codec in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// Clock rate of the codec's RTP timestamps: 48 kHz for Opus at any bandwidth (RFC 7587, 4.1),
    /// the sampling rate for G.711.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Codec::Opus => SAMPLE_RATE_HZ,
            Codec::Pcmu | Codec::Pcma => G711_RATE_HZ,
        }
    }

    /// Samples at 48 kHz in one unit of the RTP clock: the factor for timestamps of received
    /// packets.
    pub const fn samples_per_unit(self) -> u32 {
        SAMPLE_RATE_HZ / self.clock_hz()
    }

    /// Samples per channel at 48 kHz that a packet holds; `None` if it cannot be a packet of this
    /// codec.
    ///
    /// G.711 has no packet lengths of its own: the lengths of Opus are accepted, 2.5 to 120 ms in
    /// steps of 2.5 ms.
    ///
    /// Real-time: safe.
    pub fn samples(self, payload: &[u8]) -> Option<usize> {
        match self {
            Codec::Opus => opus_toc::shape(payload).ok().map(|shape| shape.samples),
            Codec::Pcmu | Codec::Pcma => {
                let samples = payload.len() * self.samples_per_unit() as usize;
                let fits = (MIN_PACKET_SAMPLES..=MAX_PACKET_SAMPLES).contains(&samples);
                (fits && samples.is_multiple_of(MIN_PACKET_SAMPLES)).then_some(samples)
            }
        }
    }

    /// Samples per channel at 48 kHz of each codec frame in a packet; `None` if it cannot be a
    /// packet of this codec. A G.711 packet counts as one frame.
    ///
    /// Real-time: safe.
    pub fn frame_samples(self, payload: &[u8]) -> Option<usize> {
        match self {
            Codec::Opus => {
                let shape = opus_toc::shape(payload).ok();
                shape.map(|shape| shape.frame_samples)
            }
            Codec::Pcmu | Codec::Pcma => self.samples(payload),
        }
    }

    /// Whether a packet carries in-band FEC for the packet before it.
    ///
    /// Real-time: safe.
    pub fn carries_fec(self, payload: &[u8]) -> bool {
        self == Codec::Opus && opus_toc::carries_fec(payload)
    }
}

/// Size of the largest Opus packet without sound (DTX): a table-of-contents byte and a frame count.
pub(crate) const DTX_MAX_BYTES: usize = 2;

/// Sampling rate of G.711.
pub const G711_RATE_HZ: u32 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_byte_counts_as_six_samples_at_48_khz() {
        for (bytes, samples) in [
            (0, None),
            (19, None),
            (20, Some(120)),
            (160, Some(960)),
            (165, None),
            (480, Some(2_880)),
            (960, Some(5_760)),
            (980, None),
        ] {
            for codec in [Codec::Pcmu, Codec::Pcma] {
                assert_eq!(codec.samples(&vec![0xff; bytes]), samples, "{bytes} bytes");
            }
        }
        assert_eq!(Codec::Opus.samples(&[0xf8, 0]), Some(960));
        assert!(!Codec::Pcmu.carries_fec(&[0xff; 160]));
        assert_eq!(Codec::Pcma.samples_per_unit(), 6);
    }
}
