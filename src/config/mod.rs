//! The configuration: one struct, filled from defaults, a TOML file, the environment and flags, the
//! later winning.
//!
//! Every setting is one row of one table ([`SETTINGS`]). The key of the TOML file, the flag, the
//! variable, the documentation, the checks and what is printed all follow from the row. Everything
//! wrong is found in one go: a person mends a configuration once.

mod file;
mod flags;
mod kind;
mod parse;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mixer::profile::Hangovers;

use crate::protocol::{RoomChange, RoomConfig, RoomName};
use crate::rate_limit::Rates;

pub use flags::SettingFlags;
pub use settings::{SETTINGS, Setting, table};

/// More threads than any machine this is for has cores.
const MOST_MIXERS: u32 = 64;

/// What `mixminus serve` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where media is received, UDP.
    pub media: SocketAddr,
    /// Addresses told to clients instead of the host's own.
    pub announce: Vec<IpAddr>,
    /// Certificate chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    pub tls_key: Option<PathBuf>,
    /// Serve HTTPS with a certificate made at the start.
    pub tls_self_signed: bool,
    /// Most rooms.
    pub max_rooms: u32,
    /// Most participants of all rooms.
    pub max_sessions: u32,
    /// Rooms are made by joining them.
    pub open_rooms: bool,
    /// Settings of a room that says nothing else: `default_profile`, `tick_ms` and `max_participants`.
    pub room: RoomConfig,
    /// How long streams go on after the last sound.
    pub hangovers: Hangovers,
    /// Origins whose pages may use the interface beside the server's own; `*` is every page.
    pub cors_origins: Vec<String>,
    /// Names that requests may be sent to besides addresses, the machine's own name and those in the certificate.
    pub hosts: Vec<String>,
    /// Proxies that are believed when they say for whom they ask.
    pub trusted_proxies: Vec<IpNet>,
    /// Most connections of one address at one time.
    pub max_connections_per_address: u32,
    /// How often clients may do what costs something.
    pub rates: Rates,
    /// STUN and TURN servers that clients are told to use.
    pub ice_servers: Vec<IceServer>,
    /// What is logged, in the words of `tracing`.
    pub log: String,
    /// Threads that mix; `None` is the cores less one.
    pub mixers: Option<u32>,
    /// Run the mixers and the network under real-time scheduling where the system permits.
    pub realtime: bool,
    /// Rooms that are there from the start and stay.
    pub rooms: Vec<(RoomName, RoomConfig)>,
    /// Which of them are linked with which rooms.
    pub links: BTreeMap<RoomName, Vec<RoomName>>,
}

/// A STUN or TURN server for clients (RFC 7064, RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:` or `turn:` URL without credentials.
    pub url: String,
    /// User name and password of a TURN server.
    pub credentials: Option<(String, String)>,
}

