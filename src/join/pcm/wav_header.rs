//! The header of a WAV file: where the samples are, and how they are encoded.
//!
//! Reads RIFF, and for files over 4 GiB RF64 (EBU Tech 3306) with its successor BW64 (ITU-R
//! BS.2088). It is lenient where programs that write WAV are known to differ: sizes that were never
//! filled in, a missing pad byte, format chunks of any length, wrong byte rates and alignments.
//!
//! Written by hand because no library with a permissive licence reads all of these files. `hound`
//! refuses padded odd chunks, unknown sizes, RF64, A-law, u-law and 64-bit float, and scales
//! samples by their valid bits. `symphonia` is under the MPL; it does not read RF64, and accepts
//! format chunks of three lengths only.

use std::io::{self, Read, Seek, SeekFrom};

use mixer::codec::g711::Law;
use thiserror::Error;

use super::PcmError;

/// The content of a WAV header: where the samples are, and their format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WavHeader {
    /// The format of the samples.
    pub format: WavFormat,
    /// Position of the first sample, in bytes from the start of the file.
    pub start_bytes: u64,
    /// Bytes of samples; `None` if unknown: they then extend to the end of the file.
    pub length_bytes: Option<u64>,
}

/// The format of the samples of a WAV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WavFormat {
    /// The encoding of a sample.
    pub encoding: Encoding,
    /// Samples per frame, at least one.
    pub channels: usize,
    /// Frames per second.
    pub rate_hz: u32,
}

/// The encoding of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Little-endian integers of 1 to 4 bytes. Those of one byte are unsigned, all others signed.
    ///
    /// If fewer bits are valid than the bytes hold, the valid bits are the upper ones: full scale
    /// is always that of the bytes.
    Pcm {
        /// Bytes per sample.
        bytes: usize,
    },
    /// Little-endian 32-bit float.
    Float32,
    /// Little-endian 64-bit float.
    Float64,
    /// One byte of A-law or u-law.
    G711(Law),
}

/// A WAV file that cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WavError {
    /// RIFX, whose numbers are big-endian.
    #[error("big-endian WAV files (RIFX) are not supported")]
    BigEndian,
    /// A RIFF file of another type.
    #[error("the file is a RIFF file of type `{kind}`, not WAVE")]
    OtherType {
        /// The type in the file.
        kind: String,
    },
    /// The file ends before its first sample.
    #[error("the WAV file ends within its header")]
    Cut,
    /// There is no `fmt ` chunk before the samples.
    #[error("the WAV file has no format chunk before its samples")]
    NoFormat,
    /// The `fmt ` chunk is too short.
    #[error("the format chunk of the WAV file has {bytes} bytes; {needed} are needed")]
    ShortFormat {
        /// The number of bytes that the chunk has.
        bytes: usize,
        /// The number of bytes that the chunk needs.
        needed: usize,
    },
    /// The format has zero channels.
    #[error("the WAV file has no channels")]
    NoChannels,
    /// PCM or float of an unsupported width.
    #[error(
        "the WAV file holds {encoding} of {bits} bits; PCM of 8 to 32 bits and float of 32 or 64 \
         can be played"
    )]
    Bits {
        /// `PCM` or `float`.
        encoding: &'static str,
        /// Bits per sample.
        bits: u16,
    },
    /// An encoding other than PCM, float and G.711.
    #[error(
        "the WAV file holds {} (format {tag:#06x}); PCM, float, A-law and u-law can be played",
        name_of(*tag)
    )]
    Format {
        /// The registered number of the format.
        tag: u16,
    },
    /// An extensible format whose sub-format has no registered number.
    #[error("the WAV file holds an unknown sub-format; PCM, float, A-law and u-law can be played")]
    SubFormat,
}

