//! Tests of monitors: participants of other rooms are listed in the rooms they monitor, and refused
//! by rooms that allow none.

use serde_json::Value;

use super::*;
use crate::floor::Mode;
use crate::protocol::MonitorEntry;

/// Creates a conference whose rooms allow monitors as their mode says.
fn conference_by_mode() -> TestConference {
    let test = test_conference();
    test.conference.lock().limits.room.allow_monitors = None;
    test
}

impl TestConference {
    fn join_in_mode(&self, room: &str, mode: Mode, listen: &str) -> Result<Joined, JoinError> {
        self.conference.join(Join {
            mode: Some(mode),
            listen: MonitorEntry::parse(listen).expect("good names"),
            ..join_of(room, OFFER)
        })
    }

    fn patch(&self, room: &str, json: &str) -> (RoomState, bool) {
        let mut fields = crate::protocol::JsonReader::parse(json.as_bytes()).expect("JSON");
        let change = RoomChange::read(&mut fields).expect("good");
        let merged = self
            .conference
            .configure(&name(room), change, Configure::Merge);
        merged.expect("configured")
    }

    fn listen_to(&self, joined: &Joined, home: &str, rooms: &str) -> Result<Option<Event>, Event> {
        let session = &joined.session;
        let text = format!(r#"{{"command":"listen","session":"{session}","rooms":{rooms}}}"#);
        self.order(&name(home), &text)
    }

    fn monitors(&self, room: &str) -> crate::protocol::Monitors {
        let state = self.conference.room(&name(room)).expect("it is there");
        state.monitors
    }

    fn is_fed(&self, room: &str) -> bool {
        let state = self.conference.lock();
        state.monitoring.feeds().any(|fed| *fed == name(room))
    }
}

fn kind(refused: Result<Option<Event>, Event>) -> (&'static str, Option<RoomName>) {
    match refused {
        Err(Event::Error { kind, room, .. }) => (kind, room),
        other => panic!("no refusal: {other:?}"),
    }
}

#[test]
fn mode_in_a_join_applies_only_to_a_room_that_the_join_creates() {
    let test = conference_by_mode();
    test.join_in_mode("radio", Mode::Ptt, "").expect("joined");
    test.join_in_mode("radio", Mode::Open, "").expect("joined");
    let room = test.conference.room(&name("radio")).expect("it is there");
    assert_eq!(room.config.floor.mode, Mode::Ptt);
    assert!(room.allow_monitors);
}

#[test]
fn open_room_refuses_monitors_in_a_join_and_in_a_later_command() {
    let test = conference_by_mode();
    test.join("talk", OFFER).expect("joined");
    assert!(matches!(
        test.join_in_mode("radio", Mode::Ptt, "talk"),
        Err(JoinError::MonitoringRefused { room }) if room == name("talk")
    ));
    let ann = test.join_in_mode("radio", Mode::Ptt, "").expect("joined");
    let refused = test.listen_to(&ann, "radio", r#"["talk"]"#);
    assert_eq!(kind(refused), ("monitoring-refused", Some(name("talk"))));
    assert_eq!(test.monitors("talk").total, 0);
    assert!(!test.is_fed("talk"));
    // The participant's own room does not count as monitored.
    let bob = test.join("talk", OFFER).expect("joined");
    test.listen_to(&bob, "talk", r#"["talk"]"#)
        .expect("its own");
}

#[test]
fn room_lists_its_monitors_and_sends_each_change_to_all_its_clients() {
    let test = conference_by_mode();
    test.join_in_mode("radio", Mode::Ptt, "").expect("joined");
    let (_, mut events) = test.conference.watch(&name("radio")).expect("it is there");
    let ann = test
        .join_in_mode("desk", Mode::Open, "radio")
        .expect("joined");
    let monitors = test.monitors("radio");
    assert_eq!(monitors.total, 1);
    assert_eq!(monitors.monitors[0].participant, ann.participant);
    assert_eq!(monitors.monitors[0].room, name("desk"));
    let told = events.try_recv().expect("an event");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["event"], &told["room"]),
        (&"monitors".into(), &"radio".into())
    );
    assert_eq!(told["monitors_total"], 1);
    let session = &ann.session;
    let rename = format!(r#"{{"command":"name","session":"{session}","name":"Ann"}}"#);
    test.order(&name("desk"), &rename).expect("good");
    assert!(test.conference.turn(Instant::now()));
    assert_eq!(test.monitors("radio").monitors[0].name, "Ann");
    test.conference.leave(&ann.session).expect("it is there");
    assert!(test.conference.turn(Instant::now()));
    assert_eq!(test.monitors("radio").total, 0);
    let told = std::iter::from_fn(|| events.try_recv().ok()).last();
    assert!(told.expect("an event").contains(r#""monitors_total":0"#));
}

#[test]
fn room_that_starts_to_refuse_monitors_loses_them_permanently() {
    for change in [r#"{"mode":"open"}"#, r#"{"allow_monitors":false}"#] {
        let test = conference_by_mode();
        test.join_in_mode("radio", Mode::Ptt, "").expect("joined");
        let ann = test
            .join_in_mode("desk", Mode::Open, "radio,later")
            .expect("joined");
        assert!(test.is_fed("radio"));
        test.patch("radio", change);
        assert!(!test.is_fed("radio"), "{change}");
        assert_eq!(test.monitors("radio").total, 0, "{change}");
        // The former monitors do not monitor the room again by themselves, and the other rooms of
        // their lists stay.
        test.patch("radio", r#"{"allow_monitors":true}"#);
        assert!(!test.is_fed("radio"), "{change}");
        test.join_in_mode("later", Mode::Ptt, "").expect("joined");
        assert!(test.conference.turn(Instant::now()));
        assert_eq!(test.monitors("later").total, 1);
        test.listen_to(&ann, "desk", r#"["radio","later"]"#)
            .expect("allowed");
        assert!(test.is_fed("radio"), "{change}");
    }
}

#[test]
fn monitors_receive_an_error_event_when_their_room_starts_to_refuse_monitors() {
    let test = conference_by_mode();
    test.join_in_mode("radio", Mode::Ptt, "").expect("joined");
    let ann = test
        .join_in_mode("desk", Mode::Open, "radio")
        .expect("joined");
    let mut state = test.conference.lock();
    let room = state.registry.rooms.get_mut(&name("radio"));
    room.expect("it is there").config.allow_monitors = Some(false);
    state.monitoring.mark_monitors_stale(&name("radio"));
    let tuned = state.sync_mixers(Instant::now());
    let [notice] = &tuned.notices[..] else {
        panic!("{:?}", tuned.notices);
    };
    assert_eq!(notice.to, [ann.participant.0]);
    let text = notice.event.to_json_from(&notice.room);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&told["event"], &told["room"]),
        (&"error".into(), &"radio".into())
    );
    assert_eq!(told["type"], "monitoring-refused");
}

#[test]
fn new_room_can_refuse_monitors_that_listed_it_before_it_existed() {
    let test = conference_by_mode();
    test.join_in_mode("desk", Mode::Open, "talk")
        .expect("joined");
    test.join("talk", OFFER).expect("joined");
    assert!(test.conference.turn(Instant::now()));
    assert!(!test.is_fed("talk"));
    assert_eq!(test.monitors("talk").total, 0);
}

#[test]
fn linked_room_that_refuses_monitors_is_not_monitored_through_another_room() {
    let test = conference_by_mode();
    test.join_in_mode("radio", Mode::Ptt, "").expect("joined");
    test.join("talk", OFFER).expect("joined");
    test.patch("radio", r#"{"links":["talk"]}"#);
    let ann = test
        .join_in_mode("desk", Mode::Open, "radio")
        .expect("joined");
    assert!(test.conference.turn(Instant::now()));
    assert_eq!(test.monitors("radio").total, 1);
    assert_eq!(test.monitors("talk").total, 0);
    let state = test.conference.lock();
    let desk = name("desk");
    let heard = state.monitoring.heard_by(ann.participant.0, Some(&desk));
    assert_eq!(heard.collect::<Vec<_>>(), [&name("radio")]);
}

#[test]
fn room_configuration_without_changes_sends_no_event() {
    let test = conference_by_mode();
    test.join_in_mode("radio", Mode::Ptt, "").expect("joined");
    test.patch("radio", r#"{"max_participants":9,"links":["b"]}"#);
    let (_, mut events) = test.conference.watch(&name("radio")).expect("it is there");
    test.patch("radio", "{}");
    test.patch(
        "radio",
        r#"{"max_participants":9,"mode":"ptt","links":["b"]}"#,
    );
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    test.patch("radio", r#"{"max_participants":8}"#);
    assert!(
        events
            .try_recv()
            .expect("told")
            .contains(r#""event":"room""#)
    );
}
