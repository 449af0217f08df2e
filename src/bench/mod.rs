//! `mixminus bench`: the cost of a mixing server, its delay, and the load at which it fails.
//!
//! | file | what |
//! |---|---|
//! | `args.rs` | flag values that several subcommands share |
//! | `tick/` | the engine alone, in virtual time: the cost of a tick |
//! | `load/` | more and more clients: the cost of a server, and where it fails |
//! | `compare/` | two servers in alternation, pair by pair |
//! | `harness.rs` | one server, its clients, and the measurements of both |
//! | `target/` | the measured servers: started here, or found at an address |
//! | `room_client.rs` | a complete client in a target's room |
//! | `libwebrtc.rs` | a libwebrtc client in a target's room |
//! | `swarm/` | many light clients on one thread |
//! | `procfs.rs`, `prometheus.rs` | counters of the system and of the server |
//! | `latency/` | the delay from mouth to ear through a server, and the damage on the way |
//! | `listen.rs` | voices through servers, recorded |
//! | `floor/` | the time from the press of a key to the grant of the floor |
//! | `relay/` | a path on which packets are lost and delayed |
//! | `speech.rs` | the voices of the talkers, decoded and encoded |
//! | `report/` | tables, lines for scripts, JSON, a page with plots |
//! | `progress.rs` | the progress, on standard error |
//!
//! Except for `tick`, which measures this engine, nothing here uses the server's own modules: the
//! benchmark measures what any client of any server sees.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

pub mod args;
pub mod compare;
pub mod floor;
pub mod harness;
pub mod latency;
mod libwebrtc;
pub mod listen;
pub mod load;
pub mod procfs;
pub mod progress;
mod prometheus;
pub mod relay;
pub mod report;
pub mod room_client;
pub mod speech;
pub mod swarm;
pub mod target;
pub mod tick;

use compare::CompareArgs;
use floor::{FloorArgs, FloorError};
use harness::HarnessError;
use latency::{LatencyArgs, LatencyError};
use listen::{ListenArgs, ListenError};
use load::LoadArgs;
use report::{Outputs, Report, ReportError};
use tick::{TickArgs, TickError};

/// Flags of `mixminus bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
enum What {
    /// Measure the engine alone: the cost of a tick with two to two thousand participants
    Tick(With<TickArgs>),
    /// Measure the cost of a server with more and more clients, and how many clients it holds
    Load(With<LoadArgs>),
    /// Measure two servers in alternation, in one run
    Compare(With<CompareArgs>),
    /// Measure how long speech takes through a server, and how much of it is lost
    Latency(With<LatencyArgs>),
    /// Measure how long it takes to get the floor, and the outcome of floor requests
    Floor(With<FloorArgs>),
    /// Record voices that were sent through servers, to be rated by a measure such as PESQ
    Listen(With<ListenArgs>),
}

/// A subcommand's own flags, with the flags for its report.
#[derive(Debug, Args)]
struct With<A: Args> {
    #[command(flatten)]
    own: A,
    #[command(flatten)]
    outputs: Outputs,
}

/// Why a benchmark has no result.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The ticks cannot be measured.
    #[error(transparent)]
    Tick(#[from] TickError),
    /// The server or its clients cannot be measured.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// The latency cannot be measured.
    #[error(transparent)]
    Latency(#[from] LatencyError),
    /// The access to the floor cannot be measured.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The voices cannot be recorded.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The result cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Runs the requested measurement and writes the result.
pub fn run(args: &BenchArgs) -> ExitCode {
    match measure(&args.what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(what: &What) -> Result<(), BenchError> {
    let (report, outputs): (Report, &Outputs) = match what {
        What::Tick(with) => (tick::run(&with.own, &with.outputs)?, &with.outputs),
        What::Load(with) => (load::run(&with.own, &with.outputs)?, &with.outputs),
        What::Compare(with) => (compare::run(&with.own, &with.outputs)?, &with.outputs),
        What::Latency(with) => (latency::run(&with.own, &with.outputs)?, &with.outputs),
        What::Floor(with) => (floor::run(&with.own, &with.outputs)?, &with.outputs),
        What::Listen(with) => (listen::run(&with.own, &with.outputs)?, &with.outputs),
    };
    Ok(report.deliver(outputs)?)
}
