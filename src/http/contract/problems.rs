//! Contract tests of all refusals: each is a documented problem document.

use std::collections::BTreeSet;
use std::time::Duration;

use mixer::ParticipantId;

use super::coverage::Coverage;
use super::{document, schema};
use crate::conference::{
    ConfigureError, IceError, JoinError, OfferError, Overloaded, UnknownParticipant, UnknownSession,
};
use crate::floor::{Denial, DenyCause};
use crate::http::problem::Problem;
use crate::http::sdpfrag::FragmentError;
use crate::http::{floor, sessions, websocket};
use crate::protocol::{Invalid, Name, RoomName};
use crate::rate_limit::{Limited, RetryAfter, TooMany};

fn hall() -> RoomName {
    RoomName::parse("hall").expect("a good name")
}

fn of_joins() -> Vec<Problem> {
    let errors = [
        JoinError::UnknownRoom,
        JoinError::UnknownMonitoredRoom { room: hall() },
        JoinError::MonitoringRefused { room: hall() },
        JoinError::RoomFull { limit: 3 },
        JoinError::Overloaded(Overloaded::Sessions { limit: 3 }),
        JoinError::Offer(OfferError::Unparsable),
        JoinError::Offer(OfferError::NoAudio),
    ];
    let mut problems: Vec<Problem> = errors.map(Problem::from).into();
    let bad_name = Name::parse("").expect_err("empty");
    let bad_room = RoomName::parse("a b").expect_err("a space");
    problems.extend([bad_name.into(), bad_room.into()]);
    problems
}

fn of_others() -> Vec<Problem> {
    let too_many = TooMany {
        what: Limited::Join,
        retry_after: RetryAfter(Duration::from_secs(1)),
    };
    let denial = |holder, retry_after| Denial {
        cause: DenyCause::QueueFull,
        holder,
        retry_after,
    };
    let second = Some(Duration::from_secs(1));
    vec![
        ConfigureError::Occupied.into(),
        ConfigureError::TooManyLinked { limit: 16 }.into(),
        UnknownParticipant::Participant.into(),
        UnknownSession.into(),
        IceError::Stale.into(),
        IceError::RestartFailed.into(),
        Invalid::NotJson.into(),
        Invalid::Missing { key: "name" }.into(),
        too_many.into(),
        floor::denied(denial(Some(ParticipantId(7)), second)),
        floor::denied(denial(None, None)),
        sessions::refused(FragmentError::Empty),
        websocket::upgrade_required(),
        Problem::not_whole(),
        Problem::not_found(),
        Problem::method_not_allowed("GET"),
        Problem::wrong_type("application/json"),
        Problem::bad_request("No."),
        Problem::body_timeout(),
        Problem::body_too_large(),
        Problem::misdirected(),
        Problem::origin_refused(),
        Problem::internal(),
    ]
}

#[test]
fn contract_describes_the_problems_that_the_server_sends_and_no_others() {
    let document = document();
    let mut coverage = Coverage::new(&document);
    let mut seen = BTreeSet::new();
    for problem in of_joins().into_iter().chain(of_others()) {
        let json = problem.document();
        coverage.add(&schema("Problem"), &json);
        seen.insert(json["type"].as_str().expect("a URN").to_owned());
    }
    let mapping = document.at(&schema("Problem"))["discriminator"]["mapping"].as_object();
    let described: BTreeSet<String> = mapping.expect("a mapping").keys().cloned().collect();
    assert_eq!(described, seen);
    let missing = coverage.missing();
    assert!(missing.is_empty(), "{missing:#?}");
}
