//! One tick of one room, from the participants' packets to the listeners' packets.
//!
//! pull and decode each strip -> meter -> decide contributors -> sum -> regroup -> minus own ->
//! limit -> encode -> hand out -> report. The engine applies commands before the tick. Contributors
//! are decided once per tick, and the frame that was added is the frame that is subtracted. Of the
//! engine a room knows only the [`Sink`]; of other rooms it knows only their feeds.
//!
//! A tick leaves out members whose strips are idle, since a room can have thousands of members. A
//! room with nothing to play or send [sleeps](TickStats::asleep) until the next packet or command.

mod arrivals;
mod changes;
#[cfg(any(test, feature = "fault-injection"))]
mod fault;
mod groups;
mod interned;
mod members;
mod mixing;
mod other_rooms;
mod participant;
mod recent_talkers;
mod shared;
mod talk_forecast;
mod telemetry;

use core::cmp::Ordering;
use core::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use self::other_rooms::OtherRooms;
use self::recent_talkers::RecentTalkers;
use self::telemetry::publish;
use crate::format::{Layout, SLOT_SAMPLES, TickLength};
use crate::frame::Frame;
use crate::ingest::Pushed;
use crate::mix::bus::Buses;
use crate::output::{Destination, Event, OutputStream, Sink, TickInstant, encode_budget};
use crate::packet::{OutPacket, Payload, Sources};
use crate::room::groups::Hearing;
use crate::room::members::{Member, Rank};
use crate::schedule::{JobLabel, Jobs, MediaClock, Rhythm, WorkOutcome};
use crate::source::TickRules;
use crate::units::{Decibels, Level, ParticipantId, RoomId, RtpTime, Tick, Time};

#[cfg(any(test, feature = "fault-injection"))]
pub use self::fault::Weakness;
pub use self::members::Members;
pub use self::participant::{Participant, ParticipantConfig};
pub use self::shared::{RoomTelemetry, Settings, Shared, Telemetry};
pub use self::telemetry::TickStats;

/// How a room mixes: its tick, layout, noise gate and limit of contributors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomSettings {
    /// Length of one tick. Fixed for the life of the room.
    pub tick: TickLength,
    /// Channel layout of the bus. Fixed for the life of the room.
    pub layout: Layout,
    /// Noise gate threshold, dBFS; `None`: the gate opens for anything but digital silence.
    pub gate_db: Option<Decibels>,
    /// Most participants heard at once, the loudest first; `None`: no limit.
    pub max_contributors: Option<u16>,
}

impl Default for RoomSettings {
    fn default() -> RoomSettings {
        RoomSettings {
            tick: TickLength::default(),
            layout: Layout::default(),
            gate_db: Some(crate::source::gate::DEFAULT_THRESHOLD),
            max_contributors: None,
        }
    }
}

/// A room: its members, its bus and its clock.
pub struct Room {
    id: RoomId,
    settings: RoomSettings,
    members: Members,
    buses: Buses,
    mix: Frame,
    spare: Frame,
    other_rooms: OtherRooms,
    packet: OutPacket,
    tick: Tick,
    clock: MediaClock,
    /// Time since a voice was last heard in the room, saturating.
    rest_ms: u32,
    /// Time for which streams still gather the packet that follows directly on the last one sent.
    gathering_ms: u32,
    recent_talkers: RecentTalkers,
    /// The member that began to send most recently: expected to talk next if nobody is likelier.
    newest_sender: Option<ParticipantId>,
    broken: bool,
    telemetry: Arc<RoomTelemetry>,
    #[cfg(any(test, feature = "fault-injection"))]
    weakness: Option<Weakness>,
}

/// What became of a packet, and what follows for the room's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub pushed: Pushed,
    /// While nobody is heard: the likely next talker, and the times of their packets, to which the
    /// room's ticks should move.
    pub wanted: Option<(ParticipantId, Rhythm)>,
    /// The sender has something to play, so the room must wake.
    pub wakes: bool,
}

