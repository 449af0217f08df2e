use super::*;
use bytes::Bytes;
use mixer::packet::{Payload, Sources};
use mixer::{Level, ParticipantId, RtpTime};
use rtc::rtp;
use rtc::shared::marshal::Unmarshal;
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;

use crate::rtc::srtp::SrtpProfile;

const KEY: [u8; 16] = [3; 16];
const SALT: [u8; 14] = [9; 14];

/// TOC byte of a CELT frame of 20 ms.
const TOC: u8 = 31 << 3;

/// An RTP sender, and another SRTP implementation that decrypts its output.
struct Line {
    sending: RtpSender,
    far: Context,
    out: SendQueue,
    now: Instant,
}

impl Line {
    fn new(config: SendConfig) -> Line {
        let provider = rtc::crypto::default_provider().expect("built in");
        let profile = ProtectionProfile::Aes128CmHmacSha1_80;
        let far = Context::new(&KEY, &SALT, profile, None, None, provider.crypto());
        let mut sending = RtpSender::new(config);
        let key = MasterKey {
            profile: SrtpProfile::AesCm128Sha80,
            key: &KEY,
            salt: &SALT,
        };
        sending
            .set_key(provider.crypto(), &key)
            .expect("the right length");
        Line {
            sending,
            far: far.expect("context"),
            out: SendQueue::default(),
            now: Instant::now(),
        }
    }

    fn send(&mut self, packet: &OutPacket) -> rtp::Packet {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(self.sending.write(packet, to, self.now, &mut self.out));
        let (address, wire) = self.out.iter().next().expect("written");
        assert_eq!(address, to);
        let plain = self.far.decrypt_rtp(wire).expect("authentic");
        self.out.clear();
        rtp::Packet::unmarshal(&mut plain.freeze()).expect("read back")
    }
}

fn config(mid: &[u8]) -> SendConfig {
    SendConfig {
        ssrc: 42,
        codec: Codec::Opus,
        payload_type: 109,
        levels_id: Some(2),
        mid: Some((4, mid.into())),
    }
}

fn packet(time: u32, sources: &[(u32, u8)]) -> OutPacket {
    let mut list = Sources::default();
    for (id, level) in sources {
        assert!(list.push(ParticipantId(*id), Level::from_wire(*level)));
    }
    let mut payload = [5; 30];
    payload[0] = TOC;
    OutPacket {
        time: RtpTime(time),
        marker: time == 0,
        sources: list,
        payload: Payload::copy_from(&payload).expect("fits"),
    }
}

#[test]
fn rtp_sender_numbers_packets_and_lists_contributors() {
    let mut line = Line::new(config(b"audio"));
    let first = line.send(&packet(0, &[(7, 20), (8, 40), (9, 127)]));
    let second = line.send(&packet(960, &[]));
    assert_eq!(
        second.header.sequence_number,
        first.header.sequence_number.wrapping_add(1)
    );
    assert_eq!(
        second.header.timestamp.wrapping_sub(first.header.timestamp),
        960
    );
    assert_eq!(first.header.csrc, [7, 8, 9]);
    let extension = |id| first.header.get_extension(id);
    assert_eq!(extension(2).as_deref(), Some(&[20, 40, 127][..]));
    assert_eq!(extension(4).as_deref(), Some(&b"audio"[..]));
    assert!(first.header.marker && !second.header.marker);
    assert_eq!((first.header.ssrc, first.header.payload_type), (42, 109));
    assert_eq!(first.payload, Bytes::from([&[TOC], &[5; 29][..]].concat()));
    assert_eq!(second.header.get_extension(2), None);
}

#[test]
fn rtp_header_lists_up_to_15_contributors_and_omits_the_mid_after_the_first_packets() {
    for mid in [&b"0"[..], b"a mid of sixteen"] {
        let mut line = Line::new(config(mid));
        for number in 0..=MID_PACKETS as u32 {
            let sources: Vec<(u32, u8)> = (1..=number % 16).map(|id| (id, 10)).collect();
            let read = line.send(&packet(number * 960, &sources));
            assert_eq!(read.header.csrc.len(), sources.len());
            let levels = read.header.get_extension(2).map(|levels| levels.len());
            assert_eq!(levels, (!sources.is_empty()).then_some(sources.len()));
            let has_mid = read.header.get_extension(4);
            let expected = (u64::from(number) < MID_PACKETS).then_some(mid);
            assert_eq!(has_mid.as_deref(), expected);
            assert_eq!(read.payload.len(), 30);
        }
    }
}

