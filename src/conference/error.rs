//! Errors of the conference, one type for each operation.

use thiserror::Error;

use crate::floor::GrantError;
use crate::protocol::{Invalid, RoomName};
use crate::rate_limit::TooMany;
use crate::rtc::{OfferError, RestartError, TrickleError};

/// Why a join failed. The steps of the join that were already done have been undone.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The room does not exist, and joins do not create rooms on this server.
    #[error("the room does not exist; GET /v1/rooms lists all rooms")]
    UnknownRoom,
    /// A room to be monitored does not exist, and joins do not create rooms on this server.
    #[error("the room {room} does not exist; GET /v1/rooms lists all rooms")]
    UnknownMonitoredRoom {
        /// The room to be monitored.
        room: RoomName,
    },
    /// A room to be monitored allows no monitors.
    #[error("the room {room} does not allow participants of other rooms to monitor it")]
    MonitoringRefused {
        /// The room to be monitored.
        room: RoomName,
    },
    /// The room has its maximum number of participants.
    #[error("the room is full with {limit} participants; try again when a participant has left")]
    RoomFull {
        /// Maximum number of participants.
        limit: u32,
    },
    /// The server is overloaded.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The offer cannot be answered.
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// Why the server cannot take a join or a room at the moment. A later attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Overloaded {
    /// The mixer has too little time left for another participant.
    #[error("the mixer threads are overloaded")]
    Mixer,
    /// The server has its maximum number of sessions.
    #[error("the server has its maximum of {limit} sessions")]
    Sessions {
        /// Maximum number of sessions.
        limit: usize,
    },
    /// The server has its maximum number of rooms.
    #[error("the server has its maximum of {limit} rooms")]
    Rooms {
        /// Maximum number of rooms.
        limit: usize,
    },
    /// The command queue to a mixer or to the network thread is full, or that thread has ended.
    #[error(
        "a queue between two threads of the server is full, so the request was not carried out"
    )]
    Link,
    /// Too many joins are waiting to be processed.
    #[error("too many joins are waiting to be processed")]
    Waiting,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
}

/// Why a join was refused, as a label of the counter of refused joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownRoom,
    Monitoring,
    RoomFull,
    Offer,
    Mixer,
    Sessions,
    Rooms,
    Link,
    Waiting,
    Rate,
    Stopping,
}

impl Refusal {
    /// All reasons why a join can be refused.
    pub(super) const ALL: [Refusal; 11] = [
        Refusal::UnknownRoom,
        Refusal::Monitoring,
        Refusal::RoomFull,
        Refusal::Offer,
        Refusal::Mixer,
        Refusal::Sessions,
        Refusal::Rooms,
        Refusal::Link,
        Refusal::Waiting,
        Refusal::Rate,
        Refusal::Stopping,
    ];

    /// Returns the reason under which an error is counted.
    pub(super) fn of(error: &JoinError) -> Refusal {
        match error {
            JoinError::UnknownRoom | JoinError::UnknownMonitoredRoom { .. } => Refusal::UnknownRoom,
            JoinError::MonitoringRefused { .. } => Refusal::Monitoring,
            JoinError::RoomFull { .. } => Refusal::RoomFull,
            JoinError::Offer(_) => Refusal::Offer,
            JoinError::Overloaded(overloaded) => match overloaded {
                Overloaded::Mixer => Refusal::Mixer,
                Overloaded::Sessions { .. } => Refusal::Sessions,
                Overloaded::Rooms { .. } => Refusal::Rooms,
                Overloaded::Link => Refusal::Link,
                Overloaded::Waiting => Refusal::Waiting,
                Overloaded::Stopping => Refusal::Stopping,
            },
        }
    }

    /// Returns the label of the reason in metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Refusal::UnknownRoom => "unknown room",
            Refusal::Monitoring => "monitoring refused",
            Refusal::RoomFull => "room full",
            Refusal::Offer => "offer",
            Refusal::Mixer => "mixer busy",
            Refusal::Sessions => "sessions",
            Refusal::Rooms => "rooms",
            Refusal::Link => "link full",
            Refusal::Waiting => "waited too long",
            Refusal::Rate => "rate",
            Refusal::Stopping => "server stopping",
        }
    }
}

