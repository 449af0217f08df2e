//! Packets before they become PCM: the jitter buffer, and the playout with its decoder.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use mixer::codec::opus::OpusDecoder;
use mixer::format::Layout;
use mixer::ingest::{Inserted, JitterBuffer};
use mixer::source::Playout;
use mixer::{Frame, Packet, Payload, RtpTime, Seq, Time};

use crate::scene::{TICK, speech};

pub fn bench(criterion: &mut Criterion) {
    stores(criterion);
    playouts(criterion);
    stalls(criterion);
}

/// The jitter buffer: one packet is inserted and one removed, while a given number of packets wait.
fn stores(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jitter buffer");
    let payload = [7; 80];
    for waiting in [1i64, 5, 20] {
        for (order, swap) in [("in order", 0), ("each pair swapped", 1)] {
            let mut buffer = JitterBuffer::new();
            let mut next = 0;
            let mut insert = |buffer: &mut JitterBuffer| {
                let seq: i64 = next ^ swap;
                next += 1;
                let stored = buffer.insert(seq, seq * 960, 960, false, black_box(&payload));
                assert_eq!(stored, Inserted::Stored);
            };
            (0..waiting).for_each(|_| insert(&mut buffer));
            group.bench_function(BenchmarkId::new(order, waiting), |bencher| {
                bencher.iter(|| {
                    insert(&mut buffer);
                    black_box(buffer.drop_first());
                });
            });
        }
    }
    group.finish();
}

/// The playout: one packet is pushed and one tick pulled, decoding included.
fn playouts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("playout");
    for (name, lost_every) in [("clean", u64::MAX), ("2 % lost", 50), ("10 % lost", 10)] {
        let speech = speech();
        let mut playout =
            Playout::new(Layout::Mono, TICK, Box::new(OpusDecoder::new(Layout::Mono)));
        let mut frame = Frame::new(Layout::Mono, TICK);
        let mut turn = 0u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn += 1;
                let now = Time::from_us(turn * 20_000);
                if !turn.is_multiple_of(lost_every) {
                    let packet = packet(&speech, turn);
                    black_box(playout.push(&packet, now));
                }
                black_box(playout.pull(now, &mut frame));
            });
        });
    }
    group.finish();
}

/// A stall of the server's uplink: 120 ms in which every talker is concealed, compared with 120 ms
/// in which every talker is decoded.
fn stalls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("120 ms of 100 talkers");
    group.sample_size(10);
    let speech = speech();
    for (name, stalled) in [("decoded", false), ("stalled", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|turns| (0..turns).map(|_| stall(&speech, stalled)).sum());
        });
    }
    group.finish();
}

/// Returns how long six ticks of a hundred talkers take, after a second in which every packet
/// arrived. If `stalled`, no packet arrives in these ticks.
fn stall(speech: &[Payload], stalled: bool) -> Duration {
    let playout = || Playout::new(Layout::Mono, TICK, Box::new(OpusDecoder::new(Layout::Mono)));
    let mut talkers: Vec<Playout> = (0..100).map(|_| playout()).collect();
    let mut frame = Frame::new(Layout::Mono, TICK);
    let mut took = Duration::ZERO;
    for turn in 1..=56u64 {
        let now = Time::from_us(turn * 20_000);
        let is_timed = turn > 50;
        for talker in &mut talkers {
            if !(is_timed && stalled) {
                talker.push(&packet(speech, turn), now);
            }
        }
        let start = Instant::now();
        for talker in &mut talkers {
            black_box(talker.pull(now, &mut frame));
        }
        if is_timed {
            took += start.elapsed();
        }
    }
    took
}

fn packet(speech: &[Payload], turn: u64) -> Packet {
    Packet {
        seq: Seq(turn as u16),
        time: RtpTime((turn as u32).wrapping_mul(960)),
        ssrc: 1,
        marker: turn == 1,
        level: None,
        payload: speech[turn as usize % speech.len()],
    }
}
