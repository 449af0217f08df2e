//! What the engine's parts and a whole tick cost.
//!
//! `tick/...` runs a whole room through its jitter buffers, decoders, mixes and encoders; the
//! numbers in its name are people in the room and how many of them talk.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mixer::bus::Bus;
use mixer::codec::Encode;
use mixer::codec::opus::OpusEncoder;
use mixer::command::{Command, Event, Retired, Shared};
use mixer::engine::{Engine, EngineLimits, Sink};
use mixer::format::{Layout, SLOT, TickLength};
use mixer::limiter::Limiter;
use mixer::packet::{OutPacket, Packet, Payload};
use mixer::participant::{Participant, ParticipantConfig};
use mixer::profile::{Profile, ReceiverLimits, Recipe};
use mixer::room::{Room, RoomSettings};
use mixer::{Frame, ParticipantId, RoomId, RtpTime, Seq, Time};

const TICK: TickLength = TickLength::Ms20;

fn tone(hz: f64, amplitude: f32, from: u64, samples: usize) -> Vec<f32> {
    (from..from + samples as u64)
        .map(|sample| {
            let turns = (hz * sample as f64 / 48_000.0).fract();
            amplitude * (turns * std::f64::consts::TAU).sin() as f32
        })
        .collect()
}

fn frame(hz: f64, amplitude: f32) -> Frame {
    let mut frame = Frame::new(Layout::Mono, TICK);
    let samples = tone(hz, amplitude, 0, TICK.samples());
    frame.samples_mut().copy_from_slice(&samples);
    frame
}

fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bus");
    for talkers in [3u32, 10, 50] {
        let frames: Vec<Frame> = (0..talkers)
            .map(|talker| frame(300.0 + 37.0 * f64::from(talker), 0.2))
            .collect();
        let mut bus = Bus::new(Layout::Mono, TICK);
        let mut mix = Frame::new(Layout::Mono, TICK);
        group.throughput(Throughput::Elements(u64::from(talkers)));
        let name = BenchmarkId::new("sum, and minus each", talkers);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                bus.clear();
                frames.iter().for_each(|frame| bus.add(frame));
                for own in &frames {
                    bus.minus_into(own, &mut mix);
                    black_box(&mix);
                }
            });
        });
    }
    group.finish();
}

fn limits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter");
    for (name, amplitude) in [("at rest", 0.5), ("at work", 4.0)] {
        let mix = frame(441.7, amplitude);
        let mut limiter = Limiter::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || mix.clone(),
                |mix| limiter.limit(black_box(mix)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Lets everything go.
struct Drain;

impl Sink for Drain {
    fn packet(&mut self, _: &[ParticipantId], packet: &OutPacket) {
        black_box(packet);
    }

    fn event(&mut self, _: Event) {}

    fn retired(&mut self, _: Retired) {}
}

/// One room, and two seconds of what its talkers say, over and over.
struct Scene {
    engine: Engine,
    talkers: u32,
    speech: Vec<Payload>,
    turn: u64,
}

impl Scene {
    fn new(people: u32, talkers: u32, profile: Profile) -> Scene {
        let recipe = Recipe::new(profile, &ReceiverLimits::default(), TICK);
        let mut engine = Engine::new(EngineLimits {
            rooms: 1,
            participants: people as usize,
        });
        let room = Room::new(RoomId(1), RoomSettings::default(), people as usize);
        engine.apply(Command::AddRoom(Box::new(room)), &mut Drain);
        for id in 1..=people {
            let config = ParticipantConfig {
                id: ParticipantId(id),
                talks: true,
                listens: Some(recipe),
                layout: Layout::Mono,
                tick: TICK,
            };
            let participant = Box::new(Participant::new(config, Arc::new(Shared::default())));
            let room = RoomId(1);
            engine.apply(Command::AddParticipant { room, participant }, &mut Drain);
        }
        let up = Recipe::new(Profile::Voice, &ReceiverLimits::default(), TICK);
        let mut encoder = OpusEncoder::new(&up);
        let speech = (0..100)
            .map(|packet| {
                let pcm = tone(217.3, 0.2, packet * 960, 960);
                let mut payload = Payload::EMPTY;
                encoder.encode(&pcm, &mut payload).expect("20 ms encode");
                payload
            })
            .collect();
        Scene {
            engine,
            talkers,
            speech,
            turn: 0,
        }
    }

    fn turn(&mut self) {
        let slots = TICK.slots() as u64;
        let slot_us = SLOT.as_micros() as u64;
        let first = 1_000 + self.turn * slots;
        let packet = Packet {
            seq: Seq(self.turn as u16),
            time: RtpTime((self.turn as u32).wrapping_mul(960)),
            ssrc: 1,
            marker: self.turn == 0,
            level: None,
            payload: self.speech[self.turn as usize % self.speech.len()],
        };
        for talker in 1..=self.talkers {
            let arrival = Time::from_us(first * slot_us);
            self.engine.push(ParticipantId(talker), &packet, arrival);
        }
        for slot in first..first + slots {
            let now = Time::from_us(slot * slot_us);
            self.engine.run_slot(slot, now, &mut Drain);
        }
        self.turn += 1;
    }
}

fn ticks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    group.sample_size(20);
    for (people, talkers, profile) in [
        (3, 0, Profile::Voice),
        (50, 0, Profile::Voice),
        (3, 1, Profile::Voice),
        (3, 1, Profile::LowDelay),
        (10, 3, Profile::Voice),
        (50, 3, Profile::LowDelay),
        (50, 50, Profile::LowDelay),
    ] {
        let mut scene = Scene::new(people, talkers, profile);
        // Past the first silence's refreshes, and into the talk-spurt.
        (0..150).for_each(|_| scene.turn());
        let name = BenchmarkId::new(profile.name(), format!("{people} people, {talkers} talk"));
        group.bench_function(name, |bencher| bencher.iter(|| scene.turn()));
    }
    group.finish();
}

criterion_group!(benches, sums, limits, ticks);
criterion_main!(benches);
