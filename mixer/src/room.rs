//! One tick of one room.
//!
//! pull and decode each strip -> meter -> decide contributors -> sum -> minus own -> limit ->
//! encode -> hand out -> report. Commands are applied before, by the engine. Contributors are
//! decided once per tick, and the frame that was added is the frame that is subtracted. A room
//! knows neither the engine nor other rooms.

use core::fmt;
use std::sync::atomic::Ordering::Relaxed;

use crate::bus::Bus;
use crate::command::Event;
use crate::engine::Sink;
use crate::format::{Layout, TickLength};
use crate::frame::Frame;
use crate::listener::{Heard, Listener, Mix, Turn};
use crate::packet::{OutPacket, Packet, Payload, Sources};
use crate::participant::Participant;
use crate::playout::Pushed;
use crate::stats::{TickStats, publish};
use crate::strip::{Rules, Strip};
use crate::units::{Decibels, Level, ParticipantId, RoomId, RtpTime, Tick, Time};

/// How a room mixes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomSettings {
    /// Its clock. Fixed for the life of the room.
    pub tick: TickLength,
    /// Its bus. Fixed for the life of the room.
    pub layout: Layout,
    /// Where gates open, dBFS; `None`: for anything but digital silence.
    pub gate_db: Option<Decibels>,
    /// At most so many are heard at once, the loudest; `None`: all.
    pub max_contributors: Option<u16>,
}

impl Default for RoomSettings {
    fn default() -> RoomSettings {
        RoomSettings {
            tick: TickLength::default(),
            layout: Layout::default(),
            gate_db: Some(crate::gate::DEFAULT_THRESHOLD),
            max_contributors: None,
        }
    }
}

/// The places of a room: as many as were reserved when it was built.
#[derive(Default)]
pub struct Members {
    list: Vec<Box<Participant>>,
    ranks: Vec<Rank>,
}

impl Members {
    /// An empty list with places for `capacity`.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_capacity(capacity: usize) -> Members {
        Members {
            list: Vec::with_capacity(capacity),
            ranks: Vec::with_capacity(capacity),
        }
    }

    /// Places, taken and free.
    pub fn capacity(&self) -> usize {
        self.list.capacity().min(self.ranks.capacity())
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({} of {})", self.list.len(), self.capacity())
    }
}

/// One who has something to say this tick.
#[derive(Clone, Copy)]
struct Rank {
    member: usize,
    id: ParticipantId,
    loudness: f32,
}

/// A room: its members, its bus, its clock.
pub struct Room {
    id: RoomId,
    settings: RoomSettings,
    members: Members,
    leaving: usize,
    bus: Bus,
    mix: Frame,
    packet: OutPacket,
    tick: Tick,
    broken: bool,
}

