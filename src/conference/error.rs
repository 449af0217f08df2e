//! Why the conference refuses something.

use thiserror::Error;

use crate::floor::GrantError;
use crate::protocol::{Invalid, RoomName};
use crate::rate_limit::TooMany;
use crate::rtc::{OfferError, RestartError, TrickleError};

/// A join that fails. Nothing of it is left behind.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Rooms are not made by joining here, and there is none of this name.
    #[error("no such room")]
    UnknownRoom,
    /// The same of a room it is to listen to.
    #[error("no room {room} to listen to")]
    UnknownChannel {
        /// Which.
        room: RoomName,
    },
    /// A room it is to listen to takes no listeners from other rooms.
    #[error("the room {room} does not allow monitors")]
    MonitoringRefused {
        /// Which.
        room: RoomName,
    },
    /// Everybody who may come is there.
    #[error("the room is full: {limit} participants")]
    RoomFull {
        /// Most participants.
        limit: u32,
    },
    /// Too much is going on.
    #[error("overloaded: {0}")]
    Overloaded(#[from] Overloaded),
    /// The offer cannot be answered.
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// What there is too much of. Trying again later may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Overloaded {
    /// The mixer has too little time left to take another participant.
    #[error("the mixer is busy")]
    Mixer,
    /// The server has as many sessions as it may have.
    #[error("{limit} sessions are open")]
    Sessions {
        /// Most sessions.
        limit: usize,
    },
    /// The server has as many rooms as it may have.
    #[error("{limit} rooms are open")]
    Rooms {
        /// Most rooms.
        limit: usize,
    },
    /// A link between threads is full, or its other end is gone.
    #[error("a link is full")]
    Link,
    /// Too many joins wait for their turn.
    #[error("too many joins wait")]
    Waiting,
    /// The server is going down.
    #[error("the server is stopping")]
    Stopping,
}

/// Why a join failed, to count by.
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
    /// Every reason.
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

    /// The reason behind an error.
    pub(super) fn of(error: &JoinError) -> Refusal {
        match error {
            JoinError::UnknownRoom | JoinError::UnknownChannel { .. } => Refusal::UnknownRoom,
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

    /// The word it is counted under.
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

/// A room that cannot be configured as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigureError {
    /// There is none of this name.
    #[error("no such room")]
    UnknownRoom,
    /// The tick or the number of channels would change under those who are in.
    #[error("the room is in use")]
    Occupied,
    /// With these, more rooms would hear each other than may.
    #[error("more than {limit} rooms would be linked")]
    TooManyLinked {
        /// Most rooms one is linked with, directly or over others.
        limit: usize,
    },
    /// No room for another room.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// A participant that cannot be changed as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnknownParticipant {
    /// The room does not exist.
    #[error("no such room")]
    Room,
    /// Nobody of this id is in the room.
    #[error("no such participant")]
    Participant,
}

/// A session whose floor is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FloorError {
    /// There is none.
    #[error(transparent)]
    Unknown(#[from] UnknownSession),
    /// It has asked for it, or sent messages, more often than it may.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// A session that does not exist, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no such session")]
pub struct UnknownSession;

/// Candidates or a restart that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IceError {
    /// The secret names no session.
    #[error("no such session")]
    UnknownSession,
    /// The condition named another ICE session than the present one.
    #[error("another ICE session has begun")]
    Stale,
    /// The session has restarted ICE more often than it may.
    #[error("ICE was restarted too often")]
    TooOften {
        /// When it may do so again.
        retry_after: std::time::Duration,
    },
    /// The network thread has no time for it.
    #[error("overloaded")]
    Overloaded,
    /// The restart did not succeed; the old ICE session goes on.
    #[error("the restart failed")]
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

/// A command that is not carried out.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CommandError {
    /// It cannot be read.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It names no session of this room.
    #[error("The session is not known in this room.")]
    UnknownSession,
    /// Rooms are not made by joining here, and there is none of this name to listen to.
    #[error("There is no room {room}; GET /v1/rooms lists those there are.")]
    UnknownRoom {
        /// Which.
        room: RoomName,
    },
    /// A room that does not let participants of other rooms listen to it.
    #[error("The room {room} does not allow participants of other rooms to listen to it.")]
    MonitoringRefused {
        /// Which.
        room: RoomName,
    },
    /// A moderator's grant that cannot be.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

impl CommandError {
    /// One word for the kind of mistake.
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

    /// The other room that the mistake is about.
    pub fn room(&self) -> Option<RoomName> {
        match self {
            CommandError::UnknownRoom { room } | CommandError::MonitoringRefused { room } => {
                Some(room.clone())
            }
            _ => None,
        }
    }
}
