//! Isolation by permits: a talker without a permit changes no bit of the output.

use crate::stage::floor::{attend, permit, turn, turn_with};
use crate::stage::{Stage, human, tone};
use mixer::output::Event;
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use proptest::prelude::*;

/// Everything the engine put out, and the number of ticks it ran.
#[derive(Debug, PartialEq)]
struct Output {
    packets: Vec<Sent>,
    events: Vec<Event>,
    pcm: Vec<Vec<f32>>,
    /// Ticks run, and ticks that passed on the clock.
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

/// Runs eight seconds in a room in which two talkers hold the floor in turns, one listener is
/// tapped and some hear through Opus. A third talker asks for the floor now and then without
/// getting it, and either sends all the time or never.
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
        // Two talkers take turns, and for over two seconds nobody speaks, so that the room falls
        // asleep.
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
        // Packets arrive anywhere within a tick, but the room may move its phase only to permitted
        // talkers.
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
fn packets_without_a_permit_change_not_a_bit_of_the_output() {
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

    /// A talker that is never granted a permit does not alter the output, whatever permits the
    /// others have.
    #[test]
    fn talker_without_a_permit_never_enters_the_mix(
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
        // Every `Attend` command wakes the room in both runs, whether the talker sends or not.
        prop_assert!(with == without);
    }

    /// Contributors hold a permit, or lost it so recently that they fade out, or began to drain at
    /// most half a second ago.
    #[test]
    fn only_talkers_with_a_permit_are_heard(
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
                // A lost permit fades out within one tick.
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
