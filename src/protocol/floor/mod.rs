//! Floor commands and floor states as JSON messages.

mod settings;

use std::time::Duration;

use mixer::ParticipantId;
use serde::Serialize;
use serde_json::Value;

pub use settings::FloorChange;
pub(crate) use settings::{END_OF_MEDIA_MS, GRACE_MS, QUEUE_LIMIT, TALK_LIMIT_S, talk_limit};

use super::{Event, Invalid, JsonReader, PublicId, RoomName};
use crate::floor::{Denial, Floor, Grant, Holding, Position, Request, RevokeCause, Standing, Tier};

/// A floor command of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloorCommand {
    /// `floor_request`: requests the floor.
    Request(Request),
    /// `floor_release`: releases the floor, or leaves the floor queue.
    Release,
    /// `floor_position`: queries the position in the floor queue.
    Position,
    /// `floor_grant`: grants the floor to a waiting participant, in a moderated room.
    Grant(PublicId),
}

/// The state of a room's floor, as part of the room's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FloorState {
    /// The floor holders; the one that has held the floor for longest comes first.
    pub holders: Vec<FloorHolder>,
    /// The participants that wait for the floor, the next one first.
    pub queue: Vec<PublicId>,
}

/// A participant that holds the floor, and its media burst.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FloorHolder {
    /// The participant that holds the floor.
    pub participant: PublicId,
    /// Number of the media burst, counted per room.
    pub burst: u32,
    /// Time left of the media burst, milliseconds; `None` means no limit.
    pub left_ms: Option<u64>,
}

/// A participant's relation to the floor, as the answer to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum FloorStanding {
    /// The participant neither holds the floor nor waits for it.
    None,
    /// The participant waits in the floor queue.
    Queued {
        /// Position in the floor queue, from 1.
        position: usize,
        /// Number of requests in the floor queue.
        size: usize,
    },
    /// The participant holds the floor.
    Granted {
        /// Number of the media burst, counted per room; 0 in a room without a floor.
        burst: u32,
        /// Time left of the media burst, milliseconds; `None` means no limit.
        duration_ms: Option<u64>,
        /// Effective priority of the media burst.
        priority: u8,
    },
    /// The floor was revoked from the participant, which must stop talking.
    Revoking {
        /// Number of the revoked media burst, counted per room.
        burst: u32,
        /// Number of the cause in a Floor Revoke (3GPP TS 24.380, 8.2.10.2).
        cause: u8,
        /// The same cause in words.
        reason: &'static str,
        /// How long the participant is still heard, in milliseconds.
        grace_ms: u64,
    },
}

impl FloorState {
    /// Returns the present state of `floor` for clients.
    pub fn of(floor: &Floor, now: std::time::Instant) -> FloorState {
        FloorState {
            holders: floor.holders(now).map(FloorHolder::from).collect(),
            queue: floor.queue().map(PublicId).collect(),
        }
    }
}

impl From<Holding> for FloorHolder {
    fn from(holding: Holding) -> FloorHolder {
        FloorHolder {
            participant: PublicId(holding.participant),
            burst: holding.burst,
            left_ms: holding.left.map(ms),
        }
    }
}

impl From<Grant> for FloorStanding {
    fn from(grant: Grant) -> FloorStanding {
        FloorStanding::Granted {
            burst: grant.burst,
            duration_ms: grant.duration.map(ms),
            priority: grant.priority,
        }
    }
}

impl From<Position> for FloorStanding {
    fn from(Position { position, size }: Position) -> FloorStanding {
        FloorStanding::Queued { position, size }
    }
}

impl From<Standing> for FloorStanding {
    fn from(standing: Standing) -> FloorStanding {
        match standing {
            Standing::None => FloorStanding::None,
            Standing::Queued(position) => position.into(),
            Standing::Granted(grant) => grant.into(),
            Standing::Revoking {
                grant,
                cause,
                grace,
            } => FloorStanding::Revoking {
                burst: grant.burst,
                cause: cause.number(),
                reason: cause.reason(),
                grace_ms: ms(grace),
            },
        }
    }
}

/// Constructors of floor events.
impl Event {
    /// Creates the event for the participant that was granted the floor.
    pub fn floor_granted(grant: Grant, id: Option<Value>) -> Event {
        Event::FloorGranted {
            burst: grant.burst,
            duration_ms: grant.duration.map(ms),
            priority: grant.priority,
            id,
        }
    }

