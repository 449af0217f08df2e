//! One client's outgoing RTP stream: sequence numbers, the clock's offset and the header (RFC 3550, 5.1), written and
//! encrypted where the datagram is sent from.
//!
//! One payload goes to many clients; what differs is this, and it is all that is done per client.

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
    /// The next sequence number until there are keys; the encryptor counts from then on.
    first: u16,
    clock: Clock,
    encryptor: Option<Encryptor>,
    /// Media time at which the last packet ends.
    due: u32,
    sent: Sent,
}

/// What a stream is made of.
#[derive(Debug, Clone, Default)]
pub struct SendConfig {
    /// The source.
    pub ssrc: u32,
    /// What is sent.
    pub codec: Codec,
    /// What the client calls it.
    pub payload_type: u8,
    /// Header extension for the levels of the sources (RFC 6465), `1..=14`.
    pub levels_id: Option<u8>,
    /// Header extension for the section's identifier (RFC 9143), `1..=14`, and its value of at most 16 bytes.
    pub mid: Option<(u8, Box<[u8]>)>,
}

/// What a stream has sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Their payload.
    pub payload_bytes: u64,
    /// RTP time of the last one as it stood in its header, and when it was sent.
    pub last: Option<(u32, Instant)>,
}

impl RtpSender {
    /// A stream with random start, as RFC 3550, 5.1, wants it. It sends nothing before it has keys.
    pub fn new(config: SendConfig) -> RtpSender {
        RtpSender {
            clock: Clock::new(config.codec),
            config,
            // The lower half: a receiver that starts with the second packet must not take it for a wrap.
            first: rand::random::<u16>() >> 1,
            encryptor: None,
            due: 0,
            sent: Sent::default(),
        }
    }

    /// The source.
    pub fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    /// What was sent.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Encrypts with this key from now on. The numbering goes on.
    ///
    /// Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// When the key has not the length of its profile.
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

    /// RTP time of this moment, if anything was sent.
    pub fn time_at(&self, now: Instant) -> Option<u32> {
        let (time, at) = self.sent.last?;
        let since = now.saturating_duration_since(at);
        let hz = self.config.codec.clock_hz();
        let passed = since.as_nanos() * u128::from(hz) / 1_000_000_000;
        Some(time.wrapping_add(passed as u32))
    }

    /// Adds the next packet to `out`, encrypted; says whether there are keys for it.
    ///
    /// Real-time: safe once `out` has its memory.
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

/// From the room's media time, 48 kHz, to that of the stream, which begins anywhere (RFC 3550, 5.1).
///
/// It goes by what has passed: a quotient of a number that wraps would jump where it does.
struct Clock {
    samples_per_unit: i32,
    /// The last media time, and what it was in the stream.
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

    /// The stream's time at a media time, which is a multiple of 2.5 ms.
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

/// Which extensions a packet has, by their length with the byte in front; 0 for none.
#[derive(Clone, Copy)]
struct Extensions {
    levels_bytes: usize,
    mid_bytes: usize,
}

impl Extensions {
    /// Bytes of the whole block, filled up to a word.
    fn length_bytes(self) -> usize {
        match self.levels_bytes + self.mid_bytes {
            0 => 0,
            bytes => 4 + bytes.next_multiple_of(4),
        }
    }
}

impl Header<'_> {
    /// Fills `header`, which is as long as it takes, and all zeroes.
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

/// Whether sound is missing between what ended at `due` and `packet`, within one talk-spurt: a tick was left out. In a
/// pause nothing is missing: the room has moved.
///
/// A gap in time alone says that nobody talked, and a receiver plays silence or noise over it. With one sequence number
/// missing as well it says that something was lost, and the receiver conceals it.
fn skips_a_packet(due: u32, packet: &OutPacket) -> bool {
    let missing = packet.time.0.wrapping_sub(due);
    let sounds = !packet.sources.ids().is_empty();
    sounds && !packet.marker && (1..=MAX_CONCEALED_SAMPLES).contains(&missing)
}

/// Longer than this no receiver conceals; it is also half the pause between two refreshes of a silent stream.
const MAX_CONCEALED_SAMPLES: u32 =
    (Duration::from_millis(200).as_millis() as u32) * (SAMPLE_RATE_HZ / 1_000);

/// RTP version 2.
const VERSION: u8 = 2 << 6;

/// Packets that carry the section's identifier: the first second. After that the receiver knows the source
/// (RFC 9143, 9.2), and the bytes are saved.
const MID_PACKETS: u64 = 50;

#[cfg(test)]
mod tests;
