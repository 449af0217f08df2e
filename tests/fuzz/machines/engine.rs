//! Fuzzes the engine: rooms, participants and packets in any order.

use std::any::Any;
use std::sync::{Arc, Mutex};

use mixer::codec::{
    Decode, DecodeError, Encode, EncodeError, EncoderSettings, Encoding, Profile, ReceiverLimits,
    opus_toc,
};
use mixer::engine::{Command, Engine, EngineLimits, Sink};
use mixer::format::SLOT;
use mixer::mix::gains::{GainChange, PersonalGains};
use mixer::output::limiter::{CEILING, KNEE};
use mixer::output::{Destination, Event, Retired};
use mixer::room::{Members, Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::schedule::WorkPool;
use mixer::{
    Decibels, Gain, Level, OutPacket, Packet, ParticipantId, Payload, RoomId, RtpTime, Seq, Time,
};

use super::{MOST_TICKS, Operations};

/// Runs the same joins, leaves, settings and packets twice, the second time with the first
/// participant's voice inverted. The first participant must not hear a difference, and no
/// participant may hear anything above the ceiling.
///
/// The voices are either quiet or loud. If they are quiet, no limiter acts, and the two runs may
/// differ only by rounding. If they are loud, only the ceiling is checked, because the end of a
/// limiter's hold depends on the last bit of a peak.
pub fn engine(bytes: &[u8]) {
    let loud = bytes.first().is_some_and(|first| first & 4 != 0);
    if loud {
        perform(bytes, LOUDEST);
        return;
    }
    let upright = perform(bytes, QUIETEST);
    let inverted = perform(bytes, -QUIETEST);
    assert_eq!(upright.len(), inverted.len());
    for (at, (one, other)) in upright.iter().zip(&inverted).enumerate() {
        assert!((one - other).abs() < 1e-5, "sample {at}: {one} and {other}");
    }
}

/// The amplitude of loud voices, +12 dBFS: a decoder may return that, because libopus does not clip
/// either.
const LOUDEST: f32 = 4.0;

/// The amplitude of quiet voices: with every place taken and every gain at +12 dB the sum is still
/// below the limiter's knee.
const QUIETEST: f32 = KNEE / (4.0 * (PLACES + 1) as f32);

/// Performs the operations in `bytes` with voices of this amplitude; returns what the first
/// participant heard.
fn perform(bytes: &[u8], amplitude: f32) -> Vec<f32> {
    let mut operations = Operations(bytes);
    let (layout, tick) = operations.layout();
    let settings = RoomSettings {
        tick,
        layout,
        gate_db: Some(Decibels(-50.0)),
        max_contributors: None,
    };
    let mut stage = Stage {
        engine: Engine::new(EngineLimits {
            rooms: 3,
            participants: PLACES,
        }),
        outlet: Outlet::default(),
        heard: Arc::default(),
        shared: Vec::new(),
        settings,
        amplitude,
        added: 0,
        slot: 400,
    };
    for room in 0..2 {
        stage.add_room(room);
    }
    stage.join(0, 0);
    let mut ticks = 0;
    while let Some(operation) = operations.next() {
        stage.operate(operation, &mut operations);
        if operation & 7 >= 6 && ticks < MOST_TICKS / 4 {
            stage.run(tick.slots() * (1 + usize::from(operation >> 5)));
            ticks += 1 + usize::from(operation >> 5);
        }
    }
    stage.finish()
}

const PLACES: usize = 8;

struct Stage {
    engine: Engine,
    outlet: Outlet,
    heard: Arc<Mutex<Vec<f32>>>,
    shared: Vec<(u32, Arc<Shared>)>,
    settings: RoomSettings,
    amplitude: f32,
    added: usize,
    slot: u64,
}

impl Stage {
    fn operate(&mut self, operation: u8, operations: &mut Operations<'_>) {
        let high = u32::from(operation >> 3);
        match operation & 7 {
            0 => self.join(operations.byte() as u32 % 12, high % 3),
            // The first participant stays, because its output is compared.
            1 => self.apply(Command::RemoveParticipant(ParticipantId(2 + high % 12))),
            2 => self.set(high, operations.byte()),
            3 => self.reshape(high, operations.byte()),
            4 | 5 => {
                let from = ParticipantId(1 + high % 12);
                let payload = [31 << 3, operations.byte(), operations.byte(), from.0 as u8];
                let packet = Packet {
                    seq: Seq(operations.short()),
                    time: RtpTime(u32::from(operations.byte()) * 480),
                    ssrc: from.0,
                    marker: false,
                    level: Some(Level::from_wire(operations.byte())),
                    payload: Payload::copy_from(&payload).expect("four bytes"),
                };
                self.engine.push(from, &packet, self.now());
            }
            _ => self.everybody_talks(operation),
        }
    }

    fn now(&self) -> Time {
        Time::from_us(self.slot * SLOT.as_micros() as u64)
    }

    fn apply(&mut self, command: Command) {
        self.engine.apply(command, &mut self.outlet);
    }

    fn add_room(&mut self, room: u32) {
        let room = Box::new(Room::new(RoomId(room), self.settings, PLACES / 2));
        self.apply(Command::AddRoom(room));
    }

    fn join(&mut self, who: u32, room: u32) {
        let id = ParticipantId(1 + who);
        let RoomSettings { tick, layout, .. } = self.settings;
        let config = ParticipantConfig {
            id,
            talks: true,
            listens: Some(Encoding::new(
                Profile::Voice,
                &ReceiverLimits::default(),
                tick,
            )),
            layout,
            tick,
        };
        let shared = Arc::<Shared>::default();
        let decoder = Voice {
            amplitude: if who == 0 {
                self.amplitude
            } else {
                self.amplitude.abs()
            },
            channels: layout.channels(),
            at: 0,
        };
        let ear = Ear((who == 0).then(|| self.heard.clone()));
        let participant = Participant::with_codec(
            config,
            shared.clone(),
            Some(Box::new(decoder)),
            Some(Box::new(ear)),
        );
        self.added += 1;
        self.shared.push((id.0, shared));
        self.apply(Command::AddParticipant {
            room: RoomId(room),
            participant: Box::new(participant),
        });
    }

    fn set(&mut self, what: u32, value: u8) {
        for (id, shared) in &self.shared {
            if id % 4 == what % 4 {
                let settings = &shared.settings;
                match what >> 2 {
                    0 => settings.mute(value & 1 == 1),
                    1 => settings.amplify(Gain::from(Decibels(f32::from(value as i8)))),
                    2 => settings.amplify(Gain::linear(f32::from_bits(u32::from(value) << 24))),
                    _ => settings.report_loss(value),
                }
            }
        }
    }

    fn reshape(&mut self, what: u32, value: u8) {
        let room = RoomId(u32::from(value) % 3);
        match what % 5 {
            0 => self.add_room(room.0),
            1 if room.0 != 0 => self.apply(Command::RemoveRoom(room)),
            2 => self.apply(Command::Reserve {
                room,
                members: Box::new(Members::with_capacity(usize::from(value) % 12)),
            }),
            3 => self.set_gains(1 + u32::from(value) % 12, what, value),
            _ => {
                let settings = RoomSettings {
                    gate_db: (value & 1 == 0).then(|| Decibels(-f32::from(value))),
                    max_contributors: (value & 2 == 0).then_some(u16::from(value >> 4)),
                    ..self.settings
                };
                self.apply(Command::ConfigureRoom(room, settings));
            }
        }
    }

    /// Replaces the personal gains of one participant, which then hears up to two others quieter or
    /// not at all.
    fn set_gains(&mut self, listener: u32, what: u32, value: u8) {
        let quieter = |talker: u32, value: u8| {
            let gain = Gain::linear(f32::from(value >> 4) / 16.0);
            (ParticipantId(1 + talker % 12), gain)
        };
        let list = [
            quieter(what, value),
            quieter(u32::from(value), value.reverse_bits()),
        ];
        let gains = PersonalGains::new(list.into_iter().take(usize::from(value) % 3));
        let change = GainChange {
            gains: (!gains.is_empty()).then(|| Box::new(gains)),
            stream: None,
        };
        let id = ParticipantId(listener);
        self.apply(Command::SetGains(id, Box::new(change)));
    }

    /// Sends a packet of each participant for one tick, in which a lasting voice goes on.
    fn everybody_talks(&mut self, operation: u8) {
        let number = self.slot / self.settings.tick.slots() as u64;
        let samples = self.settings.tick.samples() as u64;
        for id in 1..=12u32 {
            let toc = if samples == 960 { 31 << 3 } else { 30 << 3 };
            let payload = [toc, operation | 0x40, id as u8 * 7, id as u8];
            let packet = Packet {
                seq: Seq(number as u16),
                time: RtpTime((number * samples) as u32),
                ssrc: id,
                marker: false,
                level: None,
                payload: Payload::copy_from(&payload).expect("four bytes"),
            };
            self.engine.push(ParticipantId(id), &packet, self.now());
        }
    }

    fn run(&mut self, slots: usize) {
        for _ in 0..slots {
            self.slot += 1;
            let now = self.now();
            self.engine.run_slot(self.slot, now, &mut self.outlet);
        }
        let stats = self.engine.stats();
        assert_eq!(stats.faults_total, 0, "no tick panics");
        assert!(stats.participants <= PLACES && stats.rooms <= 3);
    }

    /// Removes all rooms; every participant must come back from the engine.
    fn finish(mut self) -> Vec<f32> {
        for room in 0..3 {
            self.apply(Command::RemoveRoom(RoomId(room)));
        }
        let stats = self.engine.stats();
        assert_eq!((stats.rooms, stats.participants), (0, 0));
        assert_eq!(self.outlet.participants, self.added, "all come back");
        std::mem::take(&mut *self.heard.lock().expect("nobody panics with it"))
    }
}

/// A fake decoder: a tone whose pitch and level are given by the payload.
struct Voice {
    amplitude: f32,
    channels: usize,
    at: u64,
}

impl Decode for Voice {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let &[toc, loudness, pitch, _] = payload else {
            return Err(DecodeError::Malformed);
        };
        if pitch == 255 {
            return Err(DecodeError::Malformed);
        }
        let samples = opus_toc::shape(&[toc])
            .map_err(|_| DecodeError::Malformed)?
            .samples;
        let amplitude = self.amplitude * f32::from(loudness) / 255.0;
        let step = std::f32::consts::TAU * (100.0 + 30.0 * f32::from(pitch)) / 48_000.0;
        for frame in pcm[..samples * self.channels].chunks_exact_mut(self.channels) {
            frame.fill(amplitude * (step * (self.at % 48_000) as f32).sin());
            self.at += 1;
        }
        Ok(samples)
    }

    fn recover(&mut self, _: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.conceal(pcm);
        Ok(())
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        pcm.fill(0.01 * self.amplitude);
    }

    fn reset(&mut self) {
        self.at = 0;
    }
}

