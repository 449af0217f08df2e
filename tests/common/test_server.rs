//! A server in the test's process on free loopback ports, requests to its HTTP interface, and
//! headless clients in its rooms.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mixminus::config::Config;
use mixminus::join::client::{Client, ClientOptions};
use mixminus::join::media::MediaOptions;
use mixminus::join::whip_client::WhipEndpoint;
use mixminus::protocol::RoomConfig;
use mixminus::server::Server;
use serde_json::{Value, json};

/// A running server in the test's process.
pub struct TestServer {
    server: Server,
    http: reqwest::Client,
}

impl TestServer {
    /// Starts a server on free ports.
    pub fn start() -> TestServer {
        TestServer::start_with(None)
    }

    /// Starts a server with this number of mixers on free ports.
    pub fn start_with(mixers: Option<u32>) -> TestServer {
        // Installing the provider fails if another test has already done so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            http: loopback,
            media: loopback,
            mixers,
            room: RoomConfig {
                // Tests with several rooms monitor rooms of the mode `open`, which the default does
                // not permit.
                allow_monitors: Some(true),
                ..RoomConfig::default()
            },
            ..Config::default()
        };
        TestServer {
            server: Server::start(config).expect("loopback ports are free"),
            http: reqwest::Client::new(),
        }
    }

    /// The address of the server's HTTP interface.
    pub fn http(&self) -> SocketAddr {
        self.server.http_addr()
    }

    /// The address of the server's media port.
    pub fn media(&self) -> SocketAddr {
        self.server.media_addr()
    }

    /// The URL to which offers for a room are posted.
    pub fn url(&self, room: &str) -> String {
        url(self.http(), room)
    }

    /// Joins a headless client to a room.
    pub async fn join(&self, room: &str, name: &str, media: MediaOptions) -> Client {
        join(&self.url(room), name, None, media).await
    }

    /// Returns the names of the participants of a room; a room that does not exist has none.
    pub async fn names(&self, room: &str) -> Vec<String> {
        let room: Value = serde_json::from_str(&self.text(&format!("/v1/rooms/{room}")).await)
            .expect("the server speaks JSON");
        let participants = room["participants"].as_array().cloned();
        let name = |participant: &Value| participant["name"].as_str().unwrap_or("?").to_owned();
        participants.unwrap_or_default().iter().map(name).collect()
    }

    /// Waits until the names of a room's participants meet the condition; returns how long that
    /// took. Panics after `patience`.
    pub async fn until(
        &self,
        room: &str,
        patience: Duration,
        wish: impl Fn(&[String]) -> bool,
    ) -> Duration {
        let asked = Instant::now();
        loop {
            let names = self.names(room).await;
            if wish(&names) {
                return asked.elapsed();
            }
            assert!(
                asked.elapsed() < patience,
                "after {patience:?} there are {names:?} in {room}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Mutes or unmutes a participant; returns once the server has made the change.
    pub async fn mute(&self, room: &str, participant: &str, muted: bool) {
        let path = format!("/v1/rooms/{room}/participants/{participant}");
        let request = self.http.patch(format!("http://{}{path}", self.http()));
        let body = json!({ "muted": muted }).to_string();
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.expect("the server answers");
        let status = answer.status();
        let problem = answer.text().await.expect("the server answers in text");
        assert!(status.is_success(), "{status}: {problem}");
    }

    /// Returns a value of `/metrics` by its name and labels as printed there.
    pub async fn metric(&self, name: &str) -> f64 {
        metric_in(&self.text("/metrics").await, name)
    }

    /// Describes how punctual the first mixer thread was, to be printed beside a measurement.
    pub async fn timekeeping(&self) -> String {
        let (slots, late, skipped) = tokio::join!(
            self.metric("mixminus_slots_total{mixer=\"0\"}"),
            self.metric("mixminus_slots_late_total{mixer=\"0\"}"),
            self.metric("mixminus_slots_skipped_total{mixer=\"0\"}"),
        );
        format!("mixer: {slots} slots, {late} late, {skipped} skipped")
    }

    /// Returns the current state of a room.
    pub async fn room(&self, room: &str) -> Value {
        let text = self.text(&format!("/v1/rooms/{room}")).await;
        serde_json::from_str(&text).expect("the server speaks JSON")
    }

    /// Creates a room, or replaces its settings.
    pub async fn configure(&self, room: &str, settings: &Value) {
        let answer = self
            .send("PUT", &format!("/v1/rooms/{room}"), settings)
            .await;
        assert!(answer.0 < 300, "{answer:?}");
    }

    /// Sends a request with a JSON body; returns the status and the body of the response.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self
            .http
            .request(method, format!("http://{}{path}", self.http()))
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.expect("the server answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("the server answers in text");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn text(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.http());
        let answer = self.http.get(url).send().await.expect("the server answers");
        answer.text().await.expect("the server answers in text")
    }

    /// Stops the server.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Returns the value of a metric in the text of `/metrics`; fails if the text has no such metric.
///
/// - `name`: the metric's name and labels as they stand there.
pub fn metric_in(page: &str, name: &str) -> f64 {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no metric {name} in\n{page}"))
}

/// The messages that have arrived on a client's data channel.
#[derive(Clone, Default)]
pub struct EventLog(Arc<Mutex<Vec<Value>>>);

impl EventLog {
    /// Records the messages that arrive from now on.
    pub fn to(client: &Client) -> EventLog {
        let (told, mut messages) = (EventLog::default(), client.messages());
        let kept = told.clone();
        tokio::spawn(async move {
            while let Ok(message) = messages.recv().await {
                let message = serde_json::from_str(&message).expect("the server speaks JSON");
                kept.0.lock().expect("no panic while held").push(message);
            }
        });
        told
    }

    /// Returns all messages so far.
    pub fn all(&self) -> Vec<Value> {
        self.0.lock().expect("no panic while held").clone()
    }

    /// Returns the events with this name, in the order of arrival.
    pub fn of(&self, event: &str) -> Vec<Value> {
        let told = self.0.lock().expect("no panic while held");
        let of = told.iter().filter(|message| message["event"] == event);
        of.cloned().collect()
    }

    /// Waits for the `nth` event of a name, counted from 1. Panics after `patience`.
    pub async fn wait(&self, event: &str, nth: usize, patience: Duration) -> Value {
        let asked = Instant::now();
        loop {
            if let Some(found) = self.of(event).into_iter().nth(nth - 1) {
                return found;
            }
            let told = || self.0.lock().expect("no panic while held").clone();
            assert!(asked.elapsed() < patience, "no {event} among {:?}", told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns the participant and the reason of each event `left`.
    pub fn left(&self) -> Vec<(String, String)> {
        let text = |message: &Value, key| message[key].as_str().unwrap_or("?").to_owned();
        let told = self.0.lock().expect("no panic while held");
        let left = told.iter().filter(|message| message["event"] == "left");
        left.map(|message| (text(message, "participant"), text(message, "reason")))
            .collect()
    }
}

/// Returns the URL to which offers for a room are posted, at a server or at a proxy in front of it.
pub fn url(http: SocketAddr, room: &str) -> String {
    format!("http://{http}/v1/rooms/{room}/participants")
}

/// Joins a headless client.
///
/// - `bitrate_bps`: the bitrate that the client asks to receive.
pub async fn join(url: &str, name: &str, bitrate_bps: Option<u32>, media: MediaOptions) -> Client {
    let url = url.parse().expect("a URL made here");
    let options = ClientOptions {
        room: WhipEndpoint::new(url, Some(name), None, false).expect("a client for loopback"),
        reconnect: false,
        ptime_ms: None,
        bitrate_bps,
    };
    let joined = Client::join(options, media).await;
    joined.unwrap_or_else(|error| panic!("{name} does not come in: {error}"))
}
