//! The command line of `mixminus join`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};
use mixer::codec::Profile;
use reqwest::Url;
use thiserror::Error;

use super::address::{self, AddressError};
use super::media::DEFAULT_BITRATE_BPS;
use super::opus::VoiceSettings;
use super::pcm::{FileKind, pipe};
use super::radio::monitors::MonitoredRoom;
use super::uplink::Ptime;

/// Joins a room without a browser: plays a file into it, records it, or connects pipes to it.
#[derive(Debug, Clone, Args)]
pub struct JoinArgs {
    /// URL of the room: http://HOST/#room=ROOM, as the page has it, or
    /// http://HOST/v1/rooms/ROOM/participants
    pub url: String,
    /// WAV or Ogg Opus file to play into the room. With -, standard input is played as 48 kHz mono
    /// s16le; a named pipe or a device is played in the same format
    #[arg(long, value_name = "FILE")]
    pub play: Option<PathBuf>,
    /// File to record the received audio to: .wav, .ogg or .opus; an existing file is replaced.
    /// With -, the audio is written to standard output as 48 kHz mono s16le; a named pipe or a
    /// device is written in the same format
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Name that the other participants see
    #[arg(long)]
    pub name: Option<String>,
    /// Leave after this many seconds
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub seconds: Option<f64>,
    /// Start the file again when it ends
    #[arg(long = "loop", requires = "play")]
    pub looped: bool,
    /// Print statistics as a line of JSON every second, on standard error if audio is on standard
    /// output
    #[arg(long)]
    pub stats: bool,
    /// Print each event as a line of JSON, on standard error if audio is on standard output; the lines of --stats then
    /// are events too
    #[arg(long)]
    pub events: bool,
    /// Push-to-talk: request the floor while the key is pressed and release it afterwards. Lines on
    /// standard input control the key: press or p, release or r, or an empty line to toggle; the
    /// end of the input releases the key. SIGUSR1 presses and SIGUSR2 releases it; only these
    /// signals do when audio comes from standard input
    #[arg(long, requires = "play")]
    pub ptt: bool,
    /// Request the floor while the source is at least as loud as this, in dBFS, and release it
    /// afterwards [without a value: -40]
    #[arg(long, value_name = "DB", num_args = 0..=1, require_equals = true, default_missing_value = "-40",
        requires = "play", conflicts_with = "ptt", value_parser = threshold)]
    pub vox: Option<f32>,
    /// Rooms to monitor as well, each with an optional gain in dB and priority: a,b=-6,c@2,d=-6@2. Speech in a room of
    /// higher priority lowers the volume of the others
    #[arg(long, alias = "listen", value_name = "ROOM,..", value_delimiter = ',')]
    pub monitor: Vec<MonitoredRoom>,
    /// Priority of floor requests, 0 to 255
    #[arg(long, value_name = "N")]
    pub priority: Option<u8>,
    /// Profile of the received stream: voice, radio, low-delay, thin or music
    #[arg(long, value_name = "NAME")]
    pub profile: Option<Profile>,
    /// Bitrate to send and to ask for, in bits per second [default: 32000 to send, the bitrate of
    /// the profile to receive]
    #[arg(long, value_name = "BPS", value_parser = clap::value_parser!(u32).range(6_000..=510_000))]
    pub bitrate: Option<u32>,
    /// Packet duration to send and to ask for, in milliseconds: 10, 20, 40 or 60
    #[arg(long, value_name = "MS", value_parser = ptime)]
    pub ptime: Option<Ptime>,
    /// Send in-band forward error correction
    #[arg(long)]
    pub fec: bool,
    /// Reconnect when the connection is lost
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub reconnect: bool,
    /// Accept any TLS certificate
    #[arg(long)]
    pub insecure: bool,
}

