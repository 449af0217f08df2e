//! Where everything goes that leaves the engine.

use super::{Destination, Event, Retired};
use crate::packet::OutPacket;
use crate::schedule::WorkPool;
use crate::units::ParticipantId;

/// Takes what comes out of the engine. Must be real-time safe itself.
pub trait Sink: WorkPool {
    /// One packet for all of `to`, who are in one room and never none; each is sent every packet in the order of the calls.
    ///
    /// - `destination`: where the packets of these participants go.
    fn packet(&mut self, destination: Destination, to: &[ParticipantId], packet: &OutPacket);
    /// Something happened.
    fn event(&mut self, event: Event);
    /// Something is to be freed elsewhere.
    fn retired(&mut self, retired: Retired);
}
