//! The table of all settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use mixer::format::TickLength;
use mixer::profile::{Hangovers, Profile};

use super::parse::{
    InvalidValue, address, boolean, hosts, ice_servers, ips, networks, number, one, origins, path,
    quoted, quoted_list, show_ice_server,
};
use super::{Config, MOST_MIXERS};
use crate::floor::Mode;
use crate::protocol::{
    END_OF_MEDIA_MS, GRACE_MS, QUEUE_LIMIT, TALK_LIMIT_S, ms, profile_named, talk_limit,
};
use crate::rate_limit::Rate;

/// One setting: a key of the TOML file, a flag with dashes for underscores, and `MIXMINUS_` in capitals.
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Unit of its value, or what kind it is.
    pub unit: &'static str,
    /// What it is when nobody says otherwise.
    pub default: &'static str,
    /// What it may be, to follow "must be".
    pub range: &'static str,
    /// What it does.
    pub help: &'static str,
    pub(super) set: fn(&mut Config, &[&str]) -> Result<(), InvalidValue>,
    pub(crate) show: fn(&Config) -> Option<String>,
}

/// Every setting as a table in Markdown, for the README.
pub fn table() -> String {
    let mut table =
        "| setting | unit | default | what it may be | what it does |\n|---|---|---|---|---|\n"
            .to_owned();
    for key in &SETTINGS {
        let default = match key.default {
            "" => "none".to_owned(),
            "[]" => "empty".to_owned(),
            default => format!("`{default}`"),
        };
        table += &format!(
            "| `{}` | {} | {default} | {} | {} |\n",
            key.name, key.unit, key.range, key.help
        );
    }
    table
}

