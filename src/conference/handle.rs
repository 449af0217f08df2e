//! The conference's handle: how the rest of the server makes its requests, and how each reaches the
//! code that answers it.

use std::fmt;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::effect::{Effect, Effects};
use super::error::Refusal;
use super::join::CountRefusal;
use super::machine::Machine;
use super::owner::{Envelope, Owner};
use super::performer::Luggage;
use super::{Limits, Overloaded};
use crate::audio::{AudioHandle, MixerControl};
use crate::queues::CONFERENCE_REQUESTS;
use crate::rate_limit::Rate;
use crate::rtc::{NetworkControl, RtcHandle};

/// A handle on the conference; clones refer to the same conference.
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
    /// Returns whether a join creates its room if the room does not exist.
    pub fn makes_rooms(&self) -> bool {
        self.limits.open_rooms
    }

    /// Counts a join that was refused because its address exceeded the rate limit.
    pub async fn refuse_too_many(&self) {
        self.tell(CountRefusal(Refusal::Rate)).await;
    }

    /// Counts a join that was refused because too many joins were waiting; returns the error for
    /// its client.
    pub async fn refuse_waiting(&self) -> Overloaded {
        self.tell(CountRefusal(Refusal::Waiting)).await;
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

    /// Sends a request to the machine and waits for the answer.
    ///
    /// # Errors
    /// The errors that the request documents, if its answer is a `Result`.
    pub(crate) async fn ask<R: Request>(&self, request: R) -> R::Answer {
        let place = self.place().await;
        place.ask(Luggage::default(), request).await
    }

    /// Sends the machine a request that has no answer.
    pub(super) async fn tell(&self, request: impl Request<Answer = ()>) {
        self.place().await.tell(request);
    }

    /// Waits for a place in the request queue.
    pub(super) async fn place(&self) -> Place {
        match self.requests.clone().reserve_owned().await {
            Ok(permit) => Place(permit),
            // The owner is the last task of the server to end: later requests are never answered.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Place {
    /// Sends a request to the machine and waits for the answer.
    ///
    /// - `luggage`: the participant and the peer that were built for a join.
    pub(super) async fn ask<R: Request>(self, luggage: Luggage, request: R) -> R::Answer {
        let (request, answer) = PendingRequest::new(request);
        self.0.send(Envelope { request, luggage });
        answer
            .await
            .expect("each request is answered, unless the machine has failed on it")
    }

    /// Sends the machine a request that has no answer.
    pub(super) fn tell(self, request: impl Request<Answer = ()>) {
        let (request, _) = PendingRequest::new(request);
        let luggage = Luggage::default();
        self.0.send(Envelope { request, luggage });
    }
}

/// A request to the conference, with the type of its answer.
///
/// Each request is a type of its own, defined in the module that handles it, and is sent with
/// [`Conference::ask`].
pub(crate) trait Request: fmt::Debug + Send + 'static {
    /// The answer to the request.
    type Answer: Send + 'static;

    /// Handles the request in one step of the machine; returns the answer.
    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer;
}

/// The receiver of the answer to a request.
pub(super) type Answer<T> = oneshot::Receiver<T>;

/// A request of any type on its way to the machine, with the sender of its answer.
#[derive(Debug)]
pub(super) struct PendingRequest(Box<dyn Answerable>);

/// An answer as an effect, so that it is delivered in order with the other effects.
pub(super) struct Reply(Box<dyn FnOnce() + Send>);

impl PendingRequest {
    /// Wraps a request; returns it with the receiver of its answer.
    pub(super) fn new<R: Request>(request: R) -> (PendingRequest, Answer<R::Answer>) {
        let (reply, answer) = oneshot::channel();
        let pending = PendingRequest(Box::new(Addressed { request, reply }));
        (pending, answer)
    }

    /// Handles the request, and appends its answer to the effects.
    pub(super) fn answer(self, machine: &mut Machine, now: Instant) {
        self.0.answer(machine, now);
    }
}

/// An [`Addressed`] request of any type.
trait Answerable: fmt::Debug + Send {
    fn answer(self: Box<Self>, machine: &mut Machine, now: Instant);
}

/// A request and the sender of its answer.
struct Addressed<R: Request> {
    request: R,
    reply: oneshot::Sender<R::Answer>,
}

impl<R: Request> Answerable for Addressed<R> {
    fn answer(self: Box<Self>, machine: &mut Machine, now: Instant) {
        let Addressed { request, reply } = *self;
        let answer = request.handle(machine, now);
        machine.effects.reply(reply, answer);
    }
}

impl<R: Request> fmt::Debug for Addressed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

impl Reply {
    /// Delivers the answer; drops it if the receiver is gone.
    pub(super) fn give(self) {
        (self.0)();
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl Effects {
    /// Appends the answer to a request to the effects.
    fn reply<T: Send + 'static>(&mut self, to: oneshot::Sender<T>, answer: T) {
        let give = move || {
            let _ = to.send(answer);
        };
        self.push(Effect::Reply(Reply(Box::new(give))));
    }
}
