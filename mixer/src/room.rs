//! One tick of one room.
//!
//! pull and decode each strip -> meter -> decide contributors -> sum -> minus own -> limit ->
//! encode -> hand out -> report. Commands are applied before, by the engine. Contributors are
//! decided once per tick, and the frame that was added is the frame that is subtracted. A room
//! knows neither the engine nor other rooms.

use core::cmp::Ordering;
use core::fmt;
use std::sync::atomic::Ordering::Relaxed;

use crate::bus::Bus;
use crate::command::Event;
use crate::engine::Sink;
use crate::format::{Layout, TickLength};
use crate::frame::Frame;
use crate::listener::{DTX_MAX_BYTES, Heard, Mix, Turn};
use crate::members::{Rank, sources_of};
use crate::opus_toc;
use crate::packet::{OutPacket, Packet, Payload, Sources};
use crate::participant::Participant;
use crate::phase::Rhythm;
use crate::playout::Pushed;
use crate::stats::{TickStats, publish};
use crate::strip::Rules;
use crate::units::{Decibels, Level, ParticipantId, RoomId, RtpTime, Tick, Time};

pub use crate::members::Members;

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

/// A room: its members, its bus, its clock.
pub struct Room {
    id: RoomId,
    settings: RoomSettings,
    members: Members,
    bus: Bus,
    mix: Frame,
    packet: OutPacket,
    tick: Tick,
    /// How long nobody has been heard, saturating.
    rest_ms: u32,
    /// How long from the next tick on packets are gathered that follow closely on one sent.
    gathering_ms: u32,
    /// Who was heard last.
    last_talker: Option<ParticipantId>,
    broken: bool,
}

