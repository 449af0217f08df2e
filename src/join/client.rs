//! A participant of a room as a library: it joins, keeps the connection alive and leaves.
//!
//! A task watches the connection and establishes another one when it is lost; meanwhile the media
//! threads continue, in silence.

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

/// The options of a client, apart from those of its media.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The room to join.
    pub room: WhipEndpoint,
    /// Whether to reconnect after a lost connection.
    pub reconnect: bool,
    /// The duration of packets to ask the server for, in milliseconds.
    pub ptime_ms: Option<u32>,
    /// The bitrate to ask the server for, bits per second, 6,000..=510,000. The server sends at
    /// most that, and at most what the profile permits; without it the server sends the profile's
    /// usual bitrate.
    pub bitrate_bps: Option<u32>,
}

/// An event of a client.
#[derive(Debug)]
pub enum ClientEvent {
    /// The source has been played to its end.
    Played,
    /// The source has become as loud as a voice (`true`), or has fallen silent.
    Voice(bool),
    /// A push-to-talk client starts to send (`true`), or has sent its last packet.
    Sending(bool),
    /// The connection is lost and will be re-established.
    Lost,
    /// The client has reconnected after a lost connection.
    Reconnected,
    /// The client has failed for good: only [`Client::leave`] remains to be called.
    Failed(JoinError),
}

/// A participant of a room.
///
/// A client that is dropped without [`Client::leave`] does not reconnect any more. The server
/// notices its absence after a timeout, and a recording may lack its end.
pub struct Client {
    media: Media,
    live: Arc<Mutex<Option<Live>>>,
    events: mpsc::Receiver<ClientEvent>,
    keeper: KeeperTask,
    joined: Instant,
    /// A receiver that was created before the connection, so that it misses no message.
    early: Option<broadcast::Receiver<Arc<str>>>,
}

/// A handle that sends messages and floor requests to the server, over whichever connection is
/// current.
#[derive(Clone)]
pub struct Controls(Arc<Mutex<Option<Live>>>);

/// A connection with the session it belongs to.
#[derive(Clone)]
struct Live {
    connection: Arc<Connection>,
    session: WhipSession,
    /// The ICE credentials of the connection, for requests about the session.
    fragment: String,
}

impl Client {
    /// Joins a room and waits until media can flow.
    ///
    /// # Errors
    /// [`JoinError`] when the first attempt fails: only a client that has been connected
    /// reconnects.
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

    /// Waits for the next event; never returns again after [`ClientEvent::Failed`].
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

    /// Returns the statistics so far.
    pub async fn stats(&self) -> Stats {
        let rtt = match self.now_live() {
            Some(live) => live.connection.rtt().await,
            None => None,
        };
        let counters = &self.media.sockets().counters;
        counters.snapshot(self.joined.elapsed(), rtt)
    }

    /// Returns the participant's public id, eight hexadecimal digits, while there is a session.
    pub fn participant(&self) -> Option<String> {
        self.now_live()?.session.participant().map(str::to_owned)
    }

    /// Sends a message on the data channel `control`; returns `false` if no channel is open.
    pub async fn say(&self, text: &str) -> bool {
        self.controls().say(text).await
    }

    /// Returns a handle that can send messages and floor requests while another task owns the
    /// client.
    pub fn controls(&self) -> Controls {
        Controls(Arc::clone(&self.live))
    }

    /// Returns the messages that arrive on the data channel `control` from now on.
    pub fn messages(&self) -> broadcast::Receiver<Arc<str>> {
        self.media.sockets().messages.subscribe()
    }

    /// Returns all messages on the data channel `control` from the first one on. Only the first
    /// call does; later calls return the messages from now on.
    pub fn all_messages(&mut self) -> broadcast::Receiver<Arc<str>> {
        self.early.take().unwrap_or_else(|| self.messages())
    }

    /// Ends the session and completes the recording.
    ///
    /// # Errors
    /// [`JoinError`] when the recording could not be written. A server that does not answer is not
    /// an error: it notices the absence after a timeout.
    pub async fn leave(mut self) -> Result<(), JoinError> {
        self.keeper.0.abort();
        // The keeper must have ended before the session is taken out of `live`, whether or not the
        // abort took effect.
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
    /// Sends a message on the data channel `control`; returns `false` if no channel is open.
    pub async fn say(&self, text: &str) -> bool {
        match self.now_live() {
            Some(live) => live.connection.say(text).await,
            None => false,
        }
    }

    /// Requests the floor over HTTP; returns `None` if there is no session.
    pub async fn request_floor(&self) -> Option<Result<FloorReply, WhipError>> {
        Some(self.now_live()?.session.request_floor().await)
    }

    /// Releases the floor over HTTP; returns `None` if there is no session.
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

/// The task of the [`Keeper`]; dropping it aborts the task.
struct KeeperTask(JoinHandle<()>);

impl Drop for KeeperTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches the client's connection and reconnects when the connection is lost.
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
                    // Sending the event fails when the channel is full: an owner that does not read
                    // misses the event.
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

    /// Waits until the connection is lost; returns the reason if the server has removed the client.
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

    /// Reads the reason of a removal, which the server sends just before it closes the connection.
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

    /// Reconnects: tries again and again until an attempt succeeds or fails for good.
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

/// Returns the reason if a control message reports that this participant was removed for good.
fn removal(live: &Live, message: Option<&str>) -> Option<String> {
    let own = live.session.participant()?;
    let left = serde_json::from_str::<Left>(message?).ok()?;
    let put_out = left.event == "left"
        && left.participant == own
        && matches!(left.reason.as_str(), "kicked" | "room closed");
    put_out.then_some(left.reason)
}

/// The event `left`: a participant has left the room.
#[derive(Deserialize)]
struct Left {
    event: String,
    participant: String,
    reason: String,
}

fn lock(live: &Mutex<Option<Live>>) -> std::sync::MutexGuard<'_, Option<Live>> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of events that are kept for an owner that does not read them.
const EVENTS: usize = 16;

/// How often the client asks the server whether the session exists while the connection is shaky.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How long a shaky connection may take to recover.
const SHAKY_FOR: Duration = Duration::from_secs(5);

/// The longest wait that a server may impose with `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
