//! The engine: all rooms of one mixer thread. It applies commands, takes in packets, and runs the
//! ticks of the rooms slot by slot.
//!
//! The engine knows no channel, no thread and no clock: commands and packets are handed in, time is
//! an argument, and all output goes to a [`Sink`]. Within its limits nothing here allocates or
//! frees; boxes arrive built and leave as [`Retired`].
//!
//! A panic inside one room, in whatever operation, retires that room; the other rooms go on. Only a
//! `RoomEntry` can reach into a room, and guards each such call.

mod apply;
pub mod command;
mod held_ticks;
mod id_map;
mod room_entry;
mod stats;

pub use self::command::Command;
use self::held_ticks::{DueTick, HeldTicks};
use self::id_map::{IdMap, map_for};
use self::room_entry::RoomEntry;
pub use self::stats::EngineStats;
use crate::format::SLOT_SAMPLES;
use crate::ingest::Pushed;
use crate::memory;
pub use crate::output::Sink;
use crate::output::{Event, OutputStream, Retired};
use crate::packet::Packet;
use crate::room::{Room, TickContext};
use crate::schedule::{Job, Jobs, Rhythms, SlotLoads, SlotTable};
use crate::units::{ParticipantId, RoomId, RtpTime, Time};

/// Limits of one engine. Memory for all of it is reserved at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Most rooms.
    pub rooms: usize,
    /// Most participants, counted over all rooms.
    pub participants: usize,
}

/// All rooms of one mixer.
#[derive(Debug)]
pub struct Engine {
    limits: EngineLimits,
    entries: Vec<Option<RoomEntry>>,
    entry_of: IdMap<RoomId, usize>,
    location_of: IdMap<ParticipantId, Location>,
    loads: SlotLoads,
    /// The rooms that are awake, by the slot in which they run.
    slot_table: SlotTable,
    /// Rooms whose tick waits for a late packet.
    held: HeldTicks,
    /// Encode jobs that are not in use.
    jobs: Jobs,
    /// Number of encode jobs that other threads have.
    jobs_out: usize,
    complexity_cap: u8,
    /// The last slot that was run.
    slot: u64,
    stats: EngineStats,
}

/// Where a participant is: its room's entry in the engine, and its place in the room.
#[derive(Debug, Clone, Copy)]
struct Location {
    entry: usize,
    member: usize,
}

/// Placeholder with which a new map is filled once.
const NOWHERE: Location = Location {
    entry: 0,
    member: 0,
};

