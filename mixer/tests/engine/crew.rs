//! Encodes on helper threads: listeners receive the same packets as without helpers, and an encode
//! that misses its tick skips only its own packet.
#![allow(clippy::vec_box, reason = "jobs cross between threads as boxes")]

use crate::stage::hands::{Hands, LateHelpers};
use crate::stage::{Stage, encoding, tone};
use mixer::codec::Profile;
use mixer::engine::Command;
use mixer::output::OutputStream;
use mixer::packet::OutPacket;
use mixer::room::{Participant, RoomSettings};
use mixer::units::ParticipantId;

const TALKERS: u32 = 20;

/// Builds a room in which all `TALKERS` talk, together with the simulated helper threads.
fn scene(hands: Hands) -> (Stage, Hands) {
    let mut stage = Stage::new(RoomSettings::default());
    stage.engine.reserve_jobs(64);
    for id in 1..=TALKERS {
        stage.join_clear(id, tone(200.0 + 61.7 * f64::from(id), 0.03));
    }
    (stage, hands)
}

/// Builds a scene in which helper threads have begun some encodes and keep them; also returns the
/// number of these encodes.
fn scene_with_streams_away() -> (Stage, Hands, usize) {
    let (mut stage, mut hands) = scene(Hands {
        begin: TALKERS as usize,
        slow: true,
        ..Hands::default()
    });
    while hands.begun.is_empty() {
        turn(&mut stage, &mut hands);
    }
    let away = hands.begun.len();
    (stage, hands, away)
}

fn turn(stage: &mut Stage, hands: &mut Hands) {
    stage.arrive();
    for _ in 0..8 {
        stage.slot += 1;
        let now = stage.now();
        stage.engine.run_slot(stage.slot, now, hands);
    }
}

/// The payloads sent to each listener, in the order of delivery.
fn by_listener(packets: &[(ParticipantId, OutPacket)]) -> Vec<Vec<Vec<u8>>> {
    let mut all = vec![Vec::new(); TALKERS as usize];
    for (to, packet) in packets {
        all[to.0 as usize - 1].push(packet.payload.as_slice().to_vec());
    }
    all
}

#[test]
fn helper_threads_produce_the_same_packets_as_the_engine_alone() {
    let (mut alone, _) = scene(Hands::default());
    (0..80).for_each(|_| alone.turn());
    for begin in [0, 5, TALKERS as usize] {
        let (mut stage, mut hands) = scene(Hands {
            begin,
            ..Hands::default()
        });
        (0..80).for_each(|_| turn(&mut stage, &mut hands));
        assert!(hands.rounds > 50, "{} ticks were shared", hands.rounds);
        let stats = stage.engine.stats();
        assert_eq!(stats.encodes_skipped_total, 0);
        assert_eq!(stats.encodes_total, alone.engine.stats().encodes_total);
        assert_eq!(
            by_listener(&hands.inner.packets),
            by_listener(&alone.sink.packets)
        );
    }
}

#[test]
fn helper_threads_encode_streams_of_ungrouped_listen_only_members() {
    let (mut stage, mut hands) = scene(Hands {
        begin: 64,
        ..Hands::default()
    });
    for id in 2..=TALKERS {
        let leaves = Command::RemoveParticipant(ParticipantId(id));
        stage.engine.apply(leaves, &mut hands);
    }
    stage.talkers.truncate(1);
    for (id, bitrate_bps) in (50..).zip((10_000..30_000).step_by(1_000)) {
        let mut alone = encoding(Profile::Voice);
        alone.bitrate_bps = bitrate_bps;
        stage.join_ear_of(id, alone);
    }
    // After 100 ticks nothing is encoded for the only talker, because it hears nobody.
    (0..100).for_each(|_| turn(&mut stage, &mut hands));
    let before = (stage.engine.stats().encodes_total, hands.rounds);
    (0..50).for_each(|_| turn(&mut stage, &mut hands));
    assert_eq!(stage.engine.stats().encodes_total - before.0, 50 * 20);
    assert_eq!(hands.rounds - before.1, 50, "every tick is shared");
    assert_eq!(stage.engine.stats().encodes_skipped_total, 0);
}

