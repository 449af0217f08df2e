//! The playout under every network the server will meet, in virtual time.

mod common;

use common::{Chance, Heard, ToneDecoder, flights, packet, play};
use mixer::format::{Layout, TickLength};
use mixer::playout::{Playout, Pulled, Pushed};
use mixer::{Frame, Payload, RtpTime, Seq, Time};

fn delays(ticks: &[Heard], from: f64, to: f64) -> Vec<f64> {
    ticks
        .iter()
        .filter(|t| (from..to).contains(&t.seconds) && t.pulled == Pulled::Audio)
        .map(|t| t.delay_ms)
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn spread(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| {
        (low.min(*v), high.max(*v))
    })
}

/// Steps of the tone: places where the second difference is more than the tone's own.
fn clicks(sound: &[f32]) -> usize {
    let natural = 0.5 * (std::f64::consts::TAU * common::TONE_HZ / 48_000.0).powi(2) as f32;
    sound
        .windows(3)
        .filter(|w| (w[0] - 2.0 * w[1] + w[2]).abs() > natural * 1.5 + 0.004)
        .count()
}

#[test]
fn a_clean_network_is_played_bit_by_bit_after_the_next_tick() {
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
fn a_packet_that_comes_a_little_late_puts_no_jump_into_a_tone() {
    for phase_us in (0..20_000).step_by(1_700) {
        let flights = flights(13.0, 0.0, phase_us, |n, _| {
            Some(if n % 150 == 100 { 15_300 } else { 300 })
        });
        let (ticks, sound, playout) = play(&flights, TickLength::Ms20);
        let stats = playout.stats();
        assert!(stats.concealed_samples <= 4 * 960, "phase {phase_us}");
        // The guess is a fifth quieter than the tone; a jump of its phase is a step of much more.
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

/// A radio whose media clock stands still between its talk-spurts: its packets look late by the pause.
#[test]
fn a_clock_that_stands_still_in_pauses_costs_no_word() {
    for pause_ms in (100..900).step_by(70) {
        let list: Vec<_> = (0..600u64)
            .map(|n| {
                let pauses = n / 50;
                let sent_us = 1_000_000 + n * 20_000 + pauses * pause_ms * 1_000;
                common::Flight {
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

/// A machine that stamps a packet some milliseconds late every few seconds, which it does in pairs
/// now and then: where that is just enough to miss the tick, the wait must not go to and fro.
#[test]
fn a_wait_that_is_almost_long_enough_settles() {
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
fn packets_shorter_than_the_tick_start_with_a_whole_one() {
    for ms in [2.5, 5.0, 10.0] {
        for phase_us in (0..20_000).step_by(3_100) {
            let samples = (ms * 48.0) as u64;
            let list: Vec<_> = (0..(2_000.0 / ms) as u64)
                .map(|n| {
                    let sent_us = 1_000_000 + phase_us + n * (ms * 1_000.0) as u64;
                    let packet = packet(n, n * samples, ms);
                    common::Flight {
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
fn jitter_of_30_ms_conceals_at_most_one_percent_and_is_forgotten_within_twelve_seconds() {
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
fn jitter_of_100_ms_stays_below_its_limits() {
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
fn drift_of_200_ppm_for_an_hour_keeps_the_delay_within_20_ms() {
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
fn drift_of_5_000_ppm_for_a_minute_is_resampled_away() {
    for ppm in [5_000.0, -5_000.0] {
        let (ticks, sound, playout) = play(
            &flights(90.0, ppm, 7_000, |_, _| Some(500)),
            TickLength::Ms20,
        );
        let (low, high) = spread(&delays(&ticks, 2.0, 90.0));
        assert!((high - low) / 2.0 <= 20.0, "{ppm} ppm: {low} to {high} ms");
        let stats = playout.stats();
        assert!(stats.concealed_samples < 4_800, "{ppm} ppm: {stats:?}");
        // Once the drift is known, nothing is spliced any more: the resampler does it without a
        // seam.
        let settled = &sound[48_000 * 30..48_000 * 85];
        assert_eq!(clicks(settled), 0, "{ppm} ppm");
        // So the resampler's count carries the drift, and time stretching only its beginning.
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
fn losses_are_counted_and_concealed_once() {
    let mut chance = Chance(11);
    let flights = flights(60.0, 0.0, 5_000, |_, _| {
        (chance.next() >= 0.05).then_some(400)
    });
    let lost = flights[..flights.len() - 10]
        .iter()
        .filter(|f| f.arrival_us.is_none())
        .count() as u64;
    let (_, _, playout) = play(&flights, TickLength::Ms20);
    let stats = playout.stats();
    assert!(
        stats.lost >= lost && stats.lost <= lost + 2,
        "{lost} lost, {stats:?}"
    );
    let concealed = stats.concealed_samples + stats.recovered_samples;
    assert!(
        concealed <= (lost + 3) * 960 && concealed + 4 * 960 >= lost * 960,
        "{lost} lost, {stats:?}"
    );
    assert_eq!(stats.late, 0);
}

#[test]
fn reordering_by_three_costs_nothing_once_it_is_known() {
    let mut chance = Chance(5);
    let flights = flights(30.0, 0.0, 3_000, |_, _| {
        Some(if chance.next() < 0.25 {
            500 + (chance.next() * 60_000.0) as u64
        } else {
            500
        })
    });
    let (ticks, _, playout) = play(&flights, TickLength::Ms20);
    let at = |seconds: f64| {
        ticks
            .iter()
            .find(|t| t.seconds >= seconds)
            .map_or(0, |t| t.concealed_samples)
    };
    let concealed = playout.stats().concealed_samples - at(3.0);
    assert!(concealed <= 27 * 480, "{concealed} samples: 1 %");
}

#[test]
fn duplicates_change_nothing() {
    let single = flights(10.0, 0.0, 3_000, |n, _| {
        (n % 37 != 0).then_some(500 + n % 7 * 900)
    });
    let double: Vec<_> = single
        .iter()
        .flat_map(|flight| [*flight, *flight])
        .collect();
    let (_, once, _) = play(&single, TickLength::Ms20);
    let (_, twice, playout) = play(&double, TickLength::Ms20);
    assert!(once == twice);
    assert_eq!(
        playout.stats().duplicate,
        single.iter().filter(|f| f.arrival_us.is_some()).count() as u64
    );
}

#[test]
fn a_freeze_and_its_flood_leave_no_delay_behind() {
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
fn bursts_of_loss_fade_to_silence_and_come_back() {
    for hole in [3, 10, 20u64] {
        let flights = flights(20.0, 0.0, 3_000, |n, _| {
            (!(250..250 + hole).contains(&(n % 500))).then_some(500)
        });
        let (ticks, sound, _) = play(&flights, TickLength::Ms20);
        if hole == 20 {
            let silent = ticks
                .iter()
                .filter(|t| t.seconds > 5.0 && t.pulled == Pulled::Silent)
                .count();
            assert!(
                silent > 15,
                "{silent} silent ticks: the fade ends within 120 ms"
            );
        }
        let before = mean(&delays(&ticks, 4.0, 5.0));
        let after = mean(&delays(&ticks, 8.5, 10.0));
        assert!(
            (after - before).abs() <= 20.0,
            "hole of {hole}: {before} then {after} ms"
        );
        let loudest = sound
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(
            loudest < 0.5 * 0.1212 * 2.0 + 0.05,
            "hole of {hole}: step of {loudest}"
        );
    }
}

#[test]
fn silence_of_the_sender_is_no_loss_and_speech_resumes_at_once() {
    // Two seconds of speech, then a refresh every 400 ms for a minute, then speech again: sequence
    // runs on, time jumps.
    let mut list = Vec::new();
    let mut seq = 0;
    for n in 0..4_000u64 {
        let speaking = !(100..3_100).contains(&n);
        if speaking || n % 20 == 0 {
            let sent_us = 1_003_000 + n * 20_000;
            list.push(common::Flight {
                sent_us,
                arrival_us: Some(sent_us + 400),
                packet: packet(seq, n * 960, 20.0),
            });
            seq += 1;
        }
    }
    let (ticks, _, playout) = play(&list, TickLength::Ms20);
    let stats = playout.stats();
    assert_eq!(
        (stats.lost, stats.late, stats.concealed_samples),
        (0, 0, 0),
        "{stats:?}"
    );
    let resumed = ticks
        .iter()
        .find(|t| t.seconds >= 63.003 && t.pulled == Pulled::Audio)
        .expect("speech resumes");
    assert!(resumed.seconds <= 63.003 + 0.045, "{}", resumed.seconds);
    let (_, high) = spread(&delays(&ticks, 63.1, 80.0));
    assert!(high <= 27.1, "{high} ms");
}

#[test]
fn a_short_pause_of_the_sender_leaves_the_wait_as_it_was() {
    // An encoder with DTX sends nothing for one packet or for ten, between words: time jumps.
    for (pause, tick) in (1..=10).flat_map(|it| [(it, TickLength::Ms10), (it, TickLength::Ms20)]) {
        let (mut list, mut seq) = (Vec::new(), 0);
        for n in (0..2_000u64).filter(|n| n % 40 >= pause) {
            let sent_us = 1_003_000 + n * 20_000;
            list.push(common::Flight {
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

#[test]
fn every_sample_of_every_packet_length_is_accounted_for() {
    let mut chance = Chance(17);
    for tick in [TickLength::Ms10, TickLength::Ms20] {
        let mut playout = Playout::new(Layout::Mono, tick, common::ToneDecoder::boxed());
        let mut frame = Frame::new(Layout::Mono, tick);
        let (mut sent, mut seq, mut pushed_us, mut silent) = (0u64, 0, 1_000_000u64, 0u64);
        let mut warmed_up = *playout.stats();
        for n in 0..5_000u64 {
            let now_us = 1_000_000 + n * u64::from(tick.ms()) * 1_000;
            while pushed_us <= now_us && n < 4_900 {
                let ms = [2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0]
                    [(chance.next() * 9.0) as usize];
                pushed_us += (ms * 1_000.0) as u64;
                playout.push(&packet(seq, sent, ms), Time::from_us(pushed_us.min(now_us)));
                sent += (ms * 48.0) as u64;
                seq += 1;
            }
            if playout.pull(Time::from_us(now_us), &mut frame) == Pulled::Silent {
                silent += 1;
            }
            assert!(frame.peak() <= 0.51);
            if n == 1_000 {
                warmed_up = *playout.stats();
            }
        }
        let stats = playout.stats();
        // A stream that mixes lengths waits for its longest, and then nothing is missing.
        let concealed = stats.concealed_samples - warmed_up.concealed_samples;
        assert!(
            concealed <= stats.played_samples / 200,
            "{concealed} made up, {stats:?}"
        );
        assert_eq!(stats.decoded_samples, sent, "{stats:?}");
        assert_eq!(stats.lost + stats.late + stats.discarded, 0, "{stats:?}");
        assert!(silent > 0);
    }
}

#[test]
fn wraps_source_changes_and_jumps_are_ordinary() {
    let mut playout = Playout::new(Layout::Mono, TickLength::Ms20, common::ToneDecoder::boxed());
    let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
    let mut silent_in_a_row = 0;
    let mut longest = 0;
    for n in 0..200_000u64 {
        let mut p = packet(n, n * 960, 20.0);
        p.seq = Seq((65_525 + n) as u16);
        p.time = RtpTime((u32::MAX - 3_000).wrapping_add((n * 960) as u32));
        match n {
            // Another source, a jump of an hour, a restart of the numbers.
            50_000.. if n < 100_000 => p.ssrc = 2,
            100_000.. if n < 150_000 => p.time = p.time.plus(3_600 * 48_000),
            150_000.. => {
                (p.seq, p.time) = (
                    Seq((n - 150_000) as u16),
                    RtpTime(((n - 150_000) * 960) as u32),
                )
            }
            _ => {}
        }
        let now_us = 1_000_000 + n * 20_000;
        assert_eq!(playout.push(&p, Time::from_us(now_us)), Pushed::Stored);
        match playout.pull(Time::from_us(now_us + 9_000), &mut frame) {
            Pulled::Audio => silent_in_a_row = 0,
            _ => silent_in_a_row += 1,
        }
        longest = longest.max(silent_in_a_row);
    }
    assert!(longest <= 4, "{longest} ticks without speech");
    assert_eq!(playout.stats().lost, 0);
}

#[test]
fn what_is_thrown_away_is_not_lost_as_well() {
    // A restart with packets waiting.
    let mut playout = Playout::new(Layout::Mono, TickLength::Ms20, common::ToneDecoder::boxed());
    let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
    for n in 0..50u64 {
        let now_us = 1_000_000 + n * 20_000;
        playout.push(&packet(n, n * 960, 20.0), Time::from_us(now_us));
        if n < 40 {
            playout.pull(Time::from_us(now_us + 9_000), &mut frame);
        }
    }
    playout.restart();
    playout.pull(Time::from_us(2_100_000), &mut frame);
    let stats = *playout.stats();
    assert_eq!((stats.discarded, stats.lost), (9, 0), "{stats:?}");

    // More than the buffer holds.
    for n in 50..350u64 {
        playout.push(&packet(n, n * 960, 20.0), Time::from_us(2_101_000));
    }
    for n in 0..400u64 {
        playout.pull(Time::from_us(2_109_000 + n * 20_000), &mut frame);
    }
    let stats = playout.stats();
    let accounted = stats.decoded_samples / 960 + stats.discarded;
    assert_eq!((accounted, stats.lost), (350, 0), "{stats:?}");
}

#[test]
fn the_copy_in_the_next_packet_fills_the_end_of_a_hole() {
    for burst in [1, 2, 3] {
        let mut flights = flights(40.0, 0.0, 5_000, |n, _| (n % 25 >= burst).then_some(400));
        for (n, flight) in flights.iter_mut().enumerate() {
            // 20 ms of SILK with the bit that announces a copy of the frame before.
            let bytes = [&[9 << 3, 0x40][..], &(n as u64 * 960).to_le_bytes()].concat();
            flight.packet.payload = mixer::Payload::copy_from(&bytes).expect("short");
        }
        let (_, _, playout) = play(&flights, TickLength::Ms20);
        let stats = playout.stats();
        let holes = (stats.lost / burst) as f64;
        let recovered = stats.recovered_samples as f64 / 960.0;
        let concealed = stats.concealed_samples as f64 / 960.0;
        // Until the loss is known, nothing waits for the copy.
        assert!(
            (holes * 0.9..=holes).contains(&recovered),
            "{holes} holes of {burst}: {stats:?}"
        );
        let made_up = holes * (burst - 1) as f64;
        assert!(
            (made_up - 1.0..=made_up + holes * 0.1 + 1.0).contains(&concealed),
            "{holes} holes of {burst}: {stats:?}"
        );
    }
}

/// Every length of packet in turn, lost, late and early by chance, from a clock that is off: what
/// waits always has room for the longest. The decoder of this test panics where it has not.
#[test]
fn there_is_room_for_the_longest_packet_whatever_waits() {
    for seed in 0..24 {
        let mut chance = Chance(seed);
        let lengths: &[f64] = [
            &[120.0][..],
            &[2.5, 120.0],
            &[2.5, 5.0, 10.0, 20.0, 60.0, 120.0],
        ][seed as usize % 3];
        let (mut playout, mut frame) = (
            Playout::new(Layout::Mono, TickLength::Ms20, common::ToneDecoder::boxed()),
            Frame::new(Layout::Mono, TickLength::Ms20),
        );
        let (ppm, jitter_ms) = (4_000.0 * (chance.next() - 0.5), 150.0 * chance.next());
        let (mut arrivals, mut from) = (Vec::new(), 0);
        for seq in 0..1_500 {
            let ms = lengths[(chance.next() * lengths.len() as f64) as usize];
            let sent_ms = (from as f64 / 48.0 + ms) * (1.0 + ppm * 1e-6);
            let arrival_us = 1e6 + 1e3 * (sent_ms + jitter_ms * chance.next());
            if chance.next() > 0.1 {
                arrivals.push((arrival_us as u64, packet(seq, from, ms)));
            }
            from += (48.0 * ms) as u64;
        }
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let mut waiting = arrivals.into_iter().peekable();
        let mut now_us = 0;
        while waiting.peek().is_some() {
            while let Some((arrival, packet)) = waiting.next_if(|(arrival, _)| *arrival <= now_us) {
                playout.push(&packet, Time::from_us(arrival));
            }
            playout.pull(Time::from_us(now_us), &mut frame);
            now_us += 20_000;
        }
        let stats = playout.stats();
        assert_eq!(stats.undecodable, 0);
        assert!(stats.played_samples > 0 && stats.lost > 0, "{stats:?}");
    }
}

#[test]
fn what_was_refused_is_not_missed_and_nothing_of_it_is_heard() {
    // SILK, each odd packet with a copy of the one before (RFC 6716, 4.2.3 and 4.2.4).
    let packet = |n: u64| {
        let mut packet = packet(n, n * 960, 20.0);
        let mut bytes = packet.payload.as_slice().to_vec();
        bytes[0] = 9 << 3;
        packet.payload = Payload::copy_from(&bytes).expect("short");
        packet
    };
    let mut playout = Playout::new(Layout::Mono, TickLength::Ms20, ToneDecoder::boxed());
    let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
    for n in 0..60u64 {
        let arrival = Time::from_us(1_000_000 + n * 20_000);
        match n {
            20 => playout.finish(),
            23 => playout.catch_up(),
            _ => {}
        }
        match n {
            20..23 => playout.refuse(&packet(n), arrival),
            _ => playout.push(&packet(n), arrival),
        };
        playout.pull(Time::from_us(1_000_100 + n * 20_000), &mut frame);
    }
    let stats = playout.stats();
    assert_eq!((stats.lost, stats.recovered_samples), (0, 0), "{stats:?}");
    assert!(stats.decoded_samples >= 55 * 960, "{stats:?}");
}
