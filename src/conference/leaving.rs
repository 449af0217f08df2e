//! Participants leave: one, or all of a room.
//!
//! Leaving frees what others wait for, so it never fails and never waits: what a link does not take at once is sent
//! later.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mixer::ParticipantId;

use super::{Conference, State};
use crate::floor::Floor;
use crate::protocol::{Event, LeaveReason, PublicId, RoomName};
use crate::rtc::Closing;

impl Conference {
    /// Takes a participant out of everything and tells its room why.
    pub(super) fn remove_participant(
        &self,
        state: &mut State,
        id: ParticipantId,
        reason: LeaveReason,
        now: Instant,
    ) {
        let left = Event::Left {
            participant: PublicId(id),
            reason,
        };
        // Told while it is still a member, so that its own data channel says why it closes.
        if let Some(name) = state.registry.place(id)
            && let Some(room) = state.registry.rooms.get(name)
        {
            self.broadcast(room, &left);
            if room.member(id).is_some_and(|member| member.talking) {
                let participant = PublicId(id);
                self.broadcast_to_subscribers(room, &Event::Stopped { participant });
            }
            if !room.links.is_empty() {
                state.monitoring.mark_links_stale();
            }
        }
        let Some((name, member)) = state.registry.take(id) else {
            return;
        };
        state.monitoring.forget(id);
        state.placement.remove(id);
        state.closing.push_back(Closing {
            participant: id,
            last_words: None,
        });
        self.close_waiting(state);
        self.inner.counts.left[reason as usize].fetch_add(1, Relaxed);
        tracing::info!(room = %name, participant = %PublicId(id), name = member.name, reason = reason.word(), "left");
        let State {
            registry,
            placement,
            ..
        } = &mut *state;
        if let Some(room) = registry.rooms.get_mut(&name) {
            room.floor.leave(id, now);
            self.apply_floor_actions(placement, &name, room);
        }
        state.end_if_over(&name);
    }

    /// Removes everybody from a room.
    ///
    /// Each is told of its own end only, over its data channel: telling everybody of everybody would be quadratic.
    /// WebSockets are told of each where that fits into what they may be behind, otherwise of the empty room.
    pub(super) fn remove_all(
        &self,
        state: &mut State,
        name: &RoomName,
        reason: LeaveReason,
        now: Instant,
    ) {
        self.detach_all(state, name, reason, now);
        self.close_waiting(state);
        state.end_if_over(name);
    }

    /// Removes everybody from a room, but leaves their peers to be closed.
    pub(super) fn detach_all(
        &self,
        state: &mut State,
        name: &RoomName,
        reason: LeaveReason,
        now: Instant,
    ) {
        let State {
            registry,
            placement,
            monitoring,
            closing,
            ..
        } = &mut *state;
        let Some(room) = registry.rooms.get(name) else {
            return;
        };
        if room.members.is_empty() {
            return;
        }
        for member in room.members.iter().filter(|member| member.talking) {
            let participant = PublicId(member.id);
            self.broadcast_to_subscribers(room, &Event::Stopped { participant });
        }
        if !room.links.is_empty() {
            monitoring.mark_links_stale();
        }
        let members = registry.take_all(name);
        let Some(room) = registry.rooms.get_mut(name) else {
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
                // Nobody watching is no mistake.
                let _ = room.events.send(text.clone());
            }
            monitoring.forget(member.id);
            placement.remove(member.id);
            closing.push_back(Closing {
                participant: member.id,
                last_words: member.channel.then_some(text),
            });
            self.inner.counts.left[reason as usize].fetch_add(1, Relaxed);
            tracing::info!(room = %name, participant = %PublicId(member.id), name = member.name, reason = reason.word(), "left");
        }
        room.floor = Floor::new(room.config.floor);
        if !tells_each {
            let event = Event::Room {
                room: Box::new(room.state(name, now)),
            };
            let _ = room.events.send(event.to_json().into());
        }
    }

    /// Tells the network thread to close the peers that are to end.
    pub(super) fn close_waiting(&self, state: &mut State) {
        if !state.closing.is_empty() {
            self.inner.rtc.close_all(state.closing.drain(..));
        }
    }

    /// Waits until the network thread has been told to close every peer, but not for ever.
    pub(super) async fn close_peers(&self) {
        for _ in 0..MOST_CLOSING_TURNS {
            self.close_waiting(&mut self.lock());
            if self.inner.rtc.retry() {
                return;
            }
            tokio::time::sleep(CLOSING_TURN).await;
        }
    }
}

/// Participants of whose end each WebSocket of a room is told one by one: half of the events it may be behind.
const MOST_LEFT_EVENTS: usize = 128;

/// How often the link to the network thread is tried at the end of the server, and how many times.
const CLOSING_TURN: Duration = Duration::from_millis(5);
const MOST_CLOSING_TURNS: u32 = 200;