/// Why a room could not be created, configured or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigureError {
    /// The room does not exist.
    #[error("the room does not exist; GET /v1/rooms lists all rooms")]
    UnknownRoom,
    /// The tick or the number of channels would change while participants are in the room.
    #[error(
        "while participants are in the room, its tick length cannot change, and its profile cannot change from or to music"
    )]
    Occupied,
    /// The new links would let more rooms hear each other than the limit allows.
    #[error(
        "a room can be linked with at most {limit} other rooms, directly or through other rooms"
    )]
    TooManyLinked {
        /// Maximum number of rooms that a room is linked with, directly or through other rooms.
        limit: usize,
    },
    /// The server has its maximum number of rooms, or a command queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// Why a participant that was to be changed or removed was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnknownParticipant {
    /// The room does not exist.
    #[error("the room does not exist; GET /v1/rooms lists all rooms")]
    Room,
    /// No participant of this id is in the room.
    #[error("no participant with this id is in the room")]
    Participant,
}

/// Why a floor request was refused before it reached the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FloorError {
    /// The session does not exist.
    #[error(transparent)]
    Unknown(#[from] UnknownSession),
    /// The session has sent floor requests or messages above its rate limit.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// The session does not exist or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the session does not exist or has ended; join again")]
pub struct UnknownSession;

/// Why new ICE candidates or an ICE restart were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IceError {
    /// The secret belongs to no session.
    #[error("the session does not exist or has ended; join again")]
    UnknownSession,
    /// The `If-Match` condition or the user name fragment of the request belongs to another ICE
    /// session than the present one.
    #[error("ICE has restarted since the ETag or ice-ufrag of this request was issued")]
    Stale,
    /// The session has restarted ICE more often than its rate limit allows.
    #[error("too many ICE restarts of this session")]
    TooOften {
        /// Time until the next restart is allowed.
        retry_after: std::time::Duration,
    },
    /// The queue to the network thread is full.
    #[error("the command queue of the network thread is full, so the ICE update was dropped")]
    Overloaded,
    /// The restart failed; the old ICE session continues.
    #[error("ICE could not be restarted with this ice-ufrag and ice-pwd; the session continues")]
    RestartFailed,
}

impl From<UnknownSession> for IceError {
    fn from(UnknownSession: UnknownSession) -> IceError {
        IceError::UnknownSession
    }
}

impl From<TrickleError> for IceError {
    fn from(error: TrickleError) -> IceError {
        match error {
            TrickleError::Busy => IceError::Overloaded,
        }
    }
}

impl From<RestartError> for IceError {
    fn from(error: RestartError) -> IceError {
        match error {
            RestartError::TooOften { retry_after } => IceError::TooOften { retry_after },
            RestartError::Unknown => IceError::UnknownSession,
            RestartError::Busy => IceError::Overloaded,
            RestartError::Credentials | RestartError::Refused => IceError::RestartFailed,
        }
    }
}

/// Why the command of a participant was refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CommandError {
    /// The command cannot be parsed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The command names no session of this room.
    #[error("the command names no session of this room, or a session that has ended")]
    UnknownSession,
    /// The room to be monitored does not exist, and joins do not create rooms on this server.
    #[error("the room {room} does not exist; GET /v1/rooms lists all rooms")]
    UnknownRoom {
        /// The room to be monitored.
        room: RoomName,
    },
    /// The room to be monitored allows no monitors.
    #[error("the room {room} does not allow participants of other rooms to monitor it")]
    MonitoringRefused {
        /// The room to be monitored.
        room: RoomName,
    },
    /// A moderator's grant that the floor refused.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

impl CommandError {
    /// Returns the error's kind for the `error` event.
    pub fn kind(&self) -> &'static str {
        match self {
            CommandError::Invalid(_) => "invalid-command",
            CommandError::UnknownSession => "unknown-session",
            CommandError::UnknownRoom { .. } => "no-such-room",
            CommandError::MonitoringRefused { .. } => "monitoring-refused",
            CommandError::Grant(GrantError::NotModerated) => "not-moderated",
            CommandError::Grant(GrantError::Asking) => "may-not-grant",
            CommandError::Grant(GrantError::NotAsked) => "not-asking",
        }
    }

    /// Returns the room to be monitored that the error is about; `None` for all other errors.
    pub fn room(&self) -> Option<RoomName> {
        match self {
            CommandError::UnknownRoom { room } | CommandError::MonitoringRefused { room } => {
                Some(room.clone())
            }
            _ => None,
        }
    }
}
