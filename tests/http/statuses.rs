//! Provokes every status that the contract documents, operation by operation.

use std::collections::BTreeSet;
use std::time::Duration;

use mixminus::config::Config;
use mixminus::rate_limit::{Rate, Rates};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::contract::{self, CONTRACT, path_item};
use crate::harness::{Answer, Guest, JSON, OFFER, SDP, SDPFRAG, TestServer, quiet};

/// Documented statuses that no request of this test can provoke: a fault of the server, or an
/// overload that takes too long to bring about.
const NOT_PROVOKED: [(&str, u16); 5] = [
    ("configureRoom", 503),
    ("readHealth", 503),
    ("trickle", 422),
    ("trickle", 503),
    // Every operation documents status 500.
    ("*", 500),
];

/// The statuses seen so far, each with its operation.
#[derive(Default)]
struct Seen(BTreeSet<(String, u16)>);

impl Seen {
    /// Records the status of a response that has already been checked.
    fn note(&mut self, method: &str, path: &str, status: u16) {
        let item = path_item(path).unwrap_or_else(|| panic!("{path} is not documented"));
        let item = CONTRACT.at(&item);
        let methods: Vec<String> = match status {
            // Status 405 concerns the path, not one of its methods.
            405 => item.as_object().expect("methods").keys().cloned().collect(),
            _ => vec![method.to_lowercase()],
        };
        for method in methods {
            if let Some(operation) = item[method]["operationId"].as_str() {
                self.0.insert((operation.to_owned(), status));
            }
        }
    }

    async fn ask(
        &mut self,
        server: &TestServer,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let (method, path) = line.split_once(' ').expect("method and path");
        let answer = server.ask_with(method, path, headers, body).await;
        self.note(method, path, answer.status.as_u16());
        answer
    }

    /// Sends a request and asserts the status of the response.
    async fn expect(
        &mut self,
        server: &TestServer,
        status: u16,
        line: &str,
        (media_type, body): (&str, &str),
    ) -> Answer {
        let headers = [("content-type", media_type)];
        let answer = self.ask(server, line, &headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        answer
    }

    async fn join(&mut self, server: &TestServer, room: &str) -> Guest {
        let line = format!("POST /v1/rooms/{room}/participants");
        Guest::of(&self.expect(server, 201, &line, (SDP, OFFER)).await)
    }

    /// Sends bytes that no HTTP client library would send, and returns the response.
    async fn raw(&mut self, server: &TestServer, line: &str, head: &str) -> Answer {
        let (method, path) = line.split_once(' ').expect("method and path");
        let answer = raw(server, &format!("{line} HTTP/1.1\r\n{head}\r\n")).await;
        contract::check(method, path, &answer);
        self.note(method, path, answer.status.as_u16());
        answer
    }
}

/// Returns the response to a request that is written byte by byte.
async fn raw(server: &TestServer, request: &str) -> Answer {
    let address = server.running.http_addr();
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let read = timeout(Duration::from_secs(30), reading).await;
    read.expect("in time").expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    Answer {
        status: StatusCode::from_bytes(status.expect("a status").as_bytes()).expect("a status"),
        headers: headers.collect::<HeaderMap>(),
        body: body.to_owned(),
    }
}

/// One documented operation: its request line, and the media type of its body.
struct Operation {
    method: String,
    line: String,
    body_type: Option<String>,
}

fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in CONTRACT.at("/paths").as_object().expect("paths") {
        let path = path
            .replace("{room}", "nowhere")
            .replace("{participant}", "00000001")
            .replace("{session}", "nobody");
        for (method, operation) in item.as_object().expect("methods") {
            if !operation.is_object() {
                continue;
            }
            let content = operation["requestBody"]["content"].as_object();
            let method = method.to_uppercase();
            operations.push(Operation {
                line: format!("{method} {path}"),
                method,
                body_type: content.and_then(|content| content.keys().next().cloned()),
            });
        }
    }
    operations
}

