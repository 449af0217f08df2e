//! Floor tests: participants that join, leave, are muted or are alone.

use super::*;

#[test]
fn participant_without_audience_is_denied_the_floor_and_a_holder_loses_it() {
    let mut floor = Floor::new(Settings {
        mode: Mode::Ptt,
        ..Settings::default()
    });
    let now = Instant::now();
    floor.join(ANN, true, 0);
    let answer = floor.request(ANN, Request::default(), now);
    assert_eq!(cause(answer), DenyCause::OnlyOneParticipant);
    floor.set_overheard(true, now);
    burst(floor.request(ANN, Request::default(), now));
    let _ = floor.take_actions();
    floor.set_overheard(false, now);
    assert_eq!(
        revoked(&floor.take_actions()),
        Some((ANN, RevokeCause::OnlyOneClient))
    );
}

#[test]
fn floor_request_ends_when_its_participant_is_the_last_in_the_room() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.ask(BEN);
    for id in [CAT, DAN] {
        room.floor.leave(id, room.now);
    }
    room.said();
    room.floor.leave(ANN, room.now);
    let said = room.said();
    assert!(
        matches!(said[0], Action::Denied(BEN, denial) if denial.cause == DenyCause::OnlyOneParticipant)
    );
    assert_eq!(said[1..], [Action::Idle { n: 1 }, Action::QueueChanged]);
    assert_eq!(room.permit(BEN), Permit::Closed);
}

#[test]
fn listen_only_participant_is_denied_the_floor() {
    let mut room = Room::of(Mode::Ptt);
    let eve = ParticipantId(5);
    room.floor.join(eve, false, 255);
    assert_eq!(cause(room.ask(eve)), DenyCause::ReceiveOnly);
}

#[test]
fn floor_passes_on_at_once_when_its_holder_leaves() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.ask(BEN);
    room.floor.leave(ANN, room.now);
    assert_eq!(room.holders(), [BEN]);
    room.floor.leave(BEN, room.now);
    assert_eq!(room.said().last(), Some(&Action::Idle { n: 1 }));
}

#[test]
fn muted_participant_loses_the_floor_and_its_place_in_the_queue() {
    let mut room = Room::of(Mode::Ptt);
    for id in [ANN, BEN, CAT] {
        room.ask(id);
    }
    room.said();
    room.floor.mute(BEN, room.now);
    let denied = |action: &Action| matches!(action, Action::Denied(BEN, denial) if denial.cause == DenyCause::Muted);
    assert!(room.said().iter().any(denied));
    room.floor.mute(ANN, room.now);
    let said = room.said();
    assert_eq!(revoked(&said), Some((ANN, RevokeCause::Other)));
    assert_eq!(room.holders(), [CAT]);
    room.floor.mute(DAN, room.now);
    assert_eq!(room.said(), []);
}

#[test]
fn muted_participant_gets_no_floor_until_it_is_unmuted() {
    for mode in [
        Mode::Ptt,
        Mode::Multi(2),
        Mode::CutIn,
        Mode::Broadcast,
        Mode::Moderated,
    ] {
        let mut room = Room::of(mode);
        room.floor.mute(ANN, room.now);
        for queue in [true, false] {
            let request = Request {
                tier: Tier::Emergency,
                queue,
                ..Request::default()
            };
            let Answer::Denied(denial) = room.floor.request(ANN, request, room.now) else {
                panic!("{mode}: not while it is muted");
            };
            assert_eq!(denial.cause, DenyCause::Muted, "{mode}");
        }
        assert_eq!(room.floor.standing(ANN, room.now), Standing::None, "{mode}");
        room.floor.unmute(ANN);
        assert!(!matches!(room.ask(ANN), Answer::Denied(_)), "{mode}");
    }
}

#[test]
fn participant_muted_in_an_open_room_gets_no_floor_after_a_mode_change() {
    let mut room = Room::of(Mode::Open);
    room.floor.mute(ANN, room.now);
    let settings = Settings {
        mode: Mode::Ptt,
        ..Settings::default()
    };
    room.floor.set(settings, room.now);
    assert!(matches!(room.ask(ANN), Answer::Denied(_)));
}

#[test]
fn floor_snapshot_tells_a_late_participant_holders_revokes_and_queue() {
    let mut room = Room::of(Mode::Multi(2));
    assert_eq!(room.floor.snapshot(room.now).count(), 0);
    room.ask(ANN);
    room.talk(ANN, 30_020);
    room.ask(BEN);
    room.ask(CAT);
    room.talk(BEN, 1_000);
    let snapshot: Vec<Action> = room.floor.snapshot(room.now).collect();
    assert_eq!(snapshot.len(), 4);
    assert!(
        matches!(snapshot[0], Action::Taken { participant: ANN, grant, .. } if grant.burst == 1)
    );
    let left = Some(Duration::from_millis(29_020));
    assert!(
        matches!(snapshot[1], Action::Taken { participant: BEN, grant, may_request: true } if grant.duration == left)
    );
    let revoked = Action::Revoked {
        participant: ANN,
        burst: 1,
        cause: RevokeCause::MediaBurstTooLong,
        grace: Duration::from_millis(2_000),
    };
    assert_eq!(snapshot[2..], [revoked, Action::QueueChanged]);
}

#[test]
fn queued_participant_is_denied_the_floor_when_its_audience_has_left() {
    let mut floor = Floor::new(Settings {
        mode: Mode::Moderated,
        ..Settings::default()
    });
    let now = Instant::now();
    floor.join(ANN, true, 0);
    floor.set_overheard(true, now);
    assert_eq!(position(floor.request(ANN, Request::default(), now)), 1);
    let _ = floor.take_actions();
    floor.set_overheard(false, now);
    let said = floor.take_actions();
    let denied = |action: &Action| matches!(action, Action::Denied(ANN, denial) if denial.cause == DenyCause::OnlyOneParticipant);
    assert!(said.iter().any(denied), "{said:?}");
    assert_eq!(floor.permit(ANN), Permit::Closed);
}
