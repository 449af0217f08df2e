//! The outside of the network thread: starting and stopping it, and the handle through which it is told things.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mixer::ParticipantId;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::accept::{AcceptOptions, Accepted, Acceptor};
use super::config::RtcConfig;
use super::error::{MessageError, OfferError, RestartError, RtcError, TrickleError};
use super::metrics::RtcMetrics;
use super::negotiator::{Negotiator, Reply};
use super::peer::{MAX_SENT_BYTES, Peer};
use super::sdp::{Credentials, RemoteCandidate, Restart, RestartAnswer, remote_candidates};
use super::{event_loop, socket};
use crate::queues::{Consumer, NET_COMMANDS, NET_EVENTS, NetworkEnds, Producer, ring, send};

/// Longest text that [`RtcHandle::send_text`] delivers.
pub const MAX_TEXT_BYTES: usize = MAX_SENT_BYTES as usize;

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEvent {
    /// Media can flow: the first time, and again after [`RtcEvent::Disconnected`]. Never lost.
    Connected(ParticipantId),
    /// Nothing was heard on ICE for a while; it may come back. Never lost.
    Disconnected(ParticipantId),
    /// The peer is no more. Never follows [`RtcHandle::close`], and is never lost.
    Gone(ParticipantId, Reason),
    /// The client opened the data channel `control`. Never lost.
    ChannelOpen(ParticipantId),
    /// A message on it, at most 16 KiB.
    Text(ParticipantId, String),
    /// A message on it that cannot be taken; the client had better be told.
    BadMessage(ParticipantId, MessageError),
    /// The loss that the client reports on what it receives has changed, percent.
    Loss(ParticipantId, u8),
}

impl RtcEvent {
    /// Whether it tells what a peer is from now on, and so must arrive.
    pub(super) fn is_state(&self) -> bool {
        match self {
            RtcEvent::Connected(_)
            | RtcEvent::Disconnected(_)
            | RtcEvent::Gone(..)
            | RtcEvent::ChannelOpen(_) => true,
            RtcEvent::Text(..) | RtcEvent::BadMessage(..) | RtcEvent::Loss(..) => false,
        }
    }
}

/// Why a peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The client closed DTLS.
    Closed,
    /// The client answers no more checks (RFC 7675).
    ConsentLost,
    /// ICE or DTLS was not done in time.
    NeverConnected,
    /// The client broke a limit, or the core failed on it.
    Fault,
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

/// The running network thread.
pub struct Rtc {
    handle: RtcHandle,
    media: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A way to talk to the network thread; cheap to clone.
#[derive(Clone)]
pub struct RtcHandle {
    acceptor: Arc<Acceptor>,
    /// Callers take turns here, so that the thread has one producer to listen to.
    commands: Arc<Mutex<Commands>>,
    events: Arc<Mutex<Consumer<RtcEvent>>>,
    metrics: Arc<RtcMetrics>,
    wake: Arc<OwnedFd>,
    something_happened: Arc<OwnedFd>,
}

/// The callers' end of the commands.
struct Commands {
    ring: Producer<NetworkCommand>,
    /// Closes that found the ring full. Nothing overtakes them.
    closes: VecDeque<Closing>,
}

impl Commands {
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

/// Binds the media socket and starts the thread.
///
/// - `mixers`: the thread's ends of the rings between it and the mixers.
///
/// # Errors
///
/// See [`RtcError`].
pub fn start(config: RtcConfig, mixers: NetworkEnds) -> Result<Rtc, RtcError> {
    let socket = socket::bind(config.media).map_err(|source| RtcError::Bind {
        address: config.media,
        source,
    })?;
    let media = socket.local_addr()?;
    let metrics = Arc::new(RtcMetrics::default());
    let new_bell = || {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        bell.map(Arc::new).map_err(io::Error::from)
    };
    let (wake, something_happened) = (new_bell()?, new_bell()?);
    let fifo_priority = config.fifo_priority;
    let acceptor = Arc::new(Acceptor::new(config, media, metrics.clone())?);
    let (commands, to_do) = ring(NET_COMMANDS);
    let (happened, events) = ring(NET_EVENTS);
    let stop = Arc::new(AtomicBool::new(false));
    let parts = event_loop::Parts {
        socket,
        wake: wake.clone(),
        commands: to_do,
        stop: stop.clone(),
        mixers,
        events: happened,
        bell: something_happened.clone(),
        metrics: metrics.clone(),
        candidates: acceptor.candidates().to_vec(),
        negotiator: Negotiator::start(wake.clone())?,
        fifo_priority,
    };
    let thread = std::thread::Builder::new()
        .name("net".to_owned())
        .spawn(move || event_loop::run(parts))?;
    Ok(Rtc {
        handle: RtcHandle {
            acceptor,
            commands: Arc::new(Mutex::new(Commands {
                ring: commands,
                closes: VecDeque::new(),
            })),
            events: Arc::new(Mutex::new(events)),
            metrics,
            wake,
            something_happened,
        },
        media,
        stop,
        thread,
    })
}

impl Rtc {
    /// A handle.
    pub fn handle(&self) -> RtcHandle {
        self.handle.clone()
    }

