//! Floor tests of the end of a burst: by release, by silence, by its time limit.

use super::*;

#[test]
fn released_floor_drains_before_it_passes_on() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.ask(BEN);
    room.release(ANN);
    assert_eq!(room.permit(ANN), Permit::Draining);
    // The mixer's report arrives too early to be believed.
    room.floor.drained(ANN, room.now);
    assert_eq!(room.holders(), [ANN]);
    room.pass(60);
    room.said();
    room.floor.drained(ANN, room.now);
    assert_eq!(room.holders(), [BEN]);
    let said = room.said();
    assert_eq!(taken_by(&said), Some(BEN));
    assert!(matches!(said[1], Action::Granted(BEN, grant) if grant.burst == 2));
    assert_eq!(said[2], Action::QueueChanged);
    assert_eq!(room.permit(ANN), Permit::Closed);
}

#[test]
fn floor_passes_on_even_if_the_mixer_never_reports_drained() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.release(ANN);
    room.said();
    room.pass(560);
    assert_eq!(room.said(), [Action::Idle { n: 1 }]);
    assert_eq!(room.permit(ANN), Permit::Closed);
}

#[test]
fn floor_holder_that_sends_nothing_loses_the_floor_after_the_end_of_media_time() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.talk(ANN, 1_000);
    room.said();
    room.pass(1_980);
    assert_eq!(room.said(), []);
    room.pass(20);
    assert_eq!(room.said(), [Action::Idle { n: 1 }]);
}

#[test]
fn floor_holder_past_its_talk_limit_is_revoked_and_cut_off_after_the_grace() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.talk(ANN, 30_000);
    room.said();
    room.talk(ANN, 20);
    let revoke = Action::Revoked {
        participant: ANN,
        burst: 1,
        cause: RevokeCause::MediaBurstTooLong,
        grace: Duration::from_secs(3),
    };
    assert_eq!(room.said(), [revoke]);
    assert_eq!(room.permit(ANN), Permit::Held);
    let Answer::Denied(denial) = room.ask(ANN) else {
        panic!("it is over");
    };
    assert_eq!(denial.cause, DenyCause::RetryAfterNotExpired);
    assert_eq!(denial.retry_after, Some(Duration::from_secs(3)));
    room.talk(ANN, 3_000);
    assert_eq!(room.said(), [Action::Idle { n: 1 }]);
    assert_eq!(room.permit(ANN), Permit::Closed);
    room.talk(ANN, 2_000);
    assert_eq!(room.said(), [Action::Unpermitted(ANN)]);
}

#[test]
fn floor_holder_may_talk_forever_in_a_room_without_a_talk_limit() {
    let mut room = Room::with(Settings {
        mode: Mode::Ptt,
        talk_limit: None,
        ..Settings::default()
    });
    let Answer::Granted(grant) = room.ask(ANN) else {
        panic!("nobody talks");
    };
    assert_eq!(grant.duration, None);
    room.talk(ANN, 120_000);
    assert_eq!(room.holders(), [ANN]);
}

#[test]
fn unused_floor_grant_is_repeated_and_then_passes_on() {
    let mut room = Room::with(Settings {
        mode: Mode::Ptt,
        end_of_media: Duration::from_secs(10),
        ..Settings::default()
    });
    room.ask(ANN);
    room.ask(BEN);
    room.ask(CAT);
    room.stop(ANN);
    room.said();
    room.pass(1_000);
    assert!(matches!(room.said()[..], [Action::Granted(BEN, grant)] if grant.burst == 2));
    room.pass(1_000);
    assert_eq!(room.holders(), [CAT]);
    // A repeated request shows that the participant knows of the grant.
    assert_eq!(burst(room.ask(CAT)), 3);
    room.pass(5_000);
    assert_eq!(room.holders(), [CAT]);
}

#[test]
fn idle_floor_reports_inactivity_every_30_seconds() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.stop(ANN);
    room.said();
    room.pass(60_000);
    assert_eq!(room.said(), [Action::Inactive, Action::Inactive]);
}
