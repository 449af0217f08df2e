//! The table of all settings: each setting is declared in this table, and nowhere else.

use super::kind::{Kind, Place};
use super::{Config, MOST_MIXERS};
use crate::protocol::{
    CONTRIBUTORS, END_OF_MEDIA_MS, GATE_DB, GRACE_MS, MAX_PARTICIPANTS, QUEUE_LIMIT, TALK_LIMIT_S,
};

/// One setting: a key of the TOML file, a flag with dashes instead of underscores, and an
/// environment variable of `MIXMINUS_` and the key in capitals.
///
/// The key, the flag, the variable, the documentation and the output of `--check` all follow from
/// this row. The default is the value in [`Config::default`] and is not repeated.
pub struct Setting {
    /// Name of the setting.
    pub name: &'static str,
    /// Unit or sort of its value.
    pub unit: &'static str,
    /// Description of the setting, in one or more sentences.
    pub help: &'static str,
    /// Kind of the value, with the field of the configuration that holds it.
    pub(super) kind: Kind,
}

impl Setting {
    /// Returns the setting of this name.
    pub(super) fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Returns the flag of the setting, without the two leading dashes.
    pub(super) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Returns the environment variable of the setting.
    pub fn variable(&self) -> String {
        format!("MIXMINUS_{}", self.name.to_uppercase())
    }

