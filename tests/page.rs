//! The page in real browsers: Chromium and Firefox in one room, the lobby, a room's controls, and a
//! server that dies while a participant talks.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod pages;
    pub mod sound;
    pub mod test_server;
    pub mod tools;
}

use common::measure::{gapless_db, said_db};
use common::pages::{BROWSERS, perform, run};
use common::sound::{TONES_HZ, read, scratch, write_tone};
use common::test_server::TestServer;
use common::tools;
use serde_json::json;

/// The sine of Firefox's fake microphone; its setting takes whole numbers only.
const FOX_HZ: f64 = 1_472.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_and_chromium_pages_hear_each_other_but_not_themselves() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    let files = scratch("two_makes");
    let tone = files.join("Ann-says.wav");
    write_tone(&tone, TONES_HZ[0], 120);
    let pages = [
        format!("name=Ann,room=mixed,mic={}", tone.display()),
        format!("name=Fox,room=mixed,browser=firefox,tone={FOX_HZ}"),
    ];
    let said = run(&server, "two-makes.mjs", &files, pages).await;
    assert_eq!(said, json!({ "roamed": true }));

    // Each phase of the script, whether Ann hears Fox in it, and whether Fox hears Ann.
    let phases = [
        ("conference", true, true),
        ("roamed", true, true),
        ("reloaded", true, true),
        ("fox", true, false),
        ("ann", false, true),
    ];
    for (phase, ann_hears, fox_hears) in phases {
        let pages = [
            // Firefox sends its tone 8 dB quieter than the other clients.
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
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_lobby_sorts_rooms_waits_for_a_click_and_explains_refusals() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    let files = scratch("page_lobby");
    let said = run(&server, "lobby.mjs", &files, ["name=Ann,join=0"]).await;
    let expected = json!({
        "autojoin": { "opened": 0, "state": "idle", "focus": "join-button", "afterClick": 1 },
        "listened": 0,
        "cards": {
            "names": [
                "a-room-with-a-name-of-sixty-three-characters-as-people-do-write", "booth",
                "desk-1", "desk-2", "desk-10", "standup-berlin",
            ],
            "mostLines": 3,
            "overflow": false,
        },
        "full": { "pressed": 0, "sentence": "This room is full (1 of 1)." },
        "unanswered": { "cancelled": "idle", "room": "desk-2", "late": "live" },
        "spelled": { "room": "team-meeting", "notice": false },
        "noNewRooms": {
            "remark": "No rooms yet.", "kind": false, "asked": 0,
            "fault": "There is no room called “fresh”. Choose one below.",
        },
    });
    assert_eq!(said, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_in_a_room_shows_monitors_channels_and_notices_without_covering_a_control() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    for room in ["harbour", "night-watch"] {
        let patient = json!({ "mode": "ptt", "talk_limit_s": 300, "end_of_media_ms": 60_000 });
        server.configure(room, &patient).await;
    }
    for room in ["desk-1", "desk-10", "desk-2"] {
        // The room's own setting is cleared, so that the room refuses to be monitored, as rooms of
        // the mode `open` do by default.
        let refusing = json!({ "allow_monitors": null });
        server.configure(room, &refusing).await;
    }
    let files = scratch("page_room");
    let tone = files.join("tone.wav");
    write_tone(&tone, TONES_HZ[0], 120);
    let mic = format!("mic={}", tone.display());
    let pages = [
        format!("name=Ann,room=harbour,width=1280,{mic}"),
        format!("name=Ben,room=harbour,{mic}"),
        format!("name=Cem,room=night-watch,{mic}"),
        format!("name=Dan,join=0,{mic}"),
    ];
    let said = run(&server, "room.mjs", &files, pages).await;
    let expected = json!({
        "order": ["harbour", "desk-1", "desk-2", "desk-10", "night-watch"],
        "monitors": {
            "conference": "no monitoring", "offered": false, "before": false, "names": "Ann (harbour)",
            "told": "The room “night-watch” does not allow monitoring.",
        },
        "icons": { "fetched": [], "empty": [] },
        "latch": [
            "Press the button or space bar to talk.", "Press to talk",
            "Hold the button or space bar to talk.", "Hold to talk",
        ],
        "spaceAfterChoice": true,
        "covered": [],
        "crash": ["Ann", "Dan"],
        "notices": { "told": "Too fast. Wait a moment.", "dismissed": true },
    });
    assert_eq!(said, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_notices_a_dead_server_before_its_browser_does() {
    let _turn = BROWSERS.lock().await;
    let server = TestServer::start();
    let files = scratch("page_faults");
    let said = perform(&server, "faults.mjs", &files, ["join=0", "join=0"]).await;
    let expected = json!({
        "born": "ptt",
        "killed": {
            "states": ["connected", "connected"], "words": "Not connected", "hint": "Nobody hears you now.",
            "microphone": false, "tones": [880, 1320, 220], "blank": 0, "released": "Not connected",
        },
        "back": ["ptt", "ptt"],
        "frozen": {
            "silent": ["connected", "connected"], "title": "pier · mixminus",
            "words": "Not connected", "delayUnderASecond": true,
        },
    });
    assert_eq!(said, expected);
    server.stop().await;
}

#[test]
fn page_modules_pass_their_unit_tests() {
    tools::page_unit_tests();
}