    /// Creates the event for a participant whose floor request is queued.
    pub fn floor_queued(Position { position, size }: Position, id: Option<Value>) -> Event {
        Event::FloorQueued { position, size, id }
    }

    /// Creates the event for a participant whose floor request was denied.
    pub fn floor_denied(denial: Denial, id: Option<Value>) -> Event {
        Event::FloorDenied {
            cause: denial.cause.number(),
            reason: denial.cause.reason(),
            holder: denial.holder.map(PublicId),
            retry_after_ms: denial.retry_after.map(ms),
            id,
        }
    }

    /// Creates the event that tells a room that a participant has taken the floor.
    pub fn floor_taken(
        room: RoomName,
        name: &str,
        participant: ParticipantId,
        grant: Grant,
        may_request: bool,
    ) -> Event {
        Event::FloorTaken {
            room,
            burst: grant.burst,
            participant: PublicId(participant),
            name: name.to_owned(),
            priority: grant.priority,
            duration_ms: grant.duration.map(ms),
            may_request,
        }
    }

    /// Creates the event that tells a participant to stop talking; `burst` is `None` if the
    /// participant never had the floor.
    pub fn floor_revoked(
        room: RoomName,
        participant: ParticipantId,
        burst: Option<u32>,
        cause: RevokeCause,
        grace: Duration,
    ) -> Event {
        Event::FloorRevoked {
            room,
            burst,
            participant: PublicId(participant),
            cause: cause.number(),
            reason: cause.reason(),
            grace_ms: ms(grace),
        }
    }
}

/// Converts a duration to whole milliseconds, the resolution of durations in messages.
pub fn ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Takes the fields of a floor request out of a JSON object.
///
/// # Errors
/// [`Invalid`] describes the mistake.
pub fn read_request(fields: &mut JsonReader) -> Result<Request, Invalid> {
    let default = Request::default();
    let priority = fields.integer("priority", 0..=255)?;
    Ok(Request {
        priority: priority.map(|priority| priority as u8),
        tier: fields.one_of("tier", &TIERS)?.unwrap_or(default.tier),
        queue: fields.boolean("queue")?.unwrap_or(default.queue),
    })
}

/// Takes the field `participant`, a public id, out of a JSON object.
pub(super) fn read_participant(fields: &mut JsonReader) -> Result<PublicId, Invalid> {
    let key = "participant";
    let text = fields.text(key)?.ok_or(Invalid::Missing { key })?;
    PublicId::parse(&text).ok_or(Invalid::WrongType {
        key,
        expected: "a participant's id, eight hexadecimal digits",
    })
}

const TIERS: [(&str, Tier); 3] = [
    ("normal", Tier::Normal),
    ("imminent", Tier::Imminent),
    ("emergency", Tier::Emergency),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_requests_are_parsed() {
        let read = |text: &str| {
            let mut fields = JsonReader::parse(text.as_bytes())?;
            let request = read_request(&mut fields)?;
            fields.finish()?;
            Ok::<_, Invalid>(request)
        };
        assert_eq!(read("{}"), Ok(Request::default()));
        let request = Request {
            priority: Some(7),
            tier: Tier::Emergency,
            queue: false,
        };
        assert_eq!(
            read(r#"{"priority":7,"tier":"emergency","queue":false}"#),
            Ok(request)
        );
        for bad in [
            r#"{"priority":256}"#,
            r#"{"priority":-1}"#,
            r#"{"tier":"panic"}"#,
            r#"{"queue":"yes"}"#,
            r#"{"burst":1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn floor_standings_have_the_documented_json() {
        let grant = Grant {
            burst: 3,
            duration: Some(Duration::from_millis(29_500)),
            priority: 1,
        };
        let cases = [
            (Standing::None, r#"{"state":"none"}"#),
            (
                Standing::Queued(Position {
                    position: 1,
                    size: 2,
                }),
                r#"{"state":"queued","position":1,"size":2}"#,
            ),
            (
                Standing::Granted(grant),
                r#"{"state":"granted","burst":3,"duration_ms":29500,"priority":1}"#,
            ),
            (
                Standing::Revoking {
                    grant,
                    cause: RevokeCause::MediaBurstTooLong,
                    grace: Duration::from_secs(2),
                },
                r#"{"state":"revoking","burst":3,"cause":2,"reason":"media burst too long","grace_ms":2000}"#,
            ),
        ];
        for (standing, json) in cases {
            let written = serde_json::to_string(&FloorStanding::from(standing));
            assert_eq!(written.expect("plain"), json);
        }
    }
}
