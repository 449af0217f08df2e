//! Tests of ICE restarts: media during a restart, and limits on restarts.

use std::collections::HashSet;

use rtc::peer_connection::message::RTCMessage;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::*;
use crate::rtc::negotiator::Negotiator;
use crate::rtc::sdp::{RemoteCandidate, remote_candidates};

/// Returns the client's side of the new ICE session with this number.
fn session(number: u32, candidates: Vec<RemoteCandidate>) -> NewSession {
    let remote = Credentials::new(&format!("theirs{number}"), "passwordthatislongenough");
    NewSession {
        remote: remote.expect("allowed"),
        candidates,
    }
}

impl World {
    /// Restarts ICE and uses the new session's credentials from then on; returns those of the
    /// former session.
    fn restart(&mut self, number: u32) -> [Credentials; 2] {
        let session = session(number, Vec::new());
        let local = self.try_restart(&session).expect("restarted");
        std::mem::replace(&mut self.credentials, [session.remote, local])
    }

    fn try_restart(&mut self, session: &NewSession) -> Result<Credentials, RestartError> {
        let (reply, mut answer) = oneshot::channel();
        let begun = self
            .peers
            .begin_restart(ID, session.clone(), reply, self.now);
        match begun {
            Some((negotiation, _reply)) => self.peers.end_restart(negotiation.run(), self.now),
            None => Err(answer
                .try_recv()
                .expect("it is refused")
                .expect_err("as was said")),
        }
    }

    /// Begins a restart and drops the receiver of its outcome; returns the negotiation.
    fn begin_restart(&mut self, session: &NewSession) -> Negotiation {
        let (reply, _) = oneshot::channel();
        let begun = self
            .peers
            .begin_restart(ID, session.clone(), reply, self.now);
        begun.expect("begun").0
    }

    /// Answers the server's checks as the client with the credentials `session`, until the server
    /// has nominated a pair.
    fn nominate(&mut self, session: [Credentials; 2]) {
        self.credentials = session;
        self.stun.clear();
        self.ask(client(), true);
        for (to, transaction) in self.asked() {
            self.answer(to, transaction);
        }
    }

    /// Whether the server answers a check from `from` that is signed with these credentials.
    fn is_answered(&mut self, with: &[Credentials; 2], from: SocketAddr) -> bool {
        let present = std::mem::replace(&mut self.credentials, with.clone());
        self.stun.clear();
        let transaction = self.ask(from, false);
        self.credentials = present;
        self.stun.contains(&(from, StunClass::Success, transaction))
    }
}

