//! Where a room has a floor: who has no permit is not in it, to the last bit.
#![cfg(feature = "opus")]

mod stage;

use std::sync::atomic::Ordering;

use mixer::command::{Command, Event};
use mixer::format::SLOT;
use mixer::packet::{Packet, Payload};
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::{Decibels, Level, Time};
use proptest::prelude::*;
use stage::{Stage, amplitude_of, human, tone};

/// 20 ms in which those send whose places are named; a media clock goes on all the same.
fn turn(stage: &mut Stage, sends: impl Fn(usize) -> bool) {
    turn_with(stage, sends, |_| false);
}

/// The same; some of them call their packets silent.
fn turn_with(stage: &mut Stage, sends: impl Fn(usize) -> bool, is_silent: impl Fn(usize) -> bool) {
    let now = stage.now();
    for at in 0..stage.talkers.len() {
        let mut packet = stage.talkers[at].packet();
        packet.level = is_silent(at).then_some(Level::SILENCE);
        if sends(at) {
            stage.engine.push(stage.talkers[at].id, &packet, now);
        } else {
            stage.talkers[at].unsend();
        }
    }
    stage.pass();
}

fn turns(stage: &mut Stage, count: usize) {
    (0..count).for_each(|_| stage.turn());
}

fn permit(stage: &Stage, at: usize, permit: Permit) {
    stage.talkers[at].shared.settings.set_permit(permit);
}

fn attend(stage: &mut Stage, at: usize) {
    let command = Command::Attend(stage.talkers[at].id);
    stage.engine.apply(command, &mut stage.sink);
}

/// All that left the engine, and how many ticks it took.
#[derive(Debug, PartialEq)]
struct Output {
    packets: Vec<Sent>,
    events: Vec<Event>,
    pcm: Vec<Vec<f32>>,
    /// And of how many.
    ticks: (u64, u64),
}

#[derive(Debug, PartialEq)]
struct Sent {
    to: u32,
    time: u32,
    marker: bool,
    ids: Vec<u32>,
    levels: Vec<u8>,
    payload: Vec<u8>,
}

fn output(stage: &Stage) -> Output {
    let sent = stage.sink.packets.iter();
    Output {
        packets: sent
            .map(|(to, packet)| Sent {
                to: to.0,
                time: packet.time.0,
                marker: packet.marker,
                ids: packet.sources.ids().to_vec(),
                levels: packet.sources.levels().to_vec(),
                payload: packet.payload.as_slice().to_vec(),
            })
            .collect(),
        events: stage.sink.events.clone(),
        pcm: stage.log.all(),
        ticks: (stage.engine.stats().ticks_total, (stage.slot - 400) / 8),
    }
}

/// Eight seconds of a room in which two hold the floor in turns, somebody hears through a tap, and
/// some hear through Opus; one more asks for the floor now and then and never gets it, and sends
/// all the time, or nothing.
fn with_and_without(sends: bool, permits: &[Permit]) -> Output {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, human("human-en-female"));
    stage.join_tapped(2, human("human-it-male"));
    stage.join_clear(3, tone(700.3, 0.3));
    stage.join_tapped(4, |_| 0.0);
    stage.join_ear(5);
    stage.join_ear(6);
    for at in 0..4 {
        permit(&stage, at, Permit::Closed);
    }
    for number in 0..400 {
        // Two take turns, and for two seconds nobody speaks: the room falls asleep.
        let holder = number / 60 % 2;
        let talks = number % 60 < 50 && !(240..360).contains(&number);
        for at in 0..2 {
            let held = if holder == at && talks {
                Permit::Held
            } else {
                Permit::Draining
            };
            permit(&stage, at, held);
        }
        permit(&stage, 2, permits[number % permits.len()]);
        // Wherever in a tick the packets come, the room moves to meet them only where it may.
        for _ in 0..number % 8 {
            stage.slot += 1;
            let now = stage.now();
            stage.engine.run_slot(stage.slot, now, &mut stage.sink);
        }
        turn(&mut stage, |at| match at {
            2 => sends,
            at => at == holder && talks,
        });
        let received = stage.talkers[2].shared.telemetry.received_total();
        assert_eq!(received, if sends { number as u64 + 1 } else { 0 });
    }
    output(&stage)
}