impl WavHeader {
    /// Reads everything before the samples.
    ///
    /// # Errors
    /// [`WavError`] as a [`PcmError`] if the file is no playable WAV file; otherwise the system's
    /// error.
    pub fn read<R: Read + Seek>(reader: &mut R) -> Result<WavHeader, PcmError> {
        let (id, _) = chunk_head(reader)?.ok_or(WavError::Cut)?;
        if &id == b"RIFX" {
            return Err(WavError::BigEndian.into());
        }
        let kind = read_up_to(reader, 4)?;
        if kind.len() < 4 {
            return Err(WavError::Cut.into());
        }
        if kind != *b"WAVE" {
            let kind = kind.escape_ascii().to_string();
            return Err(WavError::OtherType { kind }.into());
        }
        let (mut format, mut long_bytes) = (None, None);
        loop {
            let (id, bytes) = chunk_head(reader)?.ok_or(WavError::Cut)?;
            match &id {
                b"data" => {
                    let format = format.ok_or(WavError::NoFormat)?;
                    let length_bytes = match (bytes, long_bytes) {
                        (u32::MAX, Some(long_bytes)) => Some(long_bytes),
                        (0, _) if rest_is_chunks(reader)? => Some(0),
                        (bytes, _) if UNKNOWN_SIZES.contains(&bytes) => None,
                        (bytes, _) => Some(u64::from(bytes)),
                    };
                    return Ok(WavHeader {
                        format,
                        start_bytes: reader.stream_position()?,
                        length_bytes,
                    });
                }
                b"fmt " => {
                    let needed = (bytes as usize).min(EXTENSIBLE_BYTES);
                    let text = read_up_to(reader, needed)?;
                    if text.len() < needed {
                        return Err(WavError::Cut.into());
                    }
                    format = Some(WavFormat::parse(&text)?);
                    skip_rest(reader, bytes, text.len())?;
                }
                b"ds64" => {
                    let text = read_up_to(reader, (bytes as usize).min(DS64_BYTES))?;
                    long_bytes = text
                        .get(8..16)
                        .and_then(|size| size.try_into().ok())
                        .map(u64::from_le_bytes)
                        .filter(|size| ![0, u64::MAX].contains(size));
                    skip_rest(reader, bytes, text.len())?;
                }
                _ => skip_rest(reader, bytes, 0)?,
            }
        }
    }
}

impl WavFormat {
    /// Bytes per frame.
    pub fn frame_bytes(&self) -> usize {
        self.channels * self.encoding.bytes()
    }

    /// Parses a `fmt ` chunk. Only the start of the chunk need be given.
    fn parse(chunk: &[u8]) -> Result<WavFormat, WavError> {
        let short = |needed| WavError::ShortFormat {
            bytes: chunk.len(),
            needed,
        };
        let u16_at = |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(chunk.get(at..at + 4)?.try_into().ok()?));
        let base = || {
            let (tag, channels) = (u16_at(0)?, u16_at(2)?);
            Some((tag, channels, u32_at(4)?, u32_at(8)?, u16_at(12)?))
        };
        let (mut tag, channels, rate_hz, byte_rate, align) = base().ok_or(short(BASE_BYTES))?;
        if channels == 0 {
            return Err(WavError::NoChannels);
        }
        if tag == EXTENSIBLE {
            let sub_format = chunk.get(24..40).ok_or(short(EXTENSIBLE_BYTES))?;
            if sub_format[2..] != SUB_FORMAT_TAIL {
                return Err(WavError::SubFormat);
            }
            tag = u16::from_le_bytes([sub_format[0], sub_format[1]]);
        }
        let aligned_bytes = match align % channels {
            0 => usize::from(align / channels),
            _ => 0,
        };
        // The oldest form of the chunk has no field for the bits.
        let bits = u16_at(14)
            .filter(|bits| *bits > 0)
            .unwrap_or(8 * aligned_bytes.min(8) as u16);
        let encoding = match (tag, bits) {
            (PCM, 8..=32) => {
                let bytes = usize::from(bits).div_ceil(8);
                // An alignment larger than the samples need is believed only if the byte rate
                // agrees with it.
                let confirmed = u64::from(rate_hz) * u64::from(align) == u64::from(byte_rate);
                let is_wider = confirmed && (bytes..=4).contains(&aligned_bytes);
                Encoding::Pcm {
                    bytes: if is_wider { aligned_bytes } else { bytes },
                }
            }
            (FLOAT, 32) => Encoding::Float32,
            (FLOAT, 64) => Encoding::Float64,
            (A_LAW, _) => Encoding::G711(Law::A),
            (MU_LAW, _) => Encoding::G711(Law::Mu),
            (PCM, bits) => {
                let encoding = "PCM";
                return Err(WavError::Bits { encoding, bits });
            }
            (FLOAT, bits) => {
                let encoding = "float";
                return Err(WavError::Bits { encoding, bits });
            }
            (tag, _) => return Err(WavError::Format { tag }),
        };
        Ok(WavFormat {
            encoding,
            channels: usize::from(channels),
            rate_hz,
        })
    }
}

impl Encoding {
    /// Bytes per sample.
    pub fn bytes(self) -> usize {
        match self {
            Encoding::Pcm { bytes } => bytes,
            Encoding::Float32 => 4,
            Encoding::Float64 => 8,
            Encoding::G711(_) => 1,
        }
    }

