//! An engine with rooms full of participants, and the packets that the participants send again and
//! again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use mixer::codec::{Encoding, Profile, ReceiverLimits};
use mixer::engine::{Command, Engine, EngineLimits, Sink};
use mixer::format::{Layout, SLOT, TickLength};
use mixer::mix::gains::{GainChange, PersonalGains};
use mixer::output::{Destination, Event, Retired};
use mixer::packet::{OutPacket, Packet, Payload};
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::schedule::WorkPool;
use mixer::{Gain, ParticipantId, RoomId, RtpTime, Seq, Time};

use crate::bench::speech::{self, SpeechError};
use crate::join::uplink::Ptime;

/// The rooms of a scene, their participants, and what the participants do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cast {
    pub profile: Profile,
    pub rooms: u32,
    pub people: usize,
    pub talkers: usize,
    /// The number of participants per room that each lower the gain of one talker for themselves;
    /// which talker differs as far as there are enough talkers.
    pub personal: usize,
    pub rest: Rest,
    pub tick: TickLength,
}

/// What participants that do not talk send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Rest {
    /// Nothing, as the server's answer asks for.
    Nothing,
    /// Packets of silence with the level of silence.
    Silence,
    /// Packets of noise at -55 dBFS, without a level.
    Noise,
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rooms > 1 {
            write!(f, "{} rooms of ", self.rooms)?;
        }
        write!(
            f,
            "{}, {} talking, {}",
            self.people, self.talkers, self.profile
        )?;
        match self.personal {
            0 => Ok(()),
            personal => write!(f, ", {personal} with personal gains"),
        }
    }
}

/// What participants send, encoded once for all.
pub(super) struct Speech {
    voices: Vec<Vec<Packet>>,
    silence: Vec<Packet>,
    noise: Vec<Packet>,
}

impl Speech {
    pub fn new() -> Result<Speech, SpeechError> {
        let voices = speech::voices()?
            .iter()
            .map(|voice| packets(&voice.pcm, true))
            .collect::<Result<_, _>>()?;
        let second = 48_000;
        Ok(Speech {
            voices,
            silence: packets(&vec![0.0; second], true)?,
            noise: packets(&noise(second), false)?,
        })
    }

    /// Returns the packets that the participant at `place` in its room sends; `None` if it sends
    /// nothing.
    fn of(&self, cast: &Cast, place: usize) -> Option<&[Packet]> {
        if place < cast.talkers {
            return Some(&self.voices[place % self.voices.len()]);
        }
        match cast.rest {
            Rest::Nothing => None,
            Rest::Silence => Some(&self.silence),
            Rest::Noise => Some(&self.noise),
        }
    }
}

fn packets(pcm: &[f32], with_level: bool) -> Result<Vec<Packet>, SpeechError> {
    let spoken = speech::encode(pcm, BITRATE_BPS, Ptime::Ms20)?;
    let packet = |spoken: &speech::Spoken| Packet {
        seq: Seq(0),
        time: RtpTime(0),
        ssrc: 1,
        marker: false,
        level: with_level.then_some(spoken.level),
        payload: Payload::copy_from(&spoken.payload)
            .expect("the encoder writes into a payload's worth of bytes"),
    };
    Ok(spoken.iter().map(packet).collect())
}

/// Returns white noise at -55 dBFS, the same in every run.
fn noise(samples: usize) -> Vec<f32> {
    let mut state = 1u64;
    // The root mean square of an even distribution is its peak divided by the square root of three.
    let peak = 10f32.powf(-55.0 / 20.0) * 3f32.sqrt();
    let sample = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        peak * ((state >> 40) as f32 / 8_388_608.0 - 1.0)
    };
    std::iter::repeat_with(sample).take(samples).collect()
}

/// An engine with its rooms, and each sender's position in its speech.
pub(super) struct Scene<'a> {
    engine: Engine,
    senders: Vec<Sender<'a>>,
    tick: TickLength,
    slot: u64,
    packets_total: u64,
}

/// A participant that sends packets, and its position in them.
struct Sender<'a> {
    id: ParticipantId,
    speech: &'a [Packet],
    /// The packet of the speech with which this participant started.
    from: usize,
    /// The slot within each 20 ms in which this participant's packet arrives.
    phase: u64,
    sent: u64,
}

/// How long one tick of all rooms took, in total and in its parts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    /// The time for taking packets in.
    pub push: Duration,
    /// The time for running the tick's slots.
    pub run: Duration,
    /// The time of the longest slot.
    pub longest_slot: Duration,
}

/// The engine's counters since the scene was created.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub encodes: u64,
    pub packets: u64,
}

