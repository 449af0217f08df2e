//! Reads Ogg Opus (RFC 7845): mono or stereo, also several streams one after the other, converted
//! to 48 kHz mono.
//!
//! Damaged and missing pages are skipped, and a truncated file ends where it is cut.

use std::io::{Read, Seek};

use mixer::format::{MAX_PACKET_SAMPLES, SAMPLE_RATE_HZ};
use ogg::Packet;
use opus::MSDecoder;
use thiserror::Error;

use super::ogg_pages::{Packets, Page, Pages};
use super::{PcmError, Source};

/// An Ogg Opus file to play.
pub struct OggSource<R> {
    pages: Pages<R>,
    stream: Option<Stream>,
    ready: Vec<f32>,
    given_samples: usize,
}

/// An Ogg file that cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OggError {
    /// The file has no Opus, or the first page of the stream is damaged.
    #[error("the Ogg file holds no Opus stream with an intact header")]
    NoOpus,
    /// The header is too short, or contradicts itself.
    #[error("the header of the Opus stream is broken")]
    BrokenHeader,
    /// The header is of another major version (RFC 7845, 5.1).
    #[error("the Opus header has version {version}; only versions below 16 can be played")]
    Version {
        /// The version.
        version: u8,
    },
    /// The stream has more than two channels, or channels of an unknown mapping.
    #[error(
        "the Opus stream has {channels} channels of mapping family {family}; mono and stereo of \
         families 0 and 1 can be played"
    )]
    Channels {
        /// The number of channels.
        channels: u8,
        /// The channel mapping family.
        family: u8,
    },
}

impl<R: Read + Seek> OggSource<R> {
    /// Reads the file up to the end of the first Opus stream's header.
    ///
    /// # Errors
    /// [`PcmError`] when the file has no Opus stream, or one that cannot be played.
    pub fn new(reader: R) -> Result<OggSource<R>, PcmError> {
        let mut source = OggSource {
            pages: Pages::new(reader),
            stream: None,
            ready: Vec::new(),
            given_samples: 0,
        };
        while source.stream.is_none() {
            if !source.step()? {
                return Err(OggError::NoOpus.into());
            }
        }
        Ok(source)
    }

    /// Reads the next page of the file and decodes its packets; returns `false` at the end of the
    /// file.
    fn step(&mut self) -> Result<bool, PcmError> {
        let Some(page) = self.pages.next_page()? else {
            return Ok(false);
        };
        let has_begun = self.stream.as_ref().is_none_or(|stream| stream.has_begun);
        if page.is_first {
            // A stream that begins before the current one has sent a second page runs in parallel
            // with it and is skipped, as is a stream of another codec. A stream that begins later
            // is the next one.
            if has_begun && page.body.starts_with(HEAD_MAGIC) {
                self.stream = Some(Stream::new(page)?);
            }
        } else if let Some(stream) = &mut self.stream
            && stream.serial == page.serial
        {
            stream.take(page, &mut self.ready);
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
        self.pages.rewind()?;
        self.stream = None;
        self.ready.clear();
        self.given_samples = 0;
        Ok(true)
    }
}

/// The decoder of one logical stream, from its header on.
struct Stream {
    serial: u32,
    packets: Packets,
    /// Whether any page after the header has arrived.
    has_begun: bool,
    decoder: MSDecoder,
    channels: usize,
    /// Whether audio has arrived, so that no further packet can be the comment header.
    has_audio: bool,
    /// Samples still to be discarded at the start (RFC 7845, 4.2).
    pre_skip_samples: u64,
    /// Samples decoded so far, the pre-skip included.
    decoded_samples: u64,
    /// The granule position of the first decoded sample: known from the end of the first page.
    origin: Option<i64>,
    pcm: Vec<f32>,
}

impl Stream {
    /// Parses the page of an identification header (RFC 7845, 5.1).
    fn new(page: Page) -> Result<Stream, PcmError> {
        let head = page.body.as_slice();
        let version = *head.get(8).ok_or(OggError::BrokenHeader)?;
        if version & 0xf0 != 0 {
            return Err(OggError::Version { version }.into());
        }
        if head.len() < HEAD_BYTES {
            return Err(OggError::BrokenHeader.into());
        }
        let (channels, family) = (head[9], head[18]);
        let (streams, coupled, mapping) = match (family, channels) {
            (0, 1) => (1, 0, &[0][..]),
            (0, 2) => (1, 1, &[0, 1][..]),
            (1, 1 | 2) => {
                let mapping = head.get(HEAD_BYTES + 2..HEAD_BYTES + 2 + usize::from(channels));
                let mapping = mapping.ok_or(OggError::BrokenHeader)?;
                (head[HEAD_BYTES], head[HEAD_BYTES + 1], mapping)
            }
            _ => return Err(OggError::Channels { channels, family }.into()),
        };
        // libopus checks that the numbers are consistent.
        let mut decoder = MSDecoder::new(SAMPLE_RATE_HZ, streams, coupled, mapping)
            .map_err(|_| OggError::BrokenHeader)?;
        decoder.set_gain(i32::from(i16::from_le_bytes([head[16], head[17]])))?;
        let mut stream = Stream {
            serial: page.serial,
            packets: Packets::new(),
            has_begun: false,
            decoder,
            channels: usize::from(channels),
            has_audio: false,
            pre_skip_samples: u64::from(u16::from_le_bytes([head[10], head[11]])),
            decoded_samples: 0,
            origin: None,
            pcm: vec![0.0; usize::from(channels) * MAX_PACKET_SAMPLES],
        };
        stream.packets.push(page);
        // Discards the header packet, and anything else on its page.
        while stream.packets.next_packet().is_some() {}
        Ok(stream)
    }

