//! Contract tests of responses and events, each with and without every optional field.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mixer::ParticipantId;
use mixer::codec::Profile;
use serde_json::{Value, json};

use super::coverage::Coverage;
use super::{document, schema};
use crate::conference::CommandError;
use crate::floor::{Denial, DenyCause, Grant, GrantError, Mode, Position, RevokeCause, Standing};
use crate::protocol::{
    Event, FloorHolder, FloorStanding, FloorState, Invalid, LeaveReason, Monitor, Monitors,
    Participant, PublicId, RoomConfig, RoomLine, RoomName, RoomState, sentence,
};

const ANN: PublicId = PublicId(ParticipantId(0x00c0_ffee));

const GRANT: Grant = Grant {
    burst: 2,
    duration: None,
    priority: 9,
};

fn hall() -> RoomName {
    RoomName::parse("hall").expect("a good name")
}

fn participant() -> Participant {
    Participant {
        id: ANN,
        csrc: ANN.0.0,
        name: "Ann".into(),
        muted: false,
        talking: false,
        gain_db: 0.0,
        connected: true,
        talks: true,
        listens: true,
    }
}

fn monitors() -> Monitors {
    let monitor = Monitor {
        participant: ANN,
        name: "Ann".into(),
        room: hall(),
    };
    Monitors {
        monitors: vec![monitor],
        total: 1,
    }
}

fn floor() -> FloorState {
    let holder = |left_ms| FloorHolder {
        participant: ANN,
        burst: 1,
        left_ms,
    };
    FloorState {
        holders: vec![holder(None), holder(Some(30_000))],
        queue: vec![ANN],
    }
}

/// Returns sample rooms: one for each profile, with and without a floor, complete and shortened.
fn rooms() -> Vec<RoomState> {
    let configs = Profile::ALL.into_iter().enumerate().map(|(at, profile)| {
        let mut config = RoomConfig {
            profile,
            ..RoomConfig::default()
        };
        if at % 2 == 1 {
            config.tick = mixer::format::TickLength::Ms10;
            config.gate_db = None;
            config.max_contributors = Some(3);
            config.floor.mode = Mode::Multi(3);
        }
        config
    });
    let rooms = configs.map(|config| {
        let has_floor = config.floor.mode.has_floor();
        RoomState {
            name: hall(),
            config,
            allow_monitors: has_floor,
            floor: has_floor.then(floor),
            monitors: monitors(),
            links: vec![hall()],
            permanent: true,
            participants: vec![participant()],
            participants_total: has_floor.then_some(300),
        }
    });
    rooms.collect()
}

fn lines() -> Vec<RoomLine> {
    let lines = rooms().into_iter().map(|room| RoomLine {
        name: room.name,
        config: room.config,
        allow_monitors: room.allow_monitors,
        floor: room.floor,
        links: room.links,
        participants: 3,
        talking: 1,
    });
    lines.collect()
}

/// Returns an error event for every refusal of a command.
fn errors() -> Vec<Event> {
    let errors = [
        CommandError::Invalid(Invalid::NotJson),
        CommandError::UnknownSession,
        CommandError::UnknownRoom { room: hall() },
        CommandError::MonitoringRefused { room: hall() },
        CommandError::Grant(GrantError::NotModerated),
        CommandError::Grant(GrantError::Asking),
        CommandError::Grant(GrantError::NotAsked),
    ];
    let errors = errors.into_iter().map(|error| {
        // The match fails to compile when an error variant is added, which must then be added to
        // the list above.
        match &error {
            CommandError::Invalid(_)
            | CommandError::UnknownSession
            | CommandError::UnknownRoom { .. }
            | CommandError::MonitoringRefused { .. } => {}
            CommandError::Grant(
                GrantError::NotModerated | GrantError::Asking | GrantError::NotAsked,
            ) => {}
        }
        Event::Error {
            kind: error.kind(),
            detail: sentence(&error),
            room: error.room(),
            id: Some(json!(1)),
        }
    });
    let too_many = Event::Error {
        kind: "too-many-messages",
        detail: "Too many messages; send at most 10 per second.".into(),
        room: None,
        id: None,
    };
    errors.chain([too_many]).collect()
}

/// Returns all floor events, each with and without its optional fields.
fn floor_events() -> Vec<Event> {
    let timed = Grant {
        duration: Some(Duration::from_secs(30)),
        ..GRANT
    };
    let place = Position {
        position: 0,
        size: 0,
    };
    let denial = |holder: Option<ParticipantId>, retry_after| Denial {
        cause: DenyCause::AnotherClientHasPermission,
        holder,
        retry_after,
    };
    let second = Some(Duration::from_secs(1));
    vec![
        Event::floor_granted(GRANT, Some(json!("a"))),
        Event::floor_granted(timed, None),
        Event::floor_queued(place, Some(json!([1]))),
        Event::floor_queued(place, None),
        Event::floor_denied(denial(Some(ANN.0), second), Some(json!(null))),
        Event::floor_denied(denial(None, None), None),
        Event::floor_taken(hall(), "Ann", ANN.0, timed, true),
        Event::floor_taken(hall(), "Ann", ANN.0, GRANT, false),
        Event::FloorIdle { room: hall(), n: 0 },
        Event::FloorReleased {
            room: hall(),
            burst: 1,
            participant: ANN,
        },
        Event::floor_revoked(hall(), ANN.0, Some(1), RevokeCause::Other, Duration::ZERO),
        Event::floor_revoked(hall(), ANN.0, None, RevokeCause::Other, Duration::ZERO),
        Event::FloorQueue {
            room: hall(),
            queue: vec![ANN],
        },
    ]
}

