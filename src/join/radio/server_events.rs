//! The server's events that push-to-talk needs, and the lines that `--events` prints.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::whip_client::FloorReply;

/// A message of the server about the floor.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerEvent {
    /// The floor is granted to this participant.
    Granted {
        /// The id of the request; `None` if the floor is granted later than in the response to the
        /// request.
        id: Option<u64>,
    },
    /// The floor request waits in the queue.
    Queued {
        /// The id of the request.
        id: Option<u64>,
    },
    /// The floor request is denied.
    Denied {
        /// The id of the request.
        id: Option<u64>,
    },
    /// The request did not reach the server, or the server refused it with an error.
    Failed {
        /// The id of the request.
        id: Option<u64>,
        /// The reason, in a word or two.
        reason: &'static str,
    },
    /// The room has no floor control: everybody may talk.
    NoFloor {
        /// The id of the request.
        id: Option<u64>,
    },
    /// The floor of a participant is revoked.
    Revoked {
        /// The room.
        room: String,
        /// The participant whose floor is revoked.
        who: String,
        /// The time until the participant is no longer heard.
        grace: Duration,
    },
    /// No participant holds the floor any more.
    Idle {
        /// The room.
        room: String,
    },
    /// One of several holders has released the floor.
    Stopped {
        /// The room.
        room: String,
        /// The participant who has released the floor.
        who: String,
    },
    /// The settings of a room.
    Room {
        /// The room.
        name: String,
        /// Whether the room has floor control.
        has_floor: bool,
    },
}

impl ServerEvent {
    /// Parses a message; `None` for messages that a radio need not understand.
    pub fn read(text: &str) -> Option<ServerEvent> {
        let message: Message = serde_json::from_str(text).ok()?;
        let id = message.id.as_ref().and_then(Value::as_u64);
        let room = || message.room.as_ref()?.as_str().map(str::to_owned);
        Some(match message.event.as_str() {
            "floor_granted" => ServerEvent::Granted { id },
            "floor_queued" => ServerEvent::Queued { id },
            "floor_denied" => ServerEvent::Denied { id },
            // An older server has no floor control and does not know the command.
            "error" if message.kind.as_deref() == Some(INVALID) => ServerEvent::NoFloor { id },
            "error" => ServerEvent::Failed {
                id,
                reason: match message.kind.as_deref() {
                    Some(UNREACHABLE) => UNREACHABLE,
                    _ => "refused",
                },
            },
            // Without the number of a talk-spurt, the event concerns audio that was sent before the
            // request.
            "floor_revoked" if message.burst.is_some() => ServerEvent::Revoked {
                room: room()?,
                who: message.participant?,
                grace: Duration::from_millis(message.grace_ms.unwrap_or(0)),
            },
            "floor_idle" => ServerEvent::Idle { room: room()? },
            "floor_released" => ServerEvent::Stopped {
                room: room()?,
                who: message.participant?,
            },
            "room" => {
                let room = message.room.as_ref()?;
                ServerEvent::Room {
                    name: room.get("name")?.as_str()?.to_owned(),
                    has_floor: room.get("mode").is_some_and(|mode| mode != "open"),
                }
            }
            _ => return None,
        })
    }
}

/// The parts of a message that a radio uses.
#[derive(Deserialize)]
struct Message {
    event: String,
    id: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The whole room in the event `room`, otherwise the room's name.
    room: Option<Value>,
    #[serde(default, deserialize_with = "text")]
    participant: Option<String>,
    burst: Option<u64>,
    grace_ms: Option<u64>,
}

/// Reads a participant id. The event `joined` has a whole participant in its place, which becomes
/// `None`.
fn text<'de, D: serde::Deserializer<'de>>(given: D) -> Result<Option<String>, D::Error> {
    let value = Option::<Value>::deserialize(given)?;
    Ok(value.and_then(|value| value.as_str().map(str::to_owned)))
}

/// Returns a message as one printable line; `None` if it is not a JSON object.
pub fn line(message: &str) -> Option<String> {
    serde_json::from_str::<serde_json::Map<String, Value>>(message).ok()?;
    // In JSON, line breaks occur only outside of strings, where a space means the same. The only
    // control characters inside strings are those of C1, which could disturb a terminal.
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    Some(message.chars().map(plain).collect())
}

/// Whether a message has no lasting content, which is true of `levels`: they come several times a
/// second.
pub fn is_passing(message: &str) -> bool {
    serde_json::from_str::<Message>(message).is_ok_and(|message| message.event == "levels")
}

/// Returns the response to a floor request over HTTP as the event that the data channel would have
/// carried.
pub fn of_http(id: u64, reply: &FloorReply) -> Value {
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let (event, keys): (_, &[&str]) = match reply.status {
        200 => ("floor_granted", &["burst", "duration_ms", "priority"]),
        202 => ("floor_queued", &["position", "size"]),
        _ => (
            "floor_denied",
            &["cause", "reason", "holder", "retry_after_ms"],
        ),
    };
    let mut line = json!({ "event": event });
    for key in keys {
        if let Some(value) = body.get(key) {
            line[key] = value.clone();
        }
    }
    line["id"] = id.into();
    line
}

