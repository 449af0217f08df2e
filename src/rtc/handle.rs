//! The outside of the network thread: starting and stopping it, and the handle through which it is told things.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mixer::ParticipantId;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::accept::{AcceptOptions, Accepted, Acceptor};
use super::config::RtcConfig;
use super::error::{MessageError, OfferError, RestartError, RtcError, TrickleError};
use super::metrics::RtcMetrics;
use super::peer::{MAX_SENT_BYTES, Peer};
use super::sdp::{Credentials, RemoteCandidate, Restart, RestartAnswer, remote_candidates};
use super::{socket, thread};
use crate::links::{Inbound, NET_COMMANDS, NET_EVENTS, Outbound};

/// Longest text that [`RtcHandle::send_text`] delivers.
pub const MAX_TEXT_BYTES: usize = MAX_SENT_BYTES as usize;

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEvent {
    /// Media can flow: the first time, and again after [`RtcEvent::Disconnected`].
    Connected(ParticipantId),
    /// Nothing was heard on ICE for a while; it may come back.
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

/// What the thread is told.
pub(super) enum Command {
    Start(Box<Peer>),
    Trickle(ParticipantId, Vec<RemoteCandidate>),
    Restart(
        ParticipantId,
        NewSession,
        oneshot::Sender<Result<RestartAnswer, RestartError>>,
    ),
    Close(Vec<Closing>),
    Text(Vec<ParticipantId>, Arc<str>),
    Stop,
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

impl Command {
    /// How much there is to do for it, in messages to one peer.
    pub(super) fn work(&self) -> usize {
        match self {
            Command::Text(participants, _) => participants.len().max(1),
            Command::Close(closing) => closing.len(),
            Command::Restart(..) => RESTART_WORK,
            _ => 1,
        }
    }
}

/// An ICE restart negotiates within the core: as much work as a whole turn of commands, so that datagrams are read and
/// packets sent between two of them.
const RESTART_WORK: usize = super::thread::MOST_WORK;

/// The running network thread.
pub struct Rtc {
    handle: RtcHandle,
    media: SocketAddr,
    thread: JoinHandle<()>,
}

/// A way to talk to the network thread; cheap to clone.
#[derive(Clone)]
pub struct RtcHandle {
    acceptor: Arc<Acceptor>,
    commands: Sender<Command>,
    events: Receiver<RtcEvent>,
    metrics: Arc<RtcMetrics>,
    wake: Arc<OwnedFd>,
}

/// Binds the media socket and starts the thread.
///
/// - `to_mixers`: where what clients send goes, by the mixers' ids.
/// - `from_mixers`: what clients get, from all of them.
///
/// # Errors
///
/// See [`RtcError`].
pub fn start(
    config: RtcConfig,
    to_mixers: Vec<Sender<Inbound>>,
    from_mixers: Receiver<Outbound>,
) -> Result<Rtc, RtcError> {
    let socket = socket::bind(config.media).map_err(|source| RtcError::Bind {
        address: config.media,
        source,
    })?;
    let media = socket.local_addr()?;
    let metrics = Arc::new(RtcMetrics::default());
    let wake = Arc::new(
        eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(io::Error::from)?,
    );
    let fifo_priority = config.fifo_priority;
    let acceptor = Arc::new(Acceptor::new(config, media, to_mixers, metrics.clone())?);
    let (commands, to_do) = bounded(NET_COMMANDS);
    let (happened, events) = bounded(NET_EVENTS);
    let parts = thread::Parts {
        socket,
        wake: wake.clone(),
        commands: to_do,
        from_mixer: from_mixers,
        events: happened,
        metrics: metrics.clone(),
        candidates: acceptor.candidates().to_vec(),
        fifo_priority,
    };
    let thread = std::thread::Builder::new()
        .name("net".to_owned())
        .spawn(move || thread::run(parts))?;
    Ok(Rtc {
        handle: RtcHandle {
            acceptor,
            commands,
            events,
            metrics,
            wake,
        },
        media,
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
        // The link has room at last: the thread empties it whenever it is woken, and waits for nothing but that.
        let _ = self.handle.commands.send(Command::Stop);
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
    /// Gives the peer back when the command link is full.
    pub fn start(&self, peer: Box<Peer>) -> Result<(), Box<Peer>> {
        match self.tell(Command::Start(peer)) {
            Err(Command::Start(peer)) => Err(peer),
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
        self.tell(Command::Trickle(participant, candidates))
            .map_err(|_| TrickleError::Busy)
    }

    /// Restarts ICE with the client's new credentials; DTLS, SRTP and data channels go on.
    ///
    /// The thread has been told when this returns, so candidates handed on after it belong to the new session; the
    /// future is only its answer, and dropping it does not undo the restart.
    ///
    /// # Errors
    ///
    /// See [`RestartError`]; the old session is then untouched.
    pub fn restart(
        &self,
        participant: ParticipantId,
        restart: Restart,
    ) -> impl Future<Output = Result<RestartAnswer, RestartError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let told = NewSession::read(&restart).and_then(|session| {
            self.tell(Command::Restart(participant, session, reply))
                .map_err(|_| RestartError::Busy)
        });
        async move {
            told?;
            answer.await.unwrap_or(Err(RestartError::Unknown))
        }
    }

    /// Ends a peer: RTCP BYE and DTLS close are sent, and nothing is reported.
    ///
    /// Waits while the command link is full: a close must not be lost.
    pub fn close(&self, participant: ParticipantId) {
        let closing = Closing {
            participant,
            last_words: None,
        };
        let _ = self.commands.send(Command::Close(vec![closing]));
        self.ring();
    }

    /// Ends many peers as [`RtcHandle::close`] does, without waiting: takes out of the list what the link has room for.
    pub fn close_all(&self, waiting: &mut VecDeque<Closing>) {
        while !waiting.is_empty() {
            let some = waiting.len().min(CLOSING_AT_ONCE);
            let some = waiting.drain(..some).collect();
            if let Err(Command::Close(back)) = self.tell(Command::Close(some)) {
                back.into_iter().rev().for_each(|it| waiting.push_front(it));
                return;
            }
        }
    }

    /// Sends `text` on the data channel `control` of each of `participants`, if the client has opened it; dropped and
    /// counted when it is longer than [`MAX_TEXT_BYTES`], or a link on the way is full.
    ///
    /// One place on the link, however many they are: what a large room is told must not push out anything else.
    pub fn send_text(&self, participants: Vec<ParticipantId>, text: Arc<str>) {
        if self.tell(Command::Text(participants, text)).is_err() {
            self.metrics.count(super::metrics::Dropped::Message);
        }
    }

    /// What happens to peers. One consumer.
    pub fn events(&self) -> &Receiver<RtcEvent> {
        &self.events
    }

    /// The thread's counters.
    pub fn metrics(&self) -> &RtcMetrics {
        &self.metrics
    }

    fn tell(&self, command: Command) -> Result<(), Command> {
        self.commands
            .try_send(command)
            .map_err(TrySendError::into_inner)?;
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        // Only fails when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}
