//! The command line: what can be said, and the exit status it ends with.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the brackets in the flags' texts are for the terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::config::{Config, ConfigError, RawSetting};
use crate::http::Tls;
use crate::join::{self, JoinArgs};
use crate::server;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "mixminus",
    version,
    about = "An audio-only MCU: everybody hears everybody but themselves"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Box<Serve>),
    /// Join a room without a browser
    Join(Box<JoinArgs>),
    /// Measure a mixing server: what it costs, how long it takes, when it fails
    Bench(Box<BenchArgs>),
}

/// Flags of `mixminus serve`. Every setting is text here; the table of keys understands them all in one place.
#[derive(Debug, Default, Args)]
pub struct Serve {
    /// TOML file with any of the settings below, underscores for dashes, and tables of rooms
    #[arg(long, env = "MIXMINUS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say what is wrong with the configuration, or print it, and end
    #[arg(long)]
    pub check: bool,
    /// Where HTTP and WebSocket are served (default: 127.0.0.1:8080)
    #[arg(long, env = "MIXMINUS_HTTP", value_name = "ADDR")]
    pub http: Option<String>,
    /// Where audio is received, UDP (default: 0.0.0.0:7882)
    #[arg(long, env = "MIXMINUS_MEDIA", value_name = "ADDR")]
    pub media: Option<String>,
    /// Addresses told to clients instead of the host's own; repeatable, or with commas
    #[arg(
        long,
        env = "MIXMINUS_ANNOUNCE",
        value_name = "IP",
        value_delimiter = ','
    )]
    pub announce: Vec<String>,
    /// Certificate chain, PEM; HTTP is then served over TLS
    #[arg(long, env = "MIXMINUS_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key of the certificate, PEM
    #[arg(long, env = "MIXMINUS_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Serve HTTPS with a certificate made at the start
    #[arg(long, env = "MIXMINUS_TLS_SELF_SIGNED", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_self_signed: Option<String>,
    /// Most rooms at one time (default: 1000)
    #[arg(long, env = "MIXMINUS_MAX_ROOMS", value_name = "N")]
    pub max_rooms: Option<String>,
    /// Most participants of one room (default: 200)
    #[arg(long, env = "MIXMINUS_MAX_PARTICIPANTS", value_name = "N")]
    pub max_participants: Option<String>,
    /// Most participants of all rooms (default: 2000)
    #[arg(long, env = "MIXMINUS_MAX_SESSIONS", value_name = "N")]
    pub max_sessions: Option<String>,
    /// Whether the first join makes a room (default: true)
    #[arg(long, env = "MIXMINUS_OPEN_ROOMS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub open_rooms: Option<String>,
    /// How streams of conferences are encoded: voice, radio, low-delay, thin, music (default: voice)
    #[arg(long, env = "MIXMINUS_DEFAULT_PROFILE", value_name = "NAME")]
    pub default_profile: Option<String>,
    /// How streams of radio rooms are encoded: voice, radio, low-delay, thin, music (default: radio)
    #[arg(long, env = "MIXMINUS_DEFAULT_RADIO_PROFILE", value_name = "NAME")]
    pub default_radio_profile: Option<String>,
    /// How long a profile's streams go on after the last sound in a room, such as voice=6000; repeatable
    #[arg(
        long,
        env = "MIXMINUS_HANGOVER_MS",
        value_name = "PROFILE=MS",
        value_delimiter = ','
    )]
    pub hangover_ms: Vec<String>,
    /// How often a room is mixed, 10 or 20 ms (default: 20)
    #[arg(long, env = "MIXMINUS_TICK_MS", value_name = "MS")]
    pub tick_ms: Option<String>,
    /// Origins whose pages may use the interface; repeatable, or with commas (default: none but its own page)
    #[arg(
        long = "cors-origins",
        alias = "cors-origin",
        env = "MIXMINUS_CORS_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<String>,
    /// Names that requests may be sent to, besides addresses and the machine's own; repeatable, or with commas
    #[arg(
        long,
        alias = "host",
        env = "MIXMINUS_HOSTS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub hosts: Vec<String>,
    /// Proxies whose Forwarded or X-Forwarded-For is believed; repeatable, or with commas (default: this host)
    #[arg(
        long,
        env = "MIXMINUS_TRUSTED_PROXIES",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<String>,
    /// Most connections of one address at one time (default: 256)
    #[arg(long, env = "MIXMINUS_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub max_connections_per_address: Option<String>,
    /// How many may come at once: joins from one address (default: 2500)
    #[arg(long, env = "MIXMINUS_JOIN_BURST", value_name = "N")]
    pub join_burst: Option<String>,
    /// How many may come each second: joins from one address (default: 20)
    #[arg(long, env = "MIXMINUS_JOIN_RATE", value_name = "N")]
    pub join_rate: Option<String>,
    /// How many may come at once: changes of rooms from one address (default: 1500)
    #[arg(long, env = "MIXMINUS_ROOM_CHANGE_BURST", value_name = "N")]
    pub room_change_burst: Option<String>,
    /// How many may come each second: changes of rooms from one address (default: 10)
    #[arg(long, env = "MIXMINUS_ROOM_CHANGE_RATE", value_name = "N")]
    pub room_change_rate: Option<String>,
    /// How many may come at once: changes of participants over HTTP from one address (default: 200)
    #[arg(long, env = "MIXMINUS_PARTICIPANT_CHANGE_BURST", value_name = "N")]
    pub participant_change_burst: Option<String>,
    /// How many may come each second: changes of participants over HTTP from one address (default: 20)
    #[arg(long, env = "MIXMINUS_PARTICIPANT_CHANGE_RATE", value_name = "N")]
    pub participant_change_rate: Option<String>,
    /// How many may come at once: messages of one WebSocket or session (default: 20)
    #[arg(long, env = "MIXMINUS_MESSAGE_BURST", value_name = "N")]
    pub message_burst: Option<String>,
    /// How many may come each second: messages of one WebSocket or session (default: 10)
    #[arg(long, env = "MIXMINUS_MESSAGE_RATE", value_name = "N")]
    pub message_rate: Option<String>,
    /// STUN and TURN servers that clients are told to use; repeatable, or with commas
    #[arg(
        long = "ice-servers",
        alias = "ice-server",
        env = "MIXMINUS_ICE_SERVERS",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub ice_servers: Vec<String>,
    /// Threads that mix, or auto: the cores less one (default: auto)
    #[arg(long, env = "MIXMINUS_MIXERS", value_name = "N")]
    pub mixers: Option<String>,
    /// Ask for real-time scheduling (default: true)
    #[arg(long, env = "MIXMINUS_REALTIME", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub realtime: Option<String>,
    /// What is logged (default: error,mixminus=info)
    #[arg(long, env = "MIXMINUS_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Level under which nobody is heard, dBFS, or off (default: -50)
    #[arg(
        long,
        env = "MIXMINUS_GATE_DB",
        value_name = "DB",
        allow_hyphen_values = true
    )]
    pub gate_db: Option<String>,
    /// Only this many, the loudest, are heard at one time; 0 is everybody (default: 0)
    #[arg(long, env = "MIXMINUS_MAX_CONTRIBUTORS", value_name = "N")]
    pub max_contributors: Option<String>,
    /// Who may talk: open, ptt, multi:N, cut-in, broadcast, moderated (default: open)
    #[arg(long, env = "MIXMINUS_DEFAULT_MODE", value_name = "MODE")]
    pub default_mode: Option<String>,
    /// Whether participants of other rooms may listen to a room: true, false or auto (default: auto)
    #[arg(long, env = "MIXMINUS_ALLOW_MONITORS", value_name = "BOOL|auto", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_monitors: Option<String>,
    /// How long one may hold the floor; 0 is as long as they like (default: 30)
    #[arg(long, env = "MIXMINUS_TALK_LIMIT_S", value_name = "S")]
    pub talk_limit_s: Option<String>,
    /// Who holds the floor and sends nothing for so long has stopped (default: 2000)
    #[arg(long, env = "MIXMINUS_END_OF_MEDIA_MS", value_name = "MS")]
    pub end_of_media_ms: Option<String>,
    /// How long one is still heard whose floor is revoked (default: 3000)
    #[arg(long, env = "MIXMINUS_GRACE_MS", value_name = "MS")]
    pub grace_ms: Option<String>,
    /// Most who wait for the floor (default: 10)
    #[arg(long, env = "MIXMINUS_QUEUE_LIMIT", value_name = "N")]
    pub queue_limit: Option<String>,
    /// Play tones to those who ask for the floor (default: false)
    #[arg(long, env = "MIXMINUS_FLOOR_TONES", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub floor_tones: Option<String>,
    /// Talking is asking for the floor (default: false)
    #[arg(long, env = "MIXMINUS_IMPLICIT_FLOOR", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub implicit_floor: Option<String>,
}

