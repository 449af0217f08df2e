//! Held ticks: a tick waits for a packet that is slightly late, and for nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::stage::{ROOM, Stage, encoding, nth_packet, tone};
use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Encode, Profile};
use mixer::engine::Command;
use mixer::format::{Layout, SLOT, TickLength};
use mixer::monitor::Feed;
use mixer::packet::{OutPacket, Payload};
use mixer::room::RoomSettings;
use mixer::units::Time;

const LISTENER: usize = 0;
const HZ: f64 = 331.7;
const LOUD: f32 = 0.3;
const PACKETS: u64 = 120;

/// Number of the delayed packet, long after the room has moved its phase to the talker.
const LATE_PACKET: u64 = 60;

/// Listener packets, counted from the first with sound, after which the playout delay has adapted.
const SETTLED: usize = 28;

/// A packet sent to the listener, with its send time.
struct Sent {
    at_us: u64,
    packet: OutPacket,
}

/// Builds a room of one tapped listener and `talkers` talkers with lossless codecs.
fn room(talkers: u32) -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_tapped(1, |_| 0.0);
    for number in 0..talkers {
        let hz = HZ + 100.0 * f64::from(number);
        stage.join_exact(2 + number, tone(hz, LOUD / talkers as f32));
    }
    stage
}

/// Runs the room while each talker sends `PACKETS` packets, packet `n` of the first talker delayed
/// by `late_us(n)` (`None`: lost), and calls `watch` before each slot.
fn play(
    stage: &mut Stage,
    late_us: impl Fn(u64) -> Option<u64>,
    mut watch: impl FnMut(&mut Stage),
) -> Vec<Sent> {
    let first_us = stage.now().us() + 1_300;
    let mut sent = vec![0; stage.talkers.len()];
    let (mut under_way, mut heard) = (Vec::new(), Vec::new());
    while sent[1] < PACKETS {
        stage.slot += 1;
        let now = stage.now();
        for (number, sent) in sent.iter_mut().enumerate().skip(1) {
            let talker = &mut stage.talkers[number];
            while first_us + *sent * 20_000 <= now.us() {
                let late = match number {
                    1 => late_us(*sent),
                    _ => Some(0),
                };
                let packet = talker.packet();
                if let Some(late_us) = late {
                    let due_us = first_us + *sent * 20_000 + late_us;
                    under_way.push((due_us, talker.id, packet));
                }
                *sent += 1;
            }
        }
        under_way.sort_by_key(|(due_us, ..)| *due_us);
        let arrived = under_way.partition_point(|(due_us, ..)| *due_us <= now.us());
        for (due_us, from, packet) in under_way.drain(..arrived) {
            stage.engine.push(from, &packet, Time::from_us(due_us));
        }
        watch(stage);
        stage.engine.run_slot(stage.slot, now, &mut stage.sink);
        let listener = stage.talkers[LISTENER].id;
        for (to, packet) in stage.sink.packets.drain(..) {
            if to == listener {
                heard.push(Sent {
                    at_us: now.us(),
                    packet,
                });
            }
        }
    }
    heard
}

/// Non-zero delays, in milliseconds, of the packets sent after `SETTLED`, relative to their media
/// time.
fn delays_ms(sent: &[Sent]) -> Vec<f64> {
    let sounding: Vec<&Sent> = sent.iter().skip(SETTLED).collect();
    let first = &sounding[0];
    let late = sounding.iter().map(|sent| {
        let passed_us = sent.at_us - first.at_us;
        let spoken_us =
            u64::from(sent.packet.time.0.wrapping_sub(first.packet.time.0)) * 1_000 / 48;
        (passed_us as f64 - spoken_us as f64) / 1_000.0
    });
    late.filter(|late| *late != 0.0).collect()
}

