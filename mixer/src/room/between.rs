//! The engine's access to a room between ticks: packets, commands and finished encodes.

use core::time::Duration;
use std::sync::atomic::Ordering::Relaxed;

use super::{LATE_SAMPLES, LONGEST_PACKET_MS, Room, RoomSettings, Taken};
use crate::codec::DTX_MAX_BYTES;
use crate::ingest::Pushed;
use crate::output::Listener;
use crate::output::Retired;
use crate::output::Sink;
use crate::packet::Packet;
use crate::permit::Permit;
use crate::room::Participant;
#[cfg(any(test, feature = "fault-injection"))]
use crate::room::Weakness;
use crate::room::groups::Hearing;
use crate::room::members::{Left, Members};
use crate::room::telemetry::TickStats;
use crate::room::telemetry::publish_arrivals;
use crate::schedule::{Job, MOST_MET, Rhythm, Rhythms};
use crate::source::Strip;
use crate::units::{Level, ParticipantId, RtpTime, Tick, Time};

/// Packets, commands and finished encodes; each method is real-time safe.
impl Room {
    /// Takes in one packet from the member at `place`; returns `None` if the member sends no
    /// packets.
    pub(crate) fn push(&mut self, place: usize, packet: &Packet, arrival: Time) -> Option<Taken> {
        #[cfg(any(test, feature = "fault-injection"))]
        self.give_way(Weakness::Packet);
        let at_rest = self.is_at_rest();
        let ticks_wait = self.leeway_samples() > 0;
        let member = self.members.list.get_mut(place)?;
        let participant = &mut *member.participant;
        let wants_tone = participant.wants_tone();
        let strip = participant.strip.as_mut().filter(|it| it.takes_packets())?;
        let settings = &participant.shared.settings;
        if strip.is_parked() {
            // A parked strip is not pulled each tick, so it may not know the latest settings.
            strip.set(settings.muted() || member.leaving, settings.gain());
        }
        strip.set_ticks_wait(ticks_wait);
        strip.allow(settings.permit(), arrival);
        let begins = strip.begins_talk_spurt_at(arrival);
        if strip.rhythm().is_none() && !settings.muted() {
            self.newest_sender = Some(participant.id);
        }
        let pushed = strip.push(packet, arrival);
        if strip.is_parked() && !member.awake {
            let telemetry = &participant.shared.telemetry;
            let level = Level::from(strip.level()).wire();
            telemetry.level.store(level, Relaxed);
            publish_arrivals(strip, strip.stats().received, telemetry);
        } else {
            member.awake = true;
        }
        member.attended |= wants_tone;
        let speaks = !strip.tells_silence()
            && packet.payload.as_slice().len() > DTX_MAX_BYTES
            && !settings.muted();
        let is_next =
            begins || strip.has_floor() || self.recent_talkers.last() == Some(participant.id);
        let wanted = at_rest && speaks && is_next && member.awake && pushed == Pushed::Stored;
        let rhythm = Rhythm {
            ready: arrival + strip.target(),
            packet_samples: strip.samples_of(packet),
        };
        let (id, wakes) = (participant.id, member.awake || member.attended);
        Some(Taken {
            pushed,
            wanted: wanted.then_some((id, rhythm)),
            wakes,
        })
    }

    /// Applies the settings of the member at `place` at the next tick, even if its strip is idle
    /// and the room asleep. Returns when packets that have waited for the permit to be heard may be
    /// played.
    pub(crate) fn attend(&mut self, place: usize) -> Option<Rhythm> {
        let at_rest = self.is_at_rest();
        let ticks_wait = self.leeway_samples() > 0;
        let member = self.members.list.get_mut(place)?;
        member.attended = member.participant.strip.is_some();
        let participant = &mut *member.participant;
        let settings = &participant.shared.settings;
        let strip = participant.strip.as_mut()?;
        strip.set_ticks_wait(ticks_wait);
        let is_granted = settings.permit() == Permit::Held && !settings.muted();
        (at_rest && is_granted).then(|| strip.held_rhythm())?
    }

    /// When the packets of the likely next talkers may be played; `None` unless the room is in a
    /// pause.
    ///
    /// Moving the room's ticks now costs the listeners a moment of silence. At the next word it
    /// would cost them part of that word.
    pub(crate) fn rhythms_in_pause(&self, now: Time) -> Option<Rhythms> {
        // A move for the only member would serve nobody.
        if self.rest_ms <= LONGEST_PACKET_MS || self.members.len() < 2 {
            return None;
        }
        let likely: Rhythms = (self.likely_talkers(now).map(|(_, rhythm)| rhythm)).collect();
        if !likely.is_empty() {
            return Some(likely);
        }
        // The last talker may have left.
        let mut others = [self.recent_talkers.last(), self.newest_sender].into_iter();
        let rhythm = others.find_map(|id| self.strip_of(id?)?.rhythm());
        rhythm.map(Rhythms::from)
    }

    /// The rhythms of the participant that begins to talk and of the other likely talkers.
    pub(crate) fn rhythms_around(&self, next: ParticipantId, rhythm: Rhythm, now: Time) -> Rhythms {
        let others = self.likely_talkers(now).filter(|(id, _)| *id != next);
        let others = others.map(|(_, rhythm)| rhythm);
        core::iter::once(rhythm).chain(others).collect()
    }

