//! `mixminus bench` against the server that it starts itself: the simulated clients receive what
//! the scenario promises.
//!
//! Only facts are asserted, no delays: delays depend on the load of the machine.

use std::collections::HashMap;
use std::process::Command;

/// Runs `mixminus bench` and returns the values that it prints for scripts, by name.
fn bench(arguments: &[&str]) -> HashMap<String, f64> {
    let output = Command::new(env!("CARGO_BIN_EXE_mixminus"))
        .arg("bench")
        .args(arguments)
        .arg("--quiet")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}");
    said.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(',')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Asserts that every packet arrived at the clients, except those of ticks that the server reports
/// as missed.
fn assert_complete(values: &HashMap<String, f64>, clients: &str) {
    let value = |name: &str| values[&format!("{clients}_{name}")];
    let excused = value("misses") > 0.0;
    assert!(value("lost_percent") == 0.0 || excused, "{values:#?}");
    assert!(value("received") > 0.0, "{values:#?}");
}

#[test]
fn bench_load_listeners_receive_every_packet_and_hear_both_talkers() {
    let values = bench(&[
        "load",
        "--talkers=2",
        "--listeners=4",
        "--speech=tones",
        "--seconds=3",
        "--settle=1",
    ]);
    let value = |name: &str| values.get(name).copied().unwrap_or(f64::NAN);
    assert_complete(&values, "clients_6");
    assert!(value("nobody_rss_mb") > 1.0, "its process was seen");
    // Audio checks 0 and 1 belong to the talkers, the others to listeners.
    for ear in 0..4 {
        let tone = |hz: u32| value(&format!("clients_6_ear_{ear}_{hz}_hz_dbfs"));
        assert!(value(&format!("clients_6_ear_{ear}_packets")) > 0.0);
        // Each tone is sent at -23 dBFS. At the frequency of its own tone a talker hears only what
        // the codec makes up between packets.
        let (first, second) = (tone(400), tone(570));
        match ear {
            0 => assert!(second > -30.0 && first < second - 15.0, "{values:#?}"),
            1 => assert!(first > -30.0 && second < first - 15.0, "{values:#?}"),
            _ => assert!(first > -30.0 && second > -30.0, "{values:#?}"),
        }
    }
}

#[test]
fn bench_load_lets_every_client_talk() {
    let values = bench(&[
        "load",
        "--everybody-talks=3",
        "--rooms=5",
        "--seconds=2",
        "--settle=1",
    ]);
    assert_complete(&values, "clients_3");
    assert!(values.contains_key("rooms_5_threads"), "{values:#?}");
}

#[test]
fn bench_latency_hears_every_chirp_through_the_server_and_without_it() {
    let values = bench(&["latency", "--spurts=4", "--seconds=5"]);
    let value = |name: &str| values.get(name).copied().unwrap_or(f64::NAN);
    println!("{values:#?}");
    assert_eq!(value("latency_self_joins"), 3.0, "{values:?}");
    assert!(value("latency_self_chirps") >= 6.0, "{values:?}");
    // The way through the server has the look-ahead of two codecs, the direct way that of one, so
    // it is slower on any machine.
    assert!(value("latency_self_through_p50_ms") > value("latency_direct_p50_ms"));
    assert!(value("latency_self_first_audio_p50_ms") > 0.0);
    assert!(value("latency_direct_damaged_percent") < 50.0, "{values:?}");
}

#[test]
fn bench_latency_reports_packet_loss_as_damage() {
    let values = bench(&["latency", "--spurts=3", "--seconds=7", "--loss=30"]);
    println!("{values:#?}");
    assert!(values["latency_self_damaged_percent"] > 5.0, "{values:?}");
}

#[test]
fn bench_tick_times_a_tick_and_counts_its_encodes() {
    let values = bench(&[
        "tick",
        "--participants=20",
        "--talkers=1",
        "--profile=voice",
        "--ticks=100",
    ]);
    let value = |name: &str| values.get(&format!("tick_voice_20_people_1_talking_{name}"));
    assert_eq!(value("ticks"), Some(&100.0), "{values:?}");
    // Usually one encode for the nineteen listeners, at times one more for the talker.
    let (encodes, packets) = (value("encodes_mean"), value("packets_mean"));
    assert!(
        encodes.is_some_and(|encodes| (0.2..=2.0).contains(encodes)),
        "{values:?}"
    );
    assert!(packets.is_some_and(|packets| *packets > 5.0), "{values:?}");
    assert!(value("p50_us").is_some_and(|us| *us > 0.0));
}

#[test]
fn bench_floor_counts_every_request_by_its_outcome() {
    let values = bench(&["floor", "--requests=20", "--clients=3", "--pause=300"]);
    println!("{values:#?}");
    for way in ["data", "http"] {
        let value = |name: &str| values[&format!("floor_{way}_{name}")];
        let fates = ["granted", "queued", "denied", "failed", "abandoned"];
        assert_eq!(fates.map(value).iter().sum::<f64>(), 20.0, "{values:?}");
        assert!(value("granted") > 0.0 && value("granted_p95_ms") > 0.0);
        // The queue holds all clients and every talk-spurt is short, so no request is denied.
        assert_eq!([value("denied"), value("failed")], [0.0, 0.0], "{values:?}");
    }
    let values = bench(&[
        "floor",
        "--requests=20",
        "--queue=0",
        "--hold=500",
        "--way=data",
    ]);
    assert!(values["floor_data_denied"] > 0.0, "{values:?}");
}

#[test]
fn bench_latency_requests_the_floor_for_each_talk_spurt() {
    let values = bench(&["latency", "--ptt", "--spurts=4", "--seconds=5"]);
    println!("{values:#?}");
    let value = |name: &str| values[&format!("latency_self_{name}")];
    // A chirp is heard only if the floor was granted; the start of a talk-spurt is measured only if
    // its first 20 ms are heard.
    assert!(value("chirps") >= 6.0, "{values:?}");
    assert!(value("start_added_p50_ms").is_finite());
    // A participant alone in a room is denied the floor. If the listener joined after the talker,
    // each of the three connections would miss a talk-spurt.
    assert!(value("missed") <= 1.0, "{values:?}");
    assert!(value("damaged_percent") < 5.0, "{values:?}");
    assert_eq!(
        value("joins"),
        0.0,
        "the listener joins before there is audio"
    );
}
