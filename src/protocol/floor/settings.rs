//! Changes of a floor's settings, and the allowed ranges of the settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::floor::{Mode, Settings};

/// A change of a floor's settings; all fields are optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FloorChange {
    /// Mode of the floor.
    pub mode: Option<Mode>,
    /// T1, the silence after which a burst ends, in milliseconds.
    pub end_of_media_ms: Option<u32>,
    /// T2, the longest duration of a burst, in seconds; 0 means no limit.
    pub talk_limit_s: Option<u32>,
    /// T3, how long a participant is still heard after the floor was revoked, in milliseconds.
    pub grace_ms: Option<u32>,
    /// Maximum number of requests in the floor queue.
    pub queue_limit: Option<u32>,
    /// Whether a participant requests the floor by talking.
    pub implicit: Option<bool>,
}

impl FloorChange {
    /// Returns `settings` with the fields of this change replaced.
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

/// Converts settings into a change that sets all of them.
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

/// Converts a talk limit (T2) from seconds, where 0 means no limit.
pub(crate) fn talk_limit(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Allowed range of T1, in milliseconds. Clients with DTX send only every 400 ms in silence, which
/// must not be taken for the end of a burst.
pub(crate) const END_OF_MEDIA_MS: RangeInclusive<u32> = 500..=60_000;
/// Allowed range of T2, in seconds; 0 means no limit.
pub(crate) const TALK_LIMIT_S: RangeInclusive<u32> = 0..=3_600;
/// Allowed range of T3, in milliseconds.
pub(crate) const GRACE_MS: RangeInclusive<u32> = 0..=30_000;
/// Allowed range of the maximum number of requests in the floor queue.
pub(crate) const QUEUE_LIMIT: RangeInclusive<u32> = 0..=1_000;
