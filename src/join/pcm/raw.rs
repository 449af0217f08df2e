//! Raw PCM: 48 kHz mono, signed 16 bits little-endian, on standard input and output.
//!
//! `arecord -f S16_LE -r 48000 -c 1 | mixminus join URL --play - --record - | aplay -f S16_LE -r 48000`

use std::io::{BufWriter, ErrorKind, Read, Write};

use super::wav::to_s16;
use super::{PcmError, Sink, Source};

/// Raw PCM to play.
pub struct RawSource<R> {
    reader: R,
    bytes: Vec<u8>,
    held_bytes: usize,
}

impl<R: Read> RawSource<R> {
    /// Creates a source that reads raw PCM from `reader`.
    pub fn new(reader: R) -> RawSource<R> {
        RawSource {
            reader,
            bytes: vec![0; READ_BYTES],
            held_bytes: 0,
        }
    }
}

impl<R: Read + Send> Source for RawSource<R> {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        let wanted_bytes = (pcm.len() * 2).min(READ_BYTES);
        // One byte of a sample may be left over from the previous read.
        while self.held_bytes < 2 {
            match self
                .reader
                .read(&mut self.bytes[self.held_bytes..wanted_bytes])
            {
                Ok(0) => return Ok(0),
                Ok(read_bytes) => self.held_bytes += read_bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let samples = self.held_bytes / 2;
        let (pairs, _) = self.bytes[..samples * 2].as_chunks::<2>();
        for (sample, pair) in pcm.iter_mut().zip(pairs) {
            *sample = f32::from(i16::from_le_bytes(*pair)) / 32_768.0;
        }
        self.bytes.copy_within(samples * 2..self.held_bytes, 0);
        self.held_bytes -= samples * 2;
        Ok(samples)
    }

    fn may_be_live(&self) -> bool {
        true
    }
}

/// Raw PCM being recorded.
pub struct RawSink<W: Write> {
    writer: BufWriter<W>,
}

impl<W: Write> RawSink<W> {
    /// Creates a sink that writes raw PCM to `writer`.
    pub fn new(writer: W) -> RawSink<W> {
        RawSink {
            writer: BufWriter::new(writer),
        }
    }
}

impl<W: Write + Send> Sink for RawSink<W> {
    fn write(&mut self, pcm: &[f32]) -> Result<(), PcmError> {
        for sample in pcm {
            self.writer.write_all(&to_s16(*sample).to_le_bytes())?;
        }
        // The reader of the pipe may play the audio live, so nothing stays in the buffer.
        Ok(self.writer.flush()?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), PcmError> {
        Ok(self.writer.flush()?)
    }
}

/// Bytes read at a time: 10 ms, so that live audio is passed on as it arrives.
const READ_BYTES: usize = 960;

#[cfg(test)]
mod tests {
    use super::super::read_all;
    use super::super::tones::sine;
    use super::*;

    /// A reader that returns its bytes in groups of three, so that samples are split.
    struct Torn(Vec<u8>);

    impl Read for Torn {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(3).min(into.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    #[test]
    fn raw_pcm_round_trip_survives_reads_that_end_within_a_sample() {
        let pcm = sine(440.0, 48_000, 2_000);
        let mut bytes = Vec::new();
        let mut sink = RawSink::new(&mut bytes);
        sink.write(&pcm).unwrap();
        drop(sink);
        assert_eq!(bytes.len(), 4_000);
        let read = read_all(&mut RawSource::new(Torn(bytes))).unwrap();
        assert_eq!(read.len(), pcm.len());
        assert!(
            read.iter()
                .zip(&pcm)
                .all(|(a, b)| (a - b).abs() <= 1.0 / 32_768.0)
        );
    }

    #[test]
    fn raw_source_drops_half_a_sample_at_the_end() {
        assert_eq!(
            read_all(&mut RawSource::new(&[0u8, 0x40, 1][..])).unwrap(),
            [0.5]
        );
    }
}
