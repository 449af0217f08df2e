//! The WebRTC core's peer connection, which the peer lends to the negotiator for an ICE restart.
//!
//! An ICE restart costs the core over a millisecond, in which the network thread could send
//! hundreds of packets, so the thread of the [`Negotiator`](super::super::negotiator::Negotiator)
//! negotiates it. While the connection is lent ("away"), RTP continues, because it bypasses the
//! core in both directions. The peer answers connectivity checks itself and keeps DTLS datagrams;
//! candidates and texts wait in [`Core`].

use std::time::Instant;

use rtc::data_channel::RTCDataChannelId;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::transport::RTCIceCandidateInit;

use super::channel::MAX_BUFFERED_BYTES;

/// A peer connection, and the inputs that wait while the negotiator has the connection.
pub(in crate::rtc) struct Core {
    connection: Option<Box<RTCPeerConnection>>,
    waiting: Vec<CoreInput>,
}

/// An input for the peer connection that can wait while the negotiator has the connection.
#[derive(Debug)]
pub(super) enum CoreInput {
    /// A candidate of the client.
    Candidate(RTCIceCandidateInit),
    /// A text for the client, on a data channel that was open when the text was to be sent.
    Text(Instant, RTCDataChannelId, String),
}

impl CoreInput {
    fn bytes(&self) -> usize {
        match self {
            CoreInput::Candidate(candidate) => candidate.candidate.len(),
            CoreInput::Text(_, _, text) => text.len(),
        }
    }
}

/// The peer connection refused an input, or too many inputs wait for it.
#[derive(Debug)]
pub(super) struct CoreRefused;

impl Core {
    /// Wraps a new connection.
    pub(in crate::rtc) fn new(connection: RTCPeerConnection) -> Core {
        Core {
            connection: Some(Box::new(connection)),
            waiting: Vec::new(),
        }
    }

    /// The connection; `None` while the negotiator has it.
    pub(super) fn connection(&mut self) -> Option<&mut RTCPeerConnection> {
        self.connection.as_deref_mut()
    }

    /// Whether the negotiator has the connection.
    pub(super) fn is_away(&self) -> bool {
        self.connection.is_none()
    }

    /// Takes the connection out for the negotiator; `None` if the negotiator already has it.
    pub(super) fn take(&mut self) -> Option<Box<RTCPeerConnection>> {
        self.connection.take()
    }

    /// Puts the connection back after a negotiation; returns the inputs that waited for it, in
    /// their order.
    pub(super) fn put_back(&mut self, connection: Box<RTCPeerConnection>) -> Vec<CoreInput> {
        self.connection = Some(connection);
        std::mem::take(&mut self.waiting)
    }

    /// Gives the connection an input; if the negotiator has the connection, the input waits.
    pub(super) fn give(&mut self, given: CoreInput) -> Result<(), CoreRefused> {
        let Some(connection) = &mut self.connection else {
            return self.keep(given);
        };
        match given {
            CoreInput::Candidate(candidate) => connection
                .add_remote_candidate(candidate)
                .map_err(|_| CoreRefused),
            CoreInput::Text(now, id, text) => send_text(connection, now, id, text),
        }
    }

    fn keep(&mut self, given: CoreInput) -> Result<(), CoreRefused> {
        let waiting: usize = self.waiting.iter().map(CoreInput::bytes).sum();
        let is_full = waiting + given.bytes() > MAX_BUFFERED_BYTES;
        if is_full || self.waiting.len() == MOST_WAITING {
            return Err(CoreRefused);
        }
        self.waiting.push(given);
        Ok(())
    }
}

fn send_text(
    connection: &mut RTCPeerConnection,
    now: Instant,
    id: RTCDataChannelId,
    text: String,
) -> Result<(), CoreRefused> {
    let mut channel = connection.data_channel(id).ok_or(CoreRefused)?;
    match channel.outstanding_bytes() + text.len() <= MAX_BUFFERED_BYTES {
        true => channel.send_text(now, text).map_err(|_| CoreRefused),
        false => Err(CoreRefused),
    }
}

/// Most candidates and texts that wait for one connection. A negotiation takes some milliseconds,
/// or about a second when a thousand clients restart ICE at once.
const MOST_WAITING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(bytes: usize) -> CoreInput {
        CoreInput::Candidate(RTCIceCandidateInit {
            candidate: "c".repeat(bytes),
            ..RTCIceCandidateInit::default()
        })
    }

    #[test]
    fn inputs_waiting_for_the_webrtc_core_are_bounded_in_count_and_bytes() {
        let away = || Core {
            connection: None,
            waiting: Vec::new(),
        };
        let mut core = away();
        for _ in 0..MOST_WAITING {
            core.give(candidate(100)).expect("there is room");
        }
        core.give(candidate(100)).expect_err("so many and no more");
        let mut core = away();
        core.give(candidate(MAX_BUFFERED_BYTES)).expect("room");
        core.give(candidate(1)).expect_err("not a byte more");
    }
}
