//! Every link between threads, with its bound and what happens when it is full.
//!
//! | link | what | when full |
//! |---|---|---|
//! | [`COMMANDS`] -> mixer | add, remove, configure | the value comes back to the caller as an error |
//! | settings -> mixer | mute, gain, loss: atomics, latest wins | cannot be full |
//! | [`EVENTS`] <- mixer | talking, stopped, fault | dropped and counted; the telemetry can always be read |
//! | [`RETIRED`] <- mixer | boxes to free off the mixer thread | kept one more tick |
//! | [`PACKETS_IN`] net -> mixer | what clients sent | newest dropped and counted |
//! | [`PACKETS_OUT`] mixer -> net | what clients get | newest dropped and counted |
//! | [`NET_COMMANDS`] -> net | peers to add, close, restart | the value comes back to the caller as an error |
//! | [`NET_EVENTS`] <- net | connected, gone, data-channel text | dropped and counted |

use mixer::packet::{OutPacket, Packet};
use mixer::{ParticipantId, Time};

/// Bound of the command link: a burst of joins within one slot.
pub const COMMANDS: usize = 1_024;
/// Bound of the event link.
pub const EVENTS: usize = 4_096;
/// Bound of the link that carries boxes back to be freed.
pub const RETIRED: usize = 2_048;
/// Bound of the packets on their way in: 20 ms of 2,000 talkers.
pub const PACKETS_IN: usize = 2_048;
/// Bound of the packets on their way out: one slot's share of a large server.
pub const PACKETS_OUT: usize = 4_096;
/// Bound of the commands to the network thread.
pub const NET_COMMANDS: usize = 1_024;
/// Bound of the network thread's events.
pub const NET_EVENTS: usize = 4_096;

/// A packet from a client, stamped when it left the socket.
#[derive(Debug)]
pub struct Inbound {
    /// Whose it is.
    pub from: ParticipantId,
    /// When it arrived.
    pub arrival: Time,
    /// The packet.
    pub packet: Packet,
}

/// A packet for a client.
#[derive(Debug)]
pub struct Outbound {
    /// Who gets it.
    pub to: ParticipantId,
    /// The packet.
    pub packet: OutPacket,
}
