//! Floor tests of requests: granted, queued or denied.

use super::*;

#[test]
fn floor_grants_the_first_request_and_queues_further_requests() {
    let mut room = Room::of(Mode::Ptt);
    assert_eq!(burst(room.ask(ANN)), 1);
    assert_eq!(
        room.floor.take_actions(),
        [
            Action::Permit(ANN, Permit::Held),
            Action::Taken {
                participant: ANN,
                grant: Grant {
                    burst: 1,
                    duration: Some(Duration::from_secs(30)),
                    priority: 0
                },
                may_request: true
            }
        ]
    );
    assert_eq!(position(room.ask(BEN)), 1);
    assert_eq!(position(room.ask(CAT)), 2);
    assert_eq!(room.permit(BEN), Permit::Asked);
    // A repeated request of a waiting participant changes nothing.
    assert_eq!(position(room.ask_now(CAT)), 2);
    room.stop(ANN);
    assert_eq!(room.holders(), [BEN]);
    assert_eq!(room.queue(), [CAT]);
}

#[test]
fn floor_request_that_declines_to_wait_is_denied_with_the_holders_id() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    let denied = Answer::Denied(Denial {
        cause: DenyCause::AnotherClientHasPermission,
        holder: Some(ANN),
        retry_after: None,
    });
    assert_eq!(room.ask_now(BEN), denied);
    assert_eq!(room.permit(BEN), Permit::Closed);
}

#[test]
fn repeated_request_of_a_floor_holder_continues_its_burst() {
    let mut room = Room::of(Mode::Ptt);
    assert_eq!(burst(room.ask(ANN)), 1);
    room.talk(ANN, 10_000);
    room.said();
    let Answer::Granted(grant) = room.ask(ANN) else {
        panic!("granted before");
    };
    assert_eq!(grant.burst, 1);
    assert_eq!(grant.duration, Some(Duration::from_millis(20_020)));
    assert_eq!(room.said(), []);
}

#[test]
fn floor_holder_may_resume_while_its_burst_drains_unless_another_request_waits() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.release(ANN);
    assert_eq!(burst(room.ask(ANN)), 2);
    assert_eq!(room.permit(ANN), Permit::Held);
    room.ask(BEN);
    room.release(ANN);
    assert_eq!(position(room.ask(ANN)), 2);
    room.pass(600);
    assert_eq!((room.holders(), room.queue()), (vec![BEN], vec![ANN]));
}

#[test]
fn draining_floor_queues_the_first_request_even_if_it_declines_to_wait() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.release(ANN);
    assert_eq!(position(room.ask_now(BEN)), 1);
    assert_eq!(
        cause(room.ask_now(CAT)),
        DenyCause::AnotherClientHasPermission
    );
}

#[test]
fn higher_priority_pre_empts_the_floor_and_equal_priority_waits() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    assert_eq!(position(room.ask(BEN)), 1);
    room.said();
    assert_eq!(position(room.ask(DAN)), 1);
    let revoke = (ANN, RevokeCause::MediaBurstPreempted);
    assert_eq!(revoked(&room.said()), Some(revoke));
    // The holder is heard until it has stopped or its grace is over.
    room.talk(ANN, 2_980);
    assert_eq!(room.permit(ANN), Permit::Held);
    room.talk(ANN, 20);
    assert_eq!(room.holders(), [DAN]);
    assert_eq!(room.queue(), [BEN]);
}

#[test]
fn floor_tier_outranks_any_priority_and_a_request_can_only_lower_its_priority() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(DAN);
    let greedy = Request {
        priority: Some(255),
        ..Request::default()
    };
    assert_eq!(position(room.floor.request(ANN, greedy, room.now)), 1);
    assert_eq!(revoked(&room.said()), None);
    let peril = Request {
        tier: Tier::Imminent,
        ..Request::default()
    };
    assert_eq!(position(room.floor.request(BEN, peril, room.now)), 1);
    assert_eq!(
        revoked(&room.said()),
        Some((DAN, RevokeCause::MediaBurstPreempted))
    );
    assert_eq!(room.queue(), [BEN, ANN]);
    let modest = Request {
        priority: Some(0),
        ..Request::default()
    };
    room.stop(DAN);
    assert_eq!(position(room.floor.request(DAN, modest, room.now)), 2);
}

#[test]
fn full_floor_queue_accepts_only_requests_that_pre_empt() {
    let mut room = Room::with(Settings {
        mode: Mode::Ptt,
        queue_limit: 1,
        ..Settings::default()
    });
    room.ask(ANN);
    room.ask(BEN);
    assert_eq!(cause(room.ask(CAT)), DenyCause::QueueFull);
    assert_eq!(position(room.ask(DAN)), 1);
}

#[test]
fn floor_denial_names_a_holder_other_than_the_denied_participant() {
    let mut room = Room::of(Mode::Multi(2));
    room.ask(ANN);
    room.talk(ANN, 30_020);
    room.ask(BEN);
    for (asker, other) in [(ANN, BEN), (CAT, ANN)] {
        let Answer::Denied(denial) = room.ask_now(asker) else {
            panic!("not now");
        };
        assert_eq!(denial.holder, Some(other), "{denial:?}");
    }
}
