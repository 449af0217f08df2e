//! The conference's handle, through which the rest of the server makes its requests.

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

/// A handle on the conference; clones refer to one conference.
#[derive(Clone)]
pub struct Conference {
    pub(super) limits: Limits,
    pub(super) audio: AudioHandle,
    pub(super) rtc: RtcHandle,
    requests: mpsc::Sender<Envelope>,
    /// Becomes true when a mixer or the network thread has ended while it was needed.
    lost: watch::Receiver<bool>,
}

/// The running audio and network threads, with the handles that the conference needs.
pub struct Threads {
    /// Handle on all mixers.
    pub audio: AudioHandle,
    /// The control handle of each mixer.
    pub mixers: Vec<MixerControl>,
    /// Handle on the network thread.
    pub rtc: RtcHandle,
    /// The control handle of the network thread.
    pub network: NetworkControl,
}

/// A reserved place in the request queue; a request sent through it is never refused.
pub(super) struct Place(mpsc::OwnedPermit<Envelope>);

/// Starts an empty conference on running mixers and a running network thread; returns its handle,
/// and its owner, which the caller must [run](Owner::run).
///
/// - `now`: start time of the conference's floors and load governors.
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
    /// Returns a summary of every room, sorted by name.
    pub async fn rooms(&self) -> Vec<RoomLine> {
        self.ask(|reply| Request::Room(RoomRequest::List(reply)))
            .await
    }

    /// Returns whether a join creates a room that does not exist.
    pub fn makes_rooms(&self) -> bool {
        self.limits.open_rooms
    }

    /// Returns a room's state with all its participants.
    pub async fn room(&self, name: &RoomName) -> Option<RoomState> {
        self.ask(|reply| Request::Room(RoomRequest::Read(name.clone(), reply)))
            .await
    }

    /// Creates or configures a room; returns whether the room was created.
    ///
    /// Strips and encoders are built for one tick and number of channels, so these two can change
    /// only while the room is empty.
    ///
    /// # Errors
    /// [`ConfigureError`]; the room is then unchanged.
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

    /// Ends a room and removes all its participants.
    ///
    /// # Errors
    /// [`ConfigureError::UnknownRoom`].
    pub async fn delete(&self, name: &RoomName) -> Result<(), ConfigureError> {
        self.ask(|reply| Request::Room(RoomRequest::Delete(name.clone(), reply)))
            .await
    }

    /// Returns a room's present state, and all later events of the room as JSON texts.
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

    /// Ends a session at its client's request.
    ///
    /// # Errors
    /// [`UnknownSession`], equally for a session that never existed and one that has ended.
    pub async fn leave(&self, session: &str) -> Result<(), UnknownSession> {
        self.ask(|reply| Request::Session(SessionRequest::Leave(session.to_owned(), reply)))
            .await
    }

    /// Removes a participant from its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] if the room does not exist or no participant of this id is in it.
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
    /// [`UnknownParticipant`] if the room does not exist or no participant of this id is in it.
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

    /// Carries out a command received over a room's WebSocket; returns the answer to the sender, if
    /// any.
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

    /// Requests the floor of the session's room.
    ///
    /// # Errors
    /// [`FloorError`], equally for a session that never existed and one that has ended.
    pub async fn floor_request(
        &self,
        session: &str,
        request: floor::Request,
    ) -> Result<Answer, FloorError> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Ask(session, request, reply)))
            .await
    }

    /// Releases the floor or leaves the floor queue; succeeds without effect for a session that
    /// does neither.
    ///
    /// # Errors
    /// [`UnknownSession`] if the session does not exist.
    pub async fn floor_release(&self, session: &str) -> Result<(), UnknownSession> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Release(session, reply)))
            .await
    }

    /// Returns whether the session holds the floor or waits for it.
    ///
    /// # Errors
    /// [`UnknownSession`] if the session does not exist.
    pub async fn floor_standing(&self, session: &str) -> Result<FloorStanding, UnknownSession> {
        let session = session.to_owned();
        self.ask(|reply| Request::Floor(FloorRequest::Standing(session, reply)))
            .await
    }

    /// Counts a join that was refused because its address exceeded the rate limit.
    pub async fn refuse_too_many(&self) {
        self.tell(Request::Join(JoinRequest::Refused(Refusal::Rate)))
            .await;
    }

    /// Counts a join that was refused because too many joins were waiting.
    pub async fn refuse_waiting(&self) -> Overloaded {
        self.tell(Request::Join(JoinRequest::Refused(Refusal::Waiting)))
            .await;
        Overloaded::Waiting
    }

    /// Returns the rate limit of messages on one connection.
    pub fn message_rate(&self) -> Rate {
        self.limits.rates.messages
    }

    /// Returns whether all mixers and the network thread are running; without them no audio flows.
    pub fn is_whole(&self) -> bool {
        !*self.lost.borrow()
    }

    /// Completes once a mixer or the network thread has ended by itself; never completes otherwise.
    pub async fn lost(&self) {
        // The owner holds the sender and is the last task to end.
        if self.lost.clone().wait_for(|lost| *lost).await.is_err() {
            std::future::pending().await
        }
    }

    /// Removes all participants and refuses further joins.
    pub async fn close(&self) {
        self.ask(|reply| Request::Server(ServerRequest::Close(reply)))
            .await;
    }

    /// Sends a request to the machine and waits for the answer.
    pub(super) async fn ask<T>(&self, request: impl FnOnce(ReplyTo<T>) -> Request) -> T {
        let place = self.place().await;
        place.ask(Luggage::default(), request).await
    }

    /// Sends the machine a request that has no answer.
    pub(super) async fn tell(&self, request: Request) {
        self.place().await.tell(request);
    }

    /// Waits for a place in the request queue.
    pub(super) async fn place(&self) -> Place {
        match self.requests.clone().reserve_owned().await {
            Ok(permit) => Place(permit),
            // The owner ends last, when the server does: later requests have no answer.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Place {
    /// Sends a request to the machine and waits for the answer.
    ///
    /// - `luggage`: boxes for the mixer and the network thread, which the pure machine cannot
    ///   carry.
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

    /// Sends the machine a request that has no answer.
    pub(super) fn tell(self, request: Request) {
        let luggage = Luggage::default();
        self.0.send(Envelope { request, luggage });
    }
}
