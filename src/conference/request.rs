//! Requests to the conference, and their replies.

use std::fmt;

use tokio::sync::oneshot;

use super::effect::{Effect, Effects};
use super::floor::FloorRequest;
use super::join::JoinRequest;
use super::machine::ServerRequest;
use super::participants::ParticipantRequest;
use super::rooms::RoomRequest;
use super::sessions::SessionRequest;

/// A request to the conference; each kind is defined in the module that handles it.
#[derive(Debug)]
pub(super) enum Request {
    Join(JoinRequest),
    Room(RoomRequest),
    Participant(ParticipantRequest),
    Session(SessionRequest),
    Floor(FloorRequest),
    Server(ServerRequest),
}

/// The sender of the answer to a request.
#[derive(Debug)]
pub(super) struct ReplyTo<T>(oneshot::Sender<T>);

/// The receiver of the answer to a request.
pub(super) type Answer<T> = oneshot::Receiver<T>;

/// An answer as an effect, so that it is delivered in order with the other effects.
pub(super) struct Reply(Box<dyn FnOnce() + Send>);

impl<T> ReplyTo<T> {
    /// Creates the sender and the receiver of an answer.
    pub(super) fn new() -> (ReplyTo<T>, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (ReplyTo(reply), answer)
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
    pub(super) fn reply<T: Send + 'static>(&mut self, to: ReplyTo<T>, answer: T) {
        let give = move || {
            let _ = to.0.send(answer);
        };
        self.push(Effect::Reply(Reply(Box::new(give))));
    }
}
