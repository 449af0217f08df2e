//! The JSON of the control side: what clients are told and what they may ask, one set of messages for HTTP, WebSocket
//! and data channel.
//!
//! Stands beside the picture: events leave to the right, commands come in, neither carries audio. Only types, their
//! reading and their writing; what a command does is the conference's business.

mod command;
mod fields;
mod names;

use std::collections::BTreeMap;
use std::fmt;

use mixer::ParticipantId;
use mixer::format::TickLength;
use mixer::profile::Profile;
use serde::{Serialize, Serializer};
use serde_json::Value;

pub use command::{Change, Command, Order};
pub use fields::{Fields, Invalid};
pub use names::{Name, NameError, RoomName, RoomNameError};

/// A participant's public id: eight lower-case hexadecimal digits of the number that is also its CSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicId(pub ParticipantId);

impl PublicId {
    /// Reads the eight digits; anything else names nobody.
    pub fn parse(text: &str) -> Option<PublicId> {
        let digits = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 8 || !digits {
            return None;
        }
        let number = u32::from_str_radix(text, 16).ok()?;
        Some(PublicId(ParticipantId(number)))
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0.0)
    }
}

impl Serialize for PublicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One participant as everybody may see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Participant {
    /// Public id.
    pub id: PublicId,
    /// The same as a number: what `getContributingSources()` shows.
    pub csrc: u32,
    /// Name, as given at the join or made up.
    pub name: String,
    /// Kept out of every mix.
    pub muted: bool,
    /// Heard now.
    pub talking: bool,
    /// How loud it is mixed, -60..=12 dB.
    pub gain_db: f32,
    /// Its peer connection is up.
    pub connected: bool,
    /// It may send audio.
    pub talks: bool,
    /// It receives the mix.
    pub listens: bool,
}

/// One room with everybody in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomState {
    /// Name.
    pub name: RoomName,
    /// Who may talk: always `open`, everybody.
    pub mode: &'static str,
    /// What the room is set to.
    #[serde(flatten)]
    pub config: RoomConfig,
    /// Stays when the last participant leaves.
    pub permanent: bool,
    /// Who is in, in the order of joining.
    pub participants: Vec<Participant>,
}

/// One line of the list of rooms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomLine {
    /// Name.
    pub name: RoomName,
    /// Who may talk: always `open`, everybody.
    pub mode: &'static str,
    /// What the room is set to.
    #[serde(flatten)]
    pub config: RoomConfig,
    /// How many are in.
    pub participants: usize,
    /// How many of them are heard now.
    pub talking: usize,
}

/// What a room can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RoomConfig {
    /// How listeners' streams are encoded unless their join says otherwise.
    #[serde(serialize_with = "write_profile")]
    pub profile: Profile,
    /// Length of a tick.
    #[serde(rename = "tick_ms", serialize_with = "write_tick")]
    pub tick: TickLength,
    /// Most participants at one time, 1..=10,000.
    pub max_participants: u32,
    /// Level under which nobody is heard, -90..=-10 dBFS; `None` lets everything through.
    pub gate_db: Option<f32>,
    /// Only this many, the loudest, are heard at one time, 1..=1,000; `None` is everybody.
    pub max_contributors: Option<u16>,
}

impl Default for RoomConfig {
    fn default() -> RoomConfig {
        RoomConfig {
            profile: Profile::Voice,
            tick: TickLength::Ms20,
            max_participants: 200,
            gate_db: Some(-50.0),
            max_contributors: None,
        }
    }
}

/// Settings for a room, each of them optional.
///
/// The inner option of the last two is JSON's `null`: no gate, no cap.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RoomChange {
    /// Profile.
    pub profile: Option<Profile>,
    /// Tick.
    pub tick: Option<TickLength>,
    /// Most participants.
    pub max_participants: Option<u32>,
    /// Gate.
    pub gate_db: Option<Option<f32>>,
    /// Cap.
    pub max_contributors: Option<Option<u16>>,
}

impl RoomChange {
    /// Reads the settings out of a JSON object and takes them off it.
    ///
    /// # Errors
    /// [`Invalid`] names the first setting that cannot be used.
    pub fn read(fields: &mut Fields) -> Result<RoomChange, Invalid> {
        fields.one_of("mode", &[("open", ())])?;
        Ok(RoomChange {
            profile: fields.one_of(
                "profile",
                &Profile::ALL.map(|profile| (profile.name(), profile)),
            )?,
            tick: fields
                .integer("tick_ms", 1..=1_000)?
                .map(tick)
                .transpose()?,
            max_participants: fields.integer("max_participants", 1..=10_000)?,
            gate_db: fields.nullable("gate_db", |fields, key| fields.number(key, -90.0..=-10.0))?,
            max_contributors: fields.nullable("max_contributors", |fields, key| {
                Ok(fields.integer(key, 1..=1_000)?.map(|count| count as u16))
            })?,
        })
    }

