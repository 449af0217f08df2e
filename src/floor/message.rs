//! Messages to and from a floor: requests, answers and actions.

use std::time::Duration;

use mixer::ParticipantId;
use mixer::permit::Permit;

use super::{DenyCause, RevokeCause};

/// Urgency of a floor request; a later tier pre-empts an earlier one (the Floor Indicator of TS
/// 24.380).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Tier {
    /// Ordinary conversation.
    #[default]
    Normal,
    /// Imminent peril.
    Imminent,
    /// Emergency.
    Emergency,
}

/// Precedence of a floor request: the tier, then the priority. A greater precedence pre-empts, an
/// equal one does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Precedence {
    /// Urgency; compared first.
    pub tier: Tier,
    /// Priority within the tier; a greater number is more important (the Floor Priority).
    pub priority: u8,
}

/// A Floor Request (TS 24.380, 8.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Requested priority, capped at the participant's maximum; `None` requests the maximum.
    pub priority: Option<u8>,
    /// Urgency of the request.
    pub tier: Tier,
    /// Whether to wait in the floor queue rather than be denied.
    pub queue: bool,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            priority: None,
            tier: Tier::Normal,
            queue: true,
        }
    }
}

/// The answer to a floor request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Floor Granted (8.2.5).
    Granted(Grant),
    /// Floor Queue Position Info (8.2.12).
    Queued(Position),
    /// Floor Deny (8.2.6).
    Denied(Denial),
}

/// A permission to talk, for one burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Number of the media burst in its room, from 1; 0 in a room without a floor.
    pub burst: u32,
    /// Time left of T2; `None` means no limit.
    pub duration: Option<Duration>,
    /// Priority of the media burst.
    pub priority: u8,
}

/// A position in the floor queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Position from 1; 0 if the participant is not in the queue.
    pub position: usize,
    /// Number of waiting requests.
    pub size: usize,
}

/// The refusal of a floor request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Cause of the refusal.
    pub cause: DenyCause,
    /// The first floor holder other than the denied participant.
    pub holder: Option<ParticipantId>,
    /// Time after which another request makes sense.
    pub retry_after: Option<Duration>,
}

/// Whether a participant holds the floor or waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The participant neither holds the floor nor waits for it.
    None,
    /// The participant waits in the floor queue.
    Queued(Position),
    /// The participant holds the floor.
    Granted(Grant),
    /// The participant was revoked and is heard until its grace is over.
    Revoking {
        /// The revoked grant.
        grant: Grant,
        /// Cause of the revoke.
        cause: RevokeCause,
        /// Time left of T3.
        grace: Duration,
    },
}

/// A floor holder as every client may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The participant that holds the floor.
    pub participant: ParticipantId,
    /// Number of the media burst in its room.
    pub burst: u32,
    /// Time left of T2; `None` means no limit.
    pub left: Option<Duration>,
}

/// An action that the floor wants done; actions are to be performed in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Set a participant's permit in the mixer.
    Permit(ParticipantId, Permit),
    /// Set the permits of all participants in the mixer: see
    /// [`Floor::permit`](super::Floor::permit).
    Permits,
    /// Floor Granted (8.2.5), to a participant whose request had waited or who requested the floor
    /// by talking.
    Granted(ParticipantId, Grant),
    /// Floor Deny (8.2.6), to a participant whose request had waited.
    Denied(ParticipantId, Denial),
    /// Floor Taken (8.2.9), to all participants.
    Taken {
        /// The new floor holder.
        participant: ParticipantId,
        /// Duration and priority of the burst.
        grant: Grant,
        /// Whether other participants may request the floor (Permission to Request the Floor).
        may_request: bool,
    },
    /// Floor Release Multi Talker (8.2.15), to all participants: one of several holders has
    /// stopped.
    Released {
        /// The holder that has stopped.
        participant: ParticipantId,
        /// Number of the media burst in its room.
        burst: u32,
    },
    /// Floor Idle (8.2.8), to all participants.
    Idle {
        /// Message Sequence Number.
        n: u32,
    },
    /// Floor Revoke (8.2.10), to all participants: a holder must stop.
    Revoked {
        /// The revoked holder.
        participant: ParticipantId,
        /// Number of the media burst in its room.
        burst: u32,
        /// Cause of the revoke.
        cause: RevokeCause,
        /// How long the holder is still heard: T3.
        grace: Duration,
    },
    /// Floor Revoke (8.2.10) with [`RevokeCause::NoPermissionToSend`], to one participant only, who
    /// talks without the floor and is not heard.
    Unpermitted(ParticipantId),
    /// The floor queue has changed.
    QueueChanged,
    /// T4 has expired: no participant has held the floor for 30 s.
    Inactive,
}
