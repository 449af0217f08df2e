//! `/v1/rooms/{room}/events`: a WebSocket that carries the events of a room and takes commands.
//!
//! Each WebSocket has its own task and never delays others. The WebSocket is closed if the client
//! reads so slowly that it falls out of the room's broadcast, if the client sends too many messages
//! in spite of a warning, or after ten bad messages in a row.

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite;
use warp::Filter;
use warp::http::header::{self, HeaderName};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::{Reply, Response};
use warp::ws::{Message, WebSocket, Ws};

use super::listener::{ConnectionPermit, TooManyConnections};
use super::problem::Problem;
use super::request::client_address;
use super::route::{Routes, answered, with};
use super::state::HttpState;
use crate::conference::sessions::CarryOut;
use crate::conference::{read, too_many};
use crate::protocol::{CommandMessage, Event, RoomName};
use crate::rate_limit::{Limited, MessageLimit, RetryAfter, Verdict};

/// Maximum size of a message from the client; a command has about a hundred bytes.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Number of bad messages in a row after which the WebSocket is closed.
const MOST_MISTAKES: u32 = 10;
/// Interval of pings to the client. Proxies close a connection that is silent for a minute.
const PING: Duration = Duration::from_secs(30);
/// Base timeout for sending one message to the client. The time that the message takes at
/// [`MIN_BYTES_PER_SECOND`] is added. At most one message waits for a WebSocket; the longest is the
/// state of a room with all its participants.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Lowest rate at which the client must read a message. The longest room state may take two
/// minutes.
const MIN_BYTES_PER_SECOND: u32 = 32 * 1024;
/// Time after which a client whose WebSocket was refused may try again.
const RETRY_TIME: Duration = Duration::from_secs(5);
/// Pause before the next message is read from a client that floods the server with floor releases.
const RELEASE_PAUSE: Duration = Duration::from_millis(50);
/// Longest time for the client to answer a close frame.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Routes the WebSocket of each room.
pub(super) fn routes(state: &Arc<HttpState>) -> Routes {
    let upgrade = warp::ws().map(Some).or(warp::any().map(|| None)).unify();
    warp::path!("v1" / "rooms" / String / "events")
        .and(with(state))
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(upgrade)
        .and(warp::ext::optional())
        .and(client_address())
        .then(|room, state, method, headers, ws, permit, client| {
            let upgrade = UpgradeRequest {
                method,
                headers,
                ws,
                permit,
                client,
            };
            answered(open(state, room, upgrade))
        })
        .boxed()
}

/// A request to upgrade to the WebSocket of a room.
struct UpgradeRequest {
    method: Method,
    headers: HeaderMap,
    /// The WebSocket upgrade; `None` if the request does not ask for one.
    ws: Option<Ws>,
    permit: Option<Arc<ConnectionPermit>>,
    client: IpAddr,
}

/// Answers a request for the WebSocket of a room: opens it, or refuses.
async fn open(
    state: Arc<HttpState>,
    room: String,
    upgrade: UpgradeRequest,
) -> Result<Response, Problem> {
    let UpgradeRequest {
        method,
        headers,
        ws,
        permit,
        client,
    } = upgrade;
    let room = RoomName::parse(&room)?;
    if method != Method::GET {
        return Err(Problem::method_not_allowed("GET, OPTIONS"));
    }
    let ws = ws.ok_or_else(upgrade_required)?;
    if !state.cors.admits(&headers) {
        return Err(Problem::origin_refused());
    }
    // Connections of a trusted proxy are not counted. A WebSocket is long-lived, so it counts for
    // the client behind the proxy.
    let client_permit = state
        .connection_limit
        .admit_client(client, permit.as_deref());
    let client_permit = client_permit.map_err(|TooManyConnections| {
        let excess = "too many connections from this address are open";
        Problem::too_many(excess, RetryAfter(RETRY_TIME))
    })?;
    let (snapshot, events) = state
        .conference
        .watch(room.clone())
        .await
        .ok_or_else(Problem::unknown_room)?;
    let first = Event::Room {
        room: Box::new(snapshot),
    }
    .to_json();
    let ws = ws
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES);
    let upgrade = ws.on_upgrade(move |socket| async move {
        state.metrics.websockets.fetch_add(1, Relaxed);
        let session = Session {
            socket,
            state: state.clone(),
            room,
            limit: MessageLimit::new(state.conference.message_rate()),
            mistakes: 0,
            heard: true,
        };
        let end = session.run(first, events, state.stop.clone()).await;
        if end == Some(SLOW) {
            state.metrics.slow.fetch_add(1, Relaxed);
        }
        state.metrics.websockets.fetch_sub(1, Relaxed);
        // The connection counts as open until its permits are dropped here.
        drop((permit, client_permit));
    });
    Ok(upgrade.into_response())
}

