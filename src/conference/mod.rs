//! The conference decides which participants are in which rooms. Requests come in; commands to the
//! mixers and to the network thread and events to the watchers of a room go out.
//!
//! The conference never sees an audio packet: packets pass between the network thread and the
//! mixers. A pure state machine (`machine::Machine`) holds the whole state. One task, the
//! [`Owner`], hands the machine every input and performs the effects that the machine asks for. The
//! task never waits for a mixer or for the network thread. Heavy work (reading an offer, building
//! codecs) is done on the caller's side before the request reaches the machine.
//!
//! A join has five steps, in this order: reserve a seat, accept the offer, send the participant to
//! the mixer, send the peer to the network thread, add the member to the room. If a step fails, all
//! steps before it are undone.

mod commands;
mod counters;
mod effect;
mod error;
pub(crate) mod floor;
mod handle;
mod ice;
mod join;
mod leaving;
mod load_control;
mod machine;
mod member;
mod metrics;
mod mixer_events;
mod mixer_link;
mod monitoring;
mod network_events;
mod owner;
pub(crate) mod participants;
mod performer;
mod placement;
mod registry;
mod rights;
mod room;
mod room_links;
pub(crate) mod rooms;
mod seat;
pub(crate) mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

use mixer::codec::Hangovers;

pub(crate) use commands::{read, too_many};
pub use counters::ParticipantTotals;
pub use error::{
    CommandError, ConfigureError, FloorError, IceError, JoinError, Overloaded, UnknownParticipant,
    UnknownSession,
};
pub use handle::{Conference, Threads, start};
pub use ice::IceOutcome;
pub use join::{Join, Joined};
pub(crate) use machine::Close;
pub use metrics::{Figures, MetricFamily, MetricKind, MetricSample};
pub use owner::Owner;
pub use rooms::Configure;

use crate::protocol::RoomConfig;
use crate::rate_limit::Rates;
pub use crate::rtc::{IceUpdate, OfferError};

/// Limits of a conference, and the default settings of its rooms.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of rooms.
    pub max_rooms: usize,
    /// Maximum number of sessions in all rooms together.
    pub max_sessions: usize,
    /// Whether joining a room that does not exist creates it.
    pub open_rooms: bool,
    /// Default settings of a new room.
    pub room: RoomConfig,
    /// How long encoded streams continue after the last sound, per profile.
    pub hangovers: Hangovers,
    /// Rate limits of the operations that clients can ask for.
    pub rates: Rates,
}
