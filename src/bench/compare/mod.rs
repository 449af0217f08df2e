//! `mixminus bench compare`: two servers in alternation, in one run, pair by pair.
//!
//! The load of a machine changes from minute to minute, so absolute times of two runs cannot be
//! compared. The two measurements of a pair follow each other directly; the ratio is computed
//! within each pair, and the report gives its median and range.

mod report;

use std::fmt;

use clap::{Args, ValueEnum, value_parser};

use super::args::Conditions;
use super::harness::{Figures, Harness, HarnessError, Setting, until_interrupted};
use super::load::kind_name;
use super::report::{Outputs, Report};
use super::speech;
use super::swarm::{ListenerKind, Speech};
use super::target::{TargetOptions, TargetSpec};
use report::CompareReport;

/// Flags of `mixminus bench compare`.
#[derive(Debug, Clone, Args)]
#[command(after_help = speech::CREDITS)]
pub struct CompareArgs {
    /// Server to compare; given twice. Ratios are the cost of the second server over that of the
    /// first
    #[arg(long, value_name = "TARGET", default_values = ["self", "janus"])]
    target: Vec<TargetSpec>,
    /// Scenario to compare; several with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "listeners")]
    scenario: Vec<Scenario>,
    /// Number of participants that talk to the listeners
    #[arg(long, value_name = "N", default_value_t = 3)]
    talkers: usize,
    /// Number of participants that only listen
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u32).range(1..=10_000))]
    listeners: u32,
    /// Kind of packets that listeners send; several kinds with commas, each compared by itself
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        value_delimiter = ',',
        default_value = "dtx,silence,noise"
    )]
    listener_kind: Vec<ListenerKind>,
    /// Number of participants in the room in which all talk
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    everybody_talks: u32,
    /// Number of idle rooms
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=100_000))]
    rooms: u32,
    /// Number of pairs of runs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    #[command(flatten)]
    conditions: Conditions,
}

/// A scenario in which servers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Few talk, many listen: the cost of a listener beyond that of the talkers
    Listeners,
    /// All participants talk, without a pause
    Everybody,
    /// Many rooms without participants
    Idle,
}

/// One comparison to make: a scenario and, for listeners, what they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Listeners(ListenerKind),
    Everybody,
    Idle,
}

/// The measurements of one server in one case, before and after the load of the case is added.
#[derive(Debug, Clone)]
struct Seen {
    before: Figures,
    after: Figures,
    /// The number of participants or rooms that are added between the two measurements.
    heads: usize,
}

impl Seen {
    /// Returns the cost of the server: the CPU time per added listener, or of the whole server in
    /// the other cases, in percent of a core.
    fn cost(&self, case: Case) -> f64 {
        match case {
            Case::Listeners(_) => {
                (self.after.cpu_percent() - self.before.cpu_percent()) / self.heads as f64
            }
            Case::Everybody | Case::Idle => self.after.cpu_percent(),
        }
    }
}

/// Compares the servers pair by pair.
///
/// # Errors
/// [`HarnessError`] when a server or its clients do not start.
pub fn run(args: &CompareArgs, outputs: &Outputs) -> Result<Report, HarnessError> {
    let [first, second] = args.target.as_slice() else {
        return Err(HarnessError::Flags(
            "--target must be given twice or not at all",
        ));
    };
    let outcome = until_interrupted(args.measure([first, second], outputs))?;
    Ok(outcome.report())
}

impl CompareArgs {
    async fn measure(
        &self,
        targets: [&TargetSpec; 2],
        outputs: &Outputs,
    ) -> Result<CompareReport, HarnessError> {
        let cases = self.cases();
        let total = cases.len() * self.pairs as usize * 2;
        let progress = outputs.progress("runs", total as u64);
        let mut outcome = CompareReport::new(targets, &cases);
        let mut done = 0;
        for pair in 0..self.pairs {
            for (number, &case) in cases.iter().enumerate() {
                let mut seen = Vec::with_capacity(2);
                for target in targets {
                    progress
                        .set(done)
                        .note(format!("pair {}: {case} on {target}", pair + 1));
                    seen.push(self.one(target, case, targets).await?);
                    done += 1;
                }
                outcome.add(number, seen);
            }
        }
        progress.finish();
        Ok(outcome)
    }