/// Why a command line that was parsed is invalid all the same.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ArgsError {
    /// The address names no room.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The duration is not positive or too long.
    #[error("invalid --seconds {given}: it must be more than 0 s and at most {max} s", max = MAX_SECONDS)]
    Seconds {
        /// The duration that was given, in seconds.
        given: f64,
    },
    /// The file name of the recording has no known extension.
    #[error("cannot record to {}: the file name must end in .wav, .ogg or .opus, or be - for standard output", path.display())]
    RecordKind {
        /// The path that was given.
        path: PathBuf,
    },
    /// `--loop` is given for standard input or a pipe, which cannot be rewound.
    #[error("--loop needs a file: standard input or a pipe cannot be played twice")]
    LoopedStdin,
    /// One pipe is given to play and to record: the received audio would be sent again.
    #[error("--play and --record name the same pipe: the received audio would be played again")]
    SamePipe,
    /// The recording would overwrite the file that is played.
    #[error(
        "--play and --record name the same file: the recording would overwrite the audio to play"
    )]
    SameFile,
}

/// Where audio is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Play {
    /// Raw PCM on standard input.
    Stdin,
    /// Raw PCM from a named pipe or a device.
    Pipe(PathBuf),
    /// A WAV or Ogg Opus file.
    File(PathBuf),
}

/// Where audio is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Raw PCM on standard output.
    Stdout,
    /// Raw PCM to an existing named pipe or device.
    Pipe(PathBuf),
    /// A file of this kind.
    File(PathBuf, FileKind),
}

/// When a push-to-talk client requests the floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turns {
    /// While a key is pressed.
    Key {
        /// Whether standard input presses the key as well as signals.
        stdin: bool,
    },
    /// While the source is louder than a threshold.
    Voice {
        /// The threshold, in dBFS.
        threshold_db: f32,
    },
}

/// The checked command line.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// URL of the room's participants.
    pub url: Url,
    /// The audio to send; without it the client only listens.
    pub play: Option<Play>,
    /// Where to record what is heard.
    pub record: Option<Record>,
    /// The name that other participants see.
    pub name: Option<String>,
    /// How long to stay in the room; `None` if there is no limit.
    pub limit: Option<Duration>,
    /// Whether to start the file again at its end.
    pub looped: bool,
    /// Whether to print statistics every second.
    pub stats: bool,
    /// Whether to print events.
    pub events: bool,
    /// When to request the floor; without it the audio is sent all the time.
    pub turns: Option<Turns>,
    /// The rooms to monitor.
    pub monitor: Vec<MonitoredRoom>,
    /// Priority of floor requests.
    pub priority: Option<u8>,
    /// Profile of the received stream.
    pub profile: Option<Profile>,
    /// The bitrate and the error correction of the sent audio.
    pub voice: VoiceSettings,
    /// The bitrate to ask the server for, if given, in bits per second.
    pub ask_bitrate_bps: Option<u32>,
    /// Duration of the sent packets, and of the packets to ask the server for, if given.
    pub ptime: Option<Ptime>,
    /// Whether to reconnect after a lost connection.
    pub reconnect: bool,
    /// Whether to accept any TLS certificate.
    pub insecure: bool,
}

impl JoinArgs {
    /// Checks the arguments together, which the parser cannot do, and returns them as options.
    ///
    /// # Errors
    /// [`ArgsError`] with a sentence about what to change.
    pub fn options(self) -> Result<JoinOptions, ArgsError> {
        let play = self.play.map(play);
        if self.looped && matches!(play, Some(Play::Stdin | Play::Pipe(_))) {
            return Err(ArgsError::LoopedStdin);
        }
        let record = self.record.map(record).transpose()?;
        if let (Some(Play::Pipe(from)), Some(Record::Pipe(to))) = (&play, &record)
            && is_same(from, to)
        {
            return Err(ArgsError::SamePipe);
        }
        let turns = match self.vox {
            Some(threshold_db) => Some(Turns::Voice { threshold_db }),
            None => self.ptt.then_some(Turns::Key {
                stdin: play != Some(Play::Stdin),
            }),
        };
        if let (Some(Play::File(from)), Some(Record::File(to, _))) = (&play, &record)
            && is_same(from, to)
        {
            return Err(ArgsError::SameFile);
        }
        Ok(JoinOptions {
            url: address::participants(&self.url)?,
            play,
            record,
            name: self.name,
            limit: self.seconds.map(seconds).transpose()?,
            looped: self.looped,
            stats: self.stats,
            events: self.events,
            turns,
            monitor: self.monitor,
            priority: self.priority,
            profile: self.profile,
            voice: VoiceSettings {
                bitrate_bps: self.bitrate.unwrap_or(DEFAULT_BITRATE_BPS),
                fec: self.fec,
            },
            ask_bitrate_bps: self.bitrate,
            ptime: self.ptime,
            reconnect: self.reconnect,
            insecure: self.insecure,
        })
    }
}

