//! What the conference can be asked for, and how it answers.

use std::fmt;

use tokio::sync::oneshot;

use super::effect::{Effect, Effects};
use super::floor::FloorRequest;
use super::join::JoinRequest;
use super::machine::ServerRequest;
use super::participants::ParticipantRequest;
use super::rooms::RoomRequest;
use super::sessions::SessionRequest;

/// A request. Each kind stands beside what carries it out.
#[derive(Debug)]
pub(super) enum Request {
    Join(JoinRequest),
    Room(RoomRequest),
    Participant(ParticipantRequest),
    Session(SessionRequest),
    Floor(FloorRequest),
    Server(ServerRequest),
}

/// Where the answer to a request goes.
#[derive(Debug)]
pub(super) struct ReplyTo<T>(oneshot::Sender<T>);

/// Where an answer comes from.
pub(super) type Answer<T> = oneshot::Receiver<T>;

/// An answer on its way: it is given in its turn among the other effects.
pub(super) struct Reply(Box<dyn FnOnce() + Send>);

impl<T> ReplyTo<T> {
    /// Both ends of an answer.
    pub(super) fn new() -> (ReplyTo<T>, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (ReplyTo(reply), answer)
    }
}

impl Reply {
    /// Gives the answer; one that nobody waits for any more is dropped.
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
    /// Answers a request.
    pub(super) fn reply<T: Send + 'static>(&mut self, to: ReplyTo<T>, answer: T) {
        let give = move || {
            let _ = to.0.send(answer);
        };
        self.push(Effect::Reply(Reply(Box::new(give))));
    }
}
