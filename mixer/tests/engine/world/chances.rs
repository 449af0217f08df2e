//! Random actions of the world's participants.

use mixer::codec::{self, Codec};
use mixer::engine::Command;
use mixer::mix::gains::{GainChange, PersonalGains};
use mixer::monitor::MonitorLevel;
use mixer::output::OutputStream;
use mixer::room::Members;
use mixer::units::{Decibels, Gain, ParticipantId, RoomId};

use super::World;
use super::sender::{Hint, Network, Sender};
use crate::common::Chance;
use crate::stage::{exact, human};

/// A voice that alternates between speech and pauses, with timing of its own for each `which`.
pub fn talker(which: usize) -> impl FnMut(u64) -> f32 + Send + 'static {
    let names = ["human-en-female", "human-fr-female", "human-it-male"];
    let mut voice = human(names[which % 3]);
    let (turn, own) = (48_000 * (2 + which as u64 % 5), which as u64 % 3);
    move |sample| match (sample / turn + own) % 3 {
        0 => 0.0,
        _ => voice(sample + 31_000 * which as u64),
    }
}

/// White noise.
pub fn noise(seed: u64, amplitude: f32) -> impl FnMut(u64) -> f32 {
    let mut chance = Chance(seed);
    move |_| amplitude * (2.0 * chance.next() as f32 - 1.0)
}

impl World {
    /// Adds a participant that talks through a random network or only listens.
    pub fn join_any(&mut self, room: usize) -> usize {
        let layout = self.field.rooms[room].settings.layout;
        let which = self.pick(100);
        let begin_us = self.soon_us();
        let mut sender = Sender::opus(which, begin_us, talker(which));
        sender.network = Network {
            jitter_us: self.one_of(&[0.0, 500.0, 5_000.0, 30_000.0]),
            loss_percent: self.one_of(&[0.0, 0.0, 2.0, 10.0]),
            twice_percent: self.one_of(&[0.0, 1.0]),
            late_percent: self.one_of(&[0.0, 2.0]),
            broken_percent: self.one_of(&[0.0, 0.0, 0.5]),
        };
        sender.hint = self.one_of(&[Hint::Nothing, Hint::Truth]);
        let talks = Some((codec::decoder(Codec::Opus, layout), sender));
        let listens = self.any_encoding(room);
        match self.pick(6) {
            0 => self.join_tapped(room, talks),
            1 | 2 => self.join(room, listens, None),
            3 => {
                let clear = exact(talker(which));
                let sender = Sender::exact(begin_us);
                self.join(room, listens, Some((clear, sender)))
            }
            _ => self.join(room, listens, talks),
        }
    }

    /// Performs an action that is rare, or that the engine refuses.
    pub fn do_what_is_rare(&mut self, at: usize) {
        let nobody = ParticipantId(9_999);
        match self.pick(6) {
            0 => {
                let members = Box::new(Members::with_capacity(200));
                let room = RoomId(1);
                self.tell(at, Command::Reserve { room, members });
            }
            1 => {
                let cap = self.one_of(&[0, 5, u8::MAX]);
                self.field.mixers[0].engine.cap_complexity(cap);
            }
            2 => self.tell(at, Command::RemoveParticipant(nobody)),
            3 => self.tell(at, Command::Attend(nobody)),
            4 => {
                let ssrc = self.pick(1_000) as u32;
                let sender = self.people[at].sender.as_mut();
                sender.into_iter().for_each(|it| it.restart(ssrc));
            }
            _ => {
                let sender = self.people[at].sender.as_mut();
                sender
                    .into_iter()
                    .for_each(|it| it.is_paused = !it.is_paused);
            }
        }
    }

    /// Replaces a participant's personal gains: it hears up to three others louder, quieter or not
    /// at all.
    pub fn set_any_gains(&mut self, at: usize) {
        let count = self.pick(4);
        let mut list = Vec::new();
        for _ in 0..count {
            let talker = self.pick(self.people.len());
            let gain = self.one_of(&[Gain::MUTE, Gain::from(Decibels(-12.0)), Gain::linear(2.0)]);
            list.push((self.people[talker].id, gain));
        }
        let gains = PersonalGains::new(list);
        let room = self.people[at].room;
        let listens = self.any_encoding(room);
        let tick = self.field.rooms[room].settings.tick;
        let change = GainChange {
            gains: (!gains.is_empty()).then(|| Box::new(gains)),
            stream: Some(Box::new(OutputStream::new(listens, tick))),
        };
        self.tell(at, Command::SetGains(self.people[at].id, Box::new(change)));
    }

    pub fn any_level(&mut self) -> MonitorLevel {
        MonitorLevel {
            gain: Gain::from(Decibels(self.one_of(&[0.0, 0.0, -6.0, 6.0]))),
            priority: self.one_of(&[0, 0, 1, 2]),
        }
    }

    /// Sets the monitors of a participant; a listen-only participant also gets a spare stream.
    pub fn monitor(&mut self, at: usize, home: MonitorLevel, others: &[(usize, MonitorLevel)]) {
        let room = self.people[at].room;
        let mut monitor_change = self.field.monitor_change(room, home, others);
        if self.people[at].sender.is_none() && !self.people[at].is_tapped {
            let listens = self.any_encoding(room);
            let tick = self.field.rooms[room].settings.tick;
            monitor_change.stream = Some(Box::new(OutputStream::new(listens, tick)));
        }
        self.tell(at, Command::SetMonitors(self.people[at].id, monitor_change));
    }
}
