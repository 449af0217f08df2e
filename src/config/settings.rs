//! The table of all settings: each setting is declared in this table, and nowhere else.

use super::kind::{Kind, Place};
use super::{Config, MOST_MIXERS};
use crate::protocol::{
    CONTRIBUTORS, END_OF_MEDIA_MS, GATE_DB, GRACE_MS, MAX_PARTICIPANTS, QUEUE_LIMIT, TALK_LIMIT_S,
};

/// One setting: a key of the TOML file, a flag with dashes instead of underscores, and an
/// environment variable, named `MIXMINUS_` and the key in capitals.
///
/// The key, the flag, the variable, the documentation and the output of `--check` all follow from
/// this row. The default is the value in [`Config::default`] and is not repeated.
pub struct Setting {
    /// Name of the setting.
    pub name: &'static str,
    /// Unit of the setting's value, or what sort of value it is, for the README.
    pub unit: &'static str,
    /// Description of the setting, in one or more sentences.
    pub help: &'static str,
    /// Kind of the value, with the field of the configuration that holds it.
    pub(super) kind: Kind,
}

impl Setting {
    /// Finds a setting by its name.
    pub(super) fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Returns the name of the setting's flag, without the two leading dashes.
    pub(super) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Returns the name of the setting's environment variable.
    pub fn variable(&self) -> String {
        format!("MIXMINUS_{}", self.name.to_uppercase())
    }

    /// Returns the default value as shown in the help and the README; `None` if there is no
    /// default.
    pub(super) fn default(&self) -> Option<String> {
        let shown = self.kind.show(&Config::default())?;
        Some(shown.trim_matches('"').to_owned())
    }
}