fn events() -> Vec<Event> {
    let mut events: Vec<Event> = rooms()
        .into_iter()
        .map(|room| Event::Room {
            room: Box::new(room),
        })
        .collect();
    events.extend(LeaveReason::ALL.map(|reason| Event::Left {
        participant: ANN,
        reason,
    }));
    events.extend([
        Event::Joined {
            participant: participant(),
        },
        Event::Talking { participant: ANN },
        Event::Stopped { participant: ANN },
        Event::Muted {
            participant: ANN,
            muted: true,
        },
        Event::Changed {
            participant: participant(),
        },
        Event::Levels {
            levels: BTreeMap::from([(ANN, -127), (PublicId(ParticipantId(1)), 0)]),
        },
        Event::Monitors {
            room: hall(),
            monitors: monitors(),
        },
        Event::Load {
            load_percent: 120,
            max_complexity: 10,
            joins_refused: true,
        },
        Event::Ok { id: json!(7) },
    ]);
    events.extend(floor_events());
    events.extend(errors());
    events
}

/// Returns the name of an event's schema. A new event must be added to [`events`].
fn schema_of(event: &Event) -> &'static str {
    match event {
        Event::Room { .. } => "RoomEvent",
        Event::Joined { .. } => "JoinedEvent",
        Event::Left { .. } => "LeftEvent",
        Event::Talking { .. } => "TalkingEvent",
        Event::Stopped { .. } => "StoppedEvent",
        Event::Muted { .. } => "MutedEvent",
        Event::Changed { .. } => "ChangedEvent",
        Event::Levels { .. } => "LevelsEvent",
        Event::Monitors { .. } => "MonitorsEvent",
        Event::Load { .. } => "LoadEvent",
        Event::FloorGranted { .. } => "FloorGrantedEvent",
        Event::FloorQueued { .. } => "FloorQueuedEvent",
        Event::FloorDenied { .. } => "FloorDeniedEvent",
        Event::FloorTaken { .. } => "FloorTakenEvent",
        Event::FloorIdle { .. } => "FloorIdleEvent",
        Event::FloorReleased { .. } => "FloorReleasedEvent",
        Event::FloorRevoked { .. } => "FloorRevokedEvent",
        Event::FloorQueue { .. } => "FloorQueueEvent",
        Event::Ok { .. } => "OkEvent",
        Event::Error { .. } => "ErrorEvent",
    }
}

/// Returns the members of a union schema, and checks that its discriminator mapping lists the same
/// ones.
fn members(union: &Value) -> BTreeSet<String> {
    let mapping = union["discriminator"]["mapping"].as_object();
    let mapped = mapping.expect("a mapping").values();
    let mapped: BTreeSet<&str> = mapped.filter_map(Value::as_str).collect();
    let listed = union["oneOf"].as_array().expect("alternatives").iter();
    let listed: BTreeSet<&str> = listed.filter_map(|it| it["$ref"].as_str()).collect();
    assert_eq!(mapped, listed);
    listed.into_iter().map(str::to_owned).collect()
}

#[test]
fn contract_describes_the_events_that_the_server_sends_and_no_others() {
    let document = document();
    let mut coverage = Coverage::new(&document);
    let mut seen = BTreeSet::new();
    for event in events() {
        let name = schema_of(&event);
        seen.insert(format!("#{}", schema(name)));
        let json: Value = serde_json::from_str(&event.to_json()).expect("JSON");
        coverage.add(&schema(name), &json);
        coverage.add(&schema("Event"), &json);
        if event.travels() {
            let json = serde_json::from_str(&event.to_json_from(&hall())).expect("JSON");
            coverage.add(&schema("Event"), &json);
        }
    }
    assert_eq!(members(document.at(&schema("Event"))), seen);
    let missing = coverage.missing();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn contract_describes_rooms_participants_and_floor_states() {
    let document = document();
    let mut coverage = Coverage::new(&document);
    for room in rooms() {
        coverage.add(&schema("Room"), &json!(room));
    }
    for line in lines() {
        coverage.add(&schema("RoomLine"), &json!(line));
    }
    let list = json!({ "rooms": lines(), "open_rooms": true });
    coverage.add(&schema("RoomList"), &list);
    coverage.add(&schema("Participant"), &json!(participant()));
    let revoking = Standing::Revoking {
        grant: GRANT,
        cause: RevokeCause::MediaBurstTooLong,
        grace: Duration::from_secs(2),
    };
    let queued = Standing::Queued(Position {
        position: 1,
        size: 1,
    });
    let mut seen = BTreeSet::new();
    for (standing, name) in [
        (Standing::None, "NoFloor"),
        (queued, "QueuedFloor"),
        (Standing::Granted(GRANT), "GrantedFloor"),
        (revoking, "RevokedFloor"),
    ] {
        let json = json!(FloorStanding::from(standing));
        coverage.add(&schema(name), &json);
        coverage.add(&schema("FloorStanding"), &json);
        seen.insert(format!("#{}", schema(name)));
    }
    assert_eq!(members(document.at(&schema("FloorStanding"))), seen);
    let missing = coverage.missing();
    assert!(missing.is_empty(), "{missing:#?}");
}
