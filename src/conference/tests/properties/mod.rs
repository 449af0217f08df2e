//! Random test of the machine alone, in virtual time: after any steps, the machine's state and the
//! state of the mixers, the network thread and the watchers agree.

mod check;
mod requests;
mod world;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mixer::ParticipantId;
use mixer::codec::Profile;
use mixer::format::TickLength;
use mixer::output::{Event as MixerEvent, Refused};
use mixer::permit::Permit;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::oneshot;

use super::name;
use crate::conference::floor::{ReleaseFloor, RequestFloor};
use crate::conference::ice::{RestartFailed, UpdateIce};
use crate::conference::machine::{Close, Input};
use crate::conference::member::tests::member;
use crate::conference::participants::{ChangeParticipant, KickParticipant};
use crate::conference::rooms::{Configure, ConfigureRoom, DeleteRoom};
use crate::conference::seat::{AbandonSeat, Enter, JoinWish, ReserveSeat};
use crate::conference::sessions::{CarryOut, Leave};
use crate::conference::{IceUpdate, JoinError, Overloaded};
use crate::floor::{self, Mode};
use crate::protocol::{
    Change, CommandMessage, FloorChange, MonitorEntry, Name, PublicId, RoomChange,
};
use crate::rtc::{Reason, RtcEvent};
use world::{Session, World};

const ROOMS: [&str; 4] = ["a", "b", "c", "d"];

/// The index of a participant in the order of joining; it may have left, or not have joined yet.
type Who = usize;
/// The index of a room in [`ROOMS`].
type Where = usize;
/// A set of rooms, one bit per room.
type Rooms = u8;

/// A random step of the test.
#[derive(Debug, Clone)]
enum Step {
    Reserve(Where, Option<Mode>, Rooms),
    Enter(usize, bool, Rooms),
    Abandon(usize),
    Leave(Who),
    Kick(Who),
    Change(Who, Change),
    /// Sends a command over the data channel if the flag is set, otherwise over a WebSocket.
    Command(Who, &'static str, bool),
    /// Sends a command over the WebSocket of any room.
    Elsewhere(Who, Where),
    Listen(Who, Rooms),
    ChannelOpen(Who),
    Connected(Who, bool),
    Gone(Who),
    Loss(Who, u8),
    Ice(Who, bool),
    Ask(Who, bool),
    Release(Who),
    Grant(Who, Who),
    Configure(Where, Setting, bool),
    Delete(Where),
    /// A mixer drops a room; the flag tells whether the event of that arrives or is lost.
    LoseRoom(Where, bool),
    /// A mixer has no capacity for a participant; the flag tells whether the event of that arrives
    /// or is lost.
    LoseParticipant(Who, bool),
    /// Voiced packets of a participant arrive.
    Sounds(Who),
    /// A participant starts or stops talking; the second flag tells whether the event of that
    /// arrives or is lost.
    Talking(Who, bool, bool),
    /// A participant's draining voice has been heard to the end.
    Drained(Who),
    Watch(Where),
    /// The receivers of the queues take this many commands from each queue.
    Drain(usize),
    /// The receivers of the queues take all commands, until none is left.
    Settle,
    /// Time passes, in milliseconds.
    Pass(u64),
    Close,
}

/// A random change of a room's settings.
#[derive(Debug, Clone)]
enum Setting {
    Mode(Mode),
    Implicit(bool),
    Tick(TickLength),
    Profile(Profile),
    Limit(u32),
    Monitors(bool),
    Links(Rooms),
}

fn any_setting() -> impl Strategy<Value = Setting> {
    prop_oneof![
        3 => any_mode().prop_map(Setting::Mode),
        1 => any::<bool>().prop_map(Setting::Implicit),
        1 => prop_oneof![Just(TickLength::Ms10), Just(TickLength::Ms20)].prop_map(Setting::Tick),
        1 => prop_oneof![Just(Profile::Voice), Just(Profile::Music)].prop_map(Setting::Profile),
        1 => (1_u32..9).prop_map(Setting::Limit),
        2 => any::<bool>().prop_map(Setting::Monitors),
        3 => (0_u8..16).prop_map(Setting::Links),
    ]
}

pub(super) fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Open),
        Just(Mode::Ptt),
        Just(Mode::Multi(2)),
        Just(Mode::CutIn),
        Just(Mode::Broadcast),
        Just(Mode::Moderated),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let name = || Name::parse("Bob").expect("a good name");
    prop_oneof![
        any::<bool>().prop_map(|muted| Change {
            muted: Some(muted),
            ..Change::default()
        }),
        (-6_i8..6).prop_map(move |gain_db| Change {
            gain_db: Some(f32::from(gain_db)),
            name: (gain_db > 0).then(name),
            ..Change::default()
        }),
    ]
}