#[test]
fn rtp_header_without_extensions_has_no_extension_block() {
    let mut line = Line::new(SendConfig {
        ssrc: 1,
        ..SendConfig::default()
    });
    let read = line.send(&packet(0, &[(7, 20)]));
    assert!(!read.header.extension);
    assert_eq!(read.header.csrc, [7]);
}

#[test]
fn rtp_sender_sends_nothing_without_keys() {
    let mut sending = RtpSender::new(config(b"0"));
    let mut out = SendQueue::default();
    let to = SocketAddr::from(([127, 0, 0, 1], 9));
    assert!(!sending.write(&packet(0, &[]), to, Instant::now(), &mut out));
    assert!(out.is_empty());
    assert_eq!(sending.sent().packets, 0);
    assert_eq!(sending.time_at(Instant::now()), None);
}

#[test]
fn rtp_sender_continues_sequence_numbers_with_new_keys() {
    let mut line = Line::new(config(b"0"));
    let before = line.send(&packet(0, &[])).header.sequence_number;
    let sent = std::mem::replace(&mut line, Line::new(config(b"0"))).sending;
    line.sending = sent;
    let provider = rtc::crypto::default_provider().expect("built in");
    let key = MasterKey {
        profile: SrtpProfile::AesCm128Sha80,
        key: &KEY,
        salt: &SALT,
    };
    let done = line.sending.set_key(provider.crypto(), &key);
    done.expect("the right length");
    let after = line.send(&packet(960, &[])).header.sequence_number;
    assert_eq!(after, before.wrapping_add(1));
}

#[test]
fn rtp_sender_marks_a_skipped_tick_as_a_lost_packet() {
    let mut line = Line::new(config(b"0"));
    let mut seq = line.send(&packet(0, &[])).header.sequence_number;
    let mut step = |line: &mut Line, packet: &OutPacket| {
        let now = line.send(packet).header.sequence_number;
        now.wrapping_sub(std::mem::replace(&mut seq, now))
    };
    let spoken = |time| packet(time, &[(7, 20)]);
    assert_eq!(step(&mut line, &spoken(960)), 1);
    assert_eq!(step(&mut line, &spoken(3 * 960)), 2, "one tick");
    assert_eq!(
        step(&mut line, &spoken(7 * 960)),
        2,
        "three ticks are one gap"
    );
    assert_eq!(step(&mut line, &spoken(8 * 960)), 1);
    let long = 9 * 960 + MAX_CONCEALED_SAMPLES + 1;
    assert_eq!(step(&mut line, &spoken(long)), 1, "a pause");
    let mut spurt = spoken(long + 2 * 960);
    spurt.marker = true;
    assert_eq!(step(&mut line, &spurt), 1, "somebody begins to talk");
    assert_eq!(step(&mut line, &spoken(long + 2 * 960)), 1, "again");
    let moved = packet(long + 3 * 960 + 120, &[]);
    assert_eq!(step(&mut line, &moved), 1, "a room that moves in a pause");
    assert_eq!(line.sending.sent().packets, 9);
}

#[test]
fn rtp_sender_time_advances_between_packets() {
    let mut line = Line::new(config(b"0"));
    let time = line.send(&packet(0, &[])).header.timestamp;
    let later = line.now + Duration::from_millis(1_500);
    let expected = time.wrapping_add(72_000);
    assert_eq!(line.sending.time_at(later), Some(expected));
    assert_eq!(line.sending.sent().payload_bytes, 30);
}

#[test]
fn rtp_clock_of_g711_is_continuous_over_every_wraparound() {
    let mut line = Line::new(SendConfig {
        codec: Codec::Pcmu,
        payload_type: 0,
        ..config(b"0")
    });
    let mut before: Option<rtp::Packet> = None;
    // The room's clock wraps around in this loop; a sixth of the wrapped value would jump.
    for step in 0..40u32 {
        let time = 0u32.wrapping_sub(20 * 960).wrapping_add(step * 960);
        let payload = Payload::copy_from(&[0xff; 160]).expect("short");
        let sent = line.send(&OutPacket {
            payload,
            ..packet(time, &[(7, 20)])
        });
        assert_eq!(sent.header.payload_type, 0);
        if let Some(before) = before {
            let (from, to) = (before.header, &sent.header);
            assert_eq!(to.timestamp.wrapping_sub(from.timestamp), 160, "{step}");
            let steps = to.sequence_number.wrapping_sub(from.sequence_number);
            assert_eq!(steps, 1, "{step}: nothing is missing");
        }
        before = Some(sent);
    }
    let at = line.sending.time_at(line.now).expect("sent");
    let later = line.sending.time_at(line.now + Duration::from_secs(1));
    assert_eq!(later.expect("sent").wrapping_sub(at), 8_000);
}
