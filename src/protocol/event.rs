//! Events that the server sends to clients.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Monitors, Participant, PublicId, RoomName, RoomState};

/// Why a participant left its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum LeaveReason {
    /// The client ended its session, or closed its connection.
    #[serde(rename = "left")]
    Left,
    /// The client fell silent, or its room failed.
    #[serde(rename = "lost")]
    Lost,
    /// A moderator removed the participant.
    #[serde(rename = "kicked")]
    Kicked,
    /// The room was deleted.
    #[serde(rename = "room closed")]
    RoomClosed,
    /// The server is shutting down.
    #[serde(rename = "server stopping")]
    ServerStopping,
}

impl LeaveReason {
    /// All leave reasons.
    pub const ALL: [LeaveReason; 5] = [
        LeaveReason::Left,
        LeaveReason::Lost,
        LeaveReason::Kicked,
        LeaveReason::RoomClosed,
        LeaveReason::ServerStopping,
    ];

    /// Returns the word of the leave reason on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            LeaveReason::Left => "left",
            LeaveReason::Lost => "lost",
            LeaveReason::Kicked => "kicked",
            LeaveReason::RoomClosed => "room closed",
            LeaveReason::ServerStopping => "server stopping",
        }
    }
}

/// An event that the server sends to clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The whole room: the first message on every connection, and sent again whenever the room is
    /// configured.
    Room {
        /// The present state of the room; boxed, because no other event is nearly as large.
        room: Box<RoomState>,
    },
    /// A participant joined the room.
    Joined {
        /// The participant that joined.
        participant: Participant,
    },
    /// A participant left the room.
    Left {
        /// The participant that left.
        participant: PublicId,
        /// Why the participant left.
        reason: LeaveReason,
    },
    /// A participant is heard from now on.
    Talking {
        /// The participant that is heard.
        participant: PublicId,
    },
    /// A participant is no longer heard.
    Stopped {
        /// The participant that is no longer heard.
        participant: PublicId,
    },
    /// A participant was muted or unmuted.
    Muted {
        /// The participant that was muted or unmuted.
        participant: PublicId,
        /// Whether the participant is muted now.
        muted: bool,
    },
    /// The name, the gain or the connection state of a participant changed.
    Changed {
        /// The present state of the participant.
        participant: Participant,
    },
    /// Levels of the participants that are heard, dBFS.
    Levels {
        /// Level of each participant, dBFS.
        levels: BTreeMap<PublicId, i32>,
    },
    /// The participants of other rooms that listen to this room have changed.
    Monitors {
        /// The room that is listened to.
        room: RoomName,
        /// The participants that listen to the room.
        #[serde(flatten)]
        monitors: Monitors,
    },
    /// Load control changed how the server handles this room.
    Load {
        /// Busy time of the thread that mixes this room, percent.
        load_percent: u32,
        /// Highest libopus complexity of any encoder; 10 means no limit.
        max_complexity: u8,
        /// Whether joins to this room are refused for now.
        joins_refused: bool,
    },
    /// The receiver of this event got the floor: by its request, out of the queue, or by talking.
    FloorGranted {
        /// Number of the media burst in its room; 0 in a room without a floor.
        burst: u32,
        /// Longest duration of the media burst, milliseconds; `None` means no limit.
        duration_ms: Option<u64>,
        /// Effective priority of the media burst.
        priority: u8,
        /// The `id` of the request, if the request had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// The receiver of this event waits for the floor.
    FloorQueued {
        /// Position in the floor queue from 1; 0 if the receiver does not wait.
        position: usize,
        /// Number of waiting requests.
        size: usize,
        /// The `id` of the request, if the request had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// The receiver of this event was denied the floor.
    FloorDenied {
        /// Number of the cause of the Floor Deny.
        cause: u8,
        /// The cause in words.
        reason: &'static str,
        /// The participant that holds the floor.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<PublicId>,
        /// Time after which another request makes sense, milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// The `id` of the request, if the request had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// A participant holds the floor from now on.
    FloorTaken {
        /// The room of the floor.
        room: RoomName,
        /// Number of the media burst in its room.
        burst: u32,
        /// The participant that holds the floor.
        participant: PublicId,
        /// Name of the participant.
        name: String,
        /// Effective priority of the media burst.
        priority: u8,
        /// Longest duration of the media burst, milliseconds; `None` means no limit.
        duration_ms: Option<u64>,
        /// Whether other participants may request the floor.
        may_request: bool,
    },
    /// No participant holds the floor from now on.
    FloorIdle {
        /// The room of the floor.
        room: RoomName,
        /// Number of this event in the room.
        n: u32,
    },
    /// One of several floor holders has stopped.
    FloorReleased {
        /// The room of the floor.
        room: RoomName,
        /// Number of the media burst in its room.
        burst: u32,
        /// The participant that has stopped.
        participant: PublicId,
    },
    /// A participant must stop talking. Sent to this participant only, and without a burst, if it
    /// never had the floor.
    FloorRevoked {
        /// The room of the floor.
        room: RoomName,
        /// Number of the media burst in its room.
        #[serde(skip_serializing_if = "Option::is_none")]
        burst: Option<u32>,
        /// The participant that must stop.
        participant: PublicId,
        /// Number of the cause of the Floor Revoke; differs from the numbers of a Floor Deny.
        cause: u8,
        /// The cause in words.
        reason: &'static str,
        /// How long the participant is still heard, milliseconds.
        grace_ms: u64,
    },
    /// The floor queue has changed.
    FloorQueue {
        /// The room of the floor.
        room: RoomName,
        /// The waiting participants, the next one first.
        queue: Vec<PublicId>,
    },
    /// A command was carried out; sent only when the command carried an `id`.
    Ok {
        /// The command's `id`.
        id: Value,
    },
    /// A command was refused.
    Error {
        /// Type of the mistake, in one word.
        #[serde(rename = "type")]
        kind: &'static str,
        /// A sentence that a person can act on.
        detail: String,
        /// The other room that the mistake is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<RoomName>,
        /// The `id` of the command, if the command had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
}

impl Event {
    /// Returns whether the event also goes to participants that listen from other rooms: talk and
    /// floor events do.
    pub fn travels(&self) -> bool {
        matches!(
            self,
            Event::Talking { .. }
                | Event::Stopped { .. }
                | Event::FloorTaken { .. }
                | Event::FloorIdle { .. }
                | Event::FloorReleased { .. }
                | Event::FloorRevoked { .. }
                | Event::FloorQueue { .. }
        )
    }

    /// Returns the event as JSON for participants of other rooms, with the name of the `room` it
    /// happened in.
    pub fn to_json_from(&self, room: &RoomName) -> String {
        let mut json = serde_json::to_value(self)
            .expect("events hold only strings, numbers and maps with string keys");
        json["room"] = room.as_str().into();
        json.to_string()
    }

    /// Returns the event as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self)
            .expect("events hold only strings, numbers and maps with string keys")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mixer::ParticipantId;

    use super::*;
    use crate::floor::{Denial, DenyCause, Grant, RevokeCause};

    const GRANT: Grant = Grant {
        burst: 2,
        duration: None,
        priority: 9,
    };

    fn ann() -> Participant {
        Participant {
            id: PublicId(ParticipantId(0x00c0_ffee)),
            csrc: 0x00c0_ffee,
            name: "Ann".into(),
            muted: false,
            talking: false,
            gain_db: 0.0,
            connected: true,
            talks: true,
            listens: true,
        }
    }

    #[test]
    fn room_events_have_the_documented_json() {
        let id = ann().id;
        let cases = [
            (
                Event::Joined { participant: ann() },
                r#"{"event":"joined","participant":{"id":"00c0ffee","csrc":12648430,"name":"Ann","muted":false,"talking":false,"gain_db":0.0,"connected":true,"talks":true,"listens":true}}"#,
            ),
            (
                Event::Left {
                    participant: id,
                    reason: LeaveReason::RoomClosed,
                },
                r#"{"event":"left","participant":"00c0ffee","reason":"room closed"}"#,
            ),
            (
                Event::Levels {
                    levels: BTreeMap::from([(id, -23)]),
                },
                r#"{"event":"levels","levels":{"00c0ffee":-23}}"#,
            ),
            (
                Event::Load {
                    load_percent: 87,
                    max_complexity: 5,
                    joins_refused: true,
                },
                r#"{"event":"load","load_percent":87,"max_complexity":5,"joins_refused":true}"#,
            ),
            (Event::Ok { id: Value::from(7) }, r#"{"event":"ok","id":7}"#),
            (
                Event::Error {
                    kind: "unknown-session",
                    detail: "No.".into(),
                    room: None,
                    id: None,
                },
                r#"{"event":"error","type":"unknown-session","detail":"No."}"#,
            ),
        ];
        for (event, json) in cases {
            assert_eq!(event.to_json(), json);
        }
        let hall = RoomName::parse("hall").expect("a good name");
        let talking = Event::Talking { participant: id };
        assert!(talking.travels());
        assert_eq!(
            talking.to_json_from(&hall),
            r#"{"event":"talking","participant":"00c0ffee","room":"hall"}"#
        );
    }

    #[test]
    fn floor_events_have_the_documented_json() {
        let id = ann().id.0;
        let cases = [
            (
                Event::floor_granted(GRANT, Some(Value::from("a"))),
                r#"{"event":"floor_granted","burst":2,"duration_ms":null,"priority":9,"id":"a"}"#,
            ),
            (
                Event::floor_denied(
                    Denial {
                        cause: DenyCause::AnotherClientHasPermission,
                        holder: Some(id),
                        retry_after: None,
                    },
                    None,
                ),
                r#"{"event":"floor_denied","cause":1,"reason":"another client has permission","holder":"00c0ffee"}"#,
            ),
            (
                Event::floor_revoked(
                    RoomName::parse("hall").expect("a good name"),
                    id,
                    Some(2),
                    RevokeCause::MediaBurstTooLong,
                    Duration::from_secs(3),
                ),
                r#"{"event":"floor_revoked","room":"hall","burst":2,"participant":"00c0ffee","cause":2,"reason":"media burst too long","grace_ms":3000}"#,
            ),
        ];
        for (event, json) in cases {
            assert_eq!(event.to_json(), json);
        }
    }

    #[test]
    fn leave_reason_word_equals_its_json() {
        for reason in LeaveReason::ALL {
            let written = serde_json::to_value(reason).expect("plain");
            assert_eq!(written, reason.word());
        }
    }
}
