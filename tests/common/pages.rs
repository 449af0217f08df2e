//! Runs pages in real browsers, driven by a script of `tests/tools`, and judges what they hear.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;

use serde_json::Value;
use tokio::sync::Mutex;

use super::measure::{gapless_db, said_db};
use super::sound::{RATE, TONES_HZ, write_tone};
use super::test_server::TestServer;
use super::tools;

/// The participants in the scripts; each of them sends one of [`TONES_HZ`].
pub const NAMES: [&str; 3] = ["Ann", "Ben", "Cem"];

/// Held while a script runs: the browsers of two scripts are too many for a small machine.
pub static BROWSERS: Mutex<()> = Mutex::const_new(());

/// Runs a script with Ann's, Ben's and Cem's pages, in as many Chromium windows as there are
/// `windows`; returns the script's result.
pub async fn perform(
    server: &TestServer,
    script: &str,
    files: &Path,
    windows: impl IntoIterator<Item = &str>,
) -> Value {
    let pages = NAMES.iter().zip(TONES_HZ).zip(windows);
    let pages = pages.map(|((name, hz), window)| {
        let said = files.join(format!("{name}-says.wav"));
        write_tone(&said, hz, 120);
        format!("name={name},{window},mic={}", said.display())
    });
    run(server, script, files, pages).await
}

/// Runs a script with these pages; returns the script's result.
pub async fn run(
    server: &TestServer,
    script: &str,
    files: &Path,
    pages: impl IntoIterator<Item = impl AsRef<str>>,
) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tools")
        .join(script);
    let arguments = [
        format!("http://{}", server.http()),
        "--timeout=60".to_owned(),
        format!("--script={}", script.display()),
        format!("--out={}", files.display()),
    ];
    let pages = pages.into_iter();
    let pages = pages.map(|page| format!("--page={}", page.as_ref()));
    let arguments: Vec<String> = arguments.into_iter().chain(pages).collect();
    let report = tokio::task::spawn_blocking(move || tools::browser(arguments));
    let report = report.await.expect("the tool does not panic");
    println!("{:#}", report["script"]);
    assert_eq!(report["ok"], true, "{report:#}");
    report["script"].clone()
}

/// Asserts that `name` hears the talker and no other tone, its own included.
///
/// On a busy machine sound has gaps, so a talker may be inaudible half of the time; the others must
/// never be audible.
///
/// - `heard`: the index of the talker in [`NAMES`], or `None` if no participant talks.
/// - `name`: the name of the listener.
pub fn judge(phase: &str, heard: Option<usize>, name: &str, pcm: &[f32]) {
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