    /// Starts a server, measures one case on it and stops it.
    async fn one(
        &self,
        target: &TargetSpec,
        case: Case,
        targets: [&TargetSpec; 2],
    ) -> Result<Seen, HarnessError> {
        let mut harness = Harness::open(self.setting(target, case, targets)).await?;
        if let Case::Listeners(_) = case {
            harness.talkers(self.talkers).await?;
        }
        let before = harness.measure().await?;
        let heads = match case {
            Case::Listeners(kind) => {
                harness.listeners(self.listeners as usize, kind).await?;
                self.listeners
            }
            Case::Everybody => {
                harness.talkers(self.everybody_talks as usize).await?;
                self.everybody_talks
            }
            Case::Idle => {
                harness.rooms(self.rooms as usize).await?;
                self.rooms
            }
        };
        let after = harness.measure().await?;
        harness.close().await;
        Ok(Seen {
            before,
            after,
            heads: heads as usize,
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for scenario in &self.scenario {
            match scenario {
                Scenario::Listeners => {
                    cases.extend(self.listener_kind.iter().copied().map(Case::Listeners));
                }
                Scenario::Everybody => cases.push(Case::Everybody),
                Scenario::Idle => cases.push(Case::Idle),
            }
        }
        cases
    }

    fn setting(&self, target: &TargetSpec, case: Case, targets: [&TargetSpec; 2]) -> Setting {
        let heads = match case {
            Case::Listeners(_) => self.talkers + self.listeners as usize,
            Case::Everybody => self.everybody_talks as usize,
            Case::Idle => 1,
        };
        Setting {
            spec: target.clone(),
            options: TargetOptions {
                // Janus always runs in a namespace; the packets of both servers are to take the
                // same path.
                netns: targets.contains(&&TargetSpec::Janus(None)),
                room_capacity: heads,
                rooms: self.rooms as usize + 1,
                ..self.conditions.options()
            },
            speech: match case {
                Case::Everybody => Speech::Nonstop,
                Case::Listeners(_) | Case::Idle => Speech::Voices,
            },
            settle: self.conditions.settle(),
            time: self.conditions.time(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Case::Listeners(kind) => write!(f, "a listener who sends {}", kind_name(*kind)),
            Case::Everybody => f.write_str("everybody talks"),
            Case::Idle => f.write_str("idle rooms"),
        }
    }
}

impl Case {
    /// The name of the case in lines for scripts.
    fn key(self) -> &'static str {
        match self {
            Case::Listeners(ListenerKind::Dtx) => "listener_dtx",
            Case::Listeners(ListenerKind::Silence) => "listener_silence",
            Case::Listeners(ListenerKind::Noise) => "listener_noise",
            Case::Listeners(ListenerKind::Recvonly) => "listener_recvonly",
            Case::Everybody => "everybody",
            Case::Idle => "idle",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        compare: CompareArgs,
    }

    fn args(line: &str) -> CompareArgs {
        Line::parse_from(["compare"].into_iter().chain(line.split_whitespace())).compare
    }

    #[test]
    fn bench_compare_measures_the_cases_that_its_flags_select() {
        assert_eq!(args("").cases().len(), 3);
        let cases = args("--scenario everybody,idle,listeners --listener-kind noise").cases();
        let expected = [
            Case::Everybody,
            Case::Idle,
            Case::Listeners(ListenerKind::Noise),
        ];
        assert_eq!(cases, expected);
    }

    #[test]
    fn compare_reaches_both_servers_over_the_same_kind_of_network() {
        let args = args("");
        let [first, second] = args.target.as_slice() else {
            panic!("two by default");
        };
        let setting = args.setting(first, Case::Everybody, [first, second]);
        assert!(setting.options.netns);
        assert_eq!(
            (setting.options.room_capacity, setting.speech),
            (50, Speech::Nonstop)
        );
        let alone = args.setting(first, Case::Idle, [first, first]);
        assert!(!alone.options.netns);
    }

    #[test]
    fn compare_requires_two_servers() {
        let outputs = Outputs {
            quiet: true,
            ..Outputs::default()
        };
        let error = run(&args("--target self"), &outputs).expect_err("one is no pair");
        assert!(error.to_string().contains("twice"));
    }
}