/// A fake encoder that checks the frames that it is given, and keeps those for the first
/// participant.
struct Ear(Option<Arc<Mutex<Vec<f32>>>>);

impl Encode for Ear {
    fn encode(&mut self, pcm: &[f32], payload: &mut Payload) -> Result<(), EncodeError> {
        let loudest = pcm
            .iter()
            .fold(0.0f32, |most, sample| most.max(sample.abs()));
        assert!(pcm.iter().all(|sample| sample.is_finite()));
        assert!(loudest <= CEILING, "{loudest} is over the ceiling");
        if let Some(heard) = &self.0 {
            heard.lock().expect("nobody panics with it").extend(pcm);
        }
        *payload = Payload::copy_from(&[31 << 3, 1]).expect("two bytes");
        Ok(())
    }

    fn configure(&mut self, _: &EncoderSettings) {}

    fn reset(&mut self) {}

    fn follow(&mut self, other: &dyn Encode) -> bool {
        other.as_any().is::<Ear>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Counts the participants that the engine gives back, and checks that no packet names its receiver
/// as a contributor.
#[derive(Default)]
struct Outlet {
    participants: usize,
}

impl WorkPool for Outlet {}

impl Sink for Outlet {
    fn packet(&mut self, _: Destination, to: &[ParticipantId], packet: &OutPacket) {
        assert!(!to.is_empty());
        assert!(to.iter().all(|to| !packet.sources.ids().contains(&to.0)));
    }

    fn event(&mut self, _: Event) {}

    fn retired(&mut self, retired: Retired) {
        let room = retired.get::<Room>();
        self.participants += usize::from(retired.is::<Participant>());
        self.participants += room.map_or(0, |room| room.members().len());
    }
}