/// Returns all settings as a Markdown table, for the README.
pub fn table() -> String {
    let mut table =
        "| setting | unit | default | what it may be | what it does |\n|---|---|---|---|---|\n"
            .to_owned();
    for setting in SETTINGS {
        let default = match setting.default().as_deref() {
            None => "none".to_owned(),
            Some("[]") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let Setting {
            name, unit, help, ..
        } = setting;
        let range = setting.kind.range();
        table += &format!("| `{name}` | {unit} | {default} | {range} | {help} |\n");
    }
    table
}

/// Builds the [`Place`] (reader and writer) of a configuration field, for a [`Kind`].
macro_rules! place {
    ($($field:ident).+) => {
        Place {
            of: |config| &config.$($field).+,
            of_mut: |config| &mut config.$($field).+,
        }
    };
}

/// All settings, in the order in which they are printed.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "http",
        unit: "address",
        help: "Address on which HTTP and WebSocket are served.",
        kind: Kind::Address("a port", place!(http)),
    },
    Setting {
        name: "media",
        unit: "address",
        help: "Address on which audio is received: one UDP port for all participants.",
        kind: Kind::Address("a UDP port", place!(media)),
    },
    Setting {
        name: "announce",
        unit: "addresses",
        help: "Addresses announced to clients instead of the host's own, for a server behind NAT.",
        kind: Kind::Addresses(place!(announce)),
    },
    Setting {
        name: "tls_cert",
        unit: "file",
        help: "File with the certificate chain. If set, HTTP is served over TLS.",
        kind: Kind::PemFile(place!(tls_cert)),
    },
    Setting {
        name: "tls_key",
        unit: "file",
        help: "File with the private key of the certificate.",
        kind: Kind::PemFile(place!(tls_key)),
    },
    Setting {
        name: "tls_self_signed",
        unit: "yes or no",
        help: "Serve HTTPS with a self-signed certificate generated at the start. Browsers on other machines allow microphone access only over HTTPS.",
        kind: Kind::YesNo(place!(tls_self_signed)),
    },
    Setting {
        name: "max_rooms",
        unit: "rooms",
        help: "Maximum number of rooms at one time.",
        kind: Kind::Number(1..=100_000, place!(max_rooms)),
    },
    Setting {
        name: "max_participants",
        unit: "participants",
        help: "Maximum number of participants in a room, unless the room sets another.",
        kind: Kind::Number(MAX_PARTICIPANTS, place!(room.max_participants)),
    },
    Setting {
        name: "max_sessions",
        unit: "participants",
        help: "Maximum number of participants in all rooms together.",
        kind: Kind::Number(1..=100_000, place!(max_sessions)),
    },
    Setting {
        name: "open_rooms",
        unit: "yes or no",
        help: "Whether the first join creates a room. If not, only rooms created by PUT or in the configuration file can be joined.",
        kind: Kind::YesNo(place!(open_rooms)),
    },
    Setting {
        name: "default_profile",
        unit: "name",
        help: "Profile of the streams to listeners in conference rooms (modes open and moderated), unless the room or the join sets another.",
        kind: Kind::Profile(place!(room.default_profiles.conference)),
    },
    Setting {
        name: "default_radio_profile",
        unit: "name",
        help: "Profile of the streams to listeners in radio rooms (all other modes), unless the room or the join sets another.",
        kind: Kind::Profile(place!(room.default_profiles.radio)),
    },
    Setting {
        name: "hangover_ms",
        unit: "profile=ms",
        help: "How long the streams of a profile continue at their full packet rate after the last sound in a room, so that receivers keep their buffers through the pauses of a conversation.",
        kind: Kind::Hangovers(place!(hangovers)),
    },
    Setting {
        name: "tick_ms",
        unit: "ms",
        help: "Interval at which a room is mixed, unless the room sets another.",
        kind: Kind::Tick(place!(room.tick)),
    },
    Setting {
        name: "cors_origins",
        unit: "origins",
        help: "Origins of web pages that may use the HTTP interface, besides the server's own page.",
        kind: Kind::Origins(place!(cors_origins)),
    },
    Setting {
        name: "hosts",
        unit: "names",
        help: "Host names that requests may be sent to, besides IP addresses, localhost, the name of the machine and the names in the certificate. Needed behind a proxy.",
        kind: Kind::Hosts(place!(hosts)),
    },
    Setting {
        name: "trusted_proxies",
        unit: "networks",
        help: "Proxies whose Forwarded or X-Forwarded-For header is trusted. The connections of these proxies are not counted by address.",
        kind: Kind::Networks(place!(trusted_proxies)),
    },
    Setting {
        name: "max_connections_per_address",
        unit: "connections",
        help: "Maximum number of HTTP connections and WebSockets from one IPv4 address or IPv6 /64 network at one time. Connections from the host itself are not counted.",
        kind: Kind::Number(1..=8_192, place!(max_connections_per_address)),
    },
    Setting {
        name: "join_burst",
        unit: "joins",
        help: "Maximum number of joins from one address at once.",
        kind: Kind::Burst(place!(rates.joins)),
    },
    Setting {
        name: "join_rate",
        unit: "joins/s",
        help: "Maximum number of joins from one address per second, in the long run.",
        kind: Kind::PerSecond(place!(rates.joins)),
    },
    Setting {
        name: "room_change_burst",
        unit: "changes",
        help: "Maximum number of changes of rooms (PUT, PATCH, DELETE) from one address at once.",
        kind: Kind::Burst(place!(rates.room_changes)),
    },
    Setting {
        name: "room_change_rate",
        unit: "changes/s",
        help: "Maximum number of changes of rooms (PUT, PATCH, DELETE) from one address per second, in the long run.",
        kind: Kind::PerSecond(place!(rates.room_changes)),
    },
    Setting {
        name: "participant_change_burst",
        unit: "changes",
        help: "Maximum number of changes of participants over HTTP from one address at once. Muting is not counted.",
        kind: Kind::Burst(place!(rates.participant_changes)),
    },
    Setting {
        name: "participant_change_rate",
        unit: "changes/s",
        help: "Maximum number of changes of participants over HTTP from one address per second, in the long run. Muting is not counted.",
        kind: Kind::PerSecond(place!(rates.participant_changes)),
    },
    Setting {
        name: "message_burst",
        unit: "messages",
        help: "Maximum number of messages from one WebSocket or session at once, floor requests included.",
        kind: Kind::Burst(place!(rates.messages)),
    },
    Setting {
        name: "message_rate",
        unit: "messages/s",
        help: "Maximum number of messages from one WebSocket or session per second, in the long run, floor requests included.",
        kind: Kind::PerSecond(place!(rates.messages)),
    },
    Setting {
        name: "ice_servers",
        unit: "URLs",
        help: "STUN and TURN servers announced to clients.",
        kind: Kind::IceServers(place!(ice_servers)),
    },
    Setting {
        name: "mixers",
        unit: "threads",
        help: "Number of mixer threads. Each room runs on one of them; a thread with spare time helps a busy one with its encoding.",
        kind: Kind::NumberOrAuto(
            1..=MOST_MIXERS,
            "the number of cores less one",
            place!(mixers),
        ),
    },
    Setting {
        name: "realtime",
        unit: "yes or no",
        help: "Ask the system for real-time scheduling of the mixer threads and the network thread, and to lock the program and the memory it has at the start, so that they are not paged out.",
        kind: Kind::YesNo(place!(realtime)),
    },
    Setting {
        name: "log",
        unit: "filter",
        help: "Filter of the log, which goes to standard error.",
        kind: Kind::LogFilter(place!(log)),
    },
    Setting {
        name: "gate_db",
        unit: "dBFS",
        help: "Level below which a participant is not heard, unless the room sets another.",
        kind: Kind::LevelOrOff(GATE_DB, place!(room.gate_db)),
    },
    Setting {
        name: "max_contributors",
        unit: "participants",
        help: "Maximum number of participants heard at one time, the loudest ones, unless the room sets another.",
        kind: Kind::Cap(CONTRIBUTORS, "no limit", place!(room.max_contributors)),
    },
    Setting {
        name: "default_mode",
        unit: "name",
        help: "Floor mode of a room, unless the room sets another: all participants may talk (open), or only floor holders (all other modes).",
        kind: Kind::Mode(place!(room.floor.mode)),
    },
    Setting {
        name: "allow_monitors",
        unit: "yes or no",
        help: "Whether participants of other rooms may monitor a room, unless the room sets this itself.",
        kind: Kind::YesNoOrAuto(
            "true unless the mode is open or moderated",
            place!(room.allow_monitors),
        ),
    },
    Setting {
        name: "talk_limit_s",
        unit: "s",
        help: "How long a participant may hold the floor (T2), unless the room sets another limit.",
        kind: Kind::SecondsOrZero(TALK_LIMIT_S, "no limit", place!(room.floor.talk_limit)),
    },
    Setting {
        name: "end_of_media_ms",
        unit: "ms",
        help: "How long a floor holder may send nothing before it loses the floor (T1), unless the room sets another limit.",
        kind: Kind::Milliseconds(END_OF_MEDIA_MS, place!(room.floor.end_of_media)),
    },
    Setting {
        name: "grace_ms",
        unit: "ms",
        help: "How long a participant is still heard after its floor was revoked (T3), unless the room sets another time.",
        kind: Kind::Milliseconds(GRACE_MS, place!(room.floor.grace)),
    },
    Setting {
        name: "queue_limit",
        unit: "participants",
        help: "Maximum number of participants that wait for the floor, unless the room sets another.",
        kind: Kind::Count(QUEUE_LIMIT, place!(room.floor.queue_limit)),
    },
    Setting {
        name: "floor_tones",
        unit: "yes or no",
        help: "Whether to play a tone to a participant that is granted the floor, is denied it or must give it up, unless the room sets this itself.",
        kind: Kind::YesNo(place!(room.floor_tones)),
    },
    Setting {
        name: "implicit_floor",
        unit: "yes or no",
        help: "Whether talking requests the floor, for clients that can only send audio, unless the room sets this itself.",
        kind: Kind::YesNo(place!(room.floor.implicit)),
    },
];
