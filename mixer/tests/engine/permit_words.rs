//! Speech around a floor request, grant and release: which packets are played and which are not.

use std::sync::atomic::Ordering;

use crate::stage::floor::{attend, oldest_heard, permit, turn, turn_with, with_dated_voice};
use crate::stage::{Stage, tone};
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::Level;

#[test]
fn speech_begun_long_before_a_floor_request_is_heard_only_from_the_request_on() {
    let mut stage = with_dated_voice();
    (0..100).for_each(|_| turn(&mut stage, |at| at == 0));
    permit(&stage, 0, Permit::Asked);
    (0..5).for_each(|_| turn(&mut stage, |at| at == 0));
    permit(&stage, 0, Permit::Held);
    (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
    let oldest = oldest_heard(&stage, 1);
    assert!((99.99..=101.0).contains(&oldest), "{oldest}");
}

/// Before the room has a floor, the packets are silent, with or without a level hint that says so.
#[test]
fn quiet_talkers_speech_from_before_the_permit_is_not_heard() {
    for level in [None, Some(Level::SILENCE)] {
        let mut stage = Stage::new(RoomSettings::default());
        let quiet = |sample: u64| match sample < 100 * 960 {
            true => 0.0,
            false => (sample / 960) as f32 / 1_000.0,
        };
        stage.join_exact(1, quiet);
        stage.join_tapped(2, |_| 0.0);
        let sends = |at: usize| at == 0;
        (0..100).for_each(|_| turn_with(&mut stage, sends, |_| level.is_some()));
        permit(&stage, 0, Permit::Closed);
        (0..100).for_each(|_| turn(&mut stage, sends));
        permit(&stage, 0, Permit::Held);
        (0..50).for_each(|_| turn(&mut stage, sends));
        let oldest = oldest_heard(&stage, 1);
        assert!((199.9..=201.0).contains(&oldest), "{oldest}");
    }
}

#[test]
fn grant_after_a_long_wait_plays_the_last_300_ms() {
    let mut stage = with_dated_voice();
    permit(&stage, 0, Permit::Asked);
    (0..200).for_each(|_| turn(&mut stage, |at| at == 0));
    permit(&stage, 0, Permit::Held);
    attend(&mut stage, 0);
    (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
    let oldest = oldest_heard(&stage, 1);
    assert!((184.0..=186.0).contains(&oldest), "{oldest}");
}

#[test]
fn grant_plays_speech_begun_just_before_the_request_unless_refused_meanwhile() {
    for refused in [false, true] {
        let mut stage = with_dated_voice();
        (0..100).for_each(|_| turn(&mut stage, |_| false));
        // Ten packets before the request, two between the request and the answer.
        (0..10).for_each(|_| turn(&mut stage, |at| at == 0));
        permit(&stage, 0, Permit::Asked);
        (0..2).for_each(|_| turn(&mut stage, |at| at == 0));
        if refused {
            permit(&stage, 0, Permit::Closed);
            turn(&mut stage, |at| at == 0);
            permit(&stage, 0, Permit::Asked);
            turn(&mut stage, |at| at == 0);
        }
        permit(&stage, 0, Permit::Held);
        (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
        let oldest = oldest_heard(&stage, 1);
        let from = if refused { 113.0 } else { 100.0 };
        assert!((from - 0.01..=from + 1.0).contains(&oldest), "{oldest}");
    }
}

#[test]
fn release_drops_later_speech_and_frees_the_floor_within_ten_ticks() {
    let mut stage = with_dated_voice();
    permit(&stage, 0, Permit::Held);
    (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
    permit(&stage, 0, Permit::Draining);
    let telemetry = stage.talkers[0].shared.clone();
    let mut ticks = 0;
    while telemetry.telemetry.permit() != Permit::Closed {
        turn(&mut stage, |at| at == 0);
        ticks += 1;
        assert!(
            ticks < 10,
            "a clean network has nothing on the way for long"
        );
    }
    (0..100).for_each(|_| turn(&mut stage, |at| at == 0));
    let newest = stage.heard(1).iter().copied().fold(0.0, f32::max) * 1_000.0;
    assert!((50.0..=52.1).contains(&newest), "{newest}");
    assert_eq!(telemetry.settings.permit(), Permit::Draining);
    // The next talk-spurt is heard from its first packet.
    permit(&stage, 0, Permit::Held);
    (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
    let newest = stage.heard(1).iter().copied().fold(0.0, f32::max) * 1_000.0;
    assert!(newest > 190.0, "{newest}");
}

/// The holder asks again in the tick in which its last speech ends, and the network delays the
/// first packets of the new talk-spurt.
#[test]
fn playout_catches_up_with_held_speech_when_the_holder_speaks_again_at_once() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, tone(200.3, 0.3));
    stage.join_tapped(2, |_| 0.0);
    permit(&stage, 0, Permit::Held);
    (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
    permit(&stage, 0, Permit::Draining);
    let shared = stage.talkers[0].shared.clone();
    while shared.telemetry.permit() != Permit::Closed {
        turn(&mut stage, |_| false);
    }
    permit(&stage, 0, Permit::Held);
    let mut held_up = Vec::new();
    for _ in 0..10 {
        held_up.push(stage.talkers[0].packet());
        stage.pass();
    }
    let now = stage.now();
    for packet in held_up {
        stage.engine.push(stage.talkers[0].id, &packet, now);
    }
    let delay_ms = || shared.telemetry.delay_us.load(Ordering::Relaxed) / 1_000;
    (0..5).for_each(|_| turn(&mut stage, |at| at == 0));
    assert!(delay_ms() > 150, "{} ms", delay_ms());
    (0..200).for_each(|_| turn(&mut stage, |at| at == 0));
    assert!(delay_ms() < 60, "{} ms", delay_ms());
}
