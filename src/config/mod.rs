//! The configuration: one struct, filled from defaults, a TOML file, the environment and flags;
//! later sources win.
//!
//! Every setting is one row of the table [`SETTINGS`]. Its TOML key, flag, environment variable,
//! documentation, checks and printed form all follow from that row. All mistakes are reported at
//! once, so that the operator can correct them in one go.

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
use mixer::codec::Hangovers;

use crate::protocol::{RoomChange, RoomConfig, RoomName};
use crate::rate_limit::Rates;

pub use flags::SettingFlags;
pub use settings::{SETTINGS, Setting, table};

/// Maximum number of mixer threads; no supported machine has more cores.
const MOST_MIXERS: u32 = 64;

/// The configuration of `mixminus serve`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Address on which HTTP is served.
    pub http: SocketAddr,
    /// UDP address on which media is received.
    pub media: SocketAddr,
    /// Addresses announced to clients instead of the host's own.
    pub announce: Vec<IpAddr>,
    /// Path of the certificate chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Path of the certificate's private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether to serve HTTPS with a certificate generated at the start.
    pub tls_self_signed: bool,
    /// Maximum number of rooms.
    pub max_rooms: u32,
    /// Maximum number of sessions in all rooms together.
    pub max_sessions: u32,
    /// Whether joining a room that does not exist creates it.
    pub open_rooms: bool,
    /// Default settings of rooms, such as `default_profile`, `tick_ms` and `max_participants`.
    pub room: RoomConfig,
    /// How long encoded streams continue after the last sound, per profile.
    pub hangovers: Hangovers,
    /// Origins whose pages may use the HTTP interface, besides the server's own; `*` allows every
    /// page.
    pub cors_origins: Vec<String>,
    /// Host names that requests may be sent to, besides IP addresses, the machine's own name and
    /// the names in the certificate.
    pub hosts: Vec<String>,
    /// Networks of the reverse proxies whose headers are trusted to name the client's address.
    pub trusted_proxies: Vec<IpNet>,
    /// Maximum number of connections per client address at one time.
    pub max_connections_per_address: u32,
    /// Rate limits of the operations that clients can ask for.
    pub rates: Rates,
    /// STUN and TURN servers announced to clients.
    pub ice_servers: Vec<IceServer>,
    /// Log filter, in the syntax of `tracing`.
    pub log: String,
    /// Number of mixer threads; `None` means the number of cores less one.
    pub mixers: Option<u32>,
    /// Whether to run the mixers and the network thread under real-time scheduling, where the
    /// system permits.
    pub realtime: bool,
    /// Permanent rooms that exist from the start.
    pub rooms: Vec<(RoomName, RoomConfig)>,
    /// Links of these rooms with other rooms.
    pub links: BTreeMap<RoomName, Vec<RoomName>>,
}

/// A STUN or TURN server for clients (RFC 7064, RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// URL without credentials; the scheme is `stun:`, `stuns:`, `turn:` or `turns:`.
    pub url: String,
    /// User name and password of a TURN server.
    pub credentials: Option<(String, String)>,
}

