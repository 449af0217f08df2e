//! Playout delay under simulated networks, in virtual time: how long packets wait, and how much
//! sound is concealed or stretched.

use crate::common::{Chance, clicks, delays, flights, mean, packet, play, spread};
use mixer::format::TickLength;

#[test]
fn playout_changes_no_sample_on_a_clean_network_and_waits_one_tick() {
    for phase_us in (0..20_000).step_by(1_700) {
        let (ticks, sound, playout) = play(
            &flights(20.0, 0.0, phase_us, |_, _| Some(300)),
            TickLength::Ms20,
        );
        let stats = playout.stats();
        assert_eq!(
            (stats.concealed_samples, stats.lost, stats.late),
            (0, 0, 0),
            "phase {phase_us}"
        );
        assert_eq!(
            (
                stats.removed_samples,
                stats.inserted_samples,
                stats.covered_samples
            ),
            (0, 0, 0),
            "phase {phase_us}"
        );
        let (low, high) = spread(&delays(&ticks, 1.5, 20.0));
        assert!(
            low >= 1.0 && high <= 27.1,
            "phase {phase_us}: {low} to {high} ms"
        );
        assert_eq!(clicks(&sound), 0, "phase {phase_us}");
    }
}

#[test]
fn playout_covers_a_slightly_late_packet_without_a_jump() {
    for phase_us in (0..20_000).step_by(1_700) {
        let flights = flights(13.0, 0.0, phase_us, |n, _| {
            Some(if n % 150 == 100 { 15_300 } else { 300 })
        });
        let (ticks, sound, playout) = play(&flights, TickLength::Ms20);
        let stats = playout.stats();
        assert!(stats.concealed_samples <= 4 * 960, "phase {phase_us}");
        // The guessed samples are a fifth quieter than the tone; a phase jump would give a much
        // larger step.
        let steps = sound.windows(3);
        let jumps = steps.filter(|w| (w[0] - 2.0 * w[1] + w[2]).abs() > 0.15);
        assert_eq!(jumps.count(), 0, "phase {phase_us}");
        let (low, high) = spread(&delays(&ticks, 1.5, 13.5));
        assert!(
            low >= 1.0 && high <= 40.0,
            "phase {phase_us}: {low} to {high} ms"
        );
    }
}

/// A radio's media clock stands still between talk-spurts, so after each pause its packets appear
/// late by the length of that pause.
#[test]
fn playout_loses_no_word_when_the_media_clock_stands_still_in_pauses() {
    for pause_ms in (100..900).step_by(70) {
        let list: Vec<_> = (0..600u64)
            .map(|n| {
                let pauses = n / 50;
                let sent_us = 1_000_000 + n * 20_000 + pauses * pause_ms * 1_000;
                crate::common::Flight {
                    sent_us,
                    arrival_us: Some(sent_us + 300),
                    packet: packet(n, n * 960, 20.0),
                }
            })
            .collect();
        let (_, _, playout) = play(&list, TickLength::Ms20);
        let stats = playout.stats();
        let kept = stats.decoded_samples - stats.removed_samples - stats.covered_samples;
        assert_eq!(
            (stats.discarded, stats.late),
            (0, 0),
            "{pause_ms} ms: {stats:?}"
        );
        assert!(kept >= 595 * 960, "{pause_ms} ms: {stats:?}");
        assert!(stats.delay.as_millis() < 45, "{pause_ms} ms: {stats:?}");
    }
}

/// Every few seconds, one or two packets are stamped a few milliseconds late. Where they just miss
/// their tick, the playout delay must not oscillate.
#[test]
fn playout_delay_settles_where_packets_come_just_before_they_are_due() {
    for phase_us in (0..20_000).step_by(500) {
        let mut chance = Chance(phase_us + 1);
        let mut late = 0;
        let flights = flights(60.0, 0.0, phase_us, |_, _| {
            if chance.next() < 0.006 {
                late = 2;
            }
            late -= i32::from(late > 0);
            Some(match late {
                0 => 300 + (400.0 * chance.next()) as u64,
                _ => 2_300 + (2_000.0 * chance.next()) as u64,
            })
        });
        let (_, _, playout) = play(&flights, TickLength::Ms20);
        let stats = playout.stats();
        let spliced = stats.removed_samples + stats.inserted_samples;
        let share = spliced as f64 / stats.played_samples as f64;
        assert!(share < 0.004, "phase {phase_us}: {share:.5} spliced");
    }
}

