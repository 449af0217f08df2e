//! What the engine tells.

use crate::units::{ParticipantId, RoomId};

/// What a refused command was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A room was to be added or changed.
    Room(RoomId),
    /// A participant was to be added or changed.
    Participant(ParticipantId),
}

/// What the engine tells. May be dropped on the way: the telemetry of participants and rooms holds the
/// state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A participant is heard from this tick on.
    Talking {
        /// Where.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// A participant is no longer heard.
    Stopped {
        /// Where.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// Something panicked in a room; the room is retired with all who were in it.
    RoomFault {
        /// Which.
        room: RoomId,
    },
    /// A command that was to add or change something could not be carried out.
    Refused(Refused),
}
