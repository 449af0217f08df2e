//! Push-to-talk talkers: they press the key when a talk-spurt starts, and release it at its end.
//!
//! The key is pressed with the first frame of the talk-spurt, before that frame is sent: this is
//! the latest press that loses nothing. The request is under way at the same time as the first
//! packet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use mixer::RtpTime;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::sleep;

use super::stimulus::Stimulus;
use super::taps::TalkerProbe;
use crate::join::connection::Connection;
use crate::join::media::MediaOptions;
use crate::join::pcm::{PcmError, Source};
use crate::join::radio::gate::{Gate, MAX_TAIL_SAMPLES, UplinkGate};
use crate::join::radio::server_events::ServerEvent;
use crate::join::tap::Tap;
use crate::join::uplink::Ptime;

/// Returns the media of a push-to-talk talker, and a channel with each change of its key: `true`
/// when it is pressed.
pub(super) fn talking(
    stimulus: Stimulus,
    mouth: &Arc<TalkerProbe>,
    ptime: Ptime,
) -> (MediaOptions, UnboundedReceiver<bool>) {
    let gate = Arc::<Gate>::default();
    let (key, strokes) = mpsc::unbounded_channel();
    let finger = Finger {
        mouth: Arc::clone(mouth),
        stimulus,
        gate: Arc::clone(&gate),
        key,
        quiet_samples: AtomicU64::new(RELEASED),
    };
    let media = MediaOptions {
        source: Some(Box::new(Live(stimulus.source()))),
        ptime,
        switch: Some(UplinkGate::key(gate)),
        tap: Arc::new(finger),
        ..MediaOptions::default()
    };
    (media, strokes)
}

/// The instant at which a talker was first granted the floor.
pub(super) type FirstGrant = Arc<OnceLock<Instant>>;

/// Waits for the first `floor_granted` among the server's messages and stores its instant in
/// `first`.
pub(super) async fn note_first(mut messages: broadcast::Receiver<Arc<str>>, first: FirstGrant) {
    loop {
        match messages.recv().await {
            Ok(message)
                if matches!(
                    ServerEvent::read(&message),
                    Some(ServerEvent::Granted { .. })
                ) =>
            {
                first.get_or_init(Instant::now);
                return;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Requests the floor when the key is pressed and releases it when the key is released, until the
/// connection is closed.
pub(super) async fn ask(mut strokes: UnboundedReceiver<bool>, connection: Weak<Connection>) {
    while let Some(pressed) = strokes.recv().await {
        let command = match pressed {
            true => json!({ "command": "floor_request" }),
            false => json!({ "command": "floor_release" }),
        };
        // The very first request may come before the channel is open.
        loop {
            let Some(connection) = connection.upgrade() else {
                return;
            };
            if connection.say(&command.to_string()).await {
                break;
            }
            drop(connection);
            sleep(RETRY).await;
        }
    }
}

/// A tap that presses the key when a talk-spurt of the stimulus begins, and releases it at the end.
struct Finger {
    mouth: Arc<TalkerProbe>,
    stimulus: Stimulus,
    gate: Arc<Gate>,
    key: UnboundedSender<bool>,
    /// Samples since the gate was closed; [`RELEASED`] if the floor need not be released.
    quiet_samples: AtomicU64,
}

impl Tap for Finger {
    fn taken(&self, at: Instant, time: RtpTime, pcm: &[f32]) {
        let first = self.mouth.samples();
        self.mouth.taken(at, time, pcm);
        let talks = self.stimulus.is_talking(first..first + pcm.len() as u64);
        if talks && !self.gate.is_open() {
            self.gate.open();
            self.quiet_samples.store(RELEASED, Ordering::Relaxed);
            // Sending the state of the key fails only after the call has ended.
            let _ = self.key.send(true);
        } else if !talks {
            self.fall_silent(pcm.len() as u64);
        }
    }
}

impl Finger {
    /// Closes the gate at the first silent frame, and releases the floor once the last packet is
    /// sent.
    fn fall_silent(&self, samples: u64) {
        if self.gate.is_open() {
            self.gate.shut();
            self.quiet_samples.store(0, Ordering::Relaxed);
        }
        let quiet = self.quiet_samples.load(Ordering::Relaxed);
        if quiet == RELEASED {
            return;
        }
        let is_over = quiet > MAX_TAIL_SAMPLES as u64;
        let next = if is_over { RELEASED } else { quiet + samples };
        self.quiet_samples.store(next, Ordering::Relaxed);
        if is_over {
            let _ = self.key.send(false);
        }
    }
}

/// A source that counts as live, like a microphone: it is read also while the key is not pressed.
struct Live(Box<dyn Source>);

impl Source for Live {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        self.0.read(pcm)
    }

    fn may_be_live(&self) -> bool {
        true
    }
}

/// The value of `quiet_samples` that means no release is pending. No silence lasts this many
/// samples.
const RELEASED: u64 = u64::MAX;

/// How long the talker waits before it repeats a request, while the data channel is not open yet.
const RETRY: Duration = Duration::from_millis(10);
