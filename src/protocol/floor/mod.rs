//! The floor's messages as JSON.

mod settings;

use std::time::Duration;

use mixer::ParticipantId;
use serde::Serialize;
use serde_json::Value;

pub use settings::FloorChange;
pub(super) use settings::write;
pub(crate) use settings::{END_OF_MEDIA_MS, GRACE_MS, QUEUE_LIMIT, TALK_LIMIT_S, talk_limit};

use super::{Event, Invalid, JsonReader, PublicId, RoomName};
use crate::floor::{Denial, Floor, Grant, Holding, Position, Request, RevokeCause, Standing, Tier};

/// What a participant may do about the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloorCommand {
    /// `floor_request`.
    Request(Request),
    /// `floor_release`: lets go, or does not wait any more.
    Release,
    /// `floor_position`: asks for its place in the queue.
    Position,
    /// `floor_grant`: gives the floor to somebody who asks for it, in a moderated room.
    Grant(PublicId),
}

/// The floor as a room shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FloorState {
    /// Who talks, the longest first.
    pub holders: Vec<FloorHolder>,
    /// Who waits, the next one first.
    pub queue: Vec<PublicId>,
}

/// One who talks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FloorHolder {
    /// Who.
    pub participant: PublicId,
    /// Which burst.
    pub burst: u32,
    /// How long it may go on; `None` is as long as it likes.
    pub left_ms: Option<u64>,
}

/// Where one participant stands with the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum FloorStanding {
    /// Neither talks nor waits.
    None,
    /// Waits.
    Queued {
        /// From 1.
        position: usize,
        /// How many wait.
        size: usize,
    },
    /// May talk.
    Granted {
        /// Which burst; 0 where there is no floor.
        burst: u32,
        /// How long; `None` is as long as it likes.
        duration_ms: Option<u64>,
        /// Priority in effect.
        priority: u8,
    },
    /// Has to stop.
    Revoking {
        /// Which burst.
        burst: u32,
        /// Why.
        cause: u8,
        /// The same in words.
        reason: &'static str,
        /// How long it is still heard.
        grace_ms: u64,
    },
}

impl FloorState {
    /// As it is now.
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

/// What the asker is told.
impl Event {
    /// The floor is his.
    pub fn floor_granted(grant: Grant, id: Option<Value>) -> Event {
        Event::FloorGranted {
            burst: grant.burst,
            duration_ms: grant.duration.map(ms),
            priority: grant.priority,
            id,
        }
    }

    /// He waits.
    pub fn floor_queued(Position { position, size }: Position, id: Option<Value>) -> Event {
        Event::FloorQueued { position, size, id }
    }

    /// He does not get it.
    pub fn floor_denied(denial: Denial, id: Option<Value>) -> Event {
        Event::FloorDenied {
            cause: denial.cause.number(),
            reason: denial.cause.reason(),
            holder: denial.holder.map(PublicId),
            retry_after_ms: denial.retry_after.map(ms),
            id,
        }
    }

    /// Somebody talks.
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

    /// Somebody has to stop; without a burst, he never had the floor.
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

/// Whole milliseconds: a message says nothing finer.
pub fn ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Takes a request's fields off an object.
///
/// # Errors
/// [`Invalid`] says what is wrong with them.
pub fn read_request(fields: &mut JsonReader) -> Result<Request, Invalid> {
    let default = Request::default();
    let priority = fields.integer("priority", 0..=255)?;
    Ok(Request {
        priority: priority.map(|priority| priority as u8),
        tier: fields.one_of("tier", &TIERS)?.unwrap_or(default.tier),
        queue: fields.boolean("queue")?.unwrap_or(default.queue),
    })
}

/// Takes a participant's public id.
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
    fn requests_are_read() {
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
    fn standings_are_written_as_promised() {
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
