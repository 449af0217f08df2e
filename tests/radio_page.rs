//! Three pages in real Chromium browsers, used as push-to-talk radios. The participant who presses
//! the key is heard by the others only. A second one waits in the queue, is shown the position, and
//! gets the floor when the first releases it. A change of network makes nobody but the floor holder
//! lose the floor. Other rooms are heard beside the participant's own room.

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
async fn page_radio_lets_one_participant_talk_at_a_time_and_then_the_next_in_the_queue() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    server.configure("harbour", &patient()).await;
    let files = scratch("radio_page");
    let windows = ["room=harbour,width=1280"; 2].into_iter();
    let windows = windows.chain(["room=harbour,width=360,touch=1"]);
    let said = perform(&server, "radio.mjs", &files, windows).await;
    // The microphone is open while the participant talks, and at no other time.
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
async fn page_plays_a_monitored_channel_at_the_chosen_volume() {
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
        "focus": "Monitor night-watch", "volume": "50", "asksAtEachStep": false,
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
async fn page_ends_in_the_right_state_after_hurried_clicks() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    let files = scratch("radio_clicks");
    let windows = ["room=pier,listen=1", "room=pier"];
    let said = perform(&server, "clicks.mjs", &files, windows).await;
    assert_eq!(said, json!({ "track": "live", "ticks": 1, "mode": "ptt" }));
    server.stop().await;
}

/// Returns the settings of a push-to-talk room with long limits, so that on a slow machine no
/// participant loses the floor for talking long or for sending nothing for a while.
fn patient() -> Value {
    json!({ "mode": "ptt", "talk_limit_s": 300, "end_of_media_ms": 60_000 })
}

#[test]
fn gapless_level_of_a_resampled_tone_is_unchanged() {
    for ratio in [0.995, 1.0, 1.005] {
        let turns = |at: usize| TONES_HZ[1] * ratio * at as f64 / 48_000.0;
        let tone: Vec<f32> = (0..48_000)
            .map(|at| 0.25 * (std::f64::consts::TAU * turns(at)).sin() as f32)
            .collect();
        let said_db = gapless_db(&tone, TONES_HZ[1]);
        assert!((said_db + 12.04).abs() < 0.3, "{said_db} dBFS, {ratio}");
    }
}