/// A close code with its reason (RFC 6455, 7.4.1).
type Close = (u16, &'static str);

const ROOM_CLOSED: Close = (1000, "room closed");
const STOPPING: Close = (1001, "server stopping");
const PROTOCOL: Close = (1002, "protocol error");
const NOT_TEXT: Close = (1007, "not UTF-8");
const ABUSE: Close = (1008, "too many messages");
const NONSENSE: Close = (1008, "too many bad messages");
const TOO_LONG: Close = (1009, "message too long");
const SLOW: Close = (1013, "not reading fast enough");

/// Why a WebSocket session ends: with a close code to send, or without one if none can be sent.
type End = ControlFlow<Option<Close>>;

struct Session {
    socket: WebSocket,
    state: Arc<HttpState>,
    room: RoomName,
    limit: MessageLimit,
    mistakes: u32,
    /// Whether any message of the client has arrived since the last ping.
    heard: bool,
}

impl Session {
    async fn run(
        mut self,
        first: String,
        mut events: broadcast::Receiver<Arc<str>>,
        mut stop: watch::Receiver<bool>,
    ) -> Option<Close> {
        let mut end = self.send(Message::text(first)).await;
        let mut pings = pings();
        while end.is_continue() {
            end = tokio::select! {
                message = self.socket.next() => self.on_message(message).await,
                event = events.recv() => self.on_event(event).await,
                _ = pings.tick() => self.ping().await,
                _ = stop.changed() => self.drain(&mut events).await,
            };
        }
        let ControlFlow::Break(close) = end else {
            return None;
        };
        if let Some((code, reason)) = close {
            self.close(code, reason).await;
        }
        close
    }

    async fn on_message(&mut self, message: Option<Result<Message, warp::Error>>) -> End {
        self.heard = true;
        let message = match message {
            None => return End::Break(None),
            Some(Err(error)) => return End::Break(close_for(&error)),
            Some(Ok(message)) => message,
        };
        if message.is_ping() || message.is_pong() || message.is_close() {
            return End::Continue(());
        }
        // The message is parsed before the rate limiter's verdict: a floor release is obeyed at any
        // message rate. A binary message is parsed as an empty text, which is not a command.
        let command = read(message.to_str().unwrap_or_default());
        let is_release = command.as_ref().is_ok_and(CommandMessage::is_release);
        let verdict = self.limit.take(Instant::now());
        if verdict != Verdict::Pass {
            self.state.limiter.count(Limited::Message);
        }
        match verdict {
            Verdict::Warn | Verdict::Abuse if is_release => {
                // Every release is obeyed, but the pause bounds the cost of a flood.
                tokio::time::sleep(RELEASE_PAUSE).await;
                self.on_command(command).await
            }
            Verdict::Pass => self.on_command(command).await,
            Verdict::Warn => {
                self.tell(&too_many(self.state.conference.message_rate()))
                    .await
            }
            Verdict::Abuse => End::Break(Some(ABUSE)),
        }
    }

    async fn on_command(&mut self, command: Result<CommandMessage, Event>) -> End {
        let conference = &self.state.conference;
        let answer = match command {
            Ok(message) => {
                let room = self.room.clone();
                conference.ask(CarryOut { room, message }).await
            }
            Err(refusal) => Err(refusal),
        };
        let answer = match answer {
            Ok(answer) => {
                self.mistakes = 0;
                answer
            }
            Err(refusal) => {
                self.mistakes += 1;
                Some(refusal)
            }
        };
        if let Some(answer) = answer {
            self.tell(&answer).await?;
        }
        if self.mistakes < MOST_MISTAKES {
            End::Continue(())
        } else {
            End::Break(Some(NONSENSE))
        }
    }

    async fn on_event(&mut self, event: Result<Arc<str>, broadcast::error::RecvError>) -> End {
        match event {
            Ok(text) => self.send(Message::text(&*text)).await,
            Err(broadcast::error::RecvError::Lagged(_)) => End::Break(Some(SLOW)),
            Err(broadcast::error::RecvError::Closed) => End::Break(Some(ROOM_CLOSED)),
        }
    }

    /// Sends a ping; ends the session if no message has arrived since the last ping.
    async fn ping(&mut self) -> End {
        if !std::mem::take(&mut self.heard) {
            return End::Break(None);
        }
        self.send(Message::ping(&b""[..])).await
    }

    /// Sends the events that still wait, then ends the session because the server shuts down.
    async fn drain(&mut self, events: &mut broadcast::Receiver<Arc<str>>) -> End {
        while let Ok(text) = events.try_recv() {
            self.send(Message::text(&*text)).await?;
        }
        End::Break(Some(STOPPING))
    }

    async fn tell(&mut self, event: &Event) -> End {
        self.send(Message::text(event.to_json())).await
    }

    async fn send(&mut self, message: Message) -> End {
        let length = u32::try_from(message.as_bytes().len()).unwrap_or(u32::MAX);
        let time = WRITE_TIME + Duration::from_secs(1) * length / MIN_BYTES_PER_SECOND;
        match timeout(time, self.socket.send(message)).await {
            Ok(Ok(())) => End::Continue(()),
            Ok(Err(error)) => End::Break(does_not_read(&error).then_some(SLOW)),
            Err(_) => End::Break(Some(SLOW)),
        }
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        let said = self.socket.send(Message::close_with(code, reason));
        if !matches!(timeout(CLOSE_TIME, said).await, Ok(Ok(()))) {
            return;
        }
        // Keep reading until the client has closed: unread bytes would turn the close into a TCP
        // reset.
        let closed = async { while let Some(Ok(_)) = self.socket.next().await {} };
        if timeout(CLOSE_TIME, closed).await.is_ok() {
            tokio::time::sleep(LINGER).await;
        }
    }
}

/// Time that the last bytes have to leave before the socket is dropped.
const LINGER: Duration = Duration::from_millis(100);

fn pings() -> Interval {
    let mut pings = interval_at(tokio::time::Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// Returns whether a write failed because the client did not read.
fn does_not_read(error: &warp::Error) -> bool {
    let cause = std::error::Error::source(error);
    match cause.and_then(|cause| cause.downcast_ref::<tungstenite::Error>()) {
        Some(tungstenite::Error::Io(error)) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// Returns the close code for a WebSocket that failed with `error`; `None` if none can be sent.
fn close_for(error: &warp::Error) -> Option<Close> {
    let cause = std::error::Error::source(error)?;
    match cause.downcast_ref::<tungstenite::Error>()? {
        tungstenite::Error::Capacity(_) => Some(TOO_LONG),
        tungstenite::Error::Utf8(_) => Some(NOT_TEXT),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => None,
        tungstenite::Error::Protocol(_) => Some(PROTOCOL),
        _ => None,
    }
}

pub(super) fn upgrade_required() -> Problem {
    Problem::new(
        StatusCode::UPGRADE_REQUIRED,
        "upgrade-required",
        "WebSocket required",
        "Events are sent over a WebSocket; send an upgrade request with Sec-WebSocket-Version 13.",
    )
    .header(header::UPGRADE, HeaderValue::from_static("websocket"))
    .header(header::CONNECTION, HeaderValue::from_static("upgrade"))
    .header(
        HeaderName::from_static("sec-websocket-version"),
        HeaderValue::from_static("13"),
    )
}
