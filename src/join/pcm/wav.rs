//! WAV in and out: integers of 8 to 32 bits and 32-bit float, any rate, any number of channels, down to
//! 48 kHz mono; written as 16 bits.

use std::io::{BufWriter, Read, Seek, Write};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use mixer::format::SAMPLE_RATE_HZ;

use super::resample::ToEngineRate;
use super::{PcmError, Sink, Source};

/// A WAV file to play.
pub struct WavSource<R: Read> {
    reader: WavReader<R>,
    converter: ToEngineRate,
    ready: Vec<f32>,
    given_samples: usize,
    ended: bool,
}

impl<R: Read + Seek> WavSource<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`PcmError`] when it is no WAV header, or of a kind that cannot be played.
    pub fn new(reader: R) -> Result<WavSource<R>, PcmError> {
        let reader = WavReader::new(reader)?;
        let spec = reader.spec();
        if spec.channels == 0 || !(8..=32).contains(&spec.bits_per_sample) {
            return Err(PcmError::Unsupported {
                what: format!(
                    "a WAV file with {} channels of {} bits cannot be played",
                    spec.channels, spec.bits_per_sample
                ),
            });
        }
        Ok(WavSource {
            converter: ToEngineRate::new(spec.sample_rate)?,
            reader,
            ready: Vec::new(),
            given_samples: 0,
            ended: false,
        })
    }

    /// Converts the next part of the file into `ready`.
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

    fn read_mono(&mut self) -> Result<Vec<f32>, PcmError> {
        let spec = self.reader.spec();
        let channels = usize::from(spec.channels);
        let wanted = READ_FRAMES * channels;
        let interleaved = match spec.sample_format {
            SampleFormat::Float => take(self.reader.samples::<f32>(), wanted, |sample| sample)?,
            SampleFormat::Int => {
                let full_scale = (1u64 << (spec.bits_per_sample - 1)) as f32;
                take(self.reader.samples::<i32>(), wanted, |sample| {
                    sample as f32 / full_scale
                })?
            }
        };
        // The rest of a frame that a cut-off file lacks is left out.
        let frames = interleaved.chunks_exact(channels);
        Ok(frames
            .map(|frame| frame.iter().sum::<f32>() / channels as f32)
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
        self.reader.seek(0)?;
        self.converter = ToEngineRate::new(self.reader.spec().sample_rate)?;
        self.ready.clear();
        self.given_samples = 0;
        self.ended = false;
        Ok(true)
    }
}

/// Takes up to `wanted` samples; a file that stops short of what its header says just ends there, as
/// those do that were written into a pipe or whose recorder was killed.
fn take<S>(
    samples: impl Iterator<Item = Result<S, hound::Error>>,
    wanted: usize,
    convert: impl Fn(S) -> f32,
) -> Result<Vec<f32>, PcmError> {
    let mut taken = Vec::with_capacity(wanted);
    for sample in samples.take(wanted) {
        match sample {
            Ok(sample) => taken.push(convert(sample)),
            // hound's own way to say that the file stopped: an error of the system has a number.
            Err(hound::Error::IoError(error)) if error.raw_os_error().is_none() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}

/// A WAV file being recorded: 48 kHz, mono, 16 bits.
pub struct WavSink<W: Write + Seek> {
    writer: WavWriter<BufWriter<W>>,
    unflushed_samples: usize,
}

impl<W: Write + Seek> WavSink<W> {
    /// Writes the header.
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
                what: "a WAV file holds no more than twelve hours: record to .ogg".to_owned(),
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

/// A float sample as 16 bits, held at full scale.
pub(super) fn to_s16(sample: f32) -> i16 {
    // A cast from float saturates, and makes 0 of what is not a number.
    (sample * 32_768.0).round() as i16
}

/// Frames read at a time: about 20 ms at usual rates.
const READ_FRAMES: usize = 1_024;

/// The header counts bytes in 32 bits.
const MAX_SAMPLES: usize = (u32::MAX as usize - 1_000) / 2;

/// The header is brought up to date this often, so that even a killed recorder leaves a playable file.
const FLUSH_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

#[cfg(test)]
mod tests {
    use super::super::read_all;
    use super::super::tones::{amplitude, sine};
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn wav(spec: WavSpec, frames: usize) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for sample in sine(440.0, spec.sample_rate, frames) {
            for _ in 0..spec.channels {
                match spec.sample_format {
                    SampleFormat::Float => writer.write_sample(sample).unwrap(),
                    SampleFormat::Int => {
                        let full_scale = (1u64 << (spec.bits_per_sample - 1)) as f32;
                        writer.write_sample((sample * full_scale) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_wav_keeps_its_length_and_its_tone(
            rate_hz in prop::sample::select(vec![8_000u32, 16_000, 44_100, 48_000, 96_000]),
            channels in 1u16..=6,
            (bits_per_sample, sample_format) in prop::sample::select(vec![
                (8, SampleFormat::Int), (16, SampleFormat::Int), (24, SampleFormat::Int), (32, SampleFormat::Float),
            ]),
            extra in 0usize..500,
        ) {
            let frames = rate_hz as usize / 2 + extra;
            let spec = WavSpec { channels, sample_rate: rate_hz, bits_per_sample, sample_format };
            let mut source = WavSource::new(Cursor::new(wav(spec, frames))).unwrap();
            for _ in 0..2 {
                let pcm = read_all(&mut source).unwrap();
                prop_assert_eq!(pcm.len() as u64, (frames as u64 * 48_000).div_ceil(u64::from(rate_hz)));
                prop_assert!((amplitude(&pcm[..24_000], 440.0) - 0.5).abs() < 0.02);
                prop_assert!(source.rewind().unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn a_broken_file_is_refused_or_played_but_never_more(
            at in 0usize..60, bytes in prop::collection::vec(any::<u8>(), 1..5), kept in 12usize..1_000,
        ) {
            let spec = WavSpec { channels: 2, sample_rate: 44_100, bits_per_sample: 16, sample_format: SampleFormat::Int };
            let mut file = wav(spec, 200);
            file[at..at + bytes.len()].copy_from_slice(&bytes);
            file.truncate(kept);
            if let Ok(mut source) = WavSource::new(Cursor::new(file)) {
                let _ = read_all(&mut source);
                let _ = source.rewind();
            }
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let dir = std::env::temp_dir().join(format!("mixminus-wav-{}", std::process::id()));
        let pcm = sine(440.0, 48_000, 48_123);
        let mut sink = Box::new(WavSink::new(std::fs::File::create(&dir).unwrap()).unwrap());
        sink.write(&pcm).unwrap();
        sink.finish().unwrap();
        let mut source = super::super::open(&dir);
        // The name says nothing, the first bytes do.
        let read = read_all(source.as_mut().unwrap().as_mut()).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(read.len(), pcm.len());
        let error = read
            .iter()
            .zip(&pcm)
            .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(error <= 1.0 / 32_768.0);
    }

    #[test]
    fn a_file_cut_short_plays_as_far_as_it_goes() {
        let spec = WavSpec {
            channels: 2,
            sample_rate: 48_000,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut bytes = wav(spec, 1_000);
        bytes.truncate(bytes.len() - 401);
        let mut source = WavSource::new(Cursor::new(bytes)).unwrap();
        assert_eq!(read_all(&mut source).unwrap().len(), 899);
    }

    #[test]
    fn samples_stay_within_sixteen_bits() {
        assert_eq!(to_s16(1.5), i16::MAX);
        assert_eq!(to_s16(-1.5), i16::MIN);
        assert_eq!(to_s16(f32::NAN), 0);
    }
}