impl Room {
    /// Creates an empty room for `capacity` participants. Real-time: set-up only (allocates).
    pub fn new(id: RoomId, settings: RoomSettings, capacity: usize) -> Room {
        Room {
            id,
            settings,
            members: Members::with_capacity(capacity),
            buses: Buses::new(settings.layout, settings.tick),
            mix: Frame::new(settings.layout, settings.tick),
            spare: Frame::new(settings.layout, settings.tick),
            other_rooms: OtherRooms::default(),
            packet: OutPacket {
                time: RtpTime(0),
                marker: false,
                sources: Sources::default(),
                payload: Payload::EMPTY,
            },
            tick: Tick(0),
            clock: MediaClock::default(),
            rest_ms: u32::MAX,
            gathering_ms: 0,
            recent_talkers: RecentTalkers::default(),
            newest_sender: None,
            broken: false,
            telemetry: Arc::default(),
            #[cfg(any(test, feature = "fault-injection"))]
            weakness: None,
        }
    }

    /// Sets where the engine publishes the room's state. Real-time: set-up only (frees).
    #[must_use]
    pub fn with_telemetry(mut self, telemetry: Arc<RoomTelemetry>) -> Room {
        self.telemetry = telemetry;
        self
    }

    /// The state that the engine publishes of the room; readers may keep it beyond the room's life.
    pub fn telemetry(&self) -> &Arc<RoomTelemetry> {
        &self.telemetry
    }

    /// The room's id.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// The settings by which the room mixes.
    pub fn settings(&self) -> &RoomSettings {
        &self.settings
    }

    /// Number of ticks so far.
    pub fn ticks(&self) -> Tick {
        self.tick
    }

    /// The members of the room. A room without members needs no ticks.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Runs one tick of the room.
    ///
    /// - `now`: the tick's instant on the clock that stamps arrivals.
    ///
    /// Real-time: safe.
    pub(crate) fn tick(&mut self, now: Time, context: &mut TickContext<'_>) -> TickStats {
        assert!(!self.broken, "a fault has left this room half done");
        self.gathering_ms = self.gathering_ms.saturating_sub(self.settings.tick.ms());
        self.listen(now);
        self.decide();
        self.sum();
        self.hear_other_rooms(context.at);
        let contributors = self.buses.contributors();
        let instant = TickInstant {
            tick: self.tick,
            time: self
                .clock
                .at(RtpTime(context.at as u32), self.settings.tick),
            room_sounds: contributors > 0 || self.other_rooms.is_heard,
        };
        let has_changed = self.members.find_active_gains();
        let Members { list, shares, .. } = &mut self.members;
        (shares.groups).regroup(list, instant, has_changed, context.sink);
        let mut stats = TickStats {
            contributors,
            ..TickStats::default()
        };
        self.mix(instant, context.complexity_cap, &mut stats);
        self.retire_changes(context.sink);
        self.encode(context, &mut stats);
        self.report(context.sink);
        self.advance(&mut stats);
        stats
    }

    /// Pulls, decodes and meters every strip; ranks the participants who have something to say.
    fn listen(&mut self, now: Time) {
        let rules = TickRules {
            now,
            gate_db: self.settings.gate_db,
            leeway_samples: self.leeway_samples(),
        };
        let Members { list, ranks, .. } = &mut self.members;
        ranks.clear();
        for (place, member) in list.iter_mut().enumerate() {
            member.is_heard = false;
            member.in_mix = false;
            if core::mem::take(&mut member.attended) {
                member.awake = member.participant.strip.is_some();
            }
            if !member.awake {
                continue;
            }
            member.begin_tone();
            let Some(strip) = &mut member.participant.strip else {
                continue;
            };
            let settings = &member.participant.shared.settings;
            strip.set(settings.muted() || member.leaving, settings.gain());
            strip.allow(settings.permit(), now);
            if strip.listen(&rules) {
                ranks.push(Rank {
                    member: place,
                    id: member.id,
                    level: Level::from(strip.level()),
                    loudness_db: strip.loudness().0,
                    has_floor: strip.has_floor(),
                });
            }
        }
    }

