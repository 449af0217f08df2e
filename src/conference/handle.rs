//! The handle through which the rest of the server asks the conference for something.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{broadcast, oneshot, watch};

use super::error::Refusal;
use super::floor::FloorRequest;
use super::join::JoinRequest;
use super::machine::{Input, Machine, ServerRequest};
use super::participants::ParticipantRequest;
use super::performer::{Luggage, Performer};
use super::request::{ReplyTo, Request};
use super::rooms::RoomRequest;
use super::sessions::SessionRequest;
use super::{
    Configure, ConfigureError, FloorError, Limits, Overloaded, UnknownParticipant, UnknownSession,
};
use crate::audio::{AudioHandle, MixerControl};
use crate::floor::{self, Answer};
use crate::protocol::{
    Change, CommandMessage, Event, FloorStanding, Participant, PublicId, RoomChange, RoomLine,
    RoomName, RoomState,
};
use crate::rate_limit::Rate;
use crate::rtc::{NetworkControl, RtcHandle};

/// A handle on the conference; clones are the same one.
#[derive(Clone)]
pub struct Conference {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) limits: Limits,
    pub(super) audio: AudioHandle,
    pub(super) rtc: RtcHandle,
    core: Mutex<Core>,
    /// Turns true when a mixer or the network thread has ended while it was needed.
    pub(super) lost: watch::Sender<bool>,
}

/// The running threads that carry audio, as the conference needs to know them.
pub struct Threads {
    /// All mixers.
    pub audio: AudioHandle,
    /// The control of each of them.
    pub mixers: Vec<MixerControl>,
    /// The network thread.
    pub rtc: RtcHandle,
    /// Its control.
    pub network: NetworkControl,
}

/// Everything that changes.
struct Core {
    machine: Machine,
    performer: Performer,
}

/// The machine, locked. What it wants done is performed before others may lock it.
pub(super) struct Turn<'a> {
    core: MutexGuard<'a, Core>,
}

impl Conference {
    /// An empty conference over running mixers and a running network thread.
    ///
    /// - `now`: when its floors and its governors begin to count time.
    pub fn new(limits: Limits, threads: Threads, now: Instant) -> Conference {
        let Threads {
            audio,
            mixers,
            rtc,
            network,
        } = threads;
        let core = Core {
            machine: Machine::new(limits, mixers.len(), now),
            performer: Performer::new(mixers, network),
        };
        Conference {
            inner: Arc::new(Inner {
                limits,
                audio,
                rtc,
                core: Mutex::new(core),
                lost: watch::Sender::new(false),
            }),
        }
    }

    /// Every room in one line each, by name.
    pub fn rooms(&self) -> Vec<RoomLine> {
        self.ask(|reply| Request::Room(RoomRequest::List(reply)))
    }

    /// Whether a join makes a room that is not there.
    pub fn makes_rooms(&self) -> bool {
        self.inner.limits.open_rooms
    }

    /// One room with everybody in it.
    pub fn room(&self, name: &RoomName) -> Option<RoomState> {
        self.ask(|reply| Request::Room(RoomRequest::Read(name.clone(), reply)))
    }

    /// Makes or configures a room; says whether it was made.
    ///
    /// The tick and the number of channels are what strips and encoders are built for, so they can only change while
    /// nobody is in.
    ///
    /// # Errors
    /// [`ConfigureError`]; the room is then as it was.
    pub fn configure(
        &self,
        name: &RoomName,
        change: RoomChange,
        how: Configure,
    ) -> Result<(RoomState, bool), ConfigureError> {
        self.ask(|reply| {
            Request::Room(RoomRequest::Configure {
                name: name.clone(),
                change,
                how,
                reply,
            })
        })
    }

    /// Ends a room and everybody's stay in it.
    ///
    /// # Errors
    /// [`ConfigureError::UnknownRoom`].
    pub fn delete(&self, name: &RoomName) -> Result<(), ConfigureError> {
        self.ask(|reply| Request::Room(RoomRequest::Delete(name.clone(), reply)))
    }

    /// A room as it is now and everything that happens in it from now on, as JSON texts.
    pub fn watch(&self, room: &RoomName) -> Option<(RoomState, broadcast::Receiver<Arc<str>>)> {
        let (events, mut subscribed) = oneshot::channel();
        let state = self.ask(|reply| {
            Request::Room(RoomRequest::Watch {
                name: room.clone(),
                events,
                reply,
            })
        })?;
        Some((state, subscribed.try_recv().ok()?))
    }

    /// Ends a session because its client says so.
    ///
    /// # Errors
    /// [`UnknownSession`], the same for a session that never was and one that is over.
    pub fn leave(&self, session: &str) -> Result<(), UnknownSession> {
        self.ask(|reply| Request::Session(SessionRequest::Leave(session.to_owned(), reply)))
    }

