//! ICE restarts: what goes on meanwhile, and what a client may ask for.

use std::collections::HashSet;

use super::*;
use crate::rtc::sdp::{RemoteCandidate, remote_candidates};

/// The client's side of a new session, the `number`th.
fn session(number: u32, candidates: Vec<RemoteCandidate>) -> NewSession {
    let remote = Credentials::new(&format!("theirs{number}"), "passwordthatislongenough");
    NewSession {
        remote: remote.expect("allowed"),
        candidates,
    }
}

impl World {
    /// Restarts ICE; the client's checks are of the new session from here on. Gives the credentials of the former.
    fn restart(&mut self, number: u32) -> [Credentials; 2] {
        let session = session(number, Vec::new());
        let now = self.now;
        let local = self.peers.restart(ID, &session, now).expect("restarted");
        std::mem::replace(&mut self.credentials, [session.remote, local])
    }

    /// Whether a check with these credentials is answered where it comes from.
    fn is_answered(&mut self, with: &[Credentials; 2], from: SocketAddr) -> bool {
        let present = std::mem::replace(&mut self.credentials, with.clone());
        self.stun.clear();
        let transaction = self.ask(from, false);
        self.credentials = present;
        self.stun.contains(&(from, StunClass::Success, transaction))
    }
}

#[test]
fn media_goes_on_over_the_former_pair_until_the_new_session_has_one() {
    let mut world = World::connected_and_cut();
    let former = world.restart(1);
    for _ in 0..300 {
        world.step();
        assert_eq!(world.media_to(), [client()], "as before");
    }
    assert!(world.is_answered(&former, client()), "the pair is kept");
    assert!(
        !world.is_answered(&former, elsewhere()),
        "and no other made"
    );

    // The new session finds a path from elsewhere.
    world.ask(elsewhere(), true);
    let checks = world.asked();
    assert_eq!(world.media_to(), [client()], "it is not up yet");
    let (to, transaction) = *checks
        .iter()
        .find(|(to, _)| *to == elsewhere())
        .expect("checked back");
    world.answer(to, transaction);
    assert_eq!(world.media_to(), [elsewhere()]);
    assert!(!world.is_answered(&former, client()), "it is over");
    world.pass(40 * SECOND, Some(elsewhere()));
    assert_eq!(world.media_to(), [elsewhere()], "and stays connected");
    assert!(world.peers.out.events.is_empty());
}

#[test]
fn a_second_restart_before_the_first_is_done_keeps_the_pair_that_works() {
    let mut world = World::connected_and_cut();
    let former = world.restart(1);
    let between = world.restart(2);
    assert_eq!(world.media_to(), [client()]);
    assert!(world.is_answered(&former, client()));
    assert!(
        !world.is_answered(&between, client()),
        "it never had a pair"
    );
    world.ask(client(), true);
    for (to, transaction) in world.asked() {
        world.answer(to, transaction);
    }
    assert_eq!(world.media_to(), [client()]);
    assert!(!world.is_answered(&former, client()));
    world.peers.close(ID, world.now);
    for [_, ours] in [former, between, world.credentials.clone()] {
        assert_eq!(
            world.peers.routes.peer_of_ufrag(ours.ufrag.as_bytes()),
            None
        );
    }
}

#[test]
fn a_restart_that_never_succeeds_ends_with_the_consent_that_was_given() {
    let mut world = World::connected_and_cut();
    let cut = world.elapsed();
    world.restart(1);
    let gone = world.until(&RtcEvent::Gone(ID, Reason::ConsentLost), 60 * SECOND);
    let after = gone.expect("noticed") - cut;
    assert!(after <= 30 * SECOND, "RFC 7675, 5.1: {after:?}");
    assert!(world.media_to().is_empty());
}

#[test]
fn restarts_are_bounded_and_the_refused_ones_change_nothing() {
    let mut world = World::connected_and_cut();
    for number in 0..5 {
        world.restart(number);
    }
    let now = world.now;
    let refused = world.peers.restart(ID, &session(5, Vec::new()), now);
    let Err(RestartError::TooOften { retry_after }) = refused else {
        panic!("{refused:?}");
    };
    assert!(retry_after <= 5 * SECOND && retry_after > Duration::ZERO);
    assert_eq!(world.media_to(), [client()]);
    let last = world.credentials.clone();
    assert!(world.is_answered(&last, client()), "the session lives on");
    world.now += retry_after;
    world.restart(5);
    // And as often as that for ever.
    for number in 6..9 {
        world.now += 5 * SECOND;
        world.restart(number);
    }
}

#[test]
fn no_row_of_restarts_has_many_addresses_checked() {
    let mut world = World::connected_and_cut();
    let mut fresh = 0u16;
    let mut asked = HashSet::new();
    let mut some = || {
        let lines: Vec<String> = (0..20)
            .map(|_| {
                fresh += 1;
                format!("1 1 udp 1 198.51.100.9 {fresh} typ host")
            })
            .collect();
        remote_candidates(lines.iter().map(String::as_str))
    };
    let begin = world.now;
    for number in 0..5 {
        let now = world.now;
        let restarted = world.peers.restart(ID, &session(number, some()), now);
        restarted.expect("so often it may");
        for _ in 0..5 {
            let more = some();
            world
                .peers
                .with_participant(ID, now, |peer, turn| peer.trickle(&more, turn));
        }
        let end = world.now + 5 * SECOND;
        while world.now < end {
            world.step();
            asked.extend(world.asked().into_iter().map(|(to, _)| to));
        }
    }
    let seconds = (world.now - begin).as_secs() as usize;
    println!("{} of 600 addresses checked in {seconds} s", asked.len());
    assert!(asked.len() <= 60 + seconds / 3 + 1, "{}", asked.len());
    assert!(asked.len() >= 60, "and the honest ones are");
    assert!(world.peers.metrics.dropped_total(Dropped::Addresses) > 500);
}
