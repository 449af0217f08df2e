//! How audio is coded on the wire: which codec, and what a packet tells without being decoded.

use crate::format::{MAX_PACKET_SAMPLES, MIN_PACKET_SAMPLES, SAMPLE_RATE_HZ};
use crate::opus_toc;

/// What one client sends, and is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Opus (RFC 6716).
    #[default]
    Opus,
    /// G.711, mu-law: 8 kHz, one byte a sample (RFC 3551, 4.5.14).
    Pcmu,
    /// The same, A-law.
    Pcma,
}

impl Codec {
    /// What it is called in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The clock of its RTP timestamps: of Opus 48 kHz whatever it holds (RFC 7587, 4.1), of G.711
    /// that of its samples.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Codec::Opus => SAMPLE_RATE_HZ,
            Codec::Pcmu | Codec::Pcma => G711_RATE_HZ,
        }
    }

    /// Samples at 48 kHz in one unit of its clock: what timestamps are multiplied by on their way in.
    pub const fn samples_per_unit(self) -> u32 {
        SAMPLE_RATE_HZ / self.clock_hz()
    }

    /// Samples per channel that a packet holds at 48 kHz; `None` if it cannot be one of this codec.
    ///
    /// G.711 has no packets of its own: taken is what Opus knows as well, from 2.5 to 120 ms in steps
    /// of 2.5.
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

    /// The same of each frame in the packet: what a decoder predicts from.
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

    /// Whether a packet carries a copy of the one before it.
    ///
    /// Real-time: safe.
    pub fn carries_fec(self, payload: &[u8]) -> bool {
        self == Codec::Opus && opus_toc::carries_fec(payload)
    }
}

/// The longest packet that carries nothing but "nothing": a table-of-contents byte and a count.
pub(crate) const DTX_MAX_BYTES: usize = 2;

/// Samples a second of G.711.
pub const G711_RATE_HZ: u32 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_g711_is_six_samples() {
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