    /// Decodes the packets that end in one page and appends the audible samples.
    fn take(&mut self, page: Page, out: &mut Vec<f32>) {
        self.has_begun = true;
        if self.packets.push(page) {
            // The length of the missing pages is known only from the next granule position.
            self.origin = None;
        }
        while let Some(packet) = self.packets.next_packet() {
            let is_comments = !self.has_audio && packet.data.starts_with(TAGS_MAGIC);
            if !is_comments {
                self.has_audio = true;
                self.decode(&packet, out);
            }
        }
    }

    fn decode(&mut self, packet: &Packet, out: &mut Vec<f32>) {
        // libopus would take an empty packet for a loss; a packet that cannot be decoded is
        // skipped.
        let samples = match self
            .decoder
            .decode_float(&packet.data, &mut self.pcm, false)
        {
            Ok(samples) if !packet.data.is_empty() => samples,
            _ => 0,
        };
        let from = self.decoded_samples;
        self.decoded_samples += samples as u64;
        let end = self.end_of(packet).unwrap_or(self.decoded_samples);
        let heard_from = from.max(self.pre_skip_samples).min(self.decoded_samples);
        let heard_to = self.decoded_samples.min(end).max(heard_from);
        let heard = (heard_from - from) as usize..(heard_to - from) as usize;
        let frames = self.pcm.chunks_exact(self.channels);
        out.extend(
            frames
                .map(|frame| frame.iter().sum::<f32>() / self.channels as f32)
                .take(heard.end)
                .skip(heard.start),
        );
    }

    /// Returns the position, counted from the first decoded sample, at which the packet's page ends
    /// the audio; `None` if the page does not tell.
    ///
    /// A page gives the granule position of the end of its last packet. Only on a stream's last
    /// page may that position be less than what the packets hold (RFC 7845, 4.4); on all other
    /// pages it cuts nothing.
    fn end_of(&mut self, packet: &Packet) -> Option<u64> {
        let position = i64::try_from(packet.absgp_page()).ok()?;
        if self.origin.is_none() && packet.last_in_page() {
            // A stream that was cut from a longer one starts at a position above zero (RFC 7845,
            // 4.5). A stream whose first page is also its last starts at zero and is trimmed. After
            // missing pages the origin is determined anew.
            self.origin = Some(if packet.last_in_stream() {
                0
            } else {
                position
                    .saturating_sub_unsigned(self.decoded_samples)
                    .max(0)
            });
        }
        let origin = self.origin?;
        Some(position.saturating_sub(origin).max(0) as u64)
    }
}

pub(super) const HEAD_MAGIC: &[u8] = b"OpusHead";
const TAGS_MAGIC: &[u8] = b"OpusTags";

/// Bytes of an identification header of mapping family 0.
pub(super) const HEAD_BYTES: usize = 19;

#[cfg(test)]
#[path = "ogg_tests.rs"]
mod tests;
