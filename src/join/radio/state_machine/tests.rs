//! Inputs of the state machine, and the actions that each of them must cause.

use super::*;

/// Returns the state machine of a participant that has joined `lobby` with the id `me`.
fn radio(trigger: Trigger) -> RadioMachine {
    let mut radio = RadioMachine::new("lobby".to_owned(), trigger);
    radio.call(Some("me".to_owned()));
    let actions = radio.take(Input::Connected, Instant::now());
    assert_eq!(actions, []);
    radio
}

fn granted(id: u64) -> Input {
    Input::ServerEvent(ServerEvent::Granted { id: Some(id) })
}

fn revoked(grace_ms: u64) -> Input {
    Input::ServerEvent(ServerEvent::Revoked {
        room: "lobby".to_owned(),
        who: "me".to_owned(),
        grace: Duration::from_millis(grace_ms),
    })
}

fn idle(room: &str) -> Input {
    Input::ServerEvent(ServerEvent::Idle {
        room: room.to_owned(),
    })
}

fn room(has_floor: bool) -> Input {
    Input::ServerEvent(ServerEvent::Room {
        name: "lobby".to_owned(),
        has_floor,
    })
}

/// Feeds inputs to a state machine and compares the actions of each.
fn run(radio: &mut RadioMachine, now: Instant, steps: &[(Input, &[RadioAction])]) {
    for (number, (input, actions)) in steps.iter().enumerate() {
        let given = radio.take(input.clone(), now);
        assert_eq!(given, *actions, "step {number}, {input:?}");
    }
}

/// Feeds inputs to a new state machine and compares the actions of each.
fn check(trigger: Trigger, steps: &[(Input, &[RadioAction])]) {
    run(&mut radio(trigger), Instant::now(), steps);
}

use RadioAction::{Fail, Open, Release, Request, Shut};

#[test]
fn radio_releases_the_floor_after_the_last_packet() {
    let now = Instant::now();
    run(
        &mut radio(Trigger::Key),
        now,
        &[
            (Input::Press, &[Open, Request(1)]),
            (Input::Press, &[]),
            (Input::Sending(true), &[]),
            (granted(1), &[]),
            (Input::Release, &[Shut]),
            (Input::Release, &[]),
            (Input::Sending(false), &[Release]),
            (Input::Sending(false), &[]),
            (Input::Press, &[Open, Request(2)]),
        ],
    );
}

#[test]
fn press_before_the_last_packet_continues_the_talk_spurt() {
    check(
        Trigger::Key,
        &[
            (Input::Press, &[Open, Request(1)]),
            (granted(1), &[]),
            (Input::Release, &[Shut]),
            (Input::Press, &[Open]),
            // The last words of the first press are still being sent.
            (Input::Sending(false), &[]),
            (Input::Release, &[Shut]),
            (Input::Sending(false), &[Release]),
        ],
    );
}

#[test]
fn radio_releases_the_floor_if_the_uplink_never_ends() {
    let now = Instant::now();
    let mut radio = radio(Trigger::Key);
    run(
        &mut radio,
        now,
        &[
            (Input::Press, &[Open, Request(1)]),
            (granted(1), &[]),
            (Input::Release, &[Shut]),
        ],
    );
    assert_eq!(radio.deadline(), Some(now + LAST_WORDS));
    assert_eq!(radio.take(Input::Time, now), []);
    assert_eq!(radio.take(Input::Time, now + LAST_WORDS), [Release]);
    assert_eq!(radio.deadline(), None);
}

