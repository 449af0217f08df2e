//! Authenticates connectivity checks (RFC 8445, section 7.3; RFC 8489, section 9.1) before the core
//! sees them.
//!
//! The core authenticates checks too, but not completely and not first: it acts on a role conflict
//! before it checks the password. So the core gets only checks that were authenticated by this
//! module, and the peer knows the result.

use std::net::SocketAddr;

use rtc::crypto::RTCCrypto;
use rtc::stun::attributes::{ATTR_FINGERPRINT, ATTR_MESSAGE_INTEGRITY, ATTR_USE_CANDIDATE};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use rtc::stun::xoraddr::XorMappedAddress;

/// Whether the MESSAGE-INTEGRITY of `datagram` matches `password`.
pub fn is_authentic(datagram: &[u8], password: &str, crypto: &dyn RTCCrypto) -> bool {
    decoded(datagram).is_some_and(|mut message| {
        MessageIntegrity::check(&mut message, password.as_bytes(), crypto).is_ok()
    })
}

/// Rebuilds a check without its nomination and signs it with `password`; `None` if that fails.
///
/// The core neither answers nor remembers a nomination of a pair that it has not checked itself. So
/// it gets the check without the nomination at once, and the nomination when our own check has
/// succeeded, which saves the client a retransmission.
pub fn without_nomination(
    datagram: &[u8],
    password: &str,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let original = decoded(datagram)?;
    let mut plain = Message::new();
    plain
        .build(&[Box::new(BINDING_REQUEST), Box::new(original.transaction_id)])
        .ok()?;
    for attribute in original.attributes.0 {
        match attribute.typ {
            ATTR_USE_CANDIDATE => {}
            ATTR_MESSAGE_INTEGRITY | ATTR_FINGERPRINT => break,
            typ => plain.add(typ, &attribute.value),
        }
    }
    MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto)
        .add_to(&mut plain)
        .ok()?;
    FINGERPRINT.add_to(&mut plain).ok()?;
    Some(plain.raw)
}

/// Builds the answer to an authentic check that came from `from`, signed with `password`; `None` if
/// that fails.
pub fn success(
    transaction: [u8; 12],
    from: SocketAddr,
    password: &str,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let mut message = Message::new();
    let (ip, port) = (from.ip(), from.port());
    let integrity =
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto);
    message
        .build(&[
            Box::new(BINDING_SUCCESS),
            Box::new(TransactionId(transaction)),
            Box::new(XorMappedAddress { ip, port }),
            Box::new(integrity),
            Box::new(FINGERPRINT),
        ])
        .ok()?;
    Some(message.raw)
}

fn decoded(datagram: &[u8]) -> Option<Message> {
    let mut message = Message {
        raw: datagram.to_vec(),
        ..Message::default()
    };
    message.decode().ok()?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::demux::stun_head;
    use proptest::prelude::*;
    use rtc::stun::attributes::ATTR_USERNAME;
    use rtc::stun::textattrs::TextAttribute;

    fn nomination(password: &str, crypto: &dyn RTCCrypto) -> Vec<u8> {
        let mut message = Message::new();
        message
            .build(&[
                Box::new(BINDING_REQUEST),
                Box::new(TransactionId::new()),
                Box::new(TextAttribute::new(ATTR_USERNAME, "ours:theirs".to_owned())),
            ])
            .expect("built");
        message.add(ATTR_USE_CANDIDATE, &[]);
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto)
            .add_to(&mut message)
            .expect("signed");
        message.raw
    }

    #[test]
    fn stun_nomination_is_rebuilt_as_a_plain_check() {
        let provider = rtc::crypto::default_provider().expect("built in");
        let crypto = provider.crypto();
        let check = nomination("secret", crypto);
        assert!(is_authentic(&check, "secret", crypto));
        assert!(!is_authentic(&check, "guess", crypto));
        assert!(
            !is_authentic(&check[..check.len() - 24], "secret", crypto),
            "unsigned"
        );
        let plain = without_nomination(&check, "secret", crypto).expect("rebuilt");
        assert!(is_authentic(&plain, "secret", crypto));
        let (before, after) = (
            stun_head(&check).expect("STUN"),
            stun_head(&plain).expect("STUN"),
        );
        assert!(before.nominates && !after.nominates);
        assert_eq!(before.transaction, after.transaction);
        assert_eq!(before.username, after.username);
    }

    #[test]
    fn stun_answer_contains_the_address_that_the_check_came_from() {
        use rtc::stun::message::Getter;
        let provider = rtc::crypto::default_provider().expect("built in");
        let crypto = provider.crypto();
        let check = nomination("secret", crypto);
        let head = stun_head(&check).expect("STUN");
        let from = SocketAddr::from(([192, 0, 2, 9], 4_711));
        let answer = success(head.transaction, from, "secret", crypto).expect("built");
        assert!(is_authentic(&answer, "secret", crypto));
        let answered = stun_head(&answer).expect("STUN");
        assert_eq!(answered.transaction, head.transaction);
        assert_eq!(answered.class, crate::rtc::demux::StunClass::Success);
        let mut mapped = XorMappedAddress::default();
        let message = decoded(&answer).expect("STUN");
        mapped.get_from(&message).expect("there");
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), from);
    }

    proptest! {
        #[test]
        fn stun_authentication_never_panics_on_a_damaged_check(damage in proptest::collection::vec((20usize..110, any::<u8>()), 1..8), keep in 20usize..120) {
            let provider = rtc::crypto::default_provider().expect("built in");
            let mut check = nomination("secret", provider.crypto());
            for (at, byte) in damage {
                if let Some(target) = check.get_mut(at) {
                    *target = byte;
                }
            }
            check.truncate(keep);
            let length = (check.len() - 20) as u16;
            check[2..4].copy_from_slice(&length.to_be_bytes());
            let _ = is_authentic(&check, "secret", provider.crypto());
            let _ = without_nomination(&check, "secret", provider.crypto());
        }
    }
}
