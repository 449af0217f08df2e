//! Two pages in real Chromium browsers and one headless client in a room: each hears the two others
//! but not itself.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod process;
    pub mod sound;
    pub mod test_server;
    pub mod tools;
}

use std::path::Path;
use std::time::Duration;

use common::measure::{line, said_db};
use common::process::Process;
use common::sound::{RATE, TONES_HZ, read, scratch, write_tone};
use common::test_server::TestServer;
use common::tools;
use serde_json::Value;

const NAMES: [&str; 3] = ["Ann", "Ben", "Cem"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_pages_and_headless_client_hear_each_other_but_not_themselves() {
    let server = TestServer::start();
    let files = scratch("browser");
    let said = NAMES.map(|name| files.join(format!("{name}-says.wav")));
    let heard = NAMES.map(|name| files.join(format!("{name}-hears.wav")));
    for (file, hz) in said.iter().zip(TONES_HZ) {
        // The file is longer than the test takes on the slowest machine: when Chromium's fake
        // microphone starts the file again there is a gap, and a gap is noise at every frequency.
        write_tone(file, hz, 120);
    }
    let mut cem = Process::join([
        server.url("lobby").as_str(),
        "--name=Cem",
        "--loop",
        &format!("--play={}", said[2].display()),
        &format!("--record={}", heard[2].display()),
    ]);
    server
        .until("lobby", Duration::from_secs(10), |names| names == ["Cem"])
        .await;
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    let arguments = [
        format!("http://{}", server.http()),
        format!(
            "--page=name=Ann,mic={},record={}",
            said[0].display(),
            heard[0].display()
        ),
        format!(
            "--page=name=Ben,mic={},record={}",
            said[1].display(),
            heard[1].display()
        ),
        "--seconds=12".to_owned(),
        // The seconds that the Opus encoders and the jitter buffers need to settle.
        "--settle=4".to_owned(),
        "--timeout=60".to_owned(),
        format!("--screenshots={}", screenshots.display()),
    ];
    let report = tokio::task::spawn_blocking(move || tools::browser(arguments))
        .await
        .unwrap();
    cem.stop();

    assert_eq!(report["ok"], true, "{report:#}");
    for (page, name) in report["pages"].as_array().unwrap().iter().zip(NAMES) {
        judge_page(page, name, &screenshots.join(format!("{name}.png")));
    }
    for (own, name) in NAMES.iter().enumerate() {
        judge(own, name, &read(&heard[own]));
    }
    let gone = server
        .until("lobby", Duration::from_secs(10), <[String]>::is_empty)
        .await;
    println!(
        "the room is empty after {gone:?}; {}",
        server.timekeeping().await
    );
    server.stop().await;
}

/// Asserts that the page is connected and shows both other participants.
fn judge_page(page: &Value, name: &str, screenshot: &Path) {
    assert_eq!(page["state"], "connected", "{name}");
    assert_eq!(
        page["participants"].as_array().map(Vec::len),
        Some(3),
        "{name}"
    );
    let sources = page["contributing_sources"].as_array().unwrap();
    println!("{name}: sources {sources:?}, inbound {}", page["inbound"]);
    assert_eq!(sources.len(), 2, "{name}: each of the others is named");
    assert!(
        sources
            .iter()
            .all(|source| source["csrc"].as_u64().is_some() && source["looks"].as_u64() > Some(50))
    );
    let screenshot = std::fs::read(screenshot).unwrap();
    assert!(
        screenshot.starts_with(b"\x89PNG") && screenshot.len() > 5_000,
        "{name}'s screenshot"
    );
}

/// Asserts that a participant hears both other tones, and its own tone always at least 40 dB below
/// them.
fn judge(own: usize, name: &str, heard: &[f32]) {
    let others: Vec<f64> = TONES_HZ
        .into_iter()
        .filter(|hz| *hz != TONES_HZ[own])
        .collect();
    let heard = together(heard, &others);
    let own = line(heard, TONES_HZ[own]);
    let others_db = others.iter().map(|hz| said_db(heard, *hz));
    let others_db = others_db.inspect(|db| {
        assert!(
            (-18.0..-6.0).contains(db),
            "{name} hears another at {db:.1} dBFS"
        )
    });
    let quietest_db = others_db.fold(f64::INFINITY, f64::min);
    let seconds = heard.len() / RATE;
    println!(
        "{name}: {seconds} s, the quieter other at {quietest_db:.1} dBFS, own {:.1} dB under it in the median window, \
         {:.1} dB in the loudest, {:.1} dB as a tone",
        quietest_db - own.median_db,
        quietest_db - own.noise_db,
        quietest_db - own.loudest_db,
    );
    assert!(
        seconds >= 8,
        "{name} heard both others for {seconds} s only"
    );
    assert!(
        quietest_db - own.median_db.max(own.loudest_db) >= 40.0,
        "{name} hears itself"
    );
}

/// Returns the part of a recording in which both other tones are heard, without its first and last
/// second: the headless client joins before the pages and leaves after them.
fn together<'a>(heard: &'a [f32], others: &[f64]) -> &'a [f32] {
    let levels: Vec<Vec<f64>> = heard
        .chunks_exact(RATE)
        .map(|second| others.iter().map(|hz| said_db(second, *hz)).collect())
        .collect();
    let both = |second: &Vec<f64>| second.iter().all(|level_db| *level_db > -20.0);
    println!("the others, second by second: {levels:.0?} dBFS");
    let first = levels.iter().position(both).expect("both are heard");
    let last = levels.iter().rposition(both).expect("both are heard");
    &heard[((first + 1) * RATE).min(last * RATE)..last * RATE]
}
