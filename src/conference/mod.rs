//! The conference: intents in, commands to the mixer and the network out, events to everybody who watches.
//!
//! Stands above the picture and steers it: it decides who is in which room and never sees a packet. One lock guards the
//! whole state; what is done under it is short: nothing waits for a mixer or for the network thread. Heavy work
//! (reading an offer, building codecs) happens before the
//! lock is taken, on the caller's thread.
//!
//! A join is a seat reserved, an offer accepted, a box sent to the mixer, a peer sent to the network and a member
//! entered, in this order; when a step fails, everything before it is undone.

mod counters;
mod error;
mod floor;
mod ice;
mod join;
mod leaving;
mod load_control;
mod member;
mod metrics;
mod monitoring;
mod placement;
mod pump;
mod registry;
mod room;
mod room_links;
mod rooms;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mixer::profile::Hangovers;
use mixer::{Decibels, Gain, ParticipantId};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

pub use counters::ParticipantTotals;
pub use error::{
    CommandError, ConfigureError, FloorError, IceError, JoinError, Overloaded, UnknownParticipant,
    UnknownSession,
};
pub use ice::{IceOutcome, IceUpdate};
pub use join::{Join, Joined};
pub use metrics::{Figures, MetricFamily, MetricKind, MetricSample};
pub use pump::pump;
pub use rooms::Configure;

use error::Refusal;
use floor::{FloorCounts, FloorRounds};
use monitoring::Monitoring;
use placement::Placement;
use registry::Registry;
use room::Room;

use crate::audio::{AudioHandle, MixerControl};
use crate::protocol::{
    Change, Command, CommandMessage, Event, Invalid, LeaveReason, Name, Participant, PublicId,
    RoomConfig, RoomName, RoomState,
};
use crate::rate_limit::{Limited, Rate, Rates, Verdict};
pub use crate::rtc::OfferError;
use crate::rtc::{Closing, RtcHandle};

/// What a conference may grow to, and what its rooms are set to when nobody says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most rooms.
    pub max_rooms: usize,
    /// Most participants of all rooms.
    pub max_sessions: usize,
    /// Rooms are made by joining them.
    pub open_rooms: bool,
    /// Settings of a new room.
    pub room: RoomConfig,
    /// How long streams go on after the last sound.
    pub hangovers: Hangovers,
    /// How often clients may do what costs something.
    pub rates: Rates,
}

/// A handle on the conference; clones are the same one.
#[derive(Clone)]
pub struct Conference {
    inner: Arc<Inner>,
}

struct Inner {
    limits: Limits,
    audio: AudioHandle,
    rtc: RtcHandle,
    state: Mutex<State>,
    counts: Counts,
    /// Turns true when a mixer or the network thread has ended while it was needed.
    lost: watch::Sender<bool>,
}

/// Everything that changes.
struct State {
    registry: Registry,
    placement: Placement,
    /// Who hears which rooms beside his own.
    monitoring: Monitoring,
    /// When the floors were last looked at.
    rounds: FloorRounds,
    /// When the governors last looked.
    governed: Instant,
    stopping: bool,
    /// Peers that the network thread is still to be told to close.
    closing: VecDeque<Closing>,
}

/// What happened since the start.
#[derive(Default)]
struct Counts {
    joins: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    left: [AtomicU64; LeaveReason::ALL.len()],
    faults: AtomicU64,
    floor: FloorCounts,
    /// Refusals by the limits that are kept with each participant.
    limited: [AtomicU64; Limited::ALL.len()],
}

impl Counts {
    fn count_limited(&self, what: Limited) {
        self.limited[what as usize].fetch_add(1, Relaxed);
    }
}

impl Conference {
    /// An empty conference over running mixers and a running network thread.
    ///
    /// - `mixers`: the controls of all mixers that `audio` names.
    /// - `now`: when its floors and its governors begin to count time.
    pub fn new(
        limits: Limits,
        audio: AudioHandle,
        mixers: Vec<MixerControl>,
        rtc: RtcHandle,
        now: Instant,
    ) -> Conference {
        let state = State {
            registry: Registry::default(),
            placement: Placement::new(mixers),
            monitoring: Monitoring::default(),
            rounds: FloorRounds::new(now),
            governed: now,
            stopping: false,
            closing: VecDeque::new(),
        };
        Conference {
            inner: Arc::new(Inner {
                limits,
                audio,
                rtc,
                state: Mutex::new(state),
                counts: Counts::default(),
                lost: watch::Sender::new(false),
            }),
        }
    }

