//! A libwebrtc client as talker or listener: it measures what a browser's receiver plays, not what
//! the own client's does.
//!
//! `tests/tools/wrtc.sh` runs `@roamhq/wrtc` under Node. The script plays a file into a call,
//! records what its jitter buffer plays, and reports the instant of the first sample of each on the
//! system's monotonic clock.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::report::quantile;
use super::target::child::{Directory, Process};
use super::target::{Target, TargetError};

/// The client that talks and listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ClientKind {
    /// The client of `mixminus join`, without its jitter buffer
    #[default]
    Own,
    /// The WebRTC stack of browsers, with its jitter buffer: needs tests/tools/wrtc.sh and Node 18
    Libwebrtc,
}

/// Why a libwebrtc client fails.
#[derive(Debug, Error)]
pub enum LibwebrtcError {
    /// The script `tests/tools/wrtc.sh` is missing.
    #[error("cannot start the libwebrtc client: {SCRIPT} is not in the current directory")]
    Missing,
    /// The client cannot be started, or the server makes no room for it.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The client ended early, or never connected.
    #[error("the libwebrtc client failed; the end of its output:\n{said}")]
    Failed {
        /// The last lines of its output.
        said: String,
    },
}

/// What a client does in a call: what it plays, what it records, and for how long.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// A 16-bit mono WAV file to play; a client without one only listens.
    pub(super) play: Option<PathBuf>,
    /// Where to record what is heard.
    pub(super) record: Option<PathBuf>,
    /// How long the call lasts after it is connected.
    pub(super) time: Duration,
}

/// A running libwebrtc client that takes part in a call.
pub(super) struct Client {
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
    time: Duration,
    /// Ends the process when dropped.
    _process: Process,
}

/// The report that a client prints at its end.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ClientReport {
    play: Spoken,
    record: Recorded,
    /// The receiver's counters, if a packet arrived.
    pub(super) inbound: Option<Inbound>,
}

#[derive(Debug, Clone, Deserialize)]
struct Spoken {
    /// The instant of the first sample played, in microseconds of the monotonic clock; `None` if
    /// nothing was played.
    start_us: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
struct Recorded {
    /// Estimates of the instant of the first sample recorded, one from each second of the
    /// recording, in microseconds of the monotonic clock.
    starts_us: Vec<f64>,
}

/// Samples that the receiver's jitter buffer played or changed (W3C webrtc-stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Inbound {
    /// All samples that the jitter buffer played.
    pub(super) total_samples_received: f64,
    /// Samples made up for missing packets.
    pub(super) concealed_samples: f64,
    /// Concealed samples that were silent or comfort noise.
    pub(super) silent_concealed_samples: f64,
    /// Samples inserted to lengthen the delay.
    pub(super) inserted_samples_for_deceleration: f64,
    /// Samples removed to shorten the delay.
    pub(super) removed_samples_for_acceleration: f64,
}

impl Client {
    /// Joins a room of a target and waits until media can flow.
    ///
    /// # Errors
    /// [`LibwebrtcError`] when no connection is established.
    pub(super) async fn join(
        target: &Target,
        room: &str,
        name: &str,
        part: Part,
    ) -> Result<Client, LibwebrtcError> {
        let address = target.foreign_address(room).await?;
        let mut client = Client::start(Path::new(SCRIPT), &address, name, part)?;
        client.until(CONNECTED).await?;
        Ok(client)
    }

    /// Connects two clients to each other; the first calls the second.
    ///
    /// # Errors
    /// [`LibwebrtcError`] when no connection is established.
    pub(super) async fn pair(
        caller: Part,
        callee: Part,
    ) -> Result<(Client, Client), LibwebrtcError> {
        let port = free_port()?;
        let script = Path::new(SCRIPT);
        let address = format!("serve:127.0.0.1:{port}");
        let mut callee = Client::start(script, &address, "callee", callee)?;
        callee.until(LISTENING).await?;
        let address = format!("http://127.0.0.1:{port}/");
        let mut caller = Client::start(script, &address, "caller", caller)?;
        caller.until(CONNECTED).await?;
        callee.until(CONNECTED).await?;
        Ok((caller, callee))
    }