    /// `config` with these settings in place of its own.
    #[must_use]
    pub fn over(self, config: RoomConfig) -> RoomConfig {
        RoomConfig {
            profile: self.profile.unwrap_or(config.profile),
            tick: self.tick.unwrap_or(config.tick),
            max_participants: self.max_participants.unwrap_or(config.max_participants),
            gate_db: self.gate_db.unwrap_or(config.gate_db),
            max_contributors: self.max_contributors.unwrap_or(config.max_contributors),
        }
    }
}

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
        /// The room as it is now.
        room: RoomState,
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
        /// The command's `id`, if it carried one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
}

impl Event {
    /// The message as it goes over the wire.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self)
            .expect("events hold only strings, numbers and maps with string keys")
    }
}

/// The profile of a name.
pub fn profile_named(name: &str) -> Option<Profile> {
    name.parse().ok()
}

fn tick(ms: u32) -> Result<TickLength, Invalid> {
    match ms {
        10 => Ok(TickLength::Ms10),
        20 => Ok(TickLength::Ms20),
        _ => Err(Invalid::NotOneOf {
            key: "tick_ms",
            allowed: "10, 20".to_owned(),
        }),
    }
}

fn write_profile<S: Serializer>(profile: &Profile, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(profile.name())
}

fn write_tick<S: Serializer>(tick: &TickLength, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(tick.ms())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn public_ids_are_eight_lower_case_digits() {
        assert_eq!(PublicId::parse("00c0ffee").map(|id| id.0.0), Some(0xc0ffee));
        for text in [
            "c0ffee",
            "00C0FFEE",
            "+0c0ffee",
            "00c0ffee0",
            "",
            "00c0ffeg",
        ] {
            assert_eq!(PublicId::parse(text), None, "{text}");
        }
        assert_eq!(ann().id.to_string(), "00c0ffee");
    }

    #[test]
    fn events_are_written_as_promised() {
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
            (Event::Ok { id: Value::from(7) }, r#"{"event":"ok","id":7}"#),
            (
                Event::Error {
                    kind: "unknown-session",
                    detail: "No.".into(),
                    id: None,
                },
                r#"{"event":"error","type":"unknown-session","detail":"No."}"#,
            ),
        ];
        for (event, json) in cases {
            assert_eq!(event.to_json(), json);
        }
    }

    #[test]
    fn rooms_are_written_flat() {
        let state = RoomState {
            name: RoomName::parse("lobby").expect("a good name"),
            mode: "open",
            config: RoomConfig::default(),
            permanent: false,
            participants: vec![],
        };
        let json = serde_json::to_value(state).expect("plain");
        assert_eq!(json["tick_ms"], 20);
        assert_eq!(json["profile"], "voice");
        assert_eq!(json["max_participants"], 200);
        assert_eq!(json["max_contributors"], Value::Null);
    }

    #[test]
    fn leave_reasons_have_one_spelling() {
        for reason in LeaveReason::ALL {
            let written = serde_json::to_value(reason).expect("plain");
            assert_eq!(written, reason.word());
        }
    }

    #[test]
    fn settings_of_a_room_are_read_and_merged() {
        let read = |text: &str| {
            let mut fields = Fields::parse(text.as_bytes())?;
            let change = RoomChange::read(&mut fields)?;
            fields.finish()?;
            Ok::<_, Invalid>(change)
        };
        let change =
            read(r#"{"mode":"open","profile":"thin","tick_ms":10,"gate_db":null}"#).expect("good");
        let config = change.over(RoomConfig::default());
        assert_eq!(config.profile, Profile::Thin);
        assert_eq!(config.tick, TickLength::Ms10);
        assert_eq!(config.gate_db, None);
        assert_eq!(config.max_participants, 200);
        for bad in [
            r#"{"mode":"ptt"}"#,
            r#"{"tick_ms":15}"#,
            r#"{"tick_ms":20.5}"#,
            r#"{"max_participants":0}"#,
            r#"{"max_participants":9223372036854775808}"#,
            r#"{"gate_db":1e400}"#,
            r#"{"gate_db":5}"#,
            r#"{"max_contributors":"3"}"#,
            r#"{"colour":"red"}"#,
            "[]",
            "",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
