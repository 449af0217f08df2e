//! What the mixers and the network report, turned into the room's events.
//!
//! The network thread rings when it has something. The mixers are polled, since what they report is only shown: a turn
//! every 20 ms is finer than anybody can see a light go on. Where there is a floor a turn comes every 3 ms, so that its
//! timers, looked at every 20 ms, are not late.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixer::command::{Event as MixerEvent, Refused};
use mixer::profile::loss_class;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::{Conference, State, read};
use crate::protocol::{CommandMessage, Event, LeaveReason, PublicId, RoomName};
use crate::rate_limit::{Limited, Verdict};
use crate::rtc::{MessageError, Reason, RtcEvent};

/// How often the links are emptied at least: each time costs as much as the room of a few listeners.
const TURN: Duration = Duration::from_millis(20);

/// How often the links are emptied at least while anybody is in a room with a floor.
const FLOOR_TURN: Duration = Duration::from_millis(3);

/// How long the lock is left to others at least, however often the network thread rings.
const LEAST_TURN: Duration = Duration::from_millis(1);

/// Between two reports of levels.
const REPORT: Duration = Duration::from_millis(200);

/// Events of all mixers taken in one turn, and of the network, so that a flood cannot hold the lock.
const MOST_EVENTS: usize = 4_096;

/// Runs until `stop` changes or its sender is gone, or until [`Conference::lost`].
pub async fn pump(conference: Conference, mut stop: watch::Receiver<bool>) {
    let bell = conference.inner.rtc.something_happened();
    // Not a pipe, but read in the same way, and the network thread never waits in the kernel for who reads it.
    let bell = match bell.and_then(pipe::Receiver::from_owned_fd_unchecked) {
        Ok(bell) => Some(bell),
        Err(error) => {
            tracing::warn!(%error, "the network thread's events are polled");
            None
        }
    };
    let mut reported = Instant::now();
    loop {
        let ended = Instant::now();
        let turn = match conference.has_floors() {
            true => FLOOR_TURN,
            false => TURN,
        };
        tokio::select! {
            () = tokio::time::sleep(turn) => {}
            () = rung(bell.as_ref()) => {
                tokio::time::sleep_until((ended + LEAST_TURN).into()).await;
            }
            _ = stop.changed() => return conference.close_peers().await,
        }
        let now = Instant::now();
        if !conference.turn(now) {
            tracing::error!(
                "a mixer or the network thread has ended: nobody can be heard any more"
            );
            conference.inner.lost.send_replace(true);
            return;
        }
        if now.duration_since(reported) >= REPORT {
            reported = now;
            conference.report(now);
            conference.observe_load(now);
        }
    }
}

/// Waits until the network thread has rung since this was last awaited; for ever without a bell.
async fn rung(bell: Option<&pipe::Receiver>) {
    let Some(bell) = bell else {
        return std::future::pending().await;
    };
    loop {
        // Fails only when the runtime ends.
        if bell.readable().await.is_err() {
            return std::future::pending().await;
        }
        match bell.try_read(&mut [0; 8]) {
            Ok(1..) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return std::future::pending().await,
        }
    }
}

impl Conference {
    /// Takes in what the mixers and the network have to say; whether both are there to say anything.
    pub(super) fn turn(&self, now: Instant) -> bool {
        let rtc = &self.inner.rtc;
        let mut state = self.lock();
        state.placement.retry();
        self.close_waiting(&mut state);
        rtc.retry();
        let is_whole = state.placement.is_whole() && !rtc.has_ended();
        for _ in 0..MOST_EVENTS {
            let Some(event) = state.placement.next_event() else {
                break;
            };
            self.on_mixer(&mut state, event, now);
        }
        for _ in 0..MOST_EVENTS {
            let Some(event) = rtc.next_event() else {
                break;
            };
            self.on_rtc(&mut state, event, now);
        }
        self.observe_floors(&mut state, now);
        self.sync_monitors(&mut state, now);
        is_whole
    }

    pub(super) fn on_mixer(&self, state: &mut State, event: MixerEvent, now: Instant) {
        match event {
            MixerEvent::Talking { participant, .. } => self.set_talking(state, participant, true),
            MixerEvent::Stopped { participant, .. } => self.set_talking(state, participant, false),
            MixerEvent::RoomFault { room } => {
                if let Some(name) = state.registry.room_of(room).cloned() {
                    self.on_fault(state, &name, now);
                }
            }
            MixerEvent::Refused(refused) => self.on_refused(state, refused, now),
        }
    }

    /// The mixer could not carry out a command. A room or a participant that it does not have is ended here too.
    fn on_refused(&self, state: &mut State, refused: Refused, now: Instant) {
        match refused {
            Refused::Room(id) => {
                let Some(name) = state.registry.room_of(id).cloned() else {
                    return;
                };
                if state.placement.has_failed(id) {
                    self.on_fault(state, &name, now);
                } else {
                    tracing::error!(room = %name, "the mixer refused a change of the room");
                }
            }
            Refused::Participant(id) => {
                let Some((_, member)) = state.registry.member_mut(id) else {
                    return;
                };
                if member.shared.telemetry.was_refused() {
                    self.on_no_place(state, id, now);
                } else {
                    let participant = PublicId(id);
                    tracing::error!(%participant, "the mixer refused a change of the participant");
                }
            }
        }
    }