    /// Ends a session because its client says so.
    ///
    /// # Errors
    /// [`UnknownSession`], the same for a session that never was and one that is over.
    pub fn leave(&self, session: &str) -> Result<(), UnknownSession> {
        let now = Instant::now();
        let mut state = self.lock();
        let id = state.registry.of_session(session).ok_or(UnknownSession)?;
        self.remove_participant(&mut state, id, LeaveReason::Left, now);
        Ok(())
    }

    /// Removes a participant from its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] when there is no such room or nobody of this id in it.
    pub fn kick(&self, room: &RoomName, participant: PublicId) -> Result<(), UnknownParticipant> {
        let now = Instant::now();
        let mut state = self.lock();
        state.find(room, participant.0)?;
        self.remove_participant(&mut state, participant.0, LeaveReason::Kicked, now);
        Ok(())
    }

    /// How often messages may come over one connection.
    pub fn message_rate(&self) -> Rate {
        self.inner.limits.rates.messages
    }

    /// Changes a participant and tells the room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] when there is no such room or nobody of this id in it.
    pub fn change(
        &self,
        room: &RoomName,
        participant: PublicId,
        change: Change,
    ) -> Result<Participant, UnknownParticipant> {
        let now = Instant::now();
        let mut state = self.lock();
        state.find(room, participant.0)?;
        let changed = self.apply(&mut state, participant.0, change, now);
        self.apply_floor_actions_of(&mut state, participant.0);
        changed.ok_or(UnknownParticipant::Participant)
    }

    /// Reads and carries out a message that came over a room's WebSocket; what to answer, if anything.
    #[cfg(test)]
    fn order(&self, room: &RoomName, text: &str) -> Result<Option<Event>, Event> {
        self.carry_out(room, read(text)?)
    }

    /// Carries out a message that came over a room's WebSocket; what to answer, if anything.
    pub fn carry_out(
        &self,
        room: &RoomName,
        message: CommandMessage,
    ) -> Result<Option<Event>, Event> {
        let now = Instant::now();
        let mut state = self.lock();
        let participant = message
            .session
            .as_deref()
            .and_then(|session| state.registry.of_session(session))
            .filter(|id| state.registry.place(*id) == Some(room));
        let Some(participant) = participant else {
            return Err(refusal(&CommandError::UnknownSession, message.id));
        };
        // Each WebSocket is counted on its own; a session that sends over many of them is counted here.
        if !message.is_release()
            && let Some((_, member)) = state.registry.member_mut(participant)
            && member.messages.take(now) != Verdict::Pass
        {
            self.inner.counts.count_limited(Limited::Message);
            return Ok(Some(self.too_many()));
        }
        let answer = self.perform(&mut state, participant, message, now);
        self.apply_floor_actions_of(&mut state, participant);
        answer
    }

    /// A room as it is now and everything that happens in it from now on, as JSON texts.
    pub fn watch(&self, room: &RoomName) -> Option<(RoomState, broadcast::Receiver<Arc<str>>)> {
        let now = Instant::now();
        let state = self.lock();
        let entry = state.registry.rooms.get(room)?;
        Some((entry.state(room, now), entry.events.subscribe()))
    }

    /// Whether the mixers and the network thread are there, without whom nobody hears anything.
    pub fn is_whole(&self) -> bool {
        !*self.inner.lost.borrow()
    }

