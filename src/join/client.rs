//! A participant as a library: joins, keeps the connection alive, leaves.
//!
//! A task of its own watches the connection and makes another when it is lost; the media goes on
//! meanwhile, silent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::connection::{Connection, Link, Reach};
use super::error::JoinError;
use super::media::{Media, MediaEvent, MediaOptions, Sockets};
use super::sdp;
use super::stats::Stats;
use super::whip_client::{FloorReply, WhipEndpoint, WhipError, WhipSession};

/// What a client needs to know besides its media.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The room to join.
    pub room: WhipEndpoint,
    /// Whether to come back after a lost connection.
    pub reconnect: bool,
    /// The duration of packets to ask the server for, in milliseconds.
    pub ptime_ms: Option<u32>,
    /// The bitrate to ask the server for, bits per second, 6,000..=510,000. It sends no more than
    /// that, and no more than the profile goes to; unasked it sends the profile's usual one.
    pub bitrate_bps: Option<u32>,
}

/// What happens to a client.
#[derive(Debug)]
pub enum ClientEvent {
    /// The source was played to its end.
    Played,
    /// The source has become as loud as a voice, or no longer is.
    Voice(bool),
    /// A client that talks by turns begins to send, or has sent its last packet.
    Sending(bool),
    /// The connection is lost, and is to be made again.
    Lost,
    /// The client has come back after a lost connection.
    Reconnected,
    /// It is over: [`Client::leave`] is all that is left to do.
    Failed(JoinError),
}

/// A participant of a room.
///
/// One that is dropped without [`Client::leave`] is not brought back any more; the server finds out by
/// itself, and a recording may lack its end.
pub struct Client {
    media: Media,
    live: Arc<Mutex<Option<Live>>>,
    events: mpsc::Receiver<ClientEvent>,
    keeper: KeeperTask,
    joined: Instant,
    /// The messages since before the connection.
    early: Option<broadcast::Receiver<Arc<str>>>,
}

/// Reaches the server for a participant, over whatever connection there is at the moment.
#[derive(Clone)]
pub struct Controls(Arc<Mutex<Option<Live>>>);

/// A connection with the session it belongs to.
#[derive(Clone)]
struct Live {
    connection: Arc<Connection>,
    session: WhipSession,
    /// The connection's credentials, for requests about the session.
    fragment: String,
}

impl Client {
    /// Joins a room and waits until media can flow.
    ///
    /// # Errors
    /// [`JoinError`] when the first attempt fails: only a client that was in is brought back.
    pub async fn join(options: ClientOptions, media: MediaOptions) -> Result<Client, JoinError> {
        let media = Media::start(media)?;
        let sockets = media.sockets().clone();
        let early = Some(sockets.messages.subscribe());
        let live = match Live::connect(&options, &sockets).await {
            Ok(live) => live,
            Err(error) => {
                media.finish().await?;
                return Err(error);
            }
        };
        let shared = Arc::new(Mutex::new(Some(live.clone())));
        let (events_in, events) = mpsc::channel(EVENTS);
        let keeper = Keeper {
            options,
            sockets,
            shared: Arc::clone(&shared),
            events: events_in,
        };
        Ok(Client {
            media,
            live: shared,
            events,
            keeper: KeeperTask(tokio::spawn(keeper.run(live))),
            joined: Instant::now(),
            early,
        })
    }

    /// The next thing that happens; never again after [`ClientEvent::Failed`].
    pub async fn event(&mut self) -> ClientEvent {
        tokio::select! {
            Some(event) = self.events.recv() => event,
            event = self.media.event() => match event {
                MediaEvent::SourceEnded => ClientEvent::Played,
                MediaEvent::SourceFailed(error) => ClientEvent::Failed(error.into()),
                MediaEvent::SinkFailed => ClientEvent::Failed(JoinError::Recording),
                MediaEvent::Voice(heard) => ClientEvent::Voice(heard),
                MediaEvent::Sending(sends) => ClientEvent::Sending(sends),
            },
        }
    }

