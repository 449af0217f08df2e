//! `mixminus bench listen`: records voices after a server, for an instrument such as PESQ or POLQA,
//! or for the ear.
//!
//! Each voice talks in a room of its own, all at the same time, through each target in turn; one
//! client listens in each room and records what it hears. The rooms have no other participants.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mixer::codec::Profile;
use mixer::format::SAMPLE_RATE_HZ;
use thiserror::Error;

use super::libwebrtc::{Client, ClientKind, LibwebrtcError, Part};
use super::report::{Outputs, Report, Table};
use super::room_client::{Entrance, RoomClient, RoomClientError};
use super::target::child::Directory;
use super::target::{self, Target, TargetError, TargetOptions, TargetSpec};
use crate::join::media::MediaOptions;
use crate::join::opus::VoiceSettings;
use crate::join::pcm::{self, FileKind, PcmError};

/// Flags of `mixminus bench listen`.
#[derive(Debug, Clone, Args)]
pub struct ListenArgs {
    /// Voices to send: WAV or Ogg Opus files, at most 16
    #[arg(value_name = "FILE", required = true, num_args = 1..=16)]
    voices: Vec<PathBuf>,
    /// Servers to send the voices through: self, whip:URL, janus (installed and started here),
    /// janus:ws://HOST:PORT; repeatable
    #[arg(long = "target", value_name = "TARGET", default_value = "self")]
    targets: Vec<TargetSpec>,
    /// Profile that self and WHIP servers are asked for: voice, radio, low-delay, thin, music
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// Client that talks and listens; libwebrtc chooses its own bitrate
    #[arg(long, value_name = "CLIENT", value_enum, default_value_t)]
    client: ClientKind,
    /// Bitrate that talkers send, bits per second
    #[arg(long, value_name = "BPS", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(6_000..=128_000))]
    bitrate: u32,
    /// Packets that Janus queues before it mixes
    #[arg(long, value_name = "N")]
    prebuffer: Option<u32>,
    /// Additional flag for the server that self starts; repeatable
    #[arg(long = "server-arg", value_name = "FLAG", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// Number of times that each voice is sent through each target
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Folder for the recordings, VOICE.TARGET.ROUND.wav; a second voice of the same name becomes VOICE-2
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
}

