//! Playout over the recorded and synthetic arrival traces of `fixtures/traces`.

use crate::common::{Flight, Heard, packet, play};
use crate::recordings::fixture;
use mixer::format::TickLength;
use mixer::source::{PlayoutStats, Pulled};

/// Replays a trace; returns the ticks, the playout statistics and the number of packets sent.
fn replay(name: &str) -> (Vec<Heard>, PlayoutStats, usize) {
    let path = fixture(&format!("traces/{name}"));
    let text = std::fs::read_to_string(path).expect("the trace is in the repository");
    let flights: Vec<Flight> = text
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split(',');
            let mut field = || fields.next().expect("three fields");
            let n: u64 = field().parse().expect("a number");
            let sent_us: u64 = field().parse().expect("a number");
            let arrival_us = field().parse::<u64>().ok().map(|us| us + 1_000_000);
            Flight {
                sent_us: sent_us + 1_000_000,
                arrival_us,
                packet: packet(n, n * 960, 20.0),
            }
        })
        .collect();
    let packets = flights.len();
    let (ticks, _, playout) = play(&flights, TickLength::Ms20);
    (ticks, playout.stats(), packets)
}

/// Concealed samples as a percentage of the samples sent.
fn concealed_percent(stats: &PlayoutStats, packets: usize) -> f64 {
    stats.concealed_samples as f64 / (packets as f64 * 960.0) * 100.0
}

fn mean_delay(ticks: &[Heard], from: f64, to: f64) -> f64 {
    let heard = ticks
        .iter()
        .filter(|t| (from..to).contains(&t.seconds) && t.pulled == Pulled::Audio);
    let delays: Vec<f64> = heard.map(|t| t.delay_ms).collect();
    delays.iter().sum::<f64>() / delays.len() as f64
}

#[test]
fn playout_conceals_nothing_on_the_clean_trace() {
    let (ticks, stats, _) = replay("clean.csv");
    assert_eq!((stats.concealed_samples, stats.lost, stats.late), (0, 0, 0));
    assert!(mean_delay(&ticks, 2.0, 30.0) <= 21.0);
}

#[test]
fn playout_conceals_at_most_1_percent_at_30_ms_jitter_and_recovers() {
    for name in ["jitter-30ms.csv", "jitter-30ms-ordered.csv"] {
        let (ticks, stats, packets) = replay(name);
        let concealed = concealed_percent(&stats, packets);
        assert!(
            concealed <= 1.0,
            "{name}: {concealed:.2} % concealed, {stats:?}"
        );
        let after = mean_delay(&ticks, 42.0, 46.0);
        assert!(
            after <= 21.5,
            "{name}: {after:.1} ms ten seconds after the jitter"
        );
    }
}

#[test]
fn playout_conceals_lost_packets_and_nothing_else() {
    for name in ["loss-2.csv", "loss-10.csv", "loss-bursts-5.csv"] {
        let (_, stats, packets) = replay(name);
        let lost = packets as u64 - stats.received;
        assert!(
            stats.lost.abs_diff(lost) <= 2,
            "{name}: {lost} lost, {stats:?}"
        );
        // Concealment lasts at most 120 ms, so a long burst conceals less than it lost.
        assert!(
            stats.concealed_samples <= (lost + 2) * 960,
            "{name}: {stats:?}"
        );
        assert!(
            stats.concealed_samples >= lost * 960 * 2 / 3,
            "{name}: {stats:?}"
        );
        assert_eq!(stats.late, 0, "{name}");
    }
}

#[test]
fn playout_conceals_at_most_3_percent_on_the_wlan_trace() {
    let (ticks, stats, packets) = replay("wlan.csv");
    let concealed = concealed_percent(&stats, packets);
    assert!(concealed <= 3.0, "{concealed:.2} % concealed, {stats:?}");
    let highest = ticks.iter().map(|t| t.delay_ms).fold(0.0, f64::max);
    assert!(highest <= 250.0, "{highest} ms");
}

#[test]
fn playout_follows_clock_drift_on_the_drift_traces() {
    for name in [
        "drift+200ppm.csv",
        "drift-200ppm.csv",
        "drift+5000ppm.csv",
        "drift-5000ppm.csv",
    ] {
        let (ticks, stats, packets) = replay(name);
        let concealed = concealed_percent(&stats, packets);
        assert!(
            concealed <= 0.2,
            "{name}: {concealed:.2} % concealed, {stats:?}"
        );
        let delays = ticks
            .iter()
            .filter(|t| t.seconds > 3.0 && t.pulled == Pulled::Audio);
        let (low, high) = delays.fold((f64::MAX, f64::MIN), |(low, high), t| {
            (low.min(t.delay_ms), high.max(t.delay_ms))
        });
        assert!(
            (high - low) / 2.0 <= 20.0,
            "{name}: {low:.1} to {high:.1} ms"
        );
    }
}

#[test]
fn playout_restores_the_order_of_reordered_packets() {
    let (ticks, stats, packets) = replay("reordering.csv");
    let concealed = concealed_percent(&stats, packets);
    assert!(concealed <= 1.0, "{concealed:.2} % concealed, {stats:?}");
    let at = |seconds: f64| {
        ticks
            .iter()
            .find(|t| t.seconds >= seconds)
            .map_or(0, |t| t.concealed_samples)
    };
    let later = (stats.concealed_samples - at(3.0)) as f64 / 960.0;
    assert!(later <= 4.0, "{later} packets after the first two seconds");
}