    /// What was counted so far.
    pub async fn stats(&self) -> Stats {
        let rtt = match self.now_live() {
            Some(live) => live.connection.rtt().await,
            None => None,
        };
        let counters = &self.media.sockets().counters;
        counters.snapshot(self.joined.elapsed(), rtt)
    }

    /// The public name of the participant, eight hexadecimal digits, while there is a session.
    pub fn participant(&self) -> Option<String> {
        self.now_live()?.session.participant().map(str::to_owned)
    }

    /// Sends a message on the data channel `control`; `false` while there is none that is open.
    pub async fn say(&self, text: &str) -> bool {
        self.controls().say(text).await
    }

    /// The way to the server, for others than the owner.
    pub fn controls(&self) -> Controls {
        Controls(Arc::clone(&self.live))
    }

    /// The messages that come on the data channel `control`, from now on.
    pub fn messages(&self) -> broadcast::Receiver<Arc<str>> {
        self.media.sockets().messages.subscribe()
    }

    /// The same, from the very first on; asked a second time, from now on.
    pub fn all_messages(&mut self) -> broadcast::Receiver<Arc<str>> {
        self.early.take().unwrap_or_else(|| self.messages())
    }

    /// Ends the session and completes the recording.
    ///
    /// # Errors
    /// [`JoinError`] when the recording could not be written. A server that does not answer any more is
    /// no error: it finds out by itself.
    pub async fn leave(mut self) -> Result<(), JoinError> {
        self.keeper.0.abort();
        // Aborted or not, it must be through before the session is taken out.
        let _ = (&mut self.keeper.0).await;
        let live = lock(&self.live).take();
        if let Some(live) = live {
            live.end().await;
        }
        Ok(self.media.finish().await?)
    }

    fn now_live(&self) -> Option<Live> {
        lock(&self.live).clone()
    }
}

impl Controls {
    /// Sends a message on the data channel `control`; `false` while there is none that is open.
    pub async fn say(&self, text: &str) -> bool {
        match self.now_live() {
            Some(live) => live.connection.say(text).await,
            None => false,
        }
    }

    /// Asks for the floor over HTTP; `None` while there is no session.
    pub async fn request_floor(&self) -> Option<Result<FloorReply, WhipError>> {
        Some(self.now_live()?.session.request_floor().await)
    }

    /// Gives the floor back over HTTP; `None` while there is no session.
    pub async fn release_floor(&self) -> Option<Result<(), WhipError>> {
        Some(self.now_live()?.session.release_floor().await)
    }

    fn now_live(&self) -> Option<Live> {
        lock(&self.0).clone()
    }
}

impl Live {
    async fn connect(options: &ClientOptions, sockets: &Sockets) -> Result<Live, JoinError> {
        let reach = match options.room.is_local() {
            true => Reach::Anywhere,
            false => Reach::Elsewhere,
        };
        let (connection, offer) = Connection::offer(sockets.clone(), reach).await?;
        let fragment = sdp::fragment_of(&offer).unwrap_or_default();
        let mut asked = offer;
        if let Some(ptime_ms) = options.ptime_ms {
            asked = sdp::with_ptime(&asked, ptime_ms);
        }
        if let Some(bitrate_bps) = options.bitrate_bps {
            asked = sdp::with_bitrate(&asked, bitrate_bps);
        }
        let (session, answer) = match options.room.join(asked).await {
            Ok(joined) => joined,
            Err(error) => {
                connection.close().await;
                return Err(error.into());
            }
        };
        let live = Live {
            connection: Arc::new(connection),
            session,
            fragment,
        };
        let up = async {
            live.connection.accept(answer).await?;
            live.connection.up().await
        };
        if let Err(error) = up.await {
            live.end().await;
            return Err(error.into());
        }
        info!(participant = live.session.participant(), "joined the room");
        Ok(live)
    }

    async fn end(&self) {
        let (left, ()) = tokio::join!(self.session.leave(), self.connection.close());
        if let Err(error) = left {
            warn!(%error, "cannot end the session on the server");
        }
    }
}

/// The keeper's task, which ends with the client.
struct KeeperTask(JoinHandle<()>);