impl JoinOptions {
    /// Whether the client is a push-to-talk client that sends live audio rather than a file.
    pub fn is_radio(&self) -> bool {
        self.turns.is_some() && matches!(self.play, Some(Play::Stdin | Play::Pipe(_)))
    }
}

fn play(path: PathBuf) -> Play {
    match path.as_os_str() == "-" {
        true => Play::Stdin,
        false if pipe::is_one(&path) => Play::Pipe(path),
        false => Play::File(path),
    }
}

fn record(path: PathBuf) -> Result<Record, ArgsError> {
    if path.as_os_str() == "-" {
        return Ok(Record::Stdout);
    }
    match FileKind::of(&path) {
        Some(kind) => Ok(Record::File(path, kind)),
        None if pipe::is_one(&path) => Ok(Record::Pipe(path)),
        None => Err(ArgsError::RecordKind { path }),
    }
}

/// Whether two paths lead to one existing file.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn seconds(given: f64) -> Result<Duration, ArgsError> {
    if given > 0.0 && given <= MAX_SECONDS {
        Ok(Duration::from_secs_f64(given))
    } else {
        Err(ArgsError::Seconds { given })
    }
}

fn threshold(given: &str) -> Result<f32, &'static str> {
    let threshold_db = given.parse().ok();
    threshold_db
        .filter(|threshold_db| (-90.0..=0.0).contains(threshold_db))
        .ok_or("it must be a level from -90 to 0 dBFS")
}

fn ptime(given: &str) -> Result<Ptime, &'static str> {
    let ms = given.parse().ok().and_then(Ptime::from_ms);
    ms.ok_or("it must be 10, 20, 40 or 60 ms")
}