fn any_command() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(r#"{"command":"mute","id":1}"#),
        Just(r#"{"command":"unmute"}"#),
        Just(r#"{"command":"name","name":"Eve"}"#),
        Just(r#"{"command":"floor_request","id":2}"#),
        Just(r#"{"command":"floor_release"}"#),
        Just(r#"{"command":"floor_position"}"#),
        Just(r#"{"command":"fly"}"#),
        Just("nonsense"),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let who = || 0_usize..6;
    let at = || 0..ROOMS.len();
    let some = || 0_u8..16;
    let joins = prop_oneof![
        4 => (at(), proptest::option::of(any_mode()), some())
            .prop_map(|(room, mode, listen)| Step::Reserve(room, mode, listen)),
        4 => (0_usize..3, any::<bool>(), some())
            .prop_map(|(seat, talks, listen)| Step::Enter(seat, talks, listen)),
        1 => (0_usize..3).prop_map(Step::Abandon),
        1 => who().prop_map(Step::Leave),
        1 => who().prop_map(Step::Kick),
    ];
    let requests = prop_oneof![
        2 => (who(), any_change()).prop_map(|(who, change)| Step::Change(who, change)),
        4 => (who(), any_command(), any::<bool>())
            .prop_map(|(who, text, channel)| Step::Command(who, text, channel)),
        1 => (who(), at()).prop_map(|(who, room)| Step::Elsewhere(who, room)),
        2 => (who(), some()).prop_map(|(who, rooms)| Step::Listen(who, rooms)),
        3 => (who(), any::<bool>()).prop_map(|(who, queue)| Step::Ask(who, queue)),
        2 => who().prop_map(Step::Release),
        1 => (who(), who()).prop_map(|(from, to)| Step::Grant(from, to)),
        1 => (who(), any::<bool>()).prop_map(|(who, restarts)| Step::Ice(who, restarts)),
        1 => at().prop_map(Step::Watch),
        4 => (at(), any_setting(), any::<bool>())
            .prop_map(|(room, setting, puts)| Step::Configure(room, setting, puts)),
        1 => at().prop_map(Step::Delete),
    ];
    let network = prop_oneof![
        3 => who().prop_map(Step::ChannelOpen),
        2 => (who(), any::<bool>()).prop_map(|(who, is)| Step::Connected(who, is)),
        1 => who().prop_map(Step::Gone),
        1 => (who(), 0_u8..40).prop_map(|(who, percent)| Step::Loss(who, percent)),
    ];
    let mixers = prop_oneof![
        3 => who().prop_map(Step::Sounds),
        3 => (who(), any::<bool>(), any::<bool>())
            .prop_map(|(who, talks, told)| Step::Talking(who, talks, told)),
        2 => who().prop_map(Step::Drained),
        1 => (at(), any::<bool>()).prop_map(|(room, told)| Step::LoseRoom(room, told)),
        1 => (who(), any::<bool>()).prop_map(|(who, told)| Step::LoseParticipant(who, told)),
    ];
    let time = prop_oneof![
        60 => (1_usize..12).prop_map(Step::Drain),
        20 => Just(Step::Settle),
        60 => (1_u64..1_500).prop_map(Step::Pass),
        1 => Just(Step::Close),
    ];
    prop_oneof![4 => joins, 5 => requests, 2 => network, 3 => mixers, 3 => time]
}

/// Turns a bit set of rooms into a monitor list.
fn entries(some: Rooms) -> Vec<MonitorEntry> {
    let rooms = (0..ROOMS.len()).filter(|at| some >> at & 1 == 1);
    let rooms: Vec<&str> = rooms.map(|at| ROOMS[at]).collect();
    match rooms.is_empty() {
        true => Vec::new(),
        false => MonitorEntry::parse(&rooms.join(",")).expect("good names"),
    }
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Reserve(room, mode, listen) => self.reserve(room, mode, listen),
            Step::Enter(seat, talks, listen) => self.enter(seat, talks, listen),
            Step::Abandon(seat) => {
                if seat < self.seats.len() {
                    let seat = self.seats.remove(seat);
                    self.ask(AbandonSeat(seat));
                }
            }
            Step::Watch(room) => self.start_to_watch(room),
            Step::Configure(room, setting, puts) => self.configure(room, setting, puts),
            Step::Delete(room) => {
                let deleted = self.ask(DeleteRoom {
                    room: name(ROOMS[room]),
                });
                assert!(deleted.is_err() || !self.has_room(room));
            }
            Step::LoseRoom(room, told) => {
                let id = self.machine.registry.rooms.get(&name(ROOMS[room]));
                let id = id.map(|room| room.id);
                if let Some(room) = id.filter(|id| self.lose_room(*id))
                    && told
                {
                    self.handle(Input::Mixer(MixerEvent::RoomFault { room }));
                }
            }
            Step::Drain(places) => self.drain(places),
            Step::Settle => {
                self.settle();
                self.check_monitoring();
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Step::Close => {
                self.ask(Close);
                self.closed = true;
                assert_eq!(self.members(), 0);
            }
            of_somebody => self.step_of(of_somebody),
        }
    }

    /// Performs a step of a session, if that session has joined.
    fn step_of(&mut self, step: Step) {
        let (Step::Leave(who)
        | Step::Kick(who)
        | Step::Change(who, _)
        | Step::Command(who, ..)
        | Step::Elsewhere(who, _)
        | Step::Listen(who, _)
        | Step::ChannelOpen(who)
        | Step::Connected(who, _)
        | Step::Gone(who)
        | Step::Loss(who, _)
        | Step::Ice(who, _)
        | Step::Ask(who, _)
        | Step::Release(who)
        | Step::Grant(who, _)
        | Step::LoseParticipant(who, _)
        | Step::Sounds(who)
        | Step::Talking(who, ..)
        | Step::Drained(who)) = step
        else {
            unreachable!("{step:?} is of nobody");
        };
        let Some(session) = self.sessions.get(who).cloned() else {
            return;
        };
        match step {
            Step::ChannelOpen(_) | Step::Connected(..) | Step::Gone(_) | Step::Loss(..) => {
                self.step_of_network(&session, step);
            }
            Step::LoseParticipant(..) | Step::Sounds(_) | Step::Talking(..) | Step::Drained(_) => {
                self.step_of_mixer(&session, step);
            }
            _ => self.step_of_session(&session, step),
        }
    }

    fn step_of_network(&mut self, session: &Session, step: Step) {
        let id = session.id;
        // The network thread sends no more events of a closed peer.
        if !self.network.peers.contains(&id) {
            return;
        }
        self.handle(Input::Network(match step {
            Step::ChannelOpen(_) => RtcEvent::ChannelOpen(id),
            Step::Connected(_, true) => RtcEvent::Connected(id),
            Step::Connected(_, false) => RtcEvent::Disconnected(id),
            Step::Loss(_, percent) => RtcEvent::Loss(id, percent),
            _ => RtcEvent::Gone(id, Reason::ConsentLost),
        }));
    }

    fn step_of_mixer(&mut self, session: &Session, step: Step) {
        let telemetry = &session.shared.telemetry;
        let (room, participant) = (mixer::RoomId(0), session.id);
        match step {
            Step::Talking(_, talking, told) => {
                telemetry.talking.store(talking, Relaxed);
                let event = match talking {
                    true => MixerEvent::Talking { room, participant },
                    false => MixerEvent::Stopped { room, participant },
                };
                if told {
                    self.handle(Input::Mixer(event));
                }
            }
            Step::LoseParticipant(_, told) => {
                self.lose_participant(session);
                if told {
                    let refused = Refused::Participant(participant);
                    self.handle(Input::Mixer(MixerEvent::Refused(refused)));
                }
            }
            Step::Drained(_) => telemetry.permit.store(Permit::Closed as u8, Relaxed),
            _ => {
                telemetry.received_total.fetch_add(1, Relaxed);
                telemetry.voiced_total.fetch_add(1, Relaxed);
            }
        }
    }

    fn step_of_session(&mut self, session: &Session, step: Step) {
        let (room, secret) = (session.room.clone(), session.secret.clone());
        let participant = PublicId(session.id);
        let was_there = self.is_in(session.id);
        match step {
            Step::Leave(_) => {
                let left = self.ask(Leave { session: secret });
                assert_eq!(left.is_ok(), was_there);
                assert!(!self.is_in(session.id));
            }
            Step::Kick(_) => {
                let kicked = self.ask(KickParticipant { room, participant });
                assert_eq!(kicked.is_ok(), was_there);
                assert!(!self.is_in(session.id));
            }
            Step::Change(_, change) => {
                let wished = change.clone();
                let changed = self.ask(ChangeParticipant {
                    room,
                    participant,
                    change,
                });
                assert_eq!(changed.is_ok(), was_there);
                if let Ok(changed) = changed {
                    assert!(wished.muted.is_none_or(|muted| changed.muted == muted));
                    assert!(wished.gain_db.is_none_or(|gain| changed.gain_db == gain));
                }
            }
            Step::Command(_, text, true) => self.text(session.id, text),
            Step::Command(_, text, false) => {
                let _ = self.command(session, &room, text);
            }
            Step::Listen(_, rooms) => self.listen(session, rooms),
            Step::Elsewhere(_, at) => {
                let text = r#"{"command":"mute","id":1}"#;
                let _ = self.command(session, &name(ROOMS[at]), text);
            }
            Step::Grant(_, to) => {
                let to = self
                    .sessions
                    .get(to)
                    .map_or(participant, |it| PublicId(it.id));
                let text = format!(r#"{{"command":"floor_grant","participant":"{to}"}}"#);
                let _ = self.command(session, &room, &text);
            }
            Step::Ask(_, queue) => self.ask_for_floor(session, queue),
            Step::Release(_) => {
                let released = self.ask(ReleaseFloor { session: secret });
                assert_eq!(released.is_ok(), was_there);
            }
            _ => self.update_ice(session, matches!(step, Step::Ice(_, true))),
        }
    }
}

#[test]
fn conference_mixers_network_and_watchers_agree_after_any_sequence_of_steps() {
    let steps = proptest::collection::vec(any_step(), 1..60);
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 2_000;
    }
    let run = TestRunner::new(config).run(&steps, |steps| {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        world.settle();
        world.check();
        world.check_monitoring();
        Ok(())
    });
    run.expect("every run holds");
}