    /// Returns the default for readers; `None` if the setting has no default.
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

/// Builds the [`Place`] of a field, for a [`Kind`].
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
        help: "Where HTTP and WebSocket are served.",
        kind: Kind::Address("a port", place!(http)),
    },
    Setting {
        name: "media",
        unit: "address",
        help: "Where audio is received: one UDP port for everybody.",
        kind: Kind::Address("a UDP port", place!(media)),
    },
    Setting {
        name: "announce",
        unit: "addresses",
        help: "Told to clients instead of the host's own addresses, for a server behind NAT.",
        kind: Kind::Addresses(place!(announce)),
    },
    Setting {
        name: "tls_cert",
        unit: "file",
        help: "Certificate chain; HTTP is then served over TLS.",
        kind: Kind::PemFile(place!(tls_cert)),
    },
    Setting {
        name: "tls_key",
        unit: "file",
        help: "Private key of the certificate.",
        kind: Kind::PemFile(place!(tls_key)),
    },
    Setting {
        name: "tls_self_signed",
        unit: "yes or no",
        help: "Serve HTTPS with a certificate made at the start: browsers give no microphone to plain HTTP from elsewhere.",
        kind: Kind::YesNo(place!(tls_self_signed)),
    },
    Setting {
        name: "max_rooms",
        unit: "rooms",
        help: "Most rooms at one time.",
        kind: Kind::Number(1..=100_000, place!(max_rooms)),
    },
    Setting {
        name: "max_participants",
        unit: "participants",
        help: "Most participants of one room, unless the room says otherwise.",
        kind: Kind::Number(MAX_PARTICIPANTS, place!(room.max_participants)),
    },
    Setting {
        name: "max_sessions",
        unit: "participants",
        help: "Most participants of all rooms together.",
        kind: Kind::Number(1..=100_000, place!(max_sessions)),
    },
    Setting {
        name: "open_rooms",
        unit: "yes or no",
        help: "The first join makes a room; otherwise only rooms made by PUT or by this file can be joined.",
        kind: Kind::YesNo(place!(open_rooms)),
    },
    Setting {
        name: "default_profile",
        unit: "name",
        help: "How streams of conferences (modes open and moderated) are encoded, unless the room or the join says otherwise.",
        kind: Kind::Profile(place!(room.default_profiles.conference)),
    },
    Setting {
        name: "default_radio_profile",
        unit: "name",
        help: "The same for radio rooms (all other modes).",
        kind: Kind::Profile(place!(room.default_profiles.radio)),
    },
    Setting {
        name: "hangover_ms",
        unit: "profile=ms",
        help: "How long after the last sound in a room its streams of a profile go on at their full packet rate, so that receivers keep their buffers through the pauses of a conversation.",
        kind: Kind::Hangovers(place!(hangovers)),
    },
    Setting {
        name: "tick_ms",
        unit: "ms",
        help: "How often a room is mixed, unless the room says otherwise.",
        kind: Kind::Tick(place!(room.tick)),
    },
    Setting {
        name: "cors_origins",
        unit: "origins",
        help: "Pages of other sites that may use the interface besides the server's own page.",
        kind: Kind::Origins(place!(cors_origins)),
    },
    Setting {
        name: "hosts",
        unit: "names",
        help: "Names that requests may be sent to, besides IP addresses, localhost, the name of the machine and the names in the certificate. Needed behind a proxy.",
        kind: Kind::Hosts(place!(hosts)),
    },
    Setting {
        name: "trusted_proxies",
        unit: "networks",
        help: "Proxies whose Forwarded or X-Forwarded-For header is believed. Their own connections are not counted by address.",
        kind: Kind::Networks(place!(trusted_proxies)),
    },
    Setting {
        name: "max_connections_per_address",
        unit: "connections",
        help: "Most HTTP connections and WebSockets of one IPv4 address or IPv6 /64 network at one time. The host itself is not counted.",
        kind: Kind::Number(1..=8_192, place!(max_connections_per_address)),
    },
    Setting {
        name: "join_burst",
        unit: "joins",
        help: "How many may come at once: joins from one address.",
        kind: Kind::Burst(place!(rates.joins)),
    },
    Setting {
        name: "join_rate",
        unit: "joins/s",
        help: "How many may come each second in the long run: joins from one address.",
        kind: Kind::PerSecond(place!(rates.joins)),
    },
    Setting {
        name: "room_change_burst",
        unit: "changes",
        help: "How many may come at once: changes of rooms (PUT, PATCH, DELETE) from one address.",
        kind: Kind::Burst(place!(rates.room_changes)),
    },
    Setting {
        name: "room_change_rate",
        unit: "changes/s",
        help: "How many may come each second in the long run: changes of rooms (PUT, PATCH, DELETE) from one address.",
        kind: Kind::PerSecond(place!(rates.room_changes)),
    },
    Setting {
        name: "participant_change_burst",
        unit: "changes",
        help: "How many may come at once: changes of participants over HTTP from one address; muting is not counted.",
        kind: Kind::Burst(place!(rates.participant_changes)),
    },
    Setting {
        name: "participant_change_rate",
        unit: "changes/s",
        help: "How many may come each second in the long run: changes of participants over HTTP from one address; muting is not counted.",
        kind: Kind::PerSecond(place!(rates.participant_changes)),
    },
    Setting {
        name: "message_burst",
        unit: "messages",
        help: "How many may come at once: messages of one WebSocket or session, requests for the floor included.",
        kind: Kind::Burst(place!(rates.messages)),
    },
    Setting {
        name: "message_rate",
        unit: "messages/s",
        help: "How many may come each second in the long run: messages of one WebSocket or session, requests for the floor included.",
        kind: Kind::PerSecond(place!(rates.messages)),
    },
    Setting {
        name: "ice_servers",
        unit: "URLs",
        help: "STUN and TURN servers that clients are told to use.",
        kind: Kind::IceServers(place!(ice_servers)),
    },
    Setting {
        name: "mixers",
        unit: "threads",
        help: "Threads that mix. A room is on one of them; the others help where one has too much to encode.",
        kind: Kind::NumberOrAuto(1..=MOST_MIXERS, "the cores less one", place!(mixers)),
    },
    Setting {
        name: "realtime",
        unit: "yes or no",
        help: "Ask the system for real-time scheduling of the mixers and the network thread, and to keep the program, and the memory it has at the start, from being paged out.",
        kind: Kind::YesNo(place!(realtime)),
    },
    Setting {
        name: "log",
        unit: "filter",
        help: "What is logged, to standard error.",
        kind: Kind::LogFilter(place!(log)),
    },
    Setting {
        name: "gate_db",
        unit: "dBFS",
        help: "Level under which nobody is heard, unless the room says otherwise.",
        kind: Kind::LevelOrOff(GATE_DB, place!(room.gate_db)),
    },
    Setting {
        name: "max_contributors",
        unit: "participants",
        help: "Only this many, the loudest, are heard at one time, unless the room says otherwise.",
        kind: Kind::Cap(CONTRIBUTORS, "everybody", place!(room.max_contributors)),
    },
    Setting {
        name: "default_mode",
        unit: "name",
        help: "Who may talk, unless the room says otherwise: everybody (open), or those who hold the floor.",
        kind: Kind::Mode(place!(room.floor.mode)),
    },
    Setting {
        name: "allow_monitors",
        unit: "yes or no",
        help: "Whether participants of other rooms may listen to a room, unless the room says otherwise.",
        kind: Kind::YesNoOrAuto(
            "true unless the mode is open or moderated",
            place!(room.allow_monitors),
        ),
    },
    Setting {
        name: "talk_limit_s",
        unit: "s",
        help: "How long one may hold the floor (T2), unless the room says otherwise.",
        kind: Kind::SecondsOrZero(
            TALK_LIMIT_S,
            "as long as they like",
            place!(room.floor.talk_limit),
        ),
    },
    Setting {
        name: "end_of_media_ms",
        unit: "ms",
        help: "Who holds the floor and sends nothing for so long has stopped (T1), unless the room says otherwise.",
        kind: Kind::Milliseconds(END_OF_MEDIA_MS, place!(room.floor.end_of_media)),
    },
    Setting {
        name: "grace_ms",
        unit: "ms",
        help: "How long one is still heard whose floor is revoked (T3), unless the room says otherwise.",
        kind: Kind::Milliseconds(GRACE_MS, place!(room.floor.grace)),
    },
    Setting {
        name: "queue_limit",
        unit: "participants",
        help: "Most who wait for the floor, unless the room says otherwise.",
        kind: Kind::Count(QUEUE_LIMIT, place!(room.floor.queue_limit)),
    },
    Setting {
        name: "floor_tones",
        unit: "yes or no",
        help: "Play a tone to whoever gets, is denied or has to give up the floor, unless the room says otherwise.",
        kind: Kind::YesNo(place!(room.floor_tones)),
    },
    Setting {
        name: "implicit_floor",
        unit: "yes or no",
        help: "Talking is asking for the floor, unless the room says otherwise: for clients that can only send audio.",
        kind: Kind::YesNo(place!(room.floor.implicit)),
    },
];
