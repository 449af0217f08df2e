//! G.711 (ITU-T, RFC 3551, 4.5.14): both traits of [`codec`](super), for clients that cannot afford
//! Opus.
//!
//! Companding is written out here: it is a page of arithmetic, fixed since 1988; the crates that
//! provide it bring frames, allocation or other codecs along. More care goes into the resampling
//! between 8 and 48 kHz (`Rate`), and into the concealment of lost packets (`conceal`).

mod conceal;
mod decoder;
mod encoder;
mod rate;

pub use self::decoder::G711Decoder;
pub use self::encoder::G711Encoder;

use self::rate::Rate;

/// The companding law: how a sample is coded as a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// Mu-law, used in North America and Japan: 14 bits coded in eight.
    Mu,
    /// A-law, used everywhere else: 13 bits coded in eight.
    A,
}

impl Law {
    /// Codes a sample as a byte; a sample above full scale is coded as full scale.
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
                // All bits are sent inverted, except that the sign bit is set for positive samples.
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

    /// Decodes a byte to the sample that it stands for.
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

/// Full scale in the integer range of each law.
const MU_SCALE: f32 = 8_192.0;
const A_SCALE: f32 = 4_096.0;

/// Bias that makes every mu-law segment begin at a power of two, and the largest magnitude that
/// fits.
const MU_BIAS: u32 = 33;
const MU_LARGEST: f32 = 8_158.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_decodes_and_recodes_every_byte_to_itself() {
        for law in [Law::Mu, Law::A] {
            for byte in 0..=255u8 {
                assert_eq!(law.compress(law.expand(byte)), byte, "{law:?} {byte:#x}");
            }
        }
    }

    /// Values from the tables of G.711, in 16 bits.
    #[test]
    fn g711_levels_match_the_tables_of_the_standard() {
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
    fn g711_codes_every_sample_within_four_percent() {
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
            // NaN must not panic; any level will do.
            law.compress(f32::NAN);
        }
    }
}
