//! `mixminus bench tick`: the engine alone, in one thread and in virtual time, as fast as possible.
//!
//! Only [`push`](mixer::engine::Engine::push) and [`run_slot`](mixer::engine::Engine::run_slot) are
//! timed, separately; packets come from memory and are discarded.

use std::time::{Duration, Instant};

use clap::Args;
use mixer::codec::Profile;
use mixer::format::TickLength;
use thiserror::Error;

use super::args::Talkers;
use super::report::{Outputs, Report};
use super::speech::{self, SpeechError};
use report::{Measured, TickReport};
use scene::{Cast, Rest, Scene, Speech};

mod report;
mod scene;

/// Flags of `mixminus bench tick`.
#[derive(Debug, Clone, Args)]
#[command(after_help = speech::CREDITS)]
pub struct TickArgs {
    /// Number of participants in a room; several with commas
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "2,10,50,200,1000,2000"
    )]
    participants: Vec<usize>,
    /// Number of participants that talk, or all; several with commas
    #[arg(
        long,
        value_name = "N|all",
        value_delimiter = ',',
        default_value = "1,3,all"
    )]
    talkers: Vec<Talkers>,
    /// Profile of the streams to listeners: voice, radio, low-delay, thin, music; several with
    /// commas
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "voice,low-delay"
    )]
    profile: Vec<Profile>,
    /// Number of participants that each lower the gain of one talker for themselves; several with
    /// commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0")]
    personal: Vec<usize>,
    /// Number of identical rooms at one time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rooms: u32,
    /// Number of participants in a room in which no participant talks: short for --participants N
    /// --talkers 0
    #[arg(long, value_name = "N", conflicts_with_all = ["participants", "talkers"])]
    silent_participants: Option<usize>,
    /// What participants that do not talk send: nothing, silence (with its audio level) or noise
    /// (at -55 dBFS, without an audio level)
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Rest::Nothing)]
    rest: Rest,
    /// Tick of the rooms in milliseconds: 10 or 20
    #[arg(long, value_name = "MS", default_value = "20", value_parser = tick_length)]
    tick_ms: TickLength,
    /// Number of ticks measured for each combination
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    ticks: u64,
    /// Seconds after which a combination is measured with fewer ticks
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    at_most: u64,
}

/// Why ticks cannot be measured.
#[derive(Debug, Error)]
pub enum TickError {
    /// The voices are not available.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// No combination of the flags gives a room.
    #[error("nothing to measure: every room has fewer participants than talkers")]
    Nothing,
}

/// Measures every combination of the flags.
///
/// # Errors
/// [`TickError`] when there is nothing to measure, or the voices are not available.
pub fn run(args: &TickArgs, outputs: &Outputs) -> Result<Report, TickError> {
    let casts = args.casts();
    if casts.is_empty() {
        return Err(TickError::Nothing);
    }
    let speech = Speech::new()?;
    let progress = outputs.progress("ticks", casts.len() as u64);
    let mut outcome = TickReport::new(args.tick_ms);
    for (done, cast) in casts.into_iter().enumerate() {
        progress.set(done as u64).note(cast.to_string());
        let measured = args.measure(cast, &speech);
        outcome.add(measured);
    }
    progress.finish();
    Ok(outcome.report())
}

impl TickArgs {
    /// Returns the rooms to measure: every combination of the flags that gives a room, once.
    fn casts(&self) -> Vec<Cast> {
        let (participants, talkers) = match self.silent_participants {
            Some(silent) => (vec![silent], vec![Talkers::Number(0)]),
            None => (self.participants.clone(), self.talkers.clone()),
        };
        let mut casts = Vec::new();
        for &profile in &self.profile {
            for &people in &participants {
                let talkers = talkers.iter().filter_map(|talkers| talkers.of(people));
                let each =
                    talkers.flat_map(|talkers| self.personal.iter().map(move |it| (talkers, *it)));
                for (talkers, personal) in each {
                    let cast = Cast {
                        profile,
                        rooms: self.rooms,
                        people,
                        talkers,
                        personal,
                        rest: self.rest,
                        tick: self.tick_ms,
                    };
                    if people > 0 && !casts.contains(&cast) {
                        casts.push(cast);
                    }
                }
            }
        }
        casts
    }

