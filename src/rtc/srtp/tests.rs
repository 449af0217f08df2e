//! Tests of both directions against the core's own SRTP, which shares only the primitives with
//! ours.

use bytes::BytesMut;
use proptest::prelude::*;
use rtc::crypto::RTCCryptoProvider;
use rtc::rtp;
use rtc::shared::marshal::Marshal;
use rtc::srtp::context::Context;
use rtc::srtp::option::srtp_replay_protection;
use rtc::srtp::protection_profile::ProtectionProfile;
use std::sync::Arc;

use super::*;

const PROFILES: [(SrtpProfile, ProtectionProfile); 4] = [
    (
        SrtpProfile::AesCm128Sha80,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ),
    (
        SrtpProfile::AesCm128Sha32,
        ProtectionProfile::Aes128CmHmacSha1_32,
    ),
    (SrtpProfile::Gcm128, ProtectionProfile::AeadAes128Gcm),
    (SrtpProfile::Gcm256, ProtectionProfile::AeadAes256Gcm),
];

const HEADER_BYTES: usize = 20;

fn provider() -> Arc<dyn RTCCryptoProvider> {
    rtc::crypto::default_provider().expect("built in")
}

fn key(profile: SrtpProfile) -> (Vec<u8>, Vec<u8>) {
    let bytes = |length: usize, from: u8| (0..length).map(|n| from.wrapping_add(n as u8)).collect();
    (
        bytes(profile.key_bytes(), 3),
        bytes(profile.salt_bytes(), 99),
    )
}

fn theirs(profile: (SrtpProfile, ProtectionProfile)) -> Context {
    let (key, salt) = key(profile.0);
    let replay = Some(srtp_replay_protection(64));
    Context::new(&key, &salt, profile.1, replay, None, provider().crypto()).expect("context")
}

fn encryptor(profile: SrtpProfile, first: u16) -> Encryptor {
    let (key, salt) = &key(profile);
    let master = MasterKey { profile, key, salt };
    Encryptor::new(provider().crypto(), &master, 7, first).expect("encryptor")
}

fn decryptor(profile: SrtpProfile) -> Decryptor {
    let (key, salt) = &key(profile);
    let master = MasterKey { profile, key, salt };
    Decryptor::new(provider().crypto(), &master).expect("decryptor")
}

/// Returns a plain RTP packet with two CSRCs and no extension.
fn plain(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let header = rtp::Header {
        version: 2,
        payload_type: 111,
        sequence_number: sequence,
        ssrc,
        csrc: vec![1, 2],
        ..rtp::Header::default()
    };
    let packet = rtp::Packet {
        header,
        payload: payload.to_vec().into(),
    };
    packet.marshal().expect("marshalled").to_vec()
}

fn sealed(encryptor: &mut Encryptor, payload: &[u8]) -> Vec<u8> {
    let mut packet = plain(7, encryptor.next_sequence(), payload);
    packet.resize(packet.len() + encryptor.tag_bytes(), 0);
    assert!(encryptor.seal(&mut packet, HEADER_BYTES));
    packet
}

fn open(decryptor: &mut Decryptor, wire: &[u8]) -> Option<Vec<u8>> {
    let mut packet = wire.to_vec();
    let (ssrc, sequence) = (
        u32::from_be_bytes([wire[8], wire[9], wire[10], wire[11]]),
        u16::from_be_bytes([wire[2], wire[3]]),
    );
    let end = decryptor.open(&mut packet, HEADER_BYTES, ssrc, sequence)?;
    Some(packet[..end].to_vec())
}

/// The two sides agree on the roll-over counter only if both count it correctly.
#[test]
fn srtp_packets_sealed_by_the_encryptor_are_read_by_the_webrtc_core_over_two_wraparounds() {
    for profile in PROFILES {
        let mut ours = encryptor(profile.0, 65_000);
        let mut core = theirs(profile);
        for number in 0..140_000u32 {
            // Skip most packets to save time; each gap stays under half the sequence number range.
            if number % 1_000 != 0 {
                ours.skip();
                continue;
            }
            let sequence = ours.next_sequence();
            let payload = [number as u8; 33];
            let wire = sealed(&mut ours, &payload);
            assert!(!wire.windows(8).any(|eight| eight == &payload[..8]));
            let read: BytesMut = core.decrypt_rtp(&wire).expect("authentic");
            assert_eq!(
                read[..],
                plain(7, sequence, &payload),
                "{profile:?} {number}"
            );
        }
    }
}

