//! The client's audio inputs and outputs: files, pipes, standard input and output, and signals made
//! by tests.
//!
//! On both [`Source`] and [`Sink`] everything is 48 kHz mono, 32-bit float, full scale 1.0; their
//! implementations convert from and to the format of a file. Both may block: each is driven by a
//! thread of its own ([`read_ahead`], [`recorder`]), so that a slow disk never stops the clocks.
//!
//! | file | what |
//! |---|---|
//! | `wav.rs`, `wav_header.rs` | reading and writing WAV |
//! | `ogg_in.rs`, `ogg_out.rs` | reading and writing Ogg Opus (RFC 7845) |
//! | `ogg_pages.rs` | finding the intact pages of an Ogg file (RFC 3533) |
//! | `raw.rs` | 48 kHz mono s16le on standard input and output |
//! | `pipe.rs` | named pipes and devices, opened at their first use |
//! | `resample.rs` | converting any sample rate to 48 kHz |
//! | `temp_file.rs` | a recording replaces an older one only once there is something to record |
//! | `read_ahead.rs` | source -> uplink, through a bounded buffer |
//! | `recorder.rs` | downlink -> sink, without gaps in time |

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::ogg_in::OggError;
use self::wav_header::WavError;

pub mod ogg_in;
pub mod ogg_out;
pub mod ogg_pages;
pub mod pipe;
pub mod raw;
pub mod read_ahead;
pub mod recorder;
pub mod resample;
pub mod temp_file;
pub mod wav;
pub mod wav_header;

/// Supplies mono PCM at 48 kHz.
pub trait Source: Send {
    /// Fills `pcm` from the front and returns the number of samples written; 0 is the end. May
    /// block.
    ///
    /// # Errors
    /// [`PcmError`] when the input is no audio of the expected kind.
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError>;

    /// Returns to the first sample; `false` if that is impossible.
    ///
    /// # Errors
    /// [`PcmError`] when the file cannot be read again.
    fn rewind(&mut self) -> Result<bool, PcmError> {
        Ok(false)
    }

    /// Whether the samples may come at the pace of the source's own clock, as those of a microphone
    /// behind a pipe do. A backlog of such samples is delay, and is dropped.
    fn may_be_live(&self) -> bool {
        false
    }
}

/// Accepts mono PCM at 48 kHz.
pub trait Sink: Send {
    /// Appends `pcm`. May block.
    ///
    /// # Errors
    /// [`PcmError`] when nothing more can be written.
    fn write(&mut self, pcm: &[f32]) -> Result<(), PcmError>;

    /// Writes what is still buffered and completes the file's headers.
    ///
    /// # Errors
    /// [`PcmError`] when the file cannot be completed.
    fn finish(self: Box<Self>) -> Result<(), PcmError>;
}