/// Every setting, in the order in which they are printed.
pub const SETTINGS: [Setting; 40] = [
    Setting {
        name: "http",
        unit: "address",
        default: "127.0.0.1:8080",
        range: "an IP address and a port such as 127.0.0.1:8080",
        help: "Where HTTP and WebSocket are served.",
        set: |config, values| address(values).map(|value| config.http = value),
        show: |config| Some(quoted(config.http)),
    },
    Setting {
        name: "media",
        unit: "address",
        default: "0.0.0.0:7882",
        range: "an IP address and a UDP port such as 0.0.0.0:7882",
        help: "Where audio is received: one UDP port for everybody.",
        set: |config, values| address(values).map(|value| config.media = value),
        show: |config| Some(quoted(config.media)),
    },
    Setting {
        name: "announce",
        unit: "addresses",
        default: "[]",
        range: "IP addresses that clients can reach",
        help: "Told to clients instead of the host's own addresses, for a server behind NAT.",
        set: |config, values| ips(values).map(|value| config.announce = value),
        show: |config| Some(quoted_list(&config.announce)),
    },
    Setting {
        name: "tls_cert",
        unit: "file",
        default: "",
        range: "the path of a PEM file",
        help: "Certificate chain; HTTP is then served over TLS.",
        set: |config, values| path(values).map(|value| config.tls_cert = value),
        show: |config| config.tls_cert.as_ref().map(|path| quoted(path.display())),
    },
    Setting {
        name: "tls_key",
        unit: "file",
        default: "",
        range: "the path of a PEM file",
        help: "Private key of the certificate.",
        set: |config, values| path(values).map(|value| config.tls_key = value),
        show: |config| config.tls_key.as_ref().map(|path| quoted(path.display())),
    },
    Setting {
        name: "tls_self_signed",
        unit: "yes or no",
        default: "false",
        range: "true or false",
        help: "Serve HTTPS with a certificate made at the start: browsers give no microphone to plain HTTP from elsewhere.",
        set: |config, values| boolean(values).map(|value| config.tls_self_signed = value),
        show: |config| Some(config.tls_self_signed.to_string()),
    },
    Setting {
        name: "max_rooms",
        unit: "rooms",
        default: "1000",
        range: "a whole number from 1 to 100,000",
        help: "Most rooms at one time.",
        set: |config, values| number(values, 1..=100_000).map(|value| config.max_rooms = value),
        show: |config| Some(config.max_rooms.to_string()),
    },
    Setting {
        name: "max_participants",
        unit: "participants",
        default: "200",
        range: "a whole number from 1 to 10,000",
        help: "Most participants of one room, unless the room says otherwise.",
        set: |config, values| {
            number(values, 1..=10_000).map(|value| config.room.max_participants = value)
        },
        show: |config| Some(config.room.max_participants.to_string()),
    },
    Setting {
        name: "max_sessions",
        unit: "participants",
        default: "2000",
        range: "a whole number from 1 to 100,000",
        help: "Most participants of all rooms together.",
        set: |config, values| number(values, 1..=100_000).map(|value| config.max_sessions = value),
        show: |config| Some(config.max_sessions.to_string()),
    },
    Setting {
        name: "open_rooms",
        unit: "yes or no",
        default: "true",
        range: "true or false",
        help: "The first join makes a room; otherwise only rooms made by PUT or by this file can be joined.",
        set: |config, values| boolean(values).map(|value| config.open_rooms = value),
        show: |config| Some(config.open_rooms.to_string()),
    },
    Setting {
        name: "default_profile",
        unit: "name",
        default: "voice",
        range: "voice, radio, low-delay, thin or music",
        help: "How streams of conferences (modes open and moderated) are encoded, unless the room or the join says otherwise.",
        set: |config, values| {
            profile(values).map(|value| config.room.default_profiles.conference = value)
        },
        show: |config| Some(quoted(config.room.default_profiles.conference)),
    },
    Setting {
        name: "default_radio_profile",
        unit: "name",
        default: "radio",
        range: "voice, radio, low-delay, thin or music",
        help: "The same for radio rooms (all other modes).",
        set: |config, values| {
            profile(values).map(|value| config.room.default_profiles.radio = value)
        },
        show: |config| Some(quoted(config.room.default_profiles.radio)),
    },
    Setting {
        name: "hangover_ms",
        unit: "profile=ms",
        default: "[\"voice=6000\", \"radio=6000\", \"low-delay=6000\", \"thin=0\", \"music=6000\"]",
        range: "profiles with a number of milliseconds from 0 to 60,000, such as voice=6000",
        help: "How long after the last sound in a room its streams of a profile go on at their full packet rate, so that receivers keep their buffers through the pauses of a conversation.",
        set: |config, values| hangovers(values).map(|value| config.hangovers = value),
        show: |config| Some(quoted_list(&show_hangovers(&config.hangovers))),
    },
    Setting {
        name: "tick_ms",
        unit: "ms",
        default: "20",
        range: "10 or 20",
        help: "How often a room is mixed, unless the room says otherwise.",
        set: |config, values| tick(values).map(|value| config.room.tick = value),
        show: |config| Some(config.room.tick.ms().to_string()),
    },
    Setting {
        name: "cors_origins",
        unit: "origins",
        default: "[]",
        range: "origins such as https://example.org, or * for all",
        help: "Pages of other sites that may use the interface besides the server's own page.",
        set: |config, values| origins(values).map(|value| config.cors_origins = value),
        show: |config| Some(quoted_list(&config.cors_origins)),
    },
    Setting {
        name: "hosts",
        unit: "names",
        default: "[]",
        range: "host names without a port such as mix.example.org or *.example.org, or * for all",
        help: "Names that requests may be sent to, besides IP addresses, localhost, the name of the machine and the names in the certificate. Needed behind a proxy.",
        set: |config, values| hosts(values).map(|value| config.hosts = value),
        show: |config| Some(quoted_list(&config.hosts)),
    },
    Setting {
        name: "trusted_proxies",
        unit: "networks",
        default: r#"["127.0.0.0/8", "::1/128"]"#,
        range: "addresses or networks such as 10.0.0.0/8",
        help: "Proxies whose Forwarded or X-Forwarded-For header is believed. Their own connections are not counted by address.",
        set: |config, values| networks(values).map(|value| config.trusted_proxies = value),
        show: |config| Some(quoted_list(&config.trusted_proxies)),
    },
    Setting {
        name: "max_connections_per_address",
        unit: "connections",
        default: "256",
        range: "a whole number from 1 to 8,192",
        help: "Most HTTP connections and WebSockets of one IPv4 address or IPv6 /64 network at one time. The host itself is not counted.",
        set: |config, values| {
            number(values, 1..=8_192).map(|value| config.max_connections_per_address = value)
        },
        show: |config| Some(config.max_connections_per_address.to_string()),
    },
    Setting {
        name: "join_burst",
        unit: "joins",
        default: "2500",
        range: "a whole number from 1 to 1,000,000",
        help: "How many may come at once: joins from one address.",
        set: |config, values| set_burst(&mut config.rates.joins, values),
        show: |config| Some(config.rates.joins.burst.to_string()),
    },
    Setting {
        name: "join_rate",
        unit: "joins/s",
        default: "20",
        range: "a whole number from 1 to 10,000",
        help: "How many may come each second in the long run: joins from one address.",
        set: |config, values| set_rate(&mut config.rates.joins, values),
        show: |config| Some(config.rates.joins.per_second().to_string()),
    },
    Setting {
        name: "room_change_burst",
        unit: "changes",
        default: "1500",
        range: "a whole number from 1 to 1,000,000",
        help: "How many may come at once: changes of rooms (PUT, PATCH, DELETE) from one address.",
        set: |config, values| set_burst(&mut config.rates.room_changes, values),
        show: |config| Some(config.rates.room_changes.burst.to_string()),
    },
    Setting {
        name: "room_change_rate",
        unit: "changes/s",
        default: "10",
        range: "a whole number from 1 to 10,000",
        help: "How many may come each second in the long run: changes of rooms (PUT, PATCH, DELETE) from one address.",
        set: |config, values| set_rate(&mut config.rates.room_changes, values),
        show: |config| Some(config.rates.room_changes.per_second().to_string()),
    },
    Setting {
        name: "participant_change_burst",
        unit: "changes",
        default: "200",
        range: "a whole number from 1 to 1,000,000",
        help: "How many may come at once: changes of participants over HTTP from one address; muting is not counted.",
        set: |config, values| set_burst(&mut config.rates.participant_changes, values),
        show: |config| Some(config.rates.participant_changes.burst.to_string()),
    },
    Setting {
        name: "participant_change_rate",
        unit: "changes/s",
        default: "20",
        range: "a whole number from 1 to 10,000",
        help: "How many may come each second in the long run: changes of participants over HTTP from one address; muting is not counted.",
        set: |config, values| set_rate(&mut config.rates.participant_changes, values),
        show: |config| Some(config.rates.participant_changes.per_second().to_string()),
    },
    Setting {
        name: "message_burst",
        unit: "messages",
        default: "20",
        range: "a whole number from 1 to 1,000,000",
        help: "How many may come at once: messages of one WebSocket or session, requests for the floor included.",
        set: |config, values| set_burst(&mut config.rates.messages, values),
        show: |config| Some(config.rates.messages.burst.to_string()),
    },
    Setting {
        name: "message_rate",
        unit: "messages/s",
        default: "10",
        range: "a whole number from 1 to 10,000",
        help: "How many may come each second in the long run: messages of one WebSocket or session, requests for the floor included.",
        set: |config, values| set_rate(&mut config.rates.messages, values),
        show: |config| Some(config.rates.messages.per_second().to_string()),
    },
    Setting {
        name: "ice_servers",
        unit: "URLs",
        default: "[]",
        range: "URLs such as stun:stun.example.org:3478 or turn:user:password@turn.example.org:3478",
        help: "STUN and TURN servers that clients are told to use.",
        set: |config, values| ice_servers(values).map(|value| config.ice_servers = value),
        show: |config| {
            let servers: Vec<String> = config.ice_servers.iter().map(show_ice_server).collect();
            Some(quoted_list(&servers))
        },
    },
    Setting {
        name: "mixers",
        unit: "threads",
        default: "auto",
        range: "a whole number from 1 to 64, or auto (the cores less one)",
        help: "Threads that mix. A room is on one of them; the others help where one has too much to encode.",
        set: |config, values| mixers(values).map(|value| config.mixers = value),
        show: |config| {
            Some(
                config
                    .mixers
                    .map_or(quoted("auto"), |mixers| mixers.to_string()),
            )
        },
    },
    Setting {
        name: "realtime",
        unit: "yes or no",
        default: "true",
        range: "true or false",
        help: "Ask the system for real-time scheduling of the mixers and the network thread, and to keep the program, and the memory it has at the start, from being paged out.",
        set: |config, values| boolean(values).map(|value| config.realtime = value),
        show: |config| Some(config.realtime.to_string()),
    },
    Setting {
        name: "log",
        unit: "filter",
        default: "error,mixminus=info",
        range: "a filter such as debug or mixminus=debug",
        help: "What is logged, to standard error.",
        set: |config, values| log(values).map(|value| config.log = value),
        show: |config| Some(quoted(&config.log)),
    },
    Setting {
        name: "gate_db",
        unit: "dBFS",
        default: "-50",
        range: "a whole number from -90 to -10, or off",
        help: "Level under which nobody is heard, unless the room says otherwise.",
        set: |config, values| gate(values).map(|value| config.room.gate_db = value),
        show: |config| {
            Some(
                config
                    .room
                    .gate_db
                    .map_or(quoted("off"), |db| format!("{db:.0}")),
            )
        },
    },
    Setting {
        name: "max_contributors",
        unit: "participants",
        default: "0",
        range: "a whole number from 0 (everybody) to 1,000",
        help: "Only this many, the loudest, are heard at one time, unless the room says otherwise.",
        set: |config, values| {
            let most = number(values, 0..=1_000)?;
            config.room.max_contributors = (most > 0).then_some(most as u16);
            Ok(())
        },
        show: |config| Some(config.room.max_contributors.unwrap_or(0).to_string()),
    },
    Setting {
        name: "default_mode",
        unit: "name",
        default: "open",
        range: "open, ptt, multi:1 to multi:100, cut-in, broadcast or moderated",
        help: "Who may talk, unless the room says otherwise: everybody (open), or those who hold the floor.",
        set: |config, values| mode(values).map(|value| config.room.floor.mode = value),
        show: |config| Some(quoted(config.room.floor.mode)),
    },
    Setting {
        name: "allow_monitors",
        unit: "yes or no",
        default: "auto",
        range: "true, false or auto (true unless the mode is open or moderated)",
        help: "Whether participants of other rooms may listen to a room, unless the room says otherwise.",
        set: |config, values| monitors(values).map(|value| config.room.allow_monitors = value),
        show: |config| {
            let allow = config.room.allow_monitors;
            Some(allow.map_or(quoted("auto"), |allow| allow.to_string()))
        },
    },
    Setting {
        name: "talk_limit_s",
        unit: "s",
        default: "30",
        range: "a whole number from 0 (as long as they like) to 3,600",
        help: "How long one may hold the floor (T2), unless the room says otherwise.",
        set: |config, values| {
            let limit = number(values, TALK_LIMIT_S)?;
            config.room.floor.talk_limit = talk_limit(limit);
            Ok(())
        },
        show: |config| {
            let limit = config.room.floor.talk_limit;
            Some(limit.map_or(0, |limit| limit.as_secs()).to_string())
        },
    },
    Setting {
        name: "end_of_media_ms",
        unit: "ms",
        default: "2000",
        range: "a whole number from 500 to 60,000",
        help: "Who holds the floor and sends nothing for so long has stopped (T1), unless the room says otherwise.",
        set: |config, values| {
            let value = milliseconds(values, END_OF_MEDIA_MS)?;
            config.room.floor.end_of_media = value;
            Ok(())
        },
        show: |config| Some(ms(config.room.floor.end_of_media).to_string()),
    },
    Setting {
        name: "grace_ms",
        unit: "ms",
        default: "3000",
        range: "a whole number from 0 to 30,000",
        help: "How long one is still heard whose floor is revoked (T3), unless the room says otherwise.",
        set: |config, values| {
            milliseconds(values, GRACE_MS).map(|value| config.room.floor.grace = value)
        },
        show: |config| Some(ms(config.room.floor.grace).to_string()),
    },
    Setting {
        name: "queue_limit",
        unit: "participants",
        default: "10",
        range: "a whole number from 0 to 1,000",
        help: "Most who wait for the floor, unless the room says otherwise.",
        set: |config, values| {
            number(values, QUEUE_LIMIT).map(|value| config.room.floor.queue_limit = value as u16)
        },
        show: |config| Some(config.room.floor.queue_limit.to_string()),
    },
    Setting {
        name: "floor_tones",
        unit: "yes or no",
        default: "false",
        range: "true or false",
        help: "Play a tone to whoever gets, is denied or has to give up the floor, unless the room says otherwise.",
        set: |config, values| boolean(values).map(|value| config.room.floor_tones = value),
        show: |config| Some(config.room.floor_tones.to_string()),
    },
    Setting {
        name: "implicit_floor",
        unit: "yes or no",
        default: "false",
        range: "true or false",
        help: "Talking is asking for the floor, unless the room says otherwise: for clients that can only send audio.",
        set: |config, values| boolean(values).map(|value| config.room.floor.implicit = value),
        show: |config| Some(config.room.floor.implicit.to_string()),
    },
];