    /// The participants likely to talk next: those that talked in the last 30 s and still send. In
    /// a room where only a few can talk, everybody that sends counts, so that the room moves before
    /// the first word and then stays.
    fn likely_talkers(&self, now: Time) -> impl Iterator<Item = (ParticipantId, Rhythm)> {
        let lately_ticks = LATELY_MS / u64::from(self.settings.tick.ms());
        let lately = Tick(self.tick.0.saturating_sub(lately_ticks));
        let talkers = self.recent_talkers.since(lately);
        let rhythms_of_talkers = talkers.filter_map(move |id| {
            let strip = self.strip_of(id)?;
            Some((id, strip.rhythm_at(now)?))
        });
        let is_recent = move |id| self.recent_talkers.since(lately).any(|talker| talker == id);
        let rhythms_of_others = self.few_who_can_talk().filter_map(move |(id, strip)| {
            let has_place = !is_recent(id) && strip.target() <= MOST_OF_SILENT;
            Some((id, strip.rhythm_at(now).filter(|_| has_place)?))
        });
        rhythms_of_talkers.chain(rhythms_of_others)
    }

    /// All participants that can talk, if they are at most [`MOST_MET`]; otherwise none.
    fn few_who_can_talk(&self) -> impl Iterator<Item = (ParticipantId, &Strip)> {
        let are_few = self.strips().nth(MOST_MET).is_none();
        self.strips().take(if are_few { MOST_MET } else { 0 })
    }

    fn strip_of(&self, id: ParticipantId) -> Option<&Strip> {
        let found = self.strips().find(|(member, _)| *member == id);
        found.map(|(_, strip)| strip)
    }

    /// The strips of participants that can talk and are not leaving.
    fn strips(&self) -> impl Iterator<Item = (ParticipantId, &Strip)> {
        let stay = self.members.list.iter().filter(|member| !member.leaving);
        stay.filter_map(|member| Some((member.id, member.participant.strip.as_deref()?)))
    }

    /// How long the next tick may wait for a missing packet, samples: half a tick.
    ///
    /// Zero if the room feeds or hears other rooms, or if more than [`MOST_WAITED_FOR`]
    /// participants talk.
    pub(crate) fn leeway_samples(&self) -> usize {
        let is_apart = !self.feeds_others() && !self.listens_elsewhere();
        match is_apart && self.members.ranks.len() <= MOST_WAITED_FOR {
            true => self.settings.tick.samples() / 2,
            false => 0,
        }
    }

    /// Whether a participant heard in the last tick has sent no packet for the next one.
    pub(crate) fn lacks_packet(&self) -> bool {
        let Members { list, ranks, .. } = &self.members;
        ranks.iter().any(|rank| {
            let member = list.get(rank.member).filter(|it| it.may_be_awaited(rank));
            let strip = member.and_then(|it| it.participant.strip.as_deref());
            strip.is_some_and(Strip::lacks_packet)
        })
    }

    /// Tells the strips heard in the last tick that the next tick waits for their packets.
    pub(crate) fn await_packets(&mut self) {
        let Members { list, ranks, .. } = &mut self.members;
        for rank in ranks.iter() {
            let member = list
                .get_mut(rank.member)
                .filter(|it| it.may_be_awaited(rank));
            if let Some(strip) = member.and_then(|it| it.participant.strip.as_deref_mut()) {
                strip.await_packet();
            }
        }
    }

    /// Whether nobody would notice an irregular tick: nobody is heard, no packet is partly
    /// gathered, and no sent packet would overlap with the one being gathered.
    fn is_at_rest(&self) -> bool {
        self.rest_ms > LONGEST_PACKET_MS && self.gathering_ms == 0
    }

    /// Changes the noise gate and the limit of contributors, which may change while members are
    /// present.
    pub(crate) fn configure(&mut self, settings: RoomSettings) {
        #[cfg(any(test, feature = "fault-injection"))]
        self.give_way(Weakness::Command);
        self.settings.gate_db = settings.gate_db;
        self.settings.max_contributors = settings.max_contributors;
        let participants = self.members.list.iter_mut();
        for strip in participants.filter_map(|member| member.participant.strip.as_mut()) {
            strip.set_gate(settings.gate_db);
        }
    }

    /// Counts ticks that the room slept through.
    pub(crate) fn skip(&mut self, ticks: u64) {
        self.tick.0 += ticks;
        let ms = ticks.saturating_mul(u64::from(self.settings.tick.ms()));
        self.rest_ms = self.rest_ms.saturating_add(ms.min(u32::MAX.into()) as u32);
        self.gathering_ms = 0;
    }

    /// Adds a participant and returns its place.
    ///
    /// # Errors
    /// Returns the participant if no place is free, or if it was built for another layout or tick.
    pub(crate) fn add(&mut self, participant: Box<Participant>) -> Result<usize, Box<Participant>> {
        if !participant.fits(self.settings.layout, self.settings.tick) {
            return Err(participant);
        }
        let place = self.members.add(participant)?;
        self.members.admit(place);
        Ok(place)
    }

