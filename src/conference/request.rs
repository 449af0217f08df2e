//! Requests to the conference, and their answers.

use std::fmt;
use std::time::Instant;

use tokio::sync::oneshot;

use super::effect::{Effect, Effects};
use super::machine::Machine;

/// A request to the conference, with the type of its answer.
///
/// Each request is a type of its own, defined in the module that handles it, and is sent with
/// [`Conference::ask`](super::Conference::ask).
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
