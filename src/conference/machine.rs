//! The conference as a machine: its whole state, which changes with one input at a time.
//!
//! It knows neither clock nor socket. The time comes with each input, and what is to be done elsewhere is collected as
//! [effects](super::effect), in order.

use std::time::Instant;

use mixer::ParticipantId;

use super::Limits;
use super::UnknownParticipant;
use super::counters::Counters;
use super::effect::{Effect, Effects};
use super::floor::FloorRounds;
use super::monitoring::Monitoring;
use super::placement::Placement;
use super::registry::Registry;
use super::room::Room;
use crate::protocol::{Event, LeaveReason, RoomName};

/// Every room, every participant, and what was asked for.
pub(super) struct Machine {
    pub(super) limits: Limits,
    pub(super) registry: Registry,
    pub(super) placement: Placement,
    /// Which participants hear which rooms besides their own.
    pub(super) monitoring: Monitoring,
    pub(super) counters: Counters,
    /// When the floors were last looked at.
    pub(super) rounds: FloorRounds,
    /// When the governors last looked.
    pub(super) governed: Instant,
    pub(super) stopping: bool,
    /// What is still to be performed.
    pub(super) effects: Effects,
}

impl Machine {
    /// A conference without rooms.
    ///
    /// - `mixers`: how many there are.
    /// - `now`: when its floors and its governors begin to count time.
    pub(super) fn new(limits: Limits, mixers: usize, now: Instant) -> Machine {
        Machine {
            limits,
            registry: Registry::default(),
            placement: Placement::new(mixers),
            monitoring: Monitoring::default(),
            counters: Counters::default(),
            rounds: FloorRounds::new(now),
            governed: now,
            stopping: false,
            effects: Effects::new(mixers),
        }
    }

    /// Removes everybody and takes nobody in any more.
    pub(super) fn close(&mut self, now: Instant) {
        self.stopping = true;
        let rooms: Vec<RoomName> = self.registry.rooms.keys().cloned().collect();
        for room in rooms {
            self.remove_all(&room, LeaveReason::ServerStopping, now);
        }
    }

    /// Tells everybody who watches a room or hears it from elsewhere.
    pub(super) fn broadcast(&mut self, name: &RoomName, event: &Event) {
        if let Some(room) = self.registry.rooms.get(name) {
            self.effects.broadcast(room, event);
        }
    }

    /// Whether somebody is in a room.
    ///
    /// # Errors
    /// [`UnknownParticipant`].
    pub(super) fn find(
        &self,
        room: &RoomName,
        id: ParticipantId,
    ) -> Result<(), UnknownParticipant> {
        if !self.registry.rooms.contains_key(room) {
            return Err(UnknownParticipant::Room);
        }
        if self.registry.place(id) == Some(room) {
            Ok(())
        } else {
            Err(UnknownParticipant::Participant)
        }
    }

    /// Ends a room that nothing keeps. While the server goes down rooms stay, so that those who watch them hear of that
    /// and not of a room that ended.
    pub(super) fn end_if_over(&mut self, name: &RoomName) {
        if self.stopping {
            return;
        }
        if self.registry.rooms.get(name).is_some_and(Room::is_over) {
            self.remove_room(name);
        }
    }

    /// Removes a room that nobody is in.
    pub(super) fn remove_room(&mut self, name: &RoomName) {
        if let Some(room) = self.registry.rooms.remove(name) {
            self.placement.remove_room(&mut self.effects, room.id);
            self.effects.push(Effect::Unwatch(room.watch));
        }
    }
}
