//! One client's outgoing RTP stream: sequence numbers, clock offset and header (RFC 3550, section
//! 5.1), written and encrypted in the send buffer.
//!
//! One payload goes to many clients; this module does only the work that differs per client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mixer::codec::Codec;
use mixer::format::SAMPLE_RATE_HZ;
use mixer::packet::OutPacket;
use rtc::crypto::{CryptoError, RTCCrypto};

use super::rtp_header::{FIXED_BYTES, ONE_BYTE_PROFILE};
use super::send_queue::SendQueue;
use super::srtp::{Encryptor, MasterKey};

/// Sends the RTP stream of one client.
pub struct RtpSender {
    config: SendConfig,
    /// The next sequence number until a key is set; after that the encryptor counts.
    first: u16,
    clock: Clock,
    encryptor: Option<Encryptor>,
    /// Media time at which the last packet's audio ends.
    due: u32,
    sent: Sent,
}

/// Settings of an outgoing RTP stream.
#[derive(Debug, Clone, Default)]
pub struct SendConfig {
    /// The SSRC of the stream.
    pub ssrc: u32,
    /// The codec of the stream.
    pub codec: Codec,
    /// The client's payload type for the codec.
    pub payload_type: u8,
    /// Id of the header extension for contributors' levels (RFC 6465), `1..=14`.
    pub levels_id: Option<u8>,
    /// Id of the MID header extension (RFC 9143), `1..=14`, and its value of at most 16 bytes.
    pub mid: Option<(u8, Box<[u8]>)>,
}

/// Counters of an outgoing RTP stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    /// Number of packets sent.
    pub packets: u64,
    /// Number of payload bytes sent.
    pub payload_bytes: u64,
    /// RTP time in the header of the last packet, and when the packet was sent.
    pub last: Option<(u32, Instant)>,
}

impl RtpSender {
    /// Builds a stream with random start values (RFC 3550, section 5.1). It sends nothing until a
    /// key is set.
    pub fn new(config: SendConfig) -> RtpSender {
        RtpSender {
            clock: Clock::new(config.codec),
            config,
            // The first sequence number is in the lower half of the range: a receiver that misses
            // the first packet must not see a wraparound.
            first: rand::random::<u16>() >> 1,
            encryptor: None,
            due: 0,
            sent: Sent::default(),
        }
    }

    /// The SSRC of the stream.
    pub fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    /// The packets and bytes sent so far.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Sets the key with which packets are encrypted from now on. Sequence numbers continue.
    ///
    /// Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// Returns an error if the key does not have the length of its profile.
    pub fn set_key(
        &mut self,
        crypto: &dyn RTCCrypto,
        key: &MasterKey<'_>,
    ) -> Result<(), CryptoError> {
        let first = self.next_sequence();
        self.encryptor = Some(Encryptor::new(crypto, key, self.config.ssrc, first)?);
        Ok(())
    }

    /// The sequence number of the next packet.
    pub fn next_sequence(&self) -> u16 {
        self.encryptor
            .as_ref()
            .map_or(self.first, Encryptor::next_sequence)
    }

    /// Returns the stream's RTP time at `now`, for sender reports; `None` if nothing was sent yet.
    pub fn time_at(&self, now: Instant) -> Option<u32> {
        let (time, at) = self.sent.last?;
        let since = now.saturating_duration_since(at);
        let hz = self.config.codec.clock_hz();
        let passed = since.as_nanos() * u128::from(hz) / 1_000_000_000;
        Some(time.wrapping_add(passed as u32))
    }

    /// Appends `packet` to `out`, encrypted; returns false if no key is set or the key may not be
    /// used again.
    ///
    /// Real-time: safe, once the buffer of `out` has grown to its usual size.
    pub fn write(
        &mut self,
        packet: &OutPacket,
        to: SocketAddr,
        now: Instant,
        out: &mut SendQueue,
    ) -> bool {
        let extensions = self.extensions(packet);
        let Some(encryptor) = &mut self.encryptor else {
            return false;
        };
        if skips_a_packet(self.due, packet) && self.sent.packets > 0 {
            encryptor.skip();
        }
        let time = self.clock.at(packet.time.0);
        let payload = packet.payload.as_slice();
        let header_bytes = FIXED_BYTES + 4 * packet.sources.ids().len() + extensions.length_bytes();
        let sealed_bytes = header_bytes + payload.len() + encryptor.tag_bytes();
        let datagram = out.begin(sealed_bytes);
        let header = Header {
            config: &self.config,
            sequence: encryptor.next_sequence(),
            time,
            extensions,
        };
        header.write(packet, &mut datagram[..header_bytes]);
        datagram[header_bytes..][..payload.len()].copy_from_slice(payload);
        if !encryptor.seal(datagram, header_bytes) {
            return false;
        }
        out.commit(to);
        let samples = self.config.codec.samples(payload).unwrap_or(0);
        self.due = packet.time.0.wrapping_add(samples as u32);
        self.sent.packets += 1;
        self.sent.payload_bytes += payload.len() as u64;
        self.sent.last = Some((time, now));
        true
    }