fn mode(values: &[&str]) -> Result<Mode, InvalidValue> {
    Mode::parse(one(values)?).ok_or(InvalidValue)
}

fn set_burst(rate: &mut Rate, values: &[&str]) -> Result<(), InvalidValue> {
    rate.burst = number(values, 1..=1_000_000)?;
    Ok(())
}

fn set_rate(rate: &mut Rate, values: &[&str]) -> Result<(), InvalidValue> {
    *rate = Rate::new(rate.burst, number(values, 1..=10_000)?);
    Ok(())
}

fn monitors(values: &[&str]) -> Result<Option<bool>, InvalidValue> {
    match one(values)? {
        "auto" => Ok(None),
        _ => boolean(values).map(Some),
    }
}

fn milliseconds(values: &[&str], range: RangeInclusive<u32>) -> Result<Duration, InvalidValue> {
    number(values, range).map(|ms| Duration::from_millis(ms.into()))
}

fn profile(values: &[&str]) -> Result<Profile, InvalidValue> {
    profile_named(one(values)?).ok_or(InvalidValue)
}

/// `voice=6000`: the profiles that are not named keep theirs.
fn hangovers(values: &[&str]) -> Result<Hangovers, InvalidValue> {
    let mut hangovers = Hangovers::default();
    for value in values {
        let (name, ms) = value.split_once('=').ok_or(InvalidValue)?;
        let profile = profile_named(name.trim()).ok_or(InvalidValue)?;
        hangovers.set_ms(profile, number(&[ms.trim()], 0..=60_000)?);
    }
    Ok(hangovers)
}

