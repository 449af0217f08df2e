//! The ways of the floor, one by one.

use std::time::{Duration, Instant};

use super::*;

const ANN: ParticipantId = ParticipantId(1);
const BEN: ParticipantId = ParticipantId(2);
const CAT: ParticipantId = ParticipantId(3);
const DAN: ParticipantId = ParticipantId(4);

/// A floor with four in the room, Dan with a priority of 9, and a clock.
struct Room {
    floor: Floor,
    now: Instant,
}

impl Room {
    fn of(mode: Mode) -> Room {
        Room::with(Settings {
            mode,
            ..Settings::default()
        })
    }

    fn with(settings: Settings) -> Room {
        let mut floor = Floor::new(settings);
        for id in [ANN, BEN, CAT] {
            floor.join(id, true, 0);
        }
        floor.join(DAN, true, 9);
        Room {
            floor,
            now: Instant::now(),
        }
    }

    fn ask(&mut self, id: ParticipantId) -> Answer {
        self.floor.request(id, Request::default(), self.now)
    }

    /// Asks, but not to wait.
    fn ask_now(&mut self, id: ParticipantId) -> Answer {
        let request = Request {
            queue: false,
            ..Request::default()
        };
        self.floor.request(id, request, self.now)
    }

    fn release(&mut self, id: ParticipantId) {
        self.floor.release(id, self.now);
    }

    /// Releases, and the buffer drains.
    fn stop(&mut self, id: ParticipantId) {
        self.release(id);
        self.pass(60);
        self.floor.drained(id, self.now);
    }

    fn speak(&mut self, id: ParticipantId) {
        self.floor.media(id, true, self.now);
    }

    /// Lets time pass, turn by turn.
    fn pass(&mut self, ms: u64) {
        self.pass_with(ms, None);
    }

    /// The same while somebody sends.
    fn talk(&mut self, id: ParticipantId, ms: u64) {
        self.pass_with(ms, Some(id));
    }

    fn pass_with(&mut self, ms: u64, talker: Option<ParticipantId>) {
        for _ in 0..ms / 20 {
            self.now += Duration::from_millis(20);
            if let Some(id) = talker {
                self.speak(id);
            }
            self.floor.tick(self.now);
        }
    }

    fn holders(&self) -> Vec<ParticipantId> {
        self.floor
            .holders(self.now)
            .map(|it| it.participant)
            .collect()
    }

    fn queue(&self) -> Vec<ParticipantId> {
        self.floor.queue().collect()
    }

    fn said(&mut self) -> Vec<Action> {
        let actions = self.floor.take_actions();
        let said = actions
            .into_iter()
            .filter(|action| !matches!(action, Action::Permit(..) | Action::Permits));
        said.collect()
    }

    fn permit(&self, id: ParticipantId) -> Permit {
        self.floor.permit(id)
    }
}

fn burst(answer: Answer) -> u32 {
    match answer {
        Answer::Granted(grant) => grant.burst,
        other => panic!("not granted but {other:?}"),
    }
}

fn position(answer: Answer) -> usize {
    match answer {
        Answer::Queued(position) => position.position,
        other => panic!("not queued but {other:?}"),
    }
}

fn cause(answer: Answer) -> DenyCause {
    match answer {
        Answer::Denied(denial) => denial.cause,
        other => panic!("not denied but {other:?}"),
    }
}

fn taken_by(actions: &[Action]) -> Option<ParticipantId> {
    actions.iter().find_map(|action| match action {
        Action::Taken { participant, .. } => Some(*participant),
        _ => None,
    })
}

fn revoked(actions: &[Action]) -> Option<(ParticipantId, RevokeCause)> {
    actions.iter().find_map(|action| match action {
        Action::Revoked {
            participant, cause, ..
        } => Some((*participant, *cause)),
        _ => None,
    })
}

#[test]
fn the_first_gets_it_and_the_second_waits() {
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
    // It waits already, and the same again changes nothing.
    assert_eq!(position(room.ask_now(CAT)), 2);
    room.stop(ANN);
    assert_eq!(room.holders(), [BEN]);
    assert_eq!(room.queue(), [CAT]);
}

