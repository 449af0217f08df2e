//! The command line of the `mixminus` binary: its subcommands, flags and exit statuses.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

#[cfg(feature = "bench")]
use crate::bench::{self, BenchArgs};
use crate::config::{Config, ConfigError, SettingFlags};
use crate::http::Tls;
#[cfg(feature = "join")]
use crate::join::{self, JoinArgs};
use crate::server;

/// The parsed command line of `mixminus`.
#[derive(Debug, Parser)]
#[command(
    name = "mixminus",
    version,
    about = "An audio-only MCU: everybody hears everybody but themselves"
)]
pub struct Cli {
    /// The subcommand to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands of `mixminus`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Box<Serve>),
    /// Join a room without a browser
    #[cfg(feature = "join")]
    Join(Box<JoinArgs>),
    /// Measure a mixing server: what it costs, how long it takes, when it fails
    #[cfg(feature = "bench")]
    Bench(Box<BenchArgs>),
}

/// Flags of `mixminus serve`.
#[derive(Debug, Default, Args)]
pub struct Serve {
    /// TOML file with any of the settings below, named with underscores instead of dashes, and with
    /// `[[rooms]]` tables
    #[arg(long, env = "MIXMINUS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration, print it or its errors, and exit
    #[arg(long)]
    pub check: bool,
    /// The values of all other flags and of their environment variables, not parsed yet.
    #[command(flatten)]
    pub settings: SettingFlags,
}

impl Cli {
    /// Parses the command line and the environment; exits the process if they are invalid.
    ///
    /// An empty environment variable counts as unset, because a compose file writes
    /// `MIXMINUS_ANNOUNCE=` for a variable without a value.
    pub fn read() -> Cli {
        let matches = without_empty_variables(Cli::command()).get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Returns `command` without the environment variables that are set but empty.
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

/// Exit status for invalid arguments or an invalid configuration.
const UNUSABLE: u8 = 2;

impl Serve {
    /// Builds the server's configuration from these flags and the configuration file that they
    /// name.
    ///
    /// # Errors
    /// All mistakes, as [`ConfigError`]s.
    pub fn load(&self) -> Result<Config, Vec<ConfigError>> {
        let given = self.settings.0.clone();
        let Some(path) = &self.config else {
            return Config::load(None, given);
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Config::load(Some((&name, &text)), given),
            Err(error) => Err(vec![ConfigError(format!(
                "Cannot read the file {name}: {error}."
            ))]),
        }
    }
}

/// Runs the subcommand of `cli`; returns the exit status of the process.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(serve) => run_server(&serve),
        #[cfg(feature = "join")]
        Command::Join(join) => run_client(*join),
        #[cfg(feature = "bench")]
        Command::Bench(args) => run_bench(&args),
    }
}

#[cfg(feature = "join")]
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

#[cfg(feature = "bench")]
fn run_bench(args: &BenchArgs) -> ExitCode {
    let filter = std::env::var("MIXMINUS_LOG").unwrap_or_else(|_| BENCH_LOG.to_owned());
    server::start_log(&filter);
    bench::run(args)
}

/// Default log filter of `mixminus join`. It shows little, because people look for the reason of a
/// failure on standard error. The certificate verifier is off, because the error text that ends the
/// program repeats its errors.
#[cfg(feature = "join")]
const CLIENT_LOG: &str = "error,rustls_platform_verifier=off,mixminus=warn";

/// Default log filter of `mixminus bench`. It shows even less than [`CLIENT_LOG`]: the WebRTC stack
/// logs an error for each packet that it cannot deliver to a server that is shutting down.
#[cfg(feature = "bench")]
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
    // A readable file may still contain no certificate, or the key of another certificate.
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
    use crate::config::{SETTINGS, Setting};

    fn serve(arguments: &[&str]) -> Serve {
        let line = ["mixminus", "serve"].iter().chain(arguments);
        match Cli::parse_from(line).command {
            Command::Serve(serve) => *serve,
            #[cfg(feature = "join")]
            _ => panic!("serve was asked for"),
        }
    }

    #[test]
    fn every_setting_has_a_flag_and_a_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("it is there");
        for setting in SETTINGS {
            let dashed = setting.name.replace('_', "-");
            let mut flags = serve.get_arguments();
            let flag = flags.find(|flag| flag.get_long() == Some(&dashed));
            let flag = flag.unwrap_or_else(|| panic!("{} has no flag", setting.name));
            let variable = format!("MIXMINUS_{}", setting.name.to_uppercase());
            assert!(flag.get_env().is_some_and(|env| env == variable.as_str()));
            let help = flag.get_help().expect("a text").to_string();
            assert!(help.starts_with(setting.help), "{help}");
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
            "--host=a.example,b.example",
            "--ice-server=stun:s.example",
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
        assert_eq!(config.hosts, ["a.example", "b.example"]);
        assert_eq!(config.ice_servers.len(), 1);
    }

    /// Returns a value for the setting that differs from its default.
    fn other_value(setting: &Setting) -> &'static str {
        match setting.name {
            "http" | "media" => "127.0.0.1:1",
            "announce" => "192.0.2.1",
            "tls_cert" | "tls_key" => "Cargo.toml",
            "default_profile" | "default_radio_profile" => "thin",
            "hangover_ms" => "voice=600",
            "tick_ms" => "10",
            "cors_origins" => "https://a.example",
            "ice_servers" => "stun:s.example",
            "trusted_proxies" => "192.0.2.0/24",
            "hosts" => "mix.example",
            "log" => "debug",
            "gate_db" => "-40",
            "default_mode" => "ptt",
            "mixers" => "7",
            "open_rooms" | "realtime" => "false",
            _ if setting.unit == "yes or no" => "true",
            _ => "600",
        }
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let default = Config::default().to_string();
        for setting in SETTINGS {
            let other = other_value(setting);
            let flag = format!("--{}={other}", setting.name.replace('_', "-"));
            let given = serve(&[&flag]).settings.0;
            assert_eq!(given.len(), 1, "{flag}");
            assert_eq!(
                (given[0].key.as_str(), &given[0].values[..]),
                (setting.name, &[other.to_owned()][..])
            );
            if !setting.name.starts_with("tls_") {
                let config = serve(&[&flag]).load().expect(&flag).to_string();
                let lines = config.lines().zip(default.lines());
                let changed: Vec<&str> = lines
                    .filter(|(line, usual)| line != usual)
                    .map(|(line, _)| line)
                    .collect();
                let begin = format!("{} = ", setting.name);
                assert!(
                    changed
                        .iter()
                        .any(|line| line.starts_with(&begin) && line.contains(other)),
                    "{flag}: {changed:?}"
                );
            }
        }
    }

    #[test]
    fn invalid_flag_values_are_reported_in_the_words_of_the_configuration_file() {
        let problems = serve(&["--max-rooms", "none"])
            .load()
            .expect_err("no number");
        assert!(
            problems[0]
                .0
                .starts_with("--max-rooms: invalid value `none` of `max_rooms`"),
            "{problems:?}"
        );
    }

    #[test]
    fn subcommands_exist_only_if_their_cargo_feature_is_enabled() {
        let command = Cli::command();
        for (name, is_built) in [
            ("serve", true),
            ("join", cfg!(feature = "join")),
            ("bench", cfg!(feature = "bench")),
        ] {
            let is_there = command.find_subcommand(name).is_some();
            assert_eq!(is_there, is_built, "{name}");
        }
    }

    #[test]
    fn command_line_definition_passes_the_checks_of_clap() {
        Cli::command().debug_assert();
    }
}
