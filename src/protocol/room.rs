//! Settings of a room, and the state of a room as clients see it.

use std::ops::RangeInclusive;

use mixer::codec::Profile;
use mixer::format::TickLength;
use serde::Serialize;
use serde_json::Value;

use super::floor::{FloorChange, FloorState};
use super::room_settings::RoomSetting;
use super::{Invalid, JsonReader, MAX_MONITORED_ROOMS, Participant, PublicId, RoomName};
use crate::floor::{Mode, Settings};

/// The state of a room with all its participants.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomState {
    /// Name of the room.
    pub name: RoomName,
    /// Settings of the room.
    #[serde(flatten)]
    pub config: RoomConfig,
    /// Whether participants of other rooms may listen to this room.
    pub allow_monitors: bool,
    /// Floor holders and queue; absent in a room without a floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<FloorState>,
    /// Participants of other rooms that listen to this room.
    #[serde(flatten)]
    pub monitors: Monitors,
    /// The rooms linked with this room: a participant heard in one of them is heard in all.
    pub links: Vec<RoomName>,
    /// Whether the room stays when the last participant leaves.
    pub permanent: bool,
    /// The participants of the room, in the order of joining.
    pub participants: Vec<Participant>,
    /// Number of all participants, if `participants` is shortened; only in messages on a data
    /// channel that would exceed the maximum length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants_total: Option<usize>,
}

/// A participant that listens to a room from another room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Monitor {
    /// Public id of the participant.
    pub participant: PublicId,
    /// Name of the participant.
    pub name: String,
    /// The room that the participant is in.
    pub room: RoomName,
}

/// The participants of other rooms that listen to a room (its monitors).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Monitors {
    /// The monitors, but at most [`MAX_MONITORS`] of them.
    pub monitors: Vec<Monitor>,
    /// Number of all monitors, including those that are not listed.
    #[serde(rename = "monitors_total")]
    pub total: usize,
}

/// Maximum number of monitors that a room's state lists, because the state must fit into one
/// message.
pub const MAX_MONITORS: usize = 20;

/// Summary of one room in the list of rooms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomLine {
    /// Name of the room.
    pub name: RoomName,
    /// Settings of the room.
    #[serde(flatten)]
    pub config: RoomConfig,
    /// Whether participants of other rooms may listen to this room.
    pub allow_monitors: bool,
    /// Floor holders and queue; absent in a room without a floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<FloorState>,
    /// The rooms linked with this room.
    pub links: Vec<RoomName>,
    /// Number of participants.
    pub participants: usize,
    /// Number of participants that are heard now.
    pub talking: usize,
}

/// Settings of a room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomConfig {
    /// Profile of the listeners' streams, unless a join chooses another.
    pub profile: Profile,
    /// Whether the profile follows the floor mode, because no client or configuration file has
    /// chosen one.
    pub profile_follows_mode: bool,
    /// The profiles for rooms whose profile follows the floor mode.
    pub default_profiles: DefaultProfiles,
    /// Duration of a tick, the interval at which the room is mixed.
    pub tick: TickLength,
    /// Maximum number of participants, 1..=10,000.
    pub max_participants: u32,
    /// Threshold of the noise gate, -90..=-10 dBFS; `None` disables the gate.
    pub gate_db: Option<f32>,
    /// Maximum number of contributors, which are then the loudest talkers, 1..=1,000; `None` means
    /// no limit.
    pub max_contributors: Option<u16>,
    /// Settings of the floor.
    pub floor: Settings,
    /// Whether participants hear a tone when they get the floor, are denied it or must stop. A
    /// burst that ends by silence (T1, T20) has no tone, because a silent holder has given up the
    /// floor.
    pub floor_tones: bool,
    /// Whether participants of other rooms may listen to this room; `None` lets the floor mode
    /// decide. Clients see the result of [`RoomConfig::allows_monitors`].
    pub allow_monitors: Option<bool>,
}

impl RoomConfig {
    /// Returns whether participants of other rooms may listen to this room. By default conferences
    /// (open and moderated rooms) refuse monitors and radio rooms allow them.
    pub fn allows_monitors(&self) -> bool {
        let mode = self.floor.mode;
        self.allow_monitors.unwrap_or(!mode.is_conference())
    }
}

/// The default profiles of conferences and of radio rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultProfiles {
    /// Profile of conferences: modes `open` and `moderated`.
    pub conference: Profile,
    /// Profile of radio rooms: all other modes.
    pub radio: Profile,
}

impl DefaultProfiles {
    fn of(&self, mode: Mode) -> Profile {
        match mode.is_conference() {
            true => self.conference,
            false => self.radio,
        }
    }
}

