//! G.711 (ITU-T, RFC 3551, 4.5.14): both traits of [`codec`](super), for clients that cannot afford
//! Opus.
//!
//! Companding is a page of arithmetic, fixed since 1988; the crates that have it bring frames,
//! allocation or other codecs along. What takes more care is the way between 8 and 48 kHz
//! (`Rate`), and what is played in place of a lost packet (`conceal`).

mod conceal;
mod decoder;
mod encoder;
mod rate;

pub use self::decoder::G711Decoder;
pub use self::encoder::G711Encoder;

use self::rate::Rate;

/// How a sample becomes a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// Of North America and Japan: 14 bits in eight.
    Mu,
    /// Of everybody else: 13 bits in eight.
    A,
}

impl Law {
    /// The byte that stands for a sample; what is over full scale becomes full scale.
    ///
    /// Real-time: safe.
    pub fn compress(self, sample: f32) -> u8 {
        let magnitude = sample.abs().min(1.0);
        let positive = u8::from(sample.is_sign_positive()) << 7;
        match self {
            Law::Mu => {
                let biased = (magnitude * MU_SCALE).min(MU_LARGEST) as u32 + MU_BIAS;
                let segment = biased.ilog2() - 5;
                let step = biased >> (segment + 1) & 0x0f;
                // All bits are sent inverted, the sign as it is for us: set for what is positive.
                positive | (!(segment << 4 | step) as u8 & 0x7f)
            }
            Law::A => {
                let level = (magnitude * A_SCALE).min(A_SCALE - 1.0) as u32;
                let segment = level.max(16).ilog2() - 4;
                let step = level >> segment.max(1) & 0x0f;
                // Every other bit is sent inverted.
                (positive | (segment << 4 | step) as u8) ^ 0x55
            }
        }
    }

    /// The sample that a byte stands for.
    ///
    /// Real-time: safe.
    pub fn expand(self, byte: u8) -> f32 {
        let (bits, scale) = match self {
            Law::Mu => (!byte, MU_SCALE),
            Law::A => (byte ^ 0x55, A_SCALE),
        };
        let (segment, step) = (u32::from(bits >> 4 & 7), u32::from(bits & 0x0f));
        let level = match (self, segment) {
            (Law::Mu, _) => ((2 * step + MU_BIAS) << segment) - MU_BIAS,
            (Law::A, 0) => 2 * step + 1,
            (Law::A, _) => (2 * step + 33) << (segment - 1),
        };
        let magnitude = level as f32 / scale;
        let is_negative = (bits & 0x80 != 0) == (self == Law::Mu);
        if is_negative { -magnitude } else { magnitude }
    }
}

/// Full scale of each law's own numbers.
const MU_SCALE: f32 = 8_192.0;
const A_SCALE: f32 = 4_096.0;

/// What makes every mu-law segment begin at a power of two, and the largest number that still fits.
const MU_BIAS: u32 = 33;
const MU_LARGEST: f32 = 8_158.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for law in [Law::Mu, Law::A] {
            for byte in 0..=255u8 {
                assert_eq!(law.compress(law.expand(byte)), byte, "{law:?} {byte:#x}");
            }
        }
    }

    /// From the tables of G.711, in 16 bits.
    #[test]
    fn levels_are_those_of_the_tables() {
        for (law, byte, level) in [
            (Law::Mu, 0xff, 0),
            (Law::Mu, 0x80, 32_124),
            (Law::Mu, 0x00, -32_124),
            (Law::Mu, 0xfe, 8),
            (Law::Mu, 0xef, 132),
            (Law::Mu, 0x8f, 16_764),
            (Law::A, 0xd5, 8),
            (Law::A, 0x55, -8),
            (Law::A, 0xaa, 32_256),
            (Law::A, 0x2a, -32_256),
            (Law::A, 0xc5, 264),
        ] {
            let expanded = law.expand(byte) * 32_768.0;
            assert_eq!(expanded, level as f32, "{law:?} {byte:#x}");
        }
    }

    #[test]
    fn no_sample_is_far_from_its_byte() {
        for law in [Law::Mu, Law::A] {
            for step in -1_000..=1_000 {
                let sample = step as f32 / 1_000.0;
                let error = (law.expand(law.compress(sample)) - sample).abs();
                assert!(
                    error <= sample.abs() * 0.04 + 0.000_3,
                    "{law:?} {sample}: {error}"
                );
            }
            for sample in [7.0, f32::INFINITY] {
                assert!(law.expand(law.compress(sample)) > 0.95);
                assert!(law.expand(law.compress(-sample)) < -0.95);
            }
            // Nothing worse than some level.
            law.compress(f32::NAN);
        }
    }
}
