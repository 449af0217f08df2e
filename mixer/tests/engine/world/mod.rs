//! Rooms whose participants act at random, with a hash of everything the engines output.
#![allow(dead_code, reason = "no test uses all of it")]

pub mod chances;
pub mod print;
pub mod sender;

use std::sync::Arc;

use mixer::codec::{self, Codec, Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::Command;
use mixer::format::{Layout, SLOT, TickLength};
use mixer::output::OutputStream;
use mixer::room::{RoomSettings, Shared};
use mixer::units::{ParticipantId, Time};

use self::print::Print;
use self::sender::Sender;
use crate::common::Chance;
use crate::stage::Tap;
use crate::stage::field::Field;

pub struct World {
    pub field: Field,
    pub people: Vec<Person>,
    pub chance: Chance,
    pub print: Print,
    next: u32,
}

pub struct Person {
    pub room: usize,
    pub id: ParticipantId,
    pub shared: Arc<Shared>,
    pub sender: Option<Sender>,
    pub is_tapped: bool,
}

impl World {
    pub fn new(mixers: usize, seed: u64) -> World {
        World {
            field: Field::new(mixers),
            people: Vec::new(),
            chance: Chance(seed),
            print: Print::default(),
            next: 1,
        }
    }

    /// Adds a room without a feed, so that its ticks may wait for packets.
    pub fn lone_room(&mut self, settings: RoomSettings) -> usize {
        let room = self.field.room(0, settings);
        let feed = Command::SetFeed(self.field.rooms[room].id, None);
        self.field.apply(0, feed);
        room
    }

    /// A random number below `of`.
    pub fn pick(&mut self, of: usize) -> usize {
        (self.chance.next() * of as f64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.pick(of.len())]
    }

    pub fn now_us(&self) -> u64 {
        self.field.slot * SLOT.as_micros() as u64
    }

    /// A random instant within the next 20 ms, in microseconds.
    pub fn soon_us(&mut self) -> u64 {
        self.now_us() + (self.chance.next() * 20_000.0) as u64
    }

    /// A random encoding, such as clients of any kind may be sent.
    pub fn any_encoding(&mut self, room: usize) -> Encoding {
        let limits = ReceiverLimits {
            stereo: self.pick(2) == 0,
            fec: self.pick(4) == 0,
            dtx: self.pick(8) == 0,
            codec: match self.pick(6) {
                0 => Codec::Pcmu,
                _ => Codec::Opus,
            },
            ..ReceiverLimits::default()
        };
        // Half of the listeners use the voice profile, so that streams are shared.
        let profile = match self.pick(2) {
            0 => Profile::Voice,
            _ => self.one_of(&Profile::ALL),
        };
        let hangover_ms = self.one_of(&[0, 0, 400]);
        let settings = self.field.rooms[room].settings;
        let mut encoding =
            Encoding::new(profile, &limits, settings.tick).with_hangover(hangover_ms);
        if settings.layout == Layout::Mono {
            encoding.layout = Layout::Mono;
        }
        encoding
    }

    /// Adds a participant whose stream has the encoding `listens`; returns its index in `people`.
    pub fn join(
        &mut self,
        room: usize,
        listens: Encoding,
        talks: Option<(Box<dyn Decode>, Sender)>,
    ) -> usize {
        self.seat(room, listens, talks, codec::encoder(&listens), false)
    }

    /// Adds a participant whose mix is logged as PCM.
    pub fn join_tapped(&mut self, room: usize, talks: Option<(Box<dyn Decode>, Sender)>) -> usize {
        let mut listens = self.field.encoding(room, true);
        // Opus cannot continue the state of a tap, so a tapped participant must share with nobody.
        listens.bitrate_bps = 97_000;
        let tap = Box::new(Tap(self.field.log.clone()));
        self.seat(room, listens, talks, tap, true)
    }

    fn seat(
        &mut self,
        room: usize,
        listens: Encoding,
        talks: Option<(Box<dyn Decode>, Sender)>,
        encoder: Box<dyn Encode>,
        is_tapped: bool,
    ) -> usize {
        let (decoder, sender) = talks.unzip();
        let id = self.next;
        self.next += 1;
        let shared = (self.field).seat_as(room, id, listens, decoder, encoder);
        self.people.push(Person {
            room,
            id: ParticipantId(id),
            shared,
            sender,
            is_tapped,
        });
        self.people.len() - 1
    }

    /// Applies a command to the engine that runs a participant's room.
    pub fn tell(&mut self, at: usize, command: Command) {
        let room = self.people[at].room;
        self.field.apply(self.field.rooms[room].mixer, command);
    }

    pub fn leave(&mut self, at: usize) {
        self.tell(at, Command::RemoveParticipant(self.people[at].id));
        self.people.remove(at);
    }

    pub fn attend(&mut self, at: usize) {
        self.tell(at, Command::Attend(self.people[at].id));
    }

    pub fn set_stream(&mut self, at: usize, encoding: Encoding) {
        let tick = self.field.rooms[self.people[at].room].settings.tick;
        let listener = Box::new(OutputStream::new(encoding, tick));
        self.tell(at, Command::SetStream(self.people[at].id, listener));
        self.people[at].is_tapped = false;
    }

    /// Runs `ms` milliseconds.
    pub fn pass_ms(&mut self, ms: u64) {
        for _ in 0..ms * 1_000 / SLOT.as_micros() as u64 {
            self.slot();
        }
    }

    fn slot(&mut self) {
        let now_us = self.now_us() + SLOT.as_micros() as u64;
        for person in &mut self.people {
            let Some(sender) = &mut person.sender else {
                continue;
            };
            let mixer = self.field.rooms[person.room].mixer;
            let engine = &mut self.field.mixers[mixer].engine;
            for (at_us, packet) in sender.arrived(now_us, &mut self.chance) {
                let pushed = engine.push(person.id, &packet, Time::from_us(at_us));
                self.print.measured([pushed.map_or(99, |it| it as u64)]);
            }
        }
        self.field.step();
        for mixer in &mut self.field.mixers {
            for (to, packet) in mixer.sink.packets.drain(..) {
                self.print.packet(to, &packet);
            }
            for event in mixer.sink.events.drain(..) {
                self.print.event(event);
            }
            for retired in mixer.sink.retired.drain(..) {
                self.print.retired(&retired);
            }
        }
        if self.field.slot.is_multiple_of(40) {
            self.measure();
        }
    }

    fn measure(&mut self) {
        for person in &self.people {
            self.print.telemetry(&person.shared.telemetry);
        }
        for mixer in &self.field.mixers {
            self.print.engine(&mixer.engine.stats());
            self.print.measured([mixer.engine.is_idle().into()]);
        }
    }

    /// Returns the hashes of everything that happened.
    pub fn finish(mut self) -> Print {
        self.measure();
        for pcm in self.field.log.all() {
            self.print.pcm(&pcm);
        }
        self.print
    }
}

/// Both tick lengths.
pub const TICKS: [TickLength; 2] = [TickLength::Ms10, TickLength::Ms20];
