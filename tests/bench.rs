//! `mixminus bench` against the server it starts itself: what the clients were promised is what they got.
//!
//! Facts only: how late anything was depends on what the machine does besides.

use std::collections::HashMap;
use std::process::Command;

/// Runs `mixminus bench` and reads the lines for scripts.
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

/// Every packet came, but for those of ticks that the server says it had no processor for.
fn assert_complete(values: &HashMap<String, f64>, clients: &str) {
    let value = |name: &str| values[&format!("{clients}_{name}")];
    let excused = value("misses") > 0.0;
    assert!(value("lost_percent") == 0.0 || excused, "{values:#?}");
    assert!(value("received") > 0.0, "{values:#?}");
}

#[test]
fn listeners_get_every_packet_and_hear_both_talkers() {
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
    // The first two ears are talkers, the others listeners.
    for ear in 0..4 {
        let tone = |hz: u32| value(&format!("clients_6_ear_{ear}_{hz}_hz_dbfs"));
        assert!(value(&format!("clients_6_ear_{ear}_packets")) > 0.0);
        // Each says -23 dBFS. Of itself a talker hears nothing but what the codec makes up between packets.
        let (first, second) = (tone(400), tone(570));
        match ear {
            0 => assert!(second > -30.0 && first < second - 15.0, "{values:#?}"),
            1 => assert!(first > -30.0 && second < first - 15.0, "{values:#?}"),
            _ => assert!(first > -30.0 && second > -30.0, "{values:#?}"),
        }
    }
}

#[test]
fn everybody_may_talk() {
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
fn every_chirp_is_heard_through_the_server_and_without() {
    let values = bench(&["latency", "--spurts=4", "--seconds=5"]);
    let value = |name: &str| values.get(name).copied().unwrap_or(f64::NAN);
    println!("{values:#?}");
    assert_eq!(value("latency_self_joins"), 3.0, "{values:?}");
    assert!(value("latency_self_chirps") >= 6.0, "{values:?}");
    // Two look-aheads are longer than one, whatever the machine does.
    assert!(value("latency_self_through_p50_ms") > value("latency_direct_p50_ms"));
    assert!(value("latency_self_first_audio_p50_ms") > 0.0);
    assert!(value("latency_direct_damaged_percent") < 50.0, "{values:?}");
}

#[test]
fn loss_on_the_way_is_heard_as_damage() {
    let values = bench(&["latency", "--spurts=3", "--seconds=7", "--loss=30"]);
    println!("{values:#?}");
    assert!(values["latency_self_damaged_percent"] > 5.0, "{values:?}");
}

#[test]
fn a_tick_is_timed_and_its_encodes_are_counted() {
    let values = bench(&[
        "tick",
        "--participants=20",
        "--talkers=1",
        "--profile=voice",
        "--ticks=100",
    ]);
    let value = |name: &str| values.get(&format!("tick_voice_20_people_1_talking_{name}"));
    assert_eq!(value("ticks"), Some(&100.0), "{values:?}");
    // One stream for the nineteen who listen, and now and then one for the talker.
    let (encodes, packets) = (value("encodes_mean"), value("packets_mean"));
    assert!(
        encodes.is_some_and(|encodes| (0.2..=2.0).contains(encodes)),
        "{values:?}"
    );
    assert!(packets.is_some_and(|packets| *packets > 5.0), "{values:?}");
    assert!(value("p50_us").is_some_and(|us| *us > 0.0));
}

#[test]
fn whoever_asks_for_the_floor_gets_it_or_is_counted() {
    let values = bench(&["floor", "--requests=20", "--clients=3", "--pause=300"]);
    println!("{values:#?}");
    for way in ["data", "http"] {
        let value = |name: &str| values[&format!("floor_{way}_{name}")];
        let fates = ["granted", "queued", "denied", "failed", "abandoned"];
        assert_eq!(fates.map(value).iter().sum::<f64>(), 20.0, "{values:?}");
        assert!(value("granted") > 0.0 && value("granted_p95_ms") > 0.0);
        // There is room in the queue, and nobody talks for long.
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
fn a_key_is_pressed_for_each_talk_spurt() {
    let values = bench(&["latency", "--ptt", "--spurts=4", "--seconds=5"]);
    println!("{values:#?}");
    let value = |name: &str| values[&format!("latency_self_{name}")];
    // Without the floor nothing is heard, and without its first words no start of a talk-spurt.
    assert!(value("chirps") >= 6.0, "{values:?}");
    assert!(value("start_added_p50_ms").is_finite());
    // Who is alone is denied the floor: were the listener not there first, each of the three connections would miss one.
    assert!(value("missed") <= 1.0, "{values:?}");
    assert!(value("damaged_percent") < 5.0, "{values:?}");
    assert_eq!(
        value("joins"),
        0.0,
        "the listener joins before there is audio"
    );
}
