//! A room's place in the engine, and the one guarded way into the room.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::Ordering::Relaxed;
use std::panic::catch_unwind;

use crate::format::TickLength;
use crate::room::Room;
use crate::schedule::{Rhythms, SlotLoads, may_move_again};
use crate::units::{RoomId, Tick};

/// A room and the slot of its tick in which it runs.
///
/// The room is private to this file: all that could go wrong in it goes through [`Berth::enter`].
#[derive(Debug)]
pub(super) struct Berth {
    pub phase: usize,
    /// The slot in which it fell asleep; `None` while it needs its ticks.
    pub asleep: Option<u64>,
    /// It sleeps, but is woken by what is said in other rooms.
    pub dozes: bool,
    /// When it last moved, by the room's own count.
    moved: Option<Tick>,
    /// What it has added to the loads of its slots.
    weight: isize,
    room: Box<Room>,
}

/// A panic has left a room half done. The room gets one more tick, in which it is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault;

impl Berth {
    /// A place for a room that sleeps from `slot` on.
    pub fn new(room: Box<Room>, phase: usize, slot: u64) -> Berth {
        Berth {
            phase,
            asleep: Some(slot),
            dozes: false,
            moved: None,
            weight: 0,
            room,
        }
    }

    /// Lets `act` work on the room.
    ///
    /// # Errors
    /// [`Fault`] when it panics; from then on each tick of the room does.
    pub fn enter<R>(&mut self, act: impl FnOnce(&mut Room) -> R) -> Result<R, Fault> {
        let room = &mut *self.room;
        catch_unwind(AssertUnwindSafe(|| act(room))).map_err(|_| {
            self.room.break_down();
            Fault
        })
    }

    /// The room's name.
    pub fn id(&self) -> RoomId {
        self.room.id()
    }

    /// The room's tick.
    pub fn tick(&self) -> TickLength {
        self.room.settings().tick
    }

    /// How many are in the room, those on the way out included.
    pub fn members(&self) -> usize {
        self.room.members().len()
    }

    /// Counts ticks that the room slept through.
    pub fn skip(&mut self, ticks: u64) {
        self.room.skip(ticks);
    }

    /// Takes the room out, whose slots carry nothing of it any more.
    ///
    /// - `faulted`: tells everybody who asks that the room has failed.
    pub fn leave(mut self, faulted: bool, loads: &mut SlotLoads) -> Box<Room> {
        self.weigh(-self.weight, loads);
        if faulted {
            self.room.telemetry().failed.store(true, Relaxed);
        }
        self.room
    }

    /// Adds `by` to what the room's slots carry, or takes it away.
    pub fn weigh(&mut self, by: isize, loads: &mut SlotLoads) {
        self.weight += by;
        loads.change(self.phase, self.tick(), by);
    }

    /// Whether it is looked at in its slots.
    pub fn is_on_rota(&self) -> bool {
        self.asleep.is_none() || self.dozes
    }

    /// Whether the room has not moved for so long that it may again.
    pub fn may_move(&self) -> bool {
        may_move_again(self.moved, self.room.ticks())
    }

    /// Moves the room, which [may move](Berth::may_move), to where the packets of `rhythms` wait less.
    pub fn move_to_meet(&mut self, rhythms: Rhythms, loads: &mut SlotLoads) {
        let tick = self.tick();
        if let Some(phase) = loads.better(self.phase, rhythms, tick, self.members()) {
            let weight = self.weight;
            self.weigh(-weight, loads);
            self.phase = phase;
            self.moved = Some(self.room.ticks());
            self.weigh(weight, loads);
        }
    }
}
