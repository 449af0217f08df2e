//! Tests of monitored rooms: feeds and monitor mixes as rooms and listeners come and go.

use super::*;
use crate::floor::{Answer, Mode, Request};
use crate::protocol::MonitorEntry;
use crate::queues::MixerId;

fn listen(rooms: &str) -> Vec<MonitorEntry> {
    MonitorEntry::parse(rooms).expect("good names")
}

impl TestConference {
    fn join_and_listen(&self, room: &str, rooms: &str) -> Result<Joined, JoinError> {
        self.conference.join(Join {
            listen: listen(rooms),
            ..join_of(room, OFFER)
        })
    }

    /// Returns the participants of other rooms who receive a room's events.
    fn subscribers(&self, room: &str) -> Vec<ParticipantId> {
        let state = self.conference.lock();
        let room = state.registry.rooms.get(&name(room));
        let subscribers = room.and_then(|room| room.subscribers.as_ref());
        subscribers.map_or(Vec::new(), |subscribers| subscribers.ids.clone())
    }

    fn feeds(&self) -> Vec<String> {
        let state = self.conference.lock();
        state.monitoring.feeds().map(ToString::to_string).collect()
    }

    fn links(&self, room: &str) -> Vec<String> {
        let state = self.conference.room(&name(room)).expect("it is there");
        state.links.iter().map(ToString::to_string).collect()
    }

    fn put(&self, room: &str, links: &str) -> Result<(RoomState, bool), ConfigureError> {
        let links = listen(links).into_iter().map(|listen| listen.room);
        let change = RoomChange {
            links: Some(links.collect()),
            ..RoomChange::default()
        };
        self.conference
            .configure(&name(room), change, Configure::Put)
    }

    /// Counts the holders of a room's feed: the conference, the room itself and each listener.
    fn holders(&self, room: &str) -> usize {
        // The mixers first apply their commands, which may release the feed.
        self.settled();
        let mut turn = self.conference.lock();
        let feed = turn.monitoring.feed(&name(room));
        let feed = feed.and_then(|number| turn.performer().feed(number));
        feed.map_or(0, Arc::strong_count)
    }

    /// Runs `act` while the queue to a room's mixer is full.
    fn with_full_link(&self, room: &str, act: impl FnOnce(&mut Machine)) {
        let mut blocked = test_conference();
        blocked.stop_mixers();
        let mut blocked = blocked.conference.lock();
        let mut turn = self.conference.lock();
        let id = turn.registry.rooms[&name(room)].id;
        let mixer = turn.placement.mixer_of(id).expect("it is on one");
        let full = blocked.performer().mixer_mut(MixerId(0));
        std::mem::swap(full, turn.performer().mixer_mut(mixer));
        // Tells the machine that the queue has no free place.
        turn.perform();
        act(&mut turn);
        turn.perform();
        std::mem::swap(full, turn.performer().mixer_mut(mixer));
    }

    fn turn(&self) {
        assert!(self.conference.turn(Instant::now()));
    }

    fn refused(&self) -> f64 {
        let figures = self.conference.figures().families;
        let mut families = figures.iter();
        let family = families.find(|family| family.name == "mixminus_mixer_refused_total");
        let samples = &family.expect("it is there").samples;
        samples.iter().map(|sample| sample.value).sum()
    }
}

#[test]
fn room_has_a_feed_as_long_as_it_exists_and_has_a_monitor() {
    let test = conference_with(2);
    let ann = test.join_and_listen("a", "b,c").expect("joined");
    assert!(test.feeds().is_empty(), "neither is there");
    let bob = test.join("b", OFFER).expect("joined");
    test.turn();
    assert_eq!(test.feeds(), ["b"]);
    assert_eq!(test.subscribers("b"), [ann.participant.0]);
    assert!(test.subscribers("a").is_empty());
    test.conference.leave(&bob.session).expect("it is there");
    test.turn();
    assert!(test.feeds().is_empty(), "it is gone");
    test.join("b", OFFER).expect("joined");
    test.turn();
    assert_eq!(test.feeds(), ["b"], "it has come back");
    test.conference.leave(&ann.session).expect("it is there");
    test.turn();
    assert!(test.feeds().is_empty(), "nobody listens");
    assert!(test.subscribers("b").is_empty());
}

