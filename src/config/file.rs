//! Parses the TOML configuration file, and writes its `[[rooms]]` tables.

use toml::{Table, Value};

use super::parse::{quoted, quoted_list};
use super::{ConfigError, RawSetting};
use crate::protocol::{
    Invalid, JsonReader, PROFILE, ROOM_SETTINGS, RoomChange, RoomConfig, RoomName, RoomSetting,
    SettingValue,
};

/// A parsed configuration file: its settings, and its `[[rooms]]` tables before validation.
pub(super) struct ConfigFile {
    pub(super) given: Vec<RawSetting>,
    pub(super) rooms: Vec<Table>,
}

/// Parses the text of a configuration file.
pub(super) fn read(name: &str, text: &str) -> Result<ConfigFile, ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            let before = text.as_bytes().iter().take(span.start);
            1 + before.filter(|byte| **byte == b'\n').count()
        });
        ConfigError(format!("{name}, line {line}: {}.", error.message()))
    })?;
    let mut read = ConfigFile {
        given: Vec::new(),
        rooms: Vec::new(),
    };
    for (key, value) in table {
        if key == "rooms" {
            read.rooms = rooms(name, value)?;
        } else {
            read.given.push(RawSetting {
                key,
                values: flat(value),
                source: name.to_owned(),
            });
        }
    }
    Ok(read)
}

/// A configured room: its name, its settings, and the rooms it is linked with.
type Room = (RoomName, RoomConfig, Option<Vec<RoomName>>);

/// Parses one `[[rooms]]` table over the default room settings, with the keys and rules of the JSON
/// API.
pub(super) fn room(table: &Table, defaults: RoomConfig) -> Result<Room, ConfigError> {
    let called = table
        .get("name")
        .map_or("without a name".to_owned(), ToString::to_string);
    let problem = |reason: String| ConfigError(format!("[[rooms]] {called}: {reason}."));
    let json = serde_json::to_vec(&with_nulls(table))
        .map_err(|_| problem("the table cannot be converted to JSON".to_owned()))?;
    let read = || -> Result<(String, RoomChange), Invalid> {
        let mut fields = JsonReader::parse(&json)?;
        let name = fields
            .text("name")?
            .ok_or(Invalid::Missing { key: "name" })?;
        let change = RoomChange::read(&mut fields)?;
        fields.finish()?;
        Ok((name, change))
    };
    let (name, change) = read().map_err(|invalid| problem(invalid.to_string()))?;
    let name = RoomName::parse(&name).map_err(|error| problem(error.to_string()))?;
    let config = change.over(defaults);
    Ok((name, config, change.links))
}

/// Writes a room as a `[[rooms]]` table.
pub(super) fn show_room(
    name: &RoomName,
    room: &RoomConfig,
    links: Option<&Vec<RoomName>>,
) -> String {
    let mut text = format!("[[rooms]]\nname = {}\n", quoted(name));
    for setting in ROOM_SETTINGS {
        let is_chosen = setting.key != PROFILE || !room.profile_follows_mode;
        if is_chosen && let Some(value) = shown(setting, room) {
            text += &format!("{} = {value}\n", setting.key);
        }
    }
    if let Some(allow) = room.allow_monitors {
        text += &format!("allow_monitors = {allow}\n");
    }
    if let Some(links) = links {
        text += &format!("links = {}\n", quoted_list(links));
    }
    text
}

/// Returns a room's setting as TOML text; `None` if TOML cannot express the value.
fn shown(setting: &RoomSetting, room: &RoomConfig) -> Option<String> {
    let value = match (setting.value)(room) {
        SettingValue::Null => setting.toml_null.clone()?,
        value => value,
    };
    match value {
        SettingValue::Null => None,
        SettingValue::Flag(flag) => Some(flag.to_string()),
        SettingValue::Whole(number) => Some(number.to_string()),
        SettingValue::Level(db) => Some(format!("{db:.1}")),
        SettingValue::Text(text) => Some(quoted(text)),
    }
}

/// Converts a `[[rooms]]` table into the JSON that a client would send. TOML has no `null`, so the
/// stand-in value of a setting (`RoomSetting::toml_null`) becomes `null`.
fn with_nulls(table: &Table) -> serde_json::Value {
    let mut json = serde_json::json!(table);
    for setting in ROOM_SETTINGS {
        let Some(stand_in) = &setting.toml_null else {
            continue;
        };
        if json.get(setting.key) == Some(&serde_json::json!(stand_in)) {
            json[setting.key] = serde_json::Value::Null;
        }
    }
    json
}

fn rooms(name: &str, value: Value) -> Result<Vec<Table>, ConfigError> {
    let wrong = || {
        ConfigError(format!(
            "{name}: `rooms` must be tables, each with the header [[rooms]]."
        ))
    };
    let Value::Array(rooms) = value else {
        return Err(wrong());
    };
    rooms
        .into_iter()
        .map(|room| match room {
            Value::Table(table) => Ok(table),
            _ => Err(wrong()),
        })
        .collect()
}

/// Converts a TOML value into texts in the form of a flag's values; an array gives one per item.
fn flat(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => vec![plain(other)],
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