    /// Removes a participant from its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] when there is no such room or nobody of this id in it.
    pub fn kick(&self, room: &RoomName, participant: PublicId) -> Result<(), UnknownParticipant> {
        self.ask(|reply| {
            Request::Participant(ParticipantRequest::Kick {
                room: room.clone(),
                participant,
                reply,
            })
        })
    }

    /// Changes a participant and tells its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] when there is no such room or nobody of this id in it.
    pub fn change(
        &self,
        room: &RoomName,
        participant: PublicId,
        change: Change,
    ) -> Result<Participant, UnknownParticipant> {
        self.ask(|reply| {
            Request::Participant(ParticipantRequest::Change {
                room: room.clone(),
                participant,
                change,
                reply,
            })
        })
    }

    /// Carries out a message that came over a room's WebSocket; what to answer, if anything.
    pub fn carry_out(
        &self,
        room: &RoomName,
        message: CommandMessage,
    ) -> Result<Option<Event>, Event> {
        self.ask(|reply| {
            Request::Session(SessionRequest::Command {
                room: room.clone(),
                message,
                reply,
            })
        })
    }

    /// Asks for the floor of the session's room.
    ///
    /// # Errors
    /// [`FloorError`], the same for a session that never was and one that is over.
    pub fn floor_request(
        &self,
        session: &str,
        request: floor::Request,
    ) -> Result<Answer, FloorError> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Ask(session, request, reply)))
    }

    /// Lets go of the floor, or waits for it no longer. Who does neither has done so already.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub fn floor_release(&self, session: &str) -> Result<(), UnknownSession> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Release(session, reply)))
    }

    /// Where the session stands with the floor.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub fn floor_standing(&self, session: &str) -> Result<FloorStanding, UnknownSession> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Standing(session, reply)))
    }

    /// Counts a join that was refused because too many come from its address.
    pub fn refuse_too_many(&self) {
        self.tell(Request::Join(JoinRequest::Refused(Refusal::Rate)));
    }

    /// Counts a join that nobody had time to look at.
    pub fn refuse_waiting(&self) -> Overloaded {
        self.tell(Request::Join(JoinRequest::Refused(Refusal::Waiting)));
        Overloaded::Waiting
    }

    /// How often messages may come over one connection.
    pub fn message_rate(&self) -> Rate {
        self.inner.limits.rates.messages
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
        self.ask(|reply| Request::Server(ServerRequest::Close(reply)));
    }

    /// Asks the machine for something.
    pub(super) fn ask<T>(&self, request: impl FnOnce(ReplyTo<T>) -> Request) -> T {
        self.ask_with(Luggage::default(), request)
    }

    /// Asks the machine for something that takes more than the machine can carry.
    pub(super) fn ask_with<T>(
        &self,
        luggage: Luggage,
        request: impl FnOnce(ReplyTo<T>) -> Request,
    ) -> T {
        let (reply, mut answer) = ReplyTo::new();
        let mut turn = self.lock();
        turn.performer().luggage = luggage;
        turn.handle(Input::Request(request(reply)), Instant::now());
        // What neither a mixer nor the network thread has taken is freed here.
        turn.performer().luggage = Luggage::default();
        answer
            .try_recv()
            .expect("each request is answered in the step that it is handled in")
    }

    /// Tells the machine something that needs no answer.
    pub(super) fn tell(&self, request: Request) {
        let mut turn = self.lock();
        turn.handle(Input::Request(request), Instant::now());
    }

    pub(super) fn lock(&self) -> Turn<'_> {
        // A panic under the lock leaves a state that is whole: every step undoes or completes itself.
        let core = self.inner.core.lock();
        let mut core = core.unwrap_or_else(PoisonError::into_inner);
        core.set_credit();
        Turn { core }
    }
}

impl Core {
    /// Sends what waits, and tells the machine how much more may be sent.
    fn set_credit(&mut self) {
        self.performer.retry();
        let performer = &self.performer;
        let effects = &mut self.machine.effects;
        effects.set_credit(performer.mixer_credit(), performer.network.free_places());
    }
}

impl Deref for Turn<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.core.machine
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.core.machine
    }
}

impl Turn<'_> {
    /// Lets the machine handle an input, and performs what it wants done.
    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        let Core { machine, performer } = &mut *self.core;
        performer.perform(machine.handle(input, now));
        self.core.set_credit();
    }

    /// The performer, once it has performed what is wanted by now.
    pub(super) fn performer(&mut self) -> &mut Performer {
        self.perform();
        &mut self.core.performer
    }

    /// Performs what the machine wants done by now.
    pub(super) fn perform(&mut self) {
        let Core { machine, performer } = &mut *self.core;
        machine.settle_floors();
        performer.perform(machine.effects.take());
        self.core.set_credit();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.perform();
    }
}
