//! Starts all parts of the server, stops them in the right order, and joins all threads and tasks.
//!
//! Parts start from the sockets inwards: network thread, mixer threads (which need the network
//! thread's wake-up), conference, HTTP. They stop from the outside inwards, so that no part talks
//! to one that has ended: participants are told, HTTP and WebSockets close, the conference's owner
//! ends, then the mixers, then the network thread.

use std::fmt;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::audio::{self, Audio, AudioConfig, AudioError, Wakes};
use crate::conference::{
    self, Close, Conference, Configure, ConfigureError, Limits, Owner, Threads,
};
use crate::config::Config;
use crate::http::{self, Tls, TlsError};
use crate::memory;
use crate::protocol::{RoomChange, RoomName};
use crate::queues;
use crate::rtc::{self, Rtc, RtcConfig, RtcError};
use crate::sched;

/// A running server.
pub struct Server {
    http_addr: SocketAddr,
    media_addr: SocketAddr,
    tls: bool,
    fingerprint: Option<String>,
    conference: Conference,
    stop: watch::Sender<bool>,
    /// Set to true to end the conference's owner task, after all tasks that use the conference's
    /// handle.
    end: watch::Sender<bool>,
    http: Option<JoinHandle<()>>,
    owner: Option<JoinHandle<()>>,
    audio: Audio,
    rtc: Rtc,
}

/// The server cannot start, or cannot continue.
#[derive(Debug, Error)]
pub enum StartError {
    /// The HTTP address cannot be used.
    #[error("cannot serve HTTP on {address}: {error}; --http sets the address")]
    Http {
        /// The configured address.
        address: SocketAddr,
        /// Why the address cannot be used.
        error: io::Error,
    },
    /// The network thread cannot start.
    #[error("cannot receive media: {0}; --media sets the address")]
    Media(RtcError),
    /// The mixer threads cannot start.
    #[error("cannot start the mixer threads: {0}")]
    Mixer(#[from] AudioError),
    /// TLS cannot be set up for HTTPS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A configured room cannot be created.
    #[error("cannot create the room {room}: {error}")]
    Room {
        /// Name of the room.
        room: RoomName,
        /// Why the room cannot be created.
        error: ConfigureError,
    },
    /// A mixer or the network thread ended by itself; the log says why.
    #[error("a mixer thread or the network thread has ended; the log says why")]
    Lost,
    /// The operating system refuses a thread, signal handler or descriptor.
    #[error("the system refused a thread, a signal handler or a descriptor: {0}")]
    System(#[from] io::Error),
}

impl Server {
    /// Starts all parts of the server. Ports may be 0; [`Server::http_addr`] and
    /// [`Server::media_addr`] then return the chosen ones.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; no part is left running.
    pub fn start(config: Config) -> Result<Server, StartError> {
        let tls = Tls::new(&config)?;
        let listener = listen(config.http)?;
        let http_addr = listener
            .local_addr()
            .map_err(|error| unusable(config.http, error))?;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| unusable(config.http, error))?;
        let (audio, rtc, threads) = media(&config)?;
        let (conference, mut owner) = conference::start(limits(&config), threads, Instant::now());
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let mut server = Server {
            http_addr,
            media_addr: rtc.media_addr(),
            tls: tls.is_some(),
            fingerprint: tls.as_ref().and_then(|tls| tls.fingerprint.clone()),
            conference: conference.clone(),
            stop,
            end,
            http: None,
            owner: None,
            audio,
            rtc,
        };
        if let Err(error) = make_rooms(&mut owner, &config) {
            server.end_media();
            return Err(error);
        }
        server.owner = Some(tokio::spawn(owner.run(ended)));
        server.http = Some(tokio::spawn(async move {
            http::serve(&config, listener, tls, conference, stopped).await;
        }));
        Ok(server)
    }

    /// Returns the address on which HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Returns the address on which media is received.
    pub fn media_addr(&self) -> SocketAddr {
        self.media_addr
    }

    /// Returns the URL to open in a browser on this host.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        if self.http_addr.ip().is_unspecified() {
            format!("{scheme}://localhost:{}/", self.http_addr.port())
        } else {
            format!("{scheme}://{}/", self.http_addr)
        }
    }

    /// Stops the server: tells all participants, closes all sockets, joins all threads.
    pub async fn stop(mut self) {
        self.conference.ask(Close).await;
        // Sending fails only if no receiver is left, which is the aim.
        let _ = self.stop.send(true);
        if let Some(http) = self.http.take() {
            let _ = http.await;
        }
        // WebSockets are tasks of warp; each holds a receiver until it has closed.
        let _ = timeout(CLOSE_TIME, self.stop.closed()).await;
        let _ = self.end.send(true);
        if let Some(owner) = self.owner.take() {
            let _ = owner.await;
        }
        // Joining threads blocks, so it runs on the blocking thread pool.
        let _ = tokio::task::spawn_blocking(move || self.end_media()).await;
    }

    fn end_media(self) {
        if let Err(error) = self.audio.stop() {
            tracing::error!(%error, "the mixer threads ended with an error");
        }
        self.rtc.stop();
    }
}

/// Longest time that the shutdown waits for WebSockets to close.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// Runs a server until Ctrl-C or SIGTERM.
///
/// # Errors
/// [`StartError`] if the server cannot start, or an audio or network thread has ended.
pub fn run(config: Config) -> Result<(), StartError> {
    start_log(&config.log);
    raise_descriptors();
    let realtime = config.realtime;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let ended = end_asked()?;
        let server = Server::start(config)?;
        if realtime {
            lock_memory();
        }
        announce(&server);
        let lost = tokio::select! {
            () = ended => Ok(()),
            () = server.conference.lost() => Err(StartError::Lost),
        };
        tracing::info!("the server is shutting down");
        server.stop().await;
        lost
    })
}

