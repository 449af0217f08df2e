//! Both halves of a client's media, and the state with which they outlive connections.

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

/// An event of the media that does not depend on a connection. Ends and failures are reported at
/// most once.
#[derive(Debug)]
pub enum MediaEvent {
    /// The source has been played to its end.
    SourceEnded,
    /// Reading the source failed.
    SourceFailed(PcmError),
    /// The recording cannot be continued; finishing it returns the reason.
    SinkFailed,
    /// The source has become as loud as a voice (`true`), or has fallen silent. Only for
    /// voice-operated clients.
    Voice(bool),
    /// The uplink starts to send (`true`), or has sent its last packet. Only for push-to-talk
    /// clients.
    Sending(bool),
}

/// What to send, and where to record what is received.
pub struct MediaOptions {
    /// The audio to send; without it the client only listens.
    pub source: Option<Box<dyn Source>>,
    /// Whether to start the source again at its end.
    pub looped: bool,
    /// Where to record what is received.
    pub sink: Option<Box<dyn Sink>>,
    /// The longest duration of the recording.
    pub limit: Option<Duration>,
    /// Duration of the sent packets.
    pub ptime: Ptime,
    /// How the sent audio is encoded.
    pub voice: VoiceSettings,
    /// Decides which frames of the source are sent; without it all are sent.
    pub switch: Option<UplinkGate>,
    /// The observer of packets and frames.
    pub tap: Arc<dyn Tap>,
}

impl Default for MediaOptions {
    /// A client that listens and records nothing.
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

/// The media's ends that a connection is attached to.
#[derive(Clone)]
pub struct Sockets {
    /// Where the uplink finds the track of the current connection.
    pub outlet: UplinkTrackSlot,
    /// Where the connection puts received packets.
    pub received: Sender<Received>,
    /// The observer of packets and frames.
    pub tap: Arc<dyn Tap>,
    /// The statistics counters.
    pub counters: Arc<Counters>,
    /// The messages of the data channel `control`; a slow receiver misses the oldest.
    pub messages: broadcast::Sender<Arc<str>>,
    /// Whether the client sends audio.
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
    /// Starts both halves; nothing is sent before a connection is attached.
    ///
    /// # Errors
    /// [`PcmError`] when a thread or a codec cannot be created.
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

    /// Returns the ends that a connection is attached to.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Waits for the next event; never returns again once all have been reported.
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
                // The runtime is shutting down; the threads stop by themselves.
                Err(_) => Ok(()),
            },
        }
    }
}

/// Control messages kept for a slow receiver.
const MESSAGES: usize = 64;

/// The bitrate of good wide-band speech.
pub const DEFAULT_BITRATE_BPS: u32 = 32_000;
