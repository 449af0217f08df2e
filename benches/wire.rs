//! The cost of one outgoing packet before the system call: RTP header and SRTP, once per listener.
//!
//! `wire/...` writes one payload for the number of listeners in its name, each with its own
//! sequence numbers, SSRC and keys. `open/...` decrypts and checks one incoming packet.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mixer::codec::Codec;
use mixer::packet::{OutPacket, Payload, Sources};
use mixer::{Level, ParticipantId, RtpTime};
use mixminus::rtc::srtp::{Decryptor, Encryptor, MasterKey, SrtpProfile};
use mixminus::rtc::{RtpSender, SendConfig, SendQueue};

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AesCm128Sha80,
    SrtpProfile::Gcm128,
    SrtpProfile::Gcm256,
];

/// The size of an Opus payload of 20 ms at 32 kbit/s.
const PAYLOAD_BYTES: usize = 80;

/// The size of an RTP header: the fixed part, three contributing sources and their levels.
const HEADER_BYTES: usize = 12 + 12 + 8;

fn packet(number: u32) -> OutPacket {
    let mut sources = Sources::default();
    for id in 1..=3 {
        sources.push(ParticipantId(id), Level::from_wire(30));
    }
    OutPacket {
        time: RtpTime(number.wrapping_mul(960)),
        marker: number == 0,
        sources,
        payload: Payload::copy_from(&[31 << 3; PAYLOAD_BYTES]).expect("fits"),
    }
}

fn key(profile: SrtpProfile) -> (Vec<u8>, Vec<u8>) {
    (vec![7; profile.key_bytes()], vec![9; profile.salt_bytes()])
}

fn listeners(count: u32, profile: SrtpProfile) -> Vec<RtpSender> {
    let provider = rtc::crypto::default_provider().expect("built in");
    let (key, salt) = &key(profile);
    let listener = |ssrc| {
        let mut sending = RtpSender::new(SendConfig {
            codec: Codec::Opus,
            ssrc,
            payload_type: 111,
            levels_id: Some(2),
            mid: None,
        });
        let master = MasterKey { profile, key, salt };
        let set = sending.set_key(provider.crypto(), &master);
        set.expect("the right length");
        sending
    };
    (1..=count).map(listener).collect()
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    let to = SocketAddr::from(([127, 0, 0, 1], 9));
    for profile in PROFILES {
        for count in [1, 64, 2_000] {
            let mut listeners = listeners(count, profile);
            let mut out = SendQueue::default();
            let mut number = 0;
            group.throughput(Throughput::Elements(u64::from(count)));
            let name = BenchmarkId::new(format!("{profile:?}"), count);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let (packet, now) = (packet(number), Instant::now());
                    number += 1;
                    // As in the network thread, a batch holds at most as many packets as fit into
                    // one system call.
                    for batch in listeners.chunks_mut(64) {
                        for listener in batch {
                            assert!(listener.write(&packet, to, now, &mut out));
                        }
                        black_box(&out);
                        out.clear();
                    }
                });
            });
        }
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    let provider = rtc::crypto::default_provider().expect("built in");
    for profile in PROFILES {
        let (key, salt) = &key(profile);
        let master = MasterKey { profile, key, salt };
        let mut encryptor = Encryptor::new(provider.crypto(), &master, 7, 0).expect("keys");
        let mut decryptor = Decryptor::new(provider.crypto(), &master).expect("keys");
        group.throughput(Throughput::Elements(1));
        group.bench_function(
            BenchmarkId::from_parameter(format!("{profile:?}")),
            |bencher| {
                bencher.iter_batched_ref(
                    || {
                        let sequence = encryptor.next_sequence();
                        let mut packet =
                            vec![0; HEADER_BYTES + PAYLOAD_BYTES + encryptor.tag_bytes()];
                        assert!(encryptor.seal(&mut packet, HEADER_BYTES));
                        (sequence, packet)
                    },
                    |(sequence, packet)| {
                        let end = decryptor.open(packet, HEADER_BYTES, 7, *sequence);
                        assert!(black_box(end).is_some());
                    },
                    criterion::BatchSize::NumIterations(100),
                );
            },
        );
    }
    group.finish();
}

criterion_group!(wire, write, read);
criterion_main!(wire);