impl Cli {
    /// Reads the command line and the environment; ends the program if they cannot be read.
    ///
    /// An empty variable is no variable: a compose file writes `MIXMINUS_ANNOUNCE=` for what is not set.
    pub fn read() -> Cli {
        let matches = without_empty_variables(Cli::command()).get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// A command that does not look at variables that are set but empty.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |argument: &clap::Arg| {
        let variable = argument.get_env().and_then(std::env::var_os);
        variable.is_some_and(|value| value.is_empty())
    };
    let command = command.mut_args(|argument| {
        if is_empty(&argument) {
            argument.env(Resettable::Reset)
        } else {
            argument
        }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Unusable arguments or configuration.
const UNUSABLE: u8 = 2;

impl Serve {
    /// The configuration these flags and the file they name come to.
    ///
    /// # Errors
    /// Every [`ConfigError`] there is.
    pub fn load(&self) -> Result<Config, Vec<ConfigError>> {
        let Some(path) = &self.config else {
            return Config::load(None, self.given());
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Config::load(Some((&name, &text)), self.given()),
            Err(error) => Err(vec![ConfigError(format!(
                "The file {name} cannot be read: {error}."
            ))]),
        }
    }

    /// What was given, flag or environment, key by key.
    fn given(&self) -> Vec<RawSetting> {
        let one = [
            ("http", &self.http),
            ("media", &self.media),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
            ("tls_self_signed", &self.tls_self_signed),
            ("max_rooms", &self.max_rooms),
            ("max_participants", &self.max_participants),
            ("max_sessions", &self.max_sessions),
            ("open_rooms", &self.open_rooms),
            ("default_profile", &self.default_profile),
            ("default_radio_profile", &self.default_radio_profile),
            ("tick_ms", &self.tick_ms),
            (
                "max_connections_per_address",
                &self.max_connections_per_address,
            ),
            ("join_burst", &self.join_burst),
            ("join_rate", &self.join_rate),
            ("room_change_burst", &self.room_change_burst),
            ("room_change_rate", &self.room_change_rate),
            ("participant_change_burst", &self.participant_change_burst),
            ("participant_change_rate", &self.participant_change_rate),
            ("message_burst", &self.message_burst),
            ("message_rate", &self.message_rate),
            ("mixers", &self.mixers),
            ("realtime", &self.realtime),
            ("log", &self.log),
            ("gate_db", &self.gate_db),
            ("max_contributors", &self.max_contributors),
            ("default_mode", &self.default_mode),
            ("allow_monitors", &self.allow_monitors),
            ("talk_limit_s", &self.talk_limit_s),
            ("end_of_media_ms", &self.end_of_media_ms),
            ("grace_ms", &self.grace_ms),
            ("queue_limit", &self.queue_limit),
            ("floor_tones", &self.floor_tones),
            ("implicit_floor", &self.implicit_floor),
        ];
        let lists = [
            ("announce", &self.announce),
            ("hangover_ms", &self.hangover_ms),
            ("cors_origins", &self.cors_origins),
            ("hosts", &self.hosts),
            ("trusted_proxies", &self.trusted_proxies),
            ("ice_servers", &self.ice_servers),
        ];
        let one = one
            .into_iter()
            .filter_map(|(key, value)| Some((key, vec![value.clone()?])));
        let lists = lists
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(key, values)| (key, values.clone()));
        one.chain(lists)
            .map(|(key, values)| RawSetting {
                key: key.to_owned(),
                values,
                source: format!("flag or MIXMINUS_{}", key.to_uppercase()),
            })
            .collect()
    }
}

/// Does what the command line says.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(serve) => run_server(&serve),
        Command::Join(join) => run_client(*join),
        Command::Bench(args) => run_bench(&args),
    }
}