impl Room {
    /// An empty room with places for `capacity` participants.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(id: RoomId, settings: RoomSettings, capacity: usize) -> Room {
        Room {
            id,
            settings,
            members: Members::with_capacity(capacity),
            leaving: 0,
            bus: Bus::new(settings.layout, settings.tick),
            mix: Frame::new(settings.layout, settings.tick),
            packet: OutPacket {
                time: RtpTime(0),
                marker: false,
                sources: Sources::default(),
                payload: Payload::EMPTY,
            },
            tick: Tick(0),
            broken: false,
        }
    }

    /// Its name.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// How it mixes.
    pub fn settings(&self) -> &RoomSettings {
        &self.settings
    }

    /// How many are in it, those who are fading out included.
    pub fn len(&self) -> usize {
        self.members.list.len()
    }

    /// Whether nobody is in it: it then needs no ticks.
    pub fn is_empty(&self) -> bool {
        self.members.list.is_empty()
    }

    /// One tick.
    ///
    /// - `now`: the tick's instant on the clock that stamps arrivals.
    /// - `time`: the same on the media clock of what goes out.
    ///
    /// Real-time: safe.
    pub fn tick(&mut self, now: Time, time: RtpTime, sink: &mut dyn Sink) -> TickStats {
        assert!(!self.broken, "broken on command");
        let turn = Turn {
            tick: self.tick,
            time,
        };
        self.listen(now);
        self.decide();
        let contributors = self.sum();
        let sources = self.sources(None);
        let mut stats = TickStats {
            contributors,
            ..TickStats::default()
        };
        for member in 0..self.members.list.len() {
            match self.hand_out(member, turn, contributors, &sources, sink) {
                Heard::Packet => stats.packets += 1,
                Heard::Failed => stats.encode_failures += 1,
                Heard::Nothing => {}
            }
        }
        self.report(sink);
        self.tick.0 += 1;
        stats
    }

    /// Pulls, decodes and meters every strip; ranks those who have something to say.
    fn listen(&mut self, now: Time) {
        let rules = Rules {
            now,
            gate_db: self.settings.gate_db,
        };
        let Members { list, ranks } = &mut self.members;
        ranks.clear();
        for (member, participant) in list.iter_mut().enumerate() {
            let Some(strip) = &mut participant.strip else {
                continue;
            };
            let settings = &participant.shared.settings;
            strip.set(settings.muted() || participant.leaving, settings.gain());
            if strip.listen(&rules) {
                ranks.push(Rank {
                    member,
                    id: participant.id,
                    loudness: strip.loudness().0,
                });
            }
        }
    }

    /// Decides who is heard: everyone with something to say, or the loudest of them.
    fn decide(&mut self) {
        let Members { list, ranks } = &mut self.members;
        let cap = usize::from(self.settings.max_contributors.unwrap_or(u16::MAX));
        if ranks.len() > cap {
            // Who is heard stays unless clearly outdone, so that two equals do not cut each other
            // off in turns.
            let stays = |rank: &Rank| {
                if list[rank.member].talking {
                    STAYS_DB
                } else {
                    0.0
                }
            };
            ranks.sort_unstable_by(|a, b| {
                let (a_db, b_db) = (a.loudness + stays(a), b.loudness + stays(b));
                b_db.total_cmp(&a_db).then(a.id.cmp(&b.id))
            });
            ranks.truncate(cap);
        }
        ranks.sort_unstable_by(|a, b| b.loudness.total_cmp(&a.loudness).then(a.id.cmp(&b.id)));
    }

    /// Adds every contributor's frame to the bus; says how many there are.
    fn sum(&mut self) -> usize {
        let Members { list, ranks } = &mut self.members;
        for participant in list.iter_mut() {
            participant.is_heard = false;
        }
        for rank in ranks.iter() {
            list[rank.member].is_heard = true;
        }
        let mut contributors = 0;
        for participant in list.iter_mut() {
            let heard = participant.is_heard;
            let Some(strip) = &mut participant.strip else {
                continue;
            };
            if strip.contribute(heard) {
                if contributors == 0 {
                    self.bus.clear();
                }
                self.bus.add(strip.frame());
                contributors += 1;
            }
        }
        contributors
    }

    /// Who is heard, loudest first, without `listener`.
    fn sources(&self, listener: Option<ParticipantId>) -> Sources {
        let mut sources = Sources::default();
        let heard = self.members.ranks.iter();
        for rank in heard.filter(|rank| Some(rank.id) != listener) {
            let strip = self.members.list[rank.member].strip.as_ref();
            let level = strip.map_or(Level::SILENCE, |strip| Level::from(strip.level()));
            if !sources.push(rank.id, level) {
                break;
            }
        }
        sources
    }

    /// Takes the listener's own frame out, limits, encodes, hands out.
    fn hand_out(
        &mut self,
        member: usize,
        turn: Turn,
        contributors: usize,
        sources: &Sources,
        sink: &mut dyn Sink,
    ) -> Heard {
        let (is_in_mix, id) = {
            let participant = &self.members.list[member];
            if participant.leaving || participant.listener.is_none() {
                return Heard::Nothing;
            }
            (participant.is_in_mix(), participant.id)
        };
        let own_sources = is_in_mix.then(|| self.sources(Some(id)));
        let participant = &mut self.members.list[member];
        let Some(listener) = participant.listener.as_deref_mut() else {
            return Heard::Nothing;
        };
        let others = contributors - usize::from(is_in_mix);
        let mix = if others == 0 {
            Mix::Silent
        } else {
            match &participant.strip {
                Some(strip) if is_in_mix => self.bus.minus_into(strip.frame(), &mut self.mix),
                _ => self.bus.copy_into(&mut self.mix),
            }
            Mix::Sound {
                frame: &mut self.mix,
                sources: own_sources.as_ref().unwrap_or(sources),
            }
        };
        listener.expect_loss(participant.shared.settings.loss_percent());
        let heard = listener.hear(turn, mix, &mut self.packet);
        if heard == Heard::Packet {
            sink.packet(id, &self.packet);
            participant
                .shared
                .telemetry
                .sent_total
                .fetch_add(1, Relaxed);
        }
        heard
    }

    /// Publishes every strip's counts and tells who began and who ceased to be heard.
    fn report(&mut self, sink: &mut dyn Sink) {
        let room = self.id;
        for participant in &mut self.members.list {
            let Some(strip) = &participant.strip else {
                continue;
            };
            let telemetry = &participant.shared.telemetry;
            publish(strip.stats(), telemetry);
            telemetry
                .level
                .store(Level::from(strip.level()).wire(), Relaxed);
            let talking = participant.is_heard;
            if talking != participant.talking {
                participant.talking = talking;
                telemetry.talking.store(talking, Relaxed);
                let participant = participant.id;
                sink.event(if talking {
                    Event::Talking { room, participant }
                } else {
                    Event::Stopped { room, participant }
                });
            }
        }
    }
}

