//! Starts a server on free ports for a test, and sends requests to it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mixminus::config::Config;
use mixminus::server::Server;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::contract;

/// The SDP offer of Chromium, with candidates.
pub const OFFER: &str = include_str!("../offers/chrome.sdp");

pub const SDP: &str = "application/sdp";
pub const JSON: &str = "application/json";
pub const SDPFRAG: &str = "application/trickle-ice-sdpfrag";

/// A server for one test.
pub struct TestServer {
    pub running: Server,
    pub client: Client,
    pub base: String,
}

/// A response to an HTTP request, with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

/// A participant that has joined over HTTP, without media.
pub struct Guest {
    pub id: String,
    pub session: String,
    pub etag: String,
}

/// Returns the default settings, except that the server uses free loopback ports and normal
/// priority, because the tests share the processors.
pub fn quiet() -> Config {
    Config {
        http: "127.0.0.1:0".parse().expect("an address"),
        media: "127.0.0.1:0".parse().expect("an address"),
        realtime: false,
        ..Config::default()
    }
}

impl TestServer {
    pub fn open() -> TestServer {
        TestServer::with(quiet())
    }

    pub fn with(config: Config) -> TestServer {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let running = Server::start(config).expect("it starts");
        let client = Client::builder()
            .danger_accept_invalid_certs(true)
            .build()
            .expect("a client");
        let base = running.url().trim_end_matches('/').to_owned();
        TestServer {
            running,
            client,
            base,
        }
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        self.ask_with(method, path, &[("content-type", media_type)], body)
            .await
    }

    pub async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let verb = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self
            .client
            .request(verb, format!("{}{path}", self.base))
            .body(body);
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let answer = Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.expect("a body"),
        };
        contract::check(method, path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    /// Lets a participant join with Chromium's offer; no media is sent.
    pub async fn join(&self, room: &str, name: &str) -> Guest {
        let path = format!("/v1/rooms/{room}/participants?name={name}");
        Guest::of(&self.ask("POST", &path, SDP, OFFER).await)
    }

    pub async fn watch(&self, room: &str) -> Socket {
        let url = format!(
            "ws{}/v1/rooms/{room}/events",
            self.base.trim_start_matches("http")
        );
        let (stream, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("a WebSocket");
        Socket { stream }
    }
}

impl Guest {
    pub fn of(answer: &Answer) -> Guest {
        assert_eq!(answer.status, 201, "{}", answer.body);
        Guest {
            id: answer.header("participant-id"),
            session: answer.header("location"),
            etag: answer.header("etag"),
        }
    }

    /// Returns the secret in the session's URL, which commands carry by itself.
    pub fn secret(&self) -> &str {
        self.session.rsplit('/').next().expect("a path")
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> String {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.to_str().expect("text").to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Checks the form of a problem document; returns the last part of its type.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let document = self.json();
        assert_eq!(document["status"], self.status.as_u16(), "{document}");
        assert!(document["title"].is_string(), "{document}");
        let detail = document["detail"].as_str().expect("a sentence");
        assert!(detail.ends_with('.') && !detail.contains("0x"), "{detail}");
        let kind = document["type"].as_str().expect("a URN");
        kind.strip_prefix("urn:mixminus:problem:")
            .expect("our URN")
            .to_owned()
    }
}

/// A connected WebSocket of a room.
pub struct Socket {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("sent");
    }

    /// Returns the next event.
    pub async fn event(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => {
                let event = serde_json::from_str(&text).expect("JSON");
                contract::check_event(&event);
                event
            }
            other => panic!("no event but {other:?}"),
        }
    }

    /// Returns the next event of this name; events of other names before it are skipped.
    pub async fn until(&mut self, name: &str) -> Value {
        loop {
            let event = self.event().await;
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits until the server closes the WebSocket and returns its close code; events before it are
    /// skipped.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.expect("a code").code.into();
            }
        }
    }

    async fn next(&mut self) -> Message {
        loop {
            let message = timeout(Duration::from_secs(5), self.stream.next()).await;
            let message = message
                .expect("in time")
                .expect("not over")
                .expect("no error");
            if !message.is_ping() && !message.is_pong() {
                return message;
            }
        }
    }
}
