//! The table of a room's settings: how each is named, read from JSON, and written as JSON and TOML.
//!
//! `allow_monitors` and `links` have no row in this table. Clients see whether a room allows
//! monitors, which results from the setting and the floor mode. The links of a room are not part of
//! its configuration.

use std::borrow::Cow;
use std::time::Duration;

use mixer::codec::Profile;
use mixer::format::TickLength;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::floor::{END_OF_MEDIA_MS, GRACE_MS, QUEUE_LIMIT, TALK_LIMIT_S, ms};
use super::room::{CONTRIBUTORS, GATE_DB, MAX_PARTICIPANTS, RoomChange, RoomConfig, TICKS};
use super::{Invalid, JsonReader};
use crate::floor::Mode;

/// One setting of a room: a row of the table [`ROOM_SETTINGS`].
///
/// The parsers of requests and of the configuration file, and the writers of JSON and TOML, all use
/// this row. The contract tests check that the OpenAPI document matches what is read and written.
pub(crate) struct RoomSetting {
    /// Name of the setting in JSON and in the configuration file.
    pub(crate) key: &'static str,
    /// The value that stands for [`SettingValue::Null`] in TOML, which has no null.
    pub(crate) toml_null: Option<SettingValue>,
    /// Takes the setting out of a JSON object into a change; leaves it unset if it is absent.
    read: fn(&mut JsonReader, &'static str, &mut RoomChange) -> Result<(), Invalid>,
    /// Returns the value of the setting in a room's configuration.
    pub(crate) value: fn(&RoomConfig) -> SettingValue,
}

/// The value of a room's setting, independent of JSON and TOML.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum SettingValue {
    /// Written as `null`: no noise gate, or no limit.
    Null,
    /// True or false.
    Flag(bool),
    /// A whole number.
    Whole(u32),
    /// A level, dBFS.
    Level(f32),
    /// A word or another text.
    Text(Cow<'static, str>),
}

/// Key of the profile, which a configuration file omits if the profile follows the mode.
pub(crate) const PROFILE: &str = "profile";

/// All settings of a room, in the order in which they are read and written.
pub(crate) const ROOM_SETTINGS: &[RoomSetting] = &[
    RoomSetting {
        key: PROFILE,
        toml_null: None,
        read: |fields, key, change| {
            change.profile = fields.one_of(key, &Profile::ALL.map(|it| (it.name(), it)))?;
            Ok(())
        },
        value: |room| SettingValue::Text(room.profile.name().into()),
    },
    RoomSetting {
        key: "tick_ms",
        toml_null: None,
        read: |fields, key, change| {
            change.tick = fields
                .integer(key, 1..=1_000)?
                .map(|ms| tick(key, ms))
                .transpose()?;
            Ok(())
        },
        value: |room| SettingValue::Whole(room.tick.ms()),
    },
    RoomSetting {
        key: "max_participants",
        toml_null: None,
        read: |fields, key, change| {
            change.max_participants = fields.integer(key, MAX_PARTICIPANTS)?;
            Ok(())
        },
        value: |room| SettingValue::Whole(room.max_participants),
    },
    RoomSetting {
        key: "gate_db",
        toml_null: Some(SettingValue::Text(Cow::Borrowed("off"))),
        read: |fields, key, change| {
            change.gate_db = fields.nullable(key, gate)?;
            Ok(())
        },
        value: |room| room.gate_db.map_or(SettingValue::Null, SettingValue::Level),
    },
    RoomSetting {
        key: "max_contributors",
        toml_null: Some(SettingValue::Whole(0)),
        read: |fields, key, change| {
            change.max_contributors = fields.nullable(key, contributors)?;
            Ok(())
        },
        value: |room| {
            let most = room.max_contributors.map(u32::from);
            most.map_or(SettingValue::Null, SettingValue::Whole)
        },
    },
    RoomSetting {
        key: "mode",
        toml_null: None,
        read: |fields, key, change| {
            change.floor.mode = mode(fields, key)?;
            Ok(())
        },
        value: |room| SettingValue::Text(room.floor.mode.to_string().into()),
    },
    RoomSetting {
        key: "talk_limit_s",
        toml_null: None,
        read: |fields, key, change| {
            change.floor.talk_limit_s = fields.integer(key, TALK_LIMIT_S)?;
            Ok(())
        },
        value: |room| {
            let limit = room.floor.talk_limit;
            SettingValue::Whole(limit.map_or(0, |limit| limit.as_secs() as u32))
        },
    },
    RoomSetting {
        key: "end_of_media_ms",
        toml_null: None,
        read: |fields, key, change| {
            change.floor.end_of_media_ms = fields.integer(key, END_OF_MEDIA_MS)?;
            Ok(())
        },
        value: |room| milliseconds(room.floor.end_of_media),
    },
    RoomSetting {
        key: "grace_ms",
        toml_null: None,
        read: |fields, key, change| {
            change.floor.grace_ms = fields.integer(key, GRACE_MS)?;
            Ok(())
        },
        value: |room| milliseconds(room.floor.grace),
    },
    RoomSetting {
        key: "queue_limit",
        toml_null: None,
        read: |fields, key, change| {
            change.floor.queue_limit = fields.integer(key, QUEUE_LIMIT)?;
            Ok(())
        },
        value: |room| SettingValue::Whole(room.floor.queue_limit.into()),
    },
    RoomSetting {
        key: "implicit_floor",
        toml_null: None,
        read: |fields, key, change| {
            change.floor.implicit = fields.boolean(key)?;
            Ok(())
        },
        value: |room| SettingValue::Flag(room.floor.implicit),
    },
    RoomSetting {
        key: "floor_tones",
        toml_null: None,
        read: |fields, key, change| {
            change.floor_tones = fields.boolean(key)?;
            Ok(())
        },
        value: |room| SettingValue::Flag(room.floor_tones),
    },
];

impl RoomSetting {
    /// Takes all settings in the table [`ROOM_SETTINGS`] out of a JSON object.
    ///
    /// # Errors
    /// [`Invalid`] names the first setting that is not allowed.
    pub(super) fn read_all(fields: &mut JsonReader) -> Result<RoomChange, Invalid> {
        let mut change = RoomChange::default();
        for setting in ROOM_SETTINGS {
            (setting.read)(fields, setting.key, &mut change)?;
        }
        Ok(change)
    }
}

/// Writes all settings in the table `ROOM_SETTINGS`.
impl Serialize for RoomConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(ROOM_SETTINGS.len()))?;
        for setting in ROOM_SETTINGS {
            map.serialize_entry(setting.key, &(setting.value)(self))?;
        }
        map.end()
    }
}

fn tick(key: &'static str, ms: u32) -> Result<TickLength, Invalid> {
    let tick = TICKS.into_iter().find(|tick| tick.ms() == ms);
    tick.ok_or_else(|| Invalid::NotOneOf {
        key,
        allowed: TICKS.map(|tick| tick.ms().to_string()).join(", "),
    })
}

fn gate(fields: &mut JsonReader, key: &'static str) -> Result<Option<f32>, Invalid> {
    let (least, most) = (*GATE_DB.start() as f32, *GATE_DB.end() as f32);
    fields.number(key, least..=most)
}

fn contributors(fields: &mut JsonReader, key: &'static str) -> Result<Option<u16>, Invalid> {
    let most = fields.integer(key, CONTRIBUTORS)?;
    Ok(most.map(|count| count as u16))
}

fn mode(fields: &mut JsonReader, key: &'static str) -> Result<Option<Mode>, Invalid> {
    let mode = fields.text(key)?.map(|text| {
        Mode::parse(&text).ok_or_else(|| Invalid::NotOneOf {
            key,
            allowed: Mode::NAMES.to_owned(),
        })
    });
    mode.transpose()
}

fn milliseconds(duration: Duration) -> SettingValue {
    SettingValue::Whole(ms(duration) as u32)
}
