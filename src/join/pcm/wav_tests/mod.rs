//! Reading WAV files as recorders, converters and pipes write them, built byte by byte.

mod properties;

use std::io::Cursor;

use mixer::codec::g711::Law;

use super::super::tones::{amplitude, sine};
use super::super::{open, read_all};
use super::*;

/// A WAV file with half a second of a tone of amplitude 0.25, and the fields of its header.
#[derive(Clone)]
struct File {
    id: &'static [u8; 4],
    tag: u16,
    channels: u16,
    rate_hz: u32,
    /// Bytes of a sample.
    bytes: u16,
    /// Bits per sample in the header.
    bits: u16,
    /// The number of upper bits that are used (valid bits in the header).
    valid_bits: u16,
    byte_rate: Option<u32>,
    align: Option<u16>,
    /// The length to which the format chunk is cut or padded.
    format_bytes: usize,
    extensible: bool,
    /// Chunks before the format chunk.
    before: Vec<u8>,
    /// Size of the samples that the header claims; `None` for the real size.
    size: Option<u32>,
    /// Bytes after the samples.
    after: Vec<u8>,
}

const FRAMES: usize = 24_000;

impl File {
    fn pcm(bits: u16) -> File {
        File {
            id: b"RIFF",
            tag: 1,
            channels: 1,
            rate_hz: 48_000,
            bytes: bits.div_ceil(8),
            bits,
            valid_bits: bits,
            byte_rate: None,
            align: None,
            format_bytes: 16,
            extensible: false,
            before: Vec::new(),
            size: None,
            after: Vec::new(),
        }
    }

    fn of(tag: u16, bits: u16) -> File {
        File {
            tag,
            ..File::pcm(bits)
        }
    }

    fn extensible(self) -> File {
        File {
            extensible: true,
            format_bytes: 40,
            ..self
        }
    }

    fn samples(&self) -> Vec<u8> {
        let mut samples = Vec::new();
        for sample in sine(1_000.0, self.rate_hz, FRAMES) {
            let sample = sample / 2.0;
            for _ in 0..self.channels {
                match self.tag {
                    3 if self.bytes == 8 => samples.extend(f64::from(sample).to_le_bytes()),
                    3 => samples.extend(sample.to_le_bytes()),
                    6 => samples.push(Law::A.compress(sample)),
                    7 => samples.push(Law::Mu.compress(sample)),
                    _ if self.bytes == 1 => samples.push((sample * 127.0 + 128.0) as u8),
                    _ => {
                        let unused = 32 - u32::from(self.valid_bits);
                        let value = ((sample * 2_147_483_648.0) as i32) >> unused << unused;
                        let bytes = value.to_le_bytes();
                        samples.extend(&bytes[4 - usize::from(self.bytes)..]);
                    }
                }
            }
        }
        samples
    }

    fn format(&self) -> Vec<u8> {
        let align = self.align.unwrap_or(self.channels * self.bytes);
        let byte_rate = self
            .byte_rate
            .unwrap_or(self.rate_hz * u32::from(self.channels * self.bytes));
        let mut format = Vec::new();
        let tag = if self.extensible { 0xfffe } else { self.tag };
        format.extend(tag.to_le_bytes());
        format.extend(self.channels.to_le_bytes());
        format.extend(self.rate_hz.to_le_bytes());
        format.extend(byte_rate.to_le_bytes());
        format.extend(align.to_le_bytes());
        format.extend(self.bits.to_le_bytes());
        format.extend(22u16.to_le_bytes());
        format.extend(self.valid_bits.to_le_bytes());
        format.extend(4u32.to_le_bytes());
        format.extend(self.tag.to_le_bytes());
        format.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        format.resize(self.format_bytes, 0);
        format
    }

    fn bytes(&self) -> Vec<u8> {
        let samples = self.samples();
        let mut file = self.id.to_vec();
        file.extend(u32::MAX.to_le_bytes());
        file.extend(b"WAVE");
        if self.id != b"RIFF" {
            let mut sizes = (samples.len() as u64 + 100).to_le_bytes().to_vec();
            sizes.extend((samples.len() as u64).to_le_bytes());
            sizes.extend([0; 12]);
            file.extend(chunk(b"ds64", &sizes));
        }
        file.extend(&self.before);
        file.extend(chunk(b"fmt ", &self.format()));
        file.extend(b"data");
        let size = self.size.unwrap_or(samples.len() as u32);
        file.extend(size.to_le_bytes());
        file.extend(samples);
        file.extend(&self.after);
        file
    }
}

fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut chunk = id.to_vec();
    chunk.extend((body.len() as u32).to_le_bytes());
    chunk.extend(body);
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

fn play(bytes: Vec<u8>) -> Result<Vec<f32>, PcmError> {
    read_all(&mut WavSource::new(Cursor::new(bytes))?)
}

