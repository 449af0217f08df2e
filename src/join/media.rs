//! Both halves of a client's media, and what they need to outlive any one connection.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Sender, bounded};
use tokio::sync::broadcast;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::downlink::{Downlink, DownlinkParts, RECEIVED, Received};
use super::opus::{VoiceEncoder, VoiceSettings};
use super::pcm::read_ahead::ReadAhead;
use super::pcm::recorder::Recorder;
use super::pcm::{PcmError, Sink, Source};
use super::radio::gate::UplinkGate;
use super::stats::Counters;
use super::tap::{NoTap, Tap};
use super::uplink::{Ptime, Uplink, UplinkParts, UplinkTrackSlot};

/// What happens to the media apart from any connection. Ends and failures are told at most once.
#[derive(Debug)]
pub enum MediaEvent {
    /// The source was played to its end.
    SourceEnded,
    /// The source could not be read on.
    SourceFailed(PcmError),
    /// The recording cannot be written on; finishing it tells why.
    SinkFailed,
    /// The source has become as loud as a voice, or no longer is: told to those who talk by voice.
    Voice(bool),
    /// The uplink begins to send, or has sent its last packet: told to those who talk by turns.
    Sending(bool),
}

/// What to send and where to put what is received.
pub struct MediaOptions {
    /// What to send; without one the client only listens.
    pub source: Option<Box<dyn Source>>,
    /// Whether to begin the source again at its end.
    pub looped: bool,
    /// Where to put what is received.
    pub sink: Option<Box<dyn Sink>>,
    /// How long the recording is to be at most.
    pub limit: Option<Duration>,
    /// Duration of the packets that are sent.
    pub ptime: Ptime,
    /// How they are encoded.
    pub voice: VoiceSettings,
    /// Which part of the source is sent; without one all of it is.
    pub switch: Option<UplinkGate>,
    /// Who listens in.
    pub tap: Arc<dyn Tap>,
}

impl Default for MediaOptions {
    /// Listens and records nothing.
    fn default() -> MediaOptions {
        MediaOptions {
            source: None,
            looped: false,
            sink: None,
            limit: None,
            ptime: Ptime::default(),
            voice: VoiceSettings {
                bitrate_bps: DEFAULT_BITRATE_BPS,
                fec: false,
            },
            switch: None,
            tap: Arc::new(NoTap),
        }
    }
}

/// What a connection is plugged into.
#[derive(Clone)]
pub struct Sockets {
    /// What is sent leaves here.
    pub outlet: UplinkTrackSlot,
    /// What is received comes in here.
    pub received: Sender<Received>,
    /// Who listens in.
    pub tap: Arc<dyn Tap>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// The messages of the data channel `control`; who reads too slowly misses the oldest.
    pub messages: broadcast::Sender<Arc<str>>,
    /// Whether there is anything to send.
    pub talks: bool,
}

/// The running media of one client.
pub struct Media {
    sockets: Sockets,
    uplink: Option<Uplink>,
    downlink: Downlink,
    events: UnboundedReceiver<MediaEvent>,
}

impl Media {
    /// Starts both halves; nothing is sent before a connection is plugged in.
    ///
    /// # Errors
    /// [`PcmError`] when there are no threads or no codec to be had.
    pub fn start(options: MediaOptions) -> Result<Media, PcmError> {
        let counters = Arc::new(Counters::default());
        let (events_in, events) = mpsc::unbounded_channel();
        let (received_in, received) = bounded(RECEIVED);
        let outlet = UplinkTrackSlot::new(ArcSwapOption::empty());
        let limit_samples = options.limit.map(mixer::units::samples_of);
        let recorder = options
            .sink
            .map(|sink| Recorder::start(sink, limit_samples))
            .transpose()?;
        let talks = options.source.is_some();
        let uplink = match options.source {
            Some(source) => Some(Uplink::start(UplinkParts {
                feed: ReadAhead::start(source, options.looped)?,
                encoder: VoiceEncoder::new(options.voice)?,
                ptime: options.ptime,
                switch: options.switch,
                outlet: Arc::clone(&outlet),
                tap: Arc::clone(&options.tap),
                counters: Arc::clone(&counters),
                events: events_in.clone(),
            })?),
            None => None,
        };
        let downlink = Downlink::start(DownlinkParts {
            received,
            recorder,
            tap: Arc::clone(&options.tap),
            counters: Arc::clone(&counters),
            events: events_in,
        })?;
        Ok(Media {
            sockets: Sockets {
                outlet,
                received: received_in,
                tap: options.tap,
                counters,
                messages: broadcast::Sender::new(MESSAGES),
                talks,
            },
            uplink,
            downlink,
            events,
        })
    }

    /// What a connection is plugged into.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The next event; never again once all have been told.
    pub async fn event(&mut self) -> MediaEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Stops both halves and completes the recording.
    ///
    /// # Errors
    /// [`PcmError`] when the recording could not be written.
    pub async fn finish(self) -> Result<(), PcmError> {
        let Media {
            uplink, downlink, ..
        } = self;
        let finished = tokio::task::spawn_blocking(move || {
            drop(uplink);
            downlink.finish()
        });
        match finished.await {
            Ok(finished) => finished,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down; the threads stop by themselves.
                Err(_) => Ok(()),
            },
        }
    }
}

/// Control messages kept for one that reads them late.
const MESSAGES: usize = 64;

/// Wide-band voice that nobody would call bad.
pub const DEFAULT_BITRATE_BPS: u32 = 32_000;