/// Why audio cannot be read or written.
#[derive(Debug, Error)]
pub enum PcmError {
    /// The file cannot be opened or created.
    #[error("cannot open, create or replace {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file has no audio that can be played.
    #[error("cannot play {}: {error}", path.display())]
    Play {
        /// The file.
        path: PathBuf,
        /// Why the file cannot be played.
        error: Box<PcmError>,
    },
    /// Reading or writing failed.
    #[error("cannot read the audio to play, write the recording or start a media thread: {0}")]
    Io(#[from] io::Error),
    /// The file has a format that cannot be played.
    #[error("{what}")]
    Unsupported {
        /// A sentence about what was found and what would be accepted.
        what: String,
    },
    /// A WAV file cannot be played.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// An Ogg file cannot be played.
    #[error(transparent)]
    Ogg(#[from] OggError),
    /// A WAV file cannot be written.
    #[error("cannot write the WAV file: {0}")]
    WavSink(hound::Error),
    /// The disk, or the reader of standard output, no longer accepts the recording.
    #[error("the output of the recording stopped accepting audio; the recording is incomplete")]
    Stalled,
    /// libopus reported an error.
    #[error("the Opus codec failed: {0}")]
    Opus(#[from] opus::Error),
}

impl From<hound::Error> for PcmError {
    fn from(error: hound::Error) -> PcmError {
        match error {
            hound::Error::IoError(error) => PcmError::Io(error),
            error => PcmError::WavSink(error),
        }
    }
}

/// Opens a file to play; its first bytes determine its format.
///
/// # Errors
/// [`PcmError`] when it cannot be opened or is neither WAV nor Ogg Opus.
pub fn open(path: &Path) -> Result<Box<dyn Source>, PcmError> {
    let at_open = |source| PcmError::Open {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(at_open)?;
    let mut magic = [0; 4];
    let known = file.read_exact(&mut magic).is_ok();
    file.rewind().map_err(at_open)?;
    let file = BufReader::new(file);
    let opened = match &magic {
        b"RIFF" | b"RIFX" | b"RF64" | b"BW64" if known => wav_source(file),
        b"OggS" if known => ogg_source(file),
        _ => Err(PcmError::Unsupported {
            what: "the file is neither WAV nor Ogg Opus; use - for raw PCM on standard input"
                .to_owned(),
        }),
    };
    opened.map_err(|error| PcmError::Play {
        path: path.to_owned(),
        error: Box::new(error),
    })
}

fn wav_source(file: BufReader<File>) -> Result<Box<dyn Source>, PcmError> {
    Ok(Box::new(wav::WavSource::new(file)?))
}

fn ogg_source(file: BufReader<File>) -> Result<Box<dyn Source>, PcmError> {
    Ok(Box::new(ogg_in::OggSource::new(file)?))
}

/// Returns all samples of a source.
///
/// # Errors
/// [`PcmError`] when it cannot be read to its end.
pub fn read_all(source: &mut dyn Source) -> Result<Vec<f32>, PcmError> {
    let mut all = Vec::new();
    let mut pcm = [0.0; 4_800];
    loop {
        match source.read(&mut pcm)? {
            0 => return Ok(all),
            samples => all.extend_from_slice(&pcm[..samples]),
        }
    }
}

/// The file formats that can be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// WAV with samples of 16 bits.
    Wav,
    /// Ogg Opus.
    Ogg,
}

impl FileKind {
    /// Returns the format that a file's extension asks for: `.wav`, `.ogg` or `.opus`.
    pub fn of(path: &Path) -> Option<FileKind> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "wav" => Some(FileKind::Wav),
            "ogg" | "opus" => Some(FileKind::Ogg),
            _ => None,
        }
    }

    /// Creates the file, or replaces an existing one.
    ///
    /// # Errors
    /// [`PcmError`] when it cannot be created.
    pub fn create(self, path: &Path) -> Result<Box<dyn Sink>, PcmError> {
        let file = File::create(path).map_err(|source| PcmError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(match self {
            FileKind::Wav => Box::new(wav::WavSink::new(file)?),
            FileKind::Ogg => Box::new(ogg_out::OggSink::new(file)?),
        })
    }
}

/// Signals and measurements for the tests of the modules below.
#[cfg(test)]
pub(super) mod tones {
    use std::f32::consts::TAU;

    /// Returns a sine of amplitude 0.5.
    pub fn sine(hz: f32, rate_hz: u32, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|n| 0.5 * (TAU * hz * n as f32 / rate_hz as f32).sin())
            .collect()
    }

    /// Returns the amplitude of `hz` in `pcm` at 48 kHz (by plain correlation).
    pub fn amplitude(pcm: &[f32], hz: f32) -> f32 {
        let (mut re, mut im) = (0.0f64, 0.0f64);
        for (n, sample) in pcm.iter().enumerate() {
            let phase = f64::from(TAU * hz / 48_000.0) * n as f64;
            re += f64::from(*sample) * phase.cos();
            im += f64::from(*sample) * phase.sin();
        }
        (2.0 * (re * re + im * im).sqrt() / pcm.len() as f64) as f32
    }
}
