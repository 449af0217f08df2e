//! Floor tests of rooms with an implicit floor, in which talking requests the floor.

use super::*;

fn talked() -> Room {
    Room::with(Settings {
        mode: Mode::Ptt,
        implicit: true,
        ..Settings::default()
    })
}

#[test]
fn implicit_floor_is_taken_by_talking_and_released_by_silence() {
    let mut room = Room::with(Settings {
        mode: Mode::Ptt,
        implicit: true,
        ..Settings::default()
    });
    room.speak(ANN);
    let said = room.said();
    assert_eq!(taken_by(&said), Some(ANN));
    assert!(matches!(said[1], Action::Granted(ANN, _)), "{said:?}");
    // Comfort noise does not count as talking.
    for _ in 0..100 {
        room.pass(20);
        room.floor.media(ANN, false, room.now);
    }
    assert_eq!(room.said(), [Action::Idle { n: 1 }]);
    // A participant that talks while another participant holds the floor is told so once, and gets
    // the floor when the floor is free.
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

#[test]
fn talking_in_cut_in_mode_takes_no_implicit_floor_from_its_holder() {
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
fn talker_cut_off_by_the_talk_limit_gets_the_implicit_floor_again_after_a_pause() {
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
        // The cut-off talker does not keep other participants from the floor, and gets no floor by
        // talking while it goes on talking.
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
fn talker_cut_off_by_the_talk_limit_may_request_the_floor_by_message() {
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
fn floor_request_by_message_replaces_a_request_made_by_talking() {
    let mut room = talked();
    room.ask(ANN);
    room.speak(DAN);
    assert_eq!(room.queue(), [DAN]);
    assert_eq!(position(room.ask(DAN)), 1);
    room.stop(ANN);
    assert_eq!(room.holders(), [DAN]);
    // The push-to-talk key is down and the participant is silent: comfort noise keeps the floor.
    for _ in 0..200 {
        room.pass(20);
        room.floor.media(DAN, false, room.now);
    }
    assert_eq!(room.holders(), [DAN]);
}
