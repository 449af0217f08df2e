//! Classifies datagrams by their bytes alone (RFC 7983), and reads the fields that routing needs
//! before decryption.
//!
//! Pure functions over hostile input: they neither panic nor allocate, and are linear in the
//! datagram's length.

/// The protocol of a received datagram, with the fields that routing needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol<'a> {
    /// A connectivity check or its answer.
    Stun(StunHead<'a>),
    /// One or more DTLS records.
    Dtls,
    /// An RTP packet.
    Rtp {
        /// SSRC of the sender, not authenticated yet.
        ssrc: u32,
    },
    /// An RTCP packet, told from RTP as RFC 5761 defines.
    Rtcp {
        /// SSRC of the sender, not authenticated yet.
        ssrc: u32,
    },
}

/// The kinds of STUN message that ICE uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunClass {
    /// A Binding request: a connectivity check.
    Request,
    /// A Binding success response: the answer to a connectivity check.
    Success,
    /// A Binding error response.
    Error,
}

/// The fields of a STUN message that routing needs (RFC 8489, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StunHead<'a> {
    /// Whether the message is a request or an answer.
    pub class: StunClass,
    /// Transaction id.
    pub transaction: [u8; 12],
    /// The two halves of the user name: the receiver's user fragment, then the sender's (RFC 8445,
    /// section 7.2.2).
    pub username: Option<(&'a [u8], &'a [u8])>,
    /// Whether the message has USE-CANDIDATE, with which the sender nominates this pair.
    pub nominates: bool,
}

/// Classifies `datagram`; `None` if no WebRTC client sends such bytes, or if a length field is
/// wrong.
pub fn classify(datagram: &[u8]) -> Option<Protocol<'_>> {
    match *datagram.first()? {
        0..=3 => stun_head(datagram).map(Protocol::Stun),
        20..=63 if datagram.len() >= DTLS_HEADER_BYTES => Some(Protocol::Dtls),
        128..=191 => media(datagram),
        _ => None,
    }
}

/// Reads the header and the relevant attributes of a STUN Binding message.
///
/// `None` for other methods, indications, wrong lengths, a user name without two halves, and
/// attributes after MESSAGE-INTEGRITY, which does not cover them (RFC 8489, section 14.5).
pub fn stun_head(datagram: &[u8]) -> Option<StunHead<'_>> {
    let header = datagram.first_chunk::<STUN_HEADER_BYTES>()?;
    let declared = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[4..8] != STUN_COOKIE
        || declared != datagram.len() - STUN_HEADER_BYTES
        || declared % 4 != 0
    {
        return None;
    }
    let mut head = StunHead {
        class: match u16::from_be_bytes([header[0], header[1]]) {
            0x0001 => StunClass::Request,
            0x0101 => StunClass::Success,
            0x0111 => StunClass::Error,
            _ => return None,
        },
        transaction: *header[8..].first_chunk()?,
        username: None,
        nominates: false,
    };
    let mut sealed = false;
    let mut rest = &datagram[STUN_HEADER_BYTES..];
    while let Some((attribute, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([attribute[2], attribute[3]]));
        let value = tail.get(..length)?;
        match u16::from_be_bytes([attribute[0], attribute[1]]) {
            ATTRIBUTE_INTEGRITY | ATTRIBUTE_INTEGRITY_SHA256 => sealed = true,
            ATTRIBUTE_FINGERPRINT => {}
            // MESSAGE-INTEGRITY does not cover later attributes, but the WebRTC core would accept
            // them.
            _ if sealed => return None,
            ATTRIBUTE_USERNAME if head.username.is_none() => {
                let colon = value.iter().position(|&byte| byte == b':')?;
                head.username = Some((&value[..colon], &value[colon + 1..]));
            }
            ATTRIBUTE_USE_CANDIDATE => head.nominates = true,
            _ => {}
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    Some(head)
}

/// Whether a DTLS datagram can only do harm, so that the WebRTC core must not get it.
///
/// True for records with wrong lengths, for plaintext alerts and for a ClientHello that offers no
/// encrypting cipher suite: an attacker could end another client's handshake with the latter two. A
/// peer whose alert is ignored is removed by its timer.
pub fn is_hostile_dtls(datagram: &[u8]) -> bool {
    records(datagram).any(|record| match record {
        None => true,
        Some(record) => match record.content {
            DTLS_ALERT => record.plaintext,
            DTLS_HANDSHAKE => record.plaintext && is_null_hello(record.body),
            _ => false,
        },
    })
}

/// Returns the type of the first handshake message (RFC 5246, section 7.4) of each record of a DTLS
/// datagram; `None` for a record that is encrypted or is not a handshake record.
pub fn handshake_types(datagram: &[u8]) -> impl Iterator<Item = Option<u8>> {
    records(datagram).map(|record| {
        let record = record.filter(|it| it.content == DTLS_HANDSHAKE && it.plaintext)?;
        record.body.first().copied()
    })
}

/// Whether all records of a DTLS datagram belong to a handshake, encrypted or not.
pub fn is_handshake(datagram: &[u8]) -> bool {
    let belongs =
        |record: Record<'_>| matches!(record.content, DTLS_CHANGE_CIPHER_SPEC | DTLS_HANDSHAKE);
    records(datagram).all(|record| record.is_some_and(belongs))
}

/// A DTLS record (RFC 6347, section 4.1).
struct Record<'a> {
    content: u8,
    plaintext: bool,
    body: &'a [u8],
}

