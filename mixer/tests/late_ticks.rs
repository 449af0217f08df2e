//! A tick waits for a packet that is a little late, and nothing else does.
#![cfg(feature = "opus")]

mod stage;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mixer::codec::Encode;
use mixer::codec::opus::OpusEncoder;
use mixer::command::Command;
use mixer::feed::Feed;
use mixer::format::{Layout, SLOT, TickLength};
use mixer::packet::{OutPacket, Payload};
use mixer::profile::Profile;
use mixer::room::RoomSettings;
use mixer::units::Time;
use stage::{ROOM, Stage, nth_packet, recipe, tone};

const LISTENER: usize = 0;
const HZ: f64 = 331.7;
const LOUD: f32 = 0.3;
const PACKETS: u64 = 120;

/// Long after the room has met the talker's packets.
const LATE_PACKET: u64 = 60;

/// After so many of the listener's packets, the first of which holds the first sound, the playout knows the network.
const SETTLED: usize = 28;

/// A packet that the listener was sent, and the time at which it left.
struct Sent {
    at_us: u64,
    packet: OutPacket,
}

/// One listener who hears through a tap, and talkers without any codec.
fn room(talkers: u32) -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_tapped(1, |_| 0.0);
    for number in 0..talkers {
        let hz = HZ + 100.0 * f64::from(number);
        stage.join_exact(2 + number, tone(hz, LOUD / talkers as f32));
    }
    stage
}

/// Runs the room while each talker sends its packets, packet `n` of the first one `late_us(n)` later than it should come;
/// `None`: never. Each slot is seen by `watch` before it runs.
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

/// How much later than 20 ms after the one before each packet left, once the room has met the talker; milliseconds, of
/// those that were late.
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

/// Largest difference between what was heard and the first talker's tone, from where it begins.
fn error(stage: &Stage, sent: &[Sent]) -> f32 {
    let pcm: Vec<f32> = sent
        .iter()
        .skip(SETTLED)
        .flat_map(|sent| stage.log.pcm(&sent.packet))
        .collect();
    let mut voice = tone(HZ, LOUD);
    let spoken: Vec<f32> = (0..PACKETS * 960).map(&mut voice).collect();
    // From which sample on it is.
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
fn a_packet_thirteen_milliseconds_late_is_heard_as_if_it_were_in_time() {
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

/// Packets come up to 30 ms late, and one a little later than any, after the one that follows it.
#[test]
fn a_packet_that_was_overtaken_is_waited_for() {
    // By then the packets wait long enough, so that ticks wait no longer for those that are late again and again.
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
fn a_lost_packet_makes_one_tick_late_and_the_next_come_when_they_should() {
    let mut stage = room(1);
    let lost = |packet| (packet != LATE_PACKET).then_some(0);
    let sent = play(&mut stage, lost, |_| {});
    assert_eq!(delays_ms(&sent), [10.0]);
    assert_eq!(stage.engine.stats().ticks_held_total, 1);
}

#[test]
fn who_loses_packet_after_packet_is_waited_for_twice_a_second() {
    for lost in [&[60, 70, 90][..], &[60, 61, 62, 90]] {
        let mut stage = room(1);
        let arrives = |packet| (!lost.contains(&packet)).then_some(0);
        let sent = play(&mut stage, arrives, |_| {});
        assert_eq!(delays_ms(&sent), [10.0, 10.0], "{lost:?}");
    }
}

/// Numbers that claim losses where no time is missing are no reason to wait.
#[test]
fn a_gap_in_the_numbers_alone_is_not_waited_for() {
    let mut stage = room(1);
    let skips = |stage: &mut Stage| stage.talkers[1].skip_number();
    let sent = play(&mut stage, |_| Some(0), skips);
    assert!(stage.engine.stats().ticks_held_total <= PACKETS / 25 + 1);
    assert!(sent.len() as u64 > PACKETS - 10);
}

/// Somebody who has left or is muted in the middle of a word has no packet to come.
#[test]
fn a_tick_waits_for_nobody_who_cannot_be_heard() {
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

/// Of two packets that make up a tick, the second comes up to 14 ms late.
#[test]
fn a_tick_waits_for_the_last_of_its_packets_as_well() {
    const SAMPLES: usize = 480;
    let mut stage = room(0);
    stage.join(2, |_| 0.0, None);
    let talker = stage.talkers[1].id;
    let mut encoder = OpusEncoder::new(&recipe(Profile::LowDelay));
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
fn end_of_a_talk_spurt_makes_one_tick_late() {
    let mut stage = room(1);
    let sent = play(
        &mut stage,
        |packet| (packet < LATE_PACKET).then_some(0),
        |_| {},
    );
    assert_eq!(delays_ms(&sent), [10.0]);
}

#[test]
fn a_crowd_and_other_rooms_wait_for_nobody() {
    let mut crowd = room(4);
    let sent = play(&mut crowd, one_late(12_000), |_| {});
    assert_eq!(delays_ms(&sent), [0.0; 0]);
    let mut stage = room(1);
    feed(&mut stage);
    let sent = play(&mut stage, one_late(12_000), |_| {});
    assert_eq!(delays_ms(&sent), [0.0; 0]);
}

/// Lets another room hear this one.
fn feed(stage: &mut Stage) {
    let feed = Arc::new(Feed::new(Layout::Mono, TickLength::Ms20));
    let command = Command::SetFeed(ROOM, Some(feed));
    stage.engine.apply(command, &mut stage.sink);
}

/// Ticks of a room that others hear do not wait, so that each of its packets waits longer.
#[test]
fn a_packet_six_milliseconds_late_is_in_time_in_a_room_that_others_hear() {
    for late_us in (0..=6_000).step_by(1_000) {
        let mut stage = room(1);
        feed(&mut stage);
        let sent = play(&mut stage, one_late(late_us), |_| {});
        assert_eq!(delays_ms(&sent), [0.0; 0], "{late_us} us late");
        let error = error(&stage, &sent);
        assert!(error < 0.001, "{error} off, {late_us} us late");
    }
}

/// A room that comes to be heard elsewhere in the middle of a word gives its packets no longer wait than they have.
#[test]
fn nothing_is_inserted_when_another_room_begins_to_listen() {
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

/// Others begin to listen while a room rests: its next word waits for the longer of the two waits, and no tick more.
#[test]
fn first_word_after_another_room_begins_to_listen_waits_for_one_tick() {
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
                    // The last packet came 20 ms before the next one is due, or before the pause.
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
fn a_tick_waits_while_slots_are_made_up_for() {
    let mut stage = room(1);
    let begin = stage.now().us();
    let slot_us = SLOT.as_micros() as u64;
    // For 20 ms before the packet comes, the machine stands still.
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
fn a_room_can_go_while_its_tick_waits() {
    let mut stage = room(1);
    let gone = std::cell::Cell::new(false);
    let begin = stage.now().us();
    let removes = |stage: &mut Stage| {
        // 12 ms after the packet should have come, the tick waits.
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
