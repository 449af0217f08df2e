//! The control side of the network thread: sends its commands and receives events about peers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mixer::ParticipantId;
use tokio::sync::oneshot;

use super::error::{RestartError, TrickleError};
use super::handle::{RtcEvent, ring_bell};
use super::metrics::{Dropped, RtcMetrics};
use super::negotiator::{Reply, refuse};
use super::peer::{MAX_SENT_BYTES, Peer};
use super::sdp::{Credentials, RemoteCandidate, Restart, RestartAnswer, remote_candidates};
use crate::queues::{Consumer, Producer, send};

/// Longest text that [`NetworkControl::send_text`] delivers, in bytes.
pub const MAX_TEXT_BYTES: usize = MAX_SENT_BYTES as usize;

/// Sends commands to the network thread and receives its events, over the thread's rings.
pub struct NetworkControl {
    pub(super) commands: Commands,
    pub(super) events: Consumer<RtcEvent>,
    pub(super) metrics: Arc<RtcMetrics>,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) something_happened: Arc<OwnedFd>,
}

/// A command to the network thread.
pub(super) enum NetworkCommand {
    Start(Box<Peer>),
    Trickle(ParticipantId, Vec<RemoteCandidate>),
    Restart(ParticipantId, NewSession, Reply),
    Close(Vec<Closing>),
    Text(Vec<ParticipantId>, Arc<str>),
}

/// A request to close one participant's peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The participant whose peer is closed.
    pub participant: ParticipantId,
    /// A last text to send on the peer's data channel `control` before the peer is closed.
    pub last_words: Option<Arc<str>>,
}

/// Outcome of an ICE restart: the server's new credentials and candidates, or why it was refused.
pub type RestartResult = Result<RestartAnswer, RestartError>;

/// Maximum number of peers that one command closes, so that audio is still sent in between when a
/// large room ends.
const CLOSING_AT_ONCE: usize = 32;

/// The client's credentials and candidates of a new ICE session, parsed on the caller's thread.
#[derive(Debug, Clone)]
pub(super) struct NewSession {
    pub(super) remote: Credentials,
    pub(super) candidates: Vec<RemoteCandidate>,
}

impl NewSession {
    fn read(restart: &Restart) -> Result<NewSession, RestartError> {
        let lines = restart.candidates.iter().map(String::as_str);
        Ok(NewSession {
            remote: Credentials::new(&restart.ufrag, &restart.pwd)
                .ok_or(RestartError::Credentials)?,
            candidates: remote_candidates(lines),
        })
    }
}

impl NetworkCommand {
    /// Cost of executing the command; the unit is one text message to one peer.
    pub(super) fn work(&self) -> usize {
        match self {
            NetworkCommand::Text(participants, _) => participants.len().max(1),
            NetworkCommand::Close(closing) => closing.len(),
            NetworkCommand::Restart(..) => RESTART_WORK,
            _ => 1,
        }
    }
}

/// Cost of an ICE restart, in the unit of [`NetworkCommand::work`]. The network thread only writes
/// an offer and hands the peer connection to the negotiator thread; eight restarts fill a turn.
const RESTART_WORK: usize = super::event_loop::MOST_WORK / 8;

/// The sending end of the network thread's command ring.
pub(super) struct Commands {
    ring: Producer<NetworkCommand>,
    /// Close requests that found the ring full; later commands are refused until these are sent.
    closes: VecDeque<Closing>,
}

impl Commands {
    pub(super) fn new(ring: Producer<NetworkCommand>) -> Commands {
        Commands {
            ring,
            closes: VecDeque::new(),
        }
    }

    /// Sends the waiting close requests as far as the ring has room; returns whether none is left.
    fn retry(&mut self) -> bool {
        while !self.closes.is_empty() {
            let some = self.closes.len().min(CLOSING_AT_ONCE);
            let some = self.closes.drain(..some).collect();
            if let Err(NetworkCommand::Close(back)) =
                send(&mut self.ring, NetworkCommand::Close(some))
            {
                for closing in back.into_iter().rev() {
                    self.closes.push_front(closing);
                }
                return false;
            }
        }
        true
    }

    fn send(&mut self, command: NetworkCommand) -> Result<(), NetworkCommand> {
        if !self.retry() {
            return Err(command);
        }
        send(&mut self.ring, command)
    }
}

impl NetworkControl {
    /// Hands a peer to the network thread, which starts to connect it to its client.
    ///
    /// # Errors
    ///
    /// Returns the peer if the command ring is full.
    pub fn start(&mut self, peer: Box<Peer>) -> Result<(), Box<Peer>> {
        match self.tell(NetworkCommand::Start(peer)) {
            Err(NetworkCommand::Start(peer)) => Err(peer),
            _ => Ok(()),
        }
    }

    /// Adds candidates of a client, one `a=candidate` line each, with or without `a=`.
    ///
    /// Silently drops unusable candidates (TCP, mDNS names, malformed lines), candidates of unknown
    /// participants, and those beyond [`MAX_CANDIDATES`](super::sdp::MAX_CANDIDATES).
    ///
    /// # Errors
    ///
    /// Returns [`TrickleError`] if the command ring is full.
    pub fn trickle(
        &mut self,
        participant: ParticipantId,
        candidates: Vec<String>,
    ) -> Result<(), TrickleError> {
        let candidates = remote_candidates(candidates.iter().map(String::as_str));
        if candidates.is_empty() {
            return Ok(());
        }
        self.tell(NetworkCommand::Trickle(participant, candidates))
            .map_err(|_| TrickleError::Busy)
    }