/// A mistake in the configuration, as a sentence with the setting, its value and the allowed
/// values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A setting before it is parsed: its key, its values, and their source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSetting {
    /// Name of the setting.
    pub key: String,
    /// The value as text, or several values for a list setting.
    pub values: Vec<String>,
    /// Where the values come from: the file, the flag or the environment variable; for error
    /// messages.
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
    /// Builds the configuration from the defaults, then the TOML text (with the file's name for
    /// error messages), then the values from flags and environment.
    ///
    /// # Errors
    /// All mistakes, as [`ConfigError`]s.
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
        // The default profile of a room depends on the default mode, whichever of the two was set
        // first.
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

    /// Returns whether HTTP is served over TLS.
    pub fn tls(&self) -> bool {
        self.tls_self_signed || self.tls_cert.is_some()
    }

    /// Returns the number of mixer threads: by default all cores but one, which is left to the
    /// network thread and the rest, and at least one.
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
                "{}: invalid {} of `{name}`; it must be {}.",
                given.source,
                parse::shown(kind.is_secret(), &given.values),
                kind.range()
            ))
        })
    }

    /// Returns the mistakes that are combinations of settings, each of which is valid by itself.
    fn contradictions(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problems.push(ConfigError(
                "`tls_cert` and `tls_key` must be set together.".to_owned(),
            ));
        }
        if self.tls_self_signed && self.tls_cert.is_some() {
            problems.push(ConfigError(
                "`tls_self_signed` and `tls_cert` exclude each other; set only one of them."
                    .to_owned(),
            ));
        }
        for path in self.tls_cert.iter().chain(&self.tls_key) {
            if let Err(error) = std::fs::File::open(path) {
                problems.push(ConfigError(format!(
                    "Cannot read the file {}: {error}.",
                    path.display()
                )));
            }
        }
        if self.rooms.len() > self.max_rooms as usize {
            problems.push(ConfigError(format!(
                "{} [[rooms]] are configured, but `max_rooms` allows only {}.",
                self.rooms.len(),
                self.max_rooms
            )));
        }
        for (at, (name, _)) in self.rooms.iter().enumerate() {
            if self.rooms[..at].iter().any(|(earlier, _)| earlier == name) {
                problems.push(ConfigError(format!(
                    "The room {name} is configured twice in [[rooms]]."
                )));
            }
        }
        problems
    }
}