/// The longest duration that is accepted: a leap year, longer than any real recording.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        join: JoinArgs,
    }

    fn parse(line: &str) -> Result<JoinOptions, String> {
        let words = std::iter::once("join").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.join.options().map_err(|error| error.to_string())
    }

    #[test]
    fn join_without_options_listens_and_reconnects() {
        let options = parse("http://h/#lobby").unwrap();
        assert_eq!(options.url.path(), "/v1/rooms/lobby/participants");
        assert!(options.play.is_none() && options.record.is_none() && options.limit.is_none());
        assert!(options.reconnect && !options.looped && !options.insecure && !options.stats);
        assert_eq!((options.voice.bitrate_bps, options.ptime), (32_000, None));
        assert_eq!(options.ask_bitrate_bps, None);
    }

    #[test]
    fn dash_as_a_file_name_selects_standard_input_or_output() {
        let options =
            parse("http://h/#lobby --play - --record - --ptime 60 --fec --bitrate 16000").unwrap();
        assert_eq!(
            (options.play, options.record),
            (Some(Play::Stdin), Some(Record::Stdout))
        );
        assert_eq!(options.ptime, Some(Ptime::Ms60));
        assert!(options.voice.fec);
        assert_eq!(options.voice.bitrate_bps, 16_000);
        assert_eq!(options.ask_bitrate_bps, Some(16_000));
    }

    #[test]
    fn push_to_talk_key_is_standard_input_unless_audio_is_read_from_there() {
        let turns = |line: &str| parse(&format!("http://h/#l {line}")).unwrap().turns;
        let voice = "--play fixtures/voices/human-en-female.wav";
        assert_eq!(turns(voice), None);
        assert_eq!(
            turns(&format!("{voice} --ptt")),
            Some(Turns::Key { stdin: true })
        );
        assert_eq!(
            turns("--play /dev/null --ptt"),
            Some(Turns::Key { stdin: true })
        );
        assert_eq!(turns("--play - --ptt"), Some(Turns::Key { stdin: false }));
        for (line, threshold_db) in [("--vox", -40.0), ("--vox=-35.5", -35.5)] {
            let voice = Some(Turns::Voice { threshold_db });
            assert_eq!(turns(&format!("{line} --play -")), voice, "{line}");
        }
    }

    #[test]
    fn client_is_a_radio_only_with_push_to_talk_or_vox_and_live_audio() {
        for (line, is_radio) in [
            ("--ptt --play -", true),
            ("--vox --play /dev/zero", true),
            ("--ptt --play a.wav", false),
            ("--play -", false),
        ] {
            let options = parse(&format!("http://h/#l {line}")).unwrap();
            assert_eq!(options.is_radio(), is_radio, "{line}");
        }
    }

    #[test]
    fn named_pipes_and_devices_carry_raw_pcm() {
        let options = parse("http://h/#l --play /dev/zero --record /dev/null").unwrap();
        assert_eq!(options.play, Some(Play::Pipe("/dev/zero".into())));
        assert_eq!(options.record, Some(Record::Pipe("/dev/null".into())));
    }

    #[test]
    fn monitored_rooms_and_priority_are_parsed() {
        let options = parse("http://h/#l --monitor a,b=-6 --listen c@2 --priority 7").unwrap();
        let rooms: Vec<&str> = options.monitor.iter().map(MonitoredRoom::room).collect();
        assert_eq!((rooms, options.priority), (vec!["a", "b", "c"], Some(7)));
    }

    #[test]
    fn reconnect_flag_takes_an_optional_value() {
        for (line, expected) in [
            ("--reconnect", true),
            ("--reconnect=true", true),
            ("--reconnect=false", false),
        ] {
            let options = parse(&format!("{line} http://h/#lobby")).unwrap();
            assert_eq!(options.reconnect, expected, "{line}");
        }
    }

    #[test]
    fn recording_over_the_played_file_is_refused() {
        let voices = "fixtures/voices";
        let voice = format!("{voices}/human-en-female.wav");
        for record in [&voice, &format!("{voices}/../voices/human-en-female.wav")] {
            let line = format!("http://h/#l --play {voice} --record {record}");
            assert!(parse(&line).unwrap_err().contains("same file"), "{line}");
        }
        assert!(parse(&format!("http://h/#l --play {voice} --record new.wav")).is_ok());
    }

    #[test]
    fn invalid_join_arguments_are_refused_with_the_reason() {
        for (line, word) in [
            ("http://h/", "names no room"),
            ("http://h/#l --seconds 0", "--seconds"),
            ("http://h/#l --seconds -1", "--seconds"),
            ("http://h/#l --seconds nan", "--seconds"),
            ("http://h/#l --record x.mp3", ".wav, .ogg or .opus"),
            ("http://h/#l --play - --loop", "standard input"),
            ("http://h/#l --loop", "--play"),
            ("http://h/#l --play /dev/null --loop", "pipe"),
            (
                "http://h/#l --play /dev/null --record /dev/null",
                "same pipe",
            ),
            ("http://h/#l --ptt", "--play"),
            ("http://h/#l --vox", "--play"),
            ("http://h/#l --play - --ptt --vox", "--vox"),
            ("http://h/#l --play - --vox=1", "-90 to 0"),
            ("http://h/#l --listen a/b", "invalid room name"),
            ("http://h/#l --priority 256", "255"),
            ("http://h/#l --ptime 30", "10, 20, 40 or 60"),
            ("http://h/#l --bitrate 5999", "6000"),
            ("http://h/#l --profile loud", "low-delay"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