#[test]
fn playout_starts_with_a_whole_tick_of_short_packets() {
    for ms in [2.5, 5.0, 10.0] {
        for phase_us in (0..20_000).step_by(3_100) {
            let samples = (ms * 48.0) as u64;
            let list: Vec<_> = (0..(2_000.0 / ms) as u64)
                .map(|n| {
                    let sent_us = 1_000_000 + phase_us + n * (ms * 1_000.0) as u64;
                    let packet = packet(n, n * samples, ms);
                    crate::common::Flight {
                        sent_us,
                        arrival_us: Some(sent_us + 300),
                        packet,
                    }
                })
                .collect();
            let (_, sound, playout) = play(&list, TickLength::Ms20);
            let stats = playout.stats();
            assert_eq!(
                (stats.concealed_samples, stats.late),
                (0, 0),
                "{ms} ms, phase {phase_us}"
            );
            assert_eq!(clicks(&sound[..48_000 * 2]), 0, "{ms} ms, phase {phase_us}");
        }
    }
}

#[test]
fn playout_conceals_at_most_1_percent_at_30_ms_jitter_and_recovers() {
    for seed in 1..=8 {
        let mut chance = Chance(seed);
        let flights = flights(75.0, 0.0, seed * 2_300, |_, s| {
            Some(if (16.0..46.0).contains(&s) {
                300 + (chance.next() * 60_000.0) as u64
            } else {
                30_300
            })
        });
        let (ticks, _, playout) = play(&flights, TickLength::Ms20);
        let concealed = playout.stats().concealed_samples as f64 / (30.0 * 48_000.0);
        assert!(
            concealed <= 0.01,
            "seed {seed}: {:.2} % concealed",
            concealed * 100.0
        );
        let before = mean(&delays(&ticks, 10.0, 16.0));
        let after = mean(&delays(&ticks, 58.0, 60.0));
        assert!(
            (after - before).abs() <= 20.0 + 1.0,
            "seed {seed}: {before} ms before, {after} ms twelve seconds after"
        );
    }
}

#[test]
fn playout_keeps_concealment_and_delay_within_limits_at_100_ms_jitter() {
    let mut chance = Chance(3);
    let flights = flights(40.0, 0.0, 4_000, |_, _| {
        Some((chance.next() * 200_000.0) as u64)
    });
    let (ticks, _, playout) = play(&flights, TickLength::Ms20);
    let concealed = playout.stats().concealed_samples as f64 / (40.0 * 48_000.0);
    assert!(concealed <= 0.03, "{:.2} % concealed", concealed * 100.0);
    let (_, high) = spread(&delays(&ticks, 5.0, 40.0));
    assert!(high <= 250.0 + 20.0, "{high} ms");
}

#[test]
fn playout_delay_stays_within_20_ms_during_an_hour_of_200_ppm_drift() {
    for ppm in [200.0, -200.0] {
        let (ticks, _, playout) = play(
            &flights(3_600.0, ppm, 7_000, |_, _| Some(500)),
            TickLength::Ms20,
        );
        let delays = delays(&ticks, 5.0, 3_600.0);
        let (low, high) = spread(&delays);
        let middle = (low + high) / 2.0;
        assert!(high - middle <= 20.0, "{ppm} ppm: {low} to {high} ms");
        let stats = playout.stats();
        assert_eq!(stats.lost, 0);
        assert!(
            stats.concealed_samples < 48_000 / 10,
            "{ppm} ppm: {stats:?}"
        );
        let removed = stats.removed_samples + stats.resampling_removed_samples;
        let inserted = stats.inserted_samples + stats.resampling_inserted_samples;
        let net = removed as f64 - inserted as f64;
        assert!(
            (net - ppm * 1e-6 * 3_600.0 * 48_000.0).abs() < 2_000.0,
            "{ppm} ppm: {stats:?}"
        );
    }
}