/// Iterates over the records of a datagram. A record with a wrong length yields `None` and ends the
/// iteration.
fn records(datagram: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let left = std::mem::take(&mut rest);
        if left.is_empty() {
            return None;
        }
        Some(
            left.split_first_chunk::<DTLS_HEADER_BYTES>()
                .and_then(|(header, tail)| {
                    let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
                    let (body, after) = tail.split_at_checked(length)?;
                    rest = after;
                    Some(Record {
                        content: header[0],
                        plaintext: header[3..5] == [0, 0],
                        body,
                    })
                }),
        )
    })
}

fn media(datagram: &[u8]) -> Option<Protocol<'_>> {
    let word = |at: usize| {
        let bytes = datagram.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes))
    };
    if (192..=223).contains(datagram.get(1)?) {
        let ssrc = word(4)?;
        return (datagram.len() >= MIN_SRTCP_BYTES).then_some(Protocol::Rtcp { ssrc });
    }
    let ssrc = word(8)?;
    let first = datagram[0];
    let mut header = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        header += 4 + 4 * usize::from(word(header)? as u16);
    }
    (datagram.len() >= header + MIN_SRTP_TAG_BYTES).then_some(Protocol::Rtp { ssrc })
}

/// Whether an unfragmented ClientHello offers only null ciphers (RFC 6347, sections 4.2.2 and
/// 4.3.2).
fn is_null_hello(record: &[u8]) -> bool {
    let suites = || {
        if *record.first()? != 1 || record.get(6..9)? != [0, 0, 0] {
            return None;
        }
        let after_random = record.get(12 + 2 + 32..)?;
        let (&session, rest) = after_random.split_first()?;
        let (&cookie, rest) = rest.get(usize::from(session)..)?.split_first()?;
        let (length, rest) = rest.get(usize::from(cookie)..)?.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    };
    suites().is_some_and(|suites| {
        suites
            .chunks_exact(2)
            .all(|suite| NULL_SUITES.contains(&[suite[0], suite[1]]))
    })
}

const STUN_HEADER_BYTES: usize = 20;
const STUN_COOKIE: [u8; 4] = 0x2112_a442u32.to_be_bytes();
const ATTRIBUTE_USERNAME: u16 = 0x0006;
const ATTRIBUTE_INTEGRITY: u16 = 0x0008;
const ATTRIBUTE_INTEGRITY_SHA256: u16 = 0x001c;
const ATTRIBUTE_USE_CANDIDATE: u16 = 0x0025;
const ATTRIBUTE_FINGERPRINT: u16 = 0x8028;

const DTLS_HEADER_BYTES: usize = 13;
const DTLS_CHANGE_CIPHER_SPEC: u8 = 20;
const DTLS_ALERT: u8 = 21;
const DTLS_HANDSHAKE: u8 = 22;

/// Shortest SRTCP packet in bytes: header, sender, index and the shortest tag (RFC 3711, section
/// 3.4).
const MIN_SRTCP_BYTES: usize = 8 + 4 + MIN_SRTP_TAG_BYTES;

/// Tag of AES_CM_128_HMAC_SHA1_32, the shortest of any profile, in bytes.
const MIN_SRTP_TAG_BYTES: usize = 4;