    fn start(
        script: &Path,
        address: &str,
        name: &str,
        part: Part,
    ) -> Result<Client, LibwebrtcError> {
        if !script.exists() {
            return Err(LibwebrtcError::Missing);
        }
        let mut command = Command::new("sh");
        // Standard output and standard error are merged into one list of lines.
        command.args(["-c", "exec sh \"$0\" \"$@\" 2>&1"]);
        command.arg(script).arg(address);
        command.args(["--name", name, "--lead", "0"]);
        command.args(["--seconds", &part.time.as_secs_f64().to_string()]);
        match &part.play {
            Some(file) => command.arg("--play").arg(file),
            None => command.arg("--recvonly"),
        };
        if let Some(file) = &part.record {
            command.arg("--record").arg(file);
        }
        let (process, lines) = Process::start(SCRIPT, command, Directory::new()?)?;
        Ok(Client {
            lines,
            said: Vec::new(),
            time: part.time,
            _process: process,
        })
    }

    /// Waits for the end of the call.
    ///
    /// # Errors
    /// [`LibwebrtcError::Failed`] when the client prints no valid report.
    pub(super) async fn finish(mut self) -> Result<ClientReport, LibwebrtcError> {
        let limit = self.time + STEP_TIME;
        let outcome = timeout(limit, async {
            while let Some(line) = self.lines.recv().await {
                if let Ok(outcome) = serde_json::from_str(&line) {
                    return Some(outcome);
                }
                self.said.push(line);
            }
            None
        });
        match outcome.await {
            Ok(Some(outcome)) => Ok(outcome),
            _ => Err(self.failed()),
        }
    }

    async fn until(&mut self, word: &str) -> Result<(), LibwebrtcError> {
        let said = timeout(STEP_TIME, async {
            while let Some(line) = self.lines.recv().await {
                if line == word {
                    return true;
                }
                self.said.push(line);
            }
            false
        });
        match said.await {
            Ok(true) => Ok(()),
            _ => Err(self.failed()),
        }
    }

    fn failed(&self) -> LibwebrtcError {
        let last = self.said.len().saturating_sub(SHOWN_LINES);
        LibwebrtcError::Failed {
            said: self.said[last..].join("\n"),
        }
    }
}

impl ClientReport {
    /// Returns when the client's first sample was spoken; `None` for a client that only listened.
    pub(super) fn spoken(&self) -> Option<Instant> {
        self.play.start_us.and_then(instant_of)
    }

    /// Returns when the first sample of the recording was heard; `None` if nothing was heard.
    pub(super) fn heard(&self) -> Option<Instant> {
        // The quantile of an empty recording is NaN, which is no instant.
        instant_of(quantile(&self.record.starts_us, 0.5))
    }
}

impl Inbound {
    /// Adds the counters of another receiver.
    pub(super) fn add(&mut self, other: Inbound) {
        self.total_samples_received += other.total_samples_received;
        self.concealed_samples += other.concealed_samples;
        self.silent_concealed_samples += other.silent_concealed_samples;
        self.inserted_samples_for_deceleration += other.inserted_samples_for_deceleration;
        self.removed_samples_for_acceleration += other.removed_samples_for_acceleration;
    }
}

/// Converts a time of the system's monotonic clock, in microseconds, to an `Instant`.
fn instant_of(us: f64) -> Option<Instant> {
    let now = clock_gettime(ClockId::Monotonic);
    let now_us = now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3;
    let ago = Duration::try_from_secs_f64((now_us - us) / 1e6).ok()?;
    Instant::now().checked_sub(ago)
}