/// What became of a packet, and what follows from it for the room's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub pushed: Pushed,
    /// Nobody is heard, and this packet's sender is likely to be next: when its packets may be
    /// played.
    pub wanted: Option<Rhythm>,
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
            bus: Bus::new(settings.layout, settings.tick),
            mix: Frame::new(settings.layout, settings.tick),
            packet: OutPacket {
                time: RtpTime(0),
                marker: false,
                sources: Sources::default(),
                payload: Payload::EMPTY,
            },
            tick: Tick(0),
            rest_ms: u32::MAX,
            gathering_ms: 0,
            last_talker: None,
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

    /// Ticks so far.
    pub fn ticks(&self) -> Tick {
        self.tick
    }

    /// Who is in it. With nobody in it, it needs no ticks.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// One tick.
    ///
    /// - `now`: the tick's instant on the clock that stamps arrivals.
    /// - `time`: the same on the media clock of what goes out.
    ///
    /// Real-time: safe.
    pub fn tick(&mut self, now: Time, time: RtpTime, sink: &mut dyn Sink) -> TickStats {
        assert!(!self.broken, "a fault has left this room half done");
        let turn = Turn {
            tick: self.tick,
            time,
        };
        self.gathering_ms = self.gathering_ms.saturating_sub(self.settings.tick.ms());
        self.listen(now);
        self.decide();
        let contributors = self.sum();
        let sources = sources_of(&self.members.ranks, None);
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
        self.advance(&stats);
        stats
    }

    /// Pulls, decodes and meters every strip; ranks those who have something to say.
    fn listen(&mut self, now: Time) {
        let rules = Rules {
            now,
            gate_db: self.settings.gate_db,
        };
        let Members { list, ranks, .. } = &mut self.members;
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
                    level: Level::from(strip.level()),
                    loudness_db: strip.loudness().0,
                });
            }
        }
    }

    /// Decides who is heard: everyone with something to say, or the loudest of them.
    fn decide(&mut self) {
        let Members { list, ranks, .. } = &mut self.members;
        let cap = usize::from(self.settings.max_contributors.unwrap_or(u16::MAX));
        if ranks.len() > cap {
            // Who is heard stays unless clearly outdone, so that two equals do not cut each other
            // off in turns.
            for rank in ranks.iter_mut().filter(|rank| list[rank.member].talking) {
                rank.loudness_db += STAYS_DB;
            }
            ranks.sort_unstable_by(louder_first);
            ranks.truncate(cap);
            for rank in ranks.iter_mut().filter(|rank| list[rank.member].talking) {
                rank.loudness_db -= STAYS_DB;
            }
        }
        ranks.sort_unstable_by(louder_first);
        for participant in list.iter_mut() {
            participant.is_heard = false;
        }
        for rank in ranks.iter() {
            list[rank.member].is_heard = true;
        }
    }

    /// Adds every contributor's frame to the bus; says how many there are.
    fn sum(&mut self) -> usize {
        let mut contributors = 0;
        for participant in &mut self.members.list {
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

    /// Takes the listener's own frame out, limits, encodes, hands out.
    ///
    /// - `sources`: everyone who is heard.
    fn hand_out(
        &mut self,
        member: usize,
        turn: Turn,
        contributors: usize,
        sources: &Sources,
        sink: &mut dyn Sink,
    ) -> Heard {
        let Members { list, ranks, .. } = &mut self.members;
        let participant = &mut *list[member];
        let Some(listener) = participant.listener.as_deref_mut() else {
            return Heard::Nothing;
        };
        if participant.leaving {
            return Heard::Nothing;
        }
        let own = participant.strip.as_ref().filter(|strip| strip.is_in_mix());
        let sources = match own {
            Some(_) => &sources_of(ranks, Some(participant.id)),
            None => sources,
        };
        let others = contributors - usize::from(own.is_some());
        let mix = if others == 0 {
            Mix::Silent
        } else {
            match own {
                Some(strip) => self.bus.minus_into(strip.frame(), &mut self.mix),
                None => self.bus.copy_into(&mut self.mix),
            }
            Mix::Sound {
                frame: &mut self.mix,
                sources,
            }
        };
        listener.expect_loss(participant.shared.settings.loss_percent());
        let heard = listener.hear(turn, mix, &mut self.packet);
        if heard == Heard::Packet {
            self.gathering_ms = self.gathering_ms.max(listener.recipe().packet_ms);
            sink.packet(&[participant.id], &self.packet);
            let sent = &participant.shared.telemetry.sent_total;
            sent.fetch_add(1, Relaxed);
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

    fn advance(&mut self, stats: &TickStats) {
        self.tick.0 += 1;
        self.rest_ms = match stats.contributors {
            0 => self.rest_ms.saturating_add(self.settings.tick.ms()),
            _ => 0,
        };
        let loudest = self.members.ranks.first();
        self.last_talker = loudest.map(|rank| rank.id).or(self.last_talker);
    }
}

/// What the engine does to a room between ticks. Each is real-time safe.
impl Room {
    /// Takes in one packet for the member at `member`; `None` if that one does not talk.
    pub(crate) fn push(&mut self, member: usize, packet: &Packet, arrival: Time) -> Option<Taken> {
        let at_rest = self.is_at_rest();
        let participant = self.members.list.get_mut(member)?;
        let strip = participant.strip.as_mut()?;
        let begins = strip.begins_talk_spurt_at(arrival);
        let pushed = strip.push(packet, arrival);
        let speaks = packet.level != Some(Level::SILENCE)
            && packet.payload.as_slice().len() > DTX_MAX_BYTES
            && !participant.shared.settings.muted();
        let is_next = begins || self.last_talker == Some(participant.id);
        let wanted = at_rest && speaks && is_next && pushed == Pushed::Stored;
        let rhythm = Rhythm {
            ready: arrival + strip.stats().target,
            packet_samples: opus_toc::shape(packet.payload.as_slice()).map_or(0, |it| it.samples),
        };
        Some(Taken {
            pushed,
            wanted: wanted.then_some(rhythm),
        })
    }

    /// Nobody is heard and nothing is on its way out, so that nobody can notice an odd tick: no
    /// packet is half full, and none was sent that would overlap with the one being gathered.
    fn is_at_rest(&self) -> bool {
        self.rest_ms > LONGEST_PACKET_MS && self.gathering_ms == 0
    }

    /// Changes what can change while people are in.
    pub(crate) fn configure(&mut self, settings: RoomSettings) {
        self.settings.gate_db = settings.gate_db;
        self.settings.max_contributors = settings.max_contributors;
    }

    /// Takes in a participant, or gives it back if there is no place or it was built for another
    /// kind of room.
    pub(crate) fn add(&mut self, participant: Box<Participant>) -> Result<usize, Box<Participant>> {
        let fits =
            participant.tick == self.settings.tick && participant.layout == self.settings.layout;
        if fits {
            self.members.add(participant)
        } else {
            Err(participant)
        }
    }

    /// Its places, for what does not concern the room as a whole.
    pub(crate) fn members_mut(&mut self) -> &mut Members {
        &mut self.members
    }

    /// Makes the next tick panic.
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

/// The longest packet a recipe has.
const LONGEST_PACKET_MS: u32 = 60;

/// How much louder a newcomer must be to take the place of one who is heard, where places are few.
const STAYS_DB: f32 = 6.0;

/// Louder first; among equals by id, so that the order does not hang on who joined first.
fn louder_first(a: &Rank, b: &Rank) -> Ordering {
    b.loudness_db
        .total_cmp(&a.loudness_db)
        .then(a.id.cmp(&b.id))
}
