//! What a peer connection adds to the HTTP interface: the state `connected`, the data channel with
//! the messages of the WebSocket, and the end of both.

use std::time::Duration;

use mixminus::config::Config;
use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::{Guest, JSON, SDP, TestServer, quiet};

const LIMIT: Duration = Duration::from_secs(5);

/// Returns the last event of this name on the data channel, if any.
fn heard(client: &Client, name: &str) -> Option<Value> {
    let texts = client.texts.iter().rev();
    let mut events = texts.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    events.find(|event| event["event"] == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_channel_carries_the_same_messages_as_the_websocket() {
    let server = TestServer::open();
    let mut client = Client::new(7, true);
    let offer = client.offer();
    let answer = server
        .ask("POST", "/v1/rooms/hall/participants?name=Ann", SDP, offer)
        .await;
    let ann = Guest::of(&answer);
    let mut socket = server.watch("hall").await;
    socket.event().await;
    client.answer(&answer.body);

    let client = tokio::task::spawn_blocking(move || {
        assert!(
            client.run(LIMIT, |client| heard(client, "room").is_some()),
            "the room comes first"
        );
        client.send_text(r#"{"command":"mute","id":5}"#);
        assert!(client.run(LIMIT, |client| heard(client, "ok").is_some()));
        assert_eq!(heard(&client, "muted").expect("it was told")["muted"], true);
        client.send_text("nonsense");
        assert!(client.run(LIMIT, |client| heard(client, "error").is_some()));
        for bytes in [17_000, 64 * 1024] {
            client.texts.clear();
            client.send_text(&"x".repeat(bytes));
            let told = |client: &mut Client| heard(client, "error").is_some();
            assert!(client.run(LIMIT, told), "{bytes} bytes");
            let detail = heard(&client, "error").expect("it was told")["detail"].to_string();
            assert!(detail.contains("16384 bytes"), "{detail}");
        }
        for _ in 0..40 {
            client.send_text(r#"{"command":"unmute"}"#);
        }
        let warned = |client: &mut Client| {
            heard(client, "error").is_some_and(|error| error["type"] == "too-many-messages")
        };
        assert!(client.run(LIMIT, warned));
        client
    });
    let changed = socket.until("changed").await;
    assert_eq!(changed["participant"]["connected"], true);
    assert_eq!(
        socket.until("muted").await,
        json!({"event":"muted","participant":ann.id,"muted":true})
    );
    let mut client = client.await.expect("it ran");

    // A removed participant is told the reason before its connection ends.
    let path = format!("/v1/rooms/hall/participants/{}", ann.id);
    assert_eq!(server.ask("DELETE", &path, "", "").await.status, 204);
    assert_eq!(socket.until("left").await["reason"], "kicked");
    let told = tokio::task::spawn_blocking(move || {
        client.run(LIMIT, |client| heard(client, "left").is_some())
    });
    assert!(told.await.expect("it ran"));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_channel_carries_the_event_of_a_room_of_the_largest_default_size() {
    let server = TestServer::open();
    for _ in 1..200 {
        server.join("hall", "Somebody").await;
    }
    let mut client = Client::new(7, true);
    let path = "/v1/rooms/hall/participants?name=Ann";
    let answer = server.ask("POST", path, SDP, client.offer()).await;
    assert_eq!(answer.status, 201);
    client.answer(&answer.body);
    let room = tokio::task::spawn_blocking(move || {
        client.run(LIMIT, |client| heard(client, "room").is_some());
        heard(&client, "room")
    });
    let room = room.await.expect("it ran").expect("it was told");
    let participants = room["room"]["participants"].as_array();
    assert_eq!(participants.map(Vec::len), Some(200));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_room_accepts_a_participant_while_a_departed_participant_still_fades_out() {
    let server = TestServer::open();
    let one = r#"{"max_participants":1}"#;
    let made = server.ask("PUT", "/v1/rooms/booth", JSON, one).await;
    assert_eq!(made.status, 201, "{}", made.body);
    for _ in 0..5 {
        let mut client = Client::new(7, false);
        let path = "/v1/rooms/booth/participants?name=Ann";
        let answer = server.ask("POST", path, SDP, client.offer()).await;
        let ann = Guest::of(&answer);
        client.answer(&answer.body);
        let talking = tokio::task::spawn_blocking(move || {
            assert!(client.run(LIMIT, |client| client.connected));
            for packet in tone().iter().take(15) {
                client.send(packet);
                client.run(Duration::from_millis(20), |_| false);
            }
        });
        talking.await.expect("it ran");
        let leave = |session| server.ask("DELETE", session, "", "");
        assert_eq!(leave(&ann.session).await.status, 200);
        let ben = server.join("booth", "Ben").await;
        assert_eq!(leave(&ben.session).await.status, 200);
    }
    let metrics = server.get("/metrics").await.body;
    let refused = metrics
        .lines()
        .filter(|line| line.starts_with("mixminus_mixer_refused_total"));
    let refused: Vec<&str> = refused.collect();
    assert!(!refused.is_empty());
    assert!(
        refused.iter().all(|line| line.ends_with(" 0")),
        "{refused:?}"
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_reports_talking_stopped_and_levels() {
    let server = TestServer::open();
    let mut client = Client::new(7, false);
    let offer = client.offer();
    let answer = server
        .ask("POST", "/v1/rooms/hall/participants?name=Ann", SDP, offer)
        .await;
    let ann = Guest::of(&answer);
    let mut socket = server.watch("hall").await;
    client.answer(&answer.body);
    let talking = tokio::task::spawn_blocking(move || {
        assert!(client.run(LIMIT, |client| client.connected));
        let packets = tone();
        for packet in packets.iter().cycle().take(100) {
            client.send(packet);
            client.run(Duration::from_millis(20), |_| false);
        }
        client
    });
    assert_eq!(
        socket.until("talking").await["participant"],
        ann.id.as_str()
    );
    let levels = socket.until("levels").await;
    let level = levels["levels"][&ann.id].as_i64().expect("a level");
    assert!((-40..=0).contains(&level), "{levels}");
    assert_eq!(
        socket.until("stopped").await["participant"],
        ann.id.as_str()
    );
    talking.await.expect("it ran");
    server.running.stop().await;
}

/// Each participant's packets reach the mixer that has the participant's room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participants_are_heard_whichever_mixer_has_their_room() {
    let server = TestServer::with(Config {
        mixers: Some(2),
        ..quiet()
    });
    for (port, room) in [(7, "hall"), (8, "booth")] {
        let mut client = Client::new(port, false);
        let path = format!("/v1/rooms/{room}/participants?name=Ann");
        let answer = server.ask("POST", &path, SDP, client.offer()).await;
        let ann = Guest::of(&answer);
        let mut socket = server.watch(room).await;
        client.answer(&answer.body);
        let talking = tokio::task::spawn_blocking(move || {
            assert!(client.run(LIMIT, |client| client.connected));
            for packet in tone().iter().cycle().take(30) {
                client.send(packet);
                client.run(Duration::from_millis(20), |_| false);
            }
        });
        let talks = socket.until("talking").await;
        assert_eq!(talks["participant"], ann.id.as_str());
        talking.await.expect("it ran");
    }
    let metrics = server.get("/metrics").await.body;
    for mixer in 0..2 {
        for (family, value) in [
            ("rooms", 1),
            ("participants", 1),
            ("packets_in_dropped_total", 0),
        ] {
            let line = format!("mixminus_mixer_{family}{{mixer=\"{mixer}\"}} {value}");
            assert!(
                metrics.lines().any(|found| found == line),
                "{line} in {metrics}"
            );
        }
    }
    server.running.stop().await;
}

/// Returns one second of 440.5 Hz at -12 dBFS as Opus packets of 20 ms.
fn tone() -> Vec<&'static [u8]> {
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip)
        .expect("an encoder");
    let samples: Vec<f32> = (0..48_000)
        .map(|at| 0.25 * (std::f32::consts::TAU * 440.5 * at as f32 / 48_000.0).sin())
        .collect();
    samples
        .chunks(960)
        .map(|frame| {
            &*encoder
                .encode_vec_float(frame, 400)
                .expect("a packet")
                .leak()
        })
        .collect()
}