/// Provokes the statuses that any request can have.
async fn provoke_general(server: &TestServer, seen: &mut Seen) {
    for Operation {
        method,
        line,
        body_type,
    } in operations()
    {
        let path = line.split_once(' ').expect("method and path").1;
        let wrong_method = format!("LINK {path}");
        seen.expect(server, 405, &wrong_method, ("", "")).await;
        let foreign = [("host", "evil.example")];
        assert_eq!(seen.ask(server, &line, &foreign, "").await.status, 421);
        let no_host = seen.raw(server, &line, "connection: close\r\n").await;
        assert_eq!(no_host.status, 400, "{line}");
        let evil = [("origin", "https://evil.example")];
        let answer = seen.ask(server, &line, &evil, "").await;
        let writes = !["GET", "HEAD", "OPTIONS"].contains(&method.as_str());
        assert_eq!(answer.status == 403, writes, "{line}");
        if let Some(media_type) = body_type {
            seen.expect(server, 415, &line, ("text/plain", "x")).await;
            let long = "x".repeat(64 * 1024 + 1);
            seen.expect(server, 413, &line, (&media_type, &long)).await;
        }
    }
}

/// Provokes the timeouts of requests whose body never arrives, all at the same time.
async fn provoke_timeouts(server: &TestServer, seen: &mut Seen) {
    let with_body = operations().into_iter().filter_map(|operation| {
        let media_type = operation.body_type?;
        Some((operation.line, media_type))
    });
    let waiting = with_body.map(|(line, media_type)| async move {
        let mut seen = Seen::default();
        let head = format!(
            "host: localhost\r\nconnection: close\r\ncontent-type: {media_type}\r\ncontent-length: 9\r\n"
        );
        let answer = seen.raw(server, &line, &head).await;
        assert_eq!(answer.status, 408, "{line}");
        seen
    });
    for other in futures_util::future::join_all(waiting).await {
        seen.0.extend(other.0);
    }
}

/// Provokes the statuses of read-only resources and of those that do not exist.
async fn provoke_reads(server: &TestServer, seen: &mut Seen) {
    for path in ["/v1/rooms", "/v1/openapi.json", "/healthz", "/metrics"] {
        seen.expect(server, 200, &format!("GET {path}"), ("", ""))
            .await;
    }
    let page = seen.expect(server, 200, "GET /", ("", "")).await;
    let known = [(
        "if-none-match",
        page.headers["etag"].to_str().expect("text"),
    )];
    assert_eq!(seen.ask(server, "GET /", &known, "").await.status, 304);
    for (status, method) in [(204, "GET"), (200, "HEAD"), (204, "OPTIONS")] {
        let line = format!("{method} /v1/rooms/hall/participants");
        seen.expect(server, status, &line, ("", "")).await;
    }
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
    for (line, body) in [
        ("GET /v1/rooms/nowhere", ("", "")),
        ("PATCH /v1/rooms/nowhere", (JSON, "{}")),
        ("DELETE /v1/rooms/nowhere", ("", "")),
        (
            "PATCH /v1/rooms/nowhere/participants/00000001",
            (JSON, "{}"),
        ),
        ("DELETE /v1/rooms/nowhere/participants/00000001", ("", "")),
        ("PATCH /v1/sessions/nobody", (SDPFRAG, candidate)),
        ("DELETE /v1/sessions/nobody", ("", "")),
        ("GET /v1/sessions/nobody/floor", ("", "")),
        ("PUT /v1/sessions/nobody/floor", ("", "")),
        ("DELETE /v1/sessions/nobody/floor", ("", "")),
    ] {
        seen.expect(server, 404, line, body).await;
    }
}