/// Writes the configuration as a TOML file that parses into the same configuration.
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
        Some((distance, name)) if distance <= 3 => format!("; did you mean `{name}`?"),
        _ => ".".to_owned(),
    };
    ConfigError(format!(
        "{}: unknown setting `{}`{hint}",
        given.source, given.key
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
    fn config_without_file_and_flags_is_the_default() {
        assert_eq!(Config::load(None, vec![]), Ok(Config::default()));
    }

    #[test]
    fn printed_default_config_gives_the_defaults_again() {
        let printed = Config::default().to_string();
        let again = Config::load(Some(("printed", &printed)), vec![]);
        assert_eq!(again, Ok(Config::default()));
    }

    #[test]
    fn config_accepts_the_bounds_of_every_range_and_nothing_beyond() {
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
    fn settings_table_in_the_readme_has_a_row_for_every_setting() {
        let table = table();
        assert_eq!(table.lines().count(), SETTINGS.len() + 2);
        assert!(
            table.lines().all(|line| line.matches('|').count() == 6),
            "{table}"
        );
    }

    #[test]
    fn config_flags_win_over_the_file() {
        let text = "http = \"0.0.0.0:80\"\nmax_rooms = 7\ncors_origins = [\"https://a.example\", \"https://b.example\"]";
        let config = Config::load(Some(("f", text)), vec![flag("max_rooms", "8")]).expect("good");
        assert_eq!(config.http.port(), 80);
        assert_eq!(config.max_rooms, 8);
        assert_eq!(config.cors_origins.len(), 2);
    }

    #[test]
    fn config_reports_all_mistakes_at_once_with_key_value_and_range() {
        let told = problems(
            "max_rooms = 0\nhttp = \"nowhere\"\ntick_ms = 15\nlog = 3\nopen_rooms = \"maybe\"",
        );
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(
            told[1],
            "mixminus.toml: invalid value `0` of `max_rooms`; it must be a whole number from 1 to 100,000."
        );
    }

    #[test]
    fn config_errors_never_show_passwords_of_turn_servers() {
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
        let told = problems("announce = [\"turn:u:hunter2@t.example\"]");
        assert!(told[0].contains("invalid value (not shown"), "{told:?}");
    }

    #[test]
    fn unknown_config_keys_come_with_a_hint() {
        assert_eq!(
            problems("max_room = 3"),
            ["mixminus.toml: unknown setting `max_room`; did you mean `max_rooms`?"]
        );
        assert_eq!(
            problems("colour = \"red\""),
            ["mixminus.toml: unknown setting `colour`."]
        );
        assert_eq!(problems("[server]\nhttp = \"1.2.3.4:5\"").len(), 1);
    }

    #[test]
    fn config_syntax_errors_name_the_line() {
        let told = problems("max_rooms = 3\nhttp = ");
        assert!(
            told[0].contains("mixminus.toml") && told[0].contains("line 2"),
            "{told:?}"
        );
    }

    #[test]
    fn configured_rooms_take_omitted_values_from_the_default_settings() {
        let text = "default_profile = \"thin\"\n[[rooms]]\nname = \"lobby\"\n[[rooms]]\nname = \"hall\"\nprofile = \"music\"\nmax_participants = 9\ntick_ms = 10\nmode = \"multi:3\"\ntalk_limit_s = 0";
        let config = Config::load(Some(("f", text)), vec![]).expect("good");
        assert_eq!(config.rooms[0].1.profile, mixer::codec::Profile::Thin);
        assert_eq!(config.rooms[1].1.max_participants, 9);
        let again = config.to_string();
        assert_eq!(Config::load(Some(("again", &again)), vec![]), Ok(config));
    }

    #[test]
    fn config_errors_name_the_faulty_room() {
        assert!(problems("[[rooms]]\nname = \"a b\"")[0].contains("a b"));
        assert!(problems("[[rooms]]\nprofile = \"voice\"")[0].contains("name"));
        assert!(problems("[[rooms]]\nname = \"a\"\ncolour = 3")[0].contains("colour"));
        assert!(problems("[[rooms]]\nname = \"a\"\n[[rooms]]\nname = \"a\"")[0].contains("twice"));
        assert!(problems("rooms = 3")[0].contains("rooms"));
    }

    #[test]
    fn printed_room_without_gate_and_limits_is_read_again() {
        let unlimited = "gate_db = \"off\"\nmax_contributors = 0\ntalk_limit_s = 0\n";
        let text =
            format!("gate_db = -40\nmax_contributors = 3\n[[rooms]]\nname = \"a\"\n{unlimited}");
        let config = Config::load(Some(("f", &text)), vec![]).expect("good");
        let room = config.rooms[0].1;
        assert_eq!((room.gate_db, room.max_contributors), (None, None));
        let again = Config::load(Some(("again", &config.to_string())), vec![]);
        assert_eq!(again, Ok(config));
    }

    #[test]
    fn every_room_setting_has_a_default_in_the_configuration() {
        for setting in crate::protocol::ROOM_SETTINGS {
            let names = [setting.key.to_owned(), format!("default_{}", setting.key)];
            let is_set = |name: &String| SETTINGS.iter().any(|setting| setting.name == name);
            assert!(names.iter().any(is_set), "{}", setting.key);
        }
    }

    #[test]
    fn mixers_setting_is_a_number_or_auto() {
        let of = |text: &str| Config::load(Some(("f", text)), vec![]).map(|config| config.mixers());
        assert_eq!(of("mixers = 3"), Ok(3));
        assert_eq!(of("mixers = \"auto\""), Ok(Config::default().mixers()));
        assert!((1..=64).contains(&Config::default().mixers()));
        for refused in ["0", "65", "-1", "\"all\""] {
            assert_eq!(problems(&format!("mixers = {refused}")).len(), 1);
        }
    }

    #[test]
    fn config_finds_contradicting_settings() {
        assert!(problems("tls_cert = \"/nowhere/cert.pem\"").len() >= 2);
        assert!(
            problems("tls_self_signed = true\ntls_cert = \"/dev/null\"\ntls_key = \"/dev/null\"")
                [0]
            .contains("exclude")
        );
    }

    #[test]
    fn printed_config_gives_the_same_config_again() {
        let text = "announce = [\"192.0.2.7\", \"2001:db8::1\"]\nice_servers = [\"stun:s.example:3478\", \"turn:u:p@t.example\"]\nrealtime = false\ncors_origins = [\"https://a.example\"]";
        let config = Config::load(Some(("f", text)), vec![]).expect("good");
        let again = Config::load(Some(("again", &config.to_string())), vec![]);
        assert_eq!(again, Ok(config));
    }
}
