//! All rooms of one mixer: what is applied, pushed and run.
//!
//! The engine knows no channel, no thread and no clock: commands and packets are handed in, time is
//! an argument, and what comes out goes to a [`Sink`]. Within the limits it was made for nothing
//! here allocates or frees; boxes arrive built and go back as [`Retired`].
//!
//! A panic inside one room's tick retires that room; the others go on.

mod ids;
mod rota;

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use self::ids::{IdMap, map_for};
use self::rota::Rota;
use crate::command::{Command, Event, Retired};
use crate::crew::{EncodeJob, Jobs};
use crate::format::SLOT_SAMPLES;
use crate::packet::{OutPacket, Packet};
use crate::participant::Participant;
use crate::phase::{Rhythm, SlotLoads, may_move_again};
use crate::playout::Pushed;
use crate::room::{Hands, Room};
use crate::scan::Rescan;
use crate::stats::EngineStats;
use crate::units::{ParticipantId, RoomId, RtpTime, Tick, Time};

/// Takes what comes out of the engine. Must be real-time safe itself.
pub trait Sink {
    /// One packet for all of `to`, who are in one room and never none; each is sent every packet in
    /// the order of the calls.
    fn packet(&mut self, to: &[ParticipantId], packet: &OutPacket);
    /// Something happened.
    fn event(&mut self, event: Event);
    /// Something is to be freed elsewhere.
    fn retired(&mut self, retired: Retired);

    /// Takes an encode that any thread may do; gives it back if nobody can.
    ///
    /// The five methods about encodes are for engines that were [given
    /// jobs](Engine::reserve_jobs); as they stand here, nobody but the calling thread encodes.
    ///
    /// # Errors
    /// The job itself.
    fn offer(&mut self, job: Box<EncodeJob>) -> Result<(), Box<EncodeJob>> {
        Err(job)
    }

    /// All of a tick's encodes are offered: it is time to wake those who could do some.
    fn offered(&mut self) {}

    /// An offered encode that nobody has begun, to be done by the calling thread after all.
    fn unbegun(&mut self) -> Option<Box<EncodeJob>> {
        None
    }

    /// An encode of this engine's that somebody has done.
    fn finished(&mut self) -> Option<Box<EncodeJob>> {
        None
    }

    /// Whether what is not encoded by now is to skip its packet.
    fn is_overdue(&self) -> bool {
        true
    }
}

/// How much one engine holds. Memory for it is reserved at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Most rooms.
    pub rooms: usize,
    /// Most participants, of all rooms.
    pub participants: usize,
}

/// All rooms of one mixer.
#[derive(Debug)]
pub struct Engine {
    limits: EngineLimits,
    berths: Vec<Option<Berth>>,
    berth_of: IdMap<RoomId, usize>,
    seat_of: IdMap<ParticipantId, Seat>,
    loads: SlotLoads,
    /// Which rooms are awake, by the slot in which they run.
    rota: Rota,
    /// Encode jobs that are not in use.
    jobs: Jobs,
    /// Encode jobs that other threads have.
    jobs_out: usize,
    complexity_cap: u8,
    /// The slot run last.
    slot: u64,
    stats: EngineStats,
}

/// A room and the slot of its tick in which it runs.
#[derive(Debug)]
struct Berth {
    phase: usize,
    /// When it last moved, by the room's own count.
    moved: Option<Tick>,
    /// The slot in which it fell asleep; `None` while it needs its ticks.
    asleep: Option<u64>,
    /// It sleeps, but is woken by what is said in other rooms.
    dozes: bool,
    room: Box<Room>,
}

/// Where a participant is.
#[derive(Debug, Clone, Copy)]
struct Seat {
    berth: usize,
    member: usize,
}

