//! A room as the engine holds it: with its phase, and behind a guard that catches panics.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::Ordering::Relaxed;
use std::panic::catch_unwind;

use crate::format::TickLength;
use crate::room::Room;
use crate::schedule::{Rhythms, SlotLoads, may_move_again};
use crate::units::{RoomId, Tick};

/// A room and its phase: the slot of its tick in which the room runs.
///
/// The room is private to this file: every call that could panic goes through [`RoomEntry::enter`].
#[derive(Debug)]
pub(super) struct RoomEntry {
    pub phase: usize,
    /// The slot in which the room fell asleep; `None` while it needs its ticks.
    pub asleep: Option<u64>,
    /// Whether the sleeping room is woken by voices of other rooms.
    pub dozes: bool,
    /// When the room last changed its phase, in its own ticks; `None` before the first change.
    moved: Option<Tick>,
    /// The load that the room has added to its slots.
    weight: isize,
    room: Box<Room>,
}

/// The error of a call that panicked inside a room and may have left it inconsistent. The room gets
/// one more tick, which retires it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault;

impl RoomEntry {
    /// Creates an entry for a room that sleeps from `slot` on.
    pub fn new(room: Box<Room>, phase: usize, slot: u64) -> RoomEntry {
        RoomEntry {
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
    /// Returns [`Fault`] if `act` panics; from then on each tick of the room panics.
    pub fn enter<R>(&mut self, act: impl FnOnce(&mut Room) -> R) -> Result<R, Fault> {
        let room = &mut *self.room;
        catch_unwind(AssertUnwindSafe(|| act(room))).map_err(|_| {
            self.room.break_down();
            Fault
        })
    }

    /// The room's id.
    pub fn id(&self) -> RoomId {
        self.room.id()
    }

    /// The room's tick length.
    pub fn tick(&self) -> TickLength {
        self.room.settings().tick
    }

    /// Number of members, including those that are leaving.
    pub fn members(&self) -> usize {
        self.room.members().len()
    }

    /// Counts ticks that the room slept through.
    pub fn skip(&mut self, ticks: u64) {
        self.room.skip(ticks);
    }

    /// Takes the room out, and removes its load from its slots.
    ///
    /// - `faulted`: whether to publish that the room has failed.
    pub fn leave(mut self, faulted: bool, loads: &mut SlotLoads) -> Box<Room> {
        self.weigh(-self.weight, loads);
        if faulted {
            self.room.telemetry().failed.store(true, Relaxed);
        }
        self.room
    }

    /// Adds `by` to the load of the room's slots; negative values reduce the load.
    pub fn weigh(&mut self, by: isize, loads: &mut SlotLoads) {
        self.weight += by;
        loads.change(self.phase, self.tick(), by);
    }

    /// Whether the engine looks at the room in its slots: it is awake or dozing.
    pub fn is_scheduled(&self) -> bool {
        self.asleep.is_none() || self.dozes
    }

    /// Whether the room's last change of phase is long enough ago for another.
    pub fn may_move(&self) -> bool {
        may_move_again(self.moved, self.room.ticks())
    }

    /// Moves the room to the phase at which packets of `rhythms` wait less, if there is one. The
    /// caller asks [`may_move`](RoomEntry::may_move) first.
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
