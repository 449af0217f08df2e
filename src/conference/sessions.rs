//! Requests that a client makes with the secret of its session: to leave, and commands over a
//! WebSocket.

use std::time::Instant;

use super::UnknownSession;
use super::handle::Request;
use super::machine::Machine;
use crate::protocol::{CommandMessage, Event, RoomName};

/// Ends a session at its client's request.
///
/// # Errors
/// [`UnknownSession`], equally for a session that never existed and one that has ended.
#[derive(Debug)]
pub(crate) struct Leave {
    /// The secret of the session.
    pub(crate) session: String,
}

/// Carries out a command received over a room's WebSocket; the answer is the event for the sender,
/// if any.
///
/// # Errors
/// The event that tells the sender why the command was refused.
#[derive(Debug)]
pub(crate) struct CarryOut {
    pub(crate) room: RoomName,
    pub(crate) message: CommandMessage,
}

impl Request for Leave {
    type Answer = Result<(), UnknownSession>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        machine.leave(&self.session, now)
    }
}

impl Request for CarryOut {
    type Answer = Result<Option<Event>, Event>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        machine.carry_out(&self.room, self.message, now)
    }
}
