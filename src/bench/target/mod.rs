//! The servers that are measured: started here, or found at an address.
//!
//! | target | what |
//! |---|---|
//! | `self` | a child process of this very binary, so that its processor time and memory are its own |
//! | `whip:URL` | any server that takes a POSTed offer (RFC 9725); `{room}` in the URL stands for the room |
//! | `janus` | Debian's Janus AudioBridge, installed and started here, in a network namespace of its own |
//! | `janus:ws://HOST:PORT` | a Janus that runs already |
//!
//! All a target does is signalling: an offer goes in, an answer comes out. Media is the clients' own affair.

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

use mixer::profile::Profile;
use reqwest::Url;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use crate::join::whip_client::WhipError;

/// Which server, as the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetSpec {
    /// This binary.
    Own,
    /// A server that takes offers at this URL.
    Whip(Url),
    /// A Janus: at this address, or one started here.
    Janus(Option<Url>),
}

/// An unknown target.
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

/// How a target is started. A target ignores the options that it does not know.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// How listeners' streams are encoded: `self`, and every WHIP server that knows `?profile=`.
    pub profile: Option<Profile>,
    /// Mixer threads of `self`.
    pub mixers: Option<usize>,
    /// Packets a participant's queue is filled with before it is mixed: Janus.
    pub prebuffer: Option<u32>,
    /// More flags for `mixminus serve`.
    pub server_args: Vec<String>,
    /// Starts `self` in a network namespace of its own, as Janus always is.
    pub netns: bool,
    /// Participants that must fit, in one room or in many.
    pub room_capacity: usize,
    /// Rooms that must fit.
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

