//! Floor tests of each mode, and of changes of the mode.

use super::*;

#[test]
fn multi_mode_allows_its_number_of_floor_holders() {
    let mut room = Room::of(Mode::Multi(2));
    room.ask(ANN);
    room.ask(BEN);
    assert_eq!(position(room.ask(CAT)), 1);
    room.said();
    room.stop(BEN);
    let said = room.said();
    assert_eq!(
        said[0],
        Action::Released {
            participant: BEN,
            burst: 2
        }
    );
    assert_eq!(taken_by(&said), Some(CAT));
    assert_eq!(room.holders(), [ANN, CAT]);
    room.stop(CAT);
    room.said();
    room.stop(ANN);
    assert_eq!(room.said(), [Action::Idle { n: 1 }]);
}

#[test]
fn multi_mode_pre_empts_the_newest_holder_of_lowest_precedence() {
    let mut room = Room::of(Mode::Multi(2));
    room.ask(ANN);
    room.ask(BEN);
    room.said();
    room.ask(DAN);
    assert_eq!(
        revoked(&room.said()),
        Some((BEN, RevokeCause::MediaBurstPreempted))
    );
    // The place that is about to become free goes to Dan, so an emergency request pre-empts another
    // holder.
    let emergency = Request {
        tier: Tier::Emergency,
        ..Request::default()
    };
    assert_eq!(position(room.floor.request(CAT, emergency, room.now)), 1);
    assert_eq!(
        revoked(&room.said()),
        Some((ANN, RevokeCause::MediaBurstPreempted))
    );
    room.talk(ANN, 3_000);
    assert_eq!(room.holders(), [CAT, DAN]);
}

#[test]
fn multi_mode_releases_the_old_burst_when_its_holder_requests_the_floor_again() {
    let mut room = Room::of(Mode::Multi(2));
    room.ask(ANN);
    room.ask(BEN);
    room.release(BEN);
    room.said();
    assert_eq!(burst(room.ask(BEN)), 3);
    let released = Action::Released {
        participant: BEN,
        burst: 2,
    };
    let said = room.said();
    assert_eq!(said[0], released);
    assert_eq!(taken_by(&said), Some(BEN));
    // The same in a room where the new request must first wait in the queue.
    let mut room = Room::of(Mode::Multi(3));
    for id in [ANN, BEN, CAT, DAN] {
        room.ask(id);
    }
    room.release(BEN);
    room.ask(BEN);
    room.said();
    room.pass(60);
    room.floor.leave(ANN, room.now);
    room.floor.leave(CAT, room.now);
    let said = room.said();
    assert!(said.contains(&released), "{said:?}");
    assert_eq!(room.holders(), [DAN, BEN]);
}

#[test]
fn cut_in_mode_gives_the_floor_to_the_newest_request() {
    let mut room = Room::of(Mode::CutIn);
    room.ask(DAN);
    room.said();
    assert_eq!(burst(room.ask_now(ANN)), 2);
    let said = room.said();
    let revoke = Action::Revoked {
        participant: DAN,
        burst: 1,
        cause: RevokeCause::MediaBurstPreempted,
        grace: Duration::ZERO,
    };
    assert_eq!(said[0], revoke);
    assert_eq!(taken_by(&said), Some(ANN));
    assert!(!said.contains(&Action::QueueChanged));
    room.release(ANN);
    assert_eq!(burst(room.ask(BEN)), 3);
    assert_eq!(room.holders(), [BEN]);
}

#[test]
fn floor_request_queued_before_cut_in_mode_does_not_cut_in() {
    let mut room = Room::of(Mode::Moderated);
    room.ask(DAN);
    room.ask(ANN);
    let settings = Settings {
        mode: Mode::CutIn,
        ..*room.floor.settings()
    };
    room.floor.set(settings, room.now);
    assert_eq!(room.holders(), [DAN]);
    assert_eq!(burst(room.ask(BEN)), 2);
    assert_eq!((room.holders(), room.queue()), (vec![BEN], vec![ANN]));
}

#[test]
fn broadcast_mode_denies_the_floor_to_all_but_the_originator() {
    let mut room = Room::of(Mode::Broadcast);
    assert_eq!(cause(room.ask(BEN)), DenyCause::ReceiveOnly);
    burst(room.ask(ANN));
    assert!(matches!(
        room.said()[0],
        Action::Taken {
            may_request: false,
            ..
        }
    ));
    room.floor.leave(ANN, room.now);
    burst(room.ask(BEN));
}

