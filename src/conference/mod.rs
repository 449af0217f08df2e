//! The conference: intents in, commands to the mixer and the network out, events to everybody who watches.
//!
//! Stands above the picture and steers it: it decides who is in which room and never sees a packet. A [pure
//! machine](machine::Machine) holds the whole state; one task, its [`Owner`], hands it every input and performs what it
//! wants done, which never waits for a mixer or for the network thread. Heavy work (reading an offer, building codecs)
//! is done by those who ask, before they do.
//!
//! A join is a seat reserved, an offer accepted, a box sent to the mixer, a peer sent to the network and a member
//! entered, in this order; when a step fails, everything before it is undone.

mod commands;
mod counters;
mod effect;
mod error;
mod floor;
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
mod participants;
mod performer;
mod placement;
mod registry;
mod request;
mod rights;
mod room;
mod room_links;
mod rooms;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

use mixer::profile::Hangovers;

pub(crate) use commands::{read, too_many};
pub use counters::ParticipantTotals;
pub use error::{
    CommandError, ConfigureError, FloorError, IceError, JoinError, Overloaded, UnknownParticipant,
    UnknownSession,
};
pub use handle::{Conference, Threads, start};
pub use ice::{IceOutcome, IceUpdate};
pub use join::{Join, Joined};
pub use metrics::{Figures, MetricFamily, MetricKind, MetricSample};
pub use owner::Owner;
pub use rooms::Configure;

use crate::protocol::RoomConfig;
use crate::rate_limit::Rates;
pub use crate::rtc::OfferError;

/// What a conference may grow to, and what its rooms are set to when nobody says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most rooms.
    pub max_rooms: usize,
    /// Most participants of all rooms.
    pub max_sessions: usize,
    /// Rooms are made by joining them.
    pub open_rooms: bool,
    /// Settings of a new room.
    pub room: RoomConfig,
    /// How long streams go on after the last sound.
    pub hangovers: Hangovers,
    /// How often clients may do what costs something.
    pub rates: Rates,
}
