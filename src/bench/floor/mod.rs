//! `mixminus bench floor`: the time from the press of a key to the grant of the floor.
//!
//! Real WebRTC clients of one room press, talk, release and wait, each at its own pace, so that
//! some find the floor free and others wait in the queue. The outcomes are those of the
//! mission-critical push-to-talk access time (KPI 1): granted at once, queued and granted later,
//! denied, failed, abandoned.
//!
//! | file | what |
//! |---|---|
//! | `requester.rs` | one client, request after request |
//! | `report.rs` | the report |

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use thiserror::Error;

use super::report::{Outputs, Report};
use super::target::{self, Target, TargetError, TargetOptions, TargetSpec};
use crate::join::JoinError;
use crate::join::client::{Client, ClientOptions};
use crate::join::media::MediaOptions;
use crate::join::whip_client::{WhipEndpoint, WhipError};
use report::{FloorReport, Seen};
use requester::{Budget, Habits, Requester};

mod report;
mod requester;

/// Flags of `mixminus bench floor`.
#[derive(Debug, Clone, Args)]
pub struct FloorArgs {
    /// Server whose floor is measured: self, or whip:URL of a mixminus server
    #[arg(long, value_name = "TARGET", default_value = "self")]
    target: TargetSpec,
    /// Additional flag for the server that self starts; repeatable
    #[arg(long = "server-arg", value_name = "FLAG", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// How the floor is requested, over the data channel or over HTTP; several with commas,
    /// measured in turn
    #[arg(
        long,
        value_name = "WAY",
        value_delimiter = ',',
        default_value = "data,http"
    )]
    way: Vec<Way>,
    /// Number of requests each way, of all clients together
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// Number of clients that contend for the floor; one more client only listens
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=100))]
    clients: u64,
    /// Maximum number of floor holders at one time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    talkers: u64,
    /// How long a client holds the floor, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    hold: u64,
    /// Mean time from one request of a client to its next, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pause: u64,
    /// How long a client waits for the floor before it gives up, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    patience: u64,
    /// Maximum number of waiting requests; 0 denies every request while the floor is taken
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    queue: u64,
}

/// How the floor is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// `floor_request` and `floor_release` over the data channel
    Data,
    /// `PUT` and `DELETE` over HTTP.
    Http,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Data => "data",
            Way::Http => "http",
        }
    }
}

/// Why access times cannot be measured.
#[derive(Debug, Error)]
pub enum FloorError {
    /// The server does not start or answer.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A client does not join.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A client cannot make requests.
    #[error(transparent)]
    Session(#[from] WhipError),
    /// No threads can be started.
    #[error("cannot start the threads of the benchmark: {0}")]
    Threads(std::io::Error),
}

/// Measures what the flags ask for.
///
/// # Errors
/// [`FloorError`] when the server does not start or a client cannot join.
pub fn run(args: &FloorArgs, outputs: &Outputs) -> Result<Report, FloorError> {
    let runtime = tokio::runtime::Runtime::new().map_err(FloorError::Threads)?;
    runtime.block_on(async {
        let options = TargetOptions {
            server_args: args.server_args.clone(),
            room_capacity: args.clients as usize + 1,
            ..TargetOptions::default()
        };
        let target = target::start(&args.target, &options).await?;
        let measured = args.measure(&target, outputs).await;
        target.stop().await;
        measured
    })
}

impl FloorArgs {
    async fn measure(&self, target: &Target, outputs: &Outputs) -> Result<Report, FloorError> {
        let mode = match self.talkers {
            1 => "ptt".to_owned(),
            talkers => format!("multi:{talkers}"),
        };
        let settings = json!({ "mode": mode, "queue_limit": self.queue });
        target.put_room(ROOM, &settings.to_string()).await?;
        let progress = outputs.progress("floor", self.requests * self.way.len() as u64);
        let budget = Arc::new(Budget {
            left: AtomicU64::new(0),
            done: AtomicU64::new(0),
            progress,
        });
        let (ear, contenders) = self.enter(target, &budget).await?;
        let mut contenders = Some(contenders);
        let mut outcome = FloorReport::new(self.conditions());
        for way in &self.way {
            let present = contenders.take().unwrap_or_default();
            let (present, seen) = self.contend(*way, present, &budget).await;
            contenders = Some(present);
            outcome.add(way.name(), seen);
        }
        for contender in contenders.unwrap_or_default() {
            contender.client.leave().await?;
        }
        ear.leave().await?;
        budget.progress.finish();
        Ok(outcome.report())
    }

    /// Joins all clients: one that only listens, and those that request the floor.
    async fn enter(
        &self,
        target: &Target,
        budget: &Arc<Budget>,
    ) -> Result<(Client, Vec<Requester>), FloorError> {
        let join = async |name: &str, media| {
            let url = target.participants(ROOM)?;
            let options = ClientOptions {
                room: WhipEndpoint::new(url, Some(name), None, false)?,
                reconnect: false,
                ptime_ms: None,
                bitrate_bps: None,
            };
            Ok::<_, FloorError>(Client::join(options, media).await?)
        };
        let ear = join("ear", MediaOptions::default()).await?;
        let mut contenders = Vec::new();
        for number in 0..self.clients {
            let (media, gate) = requester::media();
            let client = join(&format!("contender-{number}"), media).await?;
            contenders.push(Requester::new(client, gate, Arc::clone(budget)).await);
        }
        Ok((ear, contenders))
    }

    /// Lets the clients request the floor, by message or over HTTP, until `self.requests` requests
    /// are done.
    async fn contend(
        &self,
        way: Way,
        contenders: Vec<Requester>,
        budget: &Budget,
    ) -> (Vec<Requester>, Vec<Seen>) {
        budget.progress.note(way.name());
        budget.allow(self.requests);
        let habits = Habits {
            way,
            hold: Duration::from_millis(self.hold),
            pause: Duration::from_millis(self.pause),
            patience: Duration::from_millis(self.patience),
        };
        let running: Vec<_> = contenders
            .into_iter()
            .map(|contender| tokio::spawn(contender.contend(habits)))
            .collect();
        let (mut present, mut all) = (Vec::new(), Vec::new());
        for task in running {
            let (contender, seen) = task.await.unwrap_or_else(|error| {
                // A panic of the client must not be taken for a missing request.
                std::panic::resume_unwind(error.into_panic())
            });
            present.push(contender);
            all.extend(seen);
        }
        (present, all)
    }

    /// Describes the settings, for the report.
    fn conditions(&self) -> String {
        format!(
            "{} clients contend, {} may talk at once, {} ms each, every {} ms on average",
            self.clients, self.talkers, self.hold, self.pause
        )
    }
}

/// The room of the measurement.
const ROOM: &str = "floor";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        floor: FloorArgs,
    }

    #[test]
    fn bench_floor_requests_over_data_channel_and_http_unless_a_flag_selects_one() {
        let ways = |words: &str| {
            let words = std::iter::once("floor").chain(words.split_whitespace());
            Line::try_parse_from(words).map(|line| line.floor.way)
        };
        assert_eq!(ways("").unwrap(), [Way::Data, Way::Http]);
        assert_eq!(ways("--way http").unwrap(), [Way::Http]);
        assert!(ways("--way pigeon").is_err());
    }
}