#[test]
fn moderated_mode_grants_the_floor_only_through_another_participant() {
    let mut room = Room::of(Mode::Moderated);
    assert_eq!(position(room.ask(ANN)), 1);
    assert_eq!(position(room.ask(BEN)), 2);
    assert_eq!(room.holders(), []);
    assert_eq!(cause(room.ask_now(CAT)), DenyCause::Other);
    let grant = |room: &mut Room, by, to| room.floor.grant(by, to, room.now);
    assert_eq!(grant(&mut room, ANN, BEN), Err(GrantError::Asking));
    assert_eq!(grant(&mut room, CAT, DAN), Err(GrantError::NotAsked));
    assert_eq!(grant(&mut room, CAT, BEN), Ok(()));
    assert_eq!(room.holders(), [BEN]);
    room.said();
    assert_eq!(grant(&mut room, CAT, ANN), Ok(()));
    assert_eq!(
        revoked(&room.said()),
        Some((BEN, RevokeCause::ByAnotherClient))
    );
    room.stop(BEN);
    assert_eq!(room.holders(), [ANN]);
    let mut other = Room::of(Mode::Ptt);
    assert_eq!(grant(&mut other, CAT, ANN), Err(GrantError::NotModerated));
}

#[test]
fn moderated_floor_goes_to_the_later_of_two_grants_made_during_one_grace() {
    let mut room = Room::of(Mode::Moderated);
    for id in [ANN, BEN, CAT] {
        room.ask(id);
    }
    for to in [ANN, BEN, CAT] {
        room.floor.grant(DAN, to, room.now).expect("he waits");
    }
    assert_eq!((room.holders(), room.queue()), (vec![ANN], vec![CAT, BEN]));
    room.stop(ANN);
    assert_eq!(room.holders(), [CAT]);
    room.stop(CAT);
    assert_eq!((room.holders(), room.queue()), (vec![], vec![BEN]));
}

#[test]
fn open_room_has_no_floor() {
    let mut room = Room::of(Mode::Open);
    assert_eq!(burst(room.ask(ANN)), 0);
    room.talk(ANN, 5_000);
    assert_eq!(room.floor.take_actions(), []);
    assert_eq!(room.permit(BEN), Permit::Free);
    assert_eq!(room.floor.standing(ANN, room.now), Standing::None);
}

#[test]
fn floor_mode_change_revokes_excess_holders_and_clears_the_queue() {
    let mut room = Room::of(Mode::Multi(3));
    for id in [ANN, DAN, BEN, CAT] {
        room.ask(id);
    }
    assert_eq!(room.holders().len(), 3);
    room.said();
    let set = |room: &mut Room, mode| {
        let settings = Settings {
            mode,
            ..*room.floor.settings()
        };
        room.floor.set(settings, room.now);
    };
    // Dan has the highest precedence and keeps the floor; the other holders are no longer heard.
    set(&mut room, Mode::Ptt);
    assert_eq!((room.holders(), room.queue()), (vec![DAN], vec![CAT]));
    assert_eq!(room.permit(ANN), Permit::Closed);
    assert_eq!(revoked(&room.said()), Some((BEN, RevokeCause::Other)));
    // Only Ann may talk in a broadcast.
    set(&mut room, Mode::Broadcast);
    assert_eq!((room.holders(), room.queue()), (vec![], vec![]));
    let said = room.said();
    assert!(said.contains(&Action::Idle { n: 1 }), "{said:?}");
    set(&mut room, Mode::Ptt);
    room.ask(BEN);
    room.ask(CAT);
    room.said();
    // No request waits in an open room.
    set(&mut room, Mode::Open);
    let actions = room.floor.take_actions();
    assert!(actions.contains(&Action::Granted(CAT, NO_FLOOR)));
    assert!(actions.contains(&Action::Idle { n: 2 }));
    assert_eq!(actions.last(), Some(&Action::Permits));
    assert_eq!(room.permit(ANN), Permit::Free);
    // In a room with a floor only the holder is heard.
    set(&mut room, Mode::Ptt);
    assert_eq!(room.floor.take_actions(), [Action::Permits]);
    assert_eq!(room.permit(ANN), Permit::Closed);
}
