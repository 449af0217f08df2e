//! Parses an RTP header without copying it (RFC 3550, section 5.1; RFC 8285, section 4).
//!
//! Pure functions over hostile input: they neither panic nor allocate.

/// The fixed fields of an RTP header, and the offset of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtpHeader {
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) time: u32,
    pub(super) ssrc: u32,
    /// Length of the whole header in bytes, including CSRCs and extensions.
    pub(super) length_bytes: usize,
    sources_bytes: usize,
    has_extensions: bool,
    has_padding: bool,
}

impl RtpHeader {
    /// Reads the header of a datagram; `None` if the datagram is shorter than its header.
    pub(super) fn read(datagram: &[u8]) -> Option<RtpHeader> {
        let fixed = datagram.first_chunk::<FIXED_BYTES>()?;
        let sources_bytes = 4 * usize::from(fixed[0] & 0x0f);
        let has_extensions = fixed[0] & 0x10 != 0;
        let mut length_bytes = FIXED_BYTES + sources_bytes;
        if has_extensions {
            let head = datagram.get(length_bytes..)?.first_chunk::<4>()?;
            length_bytes += 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        }
        let word = |at: usize| {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        (length_bytes <= datagram.len()).then_some(RtpHeader {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            time: word(4),
            ssrc: word(8),
            length_bytes,
            sources_bytes,
            has_extensions,
            has_padding: fixed[0] & 0x20 != 0,
        })
    }

    /// Returns the payload of a decrypted packet, whose tag has been cut off; `None` if the padding
    /// is longer than the payload.
    pub(super) fn payload<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let payload = packet.get(self.length_bytes..)?;
        if !self.has_padding {
            return Some(payload);
        }
        let padding = usize::from(*payload.last()?);
        payload.get(..payload.len().checked_sub(padding.max(1))?)
    }

    /// Returns the value of header extension `id`, in the one-byte or two-byte form; `None` if
    /// absent.
    pub(super) fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        if !self.has_extensions {
            return None;
        }
        let block = packet.get(FIXED_BYTES + self.sources_bytes..self.length_bytes)?;
        let (profile, mut rest) = block.split_first_chunk::<4>()?;
        let one_byte = match [profile[0], profile[1]] {
            ONE_BYTE_PROFILE => true,
            [0x10, bits] if bits & 0xf0 == 0 => false,
            _ => return None,
        };
        while let Some((&first, tail)) = rest.split_first() {
            if first == 0 {
                rest = tail;
                continue;
            }
            let (found, length, tail) = match one_byte {
                true if first >> 4 == 15 => return None,
                true => (first >> 4, usize::from(first & 0x0f) + 1, tail),
                false => {
                    let (&length, tail) = tail.split_first()?;
                    (first, usize::from(length), tail)
                }
            };
            let (value, tail) = tail.split_at_checked(length)?;
            if found == id {
                return Some(value);
            }
            rest = tail;
        }
        None
    }
}

/// Profile of the one-byte form of extensions (RFC 8285, section 4.2).
pub(super) const ONE_BYTE_PROFILE: [u8; 2] = [0xbe, 0xde];

/// Length in bytes of a header without CSRCs and extensions.
pub(super) const FIXED_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtc::rtp::header::{Extension, Header};
    use rtc::rtp::packet::Packet;
    use rtc::shared::marshal::Marshal;

    fn packet(profile: u16, extensions: Vec<(u8, Vec<u8>)>) -> Vec<u8> {
        let header = Header {
            version: 2,
            marker: true,
            payload_type: 109,
            sequence_number: 0x1234,
            timestamp: 0x5678_9abc,
            ssrc: 7,
            csrc: vec![1, 2],
            extension: true,
            extension_profile: profile,
            extensions: extensions
                .into_iter()
                .map(|(id, payload)| Extension {
                    id,
                    payload: payload.into(),
                })
                .collect(),
            ..Header::default()
        };
        let packet = Packet {
            header,
            payload: vec![9; 20].into(),
        };
        packet.marshal().expect("marshalled").to_vec()
    }

    #[test]
    fn rtp_header_reads_both_forms_of_extensions() {
        for (profile, long) in [(0xbede, 1), (0x1000, 0)] {
            let wire = packet(profile, vec![(3, vec![1; 2 * long + 1]), (5, vec![0x85])]);
            let head = RtpHeader::read(&wire).expect("read");
            assert!(head.marker);
            assert_eq!((head.payload_type, head.sequence), (109, 0x1234));
            assert_eq!((head.time, head.ssrc), (0x5678_9abc, 7));
            assert_eq!(head.extension(&wire, 5), Some(&[0x85][..]), "{profile:x}");
            assert_eq!(head.extension(&wire, 6), None);
            assert_eq!(head.payload(&wire), Some(&[9; 20][..]));
        }
    }

    #[test]
    fn rtp_padding_is_not_part_of_the_payload() {
        let mut wire = packet(0xbede, vec![(5, vec![1])]);
        wire[0] |= 0x20;
        *wire.last_mut().expect("bytes") = 4;
        let head = RtpHeader::read(&wire).expect("read");
        assert_eq!(head.payload(&wire), Some(&[9; 16][..]));
        *wire.last_mut().expect("bytes") = 21;
        assert_eq!(head.payload(&wire), None);
    }

    proptest! {
        #[test]
        fn rtp_header_reader_never_panics_on_any_datagram(datagram in proptest::collection::vec(any::<u8>(), 0..80), first in 0x80u8..=0xbf) {
            let mut datagram = datagram;
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            if let Some(head) = RtpHeader::read(&datagram) {
                let _ = head.extension(&datagram, 5);
                let _ = head.payload(&datagram);
                let _ = head.payload(&datagram[..head.length_bytes]);
            }
        }
    }
}
