//! Writes Ogg Opus (RFC 7845): 48 kHz mono, packets of 20 ms, about a page per second.

use std::io::{BufWriter, Write};

use mixer::format::{MAX_PAYLOAD_BYTES, SAMPLE_RATE_HZ};
use ogg::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, Channels, Encoder};

use super::ogg_in::{HEAD_BYTES, HEAD_MAGIC};
use super::{PcmError, Sink};

/// An Ogg Opus file being recorded.
pub struct OggSink<W: Write> {
    writer: PacketWriter<'static, BufWriter<W>>,
    serial: u32,
    encoder: Encoder,
    pre_skip_samples: u64,
    /// Samples that do not fill a packet yet.
    held: Vec<f32>,
    /// The latest packet, held back until it is known whether it is the stream's last.
    last: Option<Vec<u8>>,
    taken_samples: u64,
    encoded_samples: u64,
}

impl<W: Write> OggSink<W> {
    /// Starts a file: writes the identification header and the comment header.
    ///
    /// # Errors
    /// [`PcmError`] when they cannot be written.
    pub fn new(writer: W) -> Result<OggSink<W>, PcmError> {
        let mut encoder = Encoder::new(SAMPLE_RATE_HZ, Channels::Mono, Application::Audio)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE_BPS))?;
        let pre_skip_samples = encoder.get_lookahead()? as u16;
        let mut sink = OggSink {
            writer: PacketWriter::new(BufWriter::new(writer)),
            serial: rand::random(),
            encoder,
            pre_skip_samples: u64::from(pre_skip_samples),
            held: Vec::new(),
            last: None,
            taken_samples: 0,
            encoded_samples: 0,
        };
        // Each header has pages of its own (RFC 7845, 3).
        let serial = sink.serial;
        for header in [head(pre_skip_samples), tags()] {
            sink.writer
                .write_packet(header, serial, PacketWriteEndInfo::EndPage, 0)?;
        }
        Ok(sink)
    }

    fn encode(&mut self) -> Result<(), PcmError> {
        let mut packet = vec![0; MAX_PAYLOAD_BYTES];
        let bytes = self
            .encoder
            .encode_float(&self.held[..PACKET_SAMPLES], &mut packet)?;
        packet.truncate(bytes);
        self.held.drain(..PACKET_SAMPLES);
        if let Some(last) = self.last.replace(packet) {
            let ends_page = self
                .encoded_samples
                .is_multiple_of(u64::from(SAMPLE_RATE_HZ));
            let end = if ends_page {
                PacketWriteEndInfo::EndPage
            } else {
                PacketWriteEndInfo::NormalPacket
            };
            self.writer
                .write_packet(last, self.serial, end, self.encoded_samples)?;
            if ends_page {
                self.writer.inner_mut().flush()?;
            }
        }
        self.encoded_samples += PACKET_SAMPLES as u64;
        Ok(())
    }
}

impl<W: Write + Send> Sink for OggSink<W> {
    fn write(&mut self, pcm: &[f32]) -> Result<(), PcmError> {
        self.held.extend_from_slice(pcm);
        self.taken_samples += pcm.len() as u64;
        while self.held.len() >= PACKET_SAMPLES {
            self.encode()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), PcmError> {
        // The encoder delays every sample by its look-ahead: silence pushes the last ones out. The
        // granule position of the last page then tells how much of the audio counts (RFC 7845,
        // 4.4).
        let whole_samples = self.taken_samples + self.pre_skip_samples;
        while self.encoded_samples < whole_samples || self.last.is_none() {
            self.held.resize(PACKET_SAMPLES, 0.0);
            self.encode()?;
        }
        if let Some(last) = self.last.take() {
            self.writer.write_packet(
                last,
                self.serial,
                PacketWriteEndInfo::EndStream,
                whole_samples,
            )?;
        }
        Ok(self.writer.inner_mut().flush()?)
    }
}

/// Returns the identification header (RFC 7845, 5.1).
fn head(pre_skip_samples: u16) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(HEAD_MAGIC);
    head.extend_from_slice(&[1, 1]); // version, channels
    head.extend_from_slice(&pre_skip_samples.to_le_bytes());
    head.extend_from_slice(&SAMPLE_RATE_HZ.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]); // gain, mapping family
    head
}

