//! Changes of a room between its ticks: commands, finished encodes, ticks slept through.

use super::{LATE_SAMPLES, Room, RoomSettings};
use crate::output::{OutputStream, Retired, Sink};
use crate::room::Participant;
#[cfg(any(test, feature = "fault-injection"))]
use crate::room::Weakness;
use crate::room::groups::Hearing;
use crate::room::members::{Members, RemovedMember};
use crate::room::telemetry::TickStats;
use crate::schedule::Job;
use crate::units::{ParticipantId, RtpTime};

/// Commands and finished encodes; each method is real-time safe.
impl Room {
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
            shares.groups.dismiss(list, place);
            shares.monitors.leave(list, place);
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
        stream: Option<Box<OutputStream>>,
    ) -> Result<Option<Box<OutputStream>>, Option<Box<OutputStream>>> {
        if place >= self.members.len() {
            return Err(stream);
        }
        let Members { list, shares, .. } = &mut self.members;
        let unneeded = shares.groups.split_with(list, place, stream)?;
        self.members.detach(place);
        self.dismiss(place);
        Ok(unneeded)
    }

    /// Takes out a member that was dismissed and is no longer audible.
    pub(crate) fn take_left(&mut self) -> Option<RemovedMember> {
        let left = self.members.take_left()?;
        let last = self.members.len();
        let shares = &mut *self.members.shares;
        shares.groups.moved(last, left.place);
        shares.monitors.moved(last, left.place);
        shares.gains.moved(last, left.place);
        Some(left)
    }

    /// The place of a member that is moving to another room and waits for its stream.
    pub(crate) fn place_of_moving(&self, id: ParticipantId) -> Option<usize> {
        let mut list = self.members.list.iter();
        list.position(|it| it.id == id && it.awaits_stream)
    }

    /// Replaces the stream of the member at `place`; returns the stream that is no longer needed.
    pub(crate) fn set_stream(
        &mut self,
        place: usize,
        stream: Box<OutputStream>,
    ) -> Option<Box<OutputStream>> {
        if place < self.members.len() {
            let Members { list, shares, .. } = &mut self.members;
            shares.groups.split(list, place);
        }
        let replaced = self.members.set_stream(place, stream);
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
            member.participant.stream = job.unload();
            stats.encodes_skipped += 1;
            return stats;
        }
        if member.participant.stream.is_some() {
            // The member has been given another stream meanwhile.
            if let Some(stream) = job.unload::<OutputStream>() {
                sink.retired(Retired::owned(stream));
            }
            return stats;
        }
        member.participant.stream = job.unload();
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
