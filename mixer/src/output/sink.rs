//! The sink: where packets, events and retired objects leave the engine.

use super::{Destination, Event, Retired};
use crate::packet::OutPacket;
use crate::schedule::WorkPool;
use crate::units::ParticipantId;

/// Takes packets, events and retired objects from the engine. Implementations must be real-time
/// safe.
pub trait Sink: WorkPool {
    /// Sends one packet to all of `to`: at least one participant, all in one room. Each participant
    /// must be sent its packets in the order of the calls.
    ///
    /// - `destination`: where the packets of these participants go.
    fn packet(&mut self, destination: Destination, to: &[ParticipantId], packet: &OutPacket);
    /// Reports an event.
    fn event(&mut self, event: Event);
    /// Takes an object that the engine no longer needs, to be freed or to go on elsewhere.
    fn retired(&mut self, retired: Retired);
}
