//! The measured servers: started here, or found at an address.
//!
//! | target | what |
//! |---|---|
//! | `self` | a child process of this binary, so that its CPU time and memory are its own |
//! | `whip:URL` | any server that accepts a posted offer (RFC 9725); `{room}` in the URL stands for the room |
//! | `janus` | Debian's Janus AudioBridge, installed and started here, in a network namespace of its own |
//! | `janus:ws://HOST:PORT` | a running Janus |
//!
//! A target does signalling only: an offer goes in, an answer comes out. The clients exchange media
//! with the server directly.

pub(super) mod child;
mod janus;
mod janus_api;
mod local;
mod netns;
mod whip;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;

use mixer::codec::Profile;
use reqwest::Url;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use crate::join::whip_client::WhipError;

/// A server to measure, as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetSpec {
    /// `mixminus serve` of this binary.
    Own,
    /// A server that accepts offers at this URL.
    Whip(Url),
    /// A Janus at this address, or one that is started here.
    Janus(Option<Url>),
}

/// The error for a text that names no known kind of target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "unknown target {given:?}: use self, whip:URL, janus (started here) or janus:ws://HOST:PORT"
)]
pub struct UnknownTarget {
    given: String,
}

impl FromStr for TargetSpec {
    type Err = UnknownTarget;

    fn from_str(given: &str) -> Result<TargetSpec, UnknownTarget> {
        let unknown = || UnknownTarget {
            given: given.to_owned(),
        };
        let url = |text: &str, schemes: &[&str]| {
            Url::parse(text)
                .ok()
                .filter(|url| schemes.contains(&url.scheme()) && url.has_host())
                .ok_or_else(unknown)
        };
        match given.split_once(':') {
            None if given == "self" => Ok(TargetSpec::Own),
            None if given == "janus" => Ok(TargetSpec::Janus(None)),
            Some(("whip", address)) => Ok(TargetSpec::Whip(url(address, &["http", "https"])?)),
            Some(("janus", address)) => Ok(TargetSpec::Janus(Some(url(address, &["ws"])?))),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetSpec::Own => f.pad("self"),
            TargetSpec::Whip(url) => write!(f, "whip:{url}"),
            TargetSpec::Janus(None) => f.pad("janus"),
            TargetSpec::Janus(Some(url)) => write!(f, "janus:{url}"),
        }
    }
}

/// Options with which a target is started. A target ignores those that it does not support.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// Profile of the listeners' streams: for `self`, and every WHIP server that supports
    /// `?profile=`.
    pub profile: Option<Profile>,
    /// The number of mixer threads, for `self`.
    pub mixers: Option<usize>,
    /// Packets in a participant's queue before it is mixed, for Janus.
    pub prebuffer: Option<u32>,
    /// Further flags for `mixminus serve`.
    pub server_args: Vec<String>,
    /// Starts `self` in a network namespace of its own, as Janus always is.
    pub netns: bool,
    /// The number of participants that the server must admit, in one room or in many.
    pub room_capacity: usize,
    /// The number of rooms that the server must admit.
    pub rooms: usize,
}

impl Default for TargetOptions {
    fn default() -> TargetOptions {
        TargetOptions {
            profile: None,
            mixers: None,
            prebuffer: None,
            server_args: Vec::new(),
            netns: false,
            room_capacity: 200,
            rooms: 100,
        }
    }
}

