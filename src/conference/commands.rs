//! The commands that participants send over WebSocket and data channel.

use std::time::Instant;

use mixer::ParticipantId;
use serde_json::Value;

use super::CommandError;
use super::machine::Machine;
use super::rights::{Action, Actor, Target};
use crate::protocol::{Command, CommandMessage, Event, Invalid, RoomName, sentence};
use crate::rate_limit::{Limited, Rate, Verdict};

impl Machine {
    /// Carries out a command received over a room's WebSocket; returns the answer to the sender, if
    /// any.
    pub(super) fn carry_out(
        &mut self,
        room: &RoomName,
        message: CommandMessage,
        now: Instant,
    ) -> Result<Option<Event>, Event> {
        let participant = message
            .session
            .as_deref()
            .and_then(|session| self.registry.of_session(session));
        let actor = participant.map_or(Actor::Anybody, Actor::Participant);
        let may = self.may(actor, Action::Command, Target::Room(room));
        let Some(participant) = participant.filter(|_| may.is_ok()) else {
            return Err(refusal(&CommandError::UnknownSession, message.id));
        };
        // Each WebSocket has a rate limiter of its own. The session has one as well, because it may
        // send over several WebSockets.
        if !message.is_release()
            && let Some((_, member)) = self.registry.member_mut(participant)
            && member.messages.take(now) != Verdict::Pass
        {
            self.counters.count_limited(Limited::Message);
            return Ok(Some(too_many(self.limits.rates.messages)));
        }
        self.perform(participant, message, now)
    }

    /// Carries out a command of a participant; returns the answer to the sender, if any.
    pub(super) fn perform(
        &mut self,
        id: ParticipantId,
        message: CommandMessage,
        now: Instant,
    ) -> Result<Option<Event>, Event> {
        match message.command {
            Command::Change(change) => {
                self.apply(id, change, now);
                Ok(message.id.map(|id| Event::Ok { id }))
            }
            Command::Listen(list) => match self.listen(id, list, now) {
                Ok(()) => Ok(message.id.map(|id| Event::Ok { id })),
                Err(error) => Err(refusal(&error, message.id)),
            },
            Command::Floor(command) => self.command_floor(id, command, message.id, now),
        }
    }
}

/// Parses a command message; a parse error becomes the error event that answers the message.
pub(crate) fn read(text: &str) -> Result<CommandMessage, Event> {
    CommandMessage::parse(text).map_err(|(invalid, id)| refuse(invalid, id))
}

/// Builds the warning to a sender whose message exceeded the rate limit and was dropped.
///
/// If the sender goes on, further messages on a data channel are dropped without a warning, and a
/// WebSocket that exceeds its own limit is closed.
pub(crate) fn too_many(rate: Rate) -> Event {
    Event::Error {
        kind: "too-many-messages",
        detail: format!(
            "Too many messages; send at most {} per second.",
            rate.per_second()
        ),
        room: None,
        id: None,
    }
}

fn refuse(invalid: Invalid, id: Option<Value>) -> Event {
    refusal(&CommandError::Invalid(invalid), id)
}

pub(super) fn refusal(error: &CommandError, id: Option<Value>) -> Event {
    Event::Error {
        kind: error.kind(),
        detail: sentence(error),
        room: error.room(),
        id,
    }
}
