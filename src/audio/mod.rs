//! Mixer threads that run the mixing engines: rings, clock, priority and work sharing.
//!
//! This is the only place where the engine meets the rings between threads. Each mixer thread has
//! rooms of its own. Every 2.5 ms (a slot) it wakes up, takes commands and packets from its rings,
//! runs the rooms whose tick is due, and sends their packets and events. Another thread, the
//! reaper, frees the memory that the engines no longer need.
//!
//! No ring wakes its receiver by itself, because that would take a lock. The network thread and the
//! conference wait for an eventfd; the reaper polls. A mixer thread makes only these system calls:
//!
//! - It sleeps until the next slot.
//! - It writes to the network thread's eventfd after every 64 packets and at the end of a slot.
//! - It writes to the conference's eventfd at the end of a slot in which events were sent.
//! - It wakes other mixers when a room has more encodes than one thread should do.
//! - It yields its core (`sched_yield`) while it waits for these encodes.

mod board;
mod clock;
mod engine_sink;
mod handle;
mod histogram;
mod metrics;
mod parker;
#[cfg(test)]
pub(crate) mod stepped;
#[cfg(test)]
mod tests;
mod thread;
mod work_sharing;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use mixer::engine::{Engine, EngineLimits};
use mixer::output::Retired;
use mixer::schedule::Job;
use thiserror::Error;

use self::clock::SlotClock;
use self::engine_sink::{EngineSink, SinkEnds};
use self::parker::Parker;
use self::work_sharing::WorkShare;
use crate::queues::{
    COMMANDS, Consumer, EVENTS, JOBS, MixerEnds, MixerId, Producer, RETIRED, ring,
};
use crate::sched::{self, NotPermitted};

pub use self::handle::{AudioHandle, MixerControl, MixerHandle};
pub use self::histogram::Histogram;
pub use self::metrics::MixerMetrics;

/// Settings of all mixer threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioConfig {
    /// Whether to request SCHED_FIFO; without permission the mixers run at normal priority and log
    /// a warning.
    pub fifo: bool,
    /// Maximum number of rooms on any one mixer.
    pub max_rooms: usize,
    /// Maximum number of participants on any one mixer, in all its rooms.
    pub max_participants: usize,
}

impl Default for AudioConfig {
    fn default() -> AudioConfig {
        AudioConfig {
            fifo: true,
            max_rooms: 1_024,
            max_participants: 4_096,
        }
    }
}

