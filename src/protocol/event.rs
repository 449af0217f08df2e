//! Events that the server sends to clients.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Monitors, Participant, PublicId, RoomName, RoomState};

/// Why a participant left its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum LeaveReason {
    /// The client ended its session or closed its connection.
    #[serde(rename = "left")]
    Left,
    /// The client no longer answered, or its room failed.
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

    /// Returns the word by which messages name the leave reason.
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

/// An event that the server sends to clients as a JSON message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The state of the whole room. It is the first message on every connection, and is sent again
    /// whenever the room is configured.
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
    /// A participant has begun to be heard.
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
    /// The levels of all participants that are heard.
    Levels {
        /// Level of each participant, dBFS.
        levels: BTreeMap<PublicId, i32>,
    },
    /// Participants of other rooms have begun or ceased to listen to a room.
    Monitors {
        /// The room that is listened to.
        room: RoomName,
        /// The participants that listen to the room.
        #[serde(flatten)]
        monitors: Monitors,
    },
    /// Load control changed the encoder complexity or the admission of joins in this room.
    Load {
        /// Busy time of the thread that mixes this room, percent.
        load_percent: u32,
        /// Highest libopus complexity of any encoder; 10 means no limit.
        max_complexity: u8,
        /// Whether joins to this room are refused for now.
        joins_refused: bool,
    },
    /// The receiver of this event was granted the floor: by its request, from the queue, or by
    /// talking.
    FloorGranted {
        /// Number of the media burst, counted per room; 0 in a room without a floor.
        burst: u32,
        /// Longest duration of the media burst, milliseconds; `None` means no limit.
        duration_ms: Option<u64>,
        /// Effective priority of the media burst.
        priority: u8,
        /// The `id` of the request, if the request had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// The receiver of this event is waiting for the floor, or asked for its place in the queue.
    FloorQueued {
        /// Position in the floor queue, from 1; 0 if the receiver is not waiting.
        position: usize,
        /// Number of requests in the floor queue.
        size: usize,
        /// The `id` of the request, if the request had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// The receiver of this event was denied the floor.
    FloorDenied {
        /// Number of the cause in a Floor Deny (3GPP TS 24.380, 8.2.6.2).
        cause: u8,
        /// The same cause in words.
        reason: &'static str,
        /// The participant that holds the floor, if any.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<PublicId>,
        /// Time after which another request can succeed, milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// The `id` of the request, if the request had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// A participant has taken the floor.
    FloorTaken {
        /// The room whose floor it is.
        room: RoomName,
        /// Number of the media burst, counted per room.
        burst: u32,
        /// The participant that holds the floor.
        participant: PublicId,
        /// Display name of the participant.
        name: String,
        /// Effective priority of the media burst.
        priority: u8,
        /// Longest duration of the media burst, milliseconds; `None` means no limit.
        duration_ms: Option<u64>,
        /// Whether other participants may request the floor.
        may_request: bool,
    },
    /// The floor of a room has become free: no participant holds it.
    FloorIdle {
        /// The room whose floor it is.
        room: RoomName,
        /// Sequence number of this event, counted per room.
        n: u32,
    },
    /// A floor holder has stopped talking, while others still hold the floor.
    FloorReleased {
        /// The room whose floor it is.
        room: RoomName,
        /// Number of the media burst that has ended, counted per room.
        burst: u32,
        /// The participant that has stopped.
        participant: PublicId,
    },
    /// A participant must stop talking.
    ///
    /// If the participant never had the floor, the event has no burst and goes to this participant
    /// only.
    FloorRevoked {
        /// The room whose floor it is.
        room: RoomName,
        /// Number of the revoked media burst, counted per room.
        #[serde(skip_serializing_if = "Option::is_none")]
        burst: Option<u32>,
        /// The participant that must stop.
        participant: PublicId,
        /// Number of the cause in a Floor Revoke (3GPP TS 24.380, 8.2.10.2); a Floor Deny numbers
        /// its causes differently.
        cause: u8,
        /// The same cause in words.
        reason: &'static str,
        /// How long the participant is still heard, in milliseconds.
        grace_ms: u64,
    },
    /// The floor queue has changed.
    FloorQueue {
        /// The room whose floor it is.
        room: RoomName,
        /// The participants that wait for the floor, the next one first.
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
        /// A sentence about the mistake, which a person can act on.
        detail: String,
        /// The room that the mistake is about, if it is not the participant's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<RoomName>,
        /// The `id` of the command, if the command had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
}

impl Event {
    /// Returns whether the event also goes to participants of other rooms that listen to this room;
    /// talk and floor events do.
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

    /// Returns the event as JSON for participants of other rooms, with `room`, in which it
    /// happened, added.
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
