//! The floor's messages and settings as JSON.

use std::time::Duration;

use mixer::ParticipantId;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Event, Fields, Invalid, PublicId, RoomName};
use crate::floor::{
    Denial, Floor, Grant, Holding, Mode, Position, Request, RevokeCause, Settings, Standing, Tier,
};

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
pub fn read_request(fields: &mut Fields) -> Result<Request, Invalid> {
    let default = Request::default();
    let priority = fields.integer("priority", 0..=255)?;
    Ok(Request {
        priority: priority.map(|priority| priority as u8),
        tier: fields.one_of("tier", &TIERS)?.unwrap_or(default.tier),
        queue: fields.boolean("queue")?.unwrap_or(default.queue),
    })
}

/// Takes a participant's public id.
pub(super) fn read_participant(fields: &mut Fields) -> Result<PublicId, Invalid> {
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

/// Settings of a floor, each of them optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FloorChange {
    /// Mode.
    pub mode: Option<Mode>,
    /// T1.
    pub end_of_media_ms: Option<u32>,
    /// T2; 0 is no limit.
    pub talk_limit_s: Option<u32>,
    /// T3.
    pub grace_ms: Option<u32>,
    /// Most who wait.
    pub queue_limit: Option<u32>,
    /// Talking is asking.
    pub implicit: Option<bool>,
}

impl FloorChange {
    /// Takes the settings off an object.
    pub(super) fn read(fields: &mut Fields) -> Result<FloorChange, Invalid> {
        let mode = fields.text("mode")?;
        let mode = mode.map(|text| {
            Mode::parse(&text).ok_or_else(|| Invalid::NotOneOf {
                key: "mode",
                allowed: Mode::NAMES.to_owned(),
            })
        });
        Ok(FloorChange {
            mode: mode.transpose()?,
            end_of_media_ms: fields.integer("end_of_media_ms", END_OF_MEDIA_MS)?,
            talk_limit_s: fields.integer("talk_limit_s", TALK_LIMIT_S)?,
            grace_ms: fields.integer("grace_ms", GRACE_MS)?,
            queue_limit: fields.integer("queue_limit", QUEUE_LIMIT)?,
            implicit: fields.boolean("implicit_floor")?,
        })
    }

    /// `settings` with these in place of its own.
    #[must_use]
    pub fn over(self, settings: Settings) -> Settings {
        let from_ms = |ms: u32| Duration::from_millis(ms.into());
        let limit = self.talk_limit_s.map(talk_limit);
        Settings {
            mode: self.mode.unwrap_or(settings.mode),
            end_of_media: self.end_of_media_ms.map_or(settings.end_of_media, from_ms),
            talk_limit: limit.unwrap_or(settings.talk_limit),
            grace: self.grace_ms.map_or(settings.grace, from_ms),
            queue_limit: self
                .queue_limit
                .map_or(settings.queue_limit, |limit| limit as u16),
            implicit: self.implicit.unwrap_or(settings.implicit),
        }
    }
}

/// Everything said.
impl From<Settings> for FloorChange {
    fn from(settings: Settings) -> FloorChange {
        let whole_ms = |duration: Duration| duration.as_millis() as u32;
        let limit = settings.talk_limit;
        FloorChange {
            mode: Some(settings.mode),
            end_of_media_ms: Some(whole_ms(settings.end_of_media)),
            talk_limit_s: Some(limit.map_or(0, |limit| limit.as_secs() as u32)),
            grace_ms: Some(whole_ms(settings.grace)),
            queue_limit: Some(settings.queue_limit.into()),
            implicit: Some(settings.implicit),
        }
    }
}

/// T2 from its seconds, where 0 is no limit.
pub(crate) fn talk_limit(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// What T1 may be. Clients that pause in silence refresh every 400 ms (DTX), which must not be taken for the end.
pub(crate) const END_OF_MEDIA_MS: std::ops::RangeInclusive<u32> = 500..=60_000;
/// What T2 may be.
pub(crate) const TALK_LIMIT_S: std::ops::RangeInclusive<u32> = 0..=3_600;
/// What T3 may be.
pub(crate) const GRACE_MS: std::ops::RangeInclusive<u32> = 0..=30_000;
/// How many may wait: as many as anybody would.
pub(crate) const QUEUE_LIMIT: std::ops::RangeInclusive<u32> = 0..=1_000;

/// Writes settings as the fields they were read from.
pub(super) fn write<S: Serializer>(settings: &Settings, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(6))?;
    map.serialize_entry("mode", &settings.mode.to_string())?;
    let limit_s = settings.talk_limit.map_or(0, |limit| limit.as_secs());
    map.serialize_entry("talk_limit_s", &limit_s)?;
    map.serialize_entry("end_of_media_ms", &ms(settings.end_of_media))?;
    map.serialize_entry("grace_ms", &ms(settings.grace))?;
    map.serialize_entry("queue_limit", &settings.queue_limit)?;
    map.serialize_entry("implicit_floor", &settings.implicit)?;
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let read = |text: &str| {
            let mut fields = Fields::parse(text.as_bytes())?;
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