    /// Converts the bytes of a sample to a float; NaN becomes 0.0.
    ///
    /// - `bytes`: as many as [`Encoding::bytes`] says.
    pub fn sample(self, bytes: &[u8]) -> f32 {
        let sample = match (self, bytes) {
            (Encoding::G711(law), [byte]) => law.expand(*byte),
            (Encoding::Pcm { .. }, [byte]) => (f32::from(*byte) - 128.0) / 128.0,
            (Encoding::Pcm { .. }, bytes) => {
                let mut upper = [0; 4];
                let unused = upper.len().saturating_sub(bytes.len());
                for (to, from) in upper[unused..].iter_mut().zip(bytes) {
                    *to = *from;
                }
                i32::from_le_bytes(upper) as f32 / 2_147_483_648.0
            }
            (Encoding::Float64, bytes) => bytes.try_into().map_or(0.0, f64::from_le_bytes) as f32,
            (_, bytes) => bytes.try_into().map_or(0.0, f32::from_le_bytes),
        };
        if sample.is_finite() { sample } else { 0.0 }
    }
}

/// Reads the identifier and the size of a chunk; `None` if the file ends before.
fn chunk_head<R: Read>(reader: &mut R) -> io::Result<Option<([u8; 4], u32)>> {
    let head = read_up_to(reader, 8)?;
    Ok(match head[..] {
        [a, b, c, d, e, f, g, h] => Some(([a, b, c, d], u32::from_le_bytes([e, f, g, h]))),
        _ => None,
    })
}

/// Seeks to the end of a chunk of which `read` bytes have been read.
///
/// A chunk of odd size is followed by a pad byte; some programs omit it.
fn skip_rest<R: Read + Seek>(reader: &mut R, bytes: u32, read: usize) -> io::Result<()> {
    reader.seek(SeekFrom::Current(i64::from(bytes) - read as i64))?;
    if bytes % 2 == 1 {
        let next = read_up_to(reader, 4)?;
        let is_padded = !UNPADDED.iter().any(|id| next == *id);
        reader.seek(SeekFrom::Current(i64::from(is_padded) - next.len() as i64))?;
    }
    Ok(())
}

/// Whether the rest of the file consists of whole chunks; restores the position.
///
/// If they do, a size of zero means an empty recording; otherwise the size was never filled in.
fn rest_is_chunks<R: Read + Seek>(reader: &mut R) -> io::Result<bool> {
    let start = reader.stream_position()?;
    let end = reader.seek(SeekFrom::End(0))?;
    let mut at = start;
    let mut is_chunk = true;
    while is_chunk && at < end {
        reader.seek(SeekFrom::Start(at))?;
        let head = chunk_head(reader)?;
        is_chunk = head.is_some_and(|(id, bytes)| {
            at += 8 + u64::from(bytes).next_multiple_of(2);
            id.iter().all(|byte| matches!(byte, b' '..=b'~'))
        });
    }
    reader.seek(SeekFrom::Start(start))?;
    // The last pad byte may be missing.
    Ok(is_chunk && at <= end + 1)
}

/// Reads `bytes` bytes, or fewer if the file ends before.
fn read_up_to<R: Read>(reader: &mut R, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::with_capacity(bytes);
    reader.take(bytes as u64).read_to_end(&mut read)?;
    Ok(read)
}

/// Returns the names of the registered formats that occur most often.
fn name_of(tag: u16) -> &'static str {
    match tag {
        0x0002 => "Microsoft ADPCM",
        0x0011 => "IMA ADPCM",
        0x0031 => "GSM 6.10",
        0x0040 | 0x0045 | 0x0065 | 0x0014 => "G.726 or G.723 ADPCM",
        0x0050 => "MPEG audio",
        0x0055 => "MP3",
        0x0092 | 0x2000 => "AC-3",
        0x00ff | 0x1600 | 0x1610 => "AAC",
        0x0160..=0x0163 => "Windows Media Audio",
        0x704f => "Opus",
        0xf1ac => "FLAC",
        _ => "a compressed format",
    }
}

/// WAVE_FORMAT_PCM, WAVE_FORMAT_IEEE_FLOAT, WAVE_FORMAT_ALAW, WAVE_FORMAT_MULAW and
/// WAVE_FORMAT_EXTENSIBLE.
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// The bytes that follow the format number in the GUID of a sub-format with a registered number.
const SUB_FORMAT_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// Bytes of a `fmt ` chunk up to its alignment, and up to the end of its sub-format.
const BASE_BYTES: usize = 14;
const EXTENSIBLE_BYTES: usize = 40;

/// Bytes of a `ds64` chunk up to the size of the samples.
const DS64_BYTES: usize = 16;

/// Sizes that stand for an unknown size: those of a killed recorder, of ffmpeg and other programs
/// that write to a pipe, of sox (0x7ffff000) and of arecord (0x7fffff00 and 0x80000000).
const UNKNOWN_SIZES: [u32; 6] = [
    0,
    0x7fff_ffff,
    u32::MAX,
    0x7fff_f000,
    0x7fff_ff00,
    0x8000_0000,
];

/// Identifiers of chunks that tell, directly after a chunk of odd size, that its pad byte is
/// missing.
const UNPADDED: [&[u8]; 4] = [b"data", b"fmt ", b"fact", b"LIST"];