/// Why a target does not start or answer.
#[derive(Debug, Error)]
pub enum TargetError {
    /// A program cannot be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program's name.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// A program was started but never became ready.
    #[error("{program} did not start; the end of its log:\n{said}")]
    NotReady {
        /// The program's name.
        program: String,
        /// The end of its log.
        said: String,
    },
    /// The action needs root privileges.
    #[error("{what} needs root privileges; run as root, or name a server that is already running")]
    NotRoot {
        /// The action that needs root.
        what: &'static str,
    },
    /// The package cannot be installed.
    #[error("cannot install the package janus:\n{said}")]
    Install {
        /// The end of the installation's output.
        said: String,
    },
    /// The network namespace cannot be created.
    #[error("cannot set up a network namespace: `{step}` failed: {said}")]
    Namespace {
        /// The command that failed.
        step: String,
        /// The error output of the command.
        said: String,
    },
    /// A file or an address of this machine is not available.
    #[error("cannot create or find {what}: {source}")]
    Prepare {
        /// The file or the address.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// An HTTP request failed.
    #[error(transparent)]
    Session(#[from] WhipError),
    /// An HTTP request other than a join failed.
    #[error("{what} failed: {reason}")]
    Http {
        /// What the request was to do.
        what: &'static str,
        /// The reason.
        reason: String,
    },
    /// Janus refused a request.
    #[error("Janus refused the request {request}: {reason} (code {code})")]
    Janus {
        /// The request.
        request: &'static str,
        /// Janus' error code.
        code: i64,
        /// Janus' error text.
        reason: String,
    },
    /// Janus gave no response, or an unexpected one.
    #[error("Janus gave no usable answer to the request {request}")]
    Silent {
        /// The request.
        request: &'static str,
    },
    /// The target does not support the action.
    #[error("{target} does not support {what}")]
    Unsupported {
        /// The name of the target.
        target: String,
        /// The action.
        what: &'static str,
    },
}

/// A running server to measure.
///
/// If it was started here, dropping it also stops it, for instance when a measurement ends early.
pub struct Target {
    name: String,
    local_ips: Vec<IpAddr>,
    kind: Kind,
}

enum Kind {
    Own(local::LocalServer),
    Whip(whip::Whip),
    Janus(janus::Janus),
}

/// A participant's session at the server. [`Target::leave`] ends it.
pub struct Seat(SeatKind);

enum SeatKind {
    Whip(crate::join::whip_client::WhipSession),
    Janus(u64),
}

/// Starts a server, or connects to a running one, as `spec` says.
///
/// # Errors
/// [`TargetError`]; everything that was set up is removed.
pub async fn start(spec: &TargetSpec, options: &TargetOptions) -> Result<Target, TargetError> {
    raise_descriptors();
    let (kind, local_ips) = match spec {
        TargetSpec::Own => {
            let own = local::LocalServer::start(options).await?;
            let ips = own.local_ips();
            (Kind::Own(own), ips)
        }
        TargetSpec::Whip(url) => {
            let whip = whip::Whip::new(url.clone(), options.profile)?;
            let ips = local_ips_towards(url)?;
            (Kind::Whip(whip), ips)
        }
        TargetSpec::Janus(None) => {
            let janus = janus::Janus::start(options).await?;
            let ips = janus.local_ips();
            (Kind::Janus(janus), ips)
        }
        TargetSpec::Janus(Some(url)) => {
            let janus = janus::Janus::find(url, options).await?;
            (Kind::Janus(janus), local_ips_towards(url)?)
        }
    };
    Ok(Target {
        name: spec.to_string(),
        local_ips,
        kind,
    })
}

impl Target {
    /// Joins `room`, which is created if needed, with an offer; returns the session and the answer.
    ///
    /// # Errors
    /// [`TargetError`] when the server refuses or does not answer.
    pub async fn join(
        &self,
        room: &str,
        name: &str,
        offer: &str,
    ) -> Result<(String, Seat), TargetError> {
        match &self.kind {
            Kind::Own(own) => own.whip().join(room, offer).await,
            Kind::Whip(whip) => whip.join(room, offer).await,
            Kind::Janus(janus) => janus.join(room, name, offer).await,
        }
    }

    /// Ends a session. A server that does not answer notices the absence after a timeout.
    pub async fn leave(&self, seat: Seat) {
        match (seat.0, &self.kind) {
            (SeatKind::Whip(session), _) => {
                let _ = session.leave().await;
            }
            (SeatKind::Janus(handle), Kind::Janus(janus)) => janus.leave(handle).await,
            (SeatKind::Janus(_), _) => {}
        }
    }

    /// Creates an empty room.
    ///
    /// # Errors
    /// [`TargetError`] when the server refuses, or does not support empty rooms.
    pub async fn make_room(&self, room: &str) -> Result<(), TargetError> {
        match &self.kind {
            Kind::Own(own) => own.whip().put_room(room, "{}".to_owned()).await,
            Kind::Whip(whip) => whip.put_room(room, "{}".to_owned()).await,
            Kind::Janus(janus) => janus.make_room(room).await,
        }
    }

    /// Creates a room with these settings, or replaces its settings. Only for mixminus servers.
    ///
    /// # Errors
    /// [`TargetError`] when the server refuses, or is of another kind.
    pub async fn put_room(&self, room: &str, settings: &str) -> Result<(), TargetError> {
        self.whip()?.put_room(room, settings.to_owned()).await
    }

    /// Returns the URL to which offers for a room are posted.
    ///
    /// # Errors
    /// [`TargetError`] when the server accepts no posted offers.
    pub fn participants(&self, room: &str) -> Result<Url, TargetError> {
        Ok(self.whip()?.url_of(room))
    }

    /// Returns the address of a room for the libwebrtc client, in the form that
    /// `tests/tools/wrtc.sh` accepts; the room is created if it must exist before.
    ///
    /// # Errors
    /// [`TargetError`] when the server does not create the room.
    pub async fn foreign_address(&self, room: &str) -> Result<String, TargetError> {
        match &self.kind {
            Kind::Own(own) => Ok(own.whip().asking_url_of(room).to_string()),
            Kind::Whip(whip) => Ok(whip.asking_url_of(room).to_string()),
            Kind::Janus(janus) => janus.foreign_address(room).await,
        }
    }

    fn whip(&self) -> Result<&whip::Whip, TargetError> {
        match &self.kind {
            Kind::Own(own) => Ok(own.whip()),
            Kind::Whip(whip) => Ok(whip),
            Kind::Janus(_) => Err(TargetError::Unsupported {
                target: self.name.clone(),
                what: "floor control",
            }),
        }
    }

    /// Returns the server's own metrics in the Prometheus text format, if it has any.
    pub async fn metrics(&self) -> Option<String> {
        match &self.kind {
            Kind::Own(own) => own.whip().metrics().await,
            Kind::Whip(whip) => whip.metrics().await,
            Kind::Janus(_) => None,
        }
    }

    /// Returns the process id of a server that was started here.
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Own(own) => Some(own.pid()),
            Kind::Whip(_) => None,
            Kind::Janus(janus) => janus.pid(),
        }
    }