    /// Moves all members to a longer list; returns the list that is no longer needed.
    pub(crate) fn reserve(&mut self, longer: Box<Members>) -> Box<Members> {
        self.members.reserve(longer)
    }

    /// Stops sending to the member at `place` and lets its voice fade out.
    pub(crate) fn dismiss(&mut self, place: usize) {
        if place < self.members.len() {
            let Members { list, shares, .. } = &mut self.members;
            shares.listeners.dismiss(list, place);
            shares.scans.leave(list, place);
            shares.gains.leave(list, place);
            self.members.dismiss(place);
        }
    }

    /// Lets the member at `place` fade out like [`dismiss`](Room::dismiss), to go on in another
    /// room. Returns the stream that is not needed.
    ///
    /// # Errors
    /// Returns `stream` if the member needs a stream and `stream` is missing or does not fit;
    /// nothing has changed.
    pub(crate) fn detach(
        &mut self,
        place: usize,
        stream: Option<Box<Listener>>,
    ) -> Result<Option<Box<Listener>>, Option<Box<Listener>>> {
        if place >= self.members.len() {
            return Err(stream);
        }
        let Members { list, shares, .. } = &mut self.members;
        let unneeded = shares.listeners.split_with(list, place, stream)?;
        self.members.detach(place);
        self.dismiss(place);
        Ok(unneeded)
    }

    /// Takes out a member that was dismissed and is no longer audible.
    pub(crate) fn take_left(&mut self) -> Option<Left> {
        let left = self.members.take_left()?;
        let last = self.members.len();
        let shares = &mut *self.members.shares;
        shares.listeners.moved(last, left.place);
        shares.scans.moved(last, left.place);
        shares.gains.moved(last, left.place);
        Some(left)
    }

    /// The place of a member that is moving to another room and waits for its stream.
    pub(crate) fn place_of_moving(&self, id: ParticipantId) -> Option<usize> {
        let mut list = self.members.list.iter();
        list.position(|it| it.id == id && it.awaits_stream)
    }

    /// Replaces the stream of the member at `place`; returns the stream that is no longer needed.
    pub(crate) fn set_listener(
        &mut self,
        place: usize,
        listener: Box<Listener>,
    ) -> Option<Box<Listener>> {
        if place < self.members.len() {
            let Members { list, shares, .. } = &mut self.members;
            shares.listeners.split(list, place);
        }
        let replaced = self.members.set_listener(place, listener);
        if let Some(member) = self.members.list.get(place).filter(|it| !it.leaving)
            && !matches!(member.hearing, Hearing::Grouped(_))
        {
            self.members.admit(place);
        }
        replaced
    }

    /// Takes back the job that encoded the stream of the member at `place`. Hands the packet out,
    /// or drops it if it comes too late.
    ///
    /// - `now`: the slot's instant on the media clock.
    pub(crate) fn take_back(
        &mut self,
        place: usize,
        job: &mut Job,
        now: RtpTime,
        sink: &mut dyn Sink,
    ) -> TickStats {
        #[cfg(any(test, feature = "fault-injection"))]
        self.give_way(Weakness::Job);
        let mut stats = TickStats::default();
        let Some(member) = self.members.list.get_mut(place) else {
            return stats;
        };
        if core::mem::take(&mut member.awaits_stream) {
            // The member is moving to another room: this room's packet comes too late.
            member.participant.listener = job.unload();
            stats.encodes_skipped += 1;
            return stats;
        }
        if member.participant.listener.is_some() {
            // The member has been given another stream meanwhile.
            if let Some(stream) = job.unload::<Listener>() {
                sink.retired(Retired::owned(stream));
            }
            return stats;
        }
        member.participant.listener = job.unload();
        if now.distance_from(job.label.run_at) <= LATE_SAMPLES {
            self.packet = job.packet;
            self.hand_out(place, job.outcome, sink, &mut stats);
            // The job encoded one packet; a tick longer than the packets makes several.
            self.encode_at(place, sink, &mut stats);
        } else {
            stats.encodes_skipped += 1;
        }
        stats
    }

    /// Makes the next tick of the room panic.
    pub(crate) fn break_down(&mut self) {
        self.broken = true;
    }

    /// Makes the room panic at the next operation of this kind.
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fn weaken(&mut self, weakness: Weakness) {
        match weakness {
            Weakness::Tick => self.break_down(),
            _ => self.weakness = Some(weakness),
        }
    }

    #[cfg(any(test, feature = "fault-injection"))]
    pub(super) fn give_way(&self, done: Weakness) {
        assert!(self.weakness != Some(done), "a test wants it");
    }
}

/// Most talkers for whose packets a tick waits: of more talkers somebody is late in every tick.
const MOST_WAITED_FOR: usize = 3;

/// A participant heard within the last 30 s is likely to talk again.
const LATELY_MS: u64 = 30_000;

/// Longest target playout delay at which a participant that has not talked lately is considered.
/// Otherwise the jitter of a silent participant would move the room.
const MOST_OF_SILENT: Duration = Duration::from_millis(6);
