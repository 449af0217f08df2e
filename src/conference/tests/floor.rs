//! The floor between the conference and the mixer: whatever happens, the mixer is told what the floor says.

use mixer::permit::Permit;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::control::FloorChange;
use crate::floor::{Mode, Request, Standing};

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

impl House {
    fn set(&self, room: &str, to: Mode) {
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

    /// That the mixer was told of everybody what the floor says, and no room has more talkers than may be.
    fn check(&self) {
        let state = self.conference.lock();
        for (name, room) in &state.registry.rooms {
            let looked_at = state.registry.floors.contains(name);
            assert!(looked_at || room.config.floor.mode == Mode::Open);
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
fn where_there_is_a_floor_nobody_comes_in_without_being_told_to_be_silent() {
    let house = house();
    house.set("hall", Mode::Ptt);
    let ann = house.join("hall", OFFER).expect("joined");
    house.join("hall", OFFER).expect("joined");
    assert_eq!(house.permits("hall"), [Permit::Closed, Permit::Closed]);
    let asked = house
        .conference
        .floor_request(&ann.session, Request::default());
    asked.expect("it is there");
    assert_eq!(house.permits("hall"), [Permit::Held, Permit::Closed]);
    house.set("hall", Mode::Open);
    assert_eq!(house.permits("hall"), [Permit::Free, Permit::Free]);
    house.set("hall", Mode::Ptt);
    assert_eq!(house.permits("hall"), [Permit::Closed, Permit::Closed]);
}

#[test]
fn a_holder_of_whom_nothing_comes_frees_the_floor_in_the_pump_s_turns() {
    let house = house();
    house.set("hall", Mode::Ptt);
    let ann = house.join("hall", OFFER).expect("joined");
    house.join("hall", OFFER).expect("joined");
    let asked = house
        .conference
        .floor_request(&ann.session, Request::default());
    asked.expect("it is there");
    let standing = || house.conference.floor_standing(&ann.session);
    let granted = standing().expect("it is there");
    assert_ne!(granted, Standing::None.into());
    let start = Instant::now();
    house.conference.turn(start + Duration::from_millis(1_900));
    assert_ne!(standing(), Ok(Standing::None.into()));
    house.conference.turn(start + Duration::from_millis(2_020));
    assert_eq!(standing(), Ok(Standing::None.into()));
    house.check();
}

/// What may happen between the rooms and the people in them.
#[derive(Debug, Clone, Copy)]
enum Step {
    Join(usize),
    Leave(usize),
    Ask(usize, bool),
    LetGo(usize),
    Set(usize, Mode),
    Delete(usize),
    /// Milliseconds.
    Pass(u64),
}

fn any_step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    let room = || 0..ROOMS.len();
    let modes = prop_oneof![
        Just(Mode::Open),
        Just(Mode::Ptt),
        Just(Mode::Multi(2)),
        Just(Mode::CutIn),
        Just(Mode::Broadcast),
        Just(Mode::Moderated),
    ];
    prop_oneof![
        2 => room().prop_map(Step::Join),
        1 => (0_usize..8).prop_map(Step::Leave),
        6 => (0_usize..8, any::<bool>()).prop_map(|(who, queue)| Step::Ask(who, queue)),
        3 => (0_usize..8).prop_map(Step::LetGo),
        2 => (room(), modes).prop_map(|(room, mode)| Step::Set(room, mode)),
        1 => room().prop_map(Step::Delete),
        3 => (1_u64..1_500).prop_map(Step::Pass),
    ]
}

#[test]
fn whatever_happens_the_mixer_knows_what_the_floor_says() {
    let steps = proptest::collection::vec(any_step(), 1..60);
    let mut runner = TestRunner::new(Config {
        cases: 24,
        ..Config::default()
    });
    let run = runner.run(&steps, |steps| {
        let house = house();
        let mut sessions: Vec<String> = Vec::new();
        let mut now = Instant::now();
        for step in steps {
            let session = |who: usize| sessions.get(who).cloned().unwrap_or_default();
            match step {
                Step::Join(room) => {
                    // A full house is an answer too.
                    if let Ok(joined) = house.join(ROOMS[room], OFFER) {
                        sessions.push(joined.session);
                    }
                }
                Step::Leave(who) => {
                    let _ = house.conference.leave(&session(who));
                }
                Step::Ask(who, queue) => {
                    let request = Request {
                        queue,
                        ..Request::default()
                    };
                    let _ = house.conference.floor_request(&session(who), request);
                }
                Step::LetGo(who) => {
                    let _ = house.conference.floor_release(&session(who));
                }
                Step::Set(room, mode) => house.set(ROOMS[room], mode),
                Step::Delete(room) => {
                    let _ = house.conference.delete(&name(ROOMS[room]));
                }
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    house.conference.turn(now.max(Instant::now()));
                }
            }
            house.check();
        }
        Ok(())
    });
    run.expect("every run holds");
}
