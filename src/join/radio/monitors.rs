//! The list of rooms that a client monitors besides its own.

use std::str::FromStr;

use serde_json::{Value, json};
use thiserror::Error;

use super::super::address::is_room;

/// A room to monitor: `NAME`, `NAME=GAIN`, `NAME@PRIORITY` or `NAME=GAIN@PRIORITY`.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitoredRoom {
    room: String,
    gain_db: Option<f32>,
    priority: Option<u8>,
}

/// Text that does not name a room to monitor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MonitoredRoomError {
    /// The room name is invalid.
    #[error(
        "invalid room name {given:?}: a room name must have 1 to 64 ASCII letters, digits, dots, dashes or underscores and must not start with a dot"
    )]
    Name {
        /// The name that was given.
        given: String,
    },
    /// The gain is invalid.
    #[error("invalid gain {given:?}: it must be from -60 to 12 dB")]
    Gain {
        /// The gain that was given.
        given: String,
    },
    /// The priority is invalid.
    #[error("invalid priority {given:?}: it must be a whole number from 0 to 255")]
    Priority {
        /// The priority that was given.
        given: String,
    },
}

impl MonitoredRoom {
    /// The name of the room to monitor.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Whether the entry has neither gain nor priority.
    pub fn is_plain(&self) -> bool {
        self.gain_db.is_none() && self.priority.is_none()
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({ "room": self.room });
        if let Some(gain_db) = self.gain_db {
            entry["gain_db"] = gain_db.into();
        }
        if let Some(priority) = self.priority {
            entry["priority"] = priority.into();
        }
        entry
    }
}

impl FromStr for MonitoredRoom {
    type Err = MonitoredRoomError;

    fn from_str(given: &str) -> Result<MonitoredRoom, MonitoredRoomError> {
        let (rest, priority) = match given.rsplit_once('@') {
            Some((rest, priority)) => (rest, Some(priority)),
            None => (given, None),
        };
        let (room, gain) = match rest.split_once('=') {
            Some((room, gain)) => (room, Some(gain)),
            None => (rest, None),
        };
        if !is_room(room) {
            return Err(MonitoredRoomError::Name {
                given: room.to_owned(),
            });
        }
        let gain_db = gain.map(|gain| {
            let gain_db = gain.parse().ok();
            gain_db
                .filter(|gain_db| (-60.0..=12.0).contains(gain_db))
                .ok_or_else(|| MonitoredRoomError::Gain {
                    given: gain.to_owned(),
                })
        });
        let priority = priority.map(|priority| {
            priority.parse().map_err(|_| MonitoredRoomError::Priority {
                given: priority.to_owned(),
            })
        });
        Ok(MonitoredRoom {
            room: room.to_owned(),
            gain_db: gain_db.transpose()?,
            priority: priority.transpose()?,
        })
    }
}

/// Returns the command that makes these the only monitored rooms.
pub fn command(monitored: &[MonitoredRoom]) -> String {
    let rooms: Vec<Value> = monitored.iter().map(MonitoredRoom::to_json).collect();
    // The id is not a number, so that the response is not taken for that to a floor request.
    json!({ "command": "monitor", "rooms": rooms, "id": "listen" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitored_room_is_parsed_with_gain_and_priority() {
        for (given, room) in [
            ("b", json!({"room": "b"})),
            ("b=-6", json!({"room": "b", "gain_db": -6.0})),
            ("b.c=+3.5", json!({"room": "b.c", "gain_db": 3.5})),
            ("b@2", json!({"room": "b", "priority": 2})),
            (
                "b=-6@2",
                json!({"room": "b", "gain_db": -6.0, "priority": 2}),
            ),
        ] {
            let entry: MonitoredRoom = given.parse().unwrap();
            assert_eq!(entry.to_json(), room, "{given}");
            assert_eq!(entry.is_plain(), given == "b");
        }
        for (given, word) in [
            ("", "name"),
            (".b", "name"),
            ("b c", "name"),
            ("b=", "gain"),
            ("b=loud", "gain"),
            ("b=13", "gain"),
            ("b=nan", "gain"),
            ("b@", "priority"),
            ("b@256", "priority"),
        ] {
            let error = given.parse::<MonitoredRoom>().unwrap_err().to_string();
            assert!(error.contains(word), "{given}: {error}");
        }
    }

    #[test]
    fn monitor_command_replaces_the_list_of_rooms() {
        let monitored = ["a".parse().unwrap(), "b=-6".parse().unwrap()];
        let sent: Value = serde_json::from_str(&command(&monitored)).unwrap();
        assert_eq!(
            sent,
            json!({"command": "monitor", "rooms": [{"room": "a"}, {"room": "b", "gain_db": -6.0}], "id": "listen"})
        );
    }
}
