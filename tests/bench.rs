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

#[test]
fn listeners_get_every_packet_and_hear_both_talkers() {
    let values = bench(&[
        "load",
        "--talkers=2",
        "--listeners=4",
        "--speech=tones",
        "--seconds=3",
        "--settle=1",
        "--server-arg=--realtime=false",
    ]);
    let value = |name: &str| values.get(name).copied().unwrap_or(f64::NAN);
    assert_eq!(value("clients_6_lost_percent"), 0.0, "{values:?}");
    assert!(value("clients_6_received") >= 6.0 * 100.0, "{values:?}");
    assert!(value("nobody_rss_mb") > 1.0, "its process was seen");
    // The first two ears are talkers, the others listeners.
    for ear in 0..4 {
        let tone = |hz: u32| value(&format!("clients_6_ear_{ear}_{hz}_hz_dbfs"));
        assert!(value(&format!("clients_6_ear_{ear}_packets")) > 100.0);
        match ear {
            0 => assert!(tone(570) > -30.0 && tone(400) < -45.0, "{values:?}"),
            1 => assert!(tone(400) > -30.0 && tone(570) < -45.0, "{values:?}"),
            _ => assert!(tone(400) > -30.0 && tone(570) > -30.0, "{values:?}"),
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
        "--server-arg=--realtime=false",
    ]);
    assert_eq!(
        values.get("clients_3_lost_percent"),
        Some(&0.0),
        "{values:?}"
    );
    assert!(values.contains_key("rooms_5_threads"), "{values:?}");
}
