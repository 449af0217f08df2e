//! Tests of ICE restarts: which ICE session of the member is valid after each outcome.

use super::*;

fn update(ufrag: &str, with_pwd: bool) -> IceUpdate {
    IceUpdate {
        ufrag: Some(ufrag.to_owned()),
        pwd: with_pwd.then(|| "aPasswordOfTwentyTwoOrMore".to_owned()),
        candidates: Vec::new(),
    }
}

#[test]
fn ice_candidates_sent_before_the_restart_answer_belong_to_the_restart() {
    let test = test_conference();
    let ann = test.join("hall", OFFER).expect("joined");
    let condition = [ann.etag.clone()];
    let begun = test
        .conference
        .begin_ice(&ann.session, Some(&condition), update("n3wU", true));
    let (begun, answer) = begun.expect("begun").expect("a restart");
    let of = |update| test.conference.update_ice(&ann.session, None, update);
    // The client's own candidates, while the answer is still in flight.
    let outcome = of(update("n3wU", true)).expect("taken");
    assert!(matches!(outcome, IceOutcome::Added));
    // A second restart with the old condition, and candidates of the old session.
    let second = test
        .conference
        .begin_ice(&ann.session, Some(&condition), update("n3wV", true));
    assert!(matches!(second, Err(IceError::Stale)));
    assert!(matches!(of(update("xZ3K", true)), Err(IceError::Stale)));
    let restarted = test.conference.until(answer).expect("answered");
    restarted.expect("restarted");
    let tags = [begun.etag];
    let outcome = test
        .conference
        .update_ice(&ann.session, Some(&tags), update("n3wU", false));
    assert!(matches!(outcome, Ok(IceOutcome::Added)));
}

#[test]
fn failed_ice_restart_restores_the_old_ice_session() {
    let mut test = test_conference();
    let ann = test.join("hall", OFFER).expect("joined");
    test.stop_rtc();
    let failed = test
        .conference
        .update_ice(&ann.session, None, update("n3wU", true));
    assert!(matches!(failed, Err(IceError::Overloaded)));
    let state = test.conference.lock();
    let room = &state.registry.rooms[&name("hall")];
    assert_eq!(room.members[0].ice.etag, ann.etag);
    assert_eq!(room.members[0].ice.client_ufrag, "xZ3K");
}
