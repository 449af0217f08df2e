//! `mixminus join`: a participant without a browser.
//!
//! ```text
//! source -> read_ahead -> uplink -> connection -> the room -> connection -> downlink -> recorder -> sink
//! ```
//!
//! | thread | does |
//! |---|---|
//! | `join-source`, `join-sink` | read and write files and pipes ([`pcm`]); may block |
//! | `join-uplink` | takes, encodes and sends a frame every packet time ([`uplink`]) |
//! | `join-downlink` | plays a frame every 20 ms ([`downlink`]) |
//! | `join-key` | reads the lines of the push-to-talk key; may block |
//! | `join-lines` | prints events and statistics |
//! | tokio | HTTP ([`whip_client`]), WebRTC ([`connection`]), reconnecting ([`client`]), push-to-talk ([`radio`]) |
//!
//! The media threads outlive connections: a lost connection is silence, not an end.
//! [`client::Client`] is the whole as a library, [`peer_to_peer`] connects two of them without a
//! server, and [`tap`] is where measurements observe the media. Nothing here uses the server's own
//! modules.

use std::future::Future;
use std::sync::Arc;

use mixer::codec::Profile;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

pub mod address;
pub mod args;
pub mod backoff;
pub mod client;
pub mod connection;
pub mod downlink;
pub mod error;
mod event_output;
mod main_loop;
pub mod media;
pub mod opus;
pub mod pacing;
pub mod pcm;
pub mod peer_to_peer;
pub mod radio;
pub mod sdp;
pub mod stats;
pub mod tap;
pub mod uplink;
pub mod whip_client;

pub use args::{JoinArgs, JoinOptions};
pub use error::JoinError;

use args::{Play, Record, Turns};
use client::{Client, ClientOptions};
use main_loop::MainLoop;
use media::MediaOptions;
use pcm::PcmError;
use pcm::pipe::Pipe;
use pcm::raw::{RawSink, RawSource};
use pcm::temp_file::TempFile;
use radio::gate::{Gate, UplinkGate};
use radio::monitors::MonitoredRoom;
use radio::ptt_input::PttInput;
use whip_client::WhipEndpoint;

/// Runs `mixminus join` to its end. Logs must not go to standard output, which may carry audio.
///
/// # Errors
/// [`JoinError`]; its [`JoinError::exit_status`] is that of the process.
pub async fn run(args: JoinArgs) -> Result<(), JoinError> {
    let options = args.options()?;
    let mut stopped = std::pin::pin!(stop_signal()?);
    let key = match options.turns {
        Some(Turns::Key { stdin }) => Some(PttInput::new(stdin).map_err(JoinError::Signals)?),
        _ => None,
    };
    let gate = Arc::<Gate>::default();
    let (media, recording) = media_of(&options, &gate)?;
    let room = room_of(&options)?;
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
    let stay = MainLoop::new(&mut client, &options, gate, key)?;
    let ended = tokio::select! {
        ended = stay.until_the_end() => ended,
        () = &mut stopped => Ok(()),
    };
    info!("leaving the room");
    match (ended, client.leave().await) {
        // The error of the file says more about why it could not be written.
        (Err(JoinError::Recording) | Ok(()), left) => left,
        (ended, _) => ended,
    }
}

fn room_of(options: &JoinOptions) -> Result<WhipEndpoint, JoinError> {
    let mut room = WhipEndpoint::new(
        options.url.clone(),
        options.name.as_deref(),
        options.profile.map(Profile::name),
        options.insecure,
    )?;
    if !options.monitor.is_empty() {
        let names: Vec<&str> = options.monitor.iter().map(MonitoredRoom::room).collect();
        room = room.with("monitor", &names.join(","));
    }
    if let Some(priority) = options.priority {
        room = room.with("priority", &priority.to_string());
    }
    Ok(room)
}

fn media_of(
    options: &JoinOptions,
    gate: &Arc<Gate>,
) -> Result<(MediaOptions, Option<TempFile>), JoinError> {
    let source = match &options.play {
        Some(Play::Stdin) => Some(Box::new(RawSource::new(std::io::stdin())) as Box<_>),
        Some(Play::Pipe(path)) => Some(Box::new(RawSource::new(Pipe::of(path))) as Box<_>),
        Some(Play::File(path)) => Some(pcm::open(path)?),
        None => None,
    };
    let mut recording = None;
    let sink = match &options.record {
        Some(Record::Stdout) => Some(Box::new(RawSink::new(std::io::stdout())) as Box<_>),
        Some(Record::Pipe(path)) => Some(Box::new(RawSink::new(Pipe::of(path))) as Box<_>),
        Some(Record::File(path, kind)) => {
            let provisional = TempFile::new(path);
            let sink = kind
                .create(provisional.path())
                .map_err(|error| match error {
                    // The error names the path that was given, not the temporary file.
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
        switch: options.turns.map(|turns| match turns {
            Turns::Key { .. } => UplinkGate::key(Arc::clone(gate)),
            Turns::Voice { threshold_db } => UplinkGate::voice(Arc::clone(gate), threshold_db),
        }),
        ..MediaOptions::default()
    };
    Ok((media, recording))
}

/// Completes on Ctrl-C and SIGTERM; the handlers are installed by the call.
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