#[test]
fn with_or_without_the_packets_of_who_has_no_permit_not_a_bit_differs() {
    let patterns: [&[Permit]; 3] = [
        &[Permit::Closed],
        &[Permit::Asked],
        &[
            Permit::Closed,
            Permit::Closed,
            Permit::Asked,
            Permit::Asked,
            Permit::Asked,
        ],
    ];
    for permits in patterns {
        let (with, without) = (
            with_and_without(true, permits),
            with_and_without(false, permits),
        );
        assert!(with.packets.len() > 1_000 && with.events.len() > 8);
        let (ran, all) = with.ticks;
        assert!(ran + 50 < all, "the room sleeps: {ran} ticks of {all}");
        assert!(with == without, "{permits:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the others may, and whatever it is told but yes: it is not in the mix.
    #[test]
    fn who_is_never_let_in_never_enters(
        steps in prop::collection::vec(
            (0usize..3, 0u8..5, any::<bool>(), any::<bool>(), 1usize..12), 10..60),
    ) {
        let run = |sends: bool| {
            let mut stage = Stage::new(RoomSettings::default());
            for id in 1..=3 {
                stage.join_exact(id, tone(200.0 + 131.3 * f64::from(id), 0.2));
            }
            stage.join_ear(4);
            permit(&stage, 2, Permit::Closed);
            for &(at, told, talks, attended, count) in &steps {
                let told = match (at, Permit::from_wire(told)) {
                    (2, Permit::Asked) => Permit::Asked,
                    (2, _) => Permit::Closed,
                    (_, told) => told,
                };
                permit(&stage, at, told);
                if attended {
                    attend(&mut stage, at);
                }
                for _ in 0..count {
                    turn(&mut stage, |at| if at == 2 { sends } else { talks || at == 0 });
                }
            }
            output(&stage)
        };
        let (with, without) = (run(true), run(false));
        // What is told to a participant at once wakes the room whether it sends or not.
        prop_assert!(with == without);
    }

    /// Nobody is heard but who has the permit, or has had it so shortly before that it fades, or
    /// half a second before and let it go.
    #[test]
    fn only_who_has_the_permit_is_heard(
        steps in prop::collection::vec((0usize..3, 0u8..5, 1usize..40, 0u8..8), 10..40),
    ) {
        let mut stage = Stage::new(RoomSettings::default());
        for id in 1..=3 {
            stage.join_exact(id, tone(200.0 + 131.3 * f64::from(id), 0.2));
            permit(&stage, id as usize - 1, Permit::Closed);
        }
        stage.join_tapped(4, |_| 0.0);
        permit(&stage, 3, Permit::Closed);
        let (mut told, mut since) = ([Permit::Closed; 3], [1_000usize; 3]);
        for &(at, number, count, silent) in &steps {
            let next = Permit::from_wire(number);
            if next != told[at] {
                // What ends fades within a tick.
                since[at] = match told[at] {
                    Permit::Free | Permit::Held => 0,
                    Permit::Draining if since[at] < 26 => 0,
                    _ => 1_000,
                };
                (told[at], since[at]) = match next {
                    Permit::Draining => (next, 0),
                    next => (next, since[at]),
                };
                permit(&stage, at, next);
            }
            for _ in 0..count {
                stage.sink.packets.clear();
                turn_with(&mut stage, |_| true, |at| silent >> at & 1 == 1);
                let may: Vec<u32> = (0..3)
                    .filter(|&at| match told[at] {
                        Permit::Free | Permit::Held => true,
                        Permit::Draining => since[at] <= 26,
                        _ => since[at] <= 1,
                    })
                    .map(|at| at as u32 + 1)
                    .collect();
                since.iter_mut().for_each(|since| *since += 1);
                for (to, packet) in stage.sink.packets.iter().filter(|(to, _)| to.0 == 4) {
                    let ids = packet.sources.ids();
                    prop_assert!(ids.iter().all(|id| may.contains(id)), "{ids:?} of {may:?}");
                    let is_silent = stage.log.pcm(packet).iter().all(|&sample| sample == 0.0);
                    prop_assert!(!may.is_empty() || is_silent, "{to:?} hears a stranger");
                }
            }
        }
    }
}

/// What a tapped listener hears of the permits of one voice that tells when it was spoken: every
/// sample of it is its packet's number, in thousandths.
fn oldest_heard(stage: &Stage, listener: usize) -> f64 {
    let heard = stage.heard(listener);
    // The first milliseconds fade in.
    let sound = heard.iter().position(|sample| sample.abs() > 0.0);
    let first = &heard[sound.expect("it is heard") + 480..];
    f64::from(first.iter().copied().fold(1.0, f32::min)) * 1_000.0
}

fn with_dated_voice() -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, |sample| (sample / 960) as f32 / 1_000.0);
    stage.join_tapped(2, |_| 0.0);
    permit(&stage, 0, Permit::Closed);
    permit(&stage, 1, Permit::Closed);
    stage
}

