//! `mixminus bench load` against the server it starts itself: what the clients were promised is what they got.
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