    /// Restarts ICE with the client's new credentials; DTLS, SRTP and data channels continue.
    ///
    /// The command is in the ring when this returns, so candidates added later belong to the new
    /// session. The outcome is sent to `reply`; dropping the receiver does not undo the restart. If
    /// the restart fails, the old session continues, unless the WebRTC core has panicked, which
    /// ends the peer.
    pub fn restart(
        &mut self,
        participant: ParticipantId,
        restart: Restart,
        reply: oneshot::Sender<RestartResult>,
    ) {
        let session = match NewSession::read(&restart) {
            Ok(session) => session,
            Err(error) => return refuse(reply, error),
        };
        let command = NetworkCommand::Restart(participant, session, reply);
        if let Err(NetworkCommand::Restart(_, _, reply)) = self.tell(command) {
            refuse(reply, RestartError::Busy);
        }
    }

    /// Closes a peer: sends RTCP BYE and a DTLS close, and reports no event.
    ///
    /// The request is never lost: while the command ring is full, it waits for the next call of any
    /// method that sends a command, or for [`NetworkControl::retry`].
    pub fn close(&mut self, participant: ParticipantId) {
        let closing = Closing {
            participant,
            last_words: None,
        };
        self.close_all([closing]);
    }

    /// Closes many peers in order, as [`NetworkControl::close`] does.
    pub fn close_all(&mut self, closing: impl IntoIterator<Item = Closing>) {
        self.commands.closes.extend(closing);
        self.retry();
    }

    /// Sends the close requests that found the command ring full; returns whether none is left. To
    /// be called a few times a second.
    pub fn retry(&mut self) -> bool {
        if self.commands.closes.is_empty() {
            return true;
        }
        let is_done = self.commands.retry();
        ring_bell(&self.wake);
        is_done
    }

    /// Whether close requests wait because the command ring was full; [`NetworkControl::retry`]
    /// should then be called soon.
    pub fn is_waiting(&self) -> bool {
        !self.commands.closes.is_empty()
    }

    /// Sends `text` on the data channel `control` of each of `participants` whose client has opened
    /// it.
    ///
    /// The text is dropped and counted if it is longer than [`MAX_TEXT_BYTES`] or a queue on the
    /// way is full. It takes one place in the ring, however many participants there are, so that
    /// messages to a large room do not displace other commands.
    pub fn send_text(&mut self, participants: Vec<ParticipantId>, text: Arc<str>) {
        if self.tell(NetworkCommand::Text(participants, text)).is_err() {
            self.metrics.count(Dropped::Message);
        }
    }

    /// Takes the next event about a peer, if any. [`NetworkControl::something_happened`] signals
    /// that there are events.
    pub fn next_event(&mut self) -> Option<RtcEvent> {
        self.events.pop().ok()
    }

    /// Returns a copy of the eventfd that the network thread writes to after sending events.
    ///
    /// # Errors
    ///
    /// Returns an error if the process has no file descriptor left.
    pub fn something_happened(&self) -> io::Result<OwnedFd> {
        self.something_happened.try_clone()
    }

    /// Whether the network thread has ended. Events that it sent before may still be unread.
    pub fn has_ended(&self) -> bool {
        self.events.is_abandoned()
    }

    /// Number of commands that the network thread accepts now; 0 while a close request waits or
    /// after the thread has ended. Can only grow until the next command is sent.
    pub fn free_places(&self) -> usize {
        let Commands { ring, closes } = &self.commands;
        match closes.is_empty() && !ring.is_abandoned() {
            true => ring.slots(),
            false => 0,
        }
    }

    fn tell(&mut self, command: NetworkCommand) -> Result<(), NetworkCommand> {
        self.commands.send(command)?;
        ring_bell(&self.wake);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues::ring;

    #[test]
    fn control_keeps_close_commands_in_order_while_the_command_ring_is_full() {
        let (ring, mut thread) = ring(2);
        let mut commands = Commands::new(ring);
        let text = || NetworkCommand::Text(Vec::new(), "hello".into());
        assert!(commands.send(text()).is_ok() && commands.send(text()).is_ok());
        let closing = |id| Closing {
            participant: ParticipantId(id),
            last_words: None,
        };
        commands.closes.extend((0..40).map(closing));
        assert!(!commands.retry());
        assert!(thread.pop().is_ok());
        // One place is free, and it belongs to the first waiting close.
        assert!(commands.send(text()).is_err());
        assert!(thread.pop().is_ok());
        assert!(commands.retry());
        for ids in [0..32, 32..40] {
            let Ok(NetworkCommand::Close(closed)) = thread.pop() else {
                panic!("the closes come first");
            };
            assert_eq!(closed, ids.map(closing).collect::<Vec<_>>());
        }
        assert!(commands.send(text()).is_ok());
    }
}