#[test]
fn an_open_microphone_leaks_nothing_that_was_said_before_the_request() {
    let mut stage = with_dated_voice();
    (0..100).for_each(|_| turn(&mut stage, |at| at == 0));
    permit(&stage, 0, Permit::Asked);
    (0..5).for_each(|_| turn(&mut stage, |at| at == 0));
    permit(&stage, 0, Permit::Held);
    (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
    let oldest = oldest_heard(&stage, 1);
    assert!((99.99..=101.0).contains(&oldest), "{oldest}");
}

/// Whatever its packets were not played for before the room had a floor.
#[test]
fn who_was_quiet_when_the_floor_came_leaks_nothing_either() {
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
fn of_a_long_wait_the_last_300_ms_are_heard() {
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
fn what_was_said_just_before_the_request_is_heard_and_a_refusal_forgets_it() {
    for refused in [false, true] {
        let mut stage = with_dated_voice();
        (0..100).for_each(|_| turn(&mut stage, |_| false));
        // Ten packets before the request, two before the answer.
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
fn a_holder_is_never_gated_and_hears_nothing_of_himself() {
    let mut stage = Stage::new(RoomSettings::default());
    // -66 dBFS, far under the gate.
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
fn a_holder_is_heard_though_louder_ones_fill_the_places() {
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
fn pauses_within_a_hold_do_not_end_it() {
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
    // Every word of it is there: 400 ms, and what is made up while its end is in doubt.
    let heard = stage.heard(1);
    let loud = heard
        .chunks(960)
        .filter(|pcm| amplitude_of(pcm, 541.9) > 0.15);
    assert!(loud.count() >= 5 * 19);
}

/// Steepest step of what the listener heard.
fn steepest(heard: &[f32]) -> f32 {
    let steps = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    steps.fold(0.0, f32::max)
}

#[test]
fn every_change_while_talking_is_free_of_clicks_and_takes_effect_within_a_tick() {
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
        // A sine of 200 Hz and 0.5 moves by 0.0131 a sample at most; it opens within a millisecond,
        // or five.
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
fn what_comes_after_the_release_is_not_heard_and_the_floor_is_free_soon() {
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
    // The next turn begins with it.
    permit(&stage, 0, Permit::Held);
    (0..50).for_each(|_| turn(&mut stage, |at| at == 0));
    let newest = stage.heard(1).iter().copied().fold(0.0, f32::max) * 1_000.0;
    assert!(newest > 190.0, "{newest}");
}

/// He presses again in the very tick in which his last words end, and the network holds up his first
/// ones.
#[test]
fn what_waits_too_long_is_caught_up_with_however_soon_one_speaks_again() {
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

#[test]
fn a_holder_who_says_nothing_drains_at_once() {
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

/// What is counted of one who sends without a permit while the room sleeps.
#[test]
fn packets_are_counted_where_nothing_is_played() {
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
