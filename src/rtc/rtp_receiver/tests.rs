use super::*;
use mixer::codec::Codec;
use rtc::rtp;
use rtc::shared::marshal::Marshal;
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;

use crate::queues::{Consumer, ring};
use crate::rtc::srtp::SrtpProfile;

const KEY: [u8; 16] = [3; 16];
const SALT: [u8; 12] = [9; 12];

struct Line {
    near: Context,
    receiving: RtpReceiver,
    to_mixers: Vec<Producer<Inbound>>,
    inbound: Consumer<Inbound>,
}

impl Line {
    fn new() -> Line {
        let provider = rtc::crypto::default_provider().expect("built in");
        let profile = ProtectionProfile::AeadAes128Gcm;
        let near = Context::new(&KEY, &SALT, profile, None, None, provider.crypto());
        let (to_mixer, inbound) = ring(2);
        let config = ReceiveConfig {
            participant: ParticipantId(5),
            codec: Codec::Opus,
            payload_type: 111,
            level_id: Some(1),
            mixer: Some(MixerId(0)),
        };
        let receiving = RtpReceiver::new(config);
        Line {
            near: near.expect("context"),
            receiving,
            to_mixers: vec![to_mixer],
            inbound,
        }
    }

    fn with_keys() -> Line {
        let mut line = Line::new();
        let provider = rtc::crypto::default_provider().expect("built in");
        let key = MasterKey {
            profile: SrtpProfile::Gcm128,
            key: &KEY,
            salt: &SALT,
        };
        let set = line.receiving.set_key(provider.crypto(), &key);
        set.expect("the right length");
        line
    }

    fn wire(&mut self, payload_type: u8, ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut header = rtp::Header {
            version: 2,
            payload_type,
            sequence_number: sequence,
            timestamp: 960,
            ssrc,
            marker: true,
            ..rtp::Header::default()
        };
        header
            .set_extension(1, vec![0x80 | 30].into())
            .expect("fits");
        let payload = vec![1, 2, 3].into();
        let plain = rtp::Packet { header, payload }
            .marshal()
            .expect("marshalled");
        self.near.encrypt_rtp(&plain).expect("encrypted").to_vec()
    }

    fn take(&mut self, mut wire: Vec<u8>) -> Result<(), Dropped> {
        let now = Instant::now();
        self.receiving.take(&mut wire, now, &mut self.to_mixers)
    }
}

#[test]
fn rtp_receiver_passes_packets_of_any_ssrc_to_the_mixer() {
    let mut line = Line::with_keys();
    for (ssrc, sequence, result) in [
        (1, 10, Ok(())),
        (2, 11, Ok(())),
        (2, 12, Err(Dropped::MixerFull)),
    ] {
        let wire = line.wire(111, ssrc, sequence);
        assert_eq!(line.take(wire), result, "the ring holds two");
    }
    let packets: Vec<Inbound> = std::iter::from_fn(|| line.inbound.pop().ok()).collect();
    assert_eq!((packets[0].packet.ssrc, packets[1].packet.ssrc), (1, 2));
    assert_eq!(packets[0].from, ParticipantId(5));
    assert_eq!(packets[0].packet.level, Some(Level::from_wire(30)));
    assert!(packets[0].packet.marker);
    assert_eq!(packets[0].packet.payload.as_slice(), [1, 2, 3]);
    assert_eq!(packets[1].packet.seq, Seq(11));
    assert_eq!(packets[1].packet.time, RtpTime(960));
    assert_eq!(line.receiving.received(), (3, 9));
    let reception = line.receiving.reception().expect("heard");
    assert_eq!(reception.ssrc(), 2);
}

#[test]
fn rtp_receiver_reports_the_reason_of_each_drop() {
    let mut line = Line::new();
    let wire = line.wire(111, 1, 1);
    assert_eq!(line.take(wire), Err(Dropped::Handshake), "no keys yet");
    let mut line = Line::with_keys();
    let wire = line.wire(111, 1, 1);
    assert_eq!(line.take(wire.clone()), Ok(()));
    assert_eq!(line.take(wire.clone()), Err(Dropped::Srtp), "a replay");
    let other = line.wire(96, 1, 2);
    assert_eq!(line.take(other), Err(Dropped::Unusable), "comfort noise");
    assert_eq!(line.take(wire[..11].to_vec()), Err(Dropped::Malformed));
    let mut forged = line.wire(111, 1, 3);
    *forged.last_mut().expect("bytes") ^= 1;
    assert_eq!(line.take(forged), Err(Dropped::Srtp));
    assert_eq!(line.receiving.received(), (1, 3));
}

#[test]
fn rtp_receiver_limits_a_clients_packets_without_counting_forged_packets() {
    let mut line = Line::with_keys();
    let start = Instant::now();
    let mut sequence = 0;
    let mut sent_at = |line: &mut Line, now, forge: bool| {
        sequence += 1;
        let mut wire = line.wire(111, 1, sequence);
        *wire.last_mut().expect("bytes") ^= u8::from(forge);
        let taken = line.receiving.take(&mut wire, now, &mut line.to_mixers);
        while line.inbound.pop().is_ok() {}
        taken
    };
    // The shortest possible packets (2.5 ms), for half a minute.
    for packet in 0..12_000u32 {
        let now = start + packet * Duration::from_micros(2_500);
        assert_eq!(sent_at(&mut line, now, false), Ok(()), "{packet}");
    }
    // Then a second of packets at an unlimited rate.
    let start = start + Duration::from_secs(60);
    let mut results = Vec::new();
    for packet in 0..20_000u32 {
        let now = start + packet * Duration::from_micros(50);
        let forge = packet % 2 == 1;
        let taken = sent_at(&mut line, now, forge);
        assert_eq!(taken == Err(Dropped::Srtp), forge);
        results.push(taken);
    }
    let taken = results.iter().filter(|taken| taken.is_ok()).count();
    assert!(
        (990..=1_001).contains(&taken),
        "a burst and a second: {taken}"
    );
    assert!(results.contains(&Err(Dropped::PacketRate)));
}