#[test]
fn srtp_packets_sealed_by_the_webrtc_core_are_opened_exactly_once_over_two_wraparounds() {
    for profile in PROFILES {
        let mut core = theirs(profile);
        let mut ours = decryptor(profile.0);
        let mut before = None;
        for number in (65_000..200_000u32).step_by(1_000) {
            let plain = plain(9, number as u16, &[5; 40]);
            let wire = core.encrypt_rtp(&plain).expect("encrypted").to_vec();
            assert_eq!(open(&mut ours, &wire), Some(plain), "{profile:?} {number}");
            assert_eq!(open(&mut ours, &wire), None, "a replay");
            if let Some(old) = before.replace(wire) {
                assert_eq!(open(&mut ours, &old), None, "out of the window");
            }
        }
    }
}

#[test]
fn srtp_accepts_any_order_within_the_replay_window() {
    let mut core = theirs(PROFILES[0]);
    let mut ours = decryptor(SrtpProfile::AesCm128Sha80);
    let wires: Vec<Vec<u8>> = (0..200u16)
        .map(|number| {
            let plain = plain(9, 65_400u16.wrapping_add(number), &[1; 10]);
            core.encrypt_rtp(&plain).expect("encrypted").to_vec()
        })
        .collect();
    assert!(open(&mut ours, &wires[10]).is_some());
    assert!(open(&mut ours, &wires[0]).is_some(), "older than the first");
    assert!(open(&mut ours, &wires[190]).is_some(), "over the wrap");
    let late: Vec<usize> = (0..200)
        .rev()
        .filter(|&number| open(&mut ours, &wires[number]).is_some())
        .collect();
    let expected = (72..200).rev().filter(|number| *number != 190);
    assert_eq!(late, expected.collect::<Vec<_>>(), "each once, 128 back");
}

#[test]
fn srtp_rejects_forged_packets_and_keeps_no_state_of_them() {
    for (profile, _) in PROFILES {
        let mut ours = encryptor(profile, 100);
        let mut far = decryptor(profile);
        let good = sealed(&mut ours, &[1; 30]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(open(&mut far, &bad), None, "{profile:?} {at}");
        }
        for length in 12..good.len() {
            let mut short = good[..length].to_vec();
            assert_eq!(far.open(&mut short, HEADER_BYTES.min(length), 7, 100), None);
        }
        assert_eq!(far.sources(), 0, "no state without an authentic packet");
        assert!(open(&mut far, &good).is_some());
    }
}

#[test]
fn srtp_keeps_the_state_of_each_ssrc() {
    let mut core = theirs(PROFILES[2]);
    let mut ours = decryptor(SrtpProfile::Gcm128);
    let mut seen = Vec::new();
    for ssrc in [0, 1, 2, 1, 0] {
        let plain = plain(ssrc, 10 + seen.len() as u16, &[4; 20]);
        let wire = core.encrypt_rtp(&plain).expect("encrypted").to_vec();
        assert!(open(&mut ours, &wire).is_some());
        seen.push(wire);
    }
    assert!(seen.iter().all(|wire| open(&mut ours, wire).is_none()));
}

proptest! {
    #[test]
    fn srtp_decryptor_rejects_any_random_bytes_without_panic(
        mut packet in proptest::collection::vec(any::<u8>(), 0..100),
        header in 0usize..120,
        ssrc in any::<u32>(),
        sequence in any::<u16>(),
    ) {
        for (profile, _) in PROFILES {
            prop_assert_eq!(decryptor(profile).open(&mut packet, header, ssrc, sequence), None);
        }
    }
}