fn run_client(join: JoinArgs) -> ExitCode {
    let filter = std::env::var("MIXMINUS_LOG").unwrap_or_else(|_| CLIENT_LOG.to_owned());
    server::start_log(&filter);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(join::run(join)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn run_bench(args: &BenchArgs) -> ExitCode {
    let filter = std::env::var("MIXMINUS_LOG").unwrap_or_else(|_| BENCH_LOG.to_owned());
    server::start_log(&filter);
    bench::run(args)
}

/// What a client says of itself: little, since its standard error is where people look for what went wrong.
/// The verifier's errors are repeated in the sentence that ends the program.
const CLIENT_LOG: &str = "error,rustls_platform_verifier=off,mixminus=warn";

/// What a benchmark says besides: less still. The WebRTC stack calls each packet an error that a server
/// which goes does not take any more.
const BENCH_LOG: &str = "error,rustls_platform_verifier=off,webrtc=off,mixminus=warn";

fn run_server(serve: &Serve) -> ExitCode {
    let config = match serve.load() {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return ExitCode::from(UNUSABLE);
        }
    };
    // Files that can be read may still hold no certificate, or the key of another.
    if let Err(error) = Tls::new(&config) {
        eprintln!("{error}");
        return ExitCode::from(UNUSABLE);
    }
    if serve.check {
        return match server::say(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        };
    }
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SETTINGS;

    fn serve(arguments: &[&str]) -> Serve {
        let line = ["mixminus", "serve"].iter().chain(arguments);
        match Cli::parse_from(line).command {
            Command::Serve(serve) => *serve,
            _ => panic!("serve was asked for"),
        }
    }

    #[test]
    fn every_setting_has_a_flag_and_a_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("it is there");
        for key in &SETTINGS {
            let variable = format!("MIXMINUS_{}", key.name.to_uppercase());
            let found = serve.get_arguments().any(|argument| {
                argument
                    .get_env()
                    .is_some_and(|env| env == variable.as_str())
            });
            assert!(found, "{}", key.name);
        }
    }

    #[test]
    fn flags_reach_the_configuration() {
        let config = serve(&[
            "--http",
            "127.0.0.1:0",
            "--announce",
            "192.0.2.1",
            "--announce",
            "192.0.2.2",
            "--tls-self-signed",
            "--gate-db",
            "-40",
            "--realtime=false",
            "--cors-origins",
            "https://a.example",
            "--cors-origin",
            "https://b.example",
        ])
        .load()
        .expect("good");
        assert_eq!(config.announce.len(), 2);
        assert!(config.tls_self_signed && !config.realtime);
        assert_eq!(config.room.gate_db, Some(-40.0));
        assert_eq!(
            config.cors_origins,
            ["https://a.example", "https://b.example"]
        );
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        for key in &SETTINGS {
            let other = match (key.name, key.default) {
                ("http" | "media", _) => "127.0.0.1:1",
                ("announce", _) => "192.0.2.1",
                ("tls_cert" | "tls_key", _) => "Cargo.toml",
                ("default_profile" | "default_radio_profile", _) => "thin",
                ("hangover_ms", _) => "voice=600",
                ("tick_ms", _) => "10",
                ("cors_origins", _) => "https://a.example",
                ("ice_servers", _) => "stun:s.example",
                ("trusted_proxies", _) => "192.0.2.0/24",
                ("hosts", _) => "mix.example",
                ("log", _) => "debug",
                ("gate_db", _) => "-40",
                ("default_mode", _) => "ptt",
                (_, "true") => "false",
                (_, "false" | "auto") if key.unit == "yes or no" => "true",
                (_, _) => "600",
            };
            let other = if key.name == "mixers" { "7" } else { other };
            let flag = format!("--{}={other}", key.name.replace('_', "-"));
            let given = serve(&[&flag]).given();
            assert_eq!(given.len(), 1, "{flag}");
            assert_eq!(
                (given[0].key.as_str(), &given[0].values[..]),
                (key.name, &[other.to_owned()][..])
            );
            if !key.name.starts_with("tls_") {
                let config = serve(&[&flag]).load().expect(&flag);
                let shown = (key.show)(&config).unwrap_or_default();
                assert!(shown.contains(other), "{flag}: {shown}");
            }
        }
    }

    #[test]
    fn bad_flags_are_told_in_the_same_words() {
        let problems = serve(&["--max-rooms", "none"])
            .load()
            .expect_err("no number");
        assert!(
            problems[0]
                .0
                .starts_with("max_rooms = none (flag or MIXMINUS_MAX_ROOMS)"),
            "{problems:?}"
        );
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
