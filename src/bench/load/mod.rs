//! `mixminus bench load`: more and more clients, until the server misses its objective.
//!
//! The objective: nearly every packet arrives, on its beat, no client is refused and no deadline is
//! missed. The cost of a listener is the cost of the server with listeners minus that with its
//! talkers alone, in one run.

mod capacity_search;
mod report;
mod slo;

use std::time::Duration;

use clap::{Args, value_parser};

use super::args::Conditions;
use super::harness::{Harness, HarnessError, Setting, until_interrupted};
use super::progress::Progress;
use super::report::{Outputs, Report};
use super::speech;
use super::swarm::{ListenerKind, Speech};
use super::target::{TargetOptions, TargetSpec};
use report::{LoadReport, Row};

use capacity_search::{CapacitySearch, usual_steps};
pub(super) use report::{number, table};
use slo::Slo;

/// Flags of `mixminus bench load`.
#[derive(Debug, Clone, Args)]
#[command(after_help = speech::CREDITS)]
pub struct LoadArgs {
    /// Server to measure: self, whip:URL, janus (installed and started here), janus:ws://HOST:PORT
    #[arg(long, value_name = "TARGET", default_value = "self")]
    target: TargetSpec,
    /// Number of participants that talk
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        conflicts_with = "everybody_talks"
    )]
    talkers: usize,
    /// Number of participants that only listen; several with commas, one step each
    #[arg(long, value_name = "N", value_delimiter = ',')]
    listeners: Vec<usize>,
    /// Search for the largest number of listeners that the server can hold
    #[arg(long, conflicts_with = "listeners")]
    ramp: bool,
    /// Largest number of listeners that --ramp tries
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    at_most: usize,
    /// What listeners send
    #[arg(long, value_name = "KIND", value_enum, default_value_t = ListenerKind::Dtx)]
    listener_kind: ListenerKind,
    /// Number of participants in a room in which all talk without a pause; several with commas, one
    /// step each
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with_all = ["listeners", "ramp"])]
    everybody_talks: Vec<usize>,
    /// Number of empty rooms that are measured before all other steps
    #[arg(long, value_name = "N", default_value_t = 0)]
    rooms: usize,
    /// What talkers send; only tones can be told apart in the received mix
    #[arg(long, value_name = "HOW", value_enum)]
    speech: Option<Speech>,
    #[command(flatten)]
    conditions: Conditions,
    /// Seconds for which the server is measured before any participant joins [default: as
    /// --seconds]
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(1..=86_400))]
    nobody_seconds: Option<u64>,
    /// Start the server of self in a network namespace of its own, as janus is
    #[arg(long)]
    netns: bool,
}

/// Measures the server without load, then step after step with more clients.
///
/// # Errors
/// [`HarnessError`] when the server or the clients do not start. A server that fails under load is
/// a result.
pub fn run(args: &LoadArgs, outputs: &Outputs) -> Result<Report, HarnessError> {
    let outcome = until_interrupted(args.measure(outputs))?;
    Ok(outcome.report())
}

impl LoadArgs {
    async fn measure(&self, outputs: &Outputs) -> Result<LoadReport, HarnessError> {
        let mut steps = Steps::new(outputs.progress("steps", self.count_steps()));
        let mut harness = Harness::open(self.setting()).await?;
        let mut outcome = LoadReport::new(&self.target, self.what());
        steps.begin("nobody");
        outcome.base(harness.measure_for(self.nobody_time()).await?);
        if self.rooms > 0 {
            steps.begin(format!("{} rooms without anybody", self.rooms));
            harness.rooms(self.rooms).await?;
            outcome.rooms(self.rooms, harness.measure().await?);
        }
        for &count in &self.everybody_talks {
            steps.begin(format!("{count} talk"));
            let joined = harness.talkers(count).await;
            if !self.step(&harness, count, 0, joined, &mut outcome).await? {
                break;
            }
        }
        if self.everybody_talks.is_empty() && (self.ramp || !self.steps().is_empty()) {
            harness = self
                .add_listeners(harness, &mut outcome, &mut steps)
                .await?;
        }
        harness.close().await;
        Ok(outcome)
    }

    /// Measures the talkers alone, then step after step with listeners.
    async fn add_listeners(
        &self,
        mut harness: Harness,
        outcome: &mut LoadReport,
        steps: &mut Steps,
    ) -> Result<Harness, HarnessError> {
        let talkers = self.talkers;
        steps.begin(format!("{talkers} talkers alone"));
        harness.talkers(talkers).await?;
        outcome.talkers_alone(talkers, harness.measure().await?);
        let mut ramp = match self.ramp {
            true => CapacitySearch::up_to(self.at_most),
            false => CapacitySearch::steps(self.steps()),
        };
        let mut spent = false;
        while let Some(count) = ramp.next() {
            steps.begin(format!("{count} listeners"));
            if spent && self.ramp {
                // An overloaded server may not recover in time, which would falsify the next step.
                harness.close().await;
                harness = Harness::open(self.setting()).await?;
                harness.talkers(talkers).await?;
            }
            let joined = harness.listeners(count, self.listener_kind).await;
            let held = self.step(&harness, talkers, count, joined, outcome).await?;
            ramp.held(held);
            spent = !held;
        }
        outcome.most(ramp.most());
        Ok(harness)
    }