/// Why voices cannot be recorded.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The server does not start or answer.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A client cannot talk, listen or record.
    #[error(transparent)]
    Pcm(#[from] PcmError),
    /// A client does not join.
    #[error(transparent)]
    RoomClient(#[from] RoomClientError),
    /// A libwebrtc client failed.
    #[error(transparent)]
    Libwebrtc(#[from] LibwebrtcError),
    /// No threads can be started.
    #[error("cannot start the threads of the benchmark: {0}")]
    Threads(std::io::Error),
}

/// Records what the flags ask for.
///
/// # Errors
/// [`ListenError`] when a target does not start, a voice cannot be played or a recording not be
/// written.
pub fn run(args: &ListenArgs, outputs: &Outputs) -> Result<Report, ListenError> {
    let runtime = tokio::runtime::Runtime::new().map_err(ListenError::Threads)?;
    runtime.block_on(args.record_all(outputs))
}

impl ListenArgs {
    async fn record_all(&self, outputs: &Outputs) -> Result<Report, ListenError> {
        let steps = u64::from(self.rounds) * self.targets.len() as u64;
        let progress = outputs.progress("listen", steps);
        let mut rows = Vec::new();
        let voices = distinct(self.voices.iter().map(|voice| stem(voice)));
        let ways = distinct(self.targets.iter().map(|spec| plain(&spec.to_string())));
        for round in 1..=self.rounds {
            for (spec, way) in self.targets.iter().zip(&ways) {
                progress.set(rows.len() as u64 / self.voices.len() as u64);
                progress.note(format!("round {round}, {spec}"));
                let target = target::start(spec, &self.options()).await?;
                let into = voices.iter();
                let into = into.map(|voice| self.into.join(format!("{voice}.{way}.{round}.wav")));
                let into = into.collect();
                let recorded = match self.client {
                    ClientKind::Own => self.record(&target, round, into).await,
                    ClientKind::Libwebrtc => self.record_foreign(&target, round, into).await,
                };
                let name = target.name().to_owned();
                target.stop().await;
                for recording in recorded? {
                    rows.push(vec![name.clone(), recording.display().to_string()]);
                }
            }
        }
        progress.finish();
        Ok(self.report(rows))
    }

    /// Sends every voice once through one target.
    ///
    /// - `recordings`: paths in the voices' order; returned when the recordings are complete.
    async fn record(
        &self,
        target: &Target,
        round: u32,
        recordings: Vec<PathBuf>,
    ) -> Result<Vec<PathBuf>, ListenError> {
        let mut members = Vec::new();
        let mut longest = Duration::ZERO;
        for (number, (voice, recording)) in self.voices.iter().zip(&recordings).enumerate() {
            longest = longest.max(length_of(voice)?);
            let entrance = Entrance {
                target,
                room: &format!("listen-{round}-{number}"),
                asked_ptime: None,
                way: None,
            };
            let ear = MediaOptions {
                sink: Some(FileKind::Wav.create(recording)?),
                ..MediaOptions::default()
            };
            members.push(RoomClient::join(entrance, "ear", ear).await?);
            let mouth = MediaOptions {
                source: Some(pcm::open(voice)?),
                voice: VoiceSettings {
                    bitrate_bps: self.bitrate,
                    fec: false,
                },
                ..MediaOptions::default()
            };
            members.push(RoomClient::join(entrance, "mouth", mouth).await?);
        }
        tokio::time::sleep(longest + ON_ITS_WAY).await;
        for member in members {
            member.leave(target).await?;
        }
        Ok(recordings)
    }

    /// Sends every voice once through one target, with libwebrtc clients.
    async fn record_foreign(
        &self,
        target: &Target,
        round: u32,
        recordings: Vec<PathBuf>,
    ) -> Result<Vec<PathBuf>, ListenError> {
        let said = Directory::new()?;
        let mut clients = Vec::new();
        for (number, (voice, recording)) in self.voices.iter().zip(&recordings).enumerate() {
            let room = format!("listen-{round}-{number}");
            let time = length_of(voice)? + ON_ITS_WAY;
            let ear = Part {
                play: None,
                record: Some(recording.clone()),
                time: time + JOINING,
            };
            clients.push(Client::join(target, &room, "ear", ear).await?);
            let mouth = Part {
                play: Some(as_wav(voice, &said.path().join(format!("{number}.wav")))?),
                record: None,
                time,
            };
            clients.push(Client::join(target, &room, "mouth", mouth).await?);
        }
        for client in clients {
            client.finish().await?;
        }
        Ok(recordings)
    }

    fn options(&self) -> TargetOptions {
        TargetOptions {
            profile: self.profile,
            prebuffer: self.prebuffer,
            server_args: self.server_args.clone(),
            ..TargetOptions::default()
        }
    }

    fn report(&self, rows: Vec<Vec<String>>) -> Report {
        let profile = self.profile.unwrap_or_default();
        Report {
            title: "Voices through servers".to_owned(),
            notes: vec![match self.client {
                ClientKind::Own => format!(
                    "{} bit/s sent, profile {profile}, one talker and one listener in each room.",
                    self.bitrate
                ),
                ClientKind::Libwebrtc => format!(
                    "libwebrtc clients, profile {profile}, one talker and one listener in each room."
                ),
            }],
            values: vec![("recordings".to_owned(), rows.len() as f64)],
            tables: vec![Table {
                title: "Recordings".to_owned(),
                columns: ["target", "file"].map(str::to_owned).into(),
                rows,
            }],
            ..Report::default()
        }
    }
}

/// Returns a voice's name, which is its file name without the extension.
fn stem(voice: &Path) -> String {
    let stem = voice.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Returns a target's name with `-` for each character that is not alphanumeric, for file names.
fn plain(target: &str) -> String {
    target.replace(|it: char| !it.is_alphanumeric(), "-")
}

/// Makes names unique, so that no recording overwrites another.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let mut other = (2..).map(|number| format!("{name}-{number}"));
        let mut free = name.clone();
        while taken.contains(&free) {
            free = other.next().expect("there is always another number");
        }
        taken.push(free);
    }
    taken
}

/// Writes a voice as a 16-bit mono WAV file, the only format that the libwebrtc client plays.
fn as_wav(voice: &Path, file: &Path) -> Result<PathBuf, PcmError> {
    let pcm = pcm::read_all(&mut *pcm::open(voice)?)?;
    let mut sink = FileKind::Wav.create(file)?;
    sink.write(&pcm)?;
    sink.finish()?;
    Ok(file.to_owned())
}

/// Returns the duration of a voice.
fn length_of(voice: &Path) -> Result<Duration, PcmError> {
    let samples = pcm::read_all(&mut *pcm::open(voice)?)?.len();
    Ok(Duration::from_secs_f64(
        samples as f64 / f64::from(SAMPLE_RATE_HZ),
    ))
}

/// The longest delay from a spoken sample to its sound, through any server.
const ON_ITS_WAY: Duration = Duration::from_millis(1_500);

/// How long before the talker the listener joins. It stays until the talker has finished.
const JOINING: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        listen: ListenArgs,
    }

    #[test]
    fn listen_requires_a_voice() {
        assert!(Line::try_parse_from(["listen"]).is_err());
        let line = Line::try_parse_from(["listen", "a.wav", "b.wav", "--target", "janus"]);
        let args = line.expect("two voices").listen;
        assert_eq!(args.voices.len(), 2);
        assert_eq!(args.bitrate, 48_000);
        assert_eq!(args.client, ClientKind::Own);
        let line = Line::try_parse_from(["listen", "a.wav", "--client", "libwebrtc"]);
        assert_eq!(line.expect("a client").listen.client, ClientKind::Libwebrtc);
        assert!(Line::try_parse_from(["listen", "a.wav", "--client", "pion"]).is_err());
    }

    #[test]
    fn recordings_have_unique_names() {
        let of = |paths: &[&str]| distinct(paths.iter().map(|path| stem(Path::new(path))));
        assert_eq!(of(&["a/x.wav", "b.wav"]), ["x", "b"]);
        assert_eq!(
            of(&["a/x.wav", "b/x.ogg", "x-2.wav", "x.wav"]),
            ["x", "x-2", "x-2-2", "x-3"]
        );
        let targets = ["whip:http://a.b/", "whip:http://a-b/"].map(plain);
        assert_eq!(
            distinct(targets.into_iter()),
            ["whip-http---a-b-", "whip-http---a-b--2"]
        );
    }

    #[test]
    fn duration_of_a_voice_file_is_computed_from_its_samples() {
        let voice = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/voices/human-it-male.wav");
        let length = length_of(&voice).expect("it can be played");
        assert!(length > Duration::from_secs(5), "{length:?}");
        assert!(length_of(Path::new("none.wav")).is_err());
    }
}