/// Provokes the statuses of a room, from its creation to its deletion.
async fn provoke_rooms(server: &TestServer, seen: &mut Seen) {
    let hall = "/v1/rooms/hall";
    let put = format!("PUT {hall}");
    seen.expect(server, 201, &put, (JSON, r#"{"mode":"ptt"}"#))
        .await;
    let settings = r#"{"mode":"ptt","end_of_media_ms":60000}"#;
    seen.expect(server, 200, &put, (JSON, settings)).await;
    seen.expect(server, 200, &format!("GET {hall}"), ("", ""))
        .await;
    let patch = format!("PATCH {hall}");
    let two = r#"{"max_participants":2}"#;
    seen.expect(server, 200, &patch, (JSON, two)).await;
    let ann = seen.join(server, "hall").await;
    let bo = seen.join(server, "hall").await;
    let join = format!("POST {hall}/participants");
    seen.expect(server, 409, &join, (SDP, OFFER)).await;
    for line in [&put, &patch] {
        seen.expect(server, 409, line, (JSON, r#"{"tick_ms":10}"#))
            .await;
    }
    // By default a room of the mode `open` refuses to be monitored.
    seen.expect(server, 201, "PUT /v1/rooms/private", ("", ""))
        .await;
    let listen = "POST /v1/rooms/other/participants?monitor=private";
    seen.expect(server, 403, listen, (SDP, OFFER)).await;
    let video = OFFER.replace("m=audio", "m=video");
    let other = "POST /v1/rooms/other/participants";
    seen.expect(server, 422, other, (SDP, &video)).await;
    provoke_floor(server, seen, &ann, &bo).await;
    let one = format!("{hall}/participants/{}", bo.id);
    let mute = (JSON, r#"{"muted":true}"#);
    seen.expect(server, 200, &format!("PATCH {one}"), mute)
        .await;
    seen.expect(server, 204, &format!("DELETE {one}"), ("", ""))
        .await;
    provoke_session(server, seen, &ann).await;
    seen.expect(server, 204, &format!("DELETE {hall}"), ("", ""))
        .await;
}

async fn provoke_floor(server: &TestServer, seen: &mut Seen, ann: &Guest, bo: &Guest) {
    let of = |method: &str, guest: &Guest| format!("{method} {}/floor", guest.session);
    seen.expect(server, 200, &of("PUT", ann), ("", "")).await;
    seen.expect(server, 409, &of("PUT", bo), (JSON, r#"{"queue":false}"#))
        .await;
    seen.expect(server, 202, &of("PUT", bo), (JSON, "{}")).await;
    seen.expect(server, 200, &of("GET", bo), ("", "")).await;
    seen.expect(server, 204, &of("DELETE", bo), ("", "")).await;
}

async fn provoke_session(server: &TestServer, seen: &mut Seen, ann: &Guest) {
    let patch = format!("PATCH {}", ann.session);
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
    seen.expect(server, 204, &patch, (SDPFRAG, candidate)).await;
    let stale = [("content-type", SDPFRAG), ("if-match", "\"old\"")];
    let answer = seen.ask(server, &patch, &stale, candidate).await;
    assert_eq!(answer.status, 412);
    let mut restarts = 0;
    loop {
        let fragment = format!(
            "a=ice-ufrag:theirs{restarts}\r\na=ice-pwd:aPasswordOfTwentyTwoOrMore\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        );
        let headers = [("content-type", SDPFRAG)];
        let answer = seen.ask(server, &patch, &headers, fragment).await;
        if answer.status == 429 {
            break;
        }
        assert_eq!(answer.status, 200);
        restarts += 1;
        assert!(restarts < 1_000);
    }
    let leave = format!("DELETE {}", ann.session);
    seen.expect(server, 200, &leave, ("", "")).await;
}

const UPGRADE: &str = "host: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Provokes the HTTP statuses of the WebSocket's resource.
async fn provoke_watch(seen: &mut Seen) {
    let server = TestServer::with(Config {
        max_connections_per_address: 1,
        ..quiet()
    });
    seen.join(&server, "hall").await;
    let watch = "GET /v1/rooms/hall/events";
    seen.expect(&server, 426, watch, ("", "")).await;
    let mut socket = server.watch("hall").await;
    socket.until("room").await;
    seen.note("get", "/v1/rooms/hall/events", 101);
    let origin = format!("{UPGRADE}origin: https://evil.example\r\n");
    // A refused upgrade leaves the connection open unless the request asks to close it.
    for (line, head, status) in [
        (watch, origin.as_str(), 403),
        ("GET /v1/rooms/nowhere/events", UPGRADE, 404),
    ] {
        let head = head.replace("connection: upgrade", "connection: upgrade, close");
        let answer = seen.raw(&server, line, &head).await;
        assert_eq!(answer.status, status);
    }
    let client = format!("{UPGRADE}x-forwarded-for: 192.0.2.1\r\n");
    let address = server.running.http_addr();
    let mut first = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{watch} HTTP/1.1\r\n{client}\r\n");
    first.write_all(request.as_bytes()).await.expect("written");
    let mut status = [0; 12];
    first.read_exact(&mut status).await.expect("an answer");
    assert!(status.ends_with(b"101"));
    let head = client.replace("connection: upgrade", "connection: upgrade, close");
    assert_eq!(seen.raw(&server, watch, &head).await.status, 429);
    server.running.stop().await;
}

/// Provokes the statuses that a client gets when it has exhausted a limit.
async fn provoke_limits(seen: &mut Seen) {
    let once = Rate {
        burst: 1,
        interval: Duration::from_secs(600),
    };
    let server = TestServer::with(Config {
        rates: Rates {
            joins: once,
            room_changes: once,
            participant_changes: once,
            messages: once,
        },
        ..quiet()
    });
    let guest = seen.join(&server, "hall").await;
    let floor = format!("PUT {}/floor", guest.session);
    let participant = format!("PATCH /v1/rooms/hall/participants/{}", guest.id);
    for (line, body) in [
        ("POST /v1/rooms/hall/participants", (SDP, OFFER)),
        ("PUT /v1/rooms/hall", (JSON, "{}")),
        ("PATCH /v1/rooms/hall", (JSON, "{}")),
        ("DELETE /v1/rooms/none", ("", "")),
        (&participant, (JSON, r#"{"gain_db":1}"#)),
        (&floor, ("", "")),
    ] {
        let mut tries = 0;
        loop {
            let headers = [("content-type", body.0)];
            let answer = seen.ask(&server, line, &headers, body.1).await;
            if answer.status == 429 {
                break;
            }
            tries += 1;
            assert!(tries < 20, "{line}");
        }
    }
    server.running.stop().await;

    let server = TestServer::with(Config {
        max_rooms: 1,
        max_sessions: 1,
        open_rooms: false,
        ..quiet()
    });
    seen.expect(&server, 201, "PUT /v1/rooms/hall", ("", ""))
        .await;
    seen.expect(&server, 503, "PUT /v1/rooms/two", ("", ""))
        .await;
    let nowhere = "POST /v1/rooms/nowhere/participants";
    seen.expect(&server, 404, nowhere, (SDP, OFFER)).await;
    seen.join(&server, "hall").await;
    let join = "POST /v1/rooms/hall/participants";
    seen.expect(&server, 503, join, (SDP, OFFER)).await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_http_status_can_be_provoked() {
    let mut seen = Seen::default();
    let server = TestServer::open();
    provoke_general(&server, &mut seen).await;
    provoke_timeouts(&server, &mut seen).await;
    provoke_reads(&server, &mut seen).await;
    provoke_rooms(&server, &mut seen).await;
    server.running.stop().await;
    provoke_watch(&mut seen).await;
    provoke_limits(&mut seen).await;
    let mut unseen = Vec::new();
    for item in CONTRACT.at("/paths").as_object().expect("paths").values() {
        for operation in item.as_object().expect("methods").values() {
            let Some(id) = operation["operationId"].as_str() else {
                continue;
            };
            let responses = operation["responses"].as_object().expect("responses");
            for status in responses.keys().filter_map(|status| status.parse().ok()) {
                let is_exempt = NOT_PROVOKED
                    .iter()
                    .any(|(of, exempt)| (*of == id || *of == "*") && *exempt == status);
                let is_seen = seen.0.contains(&(id.to_owned(), status));
                if is_seen == is_exempt {
                    unseen.push(format!("{id} {status}: seen is {is_seen}"));
                }
            }
        }
    }
    assert!(unseen.is_empty(), "{unseen:#?}");
}