#[test]
fn ice_restart_keeps_media_on_the_old_candidate_pair_until_the_new_session_has_a_pair() {
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

    // The new session finds a path from another address.
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
fn second_ice_restart_before_the_first_has_ended_keeps_the_working_candidate_pair() {
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
fn ice_restart_without_success_ends_when_consent_expires() {
    let mut world = World::connected_and_cut();
    let cut = world.elapsed();
    world.restart(1);
    let gone = world.until(&RtcEvent::Gone(ID, Reason::ConsentLost), 60 * SECOND);
    let after = gone.expect("noticed") - cut;
    assert!(after <= 30 * SECOND, "RFC 7675, 5.1: {after:?}");
    assert!(world.media_to().is_empty());
}

#[test]
fn ice_restarts_are_rate_limited_and_refused_restarts_change_nothing() {
    let mut world = World::connected_and_cut();
    for number in 0..5 {
        world.restart(number);
    }
    let refused = world.try_restart(&session(5, Vec::new()));
    let Err(RestartError::TooOften { retry_after }) = refused else {
        panic!("{refused:?}");
    };
    assert!(retry_after <= 5 * SECOND && retry_after > Duration::ZERO);
    assert_eq!(world.media_to(), [client()]);
    let last = world.credentials.clone();
    assert!(world.is_answered(&last, client()), "the session lives on");
    world.now += retry_after;
    world.restart(5);
    // Further restarts are allowed without end at one per interval.
    for number in 6..9 {
        world.now += 5 * SECOND;
        world.restart(number);
    }
}

#[test]
fn ice_restarts_in_a_row_do_not_cause_checks_to_many_addresses() {
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
        let restarted = world.try_restart(&session(number, some()));
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

#[test]
fn ice_session_continues_while_the_webrtc_core_negotiates_a_restart() {
    let mut world = World::connected_and_cut();
    let present = world.credentials.clone();
    let first = session(1, Vec::new());
    let negotiation = world.begin_restart(&first);
    let begin = world.now;
    while world.now < begin + 3 * SECOND {
        assert_eq!(world.media_to(), [client()]);
        assert!(world.is_answered(&present, client()));
        world.step();
    }
    let trickled = remote_candidates(["1 1 udp 1 198.51.100.9 77 typ host"]);
    let now = world.now;
    world
        .peers
        .with_participant(ID, now, |peer, turn| peer.trickle(&trickled, turn));
    let local = world.peers.end_restart(negotiation.run(), now);
    let next = [first.remote, local.expect("restarted")];
    assert!(world.is_answered(&present, client()), "the pair is kept");
    assert_eq!(world.media_to(), [client()]);
    world.stun.clear();
    for _ in 0..100 {
        world.step();
    }
    let asked = world.asked();
    let is_asked = asked.iter().any(|(to, _)| *to == trickled[0].address);
    assert!(
        is_asked,
        "what was trickled meanwhile is of the new session"
    );
    world.nominate(next);
    assert_eq!(world.media_to(), [client()]);
    assert!(!world.is_answered(&present, client()), "it is over");
}

#[test]
fn ice_restarts_wait_for_one_another_and_keep_their_candidates() {
    let mut world = World::connected_and_cut();
    let negotiation = world.begin_restart(&session(1, Vec::new()));
    let mut answers = Vec::new();
    for number in 2..8 {
        let (reply, answer) = oneshot::channel();
        let session = session(number, Vec::new());
        let begun = world.peers.begin_restart(ID, session, reply, world.now);
        assert!(begun.is_none(), "the core is away");
        answers.push(answer);
    }
    for answer in &mut answers[4..] {
        let refused = answer.try_recv().expect("told at once");
        assert!(matches!(refused, Err(RestartError::TooOften { .. })));
    }
    let trickled = remote_candidates(["1 1 udp 1 198.51.100.9 77 typ host"]);
    let now = world.now;
    world
        .peers
        .with_participant(ID, now, |peer, turn| peer.trickle(&trickled, turn));
    let mut negotiated = negotiation.run();
    for number in 2..6 {
        world.peers.end_restart(negotiated, now).expect("restarted");
        let (negotiation, _reply) = world.peers.next_restart(ID, now).expect("it has waited");
        let theirs = format!("theirs{number}");
        assert_eq!(negotiation.remote.ufrag, theirs);
        let is_last = number == 5;
        assert_eq!(negotiation.offer.contains("198.51.100.9"), is_last);
        negotiated = negotiation.run();
    }
    let local = world.peers.end_restart(negotiated, now);
    assert!(world.peers.next_restart(ID, now).is_none());
    let theirs = Credentials::new("theirs5", "passwordthatislongenough");
    world.nominate([theirs.expect("allowed"), local.expect("restarted")]);
    assert_eq!(world.media_to(), [client()]);
}

#[test]
fn messages_in_both_directions_wait_while_the_webrtc_core_negotiates_a_restart() {
    for is_refused in [false, true] {
        let (mut world, control) = world_with_control();
        let first = session(1, Vec::new());
        let negotiation = world.begin_restart(&first);
        let now = world.now;
        world.peers.with_participant(ID, now, |peer, turn| {
            peer.send_text("from the server".to_owned(), turn);
        });
        let mut channel = world.client.data_channel(control).expect("it is open");
        channel.send_text(now, "from the client").expect("sent");
        for _ in 0..10 {
            world.step();
        }
        assert!(world.client.poll_data_read().is_none());
        assert!(world.peers.out.events.is_empty());

        if is_refused {
            let refused = Negotiated {
                participant: ID,
                ufrag: negotiation.ufrag,
                remote: negotiation.remote,
                local: None,
                connection: Some(negotiation.connection),
            };
            let back = world.peers.end_restart(refused, world.now);
            assert_eq!(back.map(|_| ()), Err(RestartError::Refused));
        } else {
            let back = world.peers.end_restart(negotiation.run(), world.now);
            world.nominate([first.remote, back.expect("restarted")]);
        }
        // After a restart the core has no pair yet when it gets the text, so SCTP repeats the text
        // later.
        let limit = if is_refused { SECOND / 5 } else { 3 * SECOND };
        let text = RtcEvent::Text(ID, "from the client".to_owned());
        assert!(world.until(&text, limit).is_some(), "{is_refused}");
        let end = world.now + limit;
        let mut told = None;
        while told.is_none() && world.now < end {
            world.step();
            told = world.client.poll_data_read().map(|it| it.message);
        }
        let Some(RTCMessage::DataChannelMessage(id, message)) = told else {
            panic!("the text has waited");
        };
        assert_eq!((id, &message.data[..]), (control, &b"from the server"[..]));
    }
}

#[test]
fn webrtc_core_of_a_closed_peer_is_dropped_after_its_negotiation() {
    let mut world = World::connected_and_cut();
    let negotiation = world.begin_restart(&session(1, Vec::new()));
    let now = world.now;
    world.peers.close(ID, now);
    let back = world.peers.end_restart(negotiation.run(), now);
    assert_eq!(back.map(|_| ()), Err(RestartError::Unknown));
    assert!(world.media_to().is_empty());
    // The core is not given to another peer of this participant either, if that peer waits for its
    // own core.
    let mut world = World::connected_and_cut();
    let stray = World::connected_and_cut().begin_restart(&session(1, Vec::new()));
    let first = session(1, Vec::new());
    let negotiation = world.begin_restart(&first);
    let back = world.peers.end_restart(stray.run(), world.now);
    assert_eq!(back.map(|_| ()), Err(RestartError::Unknown));
    let back = world.peers.end_restart(negotiation.run(), world.now);
    world.nominate([first.remote, back.expect("restarted")]);
    assert_eq!(world.media_to(), [client()]);
}

#[test]
fn webrtc_core_lost_in_a_negotiation_ends_only_its_own_peer() {
    let mut world = World::connected_and_cut();
    let negotiation = world.begin_restart(&session(1, Vec::new()));
    let lost = Negotiated {
        connection: None,
        local: None,
        ..negotiation.run()
    };
    let back = world.peers.end_restart(lost, world.now);
    assert_eq!(back.map(|_| ()), Err(RestartError::Refused));
    let gone = RtcEvent::Gone(ID, Reason::Fault);
    assert!(world.peers.out.events.contains(&gone));
    assert_eq!(world.peers.metrics.faults_total.load(Ordering::Relaxed), 1);
}

#[test]
fn negotiator_returns_the_webrtc_core_after_each_ice_restart() {
    let wake = Arc::new(eventfd(0, EventfdFlags::empty()).expect("a descriptor"));
    let mut negotiator = Negotiator::start(wake.clone()).expect("a thread");
    for _ in 0..3 {
        let mut world = World::connected_and_cut();
        let negotiation = world.begin_restart(&session(1, Vec::new()));
        assert!(negotiator.has_room());
        let (reply, _answer) = oneshot::channel();
        negotiator.begin(negotiation, reply);
        // Block until the negotiator thread has written to the eventfd.
        rustix::io::read(&*wake, &mut [0u8; 8]).expect("woken");
        let (negotiated, _reply) = negotiator.next().expect("it is back");
        let local = world.peers.end_restart(negotiated, world.now);
        let local = local.expect("restarted");
        let routed = world.peers.routes.peer_of_ufrag(local.ufrag.as_bytes());
        assert!(routed.is_some());
    }
    assert!(negotiator.next().is_none());
}
