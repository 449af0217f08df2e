//! What a floor is asked and what it says.

use std::time::Duration;

use mixer::ParticipantId;
use mixer::permit::Permit;

use super::{DenyCause, RevokeCause};

/// How urgent a request is; the later pre-empt the earlier (the Floor Indicator of TS 24.380).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Tier {
    /// Ordinary talk.
    #[default]
    Normal,
    /// Imminent peril.
    Imminent,
    /// Emergency.
    Emergency,
}

/// Who comes before whom: the tier, and within a tier the priority. A greater one pre-empts, an equal one does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Precedence {
    /// Compared first.
    pub tier: Tier,
    /// Compared among the same tier; greater is more important (the Floor Priority).
    pub priority: u8,
}

/// A Floor Request (TS 24.380, 8.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Priority asked for. What the participant may at most wins over a greater one; `None` asks for that most.
    pub priority: Option<u8>,
    /// Urgency.
    pub tier: Tier,
    /// Wait for the floor rather than be denied.
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

/// What a request comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Floor Granted (8.2.5).
    Granted(Grant),
    /// Floor Queue Position Info (8.2.12).
    Queued(Position),
    /// Floor Deny (8.2.6).
    Denied(Denial),
}

/// A permission to talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Counts the bursts of a room from 1; 0 where there is no floor.
    pub burst: u32,
    /// What is left of T2; `None` is no limit.
    pub duration: Option<Duration>,
    /// Priority in effect.
    pub priority: u8,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1; 0 is not in it.
    pub position: usize,
    /// How many wait.
    pub size: usize,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// The reason.
    pub cause: DenyCause,
    /// Who talks: the first of those who do, and never the one who is denied.
    pub holder: Option<ParticipantId>,
    /// When asking again makes sense.
    pub retry_after: Option<Duration>,
}

/// Where a participant stands with the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Neither holds it nor waits.
    None,
    /// Waits.
    Queued(Position),
    /// Holds it.
    Granted(Grant),
    /// Holds it until the grace is over.
    Revoking {
        /// What it held.
        grant: Grant,
        /// Why no longer.
        cause: RevokeCause,
        /// What is left of T3.
        grace: Duration,
    },
}

/// One who holds the floor, as everybody may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub participant: ParticipantId,
    /// Which burst.
    pub burst: u32,
    /// What is left of T2; `None` is no limit.
    pub left: Option<Duration>,
}

/// What is to be done because of the floor, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// From now on this holds for a participant's voice.
    Permit(ParticipantId, Permit),
    /// From now on something else may hold for everybody's voice: see [`Floor::permit`](super::Floor::permit).
    Permits,
    /// Floor Granted (8.2.5), to one whose request had waited, or who asked by talking.
    Granted(ParticipantId, Grant),
    /// Floor Deny (8.2.6), to one whose request had waited.
    Denied(ParticipantId, Denial),
    /// Floor Taken (8.2.9), to everybody.
    Taken {
        /// Who holds the floor now.
        participant: ParticipantId,
        /// For how long, and as what.
        grant: Grant,
        /// Whether the others may ask (Permission to Request the Floor).
        may_request: bool,
    },
    /// Floor Release Multi Talker (8.2.15), to everybody: one of several has stopped.
    Released {
        /// Who.
        participant: ParticipantId,
        /// Which burst.
        burst: u32,
    },
    /// Floor Idle (8.2.8), to everybody.
    Idle {
        /// The Message Sequence Number.
        n: u32,
    },
    /// Floor Revoke (8.2.10), to everybody: a holder has to stop.
    Revoked {
        /// Who.
        participant: ParticipantId,
        /// Which burst.
        burst: u32,
        /// Why.
        cause: RevokeCause,
        /// How long it is still heard: T3.
        grace: Duration,
    },
    /// Floor Revoke (8.2.10) with [`RevokeCause::NoPermissionToSend`], to one alone: it talks and nobody hears it.
    Unpermitted(ParticipantId),
    /// The queue is another one.
    QueueChanged,
    /// T4: the floor has been idle for long.
    Inactive,
}
