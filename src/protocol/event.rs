//! What clients are told.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Monitors, Participant, PublicId, RoomName, RoomState};

/// Why a participant is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum LeaveReason {
    /// It said so, or closed its connection.
    #[serde(rename = "left")]
    Left,
    /// It fell silent, or its room failed.
    #[serde(rename = "lost")]
    Lost,
    /// Somebody removed it.
    #[serde(rename = "kicked")]
    Kicked,
    /// The room was deleted.
    #[serde(rename = "room closed")]
    RoomClosed,
    /// The server goes down.
    #[serde(rename = "server stopping")]
    ServerStopping,
}

impl LeaveReason {
    /// Every reason, to count by.
    pub const ALL: [LeaveReason; 5] = [
        LeaveReason::Left,
        LeaveReason::Lost,
        LeaveReason::Kicked,
        LeaveReason::RoomClosed,
        LeaveReason::ServerStopping,
    ];

    /// The word used on the wire.
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

/// What clients are told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The whole room: the first message on every connection, and again whenever the room is configured.
    Room {
        /// The room as it is now; boxed, since no other event is nearly as large.
        room: Box<RoomState>,
    },
    /// Somebody came.
    Joined {
        /// Who.
        participant: Participant,
    },
    /// Somebody went.
    Left {
        /// Who.
        participant: PublicId,
        /// Why.
        reason: LeaveReason,
    },
    /// Somebody is heard from now on.
    Talking {
        /// Who.
        participant: PublicId,
    },
    /// Somebody is no longer heard.
    Stopped {
        /// Who.
        participant: PublicId,
    },
    /// Somebody was muted or unmuted.
    Muted {
        /// Who.
        participant: PublicId,
        /// Muted now.
        muted: bool,
    },
    /// A name, a gain or the state of a connection changed.
    Changed {
        /// The participant as it is now.
        participant: Participant,
    },
    /// How loud those are who are heard, dBFS.
    Levels {
        /// Who, and how loud.
        levels: BTreeMap<PublicId, i32>,
    },
    /// Other participants of other rooms listen to this one than before.
    Monitors {
        /// The room.
        room: RoomName,
        /// Who listens to it.
        #[serde(flatten)]
        monitors: Monitors,
    },
    /// The load of the server changed how it serves this room.
    Load {
        /// Busy time of the thread that mixes this room, percent.
        load_percent: u32,
        /// No stream is encoded with more care than this, libopus complexity; 10 is no limit.
        max_complexity: u8,
        /// Nobody else gets into this room for now.
        joins_refused: bool,
    },
    /// The floor is the one's who reads this: by his request, when his turn has come, or because he talks.
    FloorGranted {
        /// Counts the bursts of a room; 0 where there is no floor.
        burst: u32,
        /// How long; `None` is as long as he likes.
        duration_ms: Option<u64>,
        /// Priority in effect.
        priority: u8,
        /// The request's `id`, if it carried one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// The one who reads this waits for the floor.
    FloorQueued {
        /// From 1; 0 is not waiting.
        position: usize,
        /// How many wait.
        size: usize,
        /// The request's `id`, if it carried one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// The one who reads this does not get the floor.
    FloorDenied {
        /// Why, by the numbers of a Floor Deny.
        cause: u8,
        /// The same in words.
        reason: &'static str,
        /// Who talks.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<PublicId>,
        /// When asking again makes sense.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// The request's `id`, if it carried one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// Somebody holds the floor from now on.
    FloorTaken {
        /// Where.
        room: RoomName,
        /// Which burst.
        burst: u32,
        /// Who.
        participant: PublicId,
        /// His name.
        name: String,
        /// As what.
        priority: u8,
        /// How long; `None` is as long as he likes.
        duration_ms: Option<u64>,
        /// Whether others may ask.
        may_request: bool,
    },
    /// Nobody holds the floor from now on.
    FloorIdle {
        /// Where.
        room: RoomName,
        /// Counts these.
        n: u32,
    },
    /// One of several has stopped.
    FloorReleased {
        /// Where.
        room: RoomName,
        /// Which burst.
        burst: u32,
        /// Who.
        participant: PublicId,
    },
    /// Somebody has to stop. To the one alone, and without a burst, if he never had the floor.
    FloorRevoked {
        /// Where.
        room: RoomName,
        /// Which burst.
        #[serde(skip_serializing_if = "Option::is_none")]
        burst: Option<u32>,
        /// Who.
        participant: PublicId,
        /// Why, by the numbers of a Floor Revoke, which are not those of a Floor Deny.
        cause: u8,
        /// The same in words.
        reason: &'static str,
        /// How long he is still heard.
        grace_ms: u64,
    },
    /// Who waits, the next one first.
    FloorQueue {
        /// Where.
        room: RoomName,
        /// Who.
        queue: Vec<PublicId>,
    },
    /// A command was carried out; sent only when the command carried an `id`.
    Ok {
        /// The command's `id`.
        id: Value,
    },
    /// A command was refused.
    Error {
        /// What kind of mistake, one word.
        #[serde(rename = "type")]
        kind: &'static str,
        /// A sentence a person can act on.
        detail: String,
        /// The other room that the mistake is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<RoomName>,
        /// The command's `id`, if it carried one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
}

impl Event {
    /// Whether it concerns those who listen from other rooms: who talks, and who may.
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

    /// The message as it goes to other rooms than `room`, where it happened: with its name.
    pub fn to_json_from(&self, room: &RoomName) -> String {
        let mut json = serde_json::to_value(self)
            .expect("events hold only strings, numbers and maps with string keys");
        json["room"] = room.as_str().into();
        json.to_string()
    }

    /// The message as it goes over the wire.
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
    fn events_of_rooms_are_written_as_promised() {
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
    fn events_of_the_floor_are_written_as_promised() {
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
    fn leave_reasons_have_one_spelling() {
        for reason in LeaveReason::ALL {
            let written = serde_json::to_value(reason).expect("plain");
            assert_eq!(written, reason.word());
        }
    }
}
