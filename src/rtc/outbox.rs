//! Datagrams and events on their way out of one turn of the loop.

use std::collections::VecDeque;

use super::datagrams::Datagrams;
use super::handle::RtcEvent;

/// What the peers produced and the thread has not handed on yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Datagrams with their destination.
    pub(super) datagrams: Datagrams,
    /// Connectivity checks that were sent: transaction and the peer's key.
    pub(super) checks: Vec<([u8; 12], usize)>,
    /// Events for the conference.
    pub(super) events: VecDeque<RtcEvent>,
}
