//! `mixminus bench latency`: how long a word takes through a server, and what is lost of it.
//!
//! Real WebRTC clients talk through each target, and the same clients connected to each other without any
//! server, in turn, each time anew, so that the phase between a talker's packets and the server's clock is chance.
//! What a server adds is what it takes longer than the median of the direct connections.
//!
//! | file | what |
//! |---|---|
//! | `script.rs` | what talkers say |
//! | `taps.rs` | when it was spoken, when it was heard |
//! | `judge.rs` | from both to delays and damage |
//! | `turns.rs` | the key that is pressed for each talk-spurt |
//! | `call.rs` | clients, connected through a target or directly |
//! | `outcome.rs` | the report |

use std::time::Duration;

use clap::Args;
use mixer::profile::Profile;
use thiserror::Error;

use super::member::MemberError;
use super::relay::Impairment;
use super::report::{Outputs, Report};
use super::target::{self, Target, TargetError, TargetOptions, TargetSpec};
use crate::join::JoinError;
use crate::join::pcm::PcmError;
use crate::join::uplink::Ptime;
use call::{Call, Findings};
use outcome::Outcome;
use script::MOST_TALKERS;

mod call;
mod judge;
mod outcome;
mod script;
mod taps;
mod turns;

/// Flags of `mixminus bench latency`.
#[derive(Debug, Clone, Args)]
pub struct LatencyArgs {
    /// What to talk through: self, whip:URL, janus (installed and started here), janus:ws://HOST:PORT; repeatable
    #[arg(long = "target", value_name = "TARGET", default_value = "self")]
    targets: Vec<TargetSpec>,
    /// How self and WHIP servers are asked to send: voice, low-delay, thin, music; each of several in turn
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    profile: Vec<Profile>,
    /// Packets Janus waits for before it mixes; each of several in turn
    #[arg(long, value_name = "N", value_delimiter = ',')]
    prebuffer: Vec<u32>,
    /// A flag more for the server that self starts; repeatable
    #[arg(long = "server-arg", value_name = "FLAG", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// How many talk at once, at phases of their own, 1 to 6
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = talkers)]
    talkers: usize,
    /// In a room with a floor: talkers press a key when a talk-spurt begins and release it at its end. The listener is
    /// there before them, so that the time to its first audio is not measured. Only self and WHIP servers of this kind
    #[arg(long)]
    ptt: bool,
    /// Packets of so many milliseconds, both ways: 10, 20, 40, 60 (default: talkers send 20, listeners ask for nothing)
    #[arg(long, value_name = "MS", value_parser = ptime)]
    ptime: Option<Ptime>,
    /// Talkers' packets come up to so much earlier or later than the mean, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    jitter: u64,
    /// Jitter lets packets overtake each other; otherwise they come as through one queue
    #[arg(long)]
    overtake: bool,
    /// So many of a hundred of the talkers' packets are lost
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// Talk-spurts of each talker, of each target
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    spurts: u64,
    /// How long each connection lasts
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(4..=600))]
    seconds: u64,
    /// Decides which packets are lost or late
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// A latency that cannot be measured.
#[derive(Debug, Error)]
pub enum LatencyError {
    /// A server does not do its part.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A client does not.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A client in a target's room does not.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// A client cannot talk or listen.
    #[error(transparent)]
    Pcm(#[from] PcmError),
    /// A listener heard nothing at all.
    #[error("through {who} nothing was heard")]
    Silent {
        /// Through what.
        who: String,
    },
    /// What was heard cannot be decoded.
    #[error("what was heard cannot be decoded: {0}")]
    Opus(#[from] opus::Error),
    /// There are no threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

/// One target with one set of options.
#[derive(Debug, Clone)]
struct Subject {
    name: String,
    spec: TargetSpec,
    options: TargetOptions,
}

/// Measures what the flags ask for.
///
/// # Errors
/// [`LatencyError`] when a target does not start or somebody cannot talk through it.
pub fn run(args: &LatencyArgs, outputs: &Outputs) -> Result<Report, LatencyError> {
    let runtime = tokio::runtime::Runtime::new().map_err(LatencyError::Threads)?;
    runtime.block_on(async {
        let mut targets = Vec::new();
        let measured = args.measure(&mut targets, outputs).await;
        for (_, target) in targets {
            target.stop().await;
        }
        measured
    })
}

impl LatencyArgs {
    async fn measure(
        &self,
        targets: &mut Vec<(Subject, Target)>,
        outputs: &Outputs,
    ) -> Result<Report, LatencyError> {
        let subjects = self.subjects();
        let rounds = self.rounds();
        let progress = outputs.progress("latency", rounds * (1 + subjects.len() as u64));
        for subject in subjects {
            progress.note(format!("starting {}", subject.name));
            let target = target::start(&subject.spec, &subject.options).await?;
            targets.push((subject, target));
        }
        let names = targets.iter().map(|(subject, _)| subject.name.clone());
        let mut outcome = Outcome::new(self.conditions(), names);
        let mut done = 0;
        for round in 0..rounds {
            progress.set(done).note("direct");
            outcome.direct.add(self.directly().await?);
            done += 1;
            for (at, (subject, target)) in targets.iter().enumerate() {
                progress.set(done).note(subject.name.as_str());
                let found = self.through(subject, target, round).await?;
                outcome.targets[at].findings.add(found);
                done += 1;
            }
        }
        progress.finish();
        Ok(outcome.report())
    }

    async fn directly(&self) -> Result<Findings, LatencyError> {
        let call = Call::direct(self.sent_ptime()).await?;
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        call.end("direct").await
    }

    async fn through(
        &self,
        subject: &Subject,
        target: &Target,
        round: u64,
    ) -> Result<Findings, LatencyError> {
        let plan = call::Plan {
            room: format!("latency-{round}"),
            talkers: self.talkers,
            ptt: self.ptt,
            ptime: self.sent_ptime(),
            asked_ptime: self.ptime,
            way: self.way(),
            seed: self.seed.wrapping_mul(1_000).wrapping_add(round),
        };
        let call = Call::through(target, &plan).await?;
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        call.end(&subject.name).await
    }

    /// What is measured: each target with each of the options that mean something to it.
    fn subjects(&self) -> Vec<Subject> {
        let with_janus = self.targets.contains(&TargetSpec::Janus(None));
        let base = TargetOptions {
            server_args: self.server_args.clone(),
            // Next to a Janus in a namespace, the way there is to be the same.
            netns: with_janus,
            room_capacity: MOST_TALKERS + 1,
            ..TargetOptions::default()
        };
        let mut subjects = Vec::new();
        for spec in &self.targets {
            let of = |suffix: String, options: TargetOptions| Subject {
                name: format!("{spec}{suffix}"),
                spec: spec.clone(),
                options,
            };
            let varied: Vec<Subject> = match spec {
                TargetSpec::Janus(_) => self
                    .prebuffer
                    .iter()
                    .map(|&packets| {
                        let options = TargetOptions {
                            prebuffer: Some(packets),
                            ..base.clone()
                        };
                        of(format!(" prebuffer {packets}"), options)
                    })
                    .collect(),
                TargetSpec::Own | TargetSpec::Whip(_) => self
                    .profile
                    .iter()
                    .map(|&profile| {
                        let options = TargetOptions {
                            profile: Some(profile),
                            ..base.clone()
                        };
                        of(format!(" {profile}"), options)
                    })
                    .collect(),
            };
            if varied.is_empty() {
                subjects.push(of(String::new(), base.clone()));
            }
            subjects.extend(varied);
        }
        subjects
    }

    /// So many connections that each talker has said enough.
    fn rounds(&self) -> u64 {
        // The second before the listener is in, and after which nothing more would be heard in time.
        let heard_ms = (self.seconds - 1) * 1_000;
        (self.spurts * SPURT_MS).div_ceil(heard_ms)
    }

    fn sent_ptime(&self) -> Ptime {
        self.ptime.unwrap_or_default()
    }

    fn way(&self) -> Option<Impairment> {
        (self.jitter > 0 || self.loss > 0.0).then(|| Impairment {
            loss: self.loss / 100.0,
            jitter: Duration::from_millis(2 * self.jitter),
            ordered: !self.overtake,
        })
    }

    /// The circumstances, as the report says them.
    fn conditions(&self) -> String {
        let talkers = match self.talkers {
            1 => "1 talker".to_owned(),
            talkers => format!("{talkers} talkers"),
        };
        let talkers = match self.ptt {
            true => format!("{talkers}, push-to-talk"),
            false => talkers,
        };
        let ptime = format!("packets of {} ms", self.sent_ptime().ms());
        let way = match self.way() {
            None => "a clean way".to_owned(),
            Some(way) => format!(
                "jitter of ±{} ms {} and {} % loss on the way in",
                self.jitter,
                if way.ordered {
                    "in order"
                } else {
                    "out of order"
                },
                self.loss
            ),
        };
        format!("{talkers}, {ptime}, {way}")
    }
}

fn talkers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(talkers) if (1..=MOST_TALKERS).contains(&talkers) => Ok(talkers),
        _ => Err(format!("a number from 1 to {MOST_TALKERS}")),
    }
}

fn ptime(text: &str) -> Result<Ptime, &'static str> {
    let ms = text.parse().ok();
    ms.and_then(Ptime::from_ms).ok_or("10, 20, 40 or 60")
}

