//! Settings of the network thread.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Settings of the network thread.
#[derive(Debug, Clone)]
pub struct RtcConfig {
    /// The UDP address that all peers share; port 0 chooses a free port.
    ///
    /// With an unspecified address, the candidates are the addresses of the host's interfaces; with
    /// a loopback address, only that one.
    pub media: SocketAddr,
    /// Addresses to put into answers in place of the host's, with the bound port: for a server
    /// behind NAT.
    pub announce: Vec<IpAddr>,
    /// SCHED_FIFO priority to request, 1..=99; `None` keeps the thread's priority.
    ///
    /// Should be below the mixers': a late datagram waits in the socket, a late tick is lost. If
    /// the system refuses, a warning is logged and the thread runs without it.
    pub fifo_priority: Option<u8>,
    /// Longest time from [`NetworkControl::start`](super::NetworkControl::start) until ICE has
    /// found a path; then the peer is removed.
    ///
    /// A client that is present sends its first check within a round trip or two.
    pub connect_timeout: Duration,
    /// Longest time from the start of a peer until DTLS is up.
    ///
    /// Long enough for a microcontroller that needs 15 s for an RSA handshake.
    pub handshake_timeout: Duration,
    /// Time without answers on ICE after which a peer is reported as disconnected.
    pub disconnected_after: Duration,
    /// Time without answers on ICE after which a peer is removed (RFC 7675, section 5.1, allows 30
    /// s).
    pub consent_timeout: Duration,
}

impl RtcConfig {
    /// Returns the defaults for a socket bound to `media`.
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

/// Default ICE time-out: several times what ICE needs on a lossy network, and short enough that
/// abandoned joins do not fill the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Default DTLS time-out: twice the handshake of a slow client, so that one lost datagram does not
/// end the call.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Default time until "disconnected": two consent checks in a row lost.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(10);

/// Default consent time-out: less than the 30 s after which a killed client must be gone, by more
/// than the coarse timer of a peer whose connection is established.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(25);
