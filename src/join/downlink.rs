//! The receiving half of a client: puts packets into the playout as they arrive, and takes a frame
//! of 20 ms from it every 20 ms.
//!
//! The thread outlives connections and never waits for a packet: what was not received is silence,
//! so that a recording is as long as the time that passed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::Receiver;
use mixer::format::{Layout, TickLength};
use mixer::source::Playout;
use mixer::{Frame, Packet, Time};
use tokio::sync::mpsc::UnboundedSender;

use crate::sched;

use super::media::MediaEvent;
use super::opus::VoiceDecoder;
use super::pacing::Pacer;
use super::pcm::PcmError;
use super::pcm::recorder::Recorder;
use super::stats::{self, Counters};
use super::tap::Tap;
use crate::clock;

/// What a connection sends to the receiving thread.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is the large one"
)]
pub enum Received {
    /// A packet with its arrival.
    Packet(Packet, Time),
    /// A new connection starts, so the playout begins anew.
    Restart,
}

/// Bound of the queue from the connection to the receiving thread: five seconds of packets of 20
/// ms. The newest packet is dropped when the queue is full, which happens only if the thread does
/// not run.
pub const RECEIVED: usize = 256;

/// What the receiving thread needs to run.
pub struct DownlinkParts {
    /// The messages from the connections.
    pub received: Receiver<Received>,
    /// The recorder, if the audio is recorded.
    pub recorder: Option<Recorder>,
    /// The observer of packets and frames.
    pub tap: Arc<dyn Tap>,
    /// The statistics counters.
    pub counters: Arc<Counters>,
    /// Receives one event if the recording fails.
    pub events: UnboundedSender<MediaEvent>,
}

/// The running receiving thread.
pub struct Downlink {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), PcmError>>>,
}

impl Downlink {
    /// Starts the thread: the first frame is due 20 ms after the first [`Received::Restart`].
    ///
    /// # Errors
    /// The system's error if it starts no thread; libopus's error if it creates no decoder.
    pub fn start(parts: DownlinkParts) -> Result<Downlink, PcmError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut playout = Playout::new(Layout::Mono, TICK, Box::new(VoiceDecoder::new()));
        // The thread pulls frames at fixed times, as a sound device does, not when a packet
        // arrives.
        playout.set_ticks_wait(false);
        let player = Player {
            playout,
            frame: Frame::new(Layout::Mono, TICK),
            parts,
            stop: Arc::clone(&stop),
            failed: false,
        };
        let thread = thread::Builder::new()
            .name("join-downlink".to_owned())
            .spawn(move || {
                // If the system does not permit the priority, a busy machine causes gaps in the
                // sound, as for any other player.
                let _ = sched::raise_priority(sched::CLIENT);
                player.run()
            })?;
        Ok(Downlink {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops the thread and completes the recording; blocks until both are done.
    ///
    /// # Errors
    /// [`PcmError`] when the recording could not be written.
    pub fn finish(mut self) -> Result<(), PcmError> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(finished)) => finished,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Downlink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Player {
    parts: DownlinkParts,
    playout: Playout,
    frame: Frame,
    stop: Arc<AtomicBool>,
    failed: bool,
}

impl Player {
    fn run(mut self) -> Result<(), PcmError> {
        self.wait_for_connection();
        let mut pacer = Pacer::new(Instant::now() + TICK.duration(), TICK.duration());
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(pacer.deadline().saturating_duration_since(Instant::now()));
            self.take_packets();
            let now = Instant::now();
            let skipped_slots = pacer.skip_all_but(CATCH_UP_TICKS, now);
            if let Some(recorder) = &mut self.parts.recorder {
                recorder.silence(skipped_slots * TICK.samples() as u64);
            }
            while let Some(due) = pacer.take(now) {
                self.tick(due);
            }
            self.publish();
        }
        match self.parts.recorder {
            Some(recorder) => recorder.finish(),
            None => Ok(()),
        }
    }

    /// Waits for the first connection, which starts the clock.
    fn wait_for_connection(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let received = self.parts.received.recv_timeout(TICK.duration());
            if matches!(received, Ok(Received::Restart)) {
                return;
            }
        }
    }

    fn take_packets(&mut self) {
        // Takes at most a full queue: packets that keep arriving are taken at the next tick.
        for received in self.parts.received.try_iter().take(RECEIVED) {
            match received {
                Received::Packet(packet, arrival) => {
                    // The playout counts the packet, whatever it does with it.
                    let _ = self.playout.push(&packet, arrival);
                }
                Received::Restart => self.playout.restart(),
            }
        }
    }

    fn tick(&mut self, due: Instant) {
        // If nothing is heard the frame holds silence, which is recorded.
        let _ = self.playout.pull(clock::at(due), &mut self.frame);
        self.parts.tap.played(due, self.frame.samples());
        let Some(recorder) = &mut self.parts.recorder else {
            return;
        };
        recorder.frame(self.frame.samples());
        if recorder.has_failed() && !self.failed {
            self.failed = true;
            // Sending the event fails only if its receiver has been dropped.
            let _ = self.parts.events.send(MediaEvent::SinkFailed);
        }
    }

    fn publish(&self) {
        let stats = self.playout.stats();
        let counters = &self.parts.counters;
        *counters
            .playout
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = stats::Playout {
            lost: stats.lost,
            late: stats.late,
            concealed_samples: stats.concealed_samples,
            inserted_samples: stats.inserted_samples,
            removed_samples: stats.removed_samples,
            resampling_inserted_samples: stats.resampling_inserted_samples,
            resampling_removed_samples: stats.resampling_removed_samples,
            delay: stats.delay,
            target: stats.target,
        };
    }
}

const TICK: TickLength = TickLength::Ms20;

/// After a late wake-up all frames that are at most five seconds late are played. A process that
/// was stopped for longer skips the older ones.
const CATCH_UP_TICKS: u64 = 250;
