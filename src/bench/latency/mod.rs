//! `mixminus bench latency`: the delay of speech through a server, and the share of it that is
//! damaged.
//!
//! Real WebRTC clients talk through each target, and the same clients connected to each other
//! without a server, alternately and with new connections each time, so that the phase between a
//! talker's packets and the server's clock is random. What a server adds is its delay minus the
//! median of the direct connections.
//!
//! | file | what |
//! |---|---|
//! | `stimulus.rs` | what talkers send |
//! | `taps.rs` | when each sample was spoken and heard |
//! | `analysis.rs` | computes delays and damage from both |
//! | `ptt.rs` | the key that is pressed for each talk-spurt |
//! | `call.rs` | clients, connected through a target or directly |
//! | `libwebrtc_call.rs` | the same calls with libwebrtc clients |
//! | `report.rs` | the report |

use std::time::Duration;

use clap::Args;
use mixer::codec::Profile;
use thiserror::Error;

use super::libwebrtc::{ClientKind, LibwebrtcError};
use super::relay::Impairment;
use super::report::{Outputs, Report};
use super::room_client::RoomClientError;
use super::target::{self, Target, TargetError, TargetOptions, TargetSpec};
use crate::join::JoinError;
use crate::join::pcm::PcmError;
use crate::join::uplink::Ptime;
use call::{Call, Findings};
use report::LatencyReport;
use stimulus::MOST_TALKERS;

mod analysis;
mod call;
mod libwebrtc_call;
mod ptt;
mod report;
mod stimulus;
mod taps;