    /// Ready once one of them has ended by itself; never otherwise.
    pub async fn lost(&self) {
        // The sender lives in what we hold.
        let _ = self.inner.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Removes everybody and takes nobody in any more.
    pub fn close(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.stopping = true;
        let rooms: Vec<RoomName> = state.registry.rooms.keys().cloned().collect();
        for room in rooms {
            self.remove_all(&mut state, &room, LeaveReason::ServerStopping, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves a state that is whole: every step undoes or completes itself.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a command of a participant. What its floor wants done is still to do: the answer goes first.
    fn perform(
        &self,
        state: &mut State,
        id: ParticipantId,
        message: CommandMessage,
        now: Instant,
    ) -> Result<Option<Event>, Event> {
        match message.command {
            Command::Change(change) => {
                self.apply(state, id, change, now);
                Ok(message.id.map(|id| Event::Ok { id }))
            }
            Command::Listen(list) => match self.listen(state, id, list, now) {
                Ok(()) => Ok(message.id.map(|id| Event::Ok { id })),
                Err(error) => Err(refusal(&error, message.id)),
            },
            Command::Floor(command) => self.command_floor(state, id, command, message.id, now),
        }
    }

    /// Does what the floor of a participant's room wants done.
    fn apply_floor_actions_of(&self, state: &mut State, id: ParticipantId) {
        let Some(name) = state.registry.place(id).cloned() else {
            return;
        };
        let State {
            registry,
            placement,
            ..
        } = state;
        if let Some(room) = registry.rooms.get_mut(&name) {
            self.apply_floor_actions(placement, &name, room);
        }
    }

    /// Changes a member and tells its room; `None` if there is no such member. What its floor wants done is still to do.
    fn apply(
        &self,
        state: &mut State,
        id: ParticipantId,
        change: Change,
        now: Instant,
    ) -> Option<Participant> {
        let (room, member) = state.registry.member_mut(id)?;
        let room = room.clone();
        let settings = &member.shared.settings;
        let mut events = Vec::new();
        let muted = change.muted.filter(|muted| *muted != settings.muted());
        if let Some(muted) = muted {
            settings.mute(muted);
            events.push(Event::Muted {
                participant: PublicId(id),
                muted,
            });
        }
        let gain_db = change.gain_db.filter(|gain_db| *gain_db != member.gain_db);
        let name = change.name.map(Name::into_string);
        let name = name.filter(|name| *name != member.name);
        let described = gain_db.is_some() || name.is_some();
        if let Some(gain_db) = gain_db {
            settings.amplify(Gain::from(Decibels(gain_db)));
            member.gain_db = gain_db;
        }
        if let Some(name) = name {
            member.name = name;
            state.monitoring.mark_renamed(id);
        }
        let participant = member.public();
        if described {
            events.push(Event::Changed {
                participant: participant.clone(),
            });
        }
        if let Some(room) = state.registry.rooms.get_mut(&room) {
            match muted {
                Some(true) => room.floor.mute(id, now),
                Some(false) => room.floor.unmute(id),
                None => {}
            }
            for event in &events {
                self.broadcast(room, event);
            }
        }
        Some(participant)
    }

    /// Tells everybody who watches a room, over WebSocket and data channel.
    fn broadcast(&self, room: &Room, event: &Event) {
        let text: Arc<str> = event.to_json().into();
        let channels = room.members.iter().filter(|member| member.channel);
        let channels: Vec<ParticipantId> = channels.map(|member| member.id).collect();
        if !channels.is_empty() {
            let told = room.fitting_text(event, text.clone(), None);
            self.inner.rtc.send_text(channels, told);
        }
        // Nobody watching is no mistake.
        let _ = room.events.send(text);
        self.broadcast_to_subscribers(room, event);
    }
}

impl State {
    /// Whether somebody is in a room.
    fn find(&self, room: &RoomName, id: ParticipantId) -> Result<(), UnknownParticipant> {
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
    fn end_if_over(&mut self, name: &RoomName) {
        if self.stopping {
            return;
        }
        if self.registry.rooms.get(name).is_some_and(Room::is_over) {
            self.remove_room(name);
        }
    }

    /// Removes a room that nobody is in.
    fn remove_room(&mut self, name: &RoomName) {
        if let Some(room) = self.registry.rooms.remove(name) {
            self.placement.remove_room(room.id);
        }
    }
}

/// Reads a message; a mistake becomes the answer to it.
pub(crate) fn read(text: &str) -> Result<CommandMessage, Event> {
    CommandMessage::parse(text).map_err(|(invalid, id)| refuse(invalid, id))
}

fn refuse(invalid: Invalid, id: Option<Value>) -> Event {
    refusal(&CommandError::Invalid(invalid), id)
}

fn refusal(error: &CommandError, id: Option<Value>) -> Event {
    Event::Error {
        kind: error.kind(),
        detail: error.to_string(),
        room: error.room(),
        id,
    }
}
