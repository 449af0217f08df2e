//! Tests of the floor between conference and mixer: the permits in the mixer always match the
//! floor.

use mixer::permit::Permit;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::floor::{Mode, Request, Standing};
use crate::protocol::FloorChange;
use crate::rtc::RtcEvent;

const ROOMS: [&str; 2] = ["hall", "other"];

fn mode(mode: Mode) -> RoomChange {
    RoomChange {
        floor: FloorChange {
            mode: Some(mode),
            ..FloorChange::default()
        },
        ..RoomChange::default()
    }
}

impl TestConference {
    pub(super) fn set(&self, room: &str, to: Mode) {
        let set = self
            .conference
            .configure(&name(room), mode(to), Configure::Put);
        set.expect("there is place for the room");
    }

    fn permits(&self, room: &str) -> Vec<Permit> {
        let state = self.conference.lock();
        let members = state.registry.rooms[&name(room)].members.iter();
        members
            .map(|member| member.shared.settings.permit())
            .collect()
    }

    /// Asserts that every participant's permit in the mixer matches the floor, and that no room has
    /// more talkers than its mode allows.
    fn check(&self) {
        let state = self.conference.lock();
        for (name, room) in &state.registry.rooms {
            let looked_at = state.registry.floors.contains(name);
            let is_empty = room.members.is_empty();
            assert!(looked_at || is_empty || room.config.floor.mode == Mode::Open);
            let mut held = 0;
            for member in &room.members {
                let permit = member.shared.settings.permit();
                assert_eq!(permit, room.floor.permit(member.id));
                held += usize::from(matches!(permit, Permit::Held | Permit::Draining));
            }
            let most = match room.config.floor.mode {
                Mode::Open => 0,
                Mode::Multi(most) => usize::from(most),
                _ => 1,
            };
            assert!(held <= most, "{held} in {}", room.config.floor.mode);
            assert_eq!(room.floor.settings(), &room.config.floor);
        }
    }
}

#[test]
fn newcomer_to_a_room_with_a_floor_starts_without_a_permit() {
    let test = test_conference();
    test.set("hall", Mode::Ptt);
    let ann = test.join("hall", OFFER).expect("joined");
    test.join("hall", OFFER).expect("joined");
    assert_eq!(test.permits("hall"), [Permit::Closed, Permit::Closed]);
    let asked = test
        .conference
        .floor_request(&ann.session, Request::default());
    asked.expect("it is there");
    assert_eq!(test.permits("hall"), [Permit::Held, Permit::Closed]);
    test.set("hall", Mode::Open);
    assert_eq!(test.permits("hall"), [Permit::Free, Permit::Free]);
    test.set("hall", Mode::Ptt);
    assert_eq!(test.permits("hall"), [Permit::Closed, Permit::Closed]);
}

#[test]
fn conference_revokes_the_floor_of_a_holder_that_sends_nothing() {
    let test = test_conference();
    test.set("hall", Mode::Ptt);
    let ann = test.join("hall", OFFER).expect("joined");
    test.join("hall", OFFER).expect("joined");
    let asked = test
        .conference
        .floor_request(&ann.session, Request::default());
    asked.expect("it is there");
    let standing = || test.conference.floor_standing(&ann.session);
    let granted = standing().expect("it is there");
    assert_ne!(granted, Standing::None.into());
    let start = Instant::now();
    test.conference.turn(start + Duration::from_millis(1_900));
    assert_ne!(standing(), Ok(Standing::None.into()));
    test.conference.turn(start + Duration::from_millis(2_020));
    assert_eq!(standing(), Ok(Standing::None.into()));
    test.check();
}

impl TestConference {
    /// Joins a participant whose telemetry the mixer does not write.
    fn join_unheard(&self) -> Joined {
        let joined = self.join("hall", OFFER).expect("joined");
        let mut state = self.conference.lock();
        let member = state.registry.member_mut(joined.participant.0);
        member.expect("it is there").1.shared = Arc::default();
        joined
    }