/// Returns the error event that is printed for a request that did not reach the server.
pub fn failed(id: u64, detail: &str) -> Value {
    json!({ "event": "error", "type": UNREACHABLE, "detail": detail, "id": id })
}

/// The error type of a request that did not reach the server.
const UNREACHABLE: &str = "unreachable";

/// The error type of a command that the server cannot read.
const INVALID: &str = "invalid-command";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_events_of_the_server_are_parsed() {
        let lobby = || "lobby".to_owned();
        for (text, told) in [
            (
                r#"{"event":"floor_granted","burst":3,"duration_ms":null,"priority":0,"id":7}"#,
                ServerEvent::Granted { id: Some(7) },
            ),
            (
                r#"{"event":"floor_queued","position":1,"size":2,"id":7}"#,
                ServerEvent::Queued { id: Some(7) },
            ),
            (
                r#"{"event":"floor_denied","cause":1,"reason":"another client has permission"}"#,
                ServerEvent::Denied { id: None },
            ),
            (
                r#"{"event":"floor_revoked","room":"lobby","burst":3,"participant":"0000abcd","cause":2,"reason":"r","grace_ms":3000}"#,
                ServerEvent::Revoked {
                    room: lobby(),
                    who: "0000abcd".to_owned(),
                    grace: Duration::from_secs(3),
                },
            ),
            (
                r#"{"event":"floor_idle","room":"lobby","n":4}"#,
                ServerEvent::Idle { room: lobby() },
            ),
            (
                r#"{"event":"floor_released","room":"lobby","burst":3,"participant":"0000abcd"}"#,
                ServerEvent::Stopped {
                    room: lobby(),
                    who: "0000abcd".to_owned(),
                },
            ),
            (
                r#"{"event":"room","room":{"name":"lobby","mode":"ptt","participants":[]}}"#,
                ServerEvent::Room {
                    name: lobby(),
                    has_floor: true,
                },
            ),
            (
                r#"{"event":"room","room":{"name":"lobby","mode":"open"}}"#,
                ServerEvent::Room {
                    name: lobby(),
                    has_floor: false,
                },
            ),
        ] {
            assert_eq!(ServerEvent::read(text), Some(told), "{text}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"event":"joined","participant":{"id":"0000abcd"}}"#,
            r#"{"event":"floor_revoked","room":"lobby","participant":"0000abcd","cause":3}"#,
            r#"{"event":"floor_idle","room":7}"#,
        ] {
            assert_eq!(ServerEvent::read(text), None, "{text}");
        }
    }

    #[test]
    fn server_message_is_printed_as_one_line_without_control_characters() {
        let message = "{\"event\":\"x\",\n\r\t\"name\":\"A\u{9b}2J\"}";
        let line = line(message).unwrap();
        assert!(!line.chars().any(char::is_control), "{line}");
        assert!(serde_json::from_str::<Value>(&line).is_ok());
        for no_object in ["", "[]", "7", "{", "{\"a\":\"\u{1b}\"}"] {
            assert_eq!(super::line(no_object), None, "{no_object}");
        }
    }

    #[test]
    fn only_level_events_are_transient() {
        assert!(is_passing(
            r#"{"event":"levels","levels":{"0000abcd":-20}}"#
        ));
        assert!(!is_passing(
            r#"{"event":"stopped","participant":"0000abcd"}"#
        ));
        assert!(!is_passing("{}"));
    }

    #[test]
    fn floor_responses_over_http_become_the_events_of_the_data_channel() {
        let reply = |status, body: &str| FloorReply {
            status,
            body: body.to_owned(),
        };
        let granted = reply(
            200,
            r#"{"state":"granted","burst":3,"duration_ms":30000,"priority":0}"#,
        );
        assert_eq!(
            of_http(7, &granted),
            json!({"event":"floor_granted","burst":3,"duration_ms":30000,"priority":0,"id":7})
        );
        let queued = reply(202, r#"{"state":"queued","position":1,"size":1}"#);
        assert_eq!(
            of_http(8, &queued),
            json!({"event":"floor_queued","position":1,"size":1,"id":8})
        );
        let denied = reply(
            409,
            r#"{"type":"t","cause":1,"reason":"r","holder":"0000abcd"}"#,
        );
        assert_eq!(
            of_http(9, &denied),
            json!({"event":"floor_denied","cause":1,"reason":"r","holder":"0000abcd","id":9})
        );
        let told = ServerEvent::read(&of_http(9, &denied).to_string());
        assert_eq!(told, Some(ServerEvent::Denied { id: Some(9) }));
        assert_eq!(of_http(1, &reply(409, ""))["event"], "floor_denied");
        let refused = json!({"event":"error","type":"limit","detail":"d","id":9});
        for (event, reason) in [(failed(9, "no route"), "unreachable"), (refused, "refused")] {
            let told = ServerEvent::read(&event.to_string());
            let id = Some(9);
            assert_eq!(told, Some(ServerEvent::Failed { id, reason }));
        }
    }
}