/// An error in a configuration, as a sentence with the key, its value and what it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A setting before it is parsed: its key, its values, and where they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSetting {
    /// Name of the key.
    pub key: String,
    /// One value, or several for a list.
    pub values: Vec<String>,
    /// For the sentence about a mistake.
    pub source: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            media: SocketAddr::from(([0, 0, 0, 0], 7882)),
            announce: Vec::new(),
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            max_rooms: 1_000,
            max_sessions: 2_000,
            open_rooms: true,
            room: RoomConfig::default(),
            hangovers: Hangovers::default(),
            cors_origins: Vec::new(),
            hosts: Vec::new(),
            trusted_proxies: vec![
                Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
                Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
            ],
            max_connections_per_address: 256,
            rates: Rates::default(),
            ice_servers: Vec::new(),
            log: "error,mixminus=info".to_owned(),
            mixers: None,
            realtime: true,
            rooms: Vec::new(),
            links: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Builds the configuration: defaults, then the TOML text (with the name it is to be called by), then what flags
    /// and environment gave.
    ///
    /// # Errors
    /// Every [`ConfigError`] there is.
    pub fn load(
        file: Option<(&str, &str)>,
        given: Vec<RawSetting>,
    ) -> Result<Config, Vec<ConfigError>> {
        let mut config = Config::default();
        let mut problems = Vec::new();
        let mut rooms = Vec::new();
        let mut all = Vec::new();
        if let Some((name, text)) = file {
            match file::read(name, text) {
                Ok(read) => {
                    all.extend(read.given);
                    rooms = read.rooms;
                }
                Err(problem) => problems.push(problem),
            }
        }
        all.extend(given);
        for given in &all {
            if let Err(problem) = config.set(given) {
                problems.push(problem);
            }
        }
        // The profile of a room depends on the default mode, whichever of the two was set first.
        config.room = RoomChange::default().over(config.room);
        for room in rooms {
            match file::room(&room, config.room) {
                Ok((name, room, links)) => {
                    if let Some(links) = links {
                        config.links.insert(name.clone(), links);
                    }
                    config.rooms.push((name, room));
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(config.contradictions());
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Whether HTTP is served over TLS.
    pub fn tls(&self) -> bool {
        self.tls_self_signed || self.tls_cert.is_some()
    }

    /// How many threads mix: one core is left to the network and the rest, where there is more than one.
    pub fn mixers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let auto = cores.saturating_sub(1).clamp(1, MOST_MIXERS as usize);
        self.mixers.map_or(auto, |mixers| mixers as usize)
    }

    fn set(&mut self, given: &RawSetting) -> Result<(), ConfigError> {
        let Some(Setting { name, kind, .. }) = Setting::named(&given.key) else {
            return Err(unknown(given));
        };
        let values: Vec<&str> = given.values.iter().map(String::as_str).collect();
        kind.set(self, &values).map_err(|parse::InvalidValue| {
            ConfigError(format!(
                "{name} = {} ({}) cannot be used: it must be {}.",
                parse::shown(kind.is_secret(), &given.values),
                given.source,
                kind.range()
            ))
        })
    }

    /// What is wrong with values that are right each for itself.
    fn contradictions(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problems.push(ConfigError(
                "tls_cert and tls_key go together: give both or neither.".to_owned(),
            ));
        }
        if self.tls_self_signed && self.tls_cert.is_some() {
            problems.push(ConfigError(
                "tls_self_signed and tls_cert exclude each other: give one of them.".to_owned(),
            ));
        }
        for path in self.tls_cert.iter().chain(&self.tls_key) {
            if let Err(error) = std::fs::File::open(path) {
                problems.push(ConfigError(format!(
                    "The file {} cannot be read: {error}.",
                    path.display()
                )));
            }
        }
        if self.rooms.len() > self.max_rooms as usize {
            problems.push(ConfigError(format!(
                "There are {} [[rooms]], more than max_rooms = {}.",
                self.rooms.len(),
                self.max_rooms
            )));
        }
        for (at, (name, _)) in self.rooms.iter().enumerate() {
            if self.rooms[..at].iter().any(|(earlier, _)| earlier == name) {
                problems.push(ConfigError(format!(
                    "The room {name} is there twice in [[rooms]]."
                )));
            }
        }
        problems
    }
}

/// The configuration as a TOML file that would give the same.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Setting { name, kind, .. } in SETTINGS {
            match kind.show(self) {
                Some(value) => writeln!(f, "{name} = {value}")?,
                None => writeln!(f, "# {name} is not set")?,
            }
        }
        for (name, room) in &self.rooms {
            let links = self.links.get(name);
            write!(f, "\n{}", file::show_room(name, room, links))?;
        }
        Ok(())
    }
}

