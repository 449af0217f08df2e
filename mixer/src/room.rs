//! One tick of one room.
//!
//! pull and decode each strip -> meter -> decide contributors -> sum -> regroup -> minus own ->
//! limit -> encode -> hand out -> report. Commands are applied before, by the engine. Contributors
//! are decided once per tick, and the frame that was added is the frame that is subtracted. Of the
//! engine a room knows the [`Sink`], of other rooms their feeds.
//!
//! Whatever a tick does for somebody with whom nothing is the matter is done for thousands: so
//! members whose strips are idle are passed over, and a room in which nobody has anything to play
//! and nothing to be sent [sleeps](TickStats::asleep) until the next packet or command.

mod between;
#[cfg(any(test, feature = "fault-injection"))]
mod fault;
mod groups;
mod interned;
mod members;
mod mixing;
mod monitoring;
mod participant;
mod recent_talkers;
mod shared;
mod telemetry;

use core::cmp::Ordering;
use core::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use self::monitoring::Elsewhere;
use self::recent_talkers::RecentTalkers;
use self::telemetry::publish;
use crate::format::{Layout, SLOT_SAMPLES, TickLength};
use crate::frame::Frame;
use crate::ingest::Pushed;
use crate::mix::bus::Bus;
use crate::output::{Destination, Event, Listener, Sink, Turn, encode_budget};
use crate::packet::{OutPacket, Payload, Sources};
use crate::room::groups::Hearing;
use crate::room::members::{Member, Rank};
use crate::schedule::{JobLabel, Jobs, MediaClock, Rhythm, WorkOutcome};
use crate::source::Rules;
use crate::units::{Decibels, Level, ParticipantId, RoomId, RtpTime, Tick, Time};

#[cfg(any(test, feature = "fault-injection"))]
pub use self::fault::Weakness;
pub use self::members::Members;
pub use self::participant::{Participant, ParticipantConfig};
pub use self::shared::{RoomTelemetry, Settings, Shared, Telemetry};
pub use self::telemetry::TickStats;

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
            gate_db: Some(crate::source::gate::DEFAULT_THRESHOLD),
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
    spare: Frame,
    elsewhere: Elsewhere,
    packet: OutPacket,
    tick: Tick,
    clock: MediaClock,
    /// How long nobody has been heard, saturating.
    rest_ms: u32,
    /// How long from the next tick on packets are gathered that follow closely on one sent.
    gathering_ms: u32,
    recent_talkers: RecentTalkers,
    /// The member whose first packet came last, taken for the next talker where nobody is likelier.
    newest_sender: Option<ParticipantId>,
    broken: bool,
    telemetry: Arc<RoomTelemetry>,
    #[cfg(any(test, feature = "fault-injection"))]
    weakness: Option<Weakness>,
}