    /// Decides who is heard: all ranked participants, or the loudest if their number is limited.
    fn decide(&mut self) {
        let Members { list, ranks, .. } = &mut self.members;
        let cap = usize::from(self.settings.max_contributors.unwrap_or(u16::MAX));
        if ranks.len() > cap {
            // A talker stays heard until clearly outdone, lest two equally loud talkers alternate.
            for rank in ranks.iter_mut().filter(|rank| list[rank.member].talking) {
                rank.loudness_db += STAYS_DB;
            }
            ranks.sort_unstable_by(|a, b| b.has_floor.cmp(&a.has_floor).then(louder_first(a, b)));
            let holders = ranks.partition_point(|rank| rank.has_floor);
            ranks.truncate(cap.max(holders));
            for rank in ranks.iter_mut().filter(|rank| list[rank.member].talking) {
                rank.loudness_db -= STAYS_DB;
            }
        }
        ranks.sort_unstable_by(louder_first);
        for rank in ranks.iter() {
            list[rank.member].is_heard = true;
        }
    }

    /// Adds every contributor's frame to the local bus.
    fn sum(&mut self) {
        self.buses.begin();
        for member in self.members.list.iter_mut().filter(|member| member.awake) {
            let Some(strip) = &mut member.participant.strip else {
                continue;
            };
            if strip.contribute(member.is_heard) {
                self.buses.add(strip.frame());
                member.in_mix = true;
            }
        }
    }

    /// Encodes all due streams and hands out their packets. Group streams come first, since many
    /// listeners wait for them; if many streams are due, other threads are offered the rest.
    fn encode(&mut self, context: &mut TickContext<'_>, stats: &mut TickStats) {
        if self.members.due.len() > ENCODES_ALONE {
            // The list starts with the group streams, and is offered from its end.
            while let Some(&place) = self.members.due.last() {
                if self.is_leader(place) || !self.offer(place, context) {
                    break;
                }
                self.members.due.pop();
                stats.encodes_offered += 1;
            }
        }
        if stats.encodes_offered > 0 {
            context.sink.offered();
        }
        for at in 0..self.members.due.len() {
            let place = self.members.due[at];
            self.encode_at(place, context.sink, stats);
        }
    }

    /// Encodes and hands out every due packet of the stream of the member at `place`.
    fn encode_at(&mut self, place: usize, sink: &mut dyn Sink, stats: &mut TickStats) {
        while let Some(stream) = &mut self.members.list[place].participant.stream
            && stream.is_due()
        {
            let heard = stream.encode(&mut self.packet);
            self.hand_out(place, heard, sink, stats);
        }
    }

    fn is_leader(&self, place: usize) -> bool {
        matches!(self.members.list[place].hearing, Hearing::Grouped(_))
    }

    /// Offers one stream's encode to other threads; returns `false` if no thread takes it.
    fn offer(&mut self, place: usize, context: &mut TickContext<'_>) -> bool {
        let member = &mut self.members.list[place];
        let Some(mut job) = context.jobs.pop() else {
            return false;
        };
        let Some(stream) = member.participant.stream.take() else {
            context.jobs.push(job);
            return false;
        };
        let budget = encode_budget(stream.encoding(), context.complexity_cap);
        let label = JobLabel {
            room: self.id,
            participant: member.id,
            time: RtpTime(context.at as u32),
            run_at: context.run_at,
        };
        job.load(stream, label, budget);
        let Err(mut job) = context.sink.offer(job) else {
            return true;
        };
        member.participant.stream = job.unload();
        context.jobs.push(job);
        false
    }

    /// Sends the packet that the stream at `place` has produced to every member that hears it.
    fn hand_out(
        &mut self,
        place: usize,
        outcome: WorkOutcome,
        sink: &mut dyn Sink,
        stats: &mut TickStats,
    ) {
        let Members { list, ids, .. } = &mut self.members;
        let member = &list[place];
        if let Some(stream) = &member.participant.stream
            && outcome == WorkOutcome::Packet
        {
            self.gathering_ms = self.gathering_ms.max(stream.gathered_ms());
        }
        stats.count(outcome);
        if outcome != WorkOutcome::Packet {
            return;
        }
        if !matches!(member.hearing, Hearing::Grouped(_)) {
            if member.hearing != Hearing::Nothing {
                stats.packets += 1;
                sink.packet(member.destination, &[member.id], &self.packet);
            }
            return;
        }
        let group = member.hearing;
        let all = list.iter().filter(|member| member.hearing == group);
        let mut are_peers = true;
        ids.clear();
        for member in all.clone() {
            match member.destination {
                Destination::Peer => ids.push(member.id),
                _ => are_peers = false,
            }
        }
        let mut send = |destination, ids: &[ParticipantId]| {
            if !ids.is_empty() {
                stats.packets += ids.len() as u64;
                sink.packet(destination, ids, &self.packet);
            }
        };
        send(Destination::Peer, ids);
        if are_peers {
            return;
        }
        for destination in Destination::OTHERS {
            ids.clear();
            let others = all
                .clone()
                .filter(|member| member.destination == destination);
            ids.extend(others.map(|member| member.id));
            send(destination, ids);
        }
    }