fn show_hangovers(hangovers: &Hangovers) -> Vec<String> {
    let shown = |profile| format!("{profile}={}", hangovers.of_ms(profile));
    Profile::ALL.map(shown).into()
}

fn tick(values: &[&str]) -> Result<TickLength, InvalidValue> {
    match one(values)? {
        "10" => Ok(TickLength::Ms10),
        "20" => Ok(TickLength::Ms20),
        _ => Err(InvalidValue),
    }
}

fn mixers(values: &[&str]) -> Result<Option<u32>, InvalidValue> {
    match one(values)? {
        "auto" => Ok(None),
        _ => number(values, 1..=MOST_MIXERS).map(Some),
    }
}

fn gate(values: &[&str]) -> Result<Option<f32>, InvalidValue> {
    let value = one(values)?;
    if value == "off" {
        return Ok(None);
    }
    let db: i32 = value.parse().map_err(|_| InvalidValue)?;
    if (-90..=-10).contains(&db) {
        Ok(Some(db as f32))
    } else {
        Err(InvalidValue)
    }
}

fn log(values: &[&str]) -> Result<String, InvalidValue> {
    let filter = one(values)?;
    match tracing_subscriber::EnvFilter::try_new(filter) {
        Ok(_) if !filter.is_empty() => Ok(filter.to_owned()),
        _ => Err(InvalidValue),
    }
}
