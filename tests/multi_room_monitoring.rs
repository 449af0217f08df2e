//! Monitoring several rooms over one connection, through the whole system: a participant whose
//! rooms are on two mixers hears them but not itself, and receives their events.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod sound;
    pub mod test_server;
}

use std::time::Duration;

use common::measure::{line, said_db};
use common::sound::{Heard, RATE, TONES_HZ, Tone};
use common::test_server::{EventLog, TestServer, join};
use mixminus::join::client::Client;
use mixminus::join::media::MediaOptions;
use serde_json::json;

/// The level at which all participants speak, in dBFS.
const SPOKEN_DB: f64 = -12.0;

/// How long a change is listened to: long enough for the playouts to settle and for two windows of
/// a second.
const LISTEN: Duration = Duration::from_secs(4);

/// Lets a participant that sends a tone join a room.
///
/// - `monitors`: the rooms that the participant monitors, separated by commas.
async fn talker(server: &TestServer, room: &str, monitors: &str, hz: f64) -> (Client, Heard) {
    let heard = Heard::default();
    let media = MediaOptions {
        source: Tone::boxed(hz),
        sink: heard.sink(),
        ..MediaOptions::default()
    };
    let url = format!("{}?monitor={monitors}", server.url(room));
    (join(&url, room, None, media).await, heard)
}

/// Returns the last two seconds of what a participant heard.
fn lately(heard: &Heard) -> Vec<f32> {
    let pcm = heard.pcm();
    pcm[pcm.len() - 2 * RATE..].to_vec()
}

fn hears(heard: &Heard, hz: f64, expected_db: f64) {
    let level_db = said_db(&lately(heard), hz);
    let off_db = level_db - SPOKEN_DB - expected_db;
    println!("{hz} Hz at {level_db:.1} dB");
    assert!(off_db.abs() < 2.5, "{hz} Hz at {level_db:.1} dB");
}

fn hears_nothing_of(heard: &Heard, hz: f64) {
    let median_db = line(&lately(heard), hz).median_db;
    println!("{hz} Hz at {median_db:.1} dB");
    assert!(median_db < SPOKEN_DB - 30.0, "{hz} Hz at {median_db:.1} dB");
}

async fn say(client: &Client, text: &serde_json::Value) {
    for _ in 0..100 {
        if client.say(&text.to_string()).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no data channel");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_monitors_two_rooms_and_changes_them_at_run_time() {
    let server = TestServer::start_with(Some(2));
    let [own_hz, b_hz, c_hz] = TONES_HZ;
    let (bob, bob_heard) = talker(&server, "b", "", b_hz).await;
    let (ann, heard) = talker(&server, "a", "b,c", own_hz).await;
    let told = EventLog::to(&ann);
    // Carl joins only after Ann monitors the room.
    let (carl, _) = talker(&server, "c", "", c_hz).await;
    tokio::time::sleep(LISTEN).await;
    hears(&heard, b_hz, 0.0);
    hears(&heard, c_hz, 0.0);
    hears_nothing_of(&heard, own_hz);
    hears_nothing_of(&bob_heard, own_hz);

    say(
        &ann,
        &json!({"command": "monitor", "rooms": [{"room": "b", "gain_db": -12}], "id": 7}),
    )
    .await;
    tokio::time::sleep(LISTEN).await;
    hears(&heard, b_hz, -12.0);
    hears_nothing_of(&heard, c_hz);
    hears_nothing_of(&heard, own_hz);
    let messages = told.all();
    assert!(messages.contains(&json!({"event": "ok", "id": 7})));
    let talks_in_b = json!({
        "event": "talking",
        "participant": bob.participant().unwrap(),
        "room": "b",
    });
    let talks_in_c = json!({
        "event": "talking",
        "participant": carl.participant().unwrap(),
        "room": "c",
    });
    assert!(messages.contains(&talks_in_c), "{messages:?}");
    assert!(messages.contains(&talks_in_b), "{messages:?}");

    // A monitored room that ends falls silent, and is heard again when it reappears.
    bob.leave().await.unwrap();
    tokio::time::sleep(LISTEN).await;
    hears_nothing_of(&heard, b_hz);
    let (bob, _) = talker(&server, "b", "", b_hz).await;
    tokio::time::sleep(LISTEN).await;
    hears(&heard, b_hz, -12.0);
    for client in [ann, bob, carl] {
        client.leave().await.unwrap();
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participants_of_linked_rooms_hear_each_other() {
    let server = TestServer::start_with(Some(2));
    let [a_hz, b_hz, _] = TONES_HZ;
    server.configure("a", &json!({"links": ["b"]})).await;
    let (ann, ann_heard) = talker(&server, "a", "", a_hz).await;
    let (bob, bob_heard) = talker(&server, "b", "", b_hz).await;
    tokio::time::sleep(LISTEN).await;
    hears(&ann_heard, b_hz, 0.0);
    hears_nothing_of(&ann_heard, a_hz);
    hears(&bob_heard, a_hz, 0.0);
    hears_nothing_of(&bob_heard, b_hz);
    server.configure("a", &json!({"links": []})).await;
    tokio::time::sleep(LISTEN).await;
    hears_nothing_of(&ann_heard, b_hz);
    hears_nothing_of(&bob_heard, a_hz);
    for client in [ann, bob] {
        client.leave().await.unwrap();
    }
    server.stop().await;
}