/// Returns the comment header (RFC 7845, 5.2): the vendor and no comments.
fn tags() -> Vec<u8> {
    let vendor = concat!("mixminus ", env!("CARGO_PKG_VERSION"));
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
    tags.extend_from_slice(vendor.as_bytes());
    tags.extend_from_slice(&0u32.to_le_bytes());
    tags
}

/// Samples in a packet of 20 ms.
const PACKET_SAMPLES: usize = 960;

/// The bitrate of a recording: twice the default bitrate of the room's streams, so that the second
/// encoding adds no audible loss.
const BITRATE_BPS: i32 = 64_000;

#[cfg(test)]
pub(super) mod tests {
    use super::super::Source;
    use super::super::ogg_in::OggSource;
    use super::super::read_all;
    use super::super::tones::{amplitude, sine};
    use super::*;
    use ogg::PacketReader;
    use proptest::prelude::*;
    use std::io::Cursor;

    pub(in crate::join::pcm) fn record(pcm: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sink = Box::new(OggSink::new(&mut bytes).unwrap());
        for part in pcm.chunks(700) {
            sink.write(part).unwrap();
        }
        sink.finish().unwrap();
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn ogg_round_trip_keeps_length_and_tone(samples in 0usize..120_000) {
            let pcm = sine(440.0, 48_000, samples);
            let mut source = OggSource::new(Cursor::new(record(&pcm))).unwrap();
            for _ in 0..2 {
                let read = read_all(&mut source).unwrap();
                prop_assert_eq!(read.len(), pcm.len());
                if samples > 10_000 {
                    prop_assert!((amplitude(&read[4_800..samples], 440.0) - 0.5).abs() < 0.03);
                }
                prop_assert!(source.rewind().unwrap());
            }
        }
    }

    #[test]
    fn ogg_pre_skip_leaves_no_delay() {
        // A tone's start must be where it was, to the sample, found by cross-correlation. Two tones
        // are used because a single one correlates as well a period later.
        let (low, high) = (sine(440.0, 48_000, 48_000), sine(1_130.0, 48_000, 48_000));
        let both = low.iter().zip(&high);
        let mut pcm: Vec<f32> = both.map(|(low, high)| (low + high) / 2.0).collect();
        pcm[..24_000].fill(0.0);
        let read = read_all(&mut OggSource::new(Cursor::new(record(&pcm))).unwrap()).unwrap();
        let likeness = |lag: isize| -> f32 {
            (23_900..26_000)
                .map(|n: isize| pcm[n as usize] * read[(n + lag) as usize])
                .sum()
        };
        let best = (-200..=200).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b)));
        assert!(best.is_some_and(|lag| lag.abs() <= 1), "{best:?}");
    }

    #[test]
    fn ogg_granule_positions_follow_rfc_7845() {
        let bytes = record(&sine(440.0, 48_000, 100_001));
        let mut reader = PacketReader::new(Cursor::new(bytes));
        let head = reader.read_packet_expected().unwrap();
        let pre_skip = u64::from(u16::from_le_bytes([head.data[10], head.data[11]]));
        assert!(head.first_in_stream() && head.last_in_page() && pre_skip > 0);
        let tags = reader.read_packet_expected().unwrap();
        assert!(tags.data.starts_with(b"OpusTags") && tags.last_in_page());
        assert_eq!(tags.absgp_page(), 0);
        let mut packets = 0u64;
        let mut last = 0;
        while let Some(packet) = reader.read_packet().unwrap() {
            packets += 1;
            if packet.last_in_page() && !packet.last_in_stream() {
                assert_eq!(packet.absgp_page(), packets * 960);
            }
            last = packet.absgp_page();
        }
        assert_eq!(last, 100_001 + pre_skip);
    }
}