    /// A copy of the eventfd that the mixer writes to when packets wait for this thread.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    pub fn wake(&self) -> io::Result<OwnedFd> {
        self.handle.wake.try_clone()
    }

    /// The address the media socket is bound to.
    pub fn media_addr(&self) -> SocketAddr {
        self.media
    }

    /// Closes every peer and joins the thread.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.handle.ring();
        if self.thread.join().is_err() {
            tracing::error!("the network thread had panicked");
        }
    }
}

impl RtcHandle {
    /// Answers an offer: checks it, makes the peer's certificates, ICE and DTLS ready, and writes the answer.
    ///
    /// Costs about a millisecond of CPU on the caller's thread. Nothing flows, and nothing is kept, until
    /// [`RtcHandle::start`].
    ///
    /// # Errors
    ///
    /// See [`OfferError`].
    pub fn accept(
        &self,
        offer: &str,
        participant: ParticipantId,
        options: AcceptOptions,
    ) -> Result<Accepted, OfferError> {
        self.acceptor.accept(offer, participant, options)
    }

    /// Hands a peer to the thread; media flows from here.
    ///
    /// # Errors
    ///
    /// Gives the peer back when the ring of commands is full.
    pub fn start(&self, peer: Box<Peer>) -> Result<(), Box<Peer>> {
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
        &self,
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
    /// The thread has been told when this returns, so candidates handed on after it belong to the new session; the
    /// future is only its answer, and dropping it does not undo the restart.
    ///
    /// # Errors
    ///
    /// See [`RestartError`]; the old session is then untouched, unless the core has panicked, which ends the peer.
    pub fn restart(
        &self,
        participant: ParticipantId,
        restart: Restart,
    ) -> impl Future<Output = Result<RestartAnswer, RestartError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let told = NewSession::read(&restart).and_then(|session| {
            self.tell(NetworkCommand::Restart(participant, session, reply))
                .map_err(|_| RestartError::Busy)
        });
        async move {
            told?;
            answer.await.unwrap_or(Err(RestartError::Unknown))
        }
    }

    /// Ends a peer: RTCP BYE and DTLS close are sent, and nothing is reported.
    ///
    /// Never lost: while the ring of commands is full, it waits here for the next call, or for [`RtcHandle::retry`].
    pub fn close(&self, participant: ParticipantId) {
        let closing = Closing {
            participant,
            last_words: None,
        };
        self.close_all([closing]);
    }

    /// Ends many peers as [`RtcHandle::close`] does, in their order.
    pub fn close_all(&self, closing: impl IntoIterator<Item = Closing>) {
        let mut commands = self.lock();
        commands.closes.extend(closing);
        commands.retry();
        drop(commands);
        self.ring();
    }

    /// Sends what waits because the ring of commands was full; whether nothing waits any more. To be called a few times
    /// a second.
    pub fn retry(&self) -> bool {
        let mut commands = self.lock();
        if commands.closes.is_empty() {
            return true;
        }
        let is_done = commands.retry();
        drop(commands);
        self.ring();
        is_done
    }

    /// Sends `text` on the data channel `control` of each of `participants`, if the client has opened it; dropped and
    /// counted when it is longer than [`MAX_TEXT_BYTES`], or a queue on the way is full.
    ///
    /// One place in the ring, however many they are: what a large room is told must not push out anything else.
    pub fn send_text(&self, participants: Vec<ParticipantId>, text: Arc<str>) {
        if self.tell(NetworkCommand::Text(participants, text)).is_err() {
            self.metrics.count(super::metrics::Dropped::Message);
        }
    }

    /// The next thing that has happened to a peer; [`RtcHandle::something_happened`] tells when to ask.
    pub fn next_event(&self) -> Option<RtcEvent> {
        self.events().pop().ok()
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
        self.events().is_abandoned()
    }

    /// The thread's counters.
    pub fn metrics(&self) -> &RtcMetrics {
        &self.metrics
    }

    fn tell(&self, command: NetworkCommand) -> Result<(), NetworkCommand> {
        self.lock().send(command)?;
        self.ring();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Commands> {
        // Nothing that is done under it is left half done by a panic.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self) -> MutexGuard<'_, Consumer<RtcEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // Only fails when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_wait_while_the_ring_is_full_and_nothing_overtakes_them() {
        let (ring, mut thread) = ring(2);
        let mut commands = Commands {
            ring,
            closes: VecDeque::new(),
        };
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