/// What the engine does to a room between ticks. Each is real-time safe.
impl Room {
    /// Takes in one packet for the member at `member`; `None` if that one does not talk.
    pub(crate) fn push(&mut self, member: usize, packet: &Packet, arrival: Time) -> Option<Pushed> {
        let strip: &mut Strip = self.members.list.get_mut(member)?.strip.as_mut()?;
        Some(strip.push(packet, arrival))
    }

    /// Changes what can change while people are in.
    pub(crate) fn configure(&mut self, settings: RoomSettings) {
        self.settings.gate_db = settings.gate_db;
        self.settings.max_contributors = settings.max_contributors;
    }

    /// Moves everybody to a longer list; gives back the list that is no longer needed.
    pub(crate) fn reserve(&mut self, mut members: Members) -> Members {
        if members.capacity() > self.members.capacity() {
            members.list.append(&mut self.members.list);
            core::mem::swap(&mut self.members, &mut members);
        }
        members
    }

    /// Takes in a participant, or gives it back if there is no place or it was built for another
    /// kind of room.
    pub(crate) fn add(&mut self, participant: Box<Participant>) -> Result<usize, Box<Participant>> {
        let fits =
            participant.tick == self.settings.tick && participant.layout == self.settings.layout;
        if !fits || self.len() >= self.members.capacity() {
            return Err(participant);
        }
        self.members.list.push(participant);
        Ok(self.len() - 1)
    }

    /// Lets the member at `member` fade out; [`take_left`](Room::take_left) gives it back after
    /// that.
    pub(crate) fn dismiss(&mut self, member: usize) {
        if let Some(participant) = self.members.list.get_mut(member) {
            self.leaving += usize::from(!participant.leaving);
            participant.leaving = true;
        }
    }

    /// Takes out one who was dismissed and is no longer on the bus. The last in the list moves to
    /// the place that becomes free, which is named too.
    pub(crate) fn take_left(&mut self) -> Option<(Box<Participant>, usize)> {
        if self.leaving == 0 {
            return None;
        }
        let mut list = self.members.list.iter();
        let place = list.position(|member| member.leaving && !member.is_audible())?;
        self.leaving -= 1;
        Some((self.members.list.swap_remove(place), place))
    }

    /// Who sits at `member`, if it is not on the way out.
    pub(crate) fn member(&self, member: usize) -> Option<ParticipantId> {
        let participant = self.members.list.get(member)?;
        (!participant.leaving).then_some(participant.id)
    }

    /// Everyone in it.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ParticipantId> {
        self.members.list.iter().map(|participant| participant.id)
    }

    /// Replaces a member's stream; gives back what is no longer needed.
    pub(crate) fn set_listener(
        &mut self,
        member: usize,
        listener: Box<Listener>,
    ) -> Option<Box<Listener>> {
        match self.members.list.get_mut(member) {
            Some(participant) => participant.listener.replace(listener),
            None => Some(listener),
        }
    }

    /// Makes the next tick panic.
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fn break_down(&mut self) {
        self.broken = true;
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("id", &self.id)
            .field("settings", &self.settings)
            .field("members", &self.members)
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}

/// How much louder a newcomer must be to take the place of one who is heard, where places are few.
const STAYS_DB: f32 = 6.0;
