//! What one turn of the event loop produces: datagrams to send and events to hand on.

use std::collections::VecDeque;

use super::handle::RtcEvent;
use super::routes::Asked;
use super::send_queue::SendQueue;
use crate::queues::{Inbound, Producer};

/// What the peers produced and the thread has not handed on yet, and where their packets go at once.
#[derive(Debug, Default)]
pub(super) struct TurnOutput {
    /// The rings to the mixers, by the mixers' ids.
    pub(super) to_mixers: Vec<Producer<Inbound>>,
    /// Datagrams with their destination.
    pub(super) datagrams: SendQueue,
    /// Connectivity checks that were sent, by transaction.
    pub(super) checks: Vec<([u8; 12], Asked)>,
    /// Events for the conference.
    pub(super) events: VecDeque<RtcEvent>,
}