fn percent(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100"),
    }
}

/// From one talk-spurt to the next, at the most often.
const SPURT_MS: u64 = 2_010;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        latency: LatencyArgs,
    }

    fn args(words: &str) -> LatencyArgs {
        let words = std::iter::once("latency").chain(words.split_whitespace());
        Line::try_parse_from(words).unwrap().latency
    }

    fn names(words: &str) -> Vec<String> {
        let subjects = args(words).subjects();
        subjects.into_iter().map(|subject| subject.name).collect()
    }

    #[test]
    fn each_target_is_measured_with_each_of_its_options() {
        assert_eq!(names(""), ["self"]);
        assert_eq!(
            names("--target self --target janus --prebuffer 1,2,6"),
            [
                "self",
                "janus prebuffer 1",
                "janus prebuffer 2",
                "janus prebuffer 6"
            ]
        );
        assert_eq!(
            names("--profile voice,low-delay"),
            ["self voice", "self low-delay"]
        );
    }

    #[test]
    fn self_is_in_a_namespace_where_janus_is() {
        let netns = |words| args(words).subjects()[0].options.netns;
        assert!(!netns("--target self"));
        assert!(netns("--target self --target janus"));
    }

    #[test]
    fn jitter_is_twice_as_wide_as_it_is_deep() {
        assert_eq!(args("").way(), None);
        let way = args("--jitter 30 --loss 2").way().unwrap();
        assert_eq!(way.jitter, Duration::from_millis(60));
        assert!((way.loss - 0.02).abs() < 1e-9);
    }

    #[test]
    fn there_are_as_many_connections_as_the_spurts_need() {
        assert_eq!(args("--spurts 1 --seconds 4").rounds(), 1);
        assert_eq!(args("--spurts 30 --seconds 10").rounds(), 7);
    }

    #[test]
    fn unusable_values_are_refused() {
        for words in [
            "--talkers 0",
            "--talkers 7",
            "--ptime 30",
            "--loss 101",
            "--target own",
        ] {
            let line = std::iter::once("latency").chain(words.split_whitespace());
            assert!(Line::try_parse_from(line).is_err(), "{words}");
        }
    }
}
