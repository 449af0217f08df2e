//! The outside of the network thread: starting and stopping it, what it reports, and what anybody may ask of it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mixer::ParticipantId;
use rustix::event::{EventfdFlags, eventfd};

use super::accept::{AcceptOptions, Accepted, Acceptor};
use super::config::RtcConfig;
use super::control::{Commands, NetworkControl};
use super::error::{MessageError, OfferError, RtcError};
use super::metrics::RtcMetrics;
use super::negotiator::Negotiator;
use super::{event_loop, socket};
use crate::queues::{NET_COMMANDS, NET_EVENTS, NetworkEnds, ring};

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEvent {
    /// Media can flow: the first time, and again after [`RtcEvent::Disconnected`]. Never lost.
    Connected(ParticipantId),
    /// Nothing was heard on ICE for a while; it may come back. Never lost.
    Disconnected(ParticipantId),
    /// The peer is no more. Never follows [`NetworkControl::close`], and is never lost.
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

/// The running network thread.
pub struct Rtc {
    handle: RtcHandle,
    wake: Arc<OwnedFd>,
    media: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What anybody may ask of the network thread's side: to answer offers, and its counters. Cheap to clone.
#[derive(Clone)]
pub struct RtcHandle {
    acceptor: Arc<Acceptor>,
    metrics: Arc<RtcMetrics>,
}

/// Binds the media socket and starts the thread; gives also the one way to command it.
///
/// - `mixers`: the thread's ends of the rings between it and the mixers.
///
/// # Errors
///
/// See [`RtcError`].
pub fn start(config: RtcConfig, mixers: NetworkEnds) -> Result<(Rtc, NetworkControl), RtcError> {
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
    let control = NetworkControl {
        commands: Commands::new(commands),
        events,
        metrics: metrics.clone(),
        wake: wake.clone(),
        something_happened,
    };
    let rtc = Rtc {
        handle: RtcHandle { acceptor, metrics },
        wake,
        media,
        stop,
        thread,
    };
    Ok((rtc, control))
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
        self.wake.try_clone()
    }

    /// The address the media socket is bound to.
    pub fn media_addr(&self) -> SocketAddr {
        self.media
    }

    /// Closes every peer and joins the thread.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        ring_bell(&self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the network thread had panicked");
        }
    }
}

impl RtcHandle {
    /// Answers an offer: checks it, makes the peer's certificates, ICE and DTLS ready, and writes the answer.
    ///
    /// Costs about a millisecond of CPU on the caller's thread. Nothing flows, and nothing is kept, until
    /// [`NetworkControl::start`].
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

    /// The thread's counters.
    pub fn metrics(&self) -> &RtcMetrics {
        &self.metrics
    }
}

/// Wakes whoever waits for this eventfd.
pub(super) fn ring_bell(bell: &OwnedFd) {
    // Only fails when the counter is full, and then the other side is awake.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}
