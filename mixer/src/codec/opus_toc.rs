//! Reads the first bytes of an Opus packet without decoding it (RFC 6716, section 3).
//!
//! The jitter buffer must know the length of a packet, and whether it carries FEC for the packet
//! before, without a decoder. The decoder checks the rest of the framing: a packet that is accepted
//! here may still fail to decode.

use thiserror::Error;

use crate::format::MAX_PACKET_SAMPLES;

/// Length and coding of one Opus packet, as its first bytes declare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Length of the packet in samples per channel at 48 kHz, `120..=5_760`.
    pub samples: usize,
    /// Samples per channel of each frame in the packet, at 48 kHz.
    pub frame_samples: usize,
    /// Whether the packet is coded as stereo.
    pub stereo: bool,
    /// The coder that produced the packet.
    pub mode: Mode,
}

/// The coders inside Opus (RFC 6716, 3.1, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Linear prediction, up to 8 kHz of audio.
    Silk,
    /// SILK below 8 kHz, CELT above.
    Hybrid,
    /// Transform coding.
    Celt,
}

/// The reason why a payload cannot be an Opus packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// The payload is empty.
    #[error("the payload is empty; an Opus packet has at least one byte")]
    Empty,
    /// The packet has code 3 but no frames, or lacks the byte that counts them.
    #[error("the Opus packet has no frames, or lacks its frame count")]
    NoFrames,
    /// The packet is longer than 120 ms (RFC 6716, requirement R5).
    #[error("the Opus packet of {samples} samples per channel is longer than 120 ms")]
    TooLong {
        /// Samples per channel that the packet declares.
        samples: usize,
    },
}

/// Reads the table-of-contents byte and, for code 3, the frame count.
///
/// Real-time: safe.
///
/// # Errors
/// [`ShapeError`] for a payload that no decoder would accept.
pub fn shape(payload: &[u8]) -> Result<Shape, ShapeError> {
    let toc = *payload.first().ok_or(ShapeError::Empty)?;
    let config = toc >> 3;
    let (mode, frame_samples) = match config {
        0..=11 => (
            Mode::Silk,
            [480, 960, 1_920, 2_880][usize::from(config & 3)],
        ),
        12..=15 => (Mode::Hybrid, [480, 960][usize::from(config & 1)]),
        _ => (Mode::Celt, [120, 240, 480, 960][usize::from(config & 3)]),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(*payload.get(1).ok_or(ShapeError::NoFrames)? & 0x3f),
    };
    let samples = frames * frame_samples;
    if frames == 0 {
        return Err(ShapeError::NoFrames);
    }
    if samples > MAX_PACKET_SAMPLES {
        return Err(ShapeError::TooLong { samples });
    }
    Ok(Shape {
        samples,
        frame_samples,
        stereo: toc & 4 != 0,
        mode,
    })
}

/// Whether an Opus packet carries in-band FEC: a coarse copy of the packet before it.
///
/// A SILK frame begins with one voice-activity bit per 20 ms and then the bit that announces FEC,
/// for each channel (RFC 6716, 4.2.3 and 4.2.4). All these bits have even odds, so the range coder
/// leaves them readable in the first byte.
///
/// Real-time: safe.
pub fn carries_fec(payload: &[u8]) -> bool {
    let Ok(shape) = shape(payload) else {
        return false;
    };
    if shape.mode == Mode::Celt {
        return false;
    }
    let Some(first) = first_frame_byte(payload) else {
        return false;
    };
    let silk_frames = (shape.frame_samples / 960).max(1);
    (0..=usize::from(shape.stereo)).any(|channel| {
        let bit = channel * (silk_frames + 1) + silk_frames;
        first & (0x80 >> bit) != 0
    })
}

/// The first byte of the first frame; `None` if that frame is empty or the framing is broken.
fn first_frame_byte(payload: &[u8]) -> Option<u8> {
    let start = match payload[0] & 3 {
        0 | 1 => 1,
        2 => match *payload.get(1)? {
            0 => return None,
            length if length < 252 => 2,
            _ => 3,
        },
        _ => code3_frame_start(payload)?,
    };
    payload.get(start).copied()
}

/// Where the first frame of a code-3 packet starts: after the count, the padding length and the
/// frame lengths (RFC 6716, 3.2.5).
fn code3_frame_start(payload: &[u8]) -> Option<usize> {
    let count_byte = *payload.get(1)?;
    let mut at = 2;
    if count_byte & 0x40 != 0 {
        while *payload.get(at)? == 255 {
            at += 1;
        }
        at += 1;
    }
    if count_byte & 0x80 != 0 {
        for _ in 1..(count_byte & 0x3f) {
            at += if *payload.get(at)? < 252 { 1 } else { 2 };
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn opus_toc_gives_the_length_of_every_configuration() {
        let silk = [480, 960, 1_920, 2_880];
        let celt = [120, 240, 480, 960];
        for config in 0..32u8 {
            let expected = match config {
                0..=11 => silk[usize::from(config & 3)],
                12..=15 => silk[usize::from(config & 1)],
                _ => celt[usize::from(config & 3)],
            };
            assert_eq!(shape(&[config << 3]).map(|s| s.samples), Ok(expected));
            assert_eq!(
                shape(&[config << 3 | 1, 0, 0]).map(|s| s.samples),
                Ok(expected * 2)
            );
        }
        assert_eq!(shape(&[0b1111_0011, 6, 0]).map(|s| s.samples), Ok(2_880));
    }

    #[test]
    fn opus_toc_refuses_impossible_packets() {
        assert_eq!(shape(&[]), Err(ShapeError::Empty));
        assert_eq!(shape(&[3]), Err(ShapeError::NoFrames));
        assert_eq!(shape(&[3, 0]), Err(ShapeError::NoFrames));
        // 49 frames of 2.5 ms: the count byte allows 63, the standard 48.
        assert_eq!(
            shape(&[0b1000_0011, 49]),
            Err(ShapeError::TooLong { samples: 5_880 })
        );
    }

    proptest! {
        /// Any payload yields a valid shape or an error, and never a panic.
        #[test]
        fn opus_toc_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(shape) = shape(&payload) {
                prop_assert!((120..=5_760).contains(&shape.samples));
                prop_assert_eq!(shape.samples % 120, 0);
            }
            carries_fec(&payload);
        }
    }
}
