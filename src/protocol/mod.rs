//! JSON messages between clients and server: one set for HTTP, WebSocket and data channel.
//!
//! The messages are not part of the picture: events leave the server and commands come in, without
//! audio. This module has only the message types, their parsing and their serialization. The
//! conference carries out the commands.

mod command;
mod event;
mod floor;
mod json_reader;
mod monitor;
mod names;
mod room;
mod room_settings;

use std::fmt;

use mixer::ParticipantId;
use mixer::codec::Profile;
use serde::{Serialize, Serializer};

pub use command::{Change, Command, CommandMessage};
pub use event::{Event, LeaveReason};
pub(crate) use floor::{END_OF_MEDIA_MS, GRACE_MS, QUEUE_LIMIT, TALK_LIMIT_S, talk_limit};
pub use floor::{
    FloorChange, FloorCommand, FloorHolder, FloorStanding, FloorState, ms, read_request,
};
#[cfg(test)]
pub(crate) use json_reader::asked;
pub use json_reader::{Invalid, JsonReader};
pub use monitor::{MAX_MONITORED_ROOMS, MonitorEntry};
pub use names::{Name, NameError, RoomName, RoomNameError};
pub(crate) use room::{CONTRIBUTORS, GATE_DB, MAX_PARTICIPANTS, TICKS};
pub use room::{MAX_MONITORS, Monitor, Monitors, RoomChange, RoomConfig, RoomLine, RoomState};
pub(crate) use room_settings::{PROFILE, ROOM_SETTINGS, RoomSetting, SettingValue};

/// Formats an error as a sentence for a client: with a capital letter and a full stop.
pub(crate) fn sentence(error: &impl fmt::Display) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

/// A participant's public id: eight lower-case hexadecimal digits of the number that is also the
/// participant's CSRC in RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicId(pub ParticipantId);

impl PublicId {
    /// Parses the eight digits of a public id; `None` for any other text.
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

/// A participant as every client may see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Participant {
    /// Public id of the participant.
    pub id: PublicId,
    /// The public id as a number, in the form in which `getContributingSources()` returns it.
    pub csrc: u32,
    /// Display name: given at the join, changed later, or chosen by the server.
    pub name: String,
    /// Whether the participant is kept out of every mix.
    pub muted: bool,
    /// Whether the participant is heard now.
    pub talking: bool,
    /// Gain of the participant in the mixes, -60..=12 dB.
    pub gain_db: f32,
    /// Whether the peer connection is up.
    pub connected: bool,
    /// Whether the participant may send audio.
    pub talks: bool,
    /// Whether the participant receives a mix.
    pub listens: bool,
}

/// The names of all profiles, for error messages.
pub const PROFILES: &str = Profile::NAMES;

/// Returns the profile named `name`, if there is one.
pub fn profile_named(name: &str) -> Option<Profile> {
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_begins_with_a_capital_and_ends_with_a_full_stop() {
        assert_eq!(
            sentence(&Invalid::Missing { key: "room" }),
            "The field \"room\" is missing."
        );
        assert_eq!(sentence(&"\u{e4}"), "\u{e4}.");
        assert_eq!(sentence(&""), ".");
    }

    #[test]
    fn public_ids_are_eight_lower_case_hexadecimal_digits() {
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
        assert_eq!(PublicId(ParticipantId(0xc0ffee)).to_string(), "00c0ffee");
    }
}