/// Flags of `mixminus bench latency`.
#[derive(Debug, Clone, Args)]
pub struct LatencyArgs {
    /// Servers to talk through: self, whip:URL, janus (installed and started here),
    /// janus:ws://HOST:PORT; repeatable
    #[arg(long = "target", value_name = "TARGET", default_value = "self")]
    targets: Vec<TargetSpec>,
    /// Profiles that self and WHIP servers are asked for, measured in turn: voice, radio, low-delay, thin, music
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    profile: Vec<Profile>,
    /// Packets that Janus queues before it mixes, measured in turn
    #[arg(long, value_name = "N", value_delimiter = ',')]
    prebuffer: Vec<u32>,
    /// Additional flag for the server that self starts; repeatable
    #[arg(long = "server-arg", value_name = "FLAG", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// Client that talks and listens; libwebrtc supports one talker without jitter or loss, and its
    /// delays include its jitter buffer
    #[arg(long, value_name = "CLIENT", value_enum, default_value_t)]
    client: ClientKind,
    /// Number of talkers at one time, each with its own packet phase, 1 to 6
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = talkers)]
    talkers: usize,
    /// Use a room with a floor: talkers request the floor when a talk-spurt begins and release it
    /// at its end. The listener joins before them, so that its time to first audio is not measured.
    /// Only for self, and for WHIP URLs of mixminus servers
    #[arg(long)]
    ptt: bool,
    /// Packet duration in milliseconds, both ways: 10, 20, 40, 60 [default: talkers send 20,
    /// listeners do not request any]
    #[arg(long, value_name = "MS", value_parser = ptime)]
    ptime: Option<Ptime>,
    /// Jitter of the talkers' packets around the mean, plus or minus milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    jitter: u64,
    /// Let jitter reorder packets; otherwise they arrive in order
    #[arg(long)]
    overtake: bool,
    /// Loss of the talkers' packets, percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// Number of talk-spurts per talker and target
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    spurts: u64,
    /// Length of each call in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(4..=600))]
    seconds: u64,
    /// Seed of loss and jitter
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Why a latency cannot be measured.
#[derive(Debug, Error)]
pub enum LatencyError {
    /// The server does not start or answer.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A client does not connect.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A client does not join the target's room.
    #[error(transparent)]
    RoomClient(#[from] RoomClientError),
    /// A libwebrtc client failed.
    #[error(transparent)]
    Libwebrtc(#[from] LibwebrtcError),
    /// A flag that only this project's own client supports.
    #[error("--client libwebrtc cannot be combined with {flag}")]
    OwnClientOnly {
        /// The name of the flag.
        flag: &'static str,
    },
    /// A client cannot talk or listen.
    #[error(transparent)]
    Pcm(#[from] PcmError),
    /// A listener heard nothing at all.
    #[error("no audio was received through {who}")]
    Silent {
        /// The name of the target.
        who: String,
    },
    /// What was heard cannot be decoded.
    #[error("cannot decode the received audio: {0}")]
    Opus(#[from] opus::Error),
    /// No threads can be started.
    #[error("cannot start the threads of the benchmark: {0}")]
    Threads(std::io::Error),
}

/// A target to measure, with the options to start it with.
#[derive(Debug, Clone)]
struct Subject {
    name: String,
    spec: TargetSpec,
    options: TargetOptions,
}

/// Measures what the flags ask for.
///
/// # Errors
/// [`LatencyError`] when a target does not start or a client cannot talk through it.
pub fn run(args: &LatencyArgs, outputs: &Outputs) -> Result<Report, LatencyError> {
    if let Some(flag) = args.own_client_only() {
        return Err(LatencyError::OwnClientOnly { flag });
    }
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
        let mut outcome = LatencyReport::new(self.conditions(), self.client, names);
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

    /// Returns the first flag that the chosen client does not support.
    fn own_client_only(&self) -> Option<&'static str> {
        let flags = [
            (self.talkers > 1, "--talkers"),
            (self.ptt, "--ptt"),
            (self.ptime.is_some(), "--ptime"),
            (self.jitter > 0, "--jitter"),
            (self.loss > 0.0, "--loss"),
        ];
        let given = flags.into_iter().find(|(given, _)| *given);
        given
            .filter(|_| self.client == ClientKind::Libwebrtc)
            .map(|(_, flag)| flag)
    }

    async fn directly(&self) -> Result<Findings, LatencyError> {
        if self.client == ClientKind::Libwebrtc {
            return libwebrtc_call::direct(Duration::from_secs(self.seconds)).await;
        }
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
        let room = format!("latency-{round}");
        if self.client == ClientKind::Libwebrtc {
            let time = Duration::from_secs(self.seconds);
            return libwebrtc_call::through(target, &room, time).await;
        }
        let plan = call::Plan {
            room,
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

    /// Returns each target with each combination of the options that apply to it.
    fn subjects(&self) -> Vec<Subject> {
        let with_janus = self.targets.contains(&TargetSpec::Janus(None));
        let base = TargetOptions {
            server_args: self.server_args.clone(),
            // If Janus is measured too, which runs in a namespace, this server must be reached in
            // the same way.
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

    /// Returns the number of connections that each talker needs for its talk-spurts.
    fn rounds(&self) -> u64 {
        // One second of each call is not heard: the listener joins after the start, and the sound
        // of the end arrives too late.
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

    /// Describes the settings, for the report.
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
        match self.client {
            ClientKind::Own => format!("{talkers}, {ptime}, {way}"),
            ClientKind::Libwebrtc => "libwebrtc clients".to_owned(),
        }
    }
}

fn talkers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(talkers) if (1..=MOST_TALKERS).contains(&talkers) => Ok(talkers),
        _ => Err(format!(
            "it must be a whole number from 1 to {MOST_TALKERS}"
        )),
    }
}

fn ptime(text: &str) -> Result<Ptime, &'static str> {
    let ms = text.parse().ok();
    ms.and_then(Ptime::from_ms)
        .ok_or("it must be 10, 20, 40 or 60 ms")
}

fn percent(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("it must be a number from 0 to 100 percent"),
    }
}

/// The shortest time from the start of one talk-spurt to the next.
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
    fn bench_latency_measures_each_target_with_each_combination_of_its_options() {
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
    fn bench_latency_runs_the_target_self_in_a_namespace_if_janus_is_measured_too() {
        let netns = |words| args(words).subjects()[0].options.netns;
        assert!(!netns("--target self"));
        assert!(netns("--target self --target janus"));
    }

    #[test]
    fn jitter_flag_is_half_the_range_of_the_emulated_delays() {
        assert_eq!(args("").way(), None);
        let way = args("--jitter 30 --loss 2").way().unwrap();
        assert_eq!(way.jitter, Duration::from_millis(60));
        assert!((way.loss - 0.02).abs() < 1e-9);
    }

    #[test]
    fn bench_latency_repeats_the_call_until_it_has_the_requested_talk_spurts() {
        assert_eq!(args("--spurts 1 --seconds 4").rounds(), 1);
        assert_eq!(args("--spurts 30 --seconds 10").rounds(), 7);
    }

    #[test]
    fn bench_latency_refuses_flags_that_the_libwebrtc_client_does_not_support() {
        assert_eq!(args("--talkers 3 --ptt").own_client_only(), None);
        assert_eq!(args("--client libwebrtc").own_client_only(), None);
        for flag in [
            "--talkers 2",
            "--ptt",
            "--ptime 10",
            "--jitter 5",
            "--loss 1",
        ] {
            let named = args(&format!("--client libwebrtc {flag}")).own_client_only();
            assert_eq!(named, flag.split(' ').next(), "{flag}");
        }
    }

    #[test]
    fn bench_latency_refuses_flag_values_out_of_range() {
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