impl Default for DefaultProfiles {
    fn default() -> DefaultProfiles {
        DefaultProfiles {
            conference: Profile::Voice,
            radio: Profile::Radio,
        }
    }
}

impl Default for RoomConfig {
    fn default() -> RoomConfig {
        RoomConfig {
            profile: Profile::Voice,
            profile_follows_mode: true,
            default_profiles: DefaultProfiles::default(),
            tick: TickLength::Ms20,
            max_participants: 200,
            gate_db: Some(-50.0),
            max_contributors: None,
            floor: Settings::default(),
            floor_tones: false,
            allow_monitors: None,
        }
    }
}

/// Allowed durations of a room's tick.
pub(crate) const TICKS: [TickLength; 2] = [TickLength::Ms10, TickLength::Ms20];
/// Allowed range of a room's maximum number of participants.
pub(crate) const MAX_PARTICIPANTS: RangeInclusive<u32> = 1..=10_000;
/// Allowed range of a room's gate threshold, dBFS.
pub(crate) const GATE_DB: RangeInclusive<i32> = -90..=-10;
/// Allowed range of a room's maximum number of contributors.
pub(crate) const CONTRIBUTORS: RangeInclusive<u32> = 1..=1_000;

/// A change of a room's settings; all fields are optional.
///
/// An inner `None` stands for `null` in JSON: no noise gate, no maximum number of contributors, or
/// monitors as the floor mode decides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoomChange {
    /// Profile of the listeners' streams.
    pub profile: Option<Profile>,
    /// Duration of a tick, the interval at which the room is mixed.
    pub tick: Option<TickLength>,
    /// Maximum number of participants.
    pub max_participants: Option<u32>,
    /// Threshold of the noise gate, dBFS.
    pub gate_db: Option<Option<f32>>,
    /// Maximum number of contributors.
    pub max_contributors: Option<Option<u16>>,
    /// Settings of the floor.
    pub floor: FloorChange,
    /// Whether participants hear floor tones.
    pub floor_tones: Option<bool>,
    /// Whether participants of other rooms may listen to this room.
    pub allow_monitors: Option<Option<bool>>,
    /// The rooms linked with this room.
    pub links: Option<Vec<RoomName>>,
}

impl RoomChange {
    /// Takes the settings of a room out of a JSON object.
    ///
    /// # Errors
    /// [`Invalid`] names the first setting that is not allowed.
    pub fn read(fields: &mut JsonReader) -> Result<RoomChange, Invalid> {
        let mut change = RoomSetting::read_all(fields)?;
        change.allow_monitors =
            fields.nullable("allow_monitors", |fields, key| fields.boolean(key))?;
        change.links = read_links(fields)?;
        Ok(change)
    }

    /// Returns `config` with the fields of this change replaced. The links are not part of the
    /// configuration.
    #[must_use]
    pub fn over(&self, config: RoomConfig) -> RoomConfig {
        let floor = self.floor.over(config.floor);
        let follows_mode = config.profile_follows_mode && self.profile.is_none();
        let unchosen = match follows_mode {
            true => config.default_profiles.of(floor.mode),
            false => config.profile,
        };
        RoomConfig {
            profile: self.profile.unwrap_or(unchosen),
            profile_follows_mode: follows_mode,
            default_profiles: config.default_profiles,
            tick: self.tick.unwrap_or(config.tick),
            max_participants: self.max_participants.unwrap_or(config.max_participants),
            gate_db: self.gate_db.unwrap_or(config.gate_db),
            max_contributors: self.max_contributors.unwrap_or(config.max_contributors),
            floor,
            floor_tones: self.floor_tones.unwrap_or(config.floor_tones),
            allow_monitors: self.allow_monitors.unwrap_or(config.allow_monitors),
        }
    }
}

/// Converts a configuration into a change that sets all its fields, but the profile only if it was
/// chosen.
impl From<RoomConfig> for RoomChange {
    fn from(config: RoomConfig) -> RoomChange {
        RoomChange {
            profile: (!config.profile_follows_mode).then_some(config.profile),
            tick: Some(config.tick),
            max_participants: Some(config.max_participants),
            gate_db: Some(config.gate_db),
            max_contributors: Some(config.max_contributors),
            floor: config.floor.into(),
            floor_tones: Some(config.floor_tones),
            allow_monitors: Some(config.allow_monitors),
            links: None,
        }
    }
}

