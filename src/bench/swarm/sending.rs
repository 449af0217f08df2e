//! A client's outgoing stream: the packets of a sound, at their times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::rtp;
use rtc::rtp::header::Extension;

use super::sources::Sound;

/// A client's outgoing stream: its position in the sound, and when the next packet is due.
pub(super) struct Sending {
    sound: Arc<Sound>,
    at: usize,
    ssrc: u32,
    seq: u16,
    time: u32,
    marker: bool,
    level_id: Option<u8>,
    next: Instant,
}

impl Sending {
    /// Creates a stream whose first packet, due at `start`, is frame `at` of `sound`, or the next
    /// frame that is sent at all.
    pub(super) fn new(
        sound: Arc<Sound>,
        at: usize,
        ssrc: u32,
        level_id: Option<u8>,
        start: Instant,
    ) -> Sending {
        let first = match sound.frames.get(at) {
            Some(Some(_)) => at,
            _ => (at + sound.next_after(at)) % sound.len(),
        };
        Sending {
            sound,
            at: first,
            ssrc,
            seq: rand::random::<u16>() >> 1,
            time: rand::random(),
            marker: true,
            level_id,
            next: start,
        }
    }

    /// Returns when the next packet is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Returns the packet that is due, and how late it is.
    ///
    /// After a long stall of the machine, packets that would arrive too late to be played are
    /// skipped, as a sound card's buffer would do.
    pub(super) fn packet(&mut self, now: Instant) -> (rtp::Packet, Duration) {
        let late = now.saturating_duration_since(self.next);
        while now.saturating_duration_since(self.next) > GIVE_UP {
            self.advance();
        }
        let frame = self.sound.frames[self.at]
            .clone()
            .expect("only frames that there are, are stepped to");
        let mut header = rtp::Header {
            version: 2,
            marker: self.marker,
            payload_type: PAYLOAD_TYPE,
            sequence_number: self.seq,
            timestamp: self.time,
            ssrc: self.ssrc,
            ..rtp::Header::default()
        };
        if let (Some(id), Some(level)) = (self.level_id, frame.level) {
            header.extension = true;
            header.extension_profile = ONE_BYTE_PROFILE;
            header.extensions = vec![Extension {
                id,
                payload: Bytes::copy_from_slice(&[level]),
            }];
            header.extensions_padding = 2;
        }
        self.seq = self.seq.wrapping_add(1);
        self.advance();
        let packet = rtp::Packet {
            header,
            payload: frame.payload,
        };
        (packet, late)
    }

    fn advance(&mut self) {
        let frames = self.sound.next_after(self.at);
        self.at = (self.at + frames) % self.sound.len();
        self.time = self.time.wrapping_add(960 * frames as u32);
        self.next += FRAME_TIME * frames as u32;
        self.marker = frames > 1;
    }
}

/// The payload type that browsers use for Opus, and that the offers of the swarm name.
pub(super) const PAYLOAD_TYPE: u8 = 111;

/// The duration of a frame.
pub(super) const FRAME_TIME: Duration = Duration::from_millis(20);

/// The profile of one-byte header extensions (RFC 8285, 4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;

const GIVE_UP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::super::sources::Frame;
    use super::*;

    #[test]
    fn outgoing_rtp_keeps_pauses_and_sets_the_marker_on_the_first_packet_after_a_pause() {
        let frame = |byte: u8| {
            Some(Frame {
                payload: Bytes::copy_from_slice(&[byte]),
                level: Some(30),
            })
        };
        let sound = Arc::new(Sound {
            frames: vec![None, frame(1), frame(2), None, None],
        });
        let start = Instant::now();
        let mut sending = Sending::new(sound, 0, 9, Some(3), start);
        let (first, late) = sending.packet(start + Duration::from_millis(4));
        assert_eq!(late, Duration::from_millis(4));
        assert_eq!((first.payload[0], first.header.marker), (1, true));
        assert_eq!(first.header.get_extension(3).as_deref(), Some(&[30][..]));
        let (second, _) = sending.packet(sending.next());
        assert_eq!((second.payload[0], second.header.marker), (2, false));
        let (third, _) = sending.packet(sending.next());
        assert_eq!((third.payload[0], third.header.marker), (1, true));
        let time = third.header.timestamp.wrapping_sub(first.header.timestamp);
        assert_eq!(time, 5 * 960);
        assert_eq!(
            third.header.sequence_number,
            first.header.sequence_number.wrapping_add(2)
        );
        let (_, late) = sending.packet(start + Duration::from_secs(5));
        assert!(late > Duration::from_secs(4));
        assert!(sending.next() > start + Duration::from_millis(4_500));
    }
}
