//! Tests of consent: how a silent connection is detected, and what keeps a connection alive.

use super::*;

#[test]
fn peer_gets_consent_checks_every_few_seconds_and_is_removed_when_it_stops_answering() {
    let mut world = World::new();
    let connected = world
        .until(&RtcEvent::Connected(ID), SECOND)
        .expect("connected");
    assert!(connected <= 3 * STEP, "{connected:?}");
    let begin = world.now;
    world.checks = 0;
    while world.now < begin + 60 * SECOND {
        world.step();
    }
    assert!(
        (10..=15).contains(&world.checks),
        "{} checks in a minute",
        world.checks
    );
    assert!(
        world.peers.out.events.is_empty(),
        "{:?}",
        world.peers.out.events
    );
    world.cut = true;
    let cut = world.elapsed();
    let silent = world
        .until(&RtcEvent::Disconnected(ID), 60 * SECOND)
        .expect("noticed")
        - cut;
    assert!((5 * SECOND..=12 * SECOND).contains(&silent), "{silent:?}");
    let gone = world
        .until(&RtcEvent::Gone(ID, Reason::ConsentLost), 60 * SECOND)
        .expect("noticed")
        - cut;
    assert!((20 * SECOND..=28 * SECOND).contains(&gone), "{gone:?}");
    assert!(world.peers.participants().is_empty());
    assert_eq!(world.peers.routes.peer_at(client()), None);
}

#[test]
fn stun_answer_from_an_unchecked_address_neither_moves_media_nor_counts_as_consent() {
    let mut world = World::connected_and_cut();
    world.pass(8 * SECOND, None);
    for _ in 0..12 * 100 {
        world.step();
        for (_, transaction) in world.asked() {
            world.answer(elsewhere(), transaction);
        }
    }
    assert_eq!(world.media_to(), [client()]);
    assert_eq!(world.peers.routes.peer_at(elsewhere()), None);
    let gone = world.until(&RtcEvent::Gone(ID, Reason::ConsentLost), 10 * SECOND);
    assert!(gone.is_some(), "nor is it consent");
}

#[test]
fn peer_that_was_silent_reconnects() {
    let mut world = World::new();
    world
        .until(&RtcEvent::Connected(ID), SECOND)
        .expect("connected");
    world.cut = true;
    world
        .until(&RtcEvent::Disconnected(ID), 15 * SECOND)
        .expect("noticed");
    world.cut = false;
    world
        .until(&RtcEvent::Connected(ID), 10 * SECOND)
        .expect("back");
}
