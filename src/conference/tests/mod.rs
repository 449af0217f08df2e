//! Tests of the conference over mixers, whose slots the test runs, and a real network thread. A
//! join that fails at any step must leave no seat, member, participant or peer.

mod driven;
mod floor;
mod ice;
mod monitoring;
mod monitors;
mod properties;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mixer::engine::Command;
use mixer::format::SLOT;
use mixer::output::Event as MixerEvent;
use mixer::room::Weakness;
use tokio::sync::broadcast::error::TryRecvError;

use mixer::{ParticipantId, RoomId};

use super::commands::read;
use super::effect::{Effect, NetworkOrder};
use super::machine::Machine;
use super::*;
use crate::audio::stepped::SteppedMixers;
use crate::audio::{AudioConfig, MixerMetrics, Wakes};
use crate::protocol::{Change, Event, LeaveReason, Participant, RoomChange, RoomName, RoomState};
use crate::queues;
use crate::rate_limit::Limited;
use crate::rtc::{self, Rtc, RtcConfig};
use driven::{Driven, Turn};

const OFFER: &str = include_str!("../../../tests/offers/chrome.sdp");

struct TestConference {
    conference: Driven,
    /// The mixers, until the test ends them.
    mixers: RefCell<Option<SteppedMixers>>,
    /// The mixers' time.
    now: Cell<Instant>,
    rtc: Option<Rtc>,
}

/// Enough time for the mixers to apply all commands and to free the objects that the commands
/// replace.
const SETTLING_TIME: Duration = Duration::from_millis(100);

fn test_conference() -> TestConference {
    conference_with(1)
}

fn conference_with(mixers: usize) -> TestConference {
    let (network_ends, mixer_ends) = queues::media(mixers);
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let (rtc, network) = rtc::start(RtcConfig::new(loopback), network_ends).expect("it starts");
    let config = AudioConfig {
        fifo: false,
        ..AudioConfig::default()
    };
    let wakes = Wakes {
        network: rtc.wake().expect("a descriptor"),
        conference: network.something_happened().expect("another"),
    };
    let (mixers, audio, controls) = SteppedMixers::new(config, mixer_ends, wakes);
    let limits = Limits {
        max_rooms: 10,
        max_sessions: 10,
        open_rooms: true,
        hangovers: mixer::codec::Hangovers::default(),
        room: RoomConfig {
            // Most tests with several rooms monitor open rooms, which refuse monitors by default.
            allow_monitors: Some(true),
            ..RoomConfig::default()
        },
        rates: Rates::default(),
    };
    let threads = Threads {
        audio,
        mixers: controls,
        rtc: rtc.handle(),
        network,
    };
    let now = Instant::now();
    TestConference {
        conference: Driven::new(start(limits, threads, now)),
        mixers: RefCell::new(Some(mixers)),
        now: Cell::new(now),
        rtc: Some(rtc),
    }
}

impl TestConference {
    fn stop_mixers(&mut self) {
        assert!(self.mixers.take().is_some(), "they run");
    }

    /// Lets the mixers run for a time, if they have not ended.
    fn run_mixers(&self, time: Duration) {
        if let Some(mixers) = &mut *self.mixers.borrow_mut() {
            mixers.run(time);
        }
        self.now.set(self.now.get() + time);
    }

    fn stop_rtc(&mut self) {
        self.rtc.take().expect("it runs").stop();
    }

    fn join(&self, room: &str, offer: &str) -> Result<Joined, JoinError> {
        self.conference.join(join_of(room, offer))
    }

    /// Parses and carries out a command received over a room's WebSocket; returns the answer, if
    /// any.
    fn order(&self, room: &RoomName, text: &str) -> Result<Option<Event>, Event> {
        self.conference.carry_out(room, read(text)?)
    }

    /// Makes the conference refuse joins to rooms that do not exist.
    fn close_rooms(&self) {
        self.conference.lock().limits.open_rooms = false;
    }

    fn is_empty(&self) -> bool {
        self.conference.rooms().is_empty() && self.conference.lock().registry.sessions() == 0
    }

