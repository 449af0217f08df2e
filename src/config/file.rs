//! The TOML configuration file.

use toml::{Table, Value};

use super::parse::{quoted, quoted_list};
use super::{ConfigError, RawSetting};
use crate::protocol::{Invalid, JsonReader, RoomChange, RoomConfig, RoomName, ms};

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

/// The name, the settings and the links of a configured room.
type Room = (RoomName, RoomConfig, Option<Vec<RoomName>>);

/// Parses one `[[rooms]]` table over the default room settings, with the keys and rules of the JSON
/// API.
pub(super) fn room(table: &Table, defaults: RoomConfig) -> Result<Room, ConfigError> {
    let called = table
        .get("name")
        .map_or("without a name".to_owned(), ToString::to_string);
    let problem = |reason: String| ConfigError(format!("[[rooms]] {called}: {reason}"));
    let json = serde_json::to_vec(&with_nulls(table))
        .map_err(|_| problem("It cannot be read.".to_owned()))?;
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
    let mut text = format!(
        "[[rooms]]\nname = {}\ntick_ms = {}\nmax_participants = {}\n",
        quoted(name),
        room.tick.ms(),
        room.max_participants
    );
    if !room.profile_follows_mode {
        text += &format!("profile = {}\n", quoted(room.profile));
    }
    text += &match room.gate_db {
        Some(gate_db) => format!("gate_db = {gate_db:.1}\n"),
        None => "gate_db = \"off\"\n".to_owned(),
    };
    text += &format!(
        "max_contributors = {}\n",
        room.max_contributors.unwrap_or(0)
    );
    if let Some(allow) = room.allow_monitors {
        text += &format!("allow_monitors = {allow}\n");
    }
    if let Some(links) = links {
        text += &format!("links = {}\n", quoted_list(links));
    }
    text + &show_floor(room)
}

/// Writes the floor settings of a room's table.
fn show_floor(room: &RoomConfig) -> String {
    let floor = &room.floor;
    format!(
        "mode = {}\ntalk_limit_s = {}\nend_of_media_ms = {}\ngrace_ms = {}\nqueue_limit = {}\n\
         floor_tones = {}\nimplicit_floor = {}\n",
        quoted(floor.mode),
        floor.talk_limit.map_or(0, |limit| limit.as_secs()),
        ms(floor.end_of_media),
        ms(floor.grace),
        floor.queue_limit,
        room.floor_tones,
        floor.implicit,
    )
}

/// Converts a room's table into the JSON that a client would send: TOML has no `null`, so `"off"`
/// and 0 stand for it.
fn with_nulls(table: &Table) -> serde_json::Value {
    let mut json = serde_json::json!(table);
    for (key, nothing) in [
        ("gate_db", serde_json::json!("off")),
        ("max_contributors", serde_json::json!(0)),
    ] {
        if json.get(key) == Some(&nothing) {
            json[key] = serde_json::Value::Null;
        }
    }
    json
}

fn rooms(name: &str, value: Value) -> Result<Vec<Table>, ConfigError> {
    let wrong = || {
        ConfigError(format!(
            "rooms ({name}) must be tables, each headed [[rooms]]."
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

/// Converts a TOML value into the texts that a flag would give.
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
