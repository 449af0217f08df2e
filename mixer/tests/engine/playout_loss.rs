//! Playout of lost, late, duplicate and irregular packets, in virtual time: what is concealed and
//! what is counted.

use crate::common::{Chance, ToneDecoder, delays, flights, mean, packet, play, spread};
use mixer::format::{Layout, TickLength};
use mixer::ingest::Pushed;
use mixer::source::{Playout, Pulled};
use mixer::{Frame, Payload, RtpTime, Seq, Time};

#[test]
fn playout_counts_and_conceals_each_loss_once() {
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
fn playout_conceals_at_most_1_percent_after_3_s_of_reordering_by_three() {
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
fn playout_ignores_duplicates() {
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
fn playout_fades_to_silence_in_a_burst_of_loss_and_comes_back() {
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
fn playout_counts_no_loss_in_dtx_silence_and_resumes_speech_at_once() {
    // Two seconds of speech, then a refresh every 400 ms for a minute, then speech again: sequence
    // numbers are contiguous while RTP time jumps.
    let mut list = Vec::new();
    let mut seq = 0;
    for n in 0..4_000u64 {
        let speaking = !(100..3_100).contains(&n);
        if speaking || n % 20 == 0 {
            let sent_us = 1_003_000 + n * 20_000;
            list.push(crate::common::Flight {
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
fn playout_accounts_for_every_sample_of_every_packet_length() {
    let mut chance = Chance(17);
    for tick in [TickLength::Ms10, TickLength::Ms20] {
        let mut playout = Playout::new(Layout::Mono, tick, crate::common::ToneDecoder::boxed());
        let mut frame = Frame::new(Layout::Mono, tick);
        let (mut sent, mut seq, mut pushed_us, mut silent) = (0u64, 0, 1_000_000u64, 0u64);
        let mut warmed_up = playout.stats();
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
                warmed_up = playout.stats();
            }
        }
        let stats = playout.stats();
        // With mixed packet lengths the delay adapts to the longest packet, and then nothing is
        // missing.
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
fn playout_plays_on_through_wraparounds_source_changes_and_jumps() {
    let mut playout = Playout::new(
        Layout::Mono,
        TickLength::Ms20,
        crate::common::ToneDecoder::boxed(),
    );
    let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
    let mut silent_in_a_row = 0;
    let mut longest = 0;
    for n in 0..200_000u64 {
        let mut p = packet(n, n * 960, 20.0);
        p.seq = Seq((65_525 + n) as u16);
        p.time = RtpTime((u32::MAX - 3_000).wrapping_add((n * 960) as u32));
        match n {
            // A change of SSRC, an RTP time jump of an hour, a restart of the sequence numbers.
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
fn playout_does_not_count_discarded_packets_as_lost() {
    // A restart discards the packets that wait.
    let mut playout = Playout::new(
        Layout::Mono,
        TickLength::Ms20,
        crate::common::ToneDecoder::boxed(),
    );
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
    let stats = playout.stats();
    assert_eq!((stats.discarded, stats.lost), (9, 0), "{stats:?}");

    // More packets than the jitter buffer holds.
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
fn playout_recovers_the_last_lost_packet_from_the_fec_of_the_next() {
    for burst in [1, 2, 3] {
        let mut flights = flights(40.0, 0.0, 5_000, |n, _| (n % 25 >= burst).then_some(400));
        for (n, flight) in flights.iter_mut().enumerate() {
            // 20 ms of SILK with the bit that announces FEC for the preceding frame.
            let bytes = [&[9 << 3, 0x40][..], &(n as u64 * 960).to_le_bytes()].concat();
            flight.packet.payload = mixer::Payload::copy_from(&bytes).expect("short");
        }
        let (_, _, playout) = play(&flights, TickLength::Ms20);
        let stats = playout.stats();
        let holes = (stats.lost / burst) as f64;
        let recovered = stats.recovered_samples as f64 / 960.0;
        let concealed = stats.concealed_samples as f64 / 960.0;
        // Until the loss is known, no packet waits for its FEC copy.
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

/// Random packet lengths, loss, jitter and clock drift: the buffer always has room for the longest
/// packet. The test decoder panics if it does not.
#[test]
fn playout_always_has_room_for_the_longest_packet() {
    for seed in 0..24 {
        let mut chance = Chance(seed);
        let lengths: &[f64] = [
            &[120.0][..],
            &[2.5, 120.0],
            &[2.5, 5.0, 10.0, 20.0, 60.0, 120.0],
        ][seed as usize % 3];
        let (mut playout, mut frame) = (
            Playout::new(
                Layout::Mono,
                TickLength::Ms20,
                crate::common::ToneDecoder::boxed(),
            ),
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
fn playout_neither_plays_refused_packets_nor_counts_them_as_lost() {
    // SILK, each packet with FEC for the preceding one (RFC 6716, sections 4.2.3 and 4.2.4).
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