/// Asserts that the whole file plays as the tone at its level, without any other sound.
fn plays(file: &File, what: &str) {
    let pcm = play(file.bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(pcm.len(), FRAMES, "{what}");
    let level = amplitude(&pcm, 1_000.0);
    assert!((level - 0.25).abs() < 0.005, "{what}: {level}");
    let peak = pcm
        .iter()
        .fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    assert!(peak < 0.26, "{what}: {peak}");
}

#[test]
fn every_wav_encoding_plays_at_its_original_level() {
    let mut files = vec![
        ("float 32", File::of(3, 32)),
        ("float 64", File::of(3, 64)),
        ("A-law", File::of(6, 8)),
        ("u-law", File::of(7, 8)),
    ];
    for (what, bits) in [
        ("8 bits", 8),
        ("12 bits", 12),
        ("16 bits", 16),
        ("20 bits", 20),
        ("24 bits", 24),
        ("32 bits", 32),
    ] {
        files.push((what, File::pcm(bits)));
    }
    for (what, file) in files {
        for channels in [1, 2, 6] {
            for (id, size) in [
                (b"RIFF", None),
                (b"RF64", Some(u32::MAX)),
                (b"BW64", Some(u32::MAX)),
            ] {
                let file = File {
                    id,
                    size,
                    channels,
                    ..file.clone()
                };
                plays(&file, &format!("{what}, {channels} channels"));
                plays(&file.extensible(), &format!("{what}, extensible"));
            }
        }
    }
}

#[test]
fn wav_valid_bits_are_the_upper_bits_of_their_container() {
    for (bytes, valid_bits) in [(2, 12), (3, 20), (4, 20), (4, 24), (4, 16)] {
        let file = File {
            bytes,
            bits: 8 * bytes,
            ..File::pcm(valid_bits)
        };
        plays(
            &file.extensible(),
            &format!("{valid_bits} of {bytes} bytes"),
        );
        // The older form of header, in which only the alignment tells the size of a sample's
        // container.
        let file = File {
            bytes,
            ..File::pcm(valid_bits)
        };
        plays(
            &file,
            &format!("{valid_bits} of {bytes} bytes, by alignment"),
        );
    }
}

#[test]
fn wav_file_whose_size_was_never_filled_in_plays_to_the_end_of_the_file() {
    for size in [0, 0x7fff_ffff, u32::MAX, 0x7fff_f000, 0x8000_0000, 1 << 30] {
        for id in [b"RIFF", b"RF64"] {
            let size = Some(size);
            let file = File {
                id,
                size,
                ..File::pcm(16)
            };
            plays(&file, &format!("{size:?}"));
        }
    }
    // An RF64 file whose 64-bit size was never filled in.
    let mut bytes = File {
        id: b"RF64",
        size: Some(u32::MAX),
        ..File::pcm(16)
    }
    .bytes();
    for unknown in [0, u64::MAX] {
        bytes[28..36].copy_from_slice(&unknown.to_le_bytes());
        assert_eq!(play(bytes.clone()).unwrap().len(), FRAMES);
    }
}

#[test]
fn wav_file_without_samples_plays_nothing_even_if_other_chunks_follow() {
    for (size, after) in [
        (0, Vec::new()),
        (0, chunk(b"LIST", b"INFOISFT....")),
        (
            0,
            [chunk(b"id3 ", &[7; 9]), chunk(b"LIST", &[1; 4])].concat(),
        ),
    ] {
        let file = File {
            size: Some(size),
            ..File::pcm(16)
        };
        let mut bytes = file.bytes();
        bytes.truncate(bytes.len() - 2 * FRAMES);
        bytes.extend(after);
        assert!(play(bytes).unwrap().is_empty());
    }
}

#[test]
fn wav_chunks_other_than_format_and_samples_are_skipped() {
    let mut unpadded = chunk(b"inst", &[60, 0, 0, 127, 0, 127, 0]);
    unpadded.pop();
    for (what, before) in [
        (
            "a padded odd chunk",
            chunk(b"inst", &[60, 0, 0, 127, 0, 127, 0]),
        ),
        ("an odd chunk without its pad byte", unpadded),
        ("an empty chunk", chunk(b"JUNK", b"")),
        ("a long chunk", chunk(b"bext", &[b'd'; 70_001])),
    ] {
        let file = File {
            before,
            after: chunk(b"LIST", &[0x55; 4_000]),
            ..File::pcm(16)
        };
        plays(&file, what);
    }
}

#[test]
fn wav_format_chunks_of_any_length_are_read() {
    for format_bytes in [14, 16, 17, 18, 20, 24, 40, 50, 1_000] {
        for file in [File::pcm(16), File::pcm(8), File::of(7, 8)] {
            let file = File {
                format_bytes,
                ..file
            };
            plays(&file, &format!("{format_bytes} bytes"));
        }
    }
}

#[test]
fn wrong_wav_byte_rates_and_alignments_are_ignored() {
    for channels in [1, 2] {
        for byte_rate in [None, Some(0), Some(44_100), Some(u32::MAX)] {
            for align in [None, Some(0), Some(1), Some(3), Some(8), Some(u16::MAX)] {
                for bits in [16, 24] {
                    let file = File {
                        channels,
                        byte_rate,
                        align,
                        ..File::pcm(bits)
                    };
                    plays(&file, &format!("{byte_rate:?} {align:?} {bits}"));
                }
            }
        }
    }
}

#[test]
fn incomplete_wav_frame_at_the_end_is_dropped() {
    for extra in 1..4 {
        let file = File {
            channels: 2,
            size: Some(4 * FRAMES as u32 + extra),
            after: vec![0x7f; extra as usize],
            ..File::pcm(16)
        };
        plays(&file, &format!("{extra} bytes more"));
    }
}

#[test]
fn unplayable_wav_format_is_refused_by_name() {
    let named = [
        (File::of(2, 4), "Microsoft ADPCM (format 0x0002)"),
        (File::of(0x11, 4), "IMA ADPCM"),
        (File::of(0x31, 0), "GSM 6.10"),
        (File::of(0x55, 0), "MP3"),
        (File::of(0x55, 0).extensible(), "MP3"),
        (File::of(0x1234, 16), "0x1234"),
        (File::pcm(4), "PCM of 4 bits"),
        (File::pcm(64), "PCM of 64 bits"),
        (File::of(3, 16), "float of 16 bits"),
        (
            File {
                channels: 0,
                ..File::pcm(16)
            },
            "no channels",
        ),
        (
            File {
                format_bytes: 12,
                ..File::pcm(16)
            },
            "has 12 bytes; 14",
        ),
        (
            File {
                format_bytes: 18,
                ..File::pcm(16).extensible()
            },
            "has 18 bytes; 40",
        ),
        (
            File {
                id: b"RIFX",
                ..File::pcm(16)
            },
            "big-endian",
        ),
        (
            File {
                rate_hz: 500,
                ..File::pcm(16)
            },
            "500 Hz",
        ),
    ];
    for (file, what) in named {
        let said = WavHeader::read(&mut Cursor::new(header_of(&file)));
        let said = match said {
            Ok(header) => ToEngineRate::new(header.format.rate_hz).err().unwrap(),
            Err(error) => error,
        };
        assert!(said.to_string().contains(what), "{said}");
    }
}

#[test]
fn incomplete_wav_file_is_refused_with_the_reason() {
    let mut film = File::pcm(16).bytes();
    film[8..12].copy_from_slice(b"AVI ");
    assert!(play(film).unwrap_err().to_string().contains("type `AVI `"));
    let mut other = File::pcm(16).extensible().bytes();
    other[46] = 0x21;
    assert!(play(other).unwrap_err().to_string().contains("sub-format"));
    let without_format = [b"RIFF....WAVE".to_vec(), chunk(b"data", &[0; 100])].concat();
    assert!(
        play(without_format)
            .unwrap_err()
            .to_string()
            .contains("no format")
    );
    for bytes in [4, 11, 12, 19, 30, 43] {
        let cut = File::pcm(16).bytes()[..bytes].to_vec();
        let error = play(cut).unwrap_err().to_string();
        assert!(error.contains("within its header"), "{bytes}: {error}");
    }
}

/// Returns the header of the file only: formats that cannot be played have no samples here.
fn header_of(file: &File) -> Vec<u8> {
    let silent = File {
        bytes: 1,
        channels: 0,
        ..file.clone()
    };
    let start = silent.bytes().len() - 8 - (8 + silent.format_bytes);
    let mut bytes = silent.bytes()[..start].to_vec();
    bytes.extend(chunk(b"fmt ", &file.format()));
    bytes.extend(chunk(b"data", &[0; 64]));
    bytes
}

#[test]
fn file_format_is_recognised_by_its_first_bytes() {
    let path = std::env::temp_dir().join(format!("mixminus-rf64-{}", std::process::id()));
    for (id, size) in [(b"RIFF", None), (b"RF64", Some(u32::MAX))] {
        let file = File {
            id,
            size,
            ..File::pcm(24)
        };
        std::fs::write(&path, file.bytes()).unwrap();
        let read = open(&path).and_then(|mut source| read_all(source.as_mut()));
        assert_eq!(read.unwrap().len(), FRAMES);
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn error_of_an_unplayable_file_names_the_file() {
    let path = std::env::temp_dir().join(format!("mixminus-unplayable-{}", std::process::id()));
    for (bytes, reason) in [
        (&b"RIFX"[..], "the WAV file ends within its header"),
        (b"ID3", "the file is neither WAV nor Ogg Opus"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path).err().unwrap().to_string();
        let expected = format!("cannot play {}: {reason}", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
}