/// The cipher suites without encryption, and the two signalling values that are not cipher suites.
const NULL_SUITES: [[u8; 2]; 6] = [[0, 0], [0, 1], [0, 2], [0, 0x3b], [0, 0xff], [0x56, 0]];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binding(typ: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (typ, value) in attributes {
            body.extend(typ.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = typ.to_be_bytes().to_vec();
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(STUN_COOKIE);
        message.extend([7; 12]);
        message.extend(body);
        message
    }

    #[test]
    fn demux_reads_class_transaction_user_name_and_nomination_of_a_connectivity_check() {
        let message = binding(
            1,
            &[(0x0006, b"ours:theirs"), (0x0025, b""), (0x0008, &[0; 20])],
        );
        let Some(Protocol::Stun(head)) = classify(&message) else {
            panic!("STUN");
        };
        assert_eq!(head.class, StunClass::Request);
        assert_eq!(head.transaction, [7; 12]);
        assert_eq!(head.username, Some((&b"ours"[..], &b"theirs"[..])));
        assert!(head.nominates);
    }

    #[test]
    fn demux_rejects_stun_attributes_after_message_integrity() {
        let integrity = (0x0008, &[0; 20][..]);
        let fingerprint = (0x8028, &[0; 4][..]);
        assert!(stun_head(&binding(1, &[integrity, fingerprint])).is_some());
        for attribute in [
            (0x0006, &b"ours:theirs"[..]),
            (0x0025, &[]),
            (0x8029, &[0; 8]),
        ] {
            assert_eq!(stun_head(&binding(1, &[integrity, attribute])), None);
        }
    }

    #[test]
    fn demux_rejects_stun_messages_other_than_checks_and_answers_and_wrong_lengths() {
        assert_eq!(stun_head(&binding(0x0011, &[])), None, "indication");
        assert_eq!(stun_head(&binding(0x0003, &[])), None, "allocate");
        assert_eq!(stun_head(&binding(1, &[(0x0006, b"no colon")])), None);
        let mut lying = binding(1, &[(0x0006, b"a:b")]);
        lying[3] += 4;
        assert_eq!(stun_head(&lying), None);
        let mut lying = binding(1, &[(0x0006, b"a:b")]);
        lying[23] = 200;
        assert_eq!(stun_head(&lying), None);
    }

    #[test]
    fn demux_distinguishes_rtp_from_rtcp_and_checks_lengths() {
        let mut rtp = vec![0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0];
        assert_eq!(classify(&rtp), Some(Protocol::Rtp { ssrc: 9 }));
        rtp[0] = 0x8f;
        assert_eq!(classify(&rtp), None, "fifteen sources in four bytes");
        rtp[0] = 0x90;
        assert_eq!(classify(&rtp), None, "no room for an extension and a tag");
        let mut rtcp = vec![0x80, 200, 0, 6, 0, 0, 0, 5];
        assert_eq!(classify(&rtcp), None);
        rtcp.resize(28, 0);
        assert_eq!(classify(&rtcp), Some(Protocol::Rtcp { ssrc: 5 }));
        for first in [4, 19, 64, 127, 192, 255] {
            assert_eq!(classify(&[first; 40]), None);
        }
    }

    fn record(typ: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![typ, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    fn hello(suites: &[[u8; 2]]) -> Vec<u8> {
        let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xfd];
        body.extend([9; 32]);
        body.extend([0, 0]);
        body.extend((2 * suites.len() as u16).to_be_bytes());
        body.extend(suites.concat());
        body.extend([1, 0]);
        record(22, 0, &body)
    }

    #[test]
    fn demux_reads_handshake_types_of_each_dtls_record() {
        let types = |datagram: &[u8]| handshake_types(datagram).collect::<Vec<_>>();
        let mut flight = record(22, 0, &[11, 0, 0, 0]);
        flight.extend(record(20, 0, &[1]));
        flight.extend(record(22, 1, &[20; 40]));
        assert_eq!(types(&flight), [Some(11), None, None]);
        assert!(is_handshake(&flight) && !is_handshake(&record(23, 1, &[0; 40])));
        flight.truncate(20);
        assert_eq!(types(&flight), [Some(11), None], "and no more of it");
        assert!(!is_handshake(&flight));
        assert_eq!(types(&[]), []);
        assert_eq!(types(&record(22, 0, &[])), [None]);
    }

    #[test]
    fn demux_detects_hostile_dtls() {
        assert!(is_hostile_dtls(&record(21, 0, &[2, 40])), "plaintext alert");
        assert!(
            !is_hostile_dtls(&record(21, 1, &[0; 26])),
            "encrypted alert"
        );
        assert!(is_hostile_dtls(&hello(&[[0, 0]])), "null hello");
        assert!(is_hostile_dtls(&hello(&[[0, 0], [0, 0xff]])));
        assert!(!is_hostile_dtls(&hello(&[[0, 0], [0xc0, 0x2b]])));
        let mut second = hello(&[[0xc0, 0x2b]]);
        second.extend(record(21, 0, &[1, 0]));
        assert!(is_hostile_dtls(&second), "an alert behind a hello");
        let mut lying = record(22, 0, &[0; 8]);
        lying[12] = 9;
        assert!(is_hostile_dtls(&lying));
    }

    proptest! {
        #[test]
        fn demux_never_panics_on_any_datagram(datagram in proptest::collection::vec(any::<u8>(), 0..200), first in 0u8..=255) {
            let mut datagram = datagram;
            let _ = classify(&datagram);
            let _ = is_hostile_dtls(&datagram);
            let _ = handshake_types(&datagram).count();
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            if datagram.len() >= 8 && first < 4 {
                let length = (datagram.len().saturating_sub(20)) as u16;
                datagram[2..4].copy_from_slice(&length.to_be_bytes());
                datagram[4..8].copy_from_slice(&STUN_COOKIE);
            }
            let _ = classify(&datagram);
            let _ = is_hostile_dtls(&datagram);
        }

        #[test]
        fn dtls_check_never_panics_on_a_damaged_client_hello(at in 0usize..70, byte in any::<u8>(), keep in 0usize..80) {
            let mut hello = hello(&[[0, 0], [0xc0, 0x2b]]);
            if let Some(target) = hello.get_mut(at) {
                *target = byte;
            }
            hello.truncate(keep);
            let _ = is_hostile_dtls(&hello);
        }
    }
}