/// Returns a TCP port that is not in use.
fn free_port() -> Result<u16, TargetError> {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = bound.map_err(|source| TargetError::Prepare {
        what: "a port for a direct call",
        source,
    })?;
    Ok(address.port())
}

/// Path relative to the repository's root.
const SCRIPT: &str = "tests/tools/wrtc.sh";

/// Lines that a client prints when it can be called, and when media can flow.
const LISTENING: &str = "listening";
const CONNECTED: &str = "connected";

/// The time limit of each step of a client's start; long because the first run downloads the
/// packages.
const STEP_TIME: Duration = Duration::from_secs(300);

const SHOWN_LINES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libwebrtc_report_is_parsed_and_converted_to_instants() {
        let now = clock_gettime(ClockId::Monotonic);
        let second_ago_us = (now.tv_sec - 1) as f64 * 1e6 + now.tv_nsec as f64 / 1e3;
        let line = format!(
            r#"{{"connected_ms": 8.5, "play": {{"late_ms": 0}}, "record": {{"starts_us": [0, {second_ago_us}, 9e15], "late_ms": 1.5}},
                "inbound": {{"kind": "audio", "totalSamplesReceived": 96000, "concealedSamples": 480,
                "insertedSamplesForDeceleration": 12, "removedSamplesForAcceleration": 34}}}}"#
        );
        let outcome: ClientReport = serde_json::from_str(&line).expect("as wrtc.mjs writes it");
        assert_eq!(outcome.spoken(), None);
        let heard = outcome.heard().expect("it was heard").elapsed();
        assert!(heard >= Duration::from_millis(999), "{heard:?}");
        let mut inbound = outcome.inbound.expect("counted");
        inbound.add(inbound);
        assert_eq!(inbound.removed_samples_for_acceleration, 68.0);
        assert_eq!(inbound.inserted_samples_for_deceleration, 24.0);
        assert_eq!(inbound.concealed_samples, 960.0);
        // A client that heard nothing reports no receiver.
        let silent = r#"{"connected_ms": 1, "play": {"start_us": 5}, "record": {"starts_us": []}}"#;
        let silent: ClientReport = serde_json::from_str(silent).expect("without a receiver");
        assert_eq!(silent.heard(), None);
        assert!(silent.inbound.is_none());
    }

    /// Starts a client whose script is `text`; returns it with the script's folder.
    fn scripted(text: &str, part: Part) -> Result<(Client, Directory), LibwebrtcError> {
        let directory = Directory::new()?;
        directory.write("wrtc.sh", text)?;
        let script = directory.path().join("wrtc.sh");
        let client = Client::start(&script, "nowhere", "ear", part)?;
        Ok((client, directory))
    }

    #[tokio::test]
    async fn libwebrtc_client_output_is_read_from_its_connection_to_its_exit() {
        let script = r#"
            echo "a warning" >&2
            echo connected >&2
            echo "$*" >&2
            echo '{"connected_ms": 3, "play": {"start_us": 7}, "record": {"starts_us": []}}'
        "#;
        let part = Part {
            play: Some("said.wav".into()),
            ..Part::default()
        };
        let (mut client, _script) = scripted(script, part).expect("a shell");
        client.until(CONNECTED).await.expect("it says so");
        assert_eq!(client.said, ["a warning"]);
        let outcome = client.finish().await.expect("it says what it saw");
        assert!(outcome.inbound.is_none() && outcome.heard().is_none());
    }

    #[tokio::test]
    async fn failure_of_a_libwebrtc_client_quotes_its_output() {
        let (mut client, _script) =
            scripted("echo no call today >&2", Part::default()).expect("a shell");
        let error = client.until(CONNECTED).await.expect_err("it ended");
        assert!(error.to_string().contains("no call today"), "{error}");
        let missing = Client::start(Path::new("/none"), "nowhere", "ear", Part::default());
        assert!(matches!(missing, Err(LibwebrtcError::Missing)));
    }
}