/// Starts the network thread and the mixer threads, and connects them by their queues.
fn media(config: &Config) -> Result<(Audio, Rtc, Threads), StartError> {
    let (network_ends, mixer_ends) = queues::media(config.mixers());
    let rtc_config = RtcConfig {
        announce: config.announce.clone(),
        fifo_priority: config.realtime.then_some(sched::NETWORK),
        ..RtcConfig::new(config.media)
    };
    let (rtc, network) = rtc::start(rtc_config, network_ends).map_err(StartError::Media)?;
    let audio_config = AudioConfig {
        fifo: config.realtime,
        max_rooms: config.max_rooms as usize + SPARE_ROOMS,
        max_participants: config.max_sessions as usize + SPARE_PARTICIPANTS,
    };
    let wakes = rtc.wake().and_then(|wake| {
        Ok(Wakes {
            network: wake,
            conference: network.something_happened()?,
        })
    });
    let wakes = wakes.map_err(StartError::System);
    let audio = wakes.and_then(|wakes| Ok(audio::start(audio_config, mixer_ends, wakes)?));
    match audio {
        Ok((audio, mixers)) => {
            let threads = Threads {
                audio: audio.handle(),
                mixers,
                rtc: rtc.handle(),
                network,
            };
            Ok((audio, rtc, threads))
        }
        Err(error) => {
            rtc.stop();
            Err(error)
        }
    }
}

/// Number of rooms beyond the configured limit that every engine has memory for: a room whose tick
/// or channel layout is reconfigured exists twice for a moment.
const SPARE_ROOMS: usize = 16;

/// Number of participants beyond the configured limit that every engine has memory for: a
/// participant that has left stays in the engine until its voice has faded out.
const SPARE_PARTICIPANTS: usize = 256;

fn make_rooms(owner: &mut Owner, config: &Config) -> Result<(), StartError> {
    for (name, room) in &config.rooms {
        let change = RoomChange {
            links: config.links.get(name).cloned(),
            ..RoomChange::from(*room)
        };
        let made = owner.configure(name, change, Configure::Put);
        made.map_err(|error| StartError::Room {
            room: name.clone(),
            error,
        })?;
    }
    Ok(())
}

fn limits(config: &Config) -> Limits {
    Limits {
        max_rooms: config.max_rooms as usize,
        max_sessions: config.max_sessions as usize,
        open_rooms: config.open_rooms,
        room: config.room,
        hangovers: config.hangovers,
        rates: config.rates,
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error| unusable(address, error))
}

fn unusable(address: SocketAddr, error: io::Error) -> StartError {
    StartError::Http { address, error }
}

/// Prints the addresses on which the server listens to standard output.
fn announce(server: &Server) {
    let (version, url) = (env!("CARGO_PKG_VERSION"), server.url());
    let mut text = format!("mixminus {version} is ready: {url}\n");
    for address in elsewhere(server) {
        text += &format!("from other machines: {address}\n");
    }
    let (http, media) = (server.http_addr, server.media_addr);
    text += &format!("http  {http}\nmedia {media} (UDP)\n");
    if !server.tls && !server.http_addr.ip().is_loopback() {
        text += "Browsers on other machines allow microphone access only over HTTPS. Use --tls-cert and --tls-key, or --tls-self-signed.\n";
    }
    if let Some(fingerprint) = &server.fingerprint {
        text +=
            &format!("The certificate is self-signed; its SHA-256 fingerprint is {fingerprint}\n");
    }
    // The server runs even if standard output cannot be written.
    if let Err(error) = say(text) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

/// Writes to standard output. A closed pipe is not an error: a reader such as `head` has read
/// enough.
pub(crate) fn say(text: impl fmt::Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let written = write!(output, "{text}").and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Returns the URLs for browsers on other machines, if HTTP is served on all addresses.
fn elsewhere(server: &Server) -> Vec<String> {
    if !server.http_addr.ip().is_unspecified() {
        return Vec::new();
    }
    let scheme = if server.tls { "https" } else { "http" };
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let others = interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| {
        // An IPv6 socket serves both families; a link-local address needs a zone, which browsers do
        // not accept.
        let served = server.http_addr.is_ipv6() || ip.is_ipv4();
        let is_local = matches!(ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local());
        served && !ip.is_loopback() && !is_local
    });
    others
        .map(|ip| {
            format!(
                "{scheme}://{}/",
                SocketAddr::new(ip, server.http_addr.port())
            )
        })
        .collect()
}

/// Raises the limit of open file descriptors to the maximum that the system allows. Every WebSocket
/// needs one, and the usual limit of 1,024 is meant for programs that use `select`.
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

/// Locks the program, and the stacks and tables of the audio threads, in memory, if no limit on
/// locked memory applies.
fn lock_memory() {
    if let Err(error) = memory::lock() {
        tracing::info!(
            %error,
            "memory is not locked, so page faults can delay audio; \
             allow locking with CAP_IPC_LOCK or `ulimit -l unlimited`"
        );
    }
}

/// Returns a future that completes on SIGTERM or Ctrl-C.
fn end_asked() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Starts the log on standard error; standard output carries only what the command was asked to
/// print.
pub(crate) fn start_log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::new(filter);
    // If a second server starts in one process, the log has already been set up.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
}
