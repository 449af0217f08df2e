//! Reads and writes WAV. Reads PCM of 8 to 32 bits, float of 32 and 64 bits, A-law and u-law, any
//! rate and any number of channels, converted to 48 kHz mono; writes 16 bits.

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

use hound::{SampleFormat, WavSpec, WavWriter};
use mixer::format::SAMPLE_RATE_HZ;

use super::resample::ToEngineRate;
use super::wav_header::WavHeader;
use super::{PcmError, Sink, Source};

/// A WAV file to play.
pub struct WavSource<R> {
    reader: R,
    header: WavHeader,
    /// Bytes of samples still to be read, according to the header. The file may have fewer, if its
    /// size is unknown or it is truncated.
    left_bytes: u64,
    converter: ToEngineRate,
    ready: Vec<f32>,
    given_samples: usize,
    ended: bool,
}

impl<R: Read + Seek> WavSource<R> {
    /// Reads the header of a WAV file to play.
    ///
    /// # Errors
    /// [`PcmError`] when it is no WAV header, or of a format that cannot be played.
    pub fn new(mut reader: R) -> Result<WavSource<R>, PcmError> {
        let header = WavHeader::read(&mut reader)?;
        Ok(WavSource {
            converter: ToEngineRate::new(header.format.rate_hz)?,
            left_bytes: header.length_bytes.unwrap_or(u64::MAX),
            reader,
            header,
            ready: Vec::new(),
            given_samples: 0,
            ended: false,
        })
    }

    /// Reads the next part of the file and converts it into `ready`.
    fn refill(&mut self) -> Result<(), PcmError> {
        self.ready.clear();
        self.given_samples = 0;
        while self.ready.is_empty() && !self.ended {
            let mono = self.read_mono()?;
            if mono.is_empty() {
                self.ended = true;
                self.converter.finish(&mut self.ready);
            } else {
                self.converter.push(&mono, &mut self.ready);
            }
        }
        Ok(())
    }

    /// Reads the next frames as mono samples; none at the end of the file.
    ///
    /// A file that is shorter than its header says ends where it stops, for instance one that was
    /// written to a pipe or whose recorder was killed.
    fn read_mono(&mut self) -> Result<Vec<f32>, PcmError> {
        let format = &self.header.format;
        let frame_bytes = format.frame_bytes();
        let wanted_bytes = (READ_BYTES / frame_bytes).max(1) * frame_bytes;
        let mut bytes = Vec::new();
        let mut part = (&mut self.reader).take(self.left_bytes.min(wanted_bytes as u64));
        self.left_bytes -= part.read_to_end(&mut bytes)? as u64;
        let encoding = format.encoding;
        // An incomplete frame at the end of a truncated file is dropped.
        let frames = bytes.chunks_exact(frame_bytes);
        Ok(frames
            .map(|frame| {
                let samples = frame.chunks_exact(encoding.bytes());
                let sum: f32 = samples.map(|bytes| encoding.sample(bytes)).sum();
                sum / format.channels as f32
            })
            .map(|sample| if sample.is_finite() { sample } else { 0.0 })
            .collect())
    }
}

impl<R: Read + Seek + Send> Source for WavSource<R> {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        if self.given_samples == self.ready.len() {
            self.refill()?;
        }
        let ready = &self.ready[self.given_samples..];
        let samples = ready.len().min(pcm.len());
        pcm[..samples].copy_from_slice(&ready[..samples]);
        self.given_samples += samples;
        Ok(samples)
    }

    fn rewind(&mut self) -> Result<bool, PcmError> {
        self.reader.seek(SeekFrom::Start(self.header.start_bytes))?;
        self.left_bytes = self.header.length_bytes.unwrap_or(u64::MAX);
        self.converter = ToEngineRate::new(self.header.format.rate_hz)?;
        self.ready.clear();
        self.given_samples = 0;
        self.ended = false;
        Ok(true)
    }
}

/// A WAV file being recorded: 48 kHz, mono, 16 bits.
pub struct WavSink<W: Write + Seek> {
    writer: WavWriter<BufWriter<W>>,
    unflushed_samples: usize,
}

impl<W: Write + Seek> WavSink<W> {
    /// Starts a WAV file: writes its header.
    ///
    /// # Errors
    /// [`PcmError`] when it cannot be written.
    pub fn new(writer: W) -> Result<WavSink<W>, PcmError> {
        let spec = WavSpec {
            channels: 1,
            sample_rate: SAMPLE_RATE_HZ,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        Ok(WavSink {
            writer: WavWriter::new(BufWriter::new(writer), spec)?,
            unflushed_samples: 0,
        })
    }
}

impl<W: Write + Seek + Send> Sink for WavSink<W> {
    fn write(&mut self, pcm: &[f32]) -> Result<(), PcmError> {
        if self.writer.len() as usize + pcm.len() > MAX_SAMPLES {
            return Err(PcmError::Unsupported {
                what: "a WAV recording can have at most 12 hours; record to an .ogg file"
                    .to_owned(),
            });
        }
        for sample in pcm {
            self.writer.write_sample(to_s16(*sample))?;
        }
        self.unflushed_samples += pcm.len();
        if self.unflushed_samples >= FLUSH_SAMPLES {
            self.writer.flush()?;
            self.unflushed_samples = 0;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), PcmError> {
        Ok(self.writer.finalize()?)
    }
}

/// Converts a float sample to 16 bits, limited to full scale.
pub(super) fn to_s16(sample: f32) -> i16 {
    // A cast from float saturates, and turns NaN into 0.
    (sample * 32_768.0).round() as i16
}

/// Bytes read at a time, unless a single frame has more.
const READ_BYTES: usize = 16_384;

/// The most samples of a recording: the header counts bytes in 32 bits.
const MAX_SAMPLES: usize = (u32::MAX as usize - 1_000) / 2;

/// How many samples are written between two updates of the header, so that even a killed recorder
/// leaves a playable file.
const FLUSH_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

#[cfg(test)]
#[path = "wav_tests/mod.rs"]
mod tests;
