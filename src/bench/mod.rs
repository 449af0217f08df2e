//! `mixminus bench`: what a mixing server costs, how long it takes, and when it fails.
//!
//! | file | what |
//! |---|---|
//! | `args.rs` | values of flags that several subcommands take |
//! | `tick/` | the engine alone, in virtual time: what a tick costs |
//! | `load/` | more and more clients: what a server costs, and where it fails |
//! | `compare/` | two servers in alternation, pair by pair |
//! | `harness.rs` | one server, its clients, and what both are seen to do |
//! | `target/` | the servers that are measured: started here, or found at an address |
//! | `room_client.rs` | a whole client in a target's room |
//! | `libwebrtc.rs` | a libwebrtc client in a target's room |
//! | `swarm/` | many light clients on one thread |
//! | `procfs.rs`, `prometheus.rs` | what the system and the server itself count |
//! | `latency/` | from mouth to ear through a server, and what is lost on the way |
//! | `listen.rs` | voices through servers, recorded |
//! | `floor/` | from the press of a key to the permission to talk |
//! | `relay/` | a way on which packets are lost and late |
//! | `speech.rs` | the voices that talk, decoded and encoded |
//! | `report/` | tables, lines for scripts, JSON, a page with plots |
//! | `progress.rs` | how far it is, on standard error |
//!
//! But for `tick`, which is about this engine, nothing here knows the server's own modules: what is
//! measured is what any client of any server sees.

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

/// A subcommand's own flags and where its report goes.
#[derive(Debug, Args)]
struct With<A: Args> {
    #[command(flatten)]
    own: A,
    #[command(flatten)]
    outputs: Outputs,
}

/// A benchmark that comes to no result.
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
    /// The result cannot be told.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Measures what is asked for and tells the result.
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
