//! Both halves of a client's media, sending and receiving. They outlive connections, as does their
//! state.

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

/// An event of the client's media, whichever connection is current. Ends and failures are reported
/// at most once.
#[derive(Debug)]
pub enum MediaEvent {
    /// The source has been played to its end.
    SourceEnded,
    /// Reading the source failed.
    SourceFailed(PcmError),
    /// The recording failed; [`Media::finish`] returns the reason.
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
    /// The longest duration of the recording; `None` if there is no limit.
    pub limit: Option<Duration>,
    /// Duration of the sent packets.
    pub ptime: Ptime,
    /// How the sent audio is encoded.
    pub voice: VoiceSettings,
    /// Decides which frames of the source are sent; without a gate all are sent.
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

/// What a connection needs of the client's media: where packets go, where they come from, and what
/// counts them.
#[derive(Clone)]
pub struct Sockets {
    /// The slot in which a connection puts its track, for the uplink to send on.
    pub outlet: UplinkTrackSlot,
    /// The queue into which the connection puts received packets.
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

    /// Returns what a connection needs of the media.
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

/// The number of control messages kept for a slow receiver.
const MESSAGES: usize = 64;

/// The default bitrate of the sent audio: good wide-band speech.
pub const DEFAULT_BITRATE_BPS: u32 = 32_000;
