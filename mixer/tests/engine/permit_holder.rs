//! The floor holder, and permit changes while a participant talks.

use crate::stage::floor::{attend, permit, turn, turns, with_dated_voice};
use crate::stage::{Stage, amplitude_of, tone};
use mixer::format::SLOT;
use mixer::output::Event;
use mixer::packet::{Packet, Payload};
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::{Decibels, Level, Time};

#[test]
fn floor_holder_is_never_gated_and_does_not_hear_itself() {
    let mut stage = Stage::new(RoomSettings::default());
    // A level of -66 dBFS, far below the gate.
    stage.join_exact(1, tone(541.9, 0.000_7));
    stage.join_tapped(2, |_| 0.0);
    stage.join_tapped(3, tone(317.3, 0.3));
    for at in 0..3 {
        permit(&stage, at, Permit::Closed);
    }
    permit(&stage, 0, Permit::Held);
    turns(&mut stage, 100);
    let heard = stage.heard(1);
    let level = amplitude_of(&heard[heard.len() - 48_000..], 541.9);
    assert!((level - 0.000_7).abs() < 0.000_05, "{level}");
    assert!(stage.heard(0).iter().all(|&sample| sample == 0.0));
    let other = amplitude_of(&heard[heard.len() - 48_000..], 317.3);
    assert!(other < 1e-6, "{other}");
    assert_eq!(stage.talkers[0].shared.telemetry.permit(), Permit::Held);
}

#[test]
fn floor_holder_is_heard_even_if_louder_talkers_fill_the_cap() {
    let mut stage = Stage::new(RoomSettings {
        max_contributors: Some(1),
        ..RoomSettings::default()
    });
    stage.join_exact(1, tone(541.9, 0.01));
    stage.join_exact(2, tone(317.3, 0.5));
    stage.join_tapped(3, |_| 0.0);
    permit(&stage, 0, Permit::Held);
    turns(&mut stage, 100);
    let heard = stage.heard(2);
    let last = &heard[heard.len() - 24_000..];
    assert!((amplitude_of(last, 541.9) - 0.01).abs() < 0.001);
    assert!(amplitude_of(last, 317.3) < 1e-4);
}

#[test]
fn floor_holder_keeps_its_permit_through_pauses() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, tone(541.9, 0.2));
    stage.join_tapped(2, |_| 0.0);
    permit(&stage, 0, Permit::Held);
    for _ in 0..5 {
        (0..20).for_each(|_| turn(&mut stage, |at| at == 0));
        (0..60).for_each(|_| turn(&mut stage, |_| false));
        assert_eq!(stage.talkers[0].shared.telemetry.permit(), Permit::Held);
    }
    let begun = |event: &&Event| matches!(event, Event::Talking { .. });
    assert_eq!(stage.sink.events.iter().filter(begun).count(), 5);
    assert_eq!(stage.sink.events.len(), 10);
    // All speech is present: 400 ms each time, plus concealment until the end of the talk-spurt is
    // certain.
    let heard = stage.heard(1);
    let loud = heard
        .chunks(960)
        .filter(|pcm| amplitude_of(pcm, 541.9) > 0.15);
    assert!(loud.count() >= 5 * 19);
}

/// Largest difference between adjacent samples.
fn steepest(heard: &[f32]) -> f32 {
    let steps = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    steps.fold(0.0, f32::max)
}

#[test]
fn permit_changes_while_talking_make_no_click_and_act_within_a_tick() {
    use Permit::{Asked, Closed, Draining, Free, Held};
    for (from, to) in [
        (Free, Closed),
        (Held, Closed),
        (Free, Asked),
        (Held, Asked),
        (Closed, Free),
        (Asked, Free),
        (Free, Held),
        (Held, Free),
        (Draining, Held),
        (Held, Draining),
        (Free, Draining),
    ] {
        let mut stage = Stage::new(RoomSettings::default());
        stage.join_tapped(1, tone(200.3, 0.5));
        stage.join_tapped(2, |_| 0.0);
        permit(&stage, 0, from);
        turns(&mut stage, 30);
        let before = stage.heard(1).len();
        permit(&stage, 0, to);
        turns(&mut stage, 2);
        let in_between = stage.heard(1).len();
        turns(&mut stage, 60);
        let heard = stage.heard(1);
        // A 200 Hz sine of amplitude 0.5 changes by at most 0.0131 per sample; the fade-in takes
        // one or five milliseconds.
        assert!(
            steepest(&heard) < 0.027,
            "{from:?} to {to:?}: {}",
            steepest(&heard)
        );
        let loud = |pcm: &[f32]| pcm.iter().any(|sample| sample.abs() > 0.1);
        match to {
            Closed | Asked => assert!(!loud(&heard[in_between..]), "{from:?} to {to:?}"),
            Draining => {
                let late = heard.get(before + 26 * 960..).unwrap_or_default();
                assert!(!loud(late), "{from:?} to {to:?}");
            }
            _ => assert!(loud(&heard[heard.len() - 960..]), "{from:?} to {to:?}"),
        }
    }
}

#[test]
fn permit_of_a_floor_holder_that_sends_nothing_closes_soon_after_release() {
    let mut stage = with_dated_voice();
    permit(&stage, 0, Permit::Held);
    attend(&mut stage, 0);
    (0..200).for_each(|_| turn(&mut stage, |_| false));
    let telemetry = &stage.talkers[0].shared.clone().telemetry;
    assert_eq!(telemetry.permit(), Permit::Held);
    permit(&stage, 0, Permit::Draining);
    (0..3).for_each(|_| turn(&mut stage, |_| false));
    assert_eq!(telemetry.permit(), Permit::Closed);
}

/// Received and voiced packets of a sender without a permit are counted even while the room sleeps.
#[test]
fn packets_without_a_permit_are_counted_while_the_room_sleeps() {
    let mut stage = Stage::new(RoomSettings {
        gate_db: Some(Decibels(-50.0)),
        ..RoomSettings::default()
    });
    stage.join_exact(1, tone(541.9, 0.2));
    stage.join_ear(2);
    permit(&stage, 0, Permit::Closed);
    (0..200).for_each(|_| stage.pass());
    let before = stage.engine.stats().ticks_total;
    let push = |stage: &mut Stage, change: &dyn Fn(&mut Packet)| {
        let mut packet = stage.talkers[0].packet();
        change(&mut packet);
        let at = Time::from_us(stage.slot * SLOT.as_micros() as u64);
        stage.engine.push(stage.talkers[0].id, &packet, at);
        stage.pass();
    };
    let telemetry = stage.talkers[0].shared.clone();
    let counts = || {
        let telemetry = &telemetry.telemetry;
        (telemetry.received_total(), telemetry.voiced_total())
    };
    for _ in 0..10 {
        push(&mut stage, &|packet| packet.level = Some(Level::SILENCE));
    }
    assert_eq!(counts(), (10, 0));
    for _ in 0..10 {
        let dtx = Payload::copy_from(&[0xf8]).expect("fits");
        push(&mut stage, &|packet| packet.payload = dtx);
    }
    assert_eq!(counts(), (20, 0));
    for _ in 0..10 {
        push(&mut stage, &|packet| {
            packet.level = Some(Level::from_wire(20))
        });
    }
    assert_eq!(counts(), (30, 10));
    assert_eq!(telemetry.telemetry.level(), Level::SILENCE);
    assert_eq!(telemetry.telemetry.permit(), Permit::Closed);
    assert_eq!(stage.engine.stats().ticks_total, before, "it sleeps on");
}