impl Drop for KeeperTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches the connection and brings it back.
struct Keeper {
    options: ClientOptions,
    sockets: Sockets,
    shared: Arc<Mutex<Option<Live>>>,
    events: mpsc::Sender<ClientEvent>,
}

impl Keeper {
    async fn run(self, mut live: Live) {
        loop {
            let removed = self.until_lost(&live).await;
            lock(&self.shared).take();
            live.end().await;
            let again = match removed {
                Some(reason) => Err(JoinError::Removed { reason }),
                None if !self.options.reconnect => Err(JoinError::Lost),
                None => {
                    // Whoever does not listen misses it.
                    let _ = self.events.try_send(ClientEvent::Lost);
                    self.come_back().await
                }
            };
            let event = match again {
                Ok(next) => {
                    live = next;
                    lock(&self.shared).replace(live.clone());
                    self.sockets.counters.count_reconnect();
                    ClientEvent::Reconnected
                }
                Err(error) => ClientEvent::Failed(error),
            };
            let over = matches!(event, ClientEvent::Failed(_));
            if self.events.send(event).await.is_err() || over {
                return;
            }
        }
    }

    /// Waits until the connection is lost; gives the reason if the server has put the client out.
    async fn until_lost(&self, live: &Live) -> Option<String> {
        let mut link = live.connection.link();
        let mut messages = self.sockets.messages.subscribe();
        let mut probe = tokio::time::interval(PROBE_EVERY);
        let mut shaky_since = None;
        loop {
            let state = *link.borrow_and_update();
            match state {
                Link::Down => return self.farewell(live, &mut messages).await,
                Link::Shaky => {
                    shaky_since.get_or_insert_with(Instant::now);
                }
                Link::Up | Link::Connecting => shaky_since = None,
            }
            tokio::select! {
                changed = link.changed() => if changed.is_err() { return None },
                message = messages.recv() => if let Some(reason) = removal(live, message.ok().as_deref()) {
                    return Some(reason);
                },
                _ = probe.tick(), if shaky_since.is_some() => {
                    let waited = shaky_since.is_some_and(|since| since.elapsed() > SHAKY_FOR);
                    if waited || live.session.exists(&live.fragment).await == Some(false) {
                        return None;
                    }
                }
            }
        }
    }

    /// A server that puts someone out says so just before it closes.
    async fn farewell(
        &self,
        live: &Live,
        messages: &mut broadcast::Receiver<Arc<str>>,
    ) -> Option<String> {
        while let Ok(message) = messages.try_recv() {
            if let Some(reason) = removal(live, Some(&message)) {
                return Some(reason);
            }
        }
        None
    }

    /// Tries until it works or cannot.
    async fn come_back(&self) -> Result<Live, JoinError> {
        let mut backoff = Backoff::default();
        loop {
            let error = match Live::connect(&self.options, &self.sockets).await {
                Ok(live) => return Ok(live),
                Err(error) => error,
            };
            if error.is_permanent() {
                return Err(error);
            }
            let wait = backoff.next(rand::random());
            let wait = wait.max(error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER));
            warn!(%error, wait_ms = wait.as_millis(), "cannot reconnect; trying again after a wait");
            tokio::time::sleep(wait).await;
        }
    }
}

/// The reason, if a control message tells that this participant was put out for good.
fn removal(live: &Live, message: Option<&str>) -> Option<String> {
    let own = live.session.participant()?;
    let left = serde_json::from_str::<Left>(message?).ok()?;
    let put_out = left.event == "left"
        && left.participant == own
        && matches!(left.reason.as_str(), "kicked" | "room closed");
    put_out.then_some(left.reason)
}

/// The control message that somebody left.
#[derive(Deserialize)]
struct Left {
    event: String,
    participant: String,
    reason: String,
}

fn lock(live: &Mutex<Option<Live>>) -> std::sync::MutexGuard<'_, Option<Live>> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that is not asked keeps its last few events.
const EVENTS: usize = 16;

/// How often the server is asked for the session while the connection is shaky.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How long a shaky connection may recover.
const SHAKY_FOR: Duration = Duration::from_secs(5);

/// A server cannot send a client away for longer than this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