    /// Publishes the counts of awake strips; reports participants who begin or cease to be heard.
    fn report(&mut self, sink: &mut dyn Sink) {
        let room = self.id;
        for member in self.members.list.iter_mut().filter(|member| member.awake) {
            let Some(strip) = &member.participant.strip else {
                continue;
            };
            let telemetry = &member.participant.shared.telemetry;
            publish(strip, telemetry);
            telemetry
                .level
                .store(Level::from(strip.level()).wire(), Relaxed);
            let talking = member.is_heard;
            if talking != member.talking {
                member.talking = talking;
                telemetry.talking.store(talking, Relaxed);
                let participant = member.id;
                sink.event(if talking {
                    Event::Talking { room, participant }
                } else {
                    Event::Stopped { room, participant }
                });
            }
            member.awake = !strip.is_idle();
        }
    }

    fn advance(&mut self, stats: &mut TickStats) {
        self.tick.0 += 1;
        self.rest_ms = match stats.contributors > 0 || self.other_rooms.is_heard {
            false => self.rest_ms.saturating_add(self.settings.tick.ms()),
            true => 0,
        };
        if let Some(loudest) = self.members.ranks.first() {
            self.recent_talkers.heard(loudest.id, self.tick);
        }
        stats.asleep = self.rest_ms > LONGEST_PACKET_MS
            && stats.encodes_offered == 0
            && self.members.list.iter().all(has_nothing_to_do)
            && (self.members.shares.groups.leaders())
                .all(|leader| has_nothing_to_send(&self.members.list[leader]));
    }
}

/// Whether a member has nothing to play, is not leaving, and has nothing to send on its own stream.
fn has_nothing_to_do(member: &Member) -> bool {
    let is_told = member.attended || member.tone.is_some();
    let is_sent_nothing = !member.has_own_stream() || has_nothing_to_send(member);
    !member.awake && !member.leaving && !is_told && is_sent_nothing
}

fn has_nothing_to_send(member: &Member) -> bool {
    let stream = &member.participant.stream;
    stream.as_deref().is_some_and(OutputStream::is_asleep)
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

/// The sink, jobs, times and complexity cap with which a room runs one tick.
pub(crate) struct TickContext<'a> {
    /// Takes packets, events, retired objects and offered encodes.
    pub sink: &'a mut dyn Sink,
    /// Empty jobs for encodes on other threads; none if no other thread encodes.
    pub jobs: &'a mut Jobs,
    /// Media time of the tick's first sample, samples; 64 bits wide, so without wraparound.
    pub at: u64,
    /// Media time at which the tick is run, which may be later than `at`.
    pub run_at: RtpTime,
    /// Highest Opus complexity that an encode may use.
    pub complexity_cap: u8,
}

/// A tick encodes up to this many streams by itself: that takes less than a millisecond.
const ENCODES_ALONE: usize = 6;

/// How long after its tick a packet is still sent: two slots. No receiver's jitter buffer runs dry
/// within that time; a later packet might follow its successor.
const LATE_SAMPLES: i32 = 2 * SLOT_SAMPLES as i32;

/// The longest packet that an encoding can have.
const LONGEST_PACKET_MS: u32 = 60;

/// How much louder a newcomer must be to replace a contributor when their number is limited.
const STAYS_DB: f32 = 6.0;

/// Orders ranks by loudness; equals by id, so that the order of joining does not matter.
fn louder_first(a: &Rank, b: &Rank) -> Ordering {
    b.loudness_db
        .total_cmp(&a.loudness_db)
        .then(a.id.cmp(&b.id))
}
