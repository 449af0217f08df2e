//! The end of the network thread that commands it and hears what happens to the peers.

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

/// Longest text that [`NetworkControl::send_text`] delivers.
pub const MAX_TEXT_BYTES: usize = MAX_SENT_BYTES as usize;

/// The one that commands the network thread and hears its events: the other end of its rings.
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

/// A peer that is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Whose it is.
    pub participant: ParticipantId,
    /// What is still said on its data channel.
    pub last_words: Option<Arc<str>>,
}

/// What becomes of an ICE restart.
pub type RestartResult = Result<RestartAnswer, RestartError>;

/// Peers closed with one command, so that audio is sent in between when a large room ends.
const CLOSING_AT_ONCE: usize = 32;

/// The client's side of a new ICE session, read on the caller's thread.
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
    /// How much there is to do for it, in messages to one peer.
    pub(super) fn work(&self) -> usize {
        match self {
            NetworkCommand::Text(participants, _) => participants.len().max(1),
            NetworkCommand::Close(closing) => closing.len(),
            NetworkCommand::Restart(..) => RESTART_WORK,
            _ => 1,
        }
    }
}

/// The network thread only writes the offer of an ICE restart, and lets the core go; eight of them fill a turn.
const RESTART_WORK: usize = super::event_loop::MOST_WORK / 8;

/// The callers' end of the commands.
pub(super) struct Commands {
    ring: Producer<NetworkCommand>,
    /// Closes that found the ring full. Nothing overtakes them.
    closes: VecDeque<Closing>,
}

impl Commands {
    pub(super) fn new(ring: Producer<NetworkCommand>) -> Commands {
        Commands {
            ring,
            closes: VecDeque::new(),
        }
    }

    /// Sends the closes that wait, as far as the ring has room; whether none waits any more.
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
    /// Hands a peer to the thread; media flows from here.
    ///
    /// # Errors
    ///
    /// Gives the peer back when the ring of commands is full.
    pub fn start(&mut self, peer: Box<Peer>) -> Result<(), Box<Peer>> {
        match self.tell(NetworkCommand::Start(peer)) {
            Err(NetworkCommand::Start(peer)) => Err(peer),
            _ => Ok(()),
        }
    }

    /// Adds candidates of a client, one `a=candidate` line each, with or without `a=`.
    ///
    /// Those of no use (TCP, mDNS names, nonsense) are dropped in silence, like those of an unknown participant and the
    /// surplus over [`MAX_CANDIDATES`](super::sdp::MAX_CANDIDATES).
    ///
    /// # Errors
    ///
    /// See [`TrickleError`].
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

    /// Restarts ICE with the client's new credentials; DTLS, SRTP and data channels go on.
    ///
    /// The thread has been told when this returns, so candidates handed on after it belong to the new session. What
    /// becomes of it is sent to `reply`; dropping the other end does not undo the restart. The old session is untouched
    /// by a restart that fails, unless the core has panicked, which ends the peer.
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

    /// Ends a peer: RTCP BYE and DTLS close are sent, and nothing is reported.
    ///
    /// Never lost: while the ring of commands is full, it waits here for the next call, or for
    /// [`NetworkControl::retry`].
    pub fn close(&mut self, participant: ParticipantId) {
        let closing = Closing {
            participant,
            last_words: None,
        };
        self.close_all([closing]);
    }

    /// Ends many peers as [`NetworkControl::close`] does, in their order.
    pub fn close_all(&mut self, closing: impl IntoIterator<Item = Closing>) {
        self.commands.closes.extend(closing);
        self.retry();
    }

    /// Sends what waits because the ring of commands was full; whether nothing waits any more. To be called a few times
    /// a second.
    pub fn retry(&mut self) -> bool {
        if self.commands.closes.is_empty() {
            return true;
        }
        let is_done = self.commands.retry();
        ring_bell(&self.wake);
        is_done
    }

    /// Sends `text` on the data channel `control` of each of `participants`, if the client has opened it; dropped and
    /// counted when it is longer than [`MAX_TEXT_BYTES`], or a queue on the way is full.
    ///
    /// One place in the ring, however many they are: what a large room is told must not push out anything else.
    pub fn send_text(&mut self, participants: Vec<ParticipantId>, text: Arc<str>) {
        if self.tell(NetworkCommand::Text(participants, text)).is_err() {
            self.metrics.count(Dropped::Message);
        }
    }

    /// The next thing that has happened to a peer; [`NetworkControl::something_happened`] tells when to ask.
    pub fn next_event(&mut self) -> Option<RtcEvent> {
        self.events.pop().ok()
    }

    /// A copy of the eventfd that the thread writes to when something has happened to a peer.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    pub fn something_happened(&self) -> io::Result<OwnedFd> {
        self.something_happened.try_clone()
    }

    /// Whether the thread has ended. What it told before may still be there.
    pub fn has_ended(&self) -> bool {
        self.events.is_abandoned()
    }

    /// How many commands the thread takes now; none while a close waits, or when the thread has ended. There can only
    /// be more until the next is sent.
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
    fn closes_wait_while_the_ring_is_full_and_nothing_overtakes_them() {
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
        // There is one place, for the first of those that wait.
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
