//! `mixminus join`: a participant without a browser.
//!
//! ```text
//! source -> feed -> uplink -> connection -> the room -> connection -> downlink -> recorder -> sink
//! ```
//!
//! | thread | does |
//! |---|---|
//! | `join-source`, `join-sink` | read and write files and pipes ([`pcm`]); may block |
//! | `join-uplink` | takes, encodes and sends a frame every packet time ([`uplink`]) |
//! | `join-downlink` | plays a frame every 20 ms ([`downlink`]) |
//! | tokio | HTTP ([`session`]), WebRTC ([`connection`]), coming back ([`client`]) |
//!
//! The media threads outlive connections: a lost one is silence, not an end. [`client::Client`] is the
//! whole as a library, [`direct`] two of them without a server, [`tap`] where measurements listen in.
//! Nothing here knows the server's own modules.

use std::future::Future;
use std::io::Write;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

pub mod address;
pub mod args;
pub mod client;
pub mod connection;
pub mod direct;
pub mod downlink;
pub mod error;
pub mod media;
pub mod opus;
pub mod pacing;
pub mod pcm;
pub mod reconnect;
pub mod sdp;
pub mod session;
pub mod stats;
pub mod tap;
pub mod uplink;

pub use args::{JoinArgs, JoinOptions};
pub use error::JoinError;

use args::{Play, Record};
use client::{Client, ClientEvent, ClientOptions};
use media::MediaOptions;
use pcm::PcmError;
use pcm::provisional::Provisional;
use pcm::raw::{RawSink, RawSource};
use session::Room;

/// Runs `mixminus join` to its end. Logs must not go to standard output: audio may.
///
/// # Errors
/// [`JoinError`]; its [`JoinError::exit_status`] is the process's.
pub async fn run(args: JoinArgs) -> Result<(), JoinError> {
    let options = args.options()?;
    let mut stopped = std::pin::pin!(stop_signal()?);
    let (media, recording) = media_of(&options)?;
    let room = Room::new(
        options.url.clone(),
        options.name.as_deref(),
        options.profile.as_deref(),
        options.insecure,
    )?;
    let client_options = ClientOptions {
        room,
        reconnect: options.reconnect,
        ptime_ms: options.ptime.map(uplink::Ptime::ms),
        bitrate_bps: options.ask_bitrate_bps,
    };
    let mut client = tokio::select! {
        joined = Client::join(client_options, media) => joined?,
        () = &mut stopped => return Ok(()),
    };
    if let Some(recording) = recording {
        recording.keep()?;
    }
    let ended = tokio::select! {
        ended = stay(&mut client, &options) => ended,
        () = &mut stopped => Ok(()),
    };
    info!("leaving");
    match (ended, client.leave().await) {
        // The file tells better why it could not be written.
        (Err(JoinError::Recording) | Ok(()), left) => left,
        (ended, _) => ended,
    }
}

/// Stays in the room until there is a reason to go.
async fn stay(client: &mut Client, options: &JoinOptions) -> Result<(), JoinError> {
    let limit = async {
        match options.limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let mut limit = std::pin::pin!(limit);
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    every_second.tick().await;
    loop {
        tokio::select! {
            () = &mut limit => return Ok(()),
            event = client.event() => match event {
                ClientEvent::Played if options.record.is_none() && options.limit.is_none() => {
                    tokio::time::sleep(DRAIN).await;
                    return Ok(());
                }
                ClientEvent::Played | ClientEvent::Reconnected => {}
                ClientEvent::Failed(error) => return Err(error),
            },
            _ = every_second.tick(), if options.stats => {
                print(&client.stats().await.to_json(), options.record == Some(Record::Stdout));
            }
        }
    }
}

fn media_of(options: &JoinOptions) -> Result<(MediaOptions, Option<Provisional>), JoinError> {
    let source = match &options.play {
        Some(Play::Stdin) => Some(Box::new(RawSource::new(std::io::stdin())) as Box<_>),
        Some(Play::File(path)) => Some(pcm::open(path)?),
        None => None,
    };
    let mut recording = None;
    let sink = match &options.record {
        Some(Record::Stdout) => Some(Box::new(RawSink::new(std::io::stdout())) as Box<_>),
        Some(Record::File(path, kind)) => {
            let provisional = Provisional::new(path);
            let sink = kind
                .create(provisional.path())
                .map_err(|error| match error {
                    // The name that was given, not the one that is written to first.
                    PcmError::Open { source, .. } => PcmError::Open {
                        path: path.clone(),
                        source,
                    },
                    other => other,
                })?;
            recording = Some(provisional);
            Some(sink)
        }
        None => None,
    };
    let media = MediaOptions {
        source,
        looped: options.looped,
        sink,
        limit: options.limit,
        ptime: options.ptime.unwrap_or_default(),
        voice: options.voice,
        ..MediaOptions::default()
    };
    Ok((media, recording))
}

/// Comes to an end on Ctrl-C and SIGTERM; listens from the call on.
fn stop_signal() -> Result<impl Future<Output = ()>, JoinError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(JoinError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(JoinError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Prints a line; who does not read it any more misses it.
fn print(line: &str, to_stderr: bool) {
    let _ = if to_stderr {
        writeln!(std::io::stderr(), "{line}")
    } else {
        writeln!(std::io::stdout(), "{line}")
    };
}

/// Time for the last packets of a file to be heard before the session is ended.
const DRAIN: Duration = Duration::from_millis(500);
