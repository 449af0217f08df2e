//! The commands that participants send over WebSocket and data channel.

use std::time::Instant;

use mixer::ParticipantId;
use serde_json::Value;

use super::CommandError;
use super::machine::Machine;
use super::rights::{Action, Actor, Target};
use crate::protocol::{Command, CommandMessage, Event, Invalid, RoomName};
use crate::rate_limit::{Limited, Rate, Verdict};

impl Machine {
    /// Carries out a message that came over a room's WebSocket; what to answer, if anything.
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
        // Each WebSocket is counted on its own; a session that sends over many of them is counted here.
        if !message.is_release()
            && let Some((_, member)) = self.registry.member_mut(participant)
            && member.messages.take(now) != Verdict::Pass
        {
            self.counters.count_limited(Limited::Message);
            return Ok(Some(too_many(self.limits.rates.messages)));
        }
        self.perform(participant, message, now)
    }

    /// Carries out a command of a participant; what to answer, if anything.
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

/// Reads a message; a mistake becomes the answer to it.
pub(crate) fn read(text: &str) -> Result<CommandMessage, Event> {
    CommandMessage::parse(text).map_err(|(invalid, id)| refuse(invalid, id))
}

/// The one warning before messages are dropped in silence, or a WebSocket is closed.
pub(crate) fn too_many(rate: Rate) -> Event {
    Event::Error {
        kind: "too-many-messages",
        detail: format!("Send at most {} messages a second.", rate.per_second()),
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
        detail: error.to_string(),
        room: error.room(),
        id,
    }
}
