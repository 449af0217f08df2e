//! A client built on `aiortc`, which shares no code with this project, in a room with two headless
//! clients: it joins by the same `POST`, talks, hears the others but not itself, and leaves by
//! `DELETE`.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod channel;
    pub mod measure;
    pub mod sound;
    pub mod test_server;
    pub mod tools;
}

use std::time::Instant;

use common::channel::Channel;
use common::measure::{line, said_db};
use common::sound::{Heard, RATE, TONES_HZ, Tone, read, scratch, write_tone};
use common::test_server::{EventLog, TestServer};
use common::tools;
use mixminus::join::client::Client;
use mixminus::join::media::MediaOptions;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiortc_client_joins_talks_hears_the_others_and_leaves() {
    let _alone = ALONE.lock().await;
    let server = TestServer::start();
    let files = scratch("aiortc");
    let (said, heard) = (files.join("says.wav"), files.join("hears.wav"));
    write_tone(&said, TONES_HZ[0], 60);
    let (ann, ann_hears) = talker(&server, "Ann", TONES_HZ[1]).await;
    let (ben, ben_hears) = talker(&server, "Ben", TONES_HZ[2]).await;
    let told = EventLog::to(&ann);

    let arguments = [
        format!("{}?name=Cem", server.url("lobby")),
        format!("--play={}", said.display()),
        format!("--record={}", heard.display()),
        "--seconds=12".to_owned(),
    ];
    let began = ann_hears.pcm().len();
    let report = tokio::task::spawn_blocking(move || tools::python("aiortc_client.py", arguments));
    let report = report.await.unwrap();
    let ended = Instant::now();
    assert_eq!(
        server.names("lobby").await,
        ["Ann", "Ben"],
        "who has left is in no list"
    );
    let asked = ended.elapsed();
    let until = ann_hears.pcm().len();
    ann.leave().await.unwrap();
    ben.leave().await.unwrap();

    println!("{report}\nasked {asked:?} after its end");
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(
        (&report["post_status"], &report["delete_status"]),
        (&201.into(), &200.into())
    );
    assert_eq!(report["content_type"], "application/sdp");
    let id = report["participant_id"].as_str().unwrap();
    assert_eq!(
        told.left().first(),
        Some(&(id.to_owned(), "left".to_owned())),
        "the others are told, before Ben left"
    );

    // `settled` leaves out the first three seconds, in which all clients start, and the last two,
    // in which this client leaves.
    judge("Cem", TONES_HZ[0], &settled(&read(&heard)));
    let during = |heard: &Heard| {
        let pcm = heard.pcm();
        settled(&pcm[began.min(pcm.len())..until.min(pcm.len())])
    };
    judge("Ann", TONES_HZ[1], &during(&ann_hears));
    judge("Ben", TONES_HZ[2], &during(&ben_hears));
    println!("{}", server.timekeeping().await);
    server.stop().await;
}

/// The tests run one after the other: levels judged to 40 dB must not suffer from shared cores.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The client takes the floor of a push-to-talk room by the simplest means: `PUT` and `DELETE` on
/// the session's floor resource.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiortc_client_takes_the_floor_over_http_with_every_codec() {
    let _alone = ALONE.lock().await;
    let radio = Channel::start("aiortc").await;
    let said = scratch("aiortc-floor").join("says.wav");
    write_tone(&said, TONES_HZ[1], 60);
    for codec in ["opus", "pcmu", "pcma"] {
        let began = radio.heard_samples();
        let arguments = [
            format!("{}?name={codec}", radio.url()),
            format!("--play={}", said.display()),
            format!("--codec={codec}"),
            "--floor".to_owned(),
            "--seconds=4".to_owned(),
        ];
        let report =
            tokio::task::spawn_blocking(move || tools::python("aiortc_client.py", arguments));
        let report = report.await.unwrap();
        println!("{report}");
        assert_eq!(report["ok"], true, "{report:#}");
        assert_eq!(
            (&report["floor_status"], &report["release_status"]),
            (&200.into(), &204.into())
        );
        let id = report["participant_id"].as_str().unwrap();
        let connected_s = report["connected_ms"].as_f64().unwrap() / 1e3;
        radio
            .assert_one_burst_since(began, TONES_HZ[1], 4.0 - connected_s, id)
            .await;
    }
    radio.stop().await;
}

async fn talker(server: &TestServer, name: &str, hz: f64) -> (Client, Heard) {
    let heard = Heard::default();
    let media = MediaOptions {
        source: Tone::boxed(hz),
        sink: heard.sink(),
        ..MediaOptions::default()
    };
    (server.join("lobby", name, media).await, heard)
}

fn settled(heard: &[f32]) -> Vec<f32> {
    assert!(
        heard.len() > 10 * RATE,
        "{} samples are recorded",
        heard.len()
    );
    heard[4 * RATE..heard.len() - 2 * RATE].to_vec()
}

/// Asserts that a participant hears both other tones, and its own tone always at least 40 dB below
/// them.
fn judge(name: &str, own_hz: f64, heard: &[f32]) {
    let own = line(heard, own_hz);
    let others = TONES_HZ.iter().filter(|hz| **hz != own_hz);
    let others_db: Vec<f64> = others.map(|hz| said_db(heard, *hz)).collect();
    let quietest_db = others_db.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{name}: others at {others_db:.1?} dBFS, own {:.1} dB under the quieter in the median window, {:.1} dB in the loudest, \
         {:.1} dB as a tone",
        quietest_db - own.median_db,
        quietest_db - own.noise_db,
        quietest_db - own.loudest_db,
    );
    assert!(
        others_db.iter().all(|db| (-16.0..-8.0).contains(db)),
        "{name} hears not both others"
    );
    assert!(
        quietest_db - own.median_db.max(own.loudest_db) >= 40.0,
        "{name} hears itself"
    );
}
