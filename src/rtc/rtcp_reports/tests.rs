use super::*;
use crate::rtc::rtp_receiver::ReceiveConfig;
use crate::rtc::rtp_sender::SendConfig;
use crate::rtc::send_queue::SendQueue;
use crate::rtc::srtp::{MasterKey, SrtpProfile};
use mixer::codec::Codec;
use mixer::packet::{OutPacket, Payload, Sources};
use mixer::{ParticipantId, RtpTime};
use rtc::shared::marshal::Marshal;
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;
use std::net::SocketAddr;

const KEY: [u8; 16] = [3; 16];
const SALT: [u8; 14] = [9; 14];

struct World {
    start: Instant,
    reports: RtcpReports,
    sending: RtpSender,
    receiving: RtpReceiver,
    client: Context,
}

/// The first packet of the report that was sent, if any.
#[derive(Debug)]
enum Said {
    Nothing,
    Receiver(ReceiverReport),
    Sender(SenderReport),
}

impl World {
    fn new() -> World {
        let provider = rtc::crypto::default_provider().expect("built in");
        let crypto = provider.crypto();
        let master = MasterKey {
            profile: SrtpProfile::AesCm128Sha80,
            key: &KEY,
            salt: &SALT,
        };
        let profile = ProtectionProfile::Aes128CmHmacSha1_80;
        let mut sending = RtpSender::new(SendConfig {
            ssrc: 77,
            ..SendConfig::default()
        });
        sending.set_key(crypto, &master).expect("key");
        let config = ReceiveConfig {
            participant: ParticipantId(1),
            codec: Codec::Opus,
            payload_type: 111,
            level_id: None,
            mixer: None,
        };
        let mut receiving = RtpReceiver::new(config);
        receiving.set_key(crypto, &master).expect("key");
        let start = Instant::now();
        World {
            start,
            reports: RtcpReports::new(start),
            sending,
            receiving,
            client: Context::new(&KEY, &SALT, profile, None, None, crypto).expect("context"),
        }
    }

    fn send(&mut self, at: Instant) {
        let packet = OutPacket {
            time: RtpTime(0),
            marker: true,
            sources: Sources::default(),
            payload: Payload::copy_from(&[1; 25]).expect("fits"),
        };
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut out = SendQueue::default();
        assert!(self.sending.write(&packet, to, at, &mut out));
    }

    fn receive(&mut self, sequence: u16, at: Instant) {
        let header = rtc::rtp::Header {
            version: 2,
            payload_type: 111,
            sequence_number: sequence,
            ssrc: 9,
            ..rtc::rtp::Header::default()
        };
        let payload = vec![1; 10].into();
        let plain = rtc::rtp::Packet { header, payload }.marshal();
        let wire = self.client.encrypt_rtp(&plain.expect("marshalled"));
        let mut wire = wire.expect("encrypted");
        self.receiving.take(&mut wire, at, &mut []).expect("taken");
    }

    fn due(&mut self, at: Instant) -> Said {
        let due = self
            .reports
            .due(&self.sending, &mut self.receiving, "name", at);
        let Some(compound) = due else {
            return Said::Nothing;
        };
        assert!(compound[1].as_any().is::<SourceDescription>());
        let first = compound[0].as_any();
        match first.downcast_ref::<SenderReport>() {
            Some(report) => Said::Sender(report.clone()),
            None => {
                let report = first.downcast_ref::<ReceiverReport>();
                Said::Receiver(report.expect("one of the two").clone())
            }
        }
    }
}

#[test]
fn sender_report_covers_sent_and_received_packets() {
    let mut world = World::new();
    let start = world.start;
    world.send(start);
    world.send(start);
    world.receive(65_535, start);
    world.receive(1, start);
    world.reports.heard(9, 0xabcd, start);
    let Said::Sender(report) = world.due(start + Duration::from_secs(1)) else {
        panic!("a sender report");
    };
    assert_eq!((report.ssrc, report.packet_count), (77, 2));
    assert_eq!(report.octet_count, 50);
    let last = world.sending.sent().last.expect("sent").0;
    assert_eq!(report.rtp_time, last.wrapping_add(48_000));
    let block = &report.reports[0];
    assert_eq!((block.ssrc, block.total_lost), (9, 1));
    assert_eq!((block.last_sender_report, block.delay), (0xabcd, 65_536));
    let now = ntp_time(SystemTime::now()) >> 32;
    assert!((now - 5..=now).contains(&(report.ntp_time >> 32)));
}

#[test]
fn rtcp_reports_are_rare_while_quiet_and_turn_into_receiver_reports() {
    let mut world = World::new();
    let start = world.start;
    let mut said = Vec::new();
    world.receive(1, start);
    world.send(start);
    for tick in 0..=12u32 {
        let at = start + tick * REPORT_INTERVAL;
        assert!(matches!(world.due(at - Duration::from_millis(1)), Said::Nothing) || tick == 0);
        match world.due(at) {
            Said::Nothing => said.push('.'),
            Said::Receiver(report) => {
                assert_eq!(report.reports[0].ssrc, 9);
                said.push('r');
            }
            Said::Sender(_) => said.push('s'),
        }
    }
    let said: String = said.into_iter().collect();
    assert_eq!(said, "s.s.r.r.r.r.r", "news at once, then one in two");
}

#[test]
fn rtcp_reports_contain_a_loss_within_a_second() {
    let mut world = World::new();
    let start = world.start;
    let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
    let mut reported = Vec::new();
    for tenth in 0..100u64 {
        // One packet is lost between 3.0 and 3.1 s.
        let sequence = if tenth <= 30 { tenth } else { tenth + 1 };
        world.receive(sequence as u16, at(tenth));
        if let Said::Receiver(report) = world.due(at(tenth)) {
            reported.push((tenth, report.reports[0].fraction_lost > 0));
        }
    }
    assert_eq!(reported.len(), 3, "{reported:?}");
    assert_eq!(reported[0], (0, false));
    let (when, lost) = reported[1];
    assert!(lost && (31..=41).contains(&when), "{reported:?}");
    assert_eq!(reported[2], (when + 50, false));
}

#[test]
fn receiver_report_is_empty_before_any_packet_was_received() {
    let mut world = World::new();
    let start = world.start;
    let mut said = (0..=4u32).map(|tick| world.due(start + tick * REPORT_INTERVAL));
    let report = said.find_map(|said| match said {
        Said::Receiver(report) => Some(report),
        _ => None,
    });
    assert!(report.is_some_and(|report| report.reports.is_empty()));
}