fn read_links(fields: &mut JsonReader) -> Result<Option<Vec<RoomName>>, Invalid> {
    let Some(list) = fields.list("links", MAX_MONITORED_ROOMS)? else {
        return Ok(None);
    };
    let names = list.into_iter().map(|name| match name {
        Value::String(name) => Ok(RoomName::parse(&name)?),
        _ => Err(Invalid::WrongType {
            key: "links",
            expected: "a list of room names",
        }),
    });
    Ok(Some(names.collect::<Result<_, Invalid>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_profile_follows_the_mode_until_a_profile_is_chosen() {
        let mode = |mode| RoomChange {
            floor: FloorChange {
                mode: Some(mode),
                ..FloorChange::default()
            },
            ..RoomChange::default()
        };
        let radio = mode(Mode::Ptt).over(RoomConfig::default());
        assert_eq!(radio.profile, Profile::Radio);
        assert_eq!(mode(Mode::Moderated).over(radio).profile, Profile::Voice);
        let chosen = RoomChange {
            profile: Some(Profile::LowDelay),
            ..RoomChange::default()
        };
        let chosen = chosen.over(radio);
        assert_eq!(mode(Mode::Open).over(chosen).profile, Profile::LowDelay);
    }

    #[test]
    fn open_and_moderated_rooms_refuse_monitors_by_default_and_other_rooms_allow_them() {
        let room = |mode: &str, allow_monitors| RoomConfig {
            floor: Settings {
                mode: Mode::parse(mode).expect("a mode"),
                ..Settings::default()
            },
            allow_monitors,
            ..RoomConfig::default()
        };
        for mode in ["open", "moderated"] {
            assert!(!room(mode, None).allows_monitors(), "{mode}");
            assert!(room(mode, Some(true)).allows_monitors(), "{mode}");
        }
        for mode in ["ptt", "multi:2", "cut-in", "broadcast"] {
            assert!(room(mode, None).allows_monitors(), "{mode}");
            assert!(!room(mode, Some(false)).allows_monitors(), "{mode}");
        }
    }

    #[test]
    fn room_state_is_written_as_flat_json() {
        let state = RoomState {
            name: RoomName::parse("lobby").expect("a good name"),
            config: RoomConfig::default(),
            allow_monitors: false,
            floor: None,
            monitors: Monitors::default(),
            links: vec![],
            permanent: false,
            participants: vec![],
            participants_total: None,
        };
        let json = serde_json::to_value(state).expect("plain");
        assert_eq!(json["tick_ms"], 20);
        assert_eq!(json["mode"], "open");
        assert_eq!(json["talk_limit_s"], 30);
        assert_eq!(json["floor_tones"], false);
        assert!(json.get("floor").is_none());
        assert_eq!(json["profile"], "voice");
        assert_eq!(json["max_participants"], 200);
        assert_eq!(json["max_contributors"], Value::Null);
    }

    #[test]
    fn room_settings_are_parsed_and_merged() {
        let read = |text: &str| {
            let mut fields = JsonReader::parse(text.as_bytes())?;
            let change = RoomChange::read(&mut fields)?;
            fields.finish()?;
            Ok::<_, Invalid>(change)
        };
        let change = read(
            r#"{"mode":"multi:3","talk_limit_s":0,"profile":"thin","tick_ms":10,"gate_db":null,"allow_monitors":false}"#,
        )
        .expect("good");
        let config = change.over(RoomConfig::default());
        assert_eq!(config.floor.mode, Mode::Multi(3));
        assert_eq!(config.floor.talk_limit, None);
        assert_eq!(config.profile, Profile::Thin);
        assert_eq!(config.tick, TickLength::Ms10);
        assert_eq!(config.gate_db, None);
        assert_eq!(config.allow_monitors, Some(false));
        let change = read(r#"{"allow_monitors":null}"#).expect("good");
        assert_eq!(change.over(config).allow_monitors, None, "as the mode says");
        assert_eq!(config.max_participants, 200);
        assert_eq!(RoomChange::from(config).over(RoomConfig::default()), config);
        for bad in [
            r#"{"mode":"shout"}"#,
            r#"{"grace_ms":30001}"#,
            r#"{"end_of_media_ms":100}"#,
            r#"{"implicit_floor":1}"#,
            r#"{"tick_ms":15}"#,
            r#"{"tick_ms":20.5}"#,
            r#"{"max_participants":0}"#,
            r#"{"max_participants":9223372036854775808}"#,
            r#"{"gate_db":1e400}"#,
            r#"{"gate_db":5}"#,
            r#"{"allow_monitors":"yes"}"#,
            r#"{"max_contributors":"3"}"#,
            r#"{"links":["a b"]}"#,
            r#"{"links":[3]}"#,
            r#"{"links":"a"}"#,
            r#"{"colour":"red"}"#,
            "[]",
            "",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
