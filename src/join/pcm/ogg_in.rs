//! Ogg Opus in (RFC 7845): mono or stereo, also several streams one after the other, down to 48 kHz mono.

use std::io::{Read, Seek, SeekFrom};

use mixer::format::MAX_PACKET_SAMPLES;
use ogg::{Packet, PacketReader};
use opus::{Channels, Decoder};

use super::{PcmError, Source};

/// An Ogg Opus file to play.
pub struct OggSource<R: Read + Seek> {
    reader: PacketReader<R>,
    stream: Option<Stream>,
    ready: Vec<f32>,
    given_samples: usize,
}

impl<R: Read + Seek> OggSource<R> {
    /// Reads as far as the first stream's header.
    ///
    /// # Errors
    /// [`PcmError`] when there is no Opus stream in it, or one that cannot be played.
    pub fn new(reader: R) -> Result<OggSource<R>, PcmError> {
        let mut source = OggSource {
            reader: PacketReader::new(reader),
            stream: None,
            ready: Vec::new(),
            given_samples: 0,
        };
        while source.stream.is_none() {
            if !source.step()? {
                return Err(unsupported("the Ogg file holds no Opus stream"));
            }
        }
        Ok(source)
    }

    /// Takes one packet; `false` at the end of the file.
    fn step(&mut self) -> Result<bool, PcmError> {
        let Some(packet) = self.reader.read_packet()? else {
            return Ok(false);
        };
        if packet.first_in_stream() {
            if packet.data.starts_with(HEAD_MAGIC) {
                self.stream = Some(Stream::new(&packet)?);
            }
            // Any other is a stream of another codec beside ours: its packets are left out below.
        } else if let Some(stream) = &mut self.stream
            && stream.serial == packet.stream_serial()
        {
            stream.decode(&packet, &mut self.ready);
        }
        Ok(true)
    }
}

impl<R: Read + Seek + Send> Source for OggSource<R> {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        while self.given_samples == self.ready.len() {
            self.ready.clear();
            self.given_samples = 0;
            if !self.step()? {
                return Ok(0);
            }
        }
        let ready = &self.ready[self.given_samples..];
        let samples = ready.len().min(pcm.len());
        pcm[..samples].copy_from_slice(&ready[..samples]);
        self.given_samples += samples;
        Ok(samples)
    }

    fn rewind(&mut self) -> Result<bool, PcmError> {
        self.reader
            .seek_bytes(SeekFrom::Start(0))
            .map_err(PcmError::Io)?;
        self.reader.delete_unread_packets();
        self.stream = None;
        self.ready.clear();
        self.given_samples = 0;
        Ok(true)
    }
}

/// One logical stream, from its header on.
struct Stream {
    serial: u32,
    decoder: Decoder,
    tags_seen: bool,
    /// Samples still to be thrown away at the start (RFC 7845, 4.2).
    pre_skip_samples: u64,
    /// Samples decoded, the pre-skip included.
    decoded_samples: u64,
    /// Samples decoded on the first page so far, until its end tells where the stream starts.
    origin: Option<u64>,
    pcm: Vec<f32>,
}

impl Stream {
    /// Reads an identification header (RFC 7845, 5.1).
    fn new(packet: &Packet) -> Result<Stream, PcmError> {
        let head = packet.data.as_slice();
        if head.len() < HEAD_BYTES || head[8] & 0xf0 != 0 {
            return Err(unsupported(
                "the Opus header is of a version that is not known",
            ));
        }
        // Family 0 is mono and stereo in one stream; more channels are several streams in one packet.
        if head[18] != 0 || !(1..=2).contains(&head[9]) {
            return Err(unsupported(
                "only mono and stereo Opus files can be played; this one has more channels",
            ));
        }
        // libopus itself mixes a stereo stream down for a mono decoder.
        let mut decoder = Decoder::new(mixer::format::SAMPLE_RATE_HZ, Channels::Mono)?;
        decoder.set_gain(i32::from(i16::from_le_bytes([head[16], head[17]])))?;
        Ok(Stream {
            serial: packet.stream_serial(),
            decoder,
            tags_seen: false,
            pre_skip_samples: u64::from(u16::from_le_bytes([head[10], head[11]])),
            decoded_samples: 0,
            origin: None,
            pcm: vec![0.0; MAX_PACKET_SAMPLES],
        })
    }

    /// Decodes one packet and appends what of it is to be heard.
    fn decode(&mut self, packet: &Packet, out: &mut Vec<f32>) {
        if !self.tags_seen {
            self.tags_seen = true;
            return;
        }
        // An empty packet would mean loss to the decoder; one that does not decode is left out.
        let samples = match self
            .decoder
            .decode_float(&packet.data, &mut self.pcm, false)
        {
            Ok(samples) if !packet.data.is_empty() => samples,
            _ => return,
        };
        let from = self.decoded_samples;
        self.decoded_samples += samples as u64;
        let end = self.end_of(packet).unwrap_or(self.decoded_samples);
        let heard_from = from.max(self.pre_skip_samples).min(self.decoded_samples);
        let heard_to = self.decoded_samples.min(end).max(heard_from);
        out.extend_from_slice(&self.pcm[(heard_from - from) as usize..(heard_to - from) as usize]);
    }

    /// The last sample that the packet's page allows, counted from the first decoded.
    ///
    /// A page says the position of its last packet's end. Only on a stream's last page may that be less
    /// than what its packets hold (RFC 7845, 4.4), so that it cuts nothing elsewhere.
    fn end_of(&mut self, packet: &Packet) -> Option<u64> {
        let position = packet.absgp_page();
        if position == u64::MAX {
            return None;
        }
        if self.origin.is_none() && packet.last_in_page() {
            // A stream cut from a longer one starts at more than zero (RFC 7845, 4.5); a short one,
            // whose first page is its last, starts at zero and is trimmed.
            self.origin = Some(if packet.last_in_stream() {
                0
            } else {
                position.saturating_sub(self.decoded_samples)
            });
        }
        self.origin.map(|origin| position.saturating_sub(origin))
    }
}

pub(super) const HEAD_MAGIC: &[u8] = b"OpusHead";

/// Bytes of an identification header of mapping family 0.
pub(super) const HEAD_BYTES: usize = 19;

fn unsupported(what: &str) -> PcmError {
    PcmError::Unsupported {
        what: what.to_owned(),
    }
}
