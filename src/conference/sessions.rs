//! What sessions ask for, each named by its secret.

use std::time::Instant;

use tokio::sync::oneshot;

use super::ice::BegunRestart;
use super::machine::Machine;
use super::request::ReplyTo;
use super::{IceError, IceUpdate, UnknownSession};
use crate::protocol::{CommandMessage, Event, RoomName};
use crate::rtc::RestartResult;

/// A request of a session.
#[derive(Debug)]
pub(super) enum SessionRequest {
    /// Ends the session of this secret because its client says so.
    Leave(String, ReplyTo<Result<(), UnknownSession>>),
    /// Carries out a message that came over a room's WebSocket; what to answer, if anything.
    Command {
        room: RoomName,
        message: CommandMessage,
        reply: ReplyTo<Result<Option<Event>, Event>>,
    },
    /// Takes a client's new candidates, or restarts its ICE session.
    Ice {
        session: String,
        /// The ICE sessions that the request is conditional on.
        expected: Option<Vec<String>>,
        update: IceUpdate,
        /// Names the new ICE session if there is one.
        etag: String,
        /// Where the outcome of a restart goes.
        outcome: oneshot::Sender<RestartResult>,
        reply: ReplyTo<Result<Option<BegunRestart>, IceError>>,
    },
    /// A restart did not succeed.
    RestartFailed(BegunRestart),
}

impl Machine {
    /// Answers a request of a session.
    pub(super) fn on_session(&mut self, request: SessionRequest, now: Instant) {
        match request {
            SessionRequest::Leave(session, reply) => {
                let answer = self.leave(&session, now);
                self.effects.reply(reply, answer);
            }
            SessionRequest::Command {
                room,
                message,
                reply,
            } => {
                let answer = self.carry_out(&room, message, now);
                self.effects.reply(reply, answer);
            }
            SessionRequest::Ice {
                session,
                expected,
                update,
                etag,
                outcome,
                reply,
            } => {
                let answer = self.take_ice(&session, expected.as_deref(), update, etag, outcome);
                self.effects.reply(reply, answer);
            }
            SessionRequest::RestartFailed(begun) => self.undo_restart(begun),
        }
    }
}
