//! Flag values that several subcommands share.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, value_parser};
use mixer::codec::Profile;
use thiserror::Error;

use super::target::TargetOptions;

/// Flags for how long a server is measured and how the benchmark starts it.
#[derive(Debug, Clone, Args)]
pub struct Conditions {
    /// Seconds that each measurement takes
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds to wait before each measurement
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = value_parser!(u64).range(0..=3_600))]
    settle: u64,
    /// Profile of the streams to listeners, on servers that have profiles: voice, radio, low-delay,
    /// thin, music
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// Number of mixer threads of the server that self starts
    #[arg(long, value_name = "N")]
    mixers: Option<usize>,
    /// Packets that Janus queues before it mixes [Janus's own default: 6]
    #[arg(long, value_name = "N")]
    prebuffer: Option<u32>,
    /// Additional flag for the server that self starts; repeatable
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    server_arg: Vec<String>,
}

impl Conditions {
    /// Returns the time to wait before each measurement.
    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.settle)
    }

    /// Returns the time that each measurement takes.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Returns the options with which a server is started. Options that depend on the measurement
    /// keep their defaults.
    pub fn options(&self) -> TargetOptions {
        TargetOptions {
            profile: self.profile,
            mixers: self.mixers,
            prebuffer: self.prebuffer,
            server_args: self.server_arg.clone(),
            ..TargetOptions::default()
        }
    }
}

/// How many of a room's participants talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talkers {
    /// This number of participants.
    Number(usize),
    /// All participants.
    All,
}

impl Talkers {
    /// Returns the number of talkers in a room of `people` participants; `None` if there are fewer
    /// participants than talkers.
    pub fn of(self, people: usize) -> Option<usize> {
        match self {
            Talkers::All => Some(people),
            Talkers::Number(talkers) => (talkers <= people).then_some(talkers),
        }
    }
}

impl fmt::Display for Talkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Talkers::Number(talkers) => write!(f, "{talkers}"),
            Talkers::All => f.write_str("all"),
        }
    }
}

impl FromStr for Talkers {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Talkers, NoNumber> {
        if text == "all" {
            return Ok(Talkers::All);
        }
        text.parse().map(Talkers::Number).map_err(|_| NoNumber)
    }
}

/// The error for a flag value that is neither a number of talkers nor `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the number of talkers must be a whole number or the word all")]
pub struct NoNumber;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talkers_flag_accepts_a_number_or_all() {
        assert_eq!("3".parse(), Ok(Talkers::Number(3)));
        assert_eq!("all".parse(), Ok(Talkers::All));
        assert_eq!("most".parse::<Talkers>(), Err(NoNumber));
        assert_eq!(Talkers::All.of(7), Some(7));
        assert_eq!(Talkers::Number(8).of(7), None);
        assert_eq!(Talkers::Number(7).to_string(), "7");
    }
}