#[test]
fn who_does_not_want_to_wait_is_told_who_talks() {
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
fn the_same_request_again_is_the_same_burst() {
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
fn a_release_drains_before_the_floor_goes_on() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.ask(BEN);
    room.release(ANN);
    assert_eq!(room.permit(ANN), Permit::Draining);
    // Too early to believe the mixer.
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
fn a_mixer_that_says_nothing_does_not_hold_the_floor() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.release(ANN);
    room.said();
    room.pass(560);
    assert_eq!(room.said(), [Action::Idle { n: 1 }]);
    assert_eq!(room.permit(ANN), Permit::Closed);
}

#[test]
fn who_presses_again_goes_on_unless_somebody_waits() {
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
fn somebody_who_asks_while_the_last_words_are_played_need_not_agree_to_wait() {
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
fn a_holder_who_sends_nothing_has_stopped() {
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
fn who_talks_too_long_is_revoked_and_then_cut_off() {
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
fn a_room_without_a_limit_lets_them_talk() {
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
fn the_more_important_pre_empts_and_the_equal_waits() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    assert_eq!(position(room.ask(BEN)), 1);
    room.said();
    assert_eq!(position(room.ask(DAN)), 1);
    let revoke = (ANN, RevokeCause::MediaBurstPreempted);
    assert_eq!(revoked(&room.said()), Some(revoke));
    // What it says is heard until it has stopped or its time is over.
    room.talk(ANN, 2_980);
    assert_eq!(room.permit(ANN), Permit::Held);
    room.talk(ANN, 20);
    assert_eq!(room.holders(), [DAN]);
    assert_eq!(room.queue(), [BEN]);
}

#[test]
fn a_tier_beats_any_priority_and_a_priority_can_only_be_lowered() {
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
fn a_queue_that_is_full_takes_only_who_pre_empts() {
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
fn nobody_talks_to_nobody() {
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
fn who_is_left_alone_is_revoked_or_denied() {
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
fn who_can_only_listen_cannot_ask() {
    let mut room = Room::of(Mode::Ptt);
    let eve = ParticipantId(5);
    room.floor.join(eve, false, 255);
    assert_eq!(cause(room.ask(eve)), DenyCause::ReceiveOnly);
}

#[test]
fn a_holder_who_leaves_frees_the_floor_at_once() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.ask(BEN);
    room.floor.leave(ANN, room.now);
    assert_eq!(room.holders(), [BEN]);
    room.floor.leave(BEN, room.now);
    assert_eq!(room.said().last(), Some(&Action::Idle { n: 1 }));
}

#[test]
fn a_grant_nobody_uses_goes_on() {
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
    // Who asks again knows of it.
    assert_eq!(burst(room.ask(CAT)), 3);
    room.pass(5_000);
    assert_eq!(room.holders(), [CAT]);
}

#[test]
fn several_talk_where_several_may() {
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
fn of_several_the_newest_of_the_least_important_is_pre_empted() {
    let mut room = Room::of(Mode::Multi(2));
    room.ask(ANN);
    room.ask(BEN);
    room.said();
    room.ask(DAN);
    assert_eq!(
        revoked(&room.said()),
        Some((BEN, RevokeCause::MediaBurstPreempted))
    );
    // The place that is about to be free is Dan's; an emergency needs one of its own.
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
fn a_newer_request_cuts_in() {
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
fn where_talking_is_asking_nobody_is_cut_off_by_it() {
    let mut room = Room::with(Settings {
        mode: Mode::CutIn,
        implicit: true,
        ..Settings::default()
    });
    room.speak(ANN);
    for _ in 0..10 {
        room.speak(DAN);
        room.talk(ANN, 20);
    }
    assert_eq!(room.holders(), [ANN]);
    assert_eq!(burst(room.ask(BEN)), 2);
}

#[test]
fn who_waited_before_does_not_cut_in() {
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
fn only_the_originator_broadcasts() {
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
fn a_moderator_grants() {
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
fn where_talking_is_asking_silence_is_letting_go() {
    let mut room = Room::with(Settings {
        mode: Mode::Ptt,
        implicit: true,
        ..Settings::default()
    });
    room.speak(ANN);
    let said = room.said();
    assert_eq!(taken_by(&said), Some(ANN));
    assert!(matches!(said[1], Action::Granted(ANN, _)), "{said:?}");
    // Comfort noise is no talk.
    for _ in 0..100 {
        room.pass(20);
        room.floor.media(ANN, false, room.now);
    }
    assert_eq!(room.said(), [Action::Idle { n: 1 }]);
    // Somebody who talks while another one does is told once, and gets the floor when it is free.
    room.speak(ANN);
    for _ in 0..50 {
        room.speak(BEN);
        room.talk(ANN, 20);
    }
    let said = room.said();
    let told = said.iter().filter(|it| **it == Action::Unpermitted(BEN));
    assert_eq!(told.count(), 1);
    room.talk(BEN, 2_020);
    assert_eq!(room.holders(), [BEN]);
}

fn talked() -> Room {
    Room::with(Settings {
        mode: Mode::Ptt,
        implicit: true,
        ..Settings::default()
    })
}

#[test]
fn who_never_stops_talking_does_not_get_the_floor_again_by_it() {
    for grace in [Duration::from_secs(3), Duration::ZERO] {
        let mut room = talked();
        let settings = Settings {
            grace,
            ..*room.floor.settings()
        };
        room.floor.set(settings, room.now);
        room.speak(ANN);
        room.talk(ANN, 30_000 + grace.as_millis() as u64);
        assert_eq!(room.holders(), []);
        room.talk(ANN, 60_000);
        assert_eq!(room.holders(), []);
        // Nor does he keep others from it, and he is not forgiven while he goes on.
        room.speak(BEN);
        assert_eq!(room.holders(), [BEN]);
        room.talk(ANN, 2_000);
        assert_eq!(room.holders(), []);
        room.pass(1_000);
        room.speak(ANN);
        assert_eq!(room.holders(), [ANN], "after a pause");
    }
}

#[test]
fn who_was_cut_off_may_ask() {
    let mut room = talked();
    room.speak(ANN);
    room.talk(ANN, 33_000);
    assert_eq!(room.holders(), []);
    assert_eq!(burst(room.ask(ANN)), 2);
    room.stop(ANN);
    room.speak(ANN);
    assert_eq!(room.holders(), [ANN], "and by talking again");
}

#[test]
fn a_request_makes_more_of_one_that_came_by_talking() {
    let mut room = talked();
    room.ask(ANN);
    room.speak(DAN);
    assert_eq!(room.queue(), [DAN]);
    assert_eq!(position(room.ask(DAN)), 1);
    room.stop(ANN);
    assert_eq!(room.holders(), [DAN]);
    // The key is down and nothing is said: comfort noise keeps the floor.
    for _ in 0..200 {
        room.pass(20);
        room.floor.media(DAN, false, room.now);
    }
    assert_eq!(room.holders(), [DAN]);
}

#[test]
fn a_burst_that_another_of_the_same_replaces_is_told_to_be_over() {
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
    // Again, but out of the queue.
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
fn of_two_grants_in_one_grace_the_later_counts() {
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
fn a_denial_names_somebody_else() {
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

#[test]
fn who_is_muted_lets_go_and_waits_no_longer() {
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
fn participant_muted_in_an_open_room_gets_no_floor_when_there_is_one() {
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
fn who_comes_late_is_told_what_he_missed() {
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
fn nobody_waits_for_an_audience_that_has_gone() {
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

#[test]
fn an_open_room_has_no_floor() {
    let mut room = Room::of(Mode::Open);
    assert_eq!(burst(room.ask(ANN)), 0);
    room.talk(ANN, 5_000);
    assert_eq!(room.floor.take_actions(), []);
    assert_eq!(room.permit(BEN), Permit::Free);
    assert_eq!(room.floor.standing(ANN, room.now), Standing::None);
}

#[test]
fn the_mode_changes_under_holders_and_queue() {
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
    // Dan is the most important; nobody is heard beyond what the mode allows.
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
    // Nobody waits in an open room.
    set(&mut room, Mode::Open);
    let actions = room.floor.take_actions();
    assert!(actions.contains(&Action::Granted(CAT, NO_FLOOR)));
    assert!(actions.contains(&Action::Idle { n: 2 }));
    assert_eq!(actions.last(), Some(&Action::Permits));
    assert_eq!(room.permit(ANN), Permit::Free);
    // And nobody who does not hold it is heard where there is a floor.
    set(&mut room, Mode::Ptt);
    assert_eq!(room.floor.take_actions(), [Action::Permits]);
    assert_eq!(room.permit(ANN), Permit::Closed);
}

#[test]
fn a_floor_that_nobody_uses_says_so() {
    let mut room = Room::of(Mode::Ptt);
    room.ask(ANN);
    room.stop(ANN);
    room.said();
    room.pass(60_000);
    assert_eq!(room.said(), [Action::Inactive, Action::Inactive]);
}