/// What became of a packet, and what follows from it for the room's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub pushed: Pushed,
    /// Nobody is heard, and this packet's sender is likely to be next: the room's ticks should meet their packets.
    pub wanted: Option<(ParticipantId, Rhythm)>,
    /// Its sender has something to play.
    pub wakes: bool,
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
            spare: Frame::new(settings.layout, settings.tick),
            elsewhere: Elsewhere::default(),
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

    /// Lets the engine tell of the room here.
    ///
    /// Real-time: set-up only (frees).
    #[must_use]
    pub fn with_telemetry(mut self, telemetry: Arc<RoomTelemetry>) -> Room {
        self.telemetry = telemetry;
        self
    }

    /// What the engine tells of it, for as long as anybody wants to know.
    pub fn telemetry(&self) -> &Arc<RoomTelemetry> {
        &self.telemetry
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
    ///
    /// Real-time: safe.
    pub(crate) fn tick(&mut self, now: Time, hands: &mut Hands<'_>) -> TickStats {
        assert!(!self.broken, "a fault has left this room half done");
        self.gathering_ms = self.gathering_ms.saturating_sub(self.settings.tick.ms());
        self.listen(now);
        self.decide();
        let contributors = self.sum();
        let voices = self.hear_elsewhere(hands.at, contributors);
        let turn = Turn {
            tick: self.tick,
            time: self.clock.at(RtpTime(hands.at as u32), self.settings.tick),
            room_sounds: contributors > 0 || self.elsewhere.is_heard,
        };
        let has_changed = self.members.find_active_gains();
        let Members { list, shares, .. } = &mut self.members;
        (shares.listeners).regroup(list, turn, has_changed, hands.sink);
        let mut stats = TickStats {
            contributors,
            ..TickStats::default()
        };
        self.mix(turn, voices, hands.complexity_cap, &mut stats);
        self.retire_changes(hands.sink);
        self.encode(hands, &mut stats);
        self.report(hands.sink);
        self.advance(&mut stats);
        stats
    }

    /// Pulls, decodes and meters every strip; ranks those who have something to say.
    fn listen(&mut self, now: Time) {
        let rules = Rules {
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

    /// Adds every contributor's frame to the bus; says how many there are.
    fn sum(&mut self) -> usize {
        let mut contributors = 0;
        for member in self.members.list.iter_mut().filter(|member| member.awake) {
            let Some(strip) = &mut member.participant.strip else {
                continue;
            };
            if strip.contribute(member.is_heard) {
                if contributors == 0 {
                    self.bus.clear();
                }
                self.bus.add(strip.frame());
                contributors += 1;
                member.in_mix = true;
            }
        }
        contributors
    }

    /// Encodes what is due and hands it out: the groups' streams here and first, since many wait for
    /// them; of the others what is more than a few is offered to other threads.
    fn encode(&mut self, hands: &mut Hands<'_>, stats: &mut TickStats) {
        if self.members.due.len() > ENCODES_ALONE {
            // The groups' streams come first in the list, and are reached last.
            while let Some(&place) = self.members.due.last() {
                if self.is_leader(place) || !self.offer(place, hands) {
                    break;
                }
                self.members.due.pop();
                stats.encodes_offered += 1;
            }
        }
        if stats.encodes_offered > 0 {
            hands.sink.offered();
        }
        for at in 0..self.members.due.len() {
            let place = self.members.due[at];
            self.encode_at(place, hands.sink, stats);
        }
    }

    /// Encodes what is due of the stream of the one at `place`, and hands it out.
    fn encode_at(&mut self, place: usize, sink: &mut dyn Sink, stats: &mut TickStats) {
        while let Some(listener) = &mut self.members.list[place].participant.listener
            && listener.is_due()
        {
            let heard = listener.encode(&mut self.packet);
            self.hand_out(place, heard, sink, stats);
        }
    }

    fn is_leader(&self, place: usize) -> bool {
        matches!(self.members.list[place].hearing, Hearing::Grouped(_))
    }

    /// Offers one stream's encode to other threads; `false` if nobody takes it.
    fn offer(&mut self, place: usize, hands: &mut Hands<'_>) -> bool {
        let member = &mut self.members.list[place];
        let Some(mut job) = hands.jobs.pop() else {
            return false;
        };
        let Some(stream) = member.participant.listener.take() else {
            hands.jobs.push(job);
            return false;
        };
        let budget = encode_budget(stream.recipe(), hands.complexity_cap);
        let label = JobLabel {
            room: self.id,
            participant: member.id,
            time: RtpTime(hands.at as u32),
            run_at: hands.run_at,
        };
        job.load(stream, label, budget);
        let Err(mut job) = hands.sink.offer(job) else {
            return true;
        };
        member.participant.listener = job.unload();
        hands.jobs.push(job);
        false
    }

    /// Sends the packet that the stream of the one at `place` has become to all who hear it.
    fn hand_out(
        &mut self,
        place: usize,
        outcome: WorkOutcome,
        sink: &mut dyn Sink,
        stats: &mut TickStats,
    ) {
        let Members { list, ids, .. } = &mut self.members;
        let member = &list[place];
        if let Some(listener) = &member.participant.listener
            && outcome == WorkOutcome::Packet
        {
            self.gathering_ms = self.gathering_ms.max(listener.gathered_ms());
        }
        stats.count(outcome);
        if outcome != WorkOutcome::Packet {
            return;
        }
        if !matches!(member.hearing, Hearing::Grouped(_)) {
            if member.hearing != Hearing::Deaf {
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

    /// Publishes the counts of every strip that is awake, and tells who began and who ceased to be
    /// heard. Who has nothing left to play falls asleep.
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
        self.rest_ms = match stats.contributors > 0 || self.elsewhere.is_heard {
            false => self.rest_ms.saturating_add(self.settings.tick.ms()),
            true => 0,
        };
        if let Some(loudest) = self.members.ranks.first() {
            self.recent_talkers.heard(loudest.id, self.tick);
        }
        stats.asleep = self.rest_ms > LONGEST_PACKET_MS
            && stats.encodes_offered == 0
            && self.members.list.iter().all(has_nothing_to_do)
            && (self.members.shares.listeners.leaders())
                .all(|leader| has_nothing_to_send(&self.members.list[leader]));
    }
}

/// Nothing to play, not on the way out, and no stream of its own that has anything to send.
fn has_nothing_to_do(member: &Member) -> bool {
    let is_told = member.attended || member.tone.is_some();
    let is_sent_nothing = !member.has_own_stream() || has_nothing_to_send(member);
    !member.awake && !member.leaving && !is_told && is_sent_nothing
}

fn has_nothing_to_send(member: &Member) -> bool {
    let listener = &member.participant.listener;
    listener.as_deref().is_some_and(Listener::is_asleep)
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

/// What a tick works with beside its room.
pub(crate) struct Hands<'a> {
    /// Where everything goes.
    pub sink: &'a mut dyn Sink,
    /// Empty jobs for encodes that other threads may do; none where there are no others.
    pub jobs: &'a mut Jobs,
    /// The tick's instant on the media clock, which does not wrap here.
    pub at: u64,
    /// When the tick is run, which may be later.
    pub run_at: RtpTime,
    /// Most libopus complexity to be spent.
    pub complexity_cap: u8,
}

/// As many private encodes are done without asking anybody: less than a millisecond's work, for
/// which it is not worth waking another thread.
const ENCODES_ALONE: usize = 6;

/// A packet that has become ready this long after its tick was run is still sent, two slots: it would be
/// missed, and no receiver's buffer runs dry by it. A later one might come behind its successor.
const LATE_SAMPLES: i32 = 2 * SLOT_SAMPLES as i32;

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