    /// Writes telemetry as if voiced packets of a participant had arrived.
    fn sounds(&self, of: &Joined) {
        let mut state = self.conference.lock();
        let (_, member) = state
            .registry
            .member_mut(of.participant.0)
            .expect("it is there");
        let telemetry = &member.shared.telemetry;
        telemetry.received_total.fetch_add(1, Relaxed);
        telemetry.voiced_total.fetch_add(1, Relaxed);
    }

    fn set_implicit(&self, room: &str) {
        let change = RoomChange {
            floor: FloorChange {
                implicit: Some(true),
                ..mode(Mode::Ptt).floor
            },
            ..RoomChange::default()
        };
        let set = self
            .conference
            .configure(&name(room), change, Configure::Merge);
        set.expect("it is there");
    }

    fn mute(&self, whom: &Joined, muted: bool) -> Result<Participant, UnknownParticipant> {
        let change = Change {
            muted: Some(muted),
            ..Change::default()
        };
        self.conference
            .change(&name("hall"), whom.participant, change)
    }
}

#[test]
fn talking_before_the_room_had_a_floor_requests_no_floor() {
    let test = test_conference();
    let ann = test.join_unheard();
    test.join_unheard();
    test.sounds(&ann);
    test.set_implicit("hall");
    let mut now = Instant::now() + Duration::from_millis(20);
    test.conference.turn(now);
    assert_eq!(test.permits("hall"), [Permit::Closed, Permit::Closed]);
    test.sounds(&ann);
    now += Duration::from_millis(20);
    test.conference.turn(now);
    assert_eq!(test.permits("hall"), [Permit::Held, Permit::Closed]);
}

#[test]
fn muted_participant_neither_takes_nor_keeps_the_floor() {
    let test = test_conference();
    let ann = test.join_unheard();
    let ben = test.join_unheard();
    test.set_implicit("hall");
    test.mute(&ann, true).expect("it is there");
    test.sounds(&ann);
    let mut now = Instant::now() + Duration::from_millis(20);
    test.conference.turn(now);
    assert_eq!(test.permits("hall"), [Permit::Closed, Permit::Closed]);
    test.mute(&ann, false).expect("it is there");
    test.sounds(&ann);
    now += Duration::from_millis(20);
    test.conference.turn(now);
    assert_eq!(test.permits("hall"), [Permit::Held, Permit::Closed]);
    let asked = test
        .conference
        .floor_request(&ben.session, Request::default());
    asked.expect("it is there");
    test.mute(&ann, true).expect("it is there");
    assert_eq!(test.permits("hall"), [Permit::Closed, Permit::Held]);
    test.check();
}

#[test]
fn rate_limiter_counts_floor_requests_over_http_but_no_releases() {
    let test = test_conference();
    test.set("hall", Mode::Ptt);
    let ann = test.join("hall", OFFER).expect("joined");
    test.join("hall", OFFER).expect("joined");
    let ask = || {
        let conference = &test.conference;
        conference.floor_request(&ann.session, Request::default())
    };
    let some = (0..60).map_while(|_| ask().ok()).count();
    assert!((20..60).contains(&some), "{some}");
    assert!(matches!(ask(), Err(FloorError::TooMany(_))));
    assert_eq!(test.conference.floor_release(&ann.session), Ok(()));
    assert_eq!(test.permits("hall"), [Permit::Draining, Permit::Closed]);
}