impl Engine {
    /// An engine without rooms.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(limits: EngineLimits) -> Engine {
        Engine {
            limits,
            berths: Vec::with_capacity(limits.rooms),
            berth_of: map_for(limits.rooms),
            seat_of: map_for(limits.participants),
            loads: SlotLoads::default(),
            rota: Rota::new(limits.rooms),
            jobs: Jobs::new(),
            jobs_out: 0,
            complexity_cap: u8::MAX,
            slot: 0,
            stats: EngineStats::default(),
        }
    }

    /// Lets up to `count` encodes be done by other threads at a time.
    ///
    /// Real-time: set-up only (allocates).
    pub fn reserve_jobs(&mut self, count: usize) {
        self.jobs.resize_with(count, EncodeJob::empty);
    }

    /// Spends no more than this libopus complexity, 0..=10, on any encode from now on.
    ///
    /// Real-time: safe.
    pub fn cap_complexity(&mut self, cap: u8) {
        self.complexity_cap = cap;
    }

    /// Whether no room needs a tick: until the next packet or command, slots may be left out.
    pub fn is_idle(&self) -> bool {
        self.rota.is_empty() && self.jobs_out == 0
    }

    /// What it counted.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            rooms: self.berth_of.len(),
            participants: self.seat_of.len(),
            ..self.stats
        }
    }

    /// Applies one command.
    ///
    /// Real-time: safe.
    pub fn apply(&mut self, command: Command, sink: &mut dyn Sink) {
        let refused = match command {
            Command::AddRoom(room) => self.add_room(room).err().map(Retired::Room),
            Command::ConfigureRoom(id, settings) => {
                self.with_room(id, |room| room.configure(settings));
                None
            }
            Command::RemoveRoom(id) => {
                match self.berth_of.get(&id) {
                    Some(&berth) => self.remove_room(berth, sink),
                    None => self.stats.refused_total += 1,
                }
                None
            }
            Command::Reserve { room, members } => match self.room_mut(room) {
                Some(room) => {
                    sink.retired(Retired::Members(room.reserve(members)));
                    None
                }
                None => Some(Retired::Members(members)),
            },
            Command::AddParticipant { room, participant } => self
                .add_participant(room, participant)
                .err()
                .map(Retired::Participant),
            Command::RemoveParticipant(id) => {
                self.remove_participant(id, sink);
                None
            }
            Command::SetListener(id, listener) => match self.seat_of.get(&id) {
                Some(&Seat { berth, member }) => {
                    let replaced = match &mut self.berths[berth] {
                        Some(berth) => berth.room.set_listener(member, listener),
                        None => Some(listener),
                    };
                    self.wake(berth);
                    if let Some(listener) = replaced {
                        sink.retired(Retired::Listener(listener));
                    }
                    None
                }
                None => Some(Retired::Listener(listener)),
            },
            Command::SetFeed(id, feed) => match self.room_mut(id) {
                Some(room) => {
                    if let Some(feed) = room.set_feed(feed) {
                        sink.retired(Retired::Feed(feed));
                    }
                    None
                }
                None => feed.map(Retired::Feed),
            },
            Command::SetLinks(id, links) => {
                self.set_links(id, links, sink).err().map(Retired::Rescan)
            }
            Command::SetScan(id, rescan) => {
                self.set_scan(id, rescan, sink).err().map(Retired::Rescan)
            }
            Command::Attend(id) => {
                self.attend(id);
                None
            }
            #[cfg(any(test, feature = "fault-injection"))]
            Command::Break(id) => {
                self.with_room(id, Room::break_down);
                if let Some(&berth) = self.berth_of.get(&id) {
                    self.wake(berth);
                }
                None
            }
        };
        if let Some(retired) = refused {
            self.stats.refused_total += 1;
            sink.retired(retired);
        }
    }

    /// Takes in one packet; `None` if its sender is not here or does not talk.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, from: ParticipantId, packet: &Packet, arrival: Time) -> Option<Pushed> {
        let taken = self.seat_of.get(&from).copied().and_then(|seat| {
            let berth = self.berths[seat.berth].as_mut()?;
            let room = &mut berth.room;
            let push = || room.push(seat.member, packet, arrival);
            let Ok(taken) = catch_unwind(AssertUnwindSafe(push)) else {
                // What it left half done is not to be mixed: the next tick retires the room.
                berth.room.break_down();
                self.wake(seat.berth);
                return None;
            };
            let taken = taken?;
            if taken.wakes {
                self.wake(seat.berth);
            }
            if let Some(rhythm) = taken.wanted {
                self.move_to_meet(seat.berth, rhythm);
            }
            Some(taken.pushed)
        });
        self.stats.strays_total += u64::from(taken.is_none());
        taken
    }

    /// Runs one tick of every room whose phase falls on `slot` and that needs one.
    ///
    /// - `slot`: counts [`SLOT`](crate::format::SLOT)s since the caller's origin; the media clock
    ///   of what goes out follows it, slots that were left out included.
    /// - `now`: the slot's instant on the clock that stamps arrivals.
    ///
    /// Real-time: safe.
    pub fn run_slot(&mut self, slot: u64, now: Time, sink: &mut dyn Sink) {
        self.slot = slot;
        while let Some(job) = sink.finished() {
            self.take_back(job, sink);
        }
        let time = media_time(slot);
        // From the end: a room that falls asleep or is removed gives its place to the last.
        for at in (0..self.rota.due(slot).len()).rev() {
            let Some(&index) = self.rota.due(slot).get(at) else {
                continue;
            };
            self.run_room(index, now, time, sink);
        }
    }

    fn run_room(&mut self, index: usize, now: Time, time: RtpTime, sink: &mut dyn Sink) {
        if !self.is_up(index) {
            return;
        }
        let Some(berth) = &mut self.berths[index] else {
            return;
        };
        let mut hands = Hands {
            sink,
            jobs: &mut self.jobs,
            at: position(self.slot),
            complexity_cap: self.complexity_cap,
        };
        let free = hands.jobs.len();
        let id = berth.room.id();
        let room = &mut berth.room;
        let outcome = catch_unwind(AssertUnwindSafe(|| room.tick(now, time, &mut hands)));
        let offered = free - self.jobs.len();
        self.jobs_out += offered;
        match outcome {
            Ok(tick) => {
                self.stats.ticks_total += 1;
                self.stats.add(&tick);
                if offered > 0 {
                    self.see_to_offered(id, time, offered, sink);
                }
                if tick.asleep {
                    self.lull(index);
                }
                self.take_left(index, sink);
            }
            Err(_) => {
                self.stats.faults_total += 1;
                let room = berth.room.id();
                self.remove_room(index, sink);
                sink.event(Event::RoomFault { room });
            }
        }
    }

    /// Encodes what nobody else has begun of a room's tick and hands out what others have done, until
    /// all `offered` encodes of that tick are done or it is too late. What other threads still have of
    /// earlier ticks is not waited for.
    fn see_to_offered(&mut self, room: RoomId, time: RtpTime, offered: usize, sink: &mut dyn Sink) {
        let mut missing = offered;
        while missing > 0 {
            // What is done goes out before anything else is begun.
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
            missing -= usize::from(job.room == room && job.time == time);
            self.take_back(job, sink);
        }
    }

    /// Returns a job's stream to its listener, wherever that one is by now.
    fn take_back(&mut self, mut job: Box<EncodeJob>, sink: &mut dyn Sink) {
        self.jobs_out = self.jobs_out.saturating_sub(1);
        let seat = self.seat_of.get(&job.to).copied();
        let berth = seat.and_then(|seat| Some((self.berths[seat.berth].as_mut()?, seat.member)));
        match berth.filter(|(berth, _)| berth.room.id() == job.room) {
            Some((berth, member)) => {
                let now = media_time(self.slot);
                let stats = berth.room.take_back(member, &mut job, now, sink);
                self.stats.add(&stats);
            }
            None => {
                if let Some(listener) = job.listener.take() {
                    sink.retired(Retired::Listener(listener));
                }
            }
        }
        self.jobs.push(job);
    }

    /// Whether a room is to have its tick: one that only dozes wakes if it is called from elsewhere.
    fn is_up(&mut self, index: usize) -> bool {
        let at = position(self.slot);
        if let Some(berth) = &self.berths[index]
            && berth.asleep.is_some()
        {
            if !berth.room.is_called(at) {
                return false;
            }
            // This slot's tick is still to come.
            self.wake_in(index, self.slot.saturating_sub(1));
        }
        true
    }

    /// Lets a room sleep: it gets no tick until it is woken. One that listens to others dozes: it looks
    /// after them in place of each tick, which costs a few loads.
    fn lull(&mut self, index: usize) {
        if let Some(berth) = &mut self.berths[index]
            && berth.asleep.is_none()
        {
            berth.asleep = Some(self.slot);
            berth.dozes = berth.room.listens_elsewhere();
            if !berth.dozes {
                let tick = berth.room.settings().tick;
                self.rota.strike(index, berth.phase, tick);
            }
        }
    }

    /// Gives a room its ticks again.
    fn wake(&mut self, index: usize) {
        self.wake_in(index, self.slot);
    }

    /// The same; it has slept up to `slot`, with that.
    fn wake_in(&mut self, index: usize, slot: u64) {
        if let Some(berth) = &mut self.berths[index]
            && let Some(since) = berth.asleep.take()
        {
            let tick = berth.room.settings().tick;
            let slots = slot.saturating_sub(since);
            berth.room.skip(slots / tick.slots() as u64);
            if !core::mem::take(&mut berth.dozes) {
                self.rota.enter(index, berth.phase, tick);
            }
        }
    }

    /// Looks at one participant's settings at its room's next tick, and sees to it that there is one.
    fn attend(&mut self, id: ParticipantId) {
        let Some(&Seat { berth, member }) = self.seat_of.get(&id) else {
            self.stats.refused_total += 1;
            return;
        };
        self.wake(berth);
        let room = self.berths[berth].as_mut().map(|berth| &mut berth.room);
        if let Some(rhythm) = room.and_then(|room| room.attend(member)) {
            self.move_to_meet(berth, rhythm);
        }
    }

    /// Moves a room to where the packets of `rhythm` wait less.
    fn move_to_meet(&mut self, index: usize, rhythm: Rhythm) {
        let Some(berth) = &mut self.berths[index] else {
            return;
        };
        let tick = berth.room.settings().tick;
        let before = berth.phase;
        berth.move_to_meet(rhythm, &mut self.loads);
        if berth.phase != before && berth.is_on_rota() {
            let after = berth.phase;
            self.rota.strike(index, before, tick);
            self.rota.enter(index, after, tick);
        }
    }

    fn add_room(&mut self, room: Box<Room>) -> Result<(), Box<Room>> {
        let id = room.id();
        if self.berth_of.len() >= self.limits.rooms || self.berth_of.contains_key(&id) {
            return Err(room);
        }
        if self.seat_of.len() + room.members().len() > self.limits.participants {
            return Err(room);
        }
        let index = match self.berths.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.berths.push(None);
                self.berths.len() - 1
            }
        };
        let phase = self.loads.least_loaded(room.settings().tick);
        // A room comes with nobody in it, who first has to be added.
        let is_empty = room.members().is_empty();
        let berth = Berth {
            phase,
            moved: None,
            asleep: Some(self.slot),
            dozes: false,
            room,
        };
        berth.weigh(1 + berth.room.members().len() as isize, &mut self.loads);
        self.berths[index] = Some(berth);
        self.berth_of.insert(id, index);
        if !is_empty {
            self.wake(index);
        }
        Ok(())
    }

    fn remove_room(&mut self, index: usize, sink: &mut dyn Sink) {
        let Some(berth) = self.berths[index].take() else {
            return;
        };
        berth.weigh(-1 - berth.room.members().len() as isize, &mut self.loads);
        if berth.is_on_rota() {
            let tick = berth.room.settings().tick;
            self.rota.strike(index, berth.phase, tick);
        }
        self.berth_of.remove(&berth.room.id());
        for id in berth.room.members().ids() {
            // Someone who is fading out here may sit elsewhere by now.
            if self
                .seat_of
                .get(&id)
                .is_some_and(|seat| seat.berth == index)
            {
                self.seat_of.remove(&id);
            }
        }
        sink.retired(Retired::Room(berth.room));
    }

    fn add_participant(
        &mut self,
        room: RoomId,
        participant: Box<Participant>,
    ) -> Result<(), Box<Participant>> {
        let id = participant.id();
        let is_full = self.seat_of.len() >= self.limits.participants;
        let berth = self.berth_of.get(&room).copied();
        let Some(index) = berth.filter(|_| !is_full && !self.seat_of.contains_key(&id)) else {
            return Err(participant);
        };
        let Some(berth) = &mut self.berths[index] else {
            return Err(participant);
        };
        let member = berth.room.add(participant)?;
        berth.weigh(1, &mut self.loads);
        let seat = Seat {
            berth: index,
            member,
        };
        self.seat_of.insert(id, seat);
        self.wake(index);
        Ok(())
    }

    fn remove_participant(&mut self, id: ParticipantId, sink: &mut dyn Sink) {
        let Some(seat) = self.seat_of.remove(&id) else {
            self.stats.refused_total += 1;
            return;
        };
        if let Some(berth) = &mut self.berths[seat.berth] {
            berth.room.dismiss(seat.member);
        }
        self.wake(seat.berth);
        self.take_left(seat.berth, sink);
    }

    /// Gives back those who left a room and are no longer heard in it.
    fn take_left(&mut self, index: usize, sink: &mut dyn Sink) {
        let Some(berth) = &mut self.berths[index] else {
            return;
        };
        while let Some((participant, place)) = berth.room.take_left() {
            berth.weigh(-1, &mut self.loads);
            if let Some(moved) = berth.room.members().at(place)
                && let Some(seat) = self.seat_of.get_mut(&moved)
            {
                seat.member = place;
            }
            sink.retired(Retired::Participant(participant));
        }
    }

    fn set_links(
        &mut self,
        id: RoomId,
        links: Box<Rescan>,
        sink: &mut dyn Sink,
    ) -> Result<(), Box<Rescan>> {
        let Some(&index) = self.berth_of.get(&id) else {
            return Err(links);
        };
        let Some(berth) = &mut self.berths[index] else {
            return Err(links);
        };
        if let Some(replaced) = berth.room.set_links(links) {
            sink.retired(Retired::Rescan(replaced));
        }
        if !berth.room.members().is_empty() {
            self.wake(index);
        }
        Ok(())
    }

    fn set_scan(
        &mut self,
        id: ParticipantId,
        rescan: Box<Rescan>,
        sink: &mut dyn Sink,
    ) -> Result<(), Box<Rescan>> {
        let Some(&Seat { berth, member }) = self.seat_of.get(&id) else {
            return Err(rescan);
        };
        let Some(Berth { room, .. }) = &mut self.berths[berth] else {
            return Err(rescan);
        };
        if let Some(replaced) = room.set_scan(member, rescan)? {
            sink.retired(Retired::Rescan(replaced));
        }
        self.wake(berth);
        Ok(())
    }

    fn room_mut(&mut self, id: RoomId) -> Option<&mut Room> {
        let berth = self.berths[*self.berth_of.get(&id)?].as_mut()?;
        Some(&mut berth.room)
    }

    fn with_room(&mut self, id: RoomId, change: impl FnOnce(&mut Room)) {
        match self.room_mut(id) {
            Some(room) => change(room),
            None => self.stats.refused_total += 1,
        }
    }
}

