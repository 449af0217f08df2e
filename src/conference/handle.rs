//! The handle through which the rest of the server asks the conference for something.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::error::Refusal;
use super::floor::FloorRequest;
use super::join::JoinRequest;
use super::machine::ServerRequest;
use super::owner::{Envelope, Owner};
use super::participants::ParticipantRequest;
use super::performer::Luggage;
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
use crate::queues::CONFERENCE_REQUESTS;
use crate::rate_limit::Rate;
use crate::rtc::{NetworkControl, RtcHandle};

/// A handle on the conference; clones are the same one.
#[derive(Clone)]
pub struct Conference {
    pub(super) limits: Limits,
    pub(super) audio: AudioHandle,
    pub(super) rtc: RtcHandle,
    requests: mpsc::Sender<Envelope>,
    /// Turns true when a mixer or the network thread has ended while it was needed.
    lost: watch::Receiver<bool>,
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

/// A place in the queue of requests, which is certain to be taken.
pub(super) struct Place(mpsc::OwnedPermit<Envelope>);

/// Starts an empty conference over running mixers and a running network thread: a handle on it, and its owner, which is
/// to be [run](Owner::run).
///
/// - `now`: when its floors and its governors begin to count time.
pub fn start(limits: Limits, threads: Threads, now: Instant) -> (Conference, Owner) {
    let Threads {
        audio,
        mixers,
        rtc,
        network,
    } = threads;
    let (requests, received) = mpsc::channel(CONFERENCE_REQUESTS);
    let (lose, lost) = watch::channel(false);
    let owner = Owner::new(limits, (mixers, network), received, lose, now);
    let conference = Conference {
        limits,
        audio,
        rtc,
        requests,
        lost,
    };
    (conference, owner)
}

impl Conference {
    /// Every room in one line each, by name.
    pub async fn rooms(&self) -> Vec<RoomLine> {
        self.ask(|reply| Request::Room(RoomRequest::List(reply)))
            .await
    }

    /// Whether a join makes a room that is not there.
    pub fn makes_rooms(&self) -> bool {
        self.limits.open_rooms
    }

    /// One room with everybody in it.
    pub async fn room(&self, name: &RoomName) -> Option<RoomState> {
        self.ask(|reply| Request::Room(RoomRequest::Read(name.clone(), reply)))
            .await
    }

    /// Makes or configures a room; says whether it was made.
    ///
    /// The tick and the number of channels are what strips and encoders are built for, so they can only change while
    /// nobody is in.
    ///
    /// # Errors
    /// [`ConfigureError`]; the room is then as it was.
    pub async fn configure(
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
        .await
    }

    /// Ends a room and everybody's stay in it.
    ///
    /// # Errors
    /// [`ConfigureError::UnknownRoom`].
    pub async fn delete(&self, name: &RoomName) -> Result<(), ConfigureError> {
        self.ask(|reply| Request::Room(RoomRequest::Delete(name.clone(), reply)))
            .await
    }

    /// A room as it is now and everything that happens in it from now on, as JSON texts.
    pub async fn watch(
        &self,
        room: &RoomName,
    ) -> Option<(RoomState, broadcast::Receiver<Arc<str>>)> {
        let (events, subscribed) = oneshot::channel();
        let state = self
            .ask(|reply| {
                Request::Room(RoomRequest::Watch {
                    name: room.clone(),
                    events,
                    reply,
                })
            })
            .await?;
        Some((state, subscribed.await.ok()?))
    }

    /// Ends a session because its client says so.
    ///
    /// # Errors
    /// [`UnknownSession`], the same for a session that never was and one that is over.
    pub async fn leave(&self, session: &str) -> Result<(), UnknownSession> {
        self.ask(|reply| Request::Session(SessionRequest::Leave(session.to_owned(), reply)))
            .await
    }

    /// Removes a participant from its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] when there is no such room or nobody of this id in it.
    pub async fn kick(
        &self,
        room: &RoomName,
        participant: PublicId,
    ) -> Result<(), UnknownParticipant> {
        self.ask(|reply| {
            Request::Participant(ParticipantRequest::Kick {
                room: room.clone(),
                participant,
                reply,
            })
        })
        .await
    }

    /// Changes a participant and tells its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] when there is no such room or nobody of this id in it.
    pub async fn change(
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
        .await
    }

    /// Carries out a message that came over a room's WebSocket; what to answer, if anything.
    pub async fn carry_out(
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
        .await
    }

    /// Asks for the floor of the session's room.
    ///
    /// # Errors
    /// [`FloorError`], the same for a session that never was and one that is over.
    pub async fn floor_request(
        &self,
        session: &str,
        request: floor::Request,
    ) -> Result<Answer, FloorError> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Ask(session, request, reply)))
            .await
    }

    /// Lets go of the floor, or waits for it no longer. Who does neither has done so already.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub async fn floor_release(&self, session: &str) -> Result<(), UnknownSession> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Release(session, reply)))
            .await
    }

    /// Where the session stands with the floor.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub async fn floor_standing(&self, session: &str) -> Result<FloorStanding, UnknownSession> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Standing(session, reply)))
            .await
    }

    /// Counts a join that was refused because too many come from its address.
    pub async fn refuse_too_many(&self) {
        self.tell(Request::Join(JoinRequest::Refused(Refusal::Rate)))
            .await;
    }

    /// Counts a join that nobody had time to look at.
    pub async fn refuse_waiting(&self) -> Overloaded {
        self.tell(Request::Join(JoinRequest::Refused(Refusal::Waiting)))
            .await;
        Overloaded::Waiting
    }

    /// How often messages may come over one connection.
    pub fn message_rate(&self) -> Rate {
        self.limits.rates.messages
    }

    /// Whether the mixers and the network thread are there, without whom nobody hears anything.
    pub fn is_whole(&self) -> bool {
        !*self.lost.borrow()
    }

    /// Ready once one of them has ended by itself; never otherwise.
    pub async fn lost(&self) {
        // The owner holds the sender, and ends last.
        if self.lost.clone().wait_for(|lost| *lost).await.is_err() {
            std::future::pending().await
        }
    }

    /// Removes everybody and takes nobody in any more.
    pub async fn close(&self) {
        self.ask(|reply| Request::Server(ServerRequest::Close(reply)))
            .await;
    }

    /// Asks the machine for something.
    pub(super) async fn ask<T>(&self, request: impl FnOnce(ReplyTo<T>) -> Request) -> T {
        let place = self.place().await;
        place.ask(Luggage::default(), request).await
    }

    /// Tells the machine something that needs no answer.
    pub(super) async fn tell(&self, request: Request) {
        self.place().await.tell(request);
    }

    /// Waits for a place in the queue of requests.
    pub(super) async fn place(&self) -> Place {
        match self.requests.clone().reserve_owned().await {
            Ok(permit) => Place(permit),
            // The owner ends last, when the server does: there is no answer for those who ask still later.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Place {
    /// Asks the machine for something.
    ///
    /// - `luggage`: what the machine itself cannot carry.
    pub(super) async fn ask<T>(
        self,
        luggage: Luggage,
        request: impl FnOnce(ReplyTo<T>) -> Request,
    ) -> T {
        let (reply, answer) = ReplyTo::new();
        let request = request(reply);
        self.0.send(Envelope { request, luggage });
        answer
            .await
            .expect("each request is answered, unless the machine has failed on it")
    }

    /// Tells the machine something that needs no answer.
    pub(super) fn tell(self, request: Request) {
        let luggage = Luggage::default();
        self.0.send(Envelope { request, luggage });
    }
}
