//! Events and commands over a room's WebSocket, and its limits.

use futures_util::SinkExt;
use std::time::Duration;

use mixminus::config::Config;
use mixminus::rate_limit::{Rate, Rates};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{TestServer, quiet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_carries_the_events_of_its_room() {
    let server = TestServer::open();
    let ann = server.join("hall", "Ann").await;
    let mut socket = server.watch("hall").await;
    let first = socket.event().await;
    assert_eq!(first["event"], "room");
    assert_eq!(first["room"]["participants"][0]["id"], ann.id.as_str());

    let bo = server.join("hall", "Bo").await;
    let joined = socket.event().await;
    assert_eq!(
        (&joined["event"], &joined["participant"]["name"]),
        (&json!("joined"), &json!("Bo"))
    );

    server
        .ask(
            "PATCH",
            &format!("/v1/rooms/hall/participants/{}", bo.id),
            "application/json",
            r#"{"muted":true}"#,
        )
        .await;
    assert_eq!(
        socket.event().await,
        json!({"event":"muted","participant":bo.id,"muted":true})
    );
    server
        .ask(
            "DELETE",
            &format!("/v1/rooms/hall/participants/{}", bo.id),
            "",
            "",
        )
        .await;
    assert_eq!(
        socket.event().await,
        json!({"event":"left","participant":bo.id,"reason":"kicked"})
    );

    server
        .ask(
            "PATCH",
            "/v1/rooms/hall",
            "application/json",
            r#"{"max_participants":7}"#,
        )
        .await;
    let configured = socket.event().await;
    assert_eq!(
        (
            &configured["event"],
            &configured["room"]["max_participants"]
        ),
        (&json!("room"), &json!(7))
    );

    server.ask("DELETE", "/v1/rooms/hall", "", "").await;
    assert_eq!(
        socket.event().await,
        json!({"event":"left","participant":ann.id,"reason":"room closed"})
    );
    assert_eq!(socket.closed().await, 1000);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_carries_a_room_of_hundreds_in_one_message() {
    let mut config = quiet();
    config.room.max_participants = 1_000;
    let server = TestServer::with(config);
    let long = "%F0%9F%8E%B5".repeat(64);
    server.join("stadium", &long).await;
    // This WebSocket was opened while the room was small. The event of the grown room also arrives
    // in one message.
    let mut early = server.watch("stadium").await;
    let reading = tokio::spawn(async move {
        early.until("room").await;
        early.until("room").await
    });
    for _ in 1..700 {
        server.join("stadium", &long).await;
    }
    let change = r#"{"max_participants":999}"#;
    let changed = server.ask("PATCH", "/v1/rooms/stadium", "application/json", change);
    assert_eq!(changed.await.status, 200);
    let grown = reading.await.expect("it ran");
    let participants = grown["room"]["participants"].as_array();
    assert_eq!(participants.map(Vec::len), Some(700));
    let mut socket = server.watch("stadium").await;
    let room = socket.event().await;
    assert!(room.to_string().len() > 256 * 1_024);
    let participants = room["room"]["participants"].as_array();
    assert_eq!(participants.map(Vec::len), Some(700));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_commands_change_only_the_participant_of_their_session() {
    let server = TestServer::open();
    let ann = server.join("hall", "Ann").await;
    let elsewhere = server.join("other", "Bo").await;
    let mut socket = server.watch("hall").await;
    socket.event().await;

    let mute = json!({"command":"mute","session":ann.secret(),"id":{"n":1}});
    socket.send(&mute.to_string()).await;
    let both = [socket.event().await, socket.event().await];
    assert!(
        both.contains(&json!({"event":"muted","participant":ann.id,"muted":true})),
        "{both:?}"
    );
    assert!(
        both.contains(&json!({"event":"ok","id":{"n":1}})),
        "{both:?}"
    );
    // The participant is already muted, so nothing changes and the command succeeds.
    socket
        .send(&json!({"command":"mute","session":ann.secret(),"id":2}).to_string())
        .await;
    assert_eq!(socket.event().await, json!({"event":"ok","id":2}));

    socket
        .send(&json!({"command":"gain","session":ann.secret(),"gain_db":-6}).to_string())
        .await;
    assert_eq!(socket.event().await["participant"]["gain_db"], -6.0);
    socket
        .send(&json!({"command":"name","session":ann.secret(),"name":" Anna "}).to_string())
        .await;
    assert_eq!(socket.event().await["participant"]["name"], "Anna");
    socket
        .send(&json!({"command":"unmute","session":ann.secret()}).to_string())
        .await;
    assert_eq!(socket.event().await["muted"], false);

    for (command, kind) in [
        (
            json!({"command":"mute","session":"guess","id":3}),
            "unknown-session",
        ),
        (
            json!({"command":"mute","session":elsewhere.secret(),"id":3}),
            "unknown-session",
        ),
        (json!({"command":"mute","id":3}), "unknown-session"),
        (json!({"command":"dance","id":3}), "invalid-command"),
        (
            json!({"command":"gain","session":ann.secret(),"gain_db":99,"id":3}),
            "invalid-command",
        ),
    ] {
        socket.send(&command.to_string()).await;
        let error = socket.event().await;
        assert_eq!(
            (&error["event"], &error["type"], &error["id"]),
            (&json!("error"), &json!(kind), &json!(3))
        );
        assert!(error["detail"].as_str().expect("a sentence").ends_with('.'));
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_with_invalid_commands_gets_errors_and_is_then_closed() {
    let server = TestServer::open();
    server.join("hall", "Ann").await;
    let mut socket = server.watch("hall").await;
    for _ in 0..10 {
        socket.send("nonsense").await;
        assert_eq!(socket.until("error").await["type"], "invalid-command");
    }
    assert_eq!(socket.closed().await, 1008);

    let mut socket = server.watch("hall").await;
    socket
        .stream
        .send(Message::binary(vec![0xff, 0]))
        .await
        .expect("sent");
    assert_eq!(socket.until("error").await["type"], "invalid-command");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_beyond_the_message_rate_is_warned_and_then_closed() {
    let server = TestServer::open();
    let ann = server.join("hall", "Ann").await;
    let mut socket = server.watch("hall").await;
    let command = json!({"command":"unmute","session":ann.secret()}).to_string();
    for _ in 0..30 {
        socket
            .stream
            .feed(Message::text(command.clone()))
            .await
            .expect("fed");
    }
    let _ = socket.stream.flush().await;
    assert_eq!(socket.until("error").await["type"], "too-many-messages");
    assert_eq!(socket.closed().await, 1008);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_release_over_the_websocket_is_not_subject_to_the_message_rate() {
    let server = TestServer::with(Config {
        rates: Rates {
            messages: Rate {
                burst: 20,
                interval: Duration::from_secs(600),
            },
            ..Rates::default()
        },
        ..quiet()
    });
    let made = server.ask(
        "PUT",
        "/v1/rooms/hall",
        "application/json",
        r#"{"mode":"ptt","end_of_media_ms":60000}"#,
    );
    assert_eq!(made.await.status, 201);
    let ann = server.join("hall", "Ann").await;
    server.join("hall", "Bo").await;
    let mut socket = server.watch("hall").await;
    let command = |word: &str| json!({"command":word,"session":ann.secret()}).to_string();
    let rest = std::iter::repeat_n("floor_position", 20);
    for word in ["floor_request"]
        .into_iter()
        .chain(rest)
        .chain(["floor_release"])
    {
        let message = Message::text(command(word));
        socket.stream.feed(message).await.expect("fed");
    }
    socket.stream.flush().await.expect("sent");
    assert_eq!(socket.until("floor_granted").await["burst"], 1);
    assert_eq!(socket.until("error").await["type"], "too-many-messages");
    let floor = format!("{}/floor", ann.session);
    let released = async {
        while server.get(&floor).await.json()["state"] != "none" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), released)
        .await
        .expect("released");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_is_closed_at_the_header_of_an_oversized_message() {
    let server = TestServer::open();
    server.join("hall", "Ann").await;
    for length in [16 * 1024 + 1, 1_000_000] {
        let mut socket = server.watch("hall").await;
        // Sending may fail, because the server may close the WebSocket while the rest is still
        // being sent.
        let _ = socket.stream.send(Message::text("x".repeat(length))).await;
        assert_eq!(socket.closed().await, 1009, "{length}");
    }
    let mut socket = server.watch("hall").await;
    socket.send(&"x".repeat(16 * 1024)).await;
    assert_eq!(socket.until("error").await["type"], "invalid-command");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_are_closed_when_the_server_stops() {
    let server = TestServer::open();
    let ann = server.join("hall", "Ann").await;
    let mut socket = server.watch("hall").await;
    socket.event().await;
    let watching = tokio::spawn(async move {
        let left = socket.event().await;
        (left, socket.closed().await)
    });
    server.running.stop().await;
    let (left, code) = watching.await.expect("it ran");
    assert_eq!(
        left,
        json!({"event":"left","participant":ann.id,"reason":"server stopping"})
    );
    assert_eq!(code, 1001);
}

/// Opens a WebSocket with small buffers, from which nothing is ever read.
async fn deaf(server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket
        .connect(server.running.http_addr())
        .await
        .expect("a connection");
    let upgrade = "GET /v1/rooms/hall/events HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.expect("written");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_that_is_not_read_is_disconnected_and_delays_no_request() {
    let server = TestServer::with(Config {
        rates: Rates {
            room_changes: Rate::new(2_000, 10),
            ..Rates::default()
        },
        ..quiet()
    });
    server.join("hall", "Ann").await;
    let _deaf = deaf(&server).await;
    let started = std::time::Instant::now();
    for round in 0..2_000 {
        let change = format!(r#"{{"talk_limit_s":{round}}}"#);
        assert_eq!(
            server
                .ask("PATCH", "/v1/rooms/hall", "application/json", change)
                .await
                .status,
            200
        );
    }
    let held_up = started.elapsed();
    let gone = async {
        while !server
            .get("/metrics")
            .await
            .body
            .contains("mixminus_websockets_slow_total 1\n")
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(15), gone)
        .await
        .expect("it is cut off");
    assert!(held_up < Duration::from_secs(10), "{held_up:?}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_accepts_listed_origins_only() {
    let server = TestServer::with(Config {
        cors_origins: vec!["https://a.example".into()],
        ..quiet()
    });
    server.join("hall", "Ann").await;
    let base = server.base.replacen("http", "ws", 1);
    let open = |room: &str, origin: &'static str| {
        let mut request = format!("{base}/v1/rooms/{room}/events")
            .into_client_request()
            .expect("a request");
        request
            .headers_mut()
            .insert("origin", HeaderValue::from_static(origin));
        tokio_tungstenite::connect_async(request)
    };
    assert!(open("hall", "https://a.example").await.is_ok());
    for (room, origin, status) in [
        ("hall", "https://evil.example", 403),
        ("hall", "null", 403),
        ("none", "https://a.example", 404),
    ] {
        match open(room, origin).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), status),
            other => panic!("{room} {origin}: {other:?}"),
        }
    }
    let allowed = |answer: &crate::harness::Answer| {
        answer.headers.contains_key("access-control-allow-origin")
    };
    let answer = server
        .ask_with("GET", "/v1/rooms", &[("origin", "https://a.example")], "")
        .await;
    assert!(allowed(&answer));
    let exposed = answer.header("access-control-expose-headers");
    for name in ["Location", "ETag", "Link", "Participant-Id", "Accept-Patch"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert!(!allowed(
        &server
            .ask_with(
                "GET",
                "/v1/rooms",
                &[("origin", "https://evil.example")],
                ""
            )
            .await
    ));
    server.running.stop().await;
}