/// A target that does not start or does not answer as it should.
#[derive(Debug, Error)]
pub enum TargetError {
    /// A program cannot be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// Its name.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// A program was started but never said that it is ready.
    #[error("{program} did not start; the end of its log:\n{said}")]
    NotReady {
        /// Its name.
        program: String,
        /// The end of its log.
        said: String,
    },
    /// Only root may do this.
    #[error("{what} needs root privileges; run as root, or name a server that is already running")]
    NotRoot {
        /// What was to be done.
        what: &'static str,
    },
    /// The package cannot be installed.
    #[error("cannot install the package janus:\n{said}")]
    Install {
        /// The end of what the installation said.
        said: String,
    },
    /// The network namespace cannot be made.
    #[error("cannot set up a network namespace: `{step}` failed: {said}")]
    Namespace {
        /// The command that failed.
        step: String,
        /// What it said.
        said: String,
    },
    /// A file or an address of this machine cannot be had.
    #[error("cannot prepare {what}: {source}")]
    Prepare {
        /// What was to be prepared.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// An HTTP request failed.
    #[error(transparent)]
    Session(#[from] WhipError),
    /// An HTTP request other than a join failed.
    #[error("{what} failed: {reason}")]
    Http {
        /// What was asked for.
        what: &'static str,
        /// What came back.
        reason: String,
    },
    /// Janus refused a request.
    #[error("Janus refused the request {request}: {reason} (code {code})")]
    Janus {
        /// Which request.
        request: &'static str,
        /// Its number for the reason.
        code: i64,
        /// Its words for the reason.
        reason: String,
    },
    /// Janus did not answer, or with something else.
    #[error("Janus gave no usable answer to the request {request}")]
    Silent {
        /// Which request.
        request: &'static str,
    },
    /// The target cannot do this.
    #[error("{target} does not support {what}")]
    Unsupported {
        /// The target.
        target: String,
        /// What was asked for.
        what: &'static str,
    },
}

/// A server that is up.
///
/// Dropped, it is stopped as well, if it was started here: also when a measurement ends early.
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

/// One participant's place, to be given back with [`Target::leave`].
pub struct Seat(SeatKind);

enum SeatKind {
    Whip(crate::join::whip_client::WhipSession),
    Janus(u64),
}

/// Starts or finds a server.
///
/// # Errors
/// [`TargetError`]; nothing that was begun is left behind.
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
    /// Joins `room`, which is made if need be, with an offer; gives the answer.
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

    /// Gives a place back. A server that does not answer will find out by itself.
    pub async fn leave(&self, seat: Seat) {
        match (seat.0, &self.kind) {
            (SeatKind::Whip(session), _) => {
                let _ = session.leave().await;
            }
            (SeatKind::Janus(handle), Kind::Janus(janus)) => janus.leave(handle).await,
            (SeatKind::Janus(_), _) => {}
        }
    }

    /// Makes a room that nobody is in.
    ///
    /// # Errors
    /// [`TargetError`] when the server refuses, or knows no rooms without people.
    pub async fn make_room(&self, room: &str) -> Result<(), TargetError> {
        match &self.kind {
            Kind::Own(own) => own.whip().put_room(room, "{}".to_owned()).await,
            Kind::Whip(whip) => whip.put_room(room, "{}".to_owned()).await,
            Kind::Janus(janus) => janus.make_room(room).await,
        }
    }

    /// Makes a room with settings of this server's kind, or sets one so.
    ///
    /// # Errors
    /// [`TargetError`] when the server refuses, or is of another kind.
    pub async fn put_room(&self, room: &str, settings: &str) -> Result<(), TargetError> {
        self.whip()?.put_room(room, settings.to_owned()).await
    }

    /// Where offers for a room are posted.
    ///
    /// # Errors
    /// [`TargetError`] when the server takes none.
    pub fn participants(&self, room: &str) -> Result<Url, TargetError> {
        Ok(self.whip()?.url_of(room))
    }

    /// The address of a room for the libwebrtc client, as `tests/tools/wrtc.sh` takes it; the room is made
    /// if it must be there before.
    ///
    /// # Errors
    /// [`TargetError`] when the server makes no room.
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
                what: "a floor",
            }),
        }
    }

    /// What the server counts of itself, in the Prometheus text format, where it does.
    pub async fn metrics(&self) -> Option<String> {
        match &self.kind {
            Kind::Own(own) => own.whip().metrics().await,
            Kind::Whip(whip) => whip.metrics().await,
            Kind::Janus(_) => None,
        }
    }

    /// The server's process, if it was started here.
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Own(own) => Some(own.pid()),
            Kind::Whip(_) => None,
            Kind::Janus(janus) => janus.pid(),
        }
    }

    /// The address clients must bind and offer from to reach it.
    pub fn local_ip(&self) -> IpAddr {
        self.local_ips[0]
    }

    /// All addresses of this machine from which it can be reached, [`Target::local_ip`] first: many clients can share
    /// a socket when each has an address of its own.
    pub fn local_ips(&self) -> &[IpAddr] {
        &self.local_ips
    }

    /// How the command line calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it, if it was started here, and removes all that was made for it.
    pub async fn stop(self) {
        if let Kind::Janus(janus) = &self.kind {
            janus.clear().await;
        }
        // Waiting for a process blocks.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// Our addresses on the way to a server; the whole of loopback is this machine.
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
    // Nothing is sent: connecting a UDP socket only asks the system for the route.
    let socket = std::net::UdpSocket::bind((any, 0)).map_err(prepare)?;
    socket.connect(server).map_err(prepare)?;
    Ok(vec![socket.local_addr().map_err(prepare)?.ip()])
}

/// Addresses of loopback, `127.0.0.1` first.
fn loopback_ips() -> Vec<IpAddr> {
    (1..=SHARED_ADDRESSES)
        .map(|last| IpAddr::from([127, 0, 0, last]))
        .collect()
}

/// Addresses that clients have in common: as many clients can share one socket. The packets of so many that come at
/// once fit into a socket's buffer as the system makes it.
const SHARED_ADDRESSES: u8 = 32;

/// Every client may be a socket here, and is one in some servers, which inherit this limit.
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
    fn targets_are_read_and_written() {
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
    fn the_way_to_loopback_has_many_addresses() {
        let url = Url::parse("http://127.0.0.1:9/").expect("a URL");
        let ips = local_ips_towards(&url).expect("loopback");
        assert_eq!(ips.len(), usize::from(SHARED_ADDRESSES));
        assert_eq!(ips[0], IpAddr::from([127, 0, 0, 1]));
    }
}
