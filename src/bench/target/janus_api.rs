//! Janus' JSON API over a WebSocket: requests with a transaction, responses that name it, and
//! events that are ignored.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::TargetError;

/// A session with Janus. Dropping it closes the connection, upon which Janus removes the session's
/// participants.
pub(super) struct Api {
    requests: mpsc::Sender<Request>,
    session: u64,
}

struct Request {
    body: Value,
    reply: oneshot::Sender<Value>,
}

impl Api {
    /// Connects and creates a session.
    pub(super) async fn connect(
        address: SocketAddr,
        url: Option<&Url>,
    ) -> Result<Api, TargetError> {
        let connected = timeout(CONNECT_TIME, open(address, url)).await;
        let Ok(Some(socket)) = connected else {
            return Err(TargetError::Silent { request: "connect" });
        };
        let (requests, taken) = mpsc::channel(WAITING_REQUESTS);
        tokio::spawn(talk(socket, taken));
        let mut api = Api {
            requests,
            session: 0,
        };
        let created = api.ask("create", json!({"janus": "create"})).await?;
        api.session = id_of("create", &created)?;
        let keep_alive = json!({"janus": "keepalive", "session_id": api.session});
        tokio::spawn(keep(api.requests.downgrade(), keep_alive));
        Ok(api)
    }

    /// Creates a handle of the AudioBridge, for one participant.
    pub(super) async fn attach(&self) -> Result<u64, TargetError> {
        let body = json!({"janus": "attach", "session_id": self.session, "plugin": PLUGIN});
        id_of("attach", &self.ask("attach", body).await?)
    }

    /// Detaches a handle, which removes its participant from the room.
    pub(super) async fn detach(&self, handle: u64) -> Result<(), TargetError> {
        let body = json!({"janus": "detach", "session_id": self.session, "handle_id": handle});
        self.ask("detach", body).await.map(|_| ())
    }

    /// Sends a request to the AudioBridge, with an SDP description if given; returns the whole
    /// response.
    pub(super) async fn message(
        &self,
        request: &'static str,
        handle: u64,
        body: Value,
        jsep: Option<Value>,
    ) -> Result<Value, TargetError> {
        let mut message = json!({
            "janus": "message", "session_id": self.session, "handle_id": handle, "body": body,
        });
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        let answer = self.ask(request, message).await?;
        refusal(request, &answer["plugindata"]["data"]).map_or(Ok(answer), Err)
    }

    async fn ask(&self, request: &'static str, body: Value) -> Result<Value, TargetError> {
        let (reply, answer) = oneshot::channel();
        let silent = TargetError::Silent { request };
        if self.requests.send(Request { body, reply }).await.is_err() {
            return Err(silent);
        }
        match timeout(ANSWER_TIME, answer).await {
            Ok(Ok(answer)) => match answer["janus"].as_str() {
                Some("error") => Err(TargetError::Janus {
                    request,
                    code: answer["error"]["code"].as_i64().unwrap_or_default(),
                    reason: text_of(&answer["error"]["reason"]),
                }),
                _ => Ok(answer),
            },
            _ => Err(silent),
        }
    }
}

/// Returns the error that the AudioBridge reports in a response, if any.
fn refusal(request: &'static str, said: &Value) -> Option<TargetError> {
    Some(TargetError::Janus {
        request,
        code: said["error_code"].as_i64()?,
        reason: text_of(&said["error"]),
    })
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or("no reason given").to_owned()
}

fn id_of(request: &'static str, answer: &Value) -> Result<u64, TargetError> {
    answer["data"]["id"]
        .as_u64()
        .ok_or(TargetError::Silent { request })
}

async fn open(address: SocketAddr, url: Option<&Url>) -> Option<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let url = url.map_or_else(|| format!("ws://{address}/"), Url::to_string);
    let mut request = url.into_client_request().ok()?;
    request.headers_mut().insert(
        "sec-websocket-protocol",
        HeaderValue::from_static("janus-protocol"),
    );
    let (socket, _) = client_async(request, stream).await.ok()?;
    Some(socket)
}

/// Runs the connection until either side closes it.
async fn talk(mut socket: WebSocketStream<TcpStream>, mut requests: mpsc::Receiver<Request>) {
    let mut waiting: HashMap<String, oneshot::Sender<Value>> = HashMap::new();
    let mut number = 0u64;
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some(Request { mut body, reply }) = request else { break };
                number += 1;
                body["transaction"] = json!(number.to_string());
                // Removes the requests whose callers have stopped waiting.
                waiting.retain(|_, reply| !reply.is_closed());
                waiting.insert(number.to_string(), reply);
                if socket.send(Message::text(body.to_string())).await.is_err() {
                    break;
                }
            }
            message = socket.next() => {
                let Some(Ok(message)) = message else { break };
                let Some((transaction, answer)) = message.to_text().ok().and_then(answer_of) else {
                    continue;
                };
                if let Some(reply) = waiting.remove(&transaction) {
                    // Sending the response fails if the caller does not wait for it, as for a
                    // keep-alive.
                    let _ = reply.send(answer);
                }
            }
        }
    }
    let _ = socket.close(None).await;
}

/// Returns the transaction id and the response in a message; `None` for an `ack`, which only
/// announces a later response.
fn answer_of(text: &str) -> Option<(String, Value)> {
    let answer: Value = serde_json::from_str(text).ok()?;
    if answer["janus"] == "ack" {
        return None;
    }
    let transaction = answer["transaction"].as_str()?.to_owned();
    Some((transaction, answer))
}

/// Sends keep-alives, because Janus ends a session after a minute without a message.
async fn keep(requests: mpsc::WeakSender<Request>, body: Value) {
    let mut every = interval(KEEP_ALIVE);
    loop {
        every.tick().await;
        let Some(requests) = requests.upgrade() else {
            return;
        };
        let (reply, _) = oneshot::channel();
        let body = body.clone();
        if requests.send(Request { body, reply }).await.is_err() {
            return;
        }
    }
}

const PLUGIN: &str = "janus.plugin.audiobridge";
const WAITING_REQUESTS: usize = 64;
const CONNECT_TIME: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The time limit for a response; long because one thread of Janus serves all joins one after the
/// other.
const ANSWER_TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn janus_responses_are_distinguished_from_acknowledgements_and_events() {
        assert_eq!(answer_of(r#"{"janus":"ack","transaction":"1"}"#), None);
        assert_eq!(answer_of(r#"{"janus":"webrtcup","sender":5}"#), None);
        assert_eq!(answer_of("no json"), None);
        let answer = r#"{"janus":"success","transaction":"7","data":{"id":5}}"#;
        let (transaction, answer) = answer_of(answer).expect("an answer");
        assert_eq!(transaction, "7");
        assert_eq!(id_of("create", &answer).expect("an id"), 5);
    }

    #[test]
    fn janus_refusals_keep_their_reason() {
        let said = json!({"audiobridge": "event", "error_code": 486, "error": "Room exists"});
        let error = refusal("create", &said).expect("an error");
        assert_eq!(
            error.to_string(),
            "Janus refused the request create: Room exists (code 486)"
        );
        assert!(refusal("create", &json!({"audiobridge": "created"})).is_none());
    }
}