/// Largest sample difference between the mix and the first talker's tone, aligned at its best
/// match.
fn error(stage: &Stage, sent: &[Sent]) -> f32 {
    let pcm: Vec<f32> = sent
        .iter()
        .skip(SETTLED)
        .flat_map(|sent| stage.log.pcm(&sent.packet))
        .collect();
    let mut voice = tone(HZ, LOUD);
    let spoken: Vec<f32> = (0..PACKETS * 960).map(&mut voice).collect();
    // Difference of the first packet from the tone when aligned at sample `from`.
    let differs = |from: usize| {
        let pairs = pcm[..960].iter().zip(&spoken[from..]);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let best = (0..40 * 960).min_by(|a, b| differs(*a).total_cmp(&differs(*b)));
    let pairs = pcm.iter().zip(&spoken[best.unwrap_or(0)..]);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn one_late(late_us: u64) -> impl Fn(u64) -> Option<u64> {
    move |packet| Some(if packet == LATE_PACKET { late_us } else { 0 })
}

#[test]
fn packet_up_to_13_ms_late_is_played_without_error() {
    for late_us in (0..=13_000).step_by(1_000) {
        let mut stage = room(1);
        let sent = play(&mut stage, one_late(late_us), |_| {});
        let error = error(&stage, &sent);
        assert!(error < 0.001, "{error} off, {late_us} us late");
        let delays = delays_ms(&sent);
        assert!(delays.len() <= 1, "{delays:?}, {late_us} us late");
        let within = delays.iter().all(|late| (0.0..=10.0).contains(late));
        assert!(within, "{delays:?}, {late_us} us late");
    }
}

/// Packets arrive up to 30 ms late, and one packet slightly later than that, after its successor.
#[test]
fn tick_waits_for_an_overtaken_packet() {
    // By then the playout delay covers the late packets, so ticks no longer wait for them.
    const PATIENT: usize = 24;
    let mut waited = Vec::new();
    for late_ms in 30..=53 {
        let mut stage = room(1);
        let late_us = |packet| match packet {
            LATE_PACKET => Some(1_000 * late_ms),
            packet if packet < LATE_PACKET && packet % 3 == 0 => Some(30_000),
            _ => Some(0),
        };
        let sent = play(&mut stage, late_us, |_| {});
        let error = error(&stage, &sent[PATIENT..]);
        assert!(error < 0.001, "{error} off, {late_ms} ms late");
        let delays = delays_ms(&sent[PATIENT..]);
        assert!(delays.len() <= 1, "{delays:?}, {late_ms} ms late");
        waited.extend(delays);
    }
    let within = waited.iter().all(|late| (0.0..=10.0).contains(late));
    assert!(within && waited.len() >= 5, "{waited:?}");
}

#[test]
fn lost_packet_delays_one_tick_and_no_later_tick() {
    let mut stage = room(1);
    let lost = |packet| (packet != LATE_PACKET).then_some(0);
    let sent = play(&mut stage, lost, |_| {});
    assert_eq!(delays_ms(&sent), [10.0]);
    assert_eq!(stage.engine.stats().ticks_held_total, 1);
}

#[test]
fn ticks_wait_for_a_lossy_talker_at_most_twice_a_second() {
    for lost in [&[60, 70, 90][..], &[60, 61, 62, 90]] {
        let mut stage = room(1);
        let arrives = |packet| (!lost.contains(&packet)).then_some(0);
        let sent = play(&mut stage, arrives, |_| {});
        assert_eq!(delays_ms(&sent), [10.0, 10.0], "{lost:?}");
    }
}

/// Gaps in the sequence numbers without a gap in RTP time are no reason to wait.
#[test]
fn tick_does_not_wait_for_a_gap_in_sequence_numbers_alone() {
    let mut stage = room(1);
    let skips = |stage: &mut Stage| stage.talkers[1].skip_number();
    let sent = play(&mut stage, |_| Some(0), skips);
    assert!(stage.engine.stats().ticks_held_total <= PACKETS / 25 + 1);
    assert!(sent.len() as u64 > PACKETS - 10);
}

/// A talker that leaves or is muted within a word has no packet worth waiting for.
#[test]
fn tick_does_not_wait_for_a_muted_or_removed_talker() {
    for leaves in [true, false] {
        let mut stage = room(1);
        let begin = stage.now().us();
        let stops = |stage: &mut Stage| {
            let talker = &stage.talkers[1];
            if stage.now().us() >= begin + 1_300 + LATE_PACKET * 20_000 {
                match leaves {
                    true => {
                        let command = Command::RemoveParticipant(talker.id);
                        stage.engine.apply(command, &mut stage.sink);
                    }
                    false => talker.shared.settings.mute(true),
                }
            }
        };
        play(
            &mut stage,
            |packet| (packet < LATE_PACKET).then_some(0),
            stops,
        );
        assert_eq!(stage.engine.stats().ticks_held_total, 0, "leaves: {leaves}");
    }
}

/// The second of the two packets that fill a tick arrives up to 14 ms late.
#[test]
fn tick_waits_for_the_last_packet_that_it_needs() {
    const SAMPLES: usize = 480;
    let mut stage = room(0);
    stage.join(2, |_| 0.0, None);
    let talker = stage.talkers[1].id;
    let mut encoder = OpusEncoder::new(&encoding(Profile::LowDelay));
    let mut voice = tone(HZ, LOUD);
    let first_us = stage.now().us() + 1_300;
    let mut sent = 0u64;
    while sent < 2 * PACKETS {
        stage.slot += 1;
        let now = stage.now();
        let late_us = if sent % 20 == 19 {
            (sent * 37 % 15) * 1_000
        } else {
            0
        };
        let due_us = first_us + sent * 10_000 + late_us;
        if due_us <= now.us() {
            let from = sent * SAMPLES as u64;
            let pcm: Vec<f32> = (from..from + SAMPLES as u64).map(&mut voice).collect();
            let mut payload = Payload::EMPTY;
            encoder.encode(&pcm, &mut payload).expect("an Opus length");
            let packet = nth_packet(sent, SAMPLES, payload);
            stage.engine.push(talker, &packet, Time::from_us(due_us));
            sent += 1;
        }
        stage.engine.run_slot(stage.slot, now, &mut stage.sink);
    }
    let telemetry = &stage.talkers[1].shared.telemetry;
    let concealed_ms = telemetry.concealed_samples_total.load(Relaxed) / 48;
    assert!(stage.engine.stats().ticks_held_total >= 3);
    assert!(concealed_ms <= 20, "{concealed_ms} ms concealed");
}

#[test]
fn end_of_a_talk_spurt_delays_one_tick() {
    let mut stage = room(1);
    let sent = play(
        &mut stage,
        |packet| (packet < LATE_PACKET).then_some(0),
        |_| {},
    );
    assert_eq!(delays_ms(&sent), [10.0]);
}

#[test]
fn tick_does_not_wait_in_crowds_or_in_rooms_with_a_feed() {
    let mut crowd = room(4);
    let sent = play(&mut crowd, one_late(12_000), |_| {});
    assert_eq!(delays_ms(&sent), [0.0; 0]);
    let mut stage = room(1);
    feed(&mut stage);
    let sent = play(&mut stage, one_late(12_000), |_| {});
    assert_eq!(delays_ms(&sent), [0.0; 0]);
}

/// Gives the room a feed, as when another room monitors it.
fn feed(stage: &mut Stage) {
    let feed = Arc::new(Feed::new(Layout::Mono, TickLength::Ms20));
    let command = Command::SetFeed(ROOM, Some(feed));
    stage.engine.apply(command, &mut stage.sink);
}

/// Ticks of a room with a feed do not wait, so its playout delay is longer instead.
#[test]
fn room_with_a_feed_plays_packets_up_to_6_ms_late_without_error() {
    for late_us in (0..=6_000).step_by(1_000) {
        let mut stage = room(1);
        feed(&mut stage);
        let sent = play(&mut stage, one_late(late_us), |_| {});
        assert_eq!(delays_ms(&sent), [0.0; 0], "{late_us} us late");
        let error = error(&stage, &sent);
        assert!(error < 0.001, "{error} off, {late_us} us late");
    }
}

/// Adding a feed within a word does not lengthen the playout delay of that word.
#[test]
fn adding_a_feed_within_a_word_inserts_no_samples() {
    let mut stage = room(1);
    let begin = stage.now().us();
    let feeds = std::cell::Cell::new(false);
    let begins = |stage: &mut Stage| {
        if !feeds.get() && stage.now().us() >= begin + LATE_PACKET * 20_000 {
            feed(stage);
            feeds.set(true);
        }
    };
    play(&mut stage, |_| Some(0), begins);
    let telemetry = &stage.talkers[1].shared.telemetry;
    assert!(feeds.get());
    assert_eq!(telemetry.inserted_samples_total.load(Relaxed), 0);
}

/// A feed is added while the room rests: the next word gets the longer of the two playout delays,
/// and no extra tick.
#[test]
fn first_word_after_adding_a_feed_waits_at_most_12_5_ms() {
    for rest_us in (0..20_000).step_by(1_250) {
        let mut stage = room(1);
        let (listener, talker) = (stage.talkers[LISTENER].id, stage.talkers[1].id);
        let mut due_us = stage.now().us() + 1_300;
        let mut waits_ms = Vec::new();
        let mut said = 0;
        while waits_ms.len() < 100 {
            stage.slot += 1;
            let now = stage.now();
            if due_us <= now.us() {
                let packet = stage.talkers[1].packet();
                stage.engine.push(talker, &packet, Time::from_us(due_us));
                said += 1;
                due_us += 20_000;
                if said == 50 {
                    feed(&mut stage);
                    due_us += 1_000_000 + rest_us;
                }
            }
            stage.engine.run_slot(stage.slot, now, &mut stage.sink);
            for (to, packet) in stage.sink.packets.drain(..) {
                if to == listener && !packet.sources.ids().is_empty() {
                    // The packet arrived 20 ms before the next one is due, or before the pause.
                    let came_us = due_us as f64 - 20_000.0;
                    waits_ms.push((now.us() as f64 - came_us) / 1e3);
                }
            }
        }
        let longest = waits_ms[60..].iter().copied().fold(0.0, f64::max);
        assert!(longest <= 12.5, "{longest} ms after {rest_us} us");
    }
}

#[test]
fn tick_waits_while_the_engine_catches_up_on_slots() {
    let mut stage = room(1);
    let begin = stage.now().us();
    let slot_us = SLOT.as_micros() as u64;
    // The machine stalls for 20 ms before the packet arrives.
    let late_us = 20_000;
    let hurries = |stage: &mut Stage| {
        let since_us = stage.now().us() - begin;
        let packet_us = since_us.saturating_sub(1_300 + LATE_PACKET * 20_000);
        stage.engine.hurry((slot_us..late_us).contains(&packet_us));
    };
    let sent = play(&mut stage, one_late(late_us), hurries);
    let error = error(&stage, &sent);
    assert!(error < 0.001, "{error} off");
}

#[test]
fn room_can_be_removed_while_its_tick_waits() {
    let mut stage = room(1);
    let gone = std::cell::Cell::new(false);
    let begin = stage.now().us();
    let removes = |stage: &mut Stage| {
        // The tick waits 12 ms after the packet was due.
        if !gone.get() && stage.now().us() >= begin + 1_300 + LATE_PACKET * 20_000 + 12_000 {
            stage
                .engine
                .apply(Command::RemoveRoom(ROOM), &mut stage.sink);
            gone.set(true);
        }
    };
    let sent = play(&mut stage, one_late(16_000), removes);
    assert!(gone.get());
    assert!(stage.engine.is_idle(), "nothing is left");
    assert_eq!(sent.len() as u64 / 10, LATE_PACKET / 10);
}