/// Why the mixer threads could not be started or stopped properly.
#[derive(Debug, Error)]
pub enum AudioError {
    /// The system refused to create a thread.
    #[error("cannot start the thread {name}: {source}")]
    Spawn {
        /// The thread's name.
        name: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A mixer thread ended by a panic outside of any room.
    #[error("a mixer thread panicked")]
    Panicked,
}

/// The running mixer threads. Dropping this stops them without waiting for their end.
#[derive(Debug)]
pub struct Audio {
    handle: AudioHandle,
    stop: Arc<AtomicBool>,
    /// The mixer threads, and the reaper, which ends after them.
    threads: Vec<JoinHandle<()>>,
}

/// The eventfds to which mixer threads write to wake other threads.
#[derive(Debug)]
pub struct Wakes {
    /// Wakes the network thread; written when packets were sent to it.
    pub network: OwnedFd,
    /// Wakes the conference; written after a slot in which events were sent to it.
    pub conference: OwnedFd,
}

/// Starts one mixer thread for each of `ends`; returns the threads, and one control for each mixer.
///
/// - `ends`: each mixer's ends of its rings to and from the network thread.
///
/// # Errors
/// [`AudioError::Spawn`] if the system refuses a thread. A refused real-time priority is not an
/// error; it is logged.
pub fn start(
    config: AudioConfig,
    ends: Vec<MixerEnds>,
    wakes: Wakes,
) -> Result<(Audio, Vec<MixerControl>), AudioError> {
    thread::silence_room_panics();
    let rings = ends.iter().map(|_| ring(RETIRED));
    let (to_reaper, retired): (Vec<_>, Vec<_>) = rings.unzip();
    let (say, said) = mpsc::channel();
    let parkers: Vec<Arc<Parker>> = ends.iter().map(|_| Arc::default()).collect();
    let mut works = Works {
        parts: SharedParts::new(config, wakes),
        say,
        threads: vec![spawn("reaper".to_owned(), move || reap(retired))?],
        controls: Vec::new(),
    };
    let work_shares = work_sharing::sharers(&parkers).into_iter().zip(parkers);
    for ((work_share, ends), to_reaper) in work_shares.zip(ends).zip(to_reaper) {
        if let Err(error) = works.start_mixer(work_share, ends, to_reaper) {
            // Dropping the result stops the threads that already run.
            drop(works.finish());
            return Err(error);
        }
    }
    let started = works.finish();
    if let Some(error) = said.iter().flatten().find_map(Result::err) {
        tracing::warn!(
            %error,
            "the mixer threads run without real-time priority, so audio can drop out on a busy \
             machine; allow it with CAP_SYS_NICE or `ulimit -r {}`",
            sched::MIXER
        );
    }
    Ok(started)
}

/// The mixer threads started so far, and the parts for starting more.
struct Works {
    parts: SharedParts,
    /// Where each mixer thread reports whether it got real-time priority; `None` if it did not ask.
    say: mpsc::Sender<Option<Result<(), NotPermitted>>>,
    threads: Vec<JoinHandle<()>>,
    controls: Vec<MixerControl>,
}

/// The parts that all mixer threads share.
struct SharedParts {
    config: AudioConfig,
    wakes: Arc<Wakes>,
    stop: Arc<AtomicBool>,
}

impl SharedParts {
    fn new(config: AudioConfig, wakes: Wakes) -> SharedParts {
        SharedParts {
            config,
            wakes: Arc::new(wakes),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Builds a mixer, which any thread can then run, and its control.
    fn build_mixer(
        &self,
        id: MixerId,
        (work_share, parker): (WorkShare<Job>, Arc<Parker>),
        ends: MixerEnds,
        to_reaper: Producer<Retired>,
    ) -> (thread::Mixer, MixerControl) {
        let (commands, from_control) = ring(COMMANDS);
        let (to_control, events) = ring(EVENTS);
        let metrics = Arc::<MixerMetrics>::default();
        let max_complexity = Arc::new(AtomicU8::new(u8::MAX));
        #[cfg(test)]
        let burden_ns = Arc::<std::sync::atomic::AtomicU64>::default();
        let limits = EngineLimits {
            rooms: self.config.max_rooms,
            participants: self.config.max_participants,
        };
        let mut engine = Engine::new(limits);
        if work_share.has_others() {
            engine.reserve_jobs(JOBS);
        }
        let clock = SlotClock::new();
        let sink = SinkEnds {
            packets: ends.packets_out,
            events: to_control,
            retired: to_reaper,
            wakes: self.wakes.clone(),
            work_share,
            metrics: metrics.clone(),
        };
        let mixer = thread::Mixer {
            engine,
            commands: from_control,
            packets: ends.packets_in,
            sink: EngineSink::new(sink, limits, clock),
            clock,
            max_complexity: max_complexity.clone(),
            stop: self.stop.clone(),
            #[cfg(test)]
            burden_ns: burden_ns.clone(),
        };
        let handle = MixerHandle {
            id,
            metrics,
            max_complexity,
            parker,
            #[cfg(test)]
            burden_ns,
        };
        let control = MixerControl {
            handle,
            commands,
            events,
        };
        (mixer, control)
    }
}

impl Works {
    fn start_mixer(
        &mut self,
        work_share: (WorkShare<Job>, Arc<Parker>),
        ends: MixerEnds,
        to_reaper: Producer<Retired>,
    ) -> Result<(), AudioError> {
        let id = MixerId(self.controls.len());
        let (mixer, control) = self.parts.build_mixer(id, work_share, ends, to_reaper);
        let (say, fifo) = (self.say.clone(), self.parts.config.fifo);
        self.threads.push(spawn(format!("mixer-{id}"), move || {
            let _ = say.send(fifo.then(|| sched::raise_priority(sched::MIXER)));
            drop(say);
            mixer.run();
        })?);
        self.controls.push(control);
        Ok(())
    }

    /// Hands the started threads over. The reaper is joined last, because it ends once every mixer
    /// has dropped its ring to the reaper.
    fn finish(mut self) -> (Audio, Vec<MixerControl>) {
        self.threads.rotate_left(1);
        let handles = self.controls.iter().map(|it| it.handle.clone());
        let audio = Audio {
            handle: AudioHandle {
                mixers: handles.collect(),
            },
            stop: self.parts.stop,
            threads: self.threads,
        };
        (audio, self.controls)
    }
}

impl Audio {
    /// A handle to the mixers that any part of the server may hold.
    pub fn handle(&self) -> AudioHandle {
        self.handle.clone()
    }

    /// Stops the mixers after their current slot and waits until everything they held is freed.
    ///
    /// # Errors
    /// [`AudioError::Panicked`] if a mixer had already ended by a panic outside of any room.
    pub fn stop(mut self) -> Result<(), AudioError> {
        self.tell_to_stop();
        let threads = self.threads.drain(..);
        let ended: Vec<_> = threads.map(JoinHandle::join).collect();
        match ended.into_iter().collect::<Result<(), _>>() {
            Ok(()) => Ok(()),
            Err(_) => Err(AudioError::Panicked),
        }
    }

    fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for mixer in self.handle.mixers() {
            mixer.parker.wake_for_command();
        }
    }
}

impl Drop for Audio {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, AudioError> {
    let thread = std::thread::Builder::new().name(name.clone());
    thread
        .spawn(run)
        .map_err(|source| AudioError::Spawn { name, source })
}

/// Frees the boxes that engines retire, until all mixers have ended. It polls, so that no mixer
/// ever has to wake it.
fn reap(mut rings: Vec<Consumer<Retired>>) {
    loop {
        rings.retain_mut(|ring| {
            let is_over = ring.is_abandoned();
            while let Ok(retired) = ring.pop() {
                drop(retired);
            }
            // Boxes sent between the check and the last `pop` are freed when the ring is dropped.
            !is_over
        });
        if rings.is_empty() {
            return;
        }
        std::thread::sleep(REAP_EVERY);
    }
}

/// Poll interval of the reaper. A ring usually has room for far more boxes than are retired in this
/// time; boxes that find it full wait in their mixer.
const REAP_EVERY: Duration = Duration::from_millis(50);