    /// The mixer had no place for a participant, who would hear nothing and not be heard.
    fn on_no_place(&self, state: &mut State, id: ParticipantId, now: Instant) {
        let participant = PublicId(id);
        tracing::error!(%participant, "the mixer had no place for the participant, whose session ends");
        self.remove_participant(state, id, LeaveReason::Lost, now);
    }

    pub(super) fn on_rtc(&self, state: &mut State, event: RtcEvent, now: Instant) {
        match event {
            RtcEvent::Connected(id) => self.set_connected(state, id, true),
            RtcEvent::Disconnected(id) => self.set_connected(state, id, false),
            RtcEvent::Gone(id, reason) => {
                self.remove_participant(state, id, leave_reason(reason), now);
            }
            RtcEvent::ChannelOpen(id) => self.on_channel(state, id, now),
            RtcEvent::Text(id, text) => self.on_text(state, id, &text, now),
            RtcEvent::BadMessage(id, error) => self.on_bad_message(state, id, error, now),
            RtcEvent::Loss(id, percent) => {
                self.set_loss(state, id, percent);
            }
        }
    }

    /// Passes on the loss that a listener reports. Who only listens gets a stream that is prepared for it, and with it a
    /// way to the others of its kind; the mixer itself could not give it one.
    fn set_loss(&self, state: &mut State, id: ParticipantId, percent: u8) {
        let Some((_, member)) = state.registry.member_mut(id) else {
            return;
        };
        let settings = &member.shared.settings;
        let changed = loss_class(settings.loss_percent()) != loss_class(percent);
        settings.report_loss(percent);
        if let Some(ear) = member.ear.filter(|_| changed) {
            // If the link is full, the next report that differs brings it.
            let _ = state.placement.set_listener(id, ear.recipe, ear.tick);
        }
    }

    fn set_talking(&self, state: &mut State, id: ParticipantId, talking: bool) {
        let Some((room, member)) = state.registry.member_mut(id) else {
            return;
        };
        if member.talking == talking {
            return;
        }
        member.talking = talking;
        let room = room.clone();
        let participant = PublicId(id);
        let event = if talking {
            Event::Talking { participant }
        } else {
            Event::Stopped { participant }
        };
        self.tell_room(state, &room, &event);
    }

    fn set_connected(&self, state: &mut State, id: ParticipantId, connected: bool) {
        let Some((room, member)) = state.registry.member_mut(id) else {
            return;
        };
        if member.connected == connected {
            return;
        }
        member.connected = connected;
        let room = room.clone();
        let participant = member.public();
        if connected && !member.shared.settings.is_reachable() {
            member.shared.settings.set_reachable(true);
            state.placement.attend(id);
        }
        self.tell_room(state, &room, &Event::Changed { participant });
    }

    /// The mixer gave a room up: everybody in it has to come again, a permanent room starts afresh.
    fn on_fault(&self, state: &mut State, name: &RoomName, now: Instant) {
        tracing::error!(room = %name, "the room failed and was closed");
        self.inner
            .counts
            .faults
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.remove_all(state, name, LeaveReason::Lost, now);
        let fresh_id = state.registry.new_room_id();
        let State {
            registry,
            placement,
            ..
        } = state;
        let Some(room) = registry.rooms.get_mut(name) else {
            return;
        };
        placement.forget_room(room.id);
        // Joins under way hold the old id and fail.
        room.id = fresh_id;
        room.seats = 0;
        if placement
            .add_room(fresh_id, &room.config, room.capacity)
            .is_err()
        {
            registry.rooms.remove(name);
        }
    }

    /// A data channel opened: from now on it carries the room's events, beginning with the room itself.
    fn on_channel(&self, state: &mut State, id: ParticipantId, now: Instant) {
        let Some((room, member)) = state.registry.member_mut(id) else {
            return;
        };
        member.channel = true;
        let room = room.clone();
        if let Some(entry) = state.registry.rooms.get(&room) {
            for text in entry.first_texts(&room, id, now) {
                self.inner.rtc.send_text(vec![id], text);
            }
            self.tell_who_talks(state, id, now);
        }
    }