fn unknown(given: &RawSetting) -> ConfigError {
    let nearest = SETTINGS
        .iter()
        .map(|setting| (parse::distance(&given.key, setting.name), setting.name))
        .min();
    let hint = match nearest {
        Some((distance, name)) if distance <= 3 => format!(" Did you mean {name}?"),
        _ => String::new(),
    };
    ConfigError(format!(
        "{} ({}) is no setting of this server.{hint}",
        given.key, given.source
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(key: &str, value: &str) -> RawSetting {
        RawSetting {
            key: key.into(),
            values: vec![value.into()],
            source: format!("--{key}"),
        }
    }

    fn problems(text: &str) -> Vec<String> {
        let problems = Config::load(Some(("mixminus.toml", text)), vec![]).expect_err(text);
        problems.into_iter().map(|problem| problem.0).collect()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Config::load(None, vec![]), Ok(Config::default()));
    }

    #[test]
    fn the_printed_defaults_give_the_defaults_again() {
        let printed = Config::default().to_string();
        let again = Config::load(Some(("printed", &printed)), vec![]);
        assert_eq!(again, Ok(Config::default()));
    }

    #[test]
    fn the_bounds_of_every_range_are_taken_and_what_is_beyond_them_is_not() {
        let mut checked = 0;
        for Setting { name, kind, .. } in SETTINGS {
            let range = kind.range().replace(',', "");
            let words: Vec<&str> = range.split_whitespace().collect();
            let numbers = words.iter().filter_map(|word| word.parse::<i64>().ok());
            let numbers: Vec<i64> = numbers.collect();
            let (Some(least), Some(most)) = (numbers.first(), numbers.last()) else {
                continue;
            };
            let given = |number: i64| match kind.is_list() {
                true => flag(name, &format!("voice={number}")),
                false => flag(name, &number.to_string()),
            };
            for number in [*least, *most] {
                let config = Config::load(None, vec![given(number)]).expect(name);
                let shown = kind.show(&config).expect("it was given");
                assert!(shown.contains(&number.to_string()), "{name}: {shown}");
            }
            for number in [least - 1, most + 1] {
                let told = Config::load(None, vec![given(number)]).expect_err(name);
                assert!(told[0].0.contains("it must be"), "{told:?}");
            }
            checked += 1;
        }
        assert!(checked >= 20, "{checked}");
    }

    #[test]
    fn the_table_for_readers_has_a_row_for_every_key() {
        let table = table();
        assert_eq!(table.lines().count(), SETTINGS.len() + 2);
        assert!(
            table.lines().all(|line| line.matches('|').count() == 6),
            "{table}"
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "http = \"0.0.0.0:80\"\nmax_rooms = 7\ncors_origins = [\"https://a.example\", \"https://b.example\"]";
        let config = Config::load(Some(("f", text)), vec![flag("max_rooms", "8")]).expect("good");
        assert_eq!(config.http.port(), 80);
        assert_eq!(config.max_rooms, 8);
        assert_eq!(config.cors_origins.len(), 2);
    }

    #[test]
    fn every_problem_is_told_at_once_with_key_value_and_range() {
        let told = problems(
            "max_rooms = 0\nhttp = \"nowhere\"\ntick_ms = 15\nlog = 3\nopen_rooms = \"maybe\"",
        );
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(
            told[1],
            "max_rooms = 0 (mixminus.toml) cannot be used: it must be a whole number from 1 to 100,000."
        );
    }

    #[test]
    fn passwords_of_turn_servers_are_never_shown() {
        for text in [
            "ice_servers = [\"turn:u:hunter2@t.example\", \"turn:u:hunter2\"]",
            "ice_servers = [\"turn:u:hunter2@\"]",
            "ice_servers = [\"stun:u:hunter2@t.example\"]",
            "ice_servers = \"hunter2\"",
            "announce = [\"turn:u:hunter2@t.example\"]",
            "ice_server = [\"turn:u:hunter2@t.example\"]",
        ] {
            let told = problems(text).join(" ");
            assert!(!told.contains("hunter2"), "{told}");
        }
        let told = problems("ice_servers = [\"stun:s.example\", \"turn:t.example\"]");
        assert!(told[0].contains("value 2 of 2"), "{told:?}");
    }

    #[test]
    fn unknown_keys_come_with_a_hint() {
        assert_eq!(
            problems("max_room = 3"),
            ["max_room (mixminus.toml) is no setting of this server. Did you mean max_rooms?"]
        );
        assert_eq!(
            problems("colour = \"red\""),
            ["colour (mixminus.toml) is no setting of this server."]
        );
        assert_eq!(problems("[server]\nhttp = \"1.2.3.4:5\"").len(), 1);
    }

    #[test]
    fn broken_files_are_told_with_their_line() {
        let told = problems("max_rooms = 3\nhttp = ");
        assert!(
            told[0].contains("mixminus.toml") && told[0].contains("line 2"),
            "{told:?}"
        );
    }

    #[test]
    fn rooms_are_read_over_the_defaults() {
        let text = "default_profile = \"thin\"\n[[rooms]]\nname = \"lobby\"\n[[rooms]]\nname = \"hall\"\nprofile = \"music\"\nmax_participants = 9\ntick_ms = 10\nmode = \"multi:3\"\ntalk_limit_s = 0";
        let config = Config::load(Some(("f", text)), vec![]).expect("good");
        assert_eq!(config.rooms[0].1.profile, mixer::profile::Profile::Thin);
        assert_eq!(config.rooms[1].1.max_participants, 9);
        let again = config.to_string();
        assert_eq!(Config::load(Some(("again", &again)), vec![]), Ok(config));
    }

    #[test]
    fn bad_rooms_are_named() {
        assert!(problems("[[rooms]]\nname = \"a b\"")[0].contains("a b"));
        assert!(problems("[[rooms]]\nprofile = \"voice\"")[0].contains("name"));
        assert!(problems("[[rooms]]\nname = \"a\"\ncolour = 3")[0].contains("colour"));
        assert!(problems("[[rooms]]\nname = \"a\"\n[[rooms]]\nname = \"a\"")[0].contains("twice"));
        assert!(problems("rooms = 3")[0].contains("rooms"));
    }

    #[test]
    fn mixers_are_counted_or_left_to_the_machine() {
        let of = |text: &str| Config::load(Some(("f", text)), vec![]).map(|config| config.mixers());
        assert_eq!(of("mixers = 3"), Ok(3));
        assert_eq!(of("mixers = \"auto\""), Ok(Config::default().mixers()));
        assert!((1..=64).contains(&Config::default().mixers()));
        for refused in ["0", "65", "-1", "\"all\""] {
            assert_eq!(problems(&format!("mixers = {refused}")).len(), 1);
        }
    }

    #[test]
    fn contradictions_are_found() {
        assert!(problems("tls_cert = \"/nowhere/cert.pem\"").len() >= 2);
        assert!(
            problems("tls_self_signed = true\ntls_cert = \"/dev/null\"\ntls_key = \"/dev/null\"")
                [0]
            .contains("exclude")
        );
    }

    #[test]
    fn the_printed_configuration_gives_the_same_again() {
        let text = "announce = [\"192.0.2.7\", \"2001:db8::1\"]\nice_servers = [\"stun:s.example:3478\", \"turn:u:p@t.example\"]\nrealtime = false\ncors_origins = [\"https://a.example\"]";
        let config = Config::load(Some(("f", text)), vec![]).expect("good");
        let again = Config::load(Some(("again", &config.to_string())), vec![]);
        assert_eq!(again, Ok(config));
    }
}
