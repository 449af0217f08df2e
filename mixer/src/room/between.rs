//! What the engine does to a room between ticks.

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

/// Each of these is real-time safe.
impl Room {
    /// Takes in one packet for the member at `place`; `None` if the member does not talk, or not in packets.
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
            // Nobody has told it since it was last pulled.
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
            publish_arrivals(strip, telemetry);
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

    /// Looks at the settings of the one at `place` at its next tick, though its strip be idle and the
    /// room asleep. Says when packets that have waited for a permit may be played.
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

    /// In a pause in which the streams go on: when the packets of those likely to talk next may be
    /// played. A move then costs the listeners a moment of silence; at the next word it would cost
    /// them a part of it.
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

    /// The rhythm of the participant who begins to talk, and of others who are likely to talk by turns with them.
    pub(crate) fn rhythms_around(&self, next: ParticipantId, rhythm: Rhythm, now: Time) -> Rhythms {
        let others = self.likely_talkers(now).filter(|(id, _)| *id != next);
        let others = others.map(|(_, rhythm)| rhythm);
        core::iter::once(rhythm).chain(others).collect()
    }

    /// The participants who are likely to talk next: those who talked lately and still send, and, in a room where only a
    /// few can talk, everybody who sends. Such a room takes its place before the first word, and keeps it.
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

    /// Everybody who can talk, if no more than a few can; otherwise nobody.
    fn few_who_can_talk(&self) -> impl Iterator<Item = (ParticipantId, &Strip)> {
        let are_few = self.strips().nth(MOST_MET).is_none();
        self.strips().take(if are_few { MOST_MET } else { 0 })
    }

    fn strip_of(&self, id: ParticipantId) -> Option<&Strip> {
        let found = self.strips().find(|(member, _)| *member == id);
        found.map(|(_, strip)| strip)
    }

    /// Those who can talk and are not about to leave.
    fn strips(&self) -> impl Iterator<Item = (ParticipantId, &Strip)> {
        let stay = self.members.list.iter().filter(|member| !member.leaving);
        stay.filter_map(|member| Some((member.id, member.participant.strip.as_deref()?)))
    }

    /// How much later than its instant the next tick may come if it lacks a packet; none where other rooms go by its
    /// ticks, or where many talk, of whom somebody is always late.
    pub(crate) fn leeway_samples(&self) -> usize {
        let is_apart = !self.feeds_others() && !self.listens_elsewhere();
        match is_apart && self.members.ranks.len() <= MOST_WAITED_FOR {
            true => self.settings.tick.samples() / 2,
            false => 0,
        }
    }

    /// Whether somebody who was heard in the last tick has sent nothing for the next one.
    pub(crate) fn lacks_packet(&self) -> bool {
        let Members { list, ranks, .. } = &self.members;
        ranks.iter().any(|rank| {
            let member = list.get(rank.member).filter(|it| it.may_be_awaited(rank));
            let strip = member.and_then(|it| it.participant.strip.as_deref());
            strip.is_some_and(Strip::lacks_packet)
        })
    }

    /// Takes note that the next tick waits for those who were heard in the last one.
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

    /// Nobody is heard and nothing is on its way out, so that nobody can notice an odd tick: no
    /// packet is half full, and none was sent that would overlap with the one being gathered.
    fn is_at_rest(&self) -> bool {
        self.rest_ms > LONGEST_PACKET_MS && self.gathering_ms == 0
    }

    /// Changes what can change while people are in.
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

    /// Counts ticks that were slept through.
    pub(crate) fn skip(&mut self, ticks: u64) {
        self.tick.0 += ticks;
        let ms = ticks.saturating_mul(u64::from(self.settings.tick.ms()));
        self.rest_ms = self.rest_ms.saturating_add(ms.min(u32::MAX.into()) as u32);
        self.gathering_ms = 0;
    }

    /// Takes in a participant, or gives it back if there is no place or it was built for another
    /// kind of room.
    pub(crate) fn add(&mut self, participant: Box<Participant>) -> Result<usize, Box<Participant>> {
        if !participant.fits(self.settings.layout, self.settings.tick) {
            return Err(participant);
        }
        let place = self.members.add(participant)?;
        self.members.admit(place);
        Ok(place)
    }

    /// Moves everybody to a longer list; gives back the one that is no longer needed.
    pub(crate) fn reserve(&mut self, longer: Box<Members>) -> Box<Members> {
        self.members.reserve(longer)
    }

    /// Sends the one at `place` nothing any more, and lets its voice fade out.
    pub(crate) fn dismiss(&mut self, place: usize) {
        if place < self.members.len() {
            let Members { list, shares, .. } = &mut self.members;
            shares.listeners.dismiss(list, place);
            shares.scans.leave(list, place);
            shares.gains.leave(list, place);
            self.members.dismiss(place);
        }
    }

    /// Lets the member at `place` fade out as [`dismiss`](Room::dismiss) does, to go on in another room. What is not needed
    /// comes back.
    ///
    /// # Errors
    /// What was given in place of a stream that the member needs; nothing has changed.
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

    /// Gives back a member that was dismissed and is no longer heard.
    pub(crate) fn take_left(&mut self) -> Option<Left> {
        let left = self.members.take_left()?;
        let last = self.members.len();
        let shares = &mut *self.members.shares;
        shares.listeners.moved(last, left.place);
        shares.scans.moved(last, left.place);
        shares.gains.moved(last, left.place);
        Some(left)
    }

    /// The place of a member that is on its way to another room and waits for its stream.
    pub(crate) fn place_of_moving(&self, id: ParticipantId) -> Option<usize> {
        let mut list = self.members.list.iter();
        list.position(|it| it.id == id && it.awaits_stream)
    }

    /// Replaces the stream of the one at `place`; gives back what is no longer needed.
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

    /// Takes a job back, whose stream is that of the one at `place`: hands its packet out, or lets it
    /// skip if it comes too late.
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
            // The member is on its way to another room: the packet of this one comes too late.
            member.participant.listener = job.unload();
            stats.encodes_skipped += 1;
            return stats;
        }
        if member.participant.listener.is_some() {
            // It has been given another stream meanwhile.
            if let Some(stream) = job.unload::<Listener>() {
                sink.retired(Retired::owned(stream));
            }
            return stats;
        }
        member.participant.listener = job.unload();
        if now.distance_from(job.label.run_at) <= LATE_SAMPLES {
            self.packet = job.packet;
            self.hand_out(place, job.outcome, sink, &mut stats);
            // The job encoded one packet. A tick makes several where packets must be shorter than a tick.
            self.encode_at(place, sink, &mut stats);
        } else {
            stats.encodes_skipped += 1;
        }
        stats
    }

    /// Makes the next tick panic.
    pub(crate) fn break_down(&mut self) {
        self.broken = true;
    }

    /// Makes the room panic the next time this is done to it.
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

/// A tick waits for the packets of no more than so many: of many talkers somebody is late in every tick.
const MOST_WAITED_FOR: usize = 3;

/// A participant who was heard within the last half minute is likely to talk again.
const LATELY_MS: u64 = 30_000;

/// A participant who has not talked lately counts only while their packets need no longer wait than this. Otherwise the
/// jitter of a silent participant would move the room.
const MOST_OF_SILENT: Duration = Duration::from_millis(6);
