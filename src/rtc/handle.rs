//! The network thread's public interface: starts and stops the thread, defines its events, and
//! answers offers.

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
use super::error::{MessageError, RtcError};
use super::metrics::RtcMetrics;
use super::negotiator::Negotiator;
use super::sdp::OfferError;
use super::{event_loop, socket};
use crate::queues::{NET_COMMANDS, NET_EVENTS, NetworkEnds, ring};

/// An event about a peer, which the network thread sends to the conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEvent {
    /// Media can flow, for the first time or again after [`RtcEvent::Disconnected`]. Never lost.
    Connected(ParticipantId),
    /// The client has answered no connectivity check for a while; it may come back. Never lost.
    Disconnected(ParticipantId),
    /// The peer has ended and been removed. Not sent after [`NetworkControl::close`]. Never lost.
    Gone(ParticipantId, Reason),
    /// The client opened the data channel `control`. Never lost.
    ChannelOpen(ParticipantId),
    /// The client sent a text message on the data channel `control`, at most 16 KiB long.
    Text(ParticipantId, String),
    /// A message of the client on the data channel `control` was refused; the client should be told
    /// why.
    BadMessage(ParticipantId, MessageError),
    /// The loss in percent that the client reports for the stream it receives has changed.
    Loss(ParticipantId, u8),
}

impl RtcEvent {
    /// Whether the event reports a lasting state of a peer, and therefore must not be lost.
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

/// Why a peer ended without a request of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The client closed the DTLS connection.
    Closed,
    /// The client no longer answers consent checks (RFC 7675).
    ConsentLost,
    /// ICE or DTLS did not complete in time.
    NeverConnected,
    /// The client exceeded a limit, its certificate is not one of the offer's, or the WebRTC core
    /// panicked.
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

/// A handle for answering offers and reading the network thread's counters. Cheap to clone.
#[derive(Clone)]
pub struct RtcHandle {
    acceptor: Arc<Acceptor>,
    metrics: Arc<RtcMetrics>,
}

/// Binds the media socket and starts the network thread; also returns the only control handle of
/// the thread.
///
/// - `mixers`: the thread's ends of the rings to and from the mixers.
///
/// # Errors
///
/// Returns [`RtcError`] if the socket, the thread or the certificate cannot be had.
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
    /// Returns a handle to the network thread.
    pub fn handle(&self) -> RtcHandle {
        self.handle.clone()
    }

    /// Returns a copy of the eventfd that the mixers write to when packets wait for the network
    /// thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the process has no file descriptor left.
    pub fn wake(&self) -> io::Result<OwnedFd> {
        self.wake.try_clone()
    }

    /// The address that the media socket is bound to.
    pub fn media_addr(&self) -> SocketAddr {
        self.media
    }

    /// Closes every peer, ends the network thread and joins it.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        ring_bell(&self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the network thread ended by a panic");
        }
    }
}

impl RtcHandle {
    /// Answers an offer: checks it, prepares the peer's certificate, ICE and DTLS, and writes the
    /// answer.
    ///
    /// Costs about a millisecond of CPU on the caller's thread. No media flows, and nothing is
    /// stored, until [`NetworkControl::start`].
    ///
    /// # Errors
    ///
    /// Returns [`OfferError`] if the offer cannot be answered.
    pub fn accept(
        &self,
        offer: &str,
        participant: ParticipantId,
        options: AcceptOptions,
    ) -> Result<Accepted, OfferError> {
        self.acceptor.accept(offer, participant, options)
    }

    /// The network thread's counters.
    pub fn metrics(&self) -> &RtcMetrics {
        &self.metrics
    }
}

/// Writes to an eventfd, which wakes the thread that waits for it.
pub(super) fn ring_bell(bell: &OwnedFd) {
    // The write fails only if the eventfd's counter is full, and then the waiting thread is awake.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}
