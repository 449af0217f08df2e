//! Chromium and Firefox in one room, through the web page.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod pages;
    pub mod sound;
    pub mod stand;
    pub mod tools;
}

use common::measure::{gapless_db, said_db};
use common::pages::{BROWSERS, run};
use common::sound::{TONES_HZ, read, scratch, write_tone};
use common::stand::Stand;
use serde_json::json;

/// The sine of Firefox's own fake microphone; only whole numbers can be set.
const FOX_HZ: f64 = 1_472.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_and_chromium_hear_each_other_and_not_themselves() {
    let _turn = BROWSERS.lock().await;
    let stand = Stand::start();
    let files = scratch("two_makes");
    let tone = files.join("Ann-says.wav");
    write_tone(&tone, TONES_HZ[0], 120);
    let pages = [
        format!("name=Ann,room=mixed,mic={}", tone.display()),
        format!("name=Fox,room=mixed,browser=firefox,tone={FOX_HZ}"),
    ];
    let said = run(&stand, "two-makes.mjs", &files, pages).await;
    assert_eq!(said, json!({ "roamed": true }));

    // Phase, whether Ann hears Firefox, whether Firefox hears Ann.
    let phases = [
        ("conference", true, true),
        ("roamed", true, true),
        ("reloaded", true, true),
        ("fox", true, false),
        ("ann", false, true),
    ];
    for (phase, ann_hears, fox_hears) in phases {
        let pages = [
            // Firefox says its tone 8 dB lower than the others.
            ("Ann", ann_hears, FOX_HZ, TONES_HZ[0], -26.0..-14.0),
            ("Fox", fox_hears, TONES_HZ[0], FOX_HZ, -18.0..-6.0),
        ];
        for (name, hears, other_hz, own_hz, bar_db) in pages {
            let heard = read(&files.join(format!("{phase}-{name}.wav")));
            let (other_db, own_db) = (said_db(&heard, other_hz), said_db(&heard, own_hz));
            let loudest_db = gapless_db(&heard, other_hz);
            println!(
                "{phase}: {name} hears the other at {other_db:.1} ({loudest_db:.1}) dBFS, itself at {own_db:.1} dBFS"
            );
            if hears {
                assert!(
                    bar_db.contains(&loudest_db),
                    "{phase}: {name} does not hear the other"
                );
            } else {
                assert!(other_db < -55.0, "{phase}: {name} hears the other");
            }
            assert!(
                own_db < -50.0 && (!hears || own_db < loudest_db - 30.0),
                "{phase}: {name} hears itself"
            );
        }
    }
    stand.stop().await;
}