    /// Lets the mixers apply all commands; returns the rooms and participants of each mixer.
    fn each_settled(&self) -> Vec<(u64, u64)> {
        self.run_mixers(SETTLING_TIME);
        let mixers = self.conference.handle.audio.mixers().iter();
        let counts = mixers.map(|mixer| {
            let metrics = mixer.metrics();
            let participants = metrics.participants.load(Relaxed);
            (metrics.rooms.load(Relaxed), participants)
        });
        counts.collect()
    }

    /// Lets the mixers apply all commands; returns the rooms and participants of all mixers
    /// together.
    fn settled(&self) -> (u64, u64) {
        let each = self.each_settled().into_iter();
        each.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

impl Turn<'_> {
    /// Sends a command to a room's mixer, bypassing the conference.
    fn command_mixer(&mut self, room: RoomId, command: Command) {
        let mixer = self.placement.mixer_of(room).expect("it is on one");
        self.performer().mixer_mut(mixer).send(command);
    }
}

impl Drop for TestConference {
    fn drop(&mut self) {
        if let Some(rtc) = self.rtc.take() {
            rtc.stop();
        }
    }
}

fn join_of(room: &str, offer: &str) -> Join {
    Join {
        room: name(room),
        name: None,
        profile: None,
        priority: 0,
        listen: Vec::new(),
        mode: None,
        offer: offer.to_owned(),
    }
}

fn name(room: &str) -> RoomName {
    RoomName::parse(room).expect("a good name")
}

#[test]
fn join_reaches_the_mixer_and_leave_removes_the_participant() {
    let test = test_conference();
    let ann = test.join("hall", OFFER).expect("joined");
    test.join("hall", OFFER).expect("joined");
    assert_eq!(test.settled(), (1, 2));
    test.conference.leave(&ann.session).expect("it is there");
    assert_eq!(test.conference.leave(&ann.session), Err(UnknownSession));
    assert_eq!(test.settled(), (1, 1));
    test.conference.delete(&name("hall")).expect("it is there");
    assert_eq!(test.settled(), (0, 0));
    assert!(test.is_empty());
}

#[test]
fn ending_a_large_room_tells_each_participant_only_its_own_removal() {
    let test = test_conference();
    test.join("hall", OFFER).expect("joined");
    let people = 500;
    {
        let mut state = test.conference.lock();
        for id in 1..=people {
            let mut member = member::tests::member(id, &format!("secret {id}"));
            member.channel = true;
            state.registry.add(&name("hall"), member);
        }
    }
    let (_, mut events) = test.conference.watch(&name("hall")).expect("it is there");
    let mut state = test.conference.lock();
    state.detach_all(&name("hall"), LeaveReason::RoomClosed, Instant::now());
    let texts = state.effects.iter().filter_map(|effect| match effect {
        Effect::Network(NetworkOrder::Close(closing)) => closing.last_words.as_ref(),
        _ => None,
    });
    let texts: Vec<_> = texts.collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    assert_eq!(texts.len(), people as usize);
    assert!(bytes < 100 * people as usize, "{bytes}");
    assert!(
        state
            .registry
            .rooms
            .get(&name("hall"))
            .is_none_or(|room| room.members.is_empty())
    );
    assert_eq!(state.registry.sessions(), 0);
    drop(state);
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(r#""participants":[]"#), "{}", told[0]);
}

#[test]
fn join_that_waited_too_long_is_counted_as_refused() {
    let test = test_conference();
    assert_eq!(test.conference.refuse_waiting(), Overloaded::Waiting);
    let figures = test.conference.figures().families;
    let mut families = figures.iter();
    let refused = families.find(|family| family.name == "mixminus_joins_refused_total");
    let samples = refused.expect("it is there").samples.iter();
    let counted: Vec<_> = samples.filter(|sample| sample.value > 0.0).collect();
    assert_eq!(counted.len(), 1);
    assert_eq!(
        counted[0].labels,
        [("reason", "waited too long".to_owned())]
    );
}

#[test]
fn join_with_an_unanswerable_offer_leaves_nothing_behind() {
    let test = test_conference();
    assert!(matches!(
        test.join("hall", "hello"),
        Err(JoinError::Offer(_))
    ));
    assert!(test.is_empty());
    assert_eq!(test.settled(), (0, 0));
}

#[test]
fn join_over_a_full_mixer_queue_leaves_nothing_behind() {
    let mut test = test_conference();
    test.stop_mixers();
    let error = test.join("hall", OFFER).expect_err("the mixer is gone");
    assert!(
        matches!(error, JoinError::Overloaded(Overloaded::Link)),
        "{error}"
    );
    assert!(test.is_empty());
}

#[test]
fn join_over_a_full_network_queue_leaves_nothing_behind() {
    let mut test = test_conference();
    test.stop_rtc();
    let error = test.join("hall", OFFER).expect_err("the network is gone");
    assert!(
        matches!(error, JoinError::Overloaded(Overloaded::Link)),
        "{error}"
    );
    assert!(test.is_empty());
    assert_eq!(test.settled(), (0, 0));
}

#[test]
fn failed_room_loses_all_members_and_a_permanent_room_restarts() {
    let test = test_conference();
    let made = test
        .conference
        .configure(&name("hall"), RoomChange::default(), Configure::Put);
    made.expect("made");
    test.join("hall", OFFER).expect("joined");
    test.join("other", OFFER).expect("joined");
    let (_, mut events) = test.conference.watch(&name("hall")).expect("it is there");
    for room in ["hall", "other"] {
        let mut state = test.conference.lock();
        let id = state.registry.rooms[&name(room)].id;
        state.on_mixer(MixerEvent::RoomFault { room: id }, Instant::now());
    }
    let left = events.try_recv().expect("told");
    assert!(left.contains(r#""reason":"lost""#), "{left}");
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(test.conference.rooms().len(), 1, "only the permanent one");
    test.join("hall", OFFER).expect("it is a room again");
}

/// Lets the only mixer run until one of its counters is no longer zero.
fn until_counted(test: &TestConference, count: fn(&MixerMetrics) -> &AtomicU64) {
    let mixers = test.conference.handle.audio.mixers();
    let start = test.now.get();
    while count(mixers[0].metrics()).load(Relaxed) == 0 {
        assert!(test.now.get() < start + Duration::from_secs(1));
        test.run_mixers(SLOT);
    }
}

/// Discards all pending events of the mixers.
fn lose_events(test: &TestConference) {
    let mut turn = test.conference.lock();
    while turn.performer().next_mixer_event().is_some() {}
}

#[test]
fn failed_room_is_closed_even_if_its_fault_event_is_lost() {
    let test = test_conference();
    test.join("hall", OFFER).expect("joined");
    test.join("other", OFFER).expect("joined");
    let (_, mut events) = test.conference.watch(&name("hall")).expect("it is there");
    {
        let mut state = test.conference.lock();
        let id = state.registry.rooms[&name("hall")].id;
        state.command_mixer(id, Command::Break(id, Weakness::Tick));
    }
    until_counted(&test, |metrics| &metrics.faults);
    lose_events(&test);
    test.conference.report(Instant::now());
    let left = events.try_recv().expect("told");
    assert!(left.contains(r#""reason":"lost""#), "{left}");
    let rooms = test.conference.rooms();
    assert_eq!(rooms.len(), 1, "only the one that works");
    assert_eq!(test.conference.lock().counters.faults, 1);
    test.join("hall", OFFER).expect("it is a room again");
    assert_eq!(test.settled(), (2, 2));
    test.conference.report(Instant::now());
    assert_eq!(test.conference.rooms().len(), 2, "it works");
}

#[test]
fn participant_refused_by_the_mixer_is_removed() {
    for event_arrives in [true, false] {
        let test = test_conference();
        test.join("hall", OFFER).expect("joined");
        // The mixer loses the room without an event.
        {
            let mut state = test.conference.lock();
            let id = state.registry.rooms[&name("hall")].id;
            state.command_mixer(id, Command::RemoveRoom(id));
        }
        let (_, mut events) = test.conference.watch(&name("hall")).expect("it is there");
        let bob = test.join("hall", OFFER).expect("it looks so at first");
        until_counted(&test, |metrics| &metrics.refused);
        if event_arrives {
            assert!(test.conference.turn(Instant::now()));
        } else {
            lose_events(&test);
            test.conference.report(Instant::now());
        }
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert!(
            told.iter()
                .any(|event| event.contains(r#""reason":"lost""#)),
            "{told:?}"
        );
        assert_eq!(test.conference.leave(&bob.session), Err(UnknownSession));
        let state = test.conference.lock();
        assert_eq!(state.registry.rooms[&name("hall")].members.len(), 1);
    }
}

#[test]
fn conference_reports_that_it_is_not_whole_once_a_mixer_thread_has_ended() {
    let mut test = test_conference();
    assert!(test.conference.turn(Instant::now()));
    assert!(test.conference.is_whole());
    test.stop_mixers();
    assert!(!test.conference.turn(Instant::now()));
    test.conference.until(test.conference.handle.lost());
    assert!(!test.conference.is_whole());
    assert!(test.conference.rooms().is_empty(), "it still answers");
}

#[test]
fn rooms_are_spread_over_all_mixers_and_removed_when_empty() {
    let test = conference_with(3);
    let guests: Vec<Joined> = ["a", "b", "c", "d"]
        .map(|room| test.join(room, OFFER).expect("joined"))
        .into();
    let again = test.join("a", OFFER).expect("joined");
    let mut each = test.each_settled();
    assert_eq!(each[0].1 + each[1].1 + each[2].1, 5);
    each.sort_unstable();
    assert_eq!(each, [(1, 1), (1, 1), (2, 3)]);
    for guest in guests.iter().chain([&again]) {
        test.conference.leave(&guest.session).expect("it is there");
    }
    assert_eq!(test.each_settled(), [(0, 0); 3]);
    let state = test.conference.lock();
    assert_eq!(state.placement.counts(), (0, 0));
}

/// Keeps a mixer busy with useless work, in real time, in each slot of the mixers' time.
#[test]
fn overloaded_mixer_refuses_joins_until_its_load_falls() {
    let test = conference_with(2);
    test.join("hall", OFFER).expect("joined");
    let (_, mut events) = test.conference.watch(&name("hall")).expect("it is there");
    let mixer_of = |room: &str| {
        let state = test.conference.lock();
        let room = state.registry.rooms[&name(room)].id;
        state.placement.mixer_of(room).expect("it is placed")
    };
    let loaded = &test.conference.handle.audio.mixers()[mixer_of("hall").0];
    let until = |wish: &dyn Fn() -> bool| {
        let start = test.now.get();
        while !wish() {
            assert!(test.now.get() < start + Duration::from_secs(30));
            test.run_mixers(Duration::from_millis(100));
            test.conference.report(test.now.get());
        }
    };
    let may_join = |room: &str| match test.conference.reserve(&name(room), None, Vec::new()) {
        Ok(_seat) => true,
        Err(JoinError::Overloaded(Overloaded::Mixer)) => false,
        Err(other) => panic!("{other}"),
    };

    loaded.burden(SLOT.mul_f32(0.95));
    until(&|| !may_join("hall"));
    test.join("other", OFFER)
        .expect("a new room goes elsewhere");
    assert_ne!(mixer_of("other"), mixer_of("hall"));
    assert!(may_join("other"));
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(
        told.iter().any(|event| event.contains(r#""event":"load""#)
            && event.contains(r#""joins_refused":true"#)),
        "{told:?}"
    );
    let complexity = |mixer: usize| {
        let figures = test.conference.figures().families;
        let mut families = figures.iter();
        let family = families.find(|family| family.name == "mixminus_mixer_complexity");
        family.expect("it is there").samples[mixer].value
    };
    until(&|| complexity(mixer_of("hall").0) == 0.0);
    assert_eq!(complexity(mixer_of("other").0), 10.0, "the other has time");

    loaded.burden(Duration::ZERO);
    until(&|| may_join("hall"));
    until(&|| complexity(mixer_of("hall").0) > 0.0);
}

#[test]
fn conference_refuses_joins_while_the_server_stops() {
    let test = test_conference();
    test.join("hall", OFFER).expect("joined");
    test.conference.close();
    let error = test.join("hall", OFFER).expect_err("too late");
    assert!(
        matches!(error, JoinError::Overloaded(Overloaded::Stopping)),
        "{error}"
    );
    assert_eq!(test.settled().1, 0);
}

#[test]
fn deleting_a_room_fails_a_join_under_way() {
    let test = test_conference();
    let seat = test
        .conference
        .reserve(&name("hall"), None, Vec::new())
        .expect("a seat");
    test.conference.delete(&name("hall")).expect("it is there");
    drop(seat);
    assert!(test.is_empty());
}