#[test]
fn queued_radio_is_silent_until_the_floor_is_granted() {
    let queued = Input::ServerEvent(ServerEvent::Queued { id: Some(1) });
    check(
        Trigger::Key,
        &[
            (Input::Press, &[Open, Request(1)]),
            (queued.clone(), &[Shut]),
            (Input::Sending(false), &[]),
            (
                Input::ServerEvent(ServerEvent::Granted { id: None }),
                &[Open],
            ),
            (Input::Release, &[Shut]),
            (Input::Sending(false), &[Release]),
            // Pressing again withdraws a queued request.
            (Input::Press, &[Open, Request(2)]),
            (
                Input::ServerEvent(ServerEvent::Queued { id: Some(2) }),
                &[Shut],
            ),
            (Input::Release, &[Release]),
            // A grant that arrives after the withdrawal is ignored.
            (Input::ServerEvent(ServerEvent::Granted { id: None }), &[]),
        ],
    );
}

#[test]
fn denied_radio_must_be_pressed_again() {
    check(
        Trigger::Key,
        &[
            (Input::Press, &[Open, Request(1)]),
            (
                Input::ServerEvent(ServerEvent::Denied { id: Some(1) }),
                &[Shut],
            ),
            (idle("lobby"), &[]),
            (Input::Release, &[]),
            (Input::Press, &[Open, Request(2)]),
            // The response to an earlier request is ignored.
            (Input::ServerEvent(ServerEvent::Denied { id: Some(1) }), &[]),
            (granted(1), &[]),
            (granted(2), &[]),
        ],
    );
}

#[test]
fn revoked_radio_stops_after_its_grace() {
    let now = Instant::now();
    let mut radio = radio(Trigger::Key);
    let grace = Duration::from_millis(3_000);
    run(
        &mut radio,
        now,
        &[
            (Input::Press, &[Open, Request(1)]),
            (granted(1), &[]),
            (revoked(3_000), &[]),
            (revoked(3_000), &[]),
        ],
    );
    assert_eq!(radio.deadline(), Some(now + grace));
    run(
        &mut radio,
        now + grace,
        &[(Input::Time, &[Shut]), (Input::Sending(false), &[Release])],
    );
    run(&mut radio, now, &[(Input::Release, &[])]);
}

#[test]
fn revoked_radio_without_grace_stops_at_once() {
    check(
        Trigger::Key,
        &[
            (Input::Press, &[Open, Request(1)]),
            (granted(1), &[]),
            (revoked(0), &[Shut]),
            (Input::Sending(false), &[Release]),
        ],
    );
}

#[test]
fn radio_does_not_release_a_floor_that_the_server_has_ended() {
    check(
        Trigger::Key,
        &[
            (Input::Press, &[Open, Request(1)]),
            // This `floor_idle` describes the time before the grant.
            (idle("lobby"), &[]),
            (granted(1), &[]),
            (idle("another"), &[]),
            (idle("lobby"), &[Shut]),
            (Input::Sending(false), &[]),
            (Input::Release, &[]),
        ],
    );
}

#[test]
fn radio_with_a_lost_connection_stops_talking_until_the_next_press() {
    check(
        Trigger::Key,
        &[
            (Input::Press, &[Open, Request(1)]),
            (granted(1), &[]),
            (Input::Lost, &[Shut]),
            (Input::Connected, &[]),
            // A key that stayed pressed while the connection was lost requests nothing.
            (room(true), &[]),
            (Input::Release, &[]),
            (Input::Lost, &[]),
            (Input::Press, &[Fail("not connected")]),
            (Input::Release, &[]),
            (Input::Connected, &[]),
            (Input::Press, &[Open, Request(2)]),
        ],
    );
}

