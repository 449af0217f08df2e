//! Requests of sessions, each identified by its secret.

use std::time::Instant;

use tokio::sync::oneshot;

use super::ice::BegunRestart;
use super::machine::Machine;
use super::request::ReplyTo;
use super::{IceError, IceUpdate, UnknownSession};
use crate::protocol::{CommandMessage, Event, RoomName};
use crate::rtc::RestartResult;

/// A request of a session, identified by its secret.
#[derive(Debug)]
pub(super) enum SessionRequest {
    /// Ends a session at its client's request.
    Leave(String, ReplyTo<Result<(), UnknownSession>>),
    /// Carries out a command received over a room's WebSocket; the reply is the answer to the
    /// sender, if any.
    Command {
        room: RoomName,
        message: CommandMessage,
        reply: ReplyTo<Result<Option<Event>, Event>>,
    },
    /// Adds a client's new ICE candidates, or restarts its ICE session.
    Ice {
        session: String,
        /// The ETags of the request's condition.
        expected: Option<Vec<String>>,
        update: IceUpdate,
        /// The ETag of the new ICE session, if one begins.
        etag: String,
        /// Receives the result of a restart.
        outcome: oneshot::Sender<RestartResult>,
        reply: ReplyTo<Result<Option<BegunRestart>, IceError>>,
    },
    /// Restores the ICE session from before a failed restart.
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