#[test]
fn monitor_list_can_be_replaced_and_the_listeners_own_room_needs_no_feed() {
    let test = test_conference();
    let ann = test.join("a", OFFER).expect("joined");
    for room in ["b", "c"] {
        test.join(room, OFFER).expect("joined");
    }
    let order = |rooms: &str| {
        let text = format!(
            r#"{{"command":"listen","session":"{}","rooms":{rooms},"id":1}}"#,
            ann.session
        );
        test.order(&name("a"), &text)
    };
    let answer = order(r#"["b",{"room":"c","gain_db":-6,"priority":2},"a"]"#);
    assert_eq!(answer, Ok(Some(Event::Ok { id: 1.into() })));
    assert_eq!(test.feeds(), ["b", "c"]);
    assert!(test.subscribers("a").is_empty());
    order(r#"["c"]"#).expect("good");
    test.turn();
    assert_eq!(test.feeds(), ["c"]);
    assert!(test.subscribers("b").is_empty());
    order("[]").expect("good");
    test.turn();
    assert!(test.feeds().is_empty());
    assert!(test.conference.lock().monitoring.is_empty());
    assert!(order(r#"["a b"]"#).is_err());
    assert_eq!(test.settled(), (3, 3));
    assert_eq!(test.refused(), 0.0);
}

#[test]
fn listening_to_unknown_rooms_is_refused_if_joins_create_no_rooms() {
    let test = test_conference();
    test.close_rooms();
    test.put("a", "").expect("made");
    test.put("b", "").expect("made");
    let error = test.join_and_listen("a", "b,c").expect_err("no c");
    assert!(matches!(error, JoinError::UnknownMonitoredRoom { room } if room == name("c")));
    assert_eq!(test.settled().1, 0);
    let ann = test.join_and_listen("a", "b").expect("joined");
    let text = format!(
        r#"{{"command":"listen","session":"{}","rooms":["c"]}}"#,
        ann.session
    );
    let refused = test.order(&name("a"), &text);
    let refused = refused.expect_err("no c");
    assert!(matches!(
        refused,
        Event::Error {
            kind: "no-such-room",
            ..
        }
    ));
    assert_eq!(test.feeds(), ["b"], "what was heard before is heard on");
}

#[test]
fn room_links_work_in_both_directions_and_take_effect_once_a_missing_room_exists() {
    let test = conference_with(2);
    test.put("a", "b").expect("made");
    assert_eq!(test.links("a"), ["b"]);
    let bob = test.join("b", OFFER).expect("joined");
    assert_eq!(test.links("b"), ["a"], "it was waited for");
    let ann = test.join("a", OFFER).expect("joined");
    test.turn();
    assert_eq!(test.feeds(), ["a", "b"]);
    assert_eq!(test.subscribers("a"), [bob.participant.0]);
    assert_eq!(test.subscribers("b"), [ann.participant.0]);
    // Through the third room, all three rooms hear each other.
    test.put("c", "b").expect("made");
    test.turn();
    assert_eq!(test.feeds(), ["a", "b", "c"]);
    assert_eq!(test.links("b"), ["a", "c"]);
    test.conference.delete(&name("b")).expect("it is there");
    test.turn();
    assert!(test.feeds().is_empty());
    test.put("a", "").expect("it is there");
    assert!(test.links("a").is_empty());
    assert_eq!(test.links("c"), ["b"]);
    assert_eq!(test.refused(), 0.0);
}

#[test]
fn monitor_of_a_room_also_hears_the_rooms_linked_with_it() {
    let test = test_conference();
    test.put("b", "c").expect("made");
    test.put("c", "b").expect("made");
    let ann = test.join_and_listen("a", "b").expect("joined");
    assert_eq!(test.feeds(), ["b", "c"]);
    assert_eq!(test.subscribers("c"), [ann.participant.0]);
    test.put("b", "").expect("it is there");
    assert_eq!(test.feeds(), ["b"]);
    assert!(test.subscribers("c").is_empty());
}

#[test]
fn new_monitor_receives_the_state_of_the_monitored_floor() {
    let test = test_conference();
    test.set("b", Mode::Ptt);
    for ben in [(); 2].map(|()| test.join("b", OFFER).expect("joined")) {
        let asked = test
            .conference
            .floor_request(&ben.session, Request::default());
        asked.expect("it is there");
    }
    let ann = test.join("a", OFFER).expect("joined");
    let id = ann.participant.0;
    let mut state = test.conference.lock();
    state.monitoring.set(id, &name("a"), listen("b"));
    let notices = state.sync_mixers(Instant::now()).notices;
    let told: Vec<Event> = notices
        .into_iter()
        .inspect(|notice| assert_eq!((&notice.to[..], &notice.room), (&[id][..], &name("b"))))
        .map(|notice| notice.event)
        .collect();
    assert!(
        matches!(
            told[..],
            [Event::FloorTaken { .. }, Event::FloorQueue { .. }]
        ),
        "{told:?}"
    );
    // A monitor whose data channel opens later receives the state of the monitored room too.
    let missed = state.missed_by(id, Instant::now());
    let missed: Vec<&str> = missed.map(|(_, room)| room.as_str()).collect();
    assert_eq!(missed, ["b", "b"]);
}

#[test]
fn linked_rooms_without_members_do_not_count_as_audience_of_a_floor_request() {
    let test = test_conference();
    test.set("a", Mode::Ptt);
    test.put("b", "a").expect("made");
    let ann = test.join("a", OFFER).expect("joined");
    let ask = |turn: u32| {
        let now = Instant::now() + Duration::from_millis(20) * turn;
        test.conference.turn(now);
        let asked = test
            .conference
            .floor_request(&ann.session, Request::default());
        asked.expect("it is there")
    };
    assert_eq!(test.feeds(), ["a", "b"]);
    assert!(matches!(ask(1), Answer::Denied(_)));
    test.join("b", OFFER).expect("joined");
    assert!(matches!(ask(2), Answer::Granted(_)));
}

#[test]
fn links_beyond_the_limit_are_refused_and_change_nothing() {
    let test = test_conference();
    let many: Vec<String> = (0..16).map(|at| format!("r{at}")).collect();
    test.put("a", &many.join(",")).expect("made");
    let error = test.put("b", "r3,a").expect_err("too many");
    assert_eq!(error, ConfigureError::TooManyLinked { limit: 16 });
    assert_eq!(test.conference.rooms().len(), 1);
    assert_eq!(test.links("a").len(), 16);
}

/// Two rooms on two mixers. The queue to the first room's mixer is full while the second room ends
/// and begins again.
#[test]
fn listeners_of_a_closed_feed_are_given_the_feed_that_replaces_it() {
    let test = conference_with(2);
    test.put("a", "").expect("made");
    test.put("b", "").expect("made");
    let mixers = ["a", "b"].map(|room| {
        let state = test.conference.lock();
        state
            .placement
            .mixer_of(state.registry.rooms[&name(room)].id)
    });
    assert_ne!(mixers[0], mixers[1]);
    let ann = test.join("a", OFFER).expect("joined").participant.0;

    let link = |state: &mut Machine, rooms: Vec<RoomName>| {
        let linked = state.link(&name("a"), rooms, Instant::now());
        linked.expect("few");
    };
    link(&mut test.conference.lock(), vec![name("b")]);
    assert_eq!(test.holders("b"), 3);
    test.with_full_link("a", |state| {
        link(state, Vec::new());
        link(state, vec![name("b")]);
    });
    test.turn();
    assert_eq!(test.holders("b"), 3, "links");

    link(&mut test.conference.lock(), Vec::new());
    test.turn();
    let listen_to = |state: &mut Machine, rooms: &str| {
        let list = if rooms.is_empty() {
            Vec::new()
        } else {
            listen(rooms)
        };
        let told = state.listen(ann, list, Instant::now());
        told.expect("rooms are made by joining");
    };
    listen_to(&mut test.conference.lock(), "b");
    assert_eq!(test.holders("b"), 3);
    test.with_full_link("a", |state| {
        listen_to(state, "");
        listen_to(state, "b");
    });
    test.turn();
    assert_eq!(test.holders("b"), 3, "monitor mixes");
    assert_eq!(test.refused(), 0.0);
}