#[test]
fn floor_release_over_the_data_channel_passes_any_rate_limit() {
    let test = test_conference();
    test.set("hall", Mode::Ptt);
    let ann = test.join("hall", OFFER).expect("joined");
    test.join("hall", OFFER).expect("joined");
    let id = ann.participant.0;
    let now = Instant::now();
    let send = |text: &str| {
        let mut state = test.conference.lock();
        let event = RtcEvent::Text(id, text.to_owned());
        state.on_rtc(event, now);
    };
    for _ in 0..10 {
        send(r#"{"command":"floor_request"}"#);
        send(r#"{"command":"floor_release"}"#);
    }
    for _ in 0..10 {
        send(r#"{"command":"floor_request"}"#);
    }
    assert_eq!(test.permits("hall"), [Permit::Held, Permit::Closed]);
    for _ in 0..10 {
        send(r#"{"command":"floor_position"}"#);
    }
    let limited = test.conference.figures().limited;
    assert!(limited[Limited::Message as usize] > 0);
    send(r#"{"command":"floor_release"}"#);
    assert_eq!(test.permits("hall"), [Permit::Draining, Permit::Closed]);
}

#[test]
fn muted_participant_cannot_request_the_floor() {
    let test = test_conference();
    test.set("hall", Mode::Ptt);
    let ann = test.join("hall", OFFER).expect("joined");
    test.join("hall", OFFER).expect("joined");
    let ask = || {
        let conference = &test.conference;
        conference.floor_request(&ann.session, Request::default())
    };
    test.mute(&ann, true).expect("it is there");
    assert!(matches!(ask(), Ok(crate::floor::Answer::Denied(_))));
    assert_eq!(test.permits("hall"), [Permit::Closed, Permit::Closed]);
    test.mute(&ann, false).expect("it is there");
    assert!(matches!(ask(), Ok(crate::floor::Answer::Granted(_))));
    test.check();
}

#[test]
fn conference_treats_a_data_channel_with_a_message_as_open() {
    let test = test_conference();
    let ann = test.join("hall", OFFER).expect("joined");
    let id = ann.participant.0;
    let mut state = test.conference.lock();
    let text = RtcEvent::Text(id, r#"{"command":"floor_position"}"#.to_owned());
    state.on_rtc(text, Instant::now());
    let (_, member) = state.registry.member_mut(id).expect("it is there");
    assert!(member.channel);
}

/// A random step of the floor test.
#[derive(Debug, Clone, Copy)]
enum Step {
    Join(usize),
    Leave(usize),
    Ask(usize, bool),
    LetGo(usize),
    Set(usize, Mode),
    Delete(usize),
    /// Lets this many milliseconds pass.
    Pass(u64),
}

fn any_step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    let room = || 0..ROOMS.len();
    prop_oneof![
        2 => room().prop_map(Step::Join),
        1 => (0_usize..8).prop_map(Step::Leave),
        6 => (0_usize..8, any::<bool>()).prop_map(|(who, queue)| Step::Ask(who, queue)),
        3 => (0_usize..8).prop_map(Step::LetGo),
        2 => (room(), super::properties::any_mode()).prop_map(|(room, mode)| Step::Set(room, mode)),
        1 => room().prop_map(Step::Delete),
        3 => (1_u64..1_500).prop_map(Step::Pass),
    ]
}

#[test]
fn mixer_permits_match_the_floor_after_any_sequence_of_steps() {
    let steps = proptest::collection::vec(any_step(), 1..60);
    let mut runner = TestRunner::new(Config {
        cases: 24,
        ..Config::default()
    });
    let run = runner.run(&steps, |steps| {
        let test = test_conference();
        let mut sessions: Vec<String> = Vec::new();
        let mut now = Instant::now();
        for step in steps {
            let session = |who: usize| sessions.get(who).cloned().unwrap_or_default();
            match step {
                Step::Join(room) => {
                    // A join that is refused because the room is full is a valid outcome too.
                    if let Ok(joined) = test.join(ROOMS[room], OFFER) {
                        sessions.push(joined.session);
                    }
                }
                Step::Leave(who) => {
                    let _ = test.conference.leave(&session(who));
                }
                Step::Ask(who, queue) => {
                    let request = Request {
                        queue,
                        ..Request::default()
                    };
                    let _ = test.conference.floor_request(&session(who), request);
                }
                Step::LetGo(who) => {
                    let _ = test.conference.floor_release(&session(who));
                }
                Step::Set(room, mode) => test.set(ROOMS[room], mode),
                Step::Delete(room) => {
                    let _ = test.conference.delete(&name(ROOMS[room]));
                }
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    test.conference.turn(now.max(Instant::now()));
                }
            }
            test.check();
        }
        Ok(())
    });
    run.expect("every run holds");
}