    fn extensions(&self, packet: &OutPacket) -> Extensions {
        let levels = packet.sources.levels().len();
        let mid = match &self.config.mid {
            Some((_, mid)) if self.sent.packets < MID_PACKETS => 1 + mid.len(),
            _ => 0,
        };
        Extensions {
            levels_bytes: match self.config.levels_id {
                Some(_) if levels > 0 => 1 + levels,
                _ => 0,
            },
            mid_bytes: mid,
        }
    }
}

/// Converts the room's media time, in 48 kHz samples, to the stream's RTP time, which has a random
/// offset (RFC 3550, section 5.1).
///
/// Only differences are converted: dividing a wrapping number would jump at its wraparound.
struct Clock {
    samples_per_unit: i32,
    /// The last converted media time, and the RTP time of the stream for it.
    last: u32,
    time: u32,
}

impl Clock {
    fn new(codec: Codec) -> Clock {
        Clock {
            samples_per_unit: codec.samples_per_unit() as i32,
            last: 0,
            time: rand::random(),
        }
    }

    /// Returns the stream's RTP time for a media time that is a multiple of 2.5 ms.
    fn at(&mut self, media: u32) -> u32 {
        let passed = media.wrapping_sub(self.last) as i32 / self.samples_per_unit;
        self.time = self.time.wrapping_add(passed as u32);
        self.last = media;
        self.time
    }
}

/// The header of one packet.
struct Header<'a> {
    config: &'a SendConfig,
    sequence: u16,
    time: u32,
    extensions: Extensions,
}

/// Lengths in bytes of a packet's header extensions, each with its one-byte header; 0 if absent.
#[derive(Clone, Copy)]
struct Extensions {
    levels_bytes: usize,
    mid_bytes: usize,
}

impl Extensions {
    /// Length in bytes of the extension block, padded to whole words.
    fn length_bytes(self) -> usize {
        match self.levels_bytes + self.mid_bytes {
            0 => 0,
            bytes => 4 + bytes.next_multiple_of(4),
        }
    }
}

impl Header<'_> {
    /// Writes the header into `header`, which has the right length and contains only zeroes.
    fn write(&self, packet: &OutPacket, header: &mut [u8]) {
        let sources = packet.sources.ids();
        let extension_bytes = self.extensions.length_bytes();
        let extended = u8::from(extension_bytes > 0);
        header[0] = VERSION | extended << 4 | sources.len() as u8;
        header[1] = u8::from(packet.marker) << 7 | self.config.payload_type;
        header[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        header[4..8].copy_from_slice(&self.time.to_be_bytes());
        header[8..12].copy_from_slice(&self.config.ssrc.to_be_bytes());
        let (list, block) = header[FIXED_BYTES..].split_at_mut(4 * sources.len());
        for (word, source) in list.chunks_exact_mut(4).zip(sources) {
            word.copy_from_slice(&source.to_be_bytes());
        }
        if extension_bytes == 0 {
            return;
        }
        block[..2].copy_from_slice(&ONE_BYTE_PROFILE);
        block[2..4].copy_from_slice(&((extension_bytes / 4 - 1) as u16).to_be_bytes());
        let (levels, rest) = block[4..].split_at_mut(self.extensions.levels_bytes);
        if let (Some(id), [first, values @ ..]) = (self.config.levels_id, levels) {
            *first = id << 4 | (values.len() - 1) as u8;
            values.copy_from_slice(packet.sources.levels());
        }
        let mid = &mut rest[..self.extensions.mid_bytes];
        if let (Some((id, value)), [first, bytes @ ..]) = (&self.config.mid, mid) {
            *first = id << 4 | (bytes.len() - 1) as u8;
            bytes.copy_from_slice(value);
        }
    }
}

/// Whether audio is missing between media time `due` and `packet` within a talk-spurt, because the
/// room skipped a tick. At the start of a talk-spurt nothing is missing, because a room may shift
/// its time grid in a pause.
///
/// To a receiver, a gap in RTP time alone means that nobody talked, and it plays silence or noise.
/// If a sequence number is missing as well, the gap means loss, and the receiver conceals it.
fn skips_a_packet(due: u32, packet: &OutPacket) -> bool {
    let missing = packet.time.0.wrapping_sub(due);
    let sounds = !packet.sources.ids().is_empty();
    sounds && !packet.marker && (1..=MAX_CONCEALED_SAMPLES).contains(&missing)
}

/// Longest gap that is marked as loss, in samples: receivers do not conceal longer gaps. It is also
/// half the interval at which a silent stream is refreshed.
const MAX_CONCEALED_SAMPLES: u32 =
    (Duration::from_millis(200).as_millis() as u32) * (SAMPLE_RATE_HZ / 1_000);

/// RTP version 2, in the upper two bits of the first byte.
const VERSION: u8 = 2 << 6;

/// Packets that carry the MID extension: those of the first second. After that the receiver knows
/// the SSRC (RFC 9143, section 9.2), and the bytes are saved.
const MID_PACKETS: u64 = 50;

#[cfg(test)]
mod tests;
