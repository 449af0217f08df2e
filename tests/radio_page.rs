//! Three pages in real Chromium browsers on radio channels: who presses the key is heard by the others and by nobody
//! else, who presses second waits, is told where, and has the floor when the first lets go; another network takes the
//! floor from nobody but who has it; other channels are heard beside one's own.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod sound;
    pub mod stand;
    pub mod tools;
}

use std::path::Path;
use std::time::Duration;

use common::measure::{gapless_db, said_db};
use common::sound::{RATE, TONES_HZ, read, scratch, write_tone};
use common::stand::Stand;
use common::tools;
use serde_json::{Value, json};
use tokio::sync::Mutex;

const NAMES: [&str; 3] = ["Ann", "Ben", "Cem"];

/// Six browsers at a time are too many for a small machine.
static BROWSERS: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_talks_at_a_time_and_the_next_is_promoted() {
    let _turn = BROWSERS.lock().await;
    let stand = Stand::start();
    configure(&stand, "harbour", &patient()).await;
    let files = scratch("radio_page");
    let windows = ["room=harbour,width=1280"; 2].into_iter();
    let windows = windows.chain(["room=harbour,width=360,touch=1"]);
    let said = perform(&stand, "radio.mjs", &files, windows).await;
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
    let gone = stand
        .until("harbour", Duration::from_secs(10), <[String]>::is_empty)
        .await;
    println!(
        "the room is empty after {gone:?}; {}",
        stand.timekeeping().await
    );
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_channel_is_heard_as_loud_as_one_likes() {
    let _turn = BROWSERS.lock().await;
    let stand = Stand::start();
    for room in ["harbour", "anchorage", "night-watch"] {
        configure(&stand, room, &patient()).await;
    }
    let files = scratch("radio_channels");
    let windows = [
        "room=harbour,width=1280",
        "room=night-watch",
        "room=night-watch",
    ];
    let said = perform(&stand, "channels.mjs", &files, windows).await;
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
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_in_a_hurry_do_no_harm() {
    let _turn = BROWSERS.lock().await;
    let stand = Stand::start();
    let files = scratch("radio_clicks");
    let windows = ["room=pier,listen=1", "room=pier"];
    let said = perform(&stand, "clicks.mjs", &files, windows).await;
    assert_eq!(said, json!({ "track": "live", "ticks": 1, "mode": "ptt" }));
    stand.stop().await;
}

/// A radio channel in which nobody is cut off on a machine that takes its time: not for talking long, nor for having
/// sent nothing for a while.
fn patient() -> Value {
    json!({ "mode": "ptt", "talk_limit_s": 300, "end_of_media_ms": 60_000 })
}

/// Lets a script play with Ann's, Ben's and Cem's pages; gives what it returns.
async fn perform(
    stand: &Stand,
    script: &str,
    files: &Path,
    windows: impl IntoIterator<Item = &str>,
) -> Value {
    let pages = NAMES.iter().zip(TONES_HZ).zip(windows);
    let pages = pages.map(|((name, hz), window)| {
        let said = files.join(format!("{name}-says.wav"));
        write_tone(&said, hz, 120);
        format!("--page=name={name},{window},mic={}", said.display())
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tools")
        .join(script);
    let arguments = [
        format!("http://{}", stand.http()),
        "--timeout=60".to_owned(),
        format!("--script={}", script.display()),
        format!("--out={}", files.display()),
    ];
    let arguments: Vec<String> = arguments.into_iter().chain(pages).collect();
    let report = tokio::task::spawn_blocking(move || tools::browser(arguments));
    let report = report.await.unwrap();
    println!("{:#}", report["script"]);
    assert_eq!(report["ok"], true, "{report:#}");
    report["script"].clone()
}

async fn configure(stand: &Stand, room: &str, settings: &Value) {
    let url = format!("http://{}/v1/rooms/{room}", stand.http());
    let request = reqwest::Client::new()
        .put(url)
        .header("content-type", "application/json");
    let answer = request.body(settings.to_string()).send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}

/// The one who talks is heard and no other tone is, one's own included.
///
/// On a busy machine sound has gaps, so that who is there need not be there half of the time; who is not, must not.
fn judge(phase: &str, heard: Option<usize>, name: &str, pcm: &[f32]) {
    assert!(
        pcm.len() >= 2 * RATE,
        "{phase}: {name} recorded {} samples",
        pcm.len()
    );
    let medians_db = TONES_HZ.map(|hz| said_db(pcm, hz));
    println!("{phase}: {name} hears {medians_db:.1?} dBFS in the median");
    for (tone, hz) in TONES_HZ.into_iter().enumerate() {
        let (level_db, bar_db) = match heard == Some(tone) {
            true => (gapless_db(pcm, hz), -18.0..-6.0),
            false => (medians_db[tone], f64::NEG_INFINITY..-55.0),
        };
        assert!(
            bar_db.contains(&level_db),
            "{phase}: {name} hears {} at {level_db:.1} dBFS, not within {bar_db:?}",
            NAMES[tone]
        );
    }
}