    /// A command on a data channel. It concerns the channel's own participant, so it needs no session.
    fn on_text(&self, state: &mut State, id: ParticipantId, text: &str, now: Instant) {
        let Some((_, member)) = state.registry.member_mut(id) else {
            return;
        };
        // Whatever became of the news that it is open: something has come over it.
        if !member.channel {
            self.on_channel(state, id, now);
        }
        let Some((_, member)) = state.registry.member_mut(id) else {
            return;
        };
        // Read before it is counted: the floor is released however much a client sends.
        let message = read(text);
        let is_release = message.as_ref().is_ok_and(CommandMessage::is_release);
        let verdict = match is_release {
            true => Verdict::Pass,
            false => member.messages.take(now),
        };
        let answer = match verdict {
            Verdict::Pass => match message {
                Ok(message) => self.perform(state, id, message, now).unwrap_or_else(Some),
                Err(refusal) => Some(refusal),
            },
            Verdict::Warn => Some(self.too_many()),
            // The call itself goes on: it is audio first.
            Verdict::Abuse => None,
        };
        if verdict != Verdict::Pass {
            self.inner.counts.count_limited(Limited::Message);
        }
        if let Some(answer) = answer {
            self.inner.rtc.send_text(vec![id], answer.to_json().into());
        }
        self.apply_floor_actions_of(state, id);
    }

    /// The one warning before messages are dropped in silence, or a WebSocket is closed.
    pub(crate) fn too_many(&self) -> Event {
        let per_second = self.inner.limits.rates.messages.per_second();
        Event::Error {
            kind: "too-many-messages",
            detail: format!("Send at most {per_second} messages a second."),
            room: None,
            id: None,
        }
    }

    /// Answers a message on a data channel that could not be read, within the same limit as those that could.
    fn on_bad_message(
        &self,
        state: &mut State,
        id: ParticipantId,
        error: MessageError,
        now: Instant,
    ) {
        let Some((_, member)) = state.registry.member_mut(id) else {
            return;
        };
        let verdict = member.messages.take(now);
        if verdict != Verdict::Pass {
            self.inner.counts.count_limited(Limited::Message);
        }
        let answer = match verdict {
            Verdict::Pass => Event::Error {
                kind: "invalid-command",
                detail: error.to_string(),
                room: None,
                id: None,
            },
            Verdict::Warn => self.too_many(),
            Verdict::Abuse => return,
        };
        self.inner.rtc.send_text(vec![id], answer.to_json().into());
    }

    /// Tells the levels of those who are heard, and mends what a dropped event left wrong.
    pub(super) fn report(&self, now: Instant) {
        let mut state = self.lock();
        self.end_failed(&mut state, now);
        let stale: Vec<(ParticipantId, bool)> = state
            .registry
            .rooms
            .values()
            .flat_map(|room| &room.members)
            .filter(|member| member.talking != member.is_heard())
            .map(|member| (member.id, member.is_heard()))
            .collect();
        for (id, talking) in stale {
            self.set_talking(&mut state, id, talking);
        }
        for room in state.registry.rooms.values() {
            let levels: BTreeMap<PublicId, i32> = room
                .members
                .iter()
                .filter(|member| member.talking)
                .map(|member| {
                    (
                        PublicId(member.id),
                        -i32::from(member.shared.telemetry.level().wire()),
                    )
                })
                .collect();
            if !levels.is_empty() {
                self.broadcast(room, &Event::Levels { levels });
            }
        }
    }

    /// Ends the rooms and the sessions that no mixer has.
    fn end_failed(&self, state: &mut State, now: Instant) {
        let State {
            registry,
            placement,
            ..
        } = &*state;
        let rooms = registry.rooms.iter();
        let failed = rooms.filter(|(_, room)| placement.has_failed(room.id));
        let failed: Vec<RoomName> = failed.map(|(name, _)| name.clone()).collect();
        for name in failed {
            self.on_fault(state, &name, now);
        }
        let members = state.registry.rooms.values().flat_map(|room| &room.members);
        let refused = members.filter(|member| member.shared.telemetry.was_refused());
        let refused: Vec<ParticipantId> = refused.map(|member| member.id).collect();
        for id in refused {
            self.on_no_place(state, id, now);
        }
    }

    fn tell_room(&self, state: &State, name: &RoomName, event: &Event) {
        if let Some(room) = state.registry.rooms.get(name) {
            self.broadcast(room, event);
        }
    }
}

/// A client that closed its connection has left; everybody else was lost.
fn leave_reason(reason: Reason) -> LeaveReason {
    match reason {
        Reason::Closed => LeaveReason::Left,
        Reason::ConsentLost | Reason::NeverConnected | Reason::Fault => LeaveReason::Lost,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[tokio::test]
    async fn bell_is_heard_once_however_often_it_was_rung() {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK).expect("a descriptor");
        let other_end = descriptor.try_clone().expect("another");
        let bell = pipe::Receiver::from_owned_fd_unchecked(descriptor).expect("it can be awaited");
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            for _ in 0..5 {
                rustix::io::write(&other_end, &1u64.to_ne_bytes()).expect("rung");
            }
            rung(Some(&bell)).await;
            let mut again = pin!(rung(Some(&bell)));
            assert_eq!(again.as_mut().poll(&mut context), Poll::Pending);
        }
        let mut never = pin!(rung(None));
        assert_eq!(never.as_mut().poll(&mut context), Poll::Pending);
    }
}
