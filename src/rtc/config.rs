//! Settings of the network thread.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Settings of the network thread.
#[derive(Debug, Clone)]
pub struct RtcConfig {
    /// The UDP address that all peers share; port 0 chooses a free port.
    ///
    /// If it is the unspecified address, the answers list the addresses of all interfaces of the
    /// host; if it is a loopback address, only that address.
    pub media: SocketAddr,
    /// Addresses that answers list instead of the host's own, with the bound port; for a server
    /// behind NAT.
    pub announce: Vec<IpAddr>,
    /// SCHED_FIFO priority to request, 1..=99; `None` keeps the thread's priority.
    ///
    /// The priority should be below the mixers': a late datagram only waits in the socket, but a
    /// late tick is lost. If the system refuses, a warning is logged and the thread runs at normal
    /// priority.
    pub fifo_priority: Option<u8>,
    /// Longest time from [`NetworkControl::start`](super::NetworkControl::start) until ICE has
    /// found a path to the client; after that the peer is removed.
    ///
    /// A client that is present sends its first check within a round trip or two.
    pub connect_timeout: Duration,
    /// Longest time from the start of a peer until the DTLS handshake is complete; after that the
    /// peer is removed.
    ///
    /// Long enough for a microcontroller that needs 15 s for an RSA handshake.
    pub handshake_timeout: Duration,
    /// Time without an answered connectivity check after which a peer is reported as disconnected.
    pub disconnected_after: Duration,
    /// Time without an answered connectivity check after which a peer is removed (RFC 7675, section
    /// 5.1, allows 30 s).
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

/// Default of [`RtcConfig::connect_timeout`]: several times what ICE needs on a lossy network, and
/// short enough that abandoned joins do not fill the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Default of [`RtcConfig::handshake_timeout`]: twice the handshake of a slow client, so that one
/// lost datagram does not end the call.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Default of [`RtcConfig::disconnected_after`]: two consent checks in a row are lost.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(10);

/// Default of [`RtcConfig::consent_timeout`]: a killed client must be gone within 30 s. The
/// difference covers the coarse timer of an established peer.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(25);