    fn measure(&self, cast: Cast, speech: &Speech) -> Measured {
        let at_most = Duration::from_secs(self.at_most);
        let mut scene = Scene::new(cast, speech);
        let unwarmed = Instant::now() + at_most / 4;
        for _ in 0..WARM_UP_TICKS {
            // A room without talkers must have fallen silent before it is measured, however long
            // that takes.
            if cast.talkers > 0 && Instant::now() > unwarmed {
                break;
            }
            scene.turn();
        }
        let until = Instant::now() + at_most;
        let mut measured = Measured::new(cast, scene.totals());
        for done in 0..self.ticks {
            if done >= LEAST_TICKS && Instant::now() > until {
                break;
            }
            measured.add(scene.turn());
        }
        measured.end(scene.totals());
        measured
    }
}

fn tick_length(text: &str) -> Result<TickLength, &'static str> {
    match text {
        "10" => Ok(TickLength::Ms10),
        "20" => Ok(TickLength::Ms20),
        _ => Err("it must be 10 or 20 ms"),
    }
}

/// Ticks until a silent room has sent its last refresh and talkers are in the middle of their
/// speech.
const WARM_UP_TICKS: u64 = 150;

/// The least number of ticks, however long they take: fewer give no percentile.
const LEAST_TICKS: u64 = 20;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        tick: TickArgs,
    }

    fn args(words: &str) -> TickArgs {
        let words = std::iter::once("tick").chain(words.split_whitespace());
        Line::try_parse_from(words).unwrap().tick
    }

    fn sizes(args: &TickArgs) -> Vec<(usize, usize)> {
        let casts = args.casts();
        casts
            .iter()
            .map(|cast| (cast.people, cast.talkers))
            .collect()
    }

    #[test]
    fn bench_tick_skips_rooms_with_more_talkers_than_participants() {
        let args = args("--participants 2,3 --talkers 1,3,all --profile voice");
        assert_eq!(sizes(&args), [(2, 1), (2, 2), (3, 1), (3, 3)]);
    }

    #[test]
    fn bench_tick_measures_silent_participants_as_a_room_without_talkers() {
        let args = args("--rooms 10000 --silent-participants 1 --profile voice");
        assert_eq!(sizes(&args), [(1, 0)]);
        assert_eq!(args.casts()[0].rooms, 10_000);
    }

    #[test]
    fn bench_tick_measures_every_combination_of_its_flags() {
        let args = args(
            "--participants 2,4 --talkers 1,all --profile voice,thin --ticks 30 --rest silence",
        );
        let quiet = Outputs {
            quiet: true,
            ..Outputs::default()
        };
        let report = run(&args, &quiet).unwrap();
        assert_eq!(report.tables[0].rows.len(), 8);
        let value = |name: &str| {
            let found = report.values.iter().find(|(known, _)| known == name);
            found.unwrap_or_else(|| panic!("{name}")).1
        };
        assert_eq!(value("tick_voice_4_people_1_talking_ticks"), 30.0);
        assert_eq!(value("tick_voice_4_people_4_talking_packets_mean"), 4.0);
        assert!(value("tick_thin_2_people_1_talking_p50_us") > 0.0);
    }

    #[test]
    fn personal_gains_of_a_listener_cost_at_most_one_more_encode() {
        let args = args("--participants 10 --talkers 3 --profile voice --personal 0,2 --ticks 30");
        let quiet = Outputs {
            quiet: true,
            ..Outputs::default()
        };
        let report = run(&args, &quiet).unwrap();
        let value = |name: &str| {
            let found = report.values.iter().find(|(known, _)| known == name);
            found.unwrap_or_else(|| panic!("{name}")).1
        };
        let without = value("tick_voice_10_people_3_talking_encodes_mean");
        let with = value("tick_voice_10_people_3_talking_2_personal_encodes_mean");
        assert!(
            with > without && with <= without + 2.0,
            "{with} instead of {without}"
        );
    }

    #[test]
    fn bench_tick_refuses_flags_that_leave_nothing_to_measure() {
        let args = args("--participants 2 --talkers 3");
        assert!(matches!(
            run(&args, &Outputs::default()),
            Err(TickError::Nothing)
        ));
    }
}
