//! The list of other rooms that a participant listens to (monitors), as clients send it.

use serde::Serialize;
use serde_json::Value;

use super::{Invalid, JsonReader, RoomName};

/// One room that a participant monitors, and how the participant hears it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitorEntry {
    /// The monitored room. If it is the participant's own room, the entry says how they hear that
    /// room.
    pub room: RoomName,
    /// Gain of the room in the participant's mix, -60..=12 dB.
    pub gain_db: f32,
    /// Priority of the room: while a room of higher priority has a talker, this room is 12 dB
    /// quieter.
    pub priority: u8,
}

/// Maximum number of rooms in a participant's monitor list, including the participant's own if it
/// is named; also the maximum number of rooms that a room is linked with.
pub const MAX_MONITORED_ROOMS: usize = 16;

impl MonitorEntry {
    fn plain(room: RoomName) -> MonitorEntry {
        MonitorEntry {
            room,
            gain_db: 0.0,
            priority: 0,
        }
    }

    /// Takes the field `rooms` of a command: a list of names, or of objects with a name, gain and
    /// priority.
    ///
    /// # Errors
    /// [`Invalid`] describes the mistake in the list.
    pub(super) fn read(reader: &mut JsonReader) -> Result<Vec<MonitorEntry>, Invalid> {
        let rooms = reader
            .list("rooms", MAX_MONITORED_ROOMS)?
            .ok_or(Invalid::Missing { key: "rooms" })?;
        let rooms = rooms.into_iter().map(|room| match room {
            Value::String(name) => Ok(MonitorEntry::plain(RoomName::parse(&name)?)),
            other => {
                let reader = JsonReader::of(other).map_err(|_| Invalid::WrongType {
                    key: "rooms",
                    expected: "a list of room names or of objects with the field \"room\"",
                });
                MonitorEntry::read_one(reader?)
            }
        });
        once_each(rooms.collect::<Result<Vec<MonitorEntry>, Invalid>>()?)
    }

    fn read_one(mut reader: JsonReader) -> Result<MonitorEntry, Invalid> {
        let name = reader
            .text("room")?
            .ok_or(Invalid::Missing { key: "room" })?;
        let mut entry = MonitorEntry::plain(RoomName::parse(&name)?);
        if let Some(gain_db) = reader.number("gain_db", -60.0..=12.0)? {
            entry.gain_db = gain_db;
        }
        if let Some(priority) = reader.integer("priority", 0..=255)? {
            entry.priority = priority as u8;
        }
        reader.finish()?;
        Ok(entry)
    }

    /// Parses the query parameter `monitor` of a join: room names, separated by commas.
    ///
    /// # Errors
    /// [`Invalid`] describes the mistake.
    pub fn parse(text: &str) -> Result<Vec<MonitorEntry>, Invalid> {
        let names = text.split(',').map(str::trim);
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        if names.len() > MAX_MONITORED_ROOMS {
            return Err(Invalid::TooMany {
                key: "monitor",
                limit: MAX_MONITORED_ROOMS,
                entries: names.len(),
            });
        }
        let rooms = names.into_iter().map(|name| {
            let room = RoomName::parse(name)?;
            Ok(MonitorEntry::plain(room))
        });
        once_each(rooms.collect::<Result<Vec<MonitorEntry>, Invalid>>()?)
    }
}

fn once_each(list: Vec<MonitorEntry>) -> Result<Vec<MonitorEntry>, Invalid> {
    for (at, entry) in list.iter().enumerate() {
        if list[..at].iter().any(|earlier| earlier.room == entry.room) {
            return Err(Invalid::Twice {
                room: entry.room.clone(),
            });
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<MonitorEntry>, Invalid> {
        MonitorEntry::read(&mut JsonReader::parse(text.as_bytes())?)
    }

    fn plain(name: &str) -> MonitorEntry {
        MonitorEntry::plain(RoomName::parse(name).expect("a good name"))
    }

    #[test]
    fn monitor_list_entries_are_names_or_objects() {
        let list = read(r#"{"rooms":["b",{"room":"c","gain_db":-6,"priority":2}]}"#);
        let expected = MonitorEntry {
            gain_db: -6.0,
            priority: 2,
            ..plain("c")
        };
        assert_eq!(list, Ok(vec![plain("b"), expected]));
        assert_eq!(read(r#"{"rooms":[]}"#), Ok(vec![]));
    }

    #[test]
    fn monitor_list_errors_name_the_mistake() {
        let many: Vec<String> = (0..17).map(|at| format!("\"r{at}\"")).collect();
        for (text, error) in [
            ("{}".to_owned(), "the field \"rooms\" is missing"),
            (
                r#"{"rooms":"b"}"#.to_owned(),
                "the field \"rooms\" must be a list",
            ),
            (
                r#"{"rooms":[3]}"#.to_owned(),
                "the field \"rooms\" must be a list of room names or of objects with the field \"room\"",
            ),
            (
                r#"{"rooms":["b","b"]}"#.to_owned(),
                "the room b is listed twice",
            ),
            (
                r#"{"rooms":[{"room":"b","priority":256}]}"#.to_owned(),
                "the field \"priority\" must be from 0 to 255, not 256",
            ),
            (
                r#"{"rooms":[{"room":"b","volume":2}]}"#.to_owned(),
                "unknown field \"volume\"",
            ),
            (
                format!(r#"{{"rooms":[{}]}}"#, many.join(",")),
                "the list \"rooms\" may have at most 16 entries, this one has 17",
            ),
        ] {
            assert_eq!(read(&text).map_err(|it| it.to_string()), Err(error.into()));
        }
        assert!(read(r#"{"rooms":["a b"]}"#).is_err());
    }

    #[test]
    fn monitor_parameter_is_a_comma_separated_list_of_names() {
        assert_eq!(
            MonitorEntry::parse("b, c,"),
            Ok(vec![plain("b"), plain("c")])
        );
        assert_eq!(MonitorEntry::parse(""), Ok(vec![]));
        for bad in [
            "b,b",
            "a/b",
            &"x,".repeat(3),
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
        ] {
            assert!(MonitorEntry::parse(bad).is_err(), "{bad}");
        }
    }
}
