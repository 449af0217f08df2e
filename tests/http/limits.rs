//! Limits on what one client can use or do: rates, connections, host names, origins and write
//! timeouts.

use std::time::Duration;

use mixminus::config::Config;
use mixminus::rate_limit::{Rate, Rates};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{Answer, Guest, JSON, OFFER, SDP, TestServer, quiet};

/// A rate limit that permits three requests at once and then no more for the rest of a test.
const SLOWLY: Rate = Rate {
    burst: 3,
    interval: Duration::from_secs(600),
};

const JOIN: &str = "/v1/rooms/hall/participants";

fn server(rates: Rates) -> TestServer {
    TestServer::with(Config { rates, ..quiet() })
}

async fn counts(server: &TestServer, line: &str) -> bool {
    let metrics = server.get("/metrics").await.body;
    metrics.lines().any(|it| it == line)
}

fn is_too_many(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (429, "too-many-requests")
    );
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds >= 1);
    assert_eq!(answer.json()["retry_after_s"], seconds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_are_limited_by_the_address_that_a_trusted_proxy_forwards() {
    let server = server(Rates {
        joins: SLOWLY,
        ..Rates::default()
    });
    let join = |client: &'static str| {
        let headers = [("content-type", SDP), ("x-forwarded-for", client)];
        let server = &server;
        async move { server.ask_with("POST", JOIN, &headers, OFFER).await }
    };
    let mut refused = None;
    for _ in 0..20 {
        let answer = join("203.0.113.1, 192.0.2.1").await;
        if answer.status.as_u16() != 201 {
            refused = Some(answer);
            break;
        }
    }
    is_too_many(&refused.expect("there is a limit"));
    assert_eq!(join("192.0.2.2").await.status, 201, "another client");
    assert!(counts(&server, "mixminus_joins_refused_total{reason=\"rate\"} 1").await);
    assert!(counts(&server, "mixminus_rate_limited_total{what=\"join\"} 1").await);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_room_changes_are_limited_by_rate() {
    let server = server(Rates {
        room_changes: SLOWLY,
        ..Rates::default()
    });
    let methods = ["PUT", "PATCH", "DELETE"].iter().cycle().take(60);
    let mut refused = None;
    for method in methods {
        let answer = server.ask(method, "/v1/rooms/hall", "", "").await;
        if answer.status.as_u16() == 429 {
            refused = Some(answer);
            break;
        }
    }
    is_too_many(&refused.expect("there is a limit"));
    assert_eq!(server.get("/v1/rooms").await.status, 200, "reading is not");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mute_is_not_subject_to_the_rate_limit_of_participant_changes() {
    let server = server(Rates {
        participant_changes: SLOWLY,
        ..Rates::default()
    });
    let ann = server.join("hall", "Ann").await;
    let path = format!("{JOIN}/{}", ann.id);
    let mut refused = None;
    for gain_db in (0..2).cycle().take(60) {
        let change = format!(r#"{{"gain_db":{gain_db}}}"#);
        let answer = server.ask("PATCH", &path, JSON, change).await;
        if answer.status.as_u16() != 200 {
            refused = Some(answer);
            break;
        }
    }
    is_too_many(&refused.expect("there is a limit"));
    let muted = server.ask("PATCH", &path, JSON, r#"{"muted":true}"#).await;
    assert_eq!(muted.json()["muted"], true);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_are_limited_by_the_address_that_a_trusted_proxy_forwards() {
    let server = TestServer::with(Config {
        max_connections_per_address: 1,
        ..quiet()
    });
    server.join("hall", "Ann").await;
    let open = |client: &'static str| {
        let upgrade = format!(
            "GET /v1/rooms/hall/events HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
            upgrade: websocket\r\nsec-websocket-version: 13\r\nforwarded: for=\"{client}\"\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let address = server.running.http_addr();
        async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(upgrade.as_bytes()).await.expect("written");
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.expect("an answer");
            let status = String::from_utf8_lossy(&status).into_owned();
            (stream, status.rsplit(' ').next().map(str::to_owned))
        }
    };
    let (_first, status) = open("[2001:db8::1]").await;
    assert_eq!(status.as_deref(), Some("101"));
    let (_, status) = open("[2001:db8::2]:4711").await;
    assert_eq!(status.as_deref(), Some("429"), "the same network");
    let (_other, status) = open("[2001:db8:0:1::1]").await;
    assert_eq!(status.as_deref(), Some("101"));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_answers_requests_for_its_own_host_names_only() {
    let server = TestServer::with(Config {
        hosts: vec!["mix.example".to_owned()],
        ..quiet()
    });
    for (host, status) in [
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("mix.example", 200),
        ("MIX.example:443", 200),
        ("localhost:1", 200),
        ("[::1]", 200),
        ("192.0.2.7:8080", 200),
    ] {
        let answer = server
            .ask_with("GET", "/v1/rooms", &[("host", host)], "")
            .await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
        if status == 421 {
            assert_eq!(answer.problem(), "unknown-host");
        }
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_other_origins_change_nothing() {
    let server = TestServer::open();
    let ask = |method: &'static str, origin: &'static str| {
        let headers = [("origin", origin), ("content-type", JSON)];
        let server = &server;
        async move {
            let answer = server
                .ask_with(method, "/v1/rooms/hall", &headers, "")
                .await;
            answer.status.as_u16()
        }
    };
    assert_eq!(ask("PUT", "https://evil.example").await, 403);
    assert_eq!(ask("PUT", "null").await, 403);
    assert_eq!(
        ask("GET", "https://evil.example").await,
        404,
        "none was made"
    );
    assert_eq!(
        server.ask("PUT", "/v1/rooms/hall", "", "").await.status,
        201
    );
    assert_eq!(ask("DELETE", "https://evil.example").await, 403);
    let own = server.base.clone();
    let answer = server
        .ask_with("DELETE", "/v1/rooms/hall", &[("origin", &own)], "")
        .await;
    assert_eq!(answer.status, 204);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_disconnects_a_client_that_does_not_read_its_responses() {
    let server = TestServer::open();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let address = server.running.http_addr();
    let mut stream = socket.connect(address).await.expect("a connection");
    let get = b"GET /v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(&get.repeat(20)).await.expect("written");
    let cut_off = async {
        while !counts(&server, "mixminus_http_write_timeouts_total 1").await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(60), cut_off)
        .await
        .expect("it is cut off");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn percent_encoded_room_names_are_decoded_and_then_checked() {
    let server = TestServer::open();
    let made = server.ask("PUT", "/v1/rooms/%6Cobb%79%2D1", "", "").await;
    assert_eq!(made.json()["name"], "lobby-1");
    let joined = server
        .ask("POST", "/v1/rooms/lobby%2d1/participants", SDP, OFFER)
        .await;
    let guest = Guest::of(&joined);
    let room = server.get("/v1/rooms/lobby-1").await.json();
    assert_eq!(room["participants"][0]["id"], guest.id);
    for bad in ["a%20b", "a%2Fb", "a%00", "%zz", "a%", "%C3%A4"] {
        let answer = server.get(&format!("/v1/rooms/{bad}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "bad-room-name"),
            "{bad}"
        );
    }
    server.running.stop().await;
}
