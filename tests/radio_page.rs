//! Three pages in real Chromium browsers on radio channels: who presses the key is heard by the others and by nobody
//! else, who presses second waits, is told where, and has the floor when the first lets go; another network takes the
//! floor from nobody but who has it; other channels are heard beside one's own.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod pages;
    pub mod sound;
    pub mod test_server;
    pub mod tools;
}

use std::time::Duration;

use common::measure::gapless_db;
use common::pages::{BROWSERS, NAMES, judge, perform};
use common::sound::{TONES_HZ, read, scratch};
use common::test_server::TestServer;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_talks_at_a_time_and_the_next_is_promoted() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    server.configure("harbour", &patient()).await;
    let files = scratch("radio_page");
    let windows = ["room=harbour,width=1280"; 2].into_iter();
    let windows = windows.chain(["room=harbour,width=360,touch=1"]);
    let said = perform(&server, "radio.mjs", &files, windows).await;
    // Open while one talks, and at no other time.
    let microphone = json!({
        "whileHeld": true, "afterRelease": false, "afterRevoke": false, "afterDeny": false, "inConference": false,
    });
    assert_eq!(said["microphone"], microphone);
    assert_eq!(said["ownName"], json!([]));
    assert_eq!(said["roamed"], json!([true, true]));
    for (talker, phase) in [
        (None, "nobody"),
        (Some(0), "ann"),
        (Some(1), "ben"),
        (Some(2), "cem"),
    ] {
        for (own, name) in NAMES.iter().enumerate() {
            let heard = read(&files.join(format!("{phase}-{name}.wav")));
            judge(phase, talker.filter(|talker| *talker != own), name, &heard);
        }
    }
    let gone = server
        .until("harbour", Duration::from_secs(10), <[String]>::is_empty)
        .await;
    println!(
        "the room is empty after {gone:?}; {}",
        server.timekeeping().await
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_channel_is_heard_as_loud_as_one_likes() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    for room in ["harbour", "anchorage", "night-watch"] {
        server.configure(room, &patient()).await;
    }
    let files = scratch("radio_channels");
    let windows = [
        "room=harbour,width=1280",
        "room=night-watch",
        "room=night-watch",
    ];
    let said = perform(&server, "channels.mjs", &files, windows).await;
    let expected = json!({
        "own": "free", "room": "night-watch", "places": ["anchorage", "night-watch"],
        "focus": "Listen to night-watch", "volume": "50", "asksAtEachStep": false,
    });
    assert_eq!(said, expected);
    let heard = |phase: &str| read(&files.join(format!("{phase}.wav")));
    judge("other", None, "Ann", &heard("other"));
    judge("full", Some(1), "Ann", &heard("full"));
    judge("dropped", None, "Ann", &heard("dropped"));
    judge("there", Some(1), "Ann", &heard("there"));
    let [full_db, half_db] = ["full", "half"].map(|phase| gapless_db(&heard(phase), TONES_HZ[1]));
    println!("at full volume {full_db:.1} dBFS, at half {half_db:.1} dBFS");
    assert!(
        (5.0..7.0).contains(&(full_db - half_db)),
        "half the volume is 6 dB less"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_in_a_hurry_do_no_harm() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    let files = scratch("radio_clicks");
    let windows = ["room=pier,listen=1", "room=pier"];
    let said = perform(&server, "clicks.mjs", &files, windows).await;
    assert_eq!(said, json!({ "track": "live", "ticks": 1, "mode": "ptt" }));
    server.stop().await;
}

/// A radio channel in which nobody is cut off on a machine that takes its time: not for talking long, nor for having
/// sent nothing for a while.
fn patient() -> Value {
    json!({ "mode": "ptt", "talk_limit_s": 300, "end_of_media_ms": 60_000 })
}

#[test]
fn a_tone_that_was_resampled_is_as_loud_as_it_was() {
    for ratio in [0.995, 1.0, 1.005] {
        let turns = |at: usize| TONES_HZ[1] * ratio * at as f64 / 48_000.0;
        let tone: Vec<f32> = (0..48_000)
            .map(|at| 0.25 * (std::f64::consts::TAU * turns(at)).sin() as f32)
            .collect();
        let said_db = gapless_db(&tone, TONES_HZ[1]);
        assert!((said_db + 12.04).abs() < 0.3, "{said_db} dBFS, {ratio}");
    }
}
