//! One room of any size, and two seconds of what its talkers send, repeated.

use std::hint::black_box;
use std::sync::Arc;

use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::{Command, Engine, EngineLimits, Sink};
use mixer::format::{Layout, SLOT, TickLength};
use mixer::output::{Destination, Event, Retired};
use mixer::packet::{OutPacket, Packet, Payload};
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::schedule::WorkPool;
use mixer::{ParticipantId, RoomId, RtpTime, Seq, Time};

pub const TICK: TickLength = TickLength::Ms20;

/// Returns `samples` samples of a sine, starting with sample number `from`.
pub fn tone(hz: f64, amplitude: f32, from: u64, samples: usize) -> Vec<f32> {
    (from..from + samples as u64)
        .map(|sample| {
            let turns = (hz * sample as f64 / 48_000.0).fract();
            amplitude * (turns * std::f64::consts::TAU).sin() as f32
        })
        .collect()
}

/// Returns two seconds of a tone, encoded in packets of 20 ms.
pub fn speech() -> Vec<Payload> {
    let up = Encoding::new(Profile::Voice, &ReceiverLimits::default(), TICK);
    let mut encoder = OpusEncoder::new(&up);
    (0..100)
        .map(|packet| {
            let pcm = tone(217.3, 0.2, packet * 960, 960);
            let mut payload = Payload::EMPTY;
            encoder.encode(&pcm, &mut payload).expect("20 ms encode");
            payload
        })
        .collect()
}

/// A sink that discards all packets.
struct Drain;

impl WorkPool for Drain {}

impl Sink for Drain {
    fn packet(&mut self, _: Destination, _: &[ParticipantId], packet: &OutPacket) {
        black_box(packet);
    }

    fn event(&mut self, _: Event) {}

    fn retired(&mut self, _: Retired) {}
}

/// A room in which all participants may talk.
pub struct Scene {
    engine: Engine,
    speech: Vec<Payload>,
    turn: u64,
}

impl Scene {
    /// Builds a room with this number of participants, none of whom talks.
    pub fn new(people: u32, profile: Profile) -> Scene {
        let encoding = Encoding::new(profile, &ReceiverLimits::default(), TICK);
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
                listens: Some(encoding),
                layout: Layout::Mono,
                tick: TICK,
            };
            let participant = Box::new(Participant::new(config, Arc::new(Shared::default())));
            let room = RoomId(1);
            engine.apply(Command::AddParticipant { room, participant }, &mut Drain);
        }
        Scene {
            engine,
            speech: speech(),
            turn: 0,
        }
    }

    /// Returns the number of frames that the room has encoded so far.
    pub fn encodes(&self) -> u64 {
        self.engine.stats().encodes_total
    }

    /// Runs one tick, in which a packet of each of the first `talkers` participants arrives.
    pub fn turn(&mut self, talkers: u32) {
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
        for talker in 1..=talkers {
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
