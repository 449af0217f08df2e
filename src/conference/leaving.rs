//! Leaving: removes one participant or all participants of a room.
//!
//! Leaving never fails and never waits, because other participants wait for the place that it
//! frees: an order that finds its queue full is sent later.

use std::sync::Arc;
use std::time::Instant;

use mixer::ParticipantId;

use super::UnknownSession;
use super::effect::{Effect, NetworkOrder};
use super::machine::Machine;
use crate::floor::Floor;
use crate::protocol::{Event, LeaveReason, PublicId, RoomName};
use crate::rtc::Closing;

impl Machine {
    /// Ends a session at its client's request.
    ///
    /// # Errors
    /// [`UnknownSession`], equally for a session that never existed and one that has ended.
    pub(super) fn leave(&mut self, session: &str, now: Instant) -> Result<(), UnknownSession> {
        let id = self.session(session)?;
        self.remove_participant(id, LeaveReason::Left, now);
        Ok(())
    }

    /// Removes a participant from the whole conference and tells its room the reason.
    pub(super) fn remove_participant(
        &mut self,
        id: ParticipantId,
        reason: LeaveReason,
        now: Instant,
    ) {
        let left = Event::Left {
            participant: PublicId(id),
            reason,
        };
        // The event is sent while the participant is still a member, so that its own data channel
        // receives the reason too.
        if let Some(name) = self.registry.place(id)
            && let Some(room) = self.registry.rooms.get(name)
        {
            self.effects.broadcast(room, &left);
            if room.member(id).is_some_and(|member| member.talking) {
                let participant = PublicId(id);
                let stopped = Event::Stopped { participant };
                self.effects.broadcast_to_subscribers(room, &stopped);
            }
            if !room.links.is_empty() {
                self.monitoring.mark_links_stale();
            }
        }
        let Some((name, member)) = self.registry.take(id) else {
            return;
        };
        self.monitoring.forget(id);
        self.placement.remove(&mut self.effects, id);
        self.effects.tell_network(NetworkOrder::Close(Closing {
            participant: id,
            last_words: None,
        }));
        self.counters.left[reason as usize] += 1;
        tracing::info!(room = %name, participant = %PublicId(id), name = member.name, reason = reason.word(), "a participant left");
        if let Some(room) = self.registry.change_floor(&name) {
            room.floor.leave(id, now);
        }
        self.end_if_over(&name);
    }

    /// Removes all participants from a room, and [ends the room](Machine::end_if_over) unless it is
    /// permanent.
    ///
    /// Each participant is told over its data channel of its own removal only; telling every
    /// participant of every removal would take messages in proportion to the square of their
    /// number. WebSockets receive one event per participant if their backlog can hold the events,
    /// otherwise one event with the state of the empty room.
    pub(super) fn remove_all(&mut self, name: &RoomName, reason: LeaveReason, now: Instant) {
        self.detach_all(name, reason, now);
        self.end_if_over(name);
    }

    /// Removes all participants from a room, and keeps the room.
    pub(super) fn detach_all(&mut self, name: &RoomName, reason: LeaveReason, now: Instant) {
        let Some(room) = self.registry.rooms.get(name) else {
            return;
        };
        if room.members.is_empty() {
            return;
        }
        for member in room.members.iter().filter(|member| member.talking) {
            let participant = PublicId(member.id);
            let stopped = Event::Stopped { participant };
            self.effects.broadcast_to_subscribers(room, &stopped);
        }
        if !room.links.is_empty() {
            self.monitoring.mark_links_stale();
        }
        let members = self.registry.take_all(name);
        let Some(room) = self.registry.rooms.get_mut(name) else {
            return;
        };
        let tells_each = members.len() <= MOST_LEFT_EVENTS;
        for member in members {
            let left = Event::Left {
                participant: PublicId(member.id),
                reason,
            };
            let text: Arc<str> = left.to_json().into();
            if tells_each {
                let told = Effect::Broadcast(room.watch, text.clone());
                self.effects.push(told);
            }
            self.monitoring.forget(member.id);
            self.placement.remove(&mut self.effects, member.id);
            self.effects.tell_network(NetworkOrder::Close(Closing {
                participant: member.id,
                last_words: member.channel.then_some(text),
            }));
            self.counters.left[reason as usize] += 1;
            tracing::info!(room = %name, participant = %PublicId(member.id), name = member.name, reason = reason.word(), "a participant left");
        }
        room.floor = Floor::new(room.config.floor);
        if !tells_each {
            let event = Event::Room {
                room: Box::new(room.state(name, now)),
            };
            let told = Effect::Broadcast(room.watch, event.to_json().into());
            self.effects.push(told);
        }
    }
}

/// Maximum number of `left` events that are sent one by one to each WebSocket of a room: half of a
/// WebSocket's backlog.
const MOST_LEFT_EVENTS: usize = 128;
