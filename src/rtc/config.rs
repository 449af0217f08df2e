//! What the network thread is started with.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Settings of the network thread.
#[derive(Debug, Clone)]
pub struct RtcConfig {
    /// The UDP address all peers share; port 0 takes a free one.
    ///
    /// Bound to an unspecified address, the candidates are those of the host's interfaces; bound to a loopback
    /// address, only that one.
    pub media: SocketAddr,
    /// Addresses to put into answers instead of the host's own, with the bound port: for a server behind NAT.
    pub announce: Vec<IpAddr>,
    /// SCHED_FIFO priority to ask for, 1..=99; `None` leaves the thread as it is.
    ///
    /// Below the mixer's: a late datagram waits in the socket, a late tick is lost. Not being allowed to is reported
    /// once and otherwise harmless.
    pub fifo_priority: Option<u8>,
    /// How long a peer may take from [`NetworkControl::start`](super::NetworkControl::start) until ICE has found a path; then it is
    /// gone.
    ///
    /// A client that is there sends its first check within a round trip or two.
    pub connect_timeout: Duration,
    /// How long it may take until DTLS is up, counted from the same moment.
    ///
    /// Long enough for a microcontroller that needs 15 s for an RSA handshake.
    pub handshake_timeout: Duration,
    /// Silence on ICE after which a peer is reported as disconnected.
    pub disconnected_after: Duration,
    /// Silence on ICE after which a peer is gone (RFC 7675, 5.1, allows 30 s).
    pub consent_timeout: Duration,
}

impl RtcConfig {
    /// The defaults, for a socket bound to `media`.
    pub fn new(media: SocketAddr) -> RtcConfig {
        RtcConfig {
            media,
            announce: Vec::new(),
            fifo_priority: None,
            connect_timeout: CONNECT_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            disconnected_after: DISCONNECTED_AFTER,
            consent_timeout: CONSENT_TIMEOUT,
        }
    }
}

/// Several times what ICE needs with losses on the way, and short enough that joins nobody follows up do not fill the
/// server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Twice the DTLS budget of a slow client, so that a loss on the way does not cost it the call.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Two consent checks and their answers lost in a row.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(10);

/// Under the 30 s within which a killed client must be gone, with room for the coarse timer of a settled peer.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(25);