#[test]
fn key_toggle_requests_the_floor_again_after_a_denial_a_revocation_or_a_lost_connection() {
    let now = Instant::now();
    let queued = Input::ServerEvent(ServerEvent::Queued { id: Some(2) });
    run(
        &mut radio(Trigger::Key),
        now,
        &[
            (Input::Toggle, &[Open, Request(1)]),
            (
                Input::ServerEvent(ServerEvent::Denied { id: Some(1) }),
                &[Shut],
            ),
            // A queued request is withdrawn, a denied one is repeated.
            (Input::Toggle, &[Open, Request(2)]),
            (queued, &[Shut]),
            (Input::Toggle, &[Release]),
            (Input::Toggle, &[Open, Request(3)]),
            (granted(3), &[]),
            (Input::Toggle, &[Shut]),
            (Input::Sending(false), &[Release]),
            // The floor is revoked.
            (Input::Toggle, &[Open, Request(4)]),
            (granted(4), &[]),
            (revoked(0), &[Shut]),
            (Input::Sending(false), &[Release]),
            (Input::Toggle, &[Open, Request(5)]),
            // The connection is lost and re-established.
            (Input::Lost, &[Shut]),
            (Input::Toggle, &[Fail("not connected")]),
            (Input::Connected, &[]),
            (Input::Toggle, &[Open, Request(6)]),
        ],
    );
}

#[test]
fn key_release_within_the_grace_replaces_the_deadline_of_the_grace() {
    let now = Instant::now();
    let mut radio = radio(Trigger::Key);
    let grace = Duration::from_millis(3_000);
    let released = now + grace - Duration::from_millis(100);
    run(
        &mut radio,
        now,
        &[
            (Input::Press, &[Open, Request(1)]),
            (granted(1), &[]),
            (revoked(3_000), &[]),
        ],
    );
    run(&mut radio, released, &[(Input::Release, &[Shut])]);
    assert_eq!(radio.deadline(), Some(released + LAST_WORDS));
    // A deadline that has passed without effect would be due again at once, and for ever.
    assert_eq!(radio.take(Input::Time, now + grace), []);
    assert_eq!(radio.deadline(), Some(released + LAST_WORDS));
    assert_eq!(radio.take(Input::Time, released + LAST_WORDS), [Release]);
}

#[test]
fn floor_request_without_a_response_is_abandoned() {
    let now = Instant::now();
    let mut radio = radio(Trigger::Key);
    run(&mut radio, now, &[(Input::Press, &[Open, Request(1)])]);
    assert_eq!(radio.deadline(), Some(now + ANSWER));
    let actions = radio.take(Input::Time, now + ANSWER);
    assert_eq!(actions, [Shut, Release, Fail("no answer")]);
}

#[test]
fn room_without_floor_control_gets_no_floor_request() {
    check(
        Trigger::Key,
        &[
            (room(false), &[]),
            (Input::Press, &[Open]),
            // The room gets floor control while the participant talks.
            (room(true), &[Request(1)]),
            (granted(1), &[]),
            (room(false), &[]),
            (Input::Release, &[Shut]),
            (Input::Sending(false), &[]),
        ],
    );
}

#[test]
fn radio_talks_without_floor_requests_once_the_server_reports_no_floor_control() {
    check(
        Trigger::Key,
        &[
            (Input::Press, &[Open, Request(1)]),
            (
                Input::ServerEvent(ServerEvent::NoFloor { id: Some(1) }),
                &[],
            ),
            (Input::Release, &[Shut]),
            (Input::Press, &[Open]),
        ],
    );
}

#[test]
fn voice_gate_is_closed_only_after_a_denial_a_revocation_or_a_lost_connection() {
    check(
        Trigger::Voice,
        &[
            (Input::Press, &[Request(1)]),
            (granted(1), &[]),
            (Input::Sending(false), &[]),
            (Input::Release, &[Release]),
            (Input::Press, &[Request(2)]),
            (
                Input::ServerEvent(ServerEvent::Denied { id: Some(2) }),
                &[Shut],
            ),
            (Input::Sending(false), &[]),
            (Input::Release, &[Open]),
            (Input::Press, &[Request(3)]),
            (Input::Lost, &[Shut]),
            (Input::Release, &[Open]),
            (Input::Connected, &[]),
            (Input::Press, &[Request(4)]),
            (granted(4), &[]),
            (revoked(0), &[Shut]),
            (Input::Sending(false), &[Release]),
            // An ongoing voice does not request again; the next voice does.
            (Input::Release, &[Open]),
            (Input::Press, &[Request(5)]),
        ],
    );
}