    /// Measures one step; returns whether the objective is met.
    async fn step(
        &self,
        harness: &Harness,
        talkers: usize,
        listeners: usize,
        joined: Result<(), HarnessError>,
        outcome: &mut LoadReport,
    ) -> Result<bool, HarnessError> {
        let refused = match joined {
            Ok(()) => None,
            Err(error @ (HarnessError::Swarm(_) | HarnessError::Target(_))) => {
                Some(error.to_string())
            }
            Err(error) => return Err(error),
        };
        let figures = harness.measure().await?;
        let mut broken = Slo::default().broken_by(&figures);
        broken.extend(refused);
        let held = broken.is_empty();
        outcome.add(Row {
            talkers,
            listeners,
            figures,
            broken,
        });
        Ok(held)
    }

    fn nobody_time(&self) -> Duration {
        let seconds = self.nobody_seconds.map(Duration::from_secs);
        seconds.unwrap_or(self.conditions.time())
    }

    fn setting(&self) -> Setting {
        let most = match self.ramp {
            true => self.at_most,
            false => self.steps().into_iter().max().unwrap_or(0),
        };
        let everybody = self.everybody_talks.iter().copied().max();
        let how = match everybody {
            Some(_) => Speech::Nonstop,
            None => Speech::Voices,
        };
        Setting {
            spec: self.target.clone(),
            options: TargetOptions {
                netns: self.netns,
                room_capacity: everybody.unwrap_or(self.talkers + most),
                rooms: self.rooms + 1,
                ..self.conditions.options()
            },
            speech: self.speech.unwrap_or(how),
            settle: self.conditions.settle(),
            time: self.conditions.time(),
        }
    }

    /// Returns the requested numbers of listeners, or default ones unless another measurement was
    /// requested.
    fn steps(&self) -> Vec<usize> {
        if self.listeners.is_empty() && self.everybody_talks.is_empty() && self.rooms == 0 {
            return DEFAULT_STEPS.to_vec();
        }
        self.listeners.clone()
    }

    /// Returns roughly how many measurements there will be.
    fn count_steps(&self) -> u64 {
        let with_people = match (self.everybody_talks.len(), self.ramp) {
            (0, true) => 1 + usual_steps(self.at_most),
            (0, false) if self.steps().is_empty() => 0,
            (0, false) => 1 + self.steps().len(),
            (everybody, _) => everybody,
        };
        (1 + usize::from(self.rooms > 0) + with_people) as u64
    }

    fn what(&self) -> String {
        match self.everybody_talks.is_empty() {
            true => format!("listeners send {}", kind_name(self.listener_kind)),
            false => "everybody talks".to_owned(),
        }
    }
}

/// The progress display, with the number of measurements started so far.
struct Steps {
    progress: Progress,
    begun: u64,
}

impl Steps {
    fn new(progress: Progress) -> Steps {
        Steps { progress, begun: 0 }
    }

    fn begin(&mut self, what: impl Into<String>) {
        self.progress.set(self.begun).note(what);
        self.begun += 1;
    }
}

/// Describes what a kind of listener sends.
pub(super) fn kind_name(kind: ListenerKind) -> &'static str {
    match kind {
        ListenerKind::Dtx => "comfort noise every 400 ms (DTX)",
        ListenerKind::Silence => "silence at full rate, level 127",
        ListenerKind::Noise => "noise of -55 dBFS at full rate, no levels",
        ListenerKind::Recvonly => "nothing",
    }
}

const DEFAULT_STEPS: [usize; 3] = [50, 100, 200];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn args(line: &str) -> LoadArgs {
        Line::parse_from(["load"].into_iter().chain(line.split_whitespace())).load
    }

    #[test]
    fn bench_load_starts_its_server_with_limits_that_fit_the_largest_step() {
        let setting = args("--talkers 3 --listeners 50,2000,100 --mixers 2").setting();
        assert_eq!(setting.options.room_capacity, 2_003);
        assert_eq!(
            (setting.options.mixers, setting.speech),
            (Some(2), Speech::Voices)
        );
        let setting = args("--everybody-talks 10,50 --speech tones").setting();
        assert_eq!(setting.options.room_capacity, 50);
        assert_eq!(setting.speech, Speech::Tones);
        assert_eq!(
            args("--ramp --at-most 500").setting().options.room_capacity,
            503
        );
        assert_eq!(args("--rooms 1000").setting().options.rooms, 1_001);
    }

    #[test]
    fn bench_load_measures_the_empty_server_as_long_as_each_step_by_default() {
        let seconds = |line: &str| args(line).nobody_time().as_secs();
        assert_eq!(seconds("--seconds 30"), 30);
        assert_eq!(seconds("--seconds 30 --nobody-seconds 1"), 1);
        assert!(Line::try_parse_from(["load", "--nobody-seconds", "0"]).is_err());
    }

    #[test]
    fn bench_load_has_default_steps_unless_another_measurement_is_requested() {
        assert_eq!(args("").steps(), DEFAULT_STEPS);
        assert_eq!(args("--listeners 7").steps(), [7]);
        assert!(args("--rooms 5").steps().is_empty());
        assert_eq!(args("--rooms 5").count_steps(), 2);
        assert_eq!(args("--rooms 5 --listeners 1,2").count_steps(), 5);
        assert_eq!(args("--everybody-talks 5,10").count_steps(), 3);
        assert!(Line::try_parse_from(["load", "--ramp", "--listeners", "5"]).is_err());
        assert!(Line::try_parse_from(["load", "--target", "nobody"]).is_err());
    }
}