#[test]
fn playout_corrects_5_000_ppm_of_drift_by_resampling() {
    for ppm in [5_000.0, -5_000.0] {
        let (ticks, sound, playout) = play(
            &flights(90.0, ppm, 7_000, |_, _| Some(500)),
            TickLength::Ms20,
        );
        let (low, high) = spread(&delays(&ticks, 2.0, 90.0));
        assert!((high - low) / 2.0 <= 20.0, "{ppm} ppm: {low} to {high} ms");
        let stats = playout.stats();
        assert!(stats.concealed_samples < 4_800, "{ppm} ppm: {stats:?}");
        // Once the drift is known, nothing is spliced: the resampler corrects it without seams.
        let settled = &sound[48_000 * 30..48_000 * 85];
        assert_eq!(clicks(settled), 0, "{ppm} ppm");
        // The resampler's count carries the drift, and time stretching only its beginning.
        let resampled = match ppm > 0.0 {
            true => stats.resampling_removed_samples,
            false => stats.resampling_inserted_samples,
        };
        let drifted = 5_000e-6 * 90.0 * 48_000.0;
        assert!(resampled as f64 > 0.8 * drifted, "{ppm} ppm: {stats:?}");
        let stretched = stats.removed_samples + stats.inserted_samples;
        assert!((stretched as f64) < 0.2 * drifted, "{ppm} ppm: {stats:?}");
    }
}

#[test]
fn playout_delay_returns_to_normal_after_a_freeze_and_its_flood() {
    for freeze_us in [1_000_000, 5_000_000] {
        let flights = flights(30.0, 0.0, 3_000, |_, s| {
            let thaw = 10_000_000 + freeze_us;
            let sent = (s * 1e6) as u64;
            Some(if (10_000_000..thaw).contains(&sent) {
                thaw - sent + 500
            } else {
                500
            })
        });
        let (ticks, _, playout) = play(&flights, TickLength::Ms20);
        let thaw_s = 10.0 + freeze_us as f64 / 1e6;
        let (_, high) = spread(&delays(&ticks, thaw_s + 1.0, 30.0));
        let target = ticks
            .iter()
            .filter(|t| t.seconds > thaw_s + 1.0)
            .map(|t| t.target_ms)
            .fold(0.0, f64::max);
        assert!(
            high <= target + 40.0,
            "{high} ms for a target of {target}: {:?}",
            playout.stats()
        );
        let after = mean(&delays(&ticks, thaw_s + 8.0, 30.0));
        assert!(after <= 22.0, "{after} ms");
    }
}

#[test]
fn playout_delay_is_unchanged_by_a_short_pause_of_the_sender() {
    // A DTX encoder sends nothing for one to ten packets between words, so RTP time jumps.
    for (pause, tick) in (1..=10).flat_map(|it| [(it, TickLength::Ms10), (it, TickLength::Ms20)]) {
        let (mut list, mut seq) = (Vec::new(), 0);
        for n in (0..2_000u64).filter(|n| n % 40 >= pause) {
            let sent_us = 1_003_000 + n * 20_000;
            list.push(crate::common::Flight {
                sent_us,
                arrival_us: Some(sent_us + 400 + (n * 7 % 5) * 100),
                packet: packet(seq, n * 960, 20.0),
            });
            seq += 1;
        }
        let (ticks, _, playout) = play(&list, tick);
        let stats = playout.stats();
        let counts = (stats.lost, stats.late, stats.concealed_samples);
        assert_eq!(counts, (0, 0, 0), "{pause} packets: {stats:?}");
        let changed = stats.removed_samples
            + stats.inserted_samples
            + stats.resampling_removed_samples
            + stats.resampling_inserted_samples
            + stats.covered_samples;
        assert_eq!(changed, 0, "{pause} packets: {stats:?}");
        let (low, high) = spread(&delays(&ticks, 1.5, 41.0));
        assert!(high - low < 1.0, "{pause} packets: {low} to {high} ms");
    }
}
