//! Events that the engine reports.

use crate::units::{ParticipantId, RoomId};

/// The subject of a refused command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The room that was to be added or changed.
    Room(RoomId),
    /// The participant that was to be added or changed.
    Participant(ParticipantId),
}

/// An event reported by the engine. Events may be dropped on the way to the control side; the
/// telemetry of participants and rooms holds the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A participant is heard from this tick on.
    Talking {
        /// The participant's room.
        room: RoomId,
        /// The participant.
        participant: ParticipantId,
    },
    /// A participant is no longer heard.
    Stopped {
        /// The participant's room.
        room: RoomId,
        /// The participant.
        participant: ParticipantId,
    },
    /// A panic occurred in a room; the room is retired with all its members.
    RoomFault {
        /// The retired room.
        room: RoomId,
    },
    /// A command that was to add or change something could not be carried out.
    Refused(Refused),
}