    /// Returns the local address from which clients must connect.
    pub fn local_ip(&self) -> IpAddr {
        self.local_ips[0]
    }

    /// Returns all local addresses from which the server can be reached, [`Target::local_ip`]
    /// first: clients with different addresses can share a socket.
    pub fn local_ips(&self) -> &[IpAddr] {
        &self.local_ips
    }

    /// Returns the target's name on the command line.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops the server if it was started here, and removes everything that was created for it.
    pub async fn stop(self) {
        if let Kind::Janus(janus) = &self.kind {
            janus.clear().await;
        }
        // Waiting for a process blocks.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// Returns the local addresses from which a server is reached: many for a server on loopback, of
/// which every address is local, otherwise one.
fn local_ips_towards(url: &Url) -> Result<Vec<IpAddr>, TargetError> {
    let prepare = |source| TargetError::Prepare {
        what: "a local address that reaches the server",
        source,
    };
    let addresses = url.socket_addrs(|| Some(80)).map_err(prepare)?;
    let server = addresses
        .first()
        .ok_or_else(|| prepare(io::ErrorKind::AddrNotAvailable.into()))?;
    if server.ip().is_loopback() && server.is_ipv4() {
        return Ok(loopback_ips());
    }
    let any: IpAddr = match server {
        std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket sends nothing; it only looks up the route.
    let socket = std::net::UdpSocket::bind((any, 0)).map_err(prepare)?;
    socket.connect(server).map_err(prepare)?;
    Ok(vec![socket.local_addr().map_err(prepare)?.ip()])
}

/// Returns several loopback addresses, `127.0.0.1` first.
fn loopback_ips() -> Vec<IpAddr> {
    (1..=SHARED_ADDRESSES)
        .map(|last| IpAddr::from([127, 0, 0, last]))
        .collect()
}

/// The number of local addresses, which is the number of clients that can share a socket. The
/// packets of this many clients fit into a default socket buffer.
const SHARED_ADDRESSES: u8 = 32;

/// Raises the limit of open descriptors. Every client may need a socket in this process, and needs
/// one in some servers, which inherit the limit.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, limit = ?limit.current, "cannot raise the limit of open descriptors");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_and_formatted() {
        for text in [
            "self",
            "janus",
            "whip:http://127.0.0.1:8080/v1/rooms/%7Broom%7D/participants",
            "janus:ws://192.0.2.1:8188/",
        ] {
            let spec: TargetSpec = text.parse().expect(text);
            assert_eq!(spec.to_string(), text);
        }
        for text in [
            "",
            "own",
            "whip",
            "whip:",
            "whip:ws://a/",
            "janus:http://a/",
            "self:1",
        ] {
            assert!(text.parse::<TargetSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_server_is_reached_from_many_addresses() {
        let url = Url::parse("http://127.0.0.1:9/").expect("a URL");
        let ips = local_ips_towards(&url).expect("loopback");
        assert_eq!(ips.len(), usize::from(SHARED_ADDRESSES));
        assert_eq!(ips[0], IpAddr::from([127, 0, 0, 1]));
    }
}