impl Berth {
    /// Adds `by` to what the room's slots carry, or takes it away.
    fn weigh(&self, by: isize, loads: &mut SlotLoads) {
        loads.change(self.phase, self.room.settings().tick, by);
    }

    /// Whether it is looked at in its slots.
    fn is_on_rota(&self) -> bool {
        self.asleep.is_none() || self.dozes
    }

    /// Moves the room to where the packets of `rhythm` wait less.
    fn move_to_meet(&mut self, rhythm: Rhythm, loads: &mut SlotLoads) {
        let tick = self.room.settings().tick;
        let members = self.room.members().len();
        if !may_move_again(self.moved, self.room.ticks()) {
            return;
        }
        if let Some(phase) = loads.better(self.phase, rhythm, tick, members) {
            self.weigh(-1 - members as isize, loads);
            self.phase = phase;
            self.moved = Some(self.room.ticks());
            self.weigh(1 + members as isize, loads);
        }
    }
}

/// A slot's instant on the media clock, samples.
fn position(slot: u64) -> u64 {
    slot * SLOT_SAMPLES as u64
}

/// The same as it goes over the wire, which wraps as RTP time does.
fn media_time(slot: u64) -> RtpTime {
    RtpTime((slot as u32).wrapping_mul(SLOT_SAMPLES as u32))
}

#[cfg(all(test, feature = "opus"))]
mod tests;
