//! The output of one turn of the event loop: datagrams to send and events to pass on.

use std::collections::VecDeque;

use super::handle::RtcEvent;
use super::routes::Asked;
use super::send_queue::SendQueue;
use crate::queues::{Inbound, Producer};

/// Output of the peers that the network thread has not sent or passed on yet, and the rings to the
/// mixers, which take packets at once.
#[derive(Debug, Default)]
pub(super) struct TurnOutput {
    /// The rings to the mixers, by mixer id.
    pub(super) to_mixers: Vec<Producer<Inbound>>,
    /// Datagrams to send, with their destinations.
    pub(super) datagrams: SendQueue,
    /// Connectivity checks that were sent, by transaction id, for the routes.
    pub(super) checks: Vec<([u8; 12], Asked)>,
    /// Events for the conference.
    pub(super) events: VecDeque<RtcEvent>,
}
