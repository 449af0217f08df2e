//! One client's outgoing RTP stream: sequence numbers, the clock's offset and the header (RFC 3550, 5.1).

use bytes::Bytes;
use mixer::packet::OutPacket;
use rtc::rtp;
use rtc::rtp::header::Extension;

/// State of the stream.
#[derive(Debug)]
pub(super) struct Sending {
    ssrc: u32,
    seq: u16,
    offset: u32,
    payload_type: u8,
    /// RFC 6465.
    levels_id: Option<u8>,
    /// RFC 9143: identifier and value.
    mid: Option<(u8, Bytes)>,
    sent: u32,
}

impl Sending {
    /// A stream with random start, as RFC 3550, 5.1, wants it.
    pub(super) fn new(
        ssrc: u32,
        payload_type: u8,
        levels_id: Option<u8>,
        mid: Option<(u8, Bytes)>,
    ) -> Sending {
        Sending {
            ssrc,
            // The lower half: a receiver that starts with the second packet must not take it for a wrap.
            seq: rand::random::<u16>() >> 1,
            offset: rand::random(),
            payload_type,
            levels_id,
            mid,
            sent: 0,
        }
    }

    /// The source.
    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The next packet of the stream.
    pub(super) fn packet(&mut self, packet: &OutPacket) -> rtp::Packet {
        let mut extensions = Vec::new();
        let sources = packet.sources.ids();
        if let (Some(id), false) = (self.levels_id, sources.is_empty()) {
            let payload = Bytes::copy_from_slice(packet.sources.levels());
            extensions.push(Extension { id, payload });
        }
        if let (Some((id, mid)), true) = (&self.mid, self.sent < MID_PACKETS) {
            let (id, payload) = (*id, mid.clone());
            extensions.push(Extension { id, payload });
        }
        let header = rtp::Header {
            version: 2,
            extension: !extensions.is_empty(),
            marker: packet.marker,
            payload_type: self.payload_type,
            sequence_number: self.seq,
            timestamp: packet.time.plus(self.offset).0,
            ssrc: self.ssrc,
            csrc: sources.to_vec(),
            extension_profile: ONE_BYTE_PROFILE,
            extensions_padding: padding_of(&extensions),
            extensions,
            ..rtp::Header::default()
        };
        self.seq = self.seq.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        rtp::Packet {
            header,
            payload: Bytes::copy_from_slice(packet.payload.as_slice()),
        }
    }
}

/// Bytes that fill the extension block up to a word.
fn padding_of(extensions: &[Extension]) -> usize {
    let bytes: usize = extensions
        .iter()
        .map(|extension| 1 + extension.payload.len())
        .sum();
    bytes.next_multiple_of(4) - bytes
}

/// RFC 8285, 4.2.
const ONE_BYTE_PROFILE: u16 = 0xbede;

/// Packets that carry the section's identifier: the first second. After that the receiver knows the source
/// (RFC 9143, 9.2), and the bytes are saved.
const MID_PACKETS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use mixer::packet::{Payload, Sources};
    use mixer::{Level, ParticipantId, RtpTime};
    use rtc::shared::marshal::{Marshal, Unmarshal};

    fn packet(time: u32, sources: &[(u32, u8)]) -> OutPacket {
        let mut list = Sources::default();
        for (id, level) in sources {
            assert!(list.push(ParticipantId(*id), Level::from_wire(*level)));
        }
        OutPacket {
            time: RtpTime(time),
            marker: time == 0,
            sources: list,
            payload: Payload::copy_from(&[5; 30]).expect("fits"),
        }
    }

    #[test]
    fn numbers_packets_and_names_sources() {
        let mut sending = Sending::new(42, 109, Some(2), Some((4, Bytes::from_static(b"audio"))));
        let first = sending.packet(&packet(0, &[(7, 20), (8, 40), (9, 127)]));
        let second = sending.packet(&packet(960, &[]));
        assert_eq!(
            second.header.sequence_number,
            first.header.sequence_number.wrapping_add(1)
        );
        assert_eq!(
            second.header.timestamp.wrapping_sub(first.header.timestamp),
            960
        );
        let wire = first.marshal().expect("marshalled").freeze();
        let read = rtp::Packet::unmarshal(&mut wire.clone()).expect("read back");
        assert_eq!(read.header.csrc, [7, 8, 9]);
        assert_eq!(
            read.header.get_extension(2).as_deref(),
            Some(&[20, 40, 127][..])
        );
        assert_eq!(read.header.get_extension(4).as_deref(), Some(&b"audio"[..]));
        assert!(read.header.marker);
        assert_eq!((read.header.ssrc, read.header.payload_type), (42, 109));
        assert_eq!(read.payload.as_ref(), [5; 30]);
    }

    #[test]
    fn fifteen_sources_fit_and_the_mid_ends() {
        let mut sending = Sending::new(42, 111, Some(2), Some((4, Bytes::from_static(b"0"))));
        let sources: Vec<(u32, u8)> = (1..=15).map(|id| (id, 10)).collect();
        for number in 0..=MID_PACKETS {
            let wire = sending
                .packet(&packet(number, &sources))
                .marshal()
                .expect("marshalled")
                .freeze();
            let read = rtp::Packet::unmarshal(&mut wire.clone()).expect("read back");
            assert_eq!(
                read.header.get_extension(2).map(|levels| levels.len()),
                Some(15)
            );
            assert_eq!(read.header.get_extension(4).is_some(), number < MID_PACKETS);
            assert_eq!(read.payload.len(), 30);
        }
    }
}