#[test]
fn late_helper_encode_skips_its_packet_and_its_stream_recovers() {
    let (mut stage, mut hands) = scene(Hands {
        begin: 5,
        slow: true,
        ..Hands::default()
    });
    let mut helpers = LateHelpers::default();
    for _ in 0..30 {
        // Each encode takes four slots: too late for this tick, in time for the next.
        helpers.tick(&mut stage, &mut hands, || 4);
    }
    let rounds = hands.rounds as u64;
    assert!(rounds > 10);
    let stats = stage.engine.stats();
    assert_eq!(stats.encodes_skipped_total, 5 * rounds);
    // From now on the helpers finish in time, and no later packet may be missing.
    hands.slow = false;
    (0..5).for_each(|_| turn(&mut stage, &mut hands));
    hands.inner.packets.clear();
    (0..20).for_each(|_| turn(&mut stage, &mut hands));
    assert!(
        by_listener(&hands.inner.packets)
            .iter()
            .all(|packets| packets.len() == 20)
    );
    assert_eq!(stage.engine.stats().encodes_skipped_total, 5 * rounds);
}

#[test]
fn tick_does_not_wait_for_an_encode_of_an_earlier_tick() {
    let (mut stage, mut hands) = scene(Hands {
        begin: 5,
        slow: true,
        ..Hands::default()
    });
    while hands.begun.is_empty() {
        turn(&mut stage, &mut hands);
    }
    assert!(hands.waits.take() > 0, "it asks how long to wait");
    // From now on the helpers finish in time, except for five encodes that one helper keeps.
    let stuck = std::mem::take(&mut hands.begun);
    hands.slow = false;
    let before = (hands.rounds, stage.engine.stats().encodes_total);
    (0..10).for_each(|_| turn(&mut stage, &mut hands));
    assert_eq!(hands.rounds - before.0, 10);
    assert_eq!(hands.waits.take(), 0, "all of its own were done");
    let others = u64::from(TALKERS) - stuck.len() as u64;
    assert_eq!(stage.engine.stats().encodes_total - before.1, 10 * others);
    // The kept encodes come back, and all listeners are served again.
    hands.done.extend(stuck);
    turn(&mut stage, &mut hands);
    hands.inner.packets.clear();
    (0..10).for_each(|_| turn(&mut stage, &mut hands));
    let all = by_listener(&hands.inner.packets);
    assert!(all.iter().all(|packets| packets.len() == 10));
}

#[test]
fn participant_leaving_during_a_helper_encode_is_retired_completely() {
    let (mut stage, mut hands, away) = scene_with_streams_away();
    for id in 1..=TALKERS {
        let leaves = Command::RemoveParticipant(ParticipantId(id));
        stage.engine.apply(leaves, &mut hands);
    }
    stage.talkers.clear();
    turn(&mut stage, &mut hands);
    assert!(!stage.engine.is_idle(), "jobs are out");
    let begun = std::mem::take(&mut hands.begun);
    hands.done.extend(begun);
    (0..5).for_each(|_| turn(&mut stage, &mut hands));
    assert!(stage.engine.is_idle());
    let streams = hands.inner.retired.iter();
    let streams = streams.filter(|retired| retired.is::<OutputStream>());
    assert_eq!(streams.count(), away);
    let people = hands.inner.retired.iter();
    let people = people.filter(|retired| retired.is::<Participant>());
    assert_eq!(people.count(), TALKERS as usize);
}

#[test]
fn moving_participant_waits_for_its_stream_from_the_helper_thread() {
    let (mut stage, mut hands, away) = scene_with_streams_away();
    for id in 1..=TALKERS {
        let participant = ParticipantId(id);
        let moves = Command::Detach {
            participant,
            stream: None,
        };
        stage.engine.apply(moves, &mut hands);
    }
    stage.talkers.clear();
    (0..5).for_each(|_| turn(&mut stage, &mut hands));
    let moving = |hands: &Hands| {
        let retired = hands.inner.retired.iter();
        retired.filter(|it| it.is_moving()).count()
    };
    assert_eq!(moving(&hands), TALKERS as usize - away);
    let begun = std::mem::take(&mut hands.begun);
    hands.done.extend(begun);
    (0..5).for_each(|_| turn(&mut stage, &mut hands));
    assert_eq!(moving(&hands), TALKERS as usize);
    let streams = hands.inner.retired.iter();
    assert_eq!(streams.filter(|it| it.is::<OutputStream>()).count(), 0);
    assert!(stage.engine.is_idle());
}