impl<'a> Scene<'a> {
    /// Creates the rooms with all participants; takes a while for thousands.
    pub fn new(cast: Cast, speech: &'a Speech) -> Scene<'a> {
        let participants = cast.rooms as usize * cast.people;
        let mut engine = Engine::new(EngineLimits {
            rooms: cast.rooms as usize,
            participants,
        });
        let encoding = Encoding::new(cast.profile, &ReceiverLimits::default(), cast.tick);
        let mut senders = Vec::new();
        let mut id = 0;
        for room in 1..=cast.rooms {
            let room = RoomId(room);
            let settings = RoomSettings {
                tick: cast.tick,
                ..RoomSettings::default()
            };
            let built = Room::new(room, settings, cast.people);
            engine.apply(Command::AddRoom(Box::new(built)), &mut Drain::default());
            let first = id + 1;
            for place in 0..cast.people {
                id += 1;
                let participant = participant(ParticipantId(id), &cast, encoding);
                let add = Command::AddParticipant { room, participant };
                engine.apply(add, &mut Drain::default());
                if let Some(speech) = speech.of(&cast, place) {
                    senders.push(Sender::new(ParticipantId(id), speech));
                }
            }
            for personal in 0..cast.personal.min(cast.people) {
                let listener = ParticipantId(id - personal as u32);
                let talker = ParticipantId(first + (personal % cast.talkers.max(1)) as u32);
                let gains = PersonalGains::new([(talker, Gain::linear(TURNED_DOWN))]);
                let change = GainChange {
                    gains: Some(Box::new(gains)),
                    stream: None,
                };
                let command = Command::SetGains(listener, Box::new(change));
                engine.apply(command, &mut Drain::default());
            }
        }
        Scene {
            engine,
            senders,
            tick: cast.tick,
            slot: 0,
            packets_total: 0,
        }
    }

    /// Returns the counters since the scene was created.
    pub fn totals(&self) -> Totals {
        let stats = self.engine.stats();
        Totals {
            encodes: stats.encodes_total,
            packets: self.packets_total,
        }
    }

    /// Runs one tick of every room, with the packets that arrive in it.
    pub fn turn(&mut self) -> Turn {
        let mut turn = Turn::default();
        let mut drain = Drain::default();
        for _ in 0..self.tick.slots() {
            let slot = self.slot;
            self.slot += 1;
            let now = Time::from_us(SLOT.as_micros() as u64 * (slot + ORIGIN_SLOTS));
            let before = Instant::now();
            for sender in &mut self.senders {
                if let Some(packet) = sender.at(slot) {
                    self.engine.push(sender.id, &packet, now);
                }
            }
            let pushed = Instant::now();
            self.engine.run_slot(slot + ORIGIN_SLOTS, now, &mut drain);
            let ran = pushed.elapsed();
            turn.push += pushed - before;
            turn.run += ran;
            turn.longest_slot = turn.longest_slot.max(ran);
        }
        self.packets_total += drain.packets;
        turn
    }
}

fn participant(id: ParticipantId, cast: &Cast, encoding: Encoding) -> Box<Participant> {
    let config = ParticipantConfig {
        id,
        talks: true,
        listens: Some(encoding),
        layout: Layout::Mono,
        tick: cast.tick,
    };
    Box::new(Participant::new(config, Arc::new(Shared::default())))
}

impl<'a> Sender<'a> {
    fn new(id: ParticipantId, speech: &'a [Packet]) -> Sender<'a> {
        let spread = u64::from(id.0).wrapping_mul(SPREAD);
        Sender {
            id,
            speech,
            from: (spread >> 32) as usize % speech.len(),
            phase: (spread >> 16) % PACKET_SLOTS,
            sent: 0,
        }
    }

    /// Returns the packet that arrives in a slot, if any.
    fn at(&mut self, slot: u64) -> Option<Packet> {
        if slot % PACKET_SLOTS != self.phase {
            return None;
        }
        let mut packet = self.speech[(self.from + self.sent as usize) % self.speech.len()];
        packet.seq = Seq(self.sent as u16);
        packet.time = RtpTime((self.sent as u32).wrapping_mul(PACKET_SAMPLES));
        packet.marker = self.sent == 0;
        self.sent += 1;
        Some(packet)
    }
}

/// Counts the packets that come out and discards them.
#[derive(Default)]
struct Drain {
    packets: u64,
}

impl WorkPool for Drain {}

impl Sink for Drain {
    fn packet(&mut self, _: Destination, to: &[ParticipantId], packet: &OutPacket) {
        std::hint::black_box(packet);
        self.packets += to.len() as u64;
    }

    fn event(&mut self, _: Event) {}

    fn retired(&mut self, _: Retired) {}
}

/// The gain with which a participant hears the talker that it has turned down, linear.
const TURNED_DOWN: f32 = 0.5;

/// The default bitrate of most clients.
const BITRATE_BPS: u32 = 32_000;

/// Slots in a packet of 20 ms.
const PACKET_SLOTS: u64 = 8;

/// Samples of a packet of 20 ms.
const PACKET_SAMPLES: u32 = 960;

/// The slot at which the engine's clock starts.
const ORIGIN_SLOTS: u64 = 8_000;

/// An odd number near 2^64 divided by the golden ratio: consecutive participants start far apart in
/// speech and phase.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