impl Engine {
    /// Creates an engine without rooms.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(limits: EngineLimits) -> Engine {
        Engine {
            limits,
            entries: memory::list(limits.rooms),
            entry_of: map_for(limits.rooms, RoomId, 0),
            location_of: map_for(limits.participants, ParticipantId, NOWHERE),
            loads: SlotLoads::default(),
            slot_table: SlotTable::new(limits.rooms),
            held: HeldTicks::new(limits.rooms),
            jobs: Jobs::new(),
            jobs_out: 0,
            complexity_cap: u8::MAX,
            slot: 0,
            stats: EngineStats::default(),
        }
    }

    /// Lets other threads do up to `count` encodes at a time.
    ///
    /// Real-time: set-up only (allocates).
    pub fn reserve_jobs(&mut self, count: usize) {
        self.jobs.resize_with(count, Job::empty);
    }

    /// Limits the Opus complexity of every encode from now on, 0..=10.
    ///
    /// Real-time: safe.
    pub fn cap_complexity(&mut self, cap: u8) {
        self.complexity_cap = cap;
    }

    /// Whether no room needs a tick. If so, slots may be skipped until the next packet or command.
    pub fn is_idle(&self) -> bool {
        self.slot_table.is_empty() && self.jobs_out == 0
    }

    /// The engine's counts so far, and the rooms and participants that it holds now.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            rooms: self.entry_of.len(),
            participants: self.location_of.len(),
            ..self.stats
        }
    }

    /// Takes in one packet; returns `None` if the participant is in no room, only listens, or plays
    /// a queue of PCM.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, from: ParticipantId, packet: &Packet, arrival: Time) -> Option<Pushed> {
        let taken = self.location_of.get(&from).copied().and_then(|location| {
            let push = |room: &mut Room| room.push(location.member, packet, arrival);
            let taken = self.enter(location.entry, push)??;
            if taken.wakes {
                self.wake(location.entry);
            }
            if let Some((talker, rhythm)) = taken.wanted {
                let around = |room: &Room| Some(room.rhythms_around(talker, rhythm, arrival));
                self.meet(location.entry, around);
            }
            Some(taken.pushed)
        });
        self.stats.strays_total += u64::from(taken.is_none());
        taken
    }

    /// Runs one tick of every room whose phase falls on `slot` and that needs a tick. A tick whose
    /// packets are late waits for them a few slots.
    ///
    /// - `slot`: number of [`SLOT`](crate::format::SLOT)s since the caller's origin, skipped slots
    ///   included; the media clock of outgoing packets follows this number.
    /// - `now`: the slot's instant on the clock that stamps arrivals.
    ///
    /// Real-time: safe.
    pub fn run_slot(&mut self, slot: u64, now: Time, sink: &mut dyn Sink) {
        self.slot = slot;
        while let Some(job) = sink.finished() {
            self.take_back(job, sink);
        }
        self.run_held(sink);
        let beat = DueTick { slot, now };
        // From the end: when a room falls asleep or is removed, the last room moves to its index.
        for at in (0..self.slot_table.due(slot).len()).rev() {
            let Some(&index) = self.slot_table.due(slot).get(at) else {
                continue;
            };
            if !self.is_up(index) {
                continue;
            }
            if let Some(before) = self.held.take(index) {
                self.run_room(index, before, sink);
            }
            if !self.hold(index, beat) {
                self.run_room(index, beat, sink);
            }
        }
    }

    /// Runs the tick of a room that was due at `beat`, and reports its outcome.
    fn run_room(&mut self, index: usize, beat: DueTick, sink: &mut dyn Sink) {
        let Some(entry) = &mut self.entries[index] else {
            return;
        };
        let time = media_time(beat.slot);
        let mut context = TickContext {
            sink,
            jobs: &mut self.jobs,
            at: position(beat.slot),
            run_at: media_time(self.slot),
            complexity_cap: self.complexity_cap,
        };
        let free = context.jobs.len();
        let room = entry.id();
        let outcome = entry.enter(|room| room.tick(beat.now, &mut context));
        let offered = free - self.jobs.len();
        self.jobs_out += offered;
        match outcome {
            Ok(tick) => {
                self.stats.ticks_total += 1;
                self.stats.add(&tick);
                if offered > 0 {
                    self.see_to_offered(room, time, offered, sink);
                }
                if tick.asleep {
                    self.lull(index);
                } else {
                    self.meet(index, |room| room.rhythms_in_pause(beat.now));
                }
                self.take_left(index, sink);
            }
            Err(_) => {
                self.stats.faults_total += 1;
                self.remove_room(index, true, sink);
                sink.event(Event::RoomFault { room });
            }
        }
    }

    /// Lets `act` work on a room; returns `None` if there is no such room or `act` panics. After a
    /// panic the room is woken, so that its next tick retires it.
    fn enter<R>(&mut self, index: usize, act: impl FnOnce(&mut Room) -> R) -> Option<R> {
        let entry = self.entries[index].as_mut()?;
        let outcome = entry.enter(act);
        if outcome.is_err() {
            self.wake(index);
        }
        outcome.ok()
    }

    /// Completes the encodes that a room's tick has offered to other threads.
    ///
    /// Hands out finished encodes, and runs those that no thread has begun, until all `offered`
    /// encodes of this tick are done or the sink is overdue. Encodes of earlier ticks are not
    /// waited for.
    fn see_to_offered(&mut self, room: RoomId, time: RtpTime, offered: usize, sink: &mut dyn Sink) {
        let mut missing = offered;
        while missing > 0 {
            // Finished encodes go out before another is begun.
            let job = match sink.finished() {
                Some(job) => job,
                None => match sink.unbegun() {
                    Some(mut job) => {
                        job.run();
                        job
                    }
                    None if sink.is_overdue() => return,
                    None => {
                        core::hint::spin_loop();
                        continue;
                    }
                },
            };
            missing -= usize::from(job.label.room == room && job.label.time == time);
            self.take_back(job, sink);
        }
    }

    /// Returns the output stream that a job has encoded to its participant, whose place in the room
    /// may have changed meanwhile.
    fn take_back(&mut self, mut job: Box<Job>, sink: &mut dyn Sink) {
        self.jobs_out = self.jobs_out.saturating_sub(1);
        if let Some(Location { entry, member }) =
            self.location_in(job.label.room, job.label.participant)
        {
            let now = media_time(self.slot);
            let taken = self.enter(entry, |room| room.take_back(member, &mut job, now, sink));
            if let Some(stats) = taken {
                self.stats.add(&stats);
            }
        }
        // The listener has left, or its room has failed while taking the job back.
        if let Some(stream) = job.unload::<OutputStream>() {
            sink.retired(Retired::owned(stream));
        }
        self.jobs.push(job);
    }

    /// The location of a participant in `room`, even if the participant is moving to another room.
    fn location_in(&mut self, room: RoomId, participant: ParticipantId) -> Option<Location> {
        let entry = self.entry_of.get(&room).copied()?;
        let location = self.location_of.get(&participant).copied();
        location
            .filter(|location| location.entry == entry)
            .or_else(|| {
                let place = self.enter(entry, |room| room.place_of_moving(participant));
                let member = place.flatten()?;
                Some(Location { entry, member })
            })
    }

    /// Whether a room gets its tick. A dozing room wakes only if another room's voice may be heard.
    fn is_up(&mut self, index: usize) -> bool {
        let at = position(self.slot);
        if let Some(entry) = &self.entries[index]
            && entry.asleep.is_some()
        {
            if self.enter(index, |room| room.may_hear_others(at)) == Some(false) {
                return false;
            }
            // This slot's tick is still to come.
            self.wake_in(index, self.slot.saturating_sub(1));
        }
        true
    }

    /// Lets a room sleep until it is woken. A room that listens to other rooms dozes: instead of
    /// running each tick it checks their feeds, which costs a few atomic loads.
    fn lull(&mut self, index: usize) {
        let Some(listens) = self.enter(index, |room| room.listens_to_other_rooms()) else {
            return;
        };
        if let Some(entry) = &mut self.entries[index]
            && entry.asleep.is_none()
        {
            entry.asleep = Some(self.slot);
            entry.dozes = listens;
            if !listens {
                self.slot_table.remove(index, entry.phase, entry.tick());
            }
        }
    }

    /// Wakes a room, so that it gets its ticks again.
    fn wake(&mut self, index: usize) {
        self.wake_in(index, self.slot);
    }

    /// Wakes a room that has slept through all slots up to and including `slot`.
    fn wake_in(&mut self, index: usize, slot: u64) {
        if let Some(entry) = &mut self.entries[index]
            && let Some(since) = entry.asleep.take()
        {
            let tick = entry.tick();
            let slots = slot.saturating_sub(since);
            entry.skip(slots / tick.slots() as u64);
            if !core::mem::take(&mut entry.dozes) {
                self.slot_table.insert(index, entry.phase, tick);
            }
        }
    }

    /// Moves a room to the phase at which the packets of the likely talkers wait less, if it may
    /// move now.
    fn meet(&mut self, index: usize, rhythms: impl FnOnce(&Room) -> Option<Rhythms>) {
        let may_move = self.entries[index]
            .as_ref()
            .is_some_and(RoomEntry::may_move);
        if !may_move {
            return;
        }
        let rhythms = self.enter(index, |room| rhythms(room)).flatten();
        let (Some(rhythms), Some(entry)) = (rhythms, &mut self.entries[index]) else {
            return;
        };
        let (tick, before) = (entry.tick(), entry.phase);
        entry.move_to_meet(rhythms, &mut self.loads);
        if entry.phase != before && entry.is_scheduled() {
            let after = entry.phase;
            self.slot_table.remove(index, before, tick);
            self.slot_table.insert(index, after, tick);
        }
    }

    fn remove_room(&mut self, index: usize, faulted: bool, sink: &mut dyn Sink) {
        let Some(entry) = self.entries[index].take() else {
            return;
        };
        if entry.is_scheduled() {
            self.slot_table.remove(index, entry.phase, entry.tick());
        }
        self.held.take(index);
        self.entry_of.remove(&entry.id());
        let room = entry.leave(faulted, &mut self.loads);
        if faulted {
            // The room's own list of members may be inconsistent after the panic.
            self.location_of
                .retain(|_, location| location.entry != index);
        } else {
            for id in room.members().ids() {
                // A participant that fades out here may already sit in another room.
                let location = self.location_of.get(&id);
                if location.is_some_and(|location| location.entry == index) {
                    self.location_of.remove(&id);
                }
            }
        }
        sink.retired(Retired::owned(room));
    }

    /// Retires the members that have left a room and are no longer audible in it.
    fn take_left(&mut self, index: usize, sink: &mut dyn Sink) {
        let take = |room: &mut Room| {
            let left = room.take_left()?;
            let moved = room.members().at(left.place);
            Some((left, moved))
        };
        while let Some((left, moved)) = self.enter(index, take).flatten() {
            if let Some(entry) = &mut self.entries[index] {
                entry.weigh(-1, &mut self.loads);
            }
            if let Some(location) = moved.and_then(|moved| self.location_of.get_mut(&moved)) {
                location.member = left.place;
            }
            sink.retired(match left.moves {
                true => Retired::moving(left.participant),
                false => Retired::owned(left.participant),
            });
        }
    }
}

/// A slot's instant on the media clock, samples; without wraparound.
fn position(slot: u64) -> u64 {
    slot * SLOT_SAMPLES as u64
}

/// A slot's instant on the media clock, with the wraparound of RTP timestamps.
fn media_time(slot: u64) -> RtpTime {
    RtpTime((slot as u32).wrapping_mul(SLOT_SAMPLES as u32))
}

#[cfg(all(test, feature = "opus"))]
mod tests;
