//! The mixer threads around their engines: links, clock, priority, and how they help each other.
//!
//! The one place where the engine meets channels. Each thread has rooms of its own. It wakes at every slot, takes in what
//! its links hold, runs the rooms that are due, and hands out what came of it; its only system calls are its sleep, one
//! eventfd write per slot with output, and the waking of others when a room has more encodes than one thread should do.
//! What the engines are done with is freed by a thread of its own, the reaper. Nobody blocks in a receive on the other end
//! of a link that a mixer sends on: waking a blocked receiver takes a lock.

mod bell;
mod clock;
mod crew;
mod handle;
mod histogram;
mod metrics;
mod outlets;
#[cfg(test)]
mod tests;
mod thread;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use mixer::command::Retired;
use mixer::crew::EncodeJob;
use mixer::engine::{Engine, EngineLimits};
use thiserror::Error;

use self::bell::Bell;
use self::clock::SlotClock;
use self::crew::Mate;
use self::outlets::{OutletEnds, Outlets};
use crate::links::{COMMANDS, EVENTS, Inbound, JOBS, MixerId, Outbound, RETIRED};
use crate::priority::{self, NotPermitted};

pub use self::handle::{AudioHandle, MixerHandle};
pub use self::histogram::Histogram;
pub use self::metrics::MixerMetrics;

/// How the mixers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioConfig {
    /// Ask for SCHED_FIFO; without the permission mixers run at normal priority and say so.
    pub fifo: bool,
    /// Most rooms, on whichever mixer they are.
    pub max_rooms: usize,
    /// Most participants, of all rooms.
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

/// Why the mixers do not run.
#[derive(Debug, Error)]
pub enum AudioError {
    /// The system gives no thread.
    #[error("the system gives no thread for {name}")]
    Spawn {
        /// What the thread is called.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// One ended by a panic outside of any room.
    #[error("a mixer thread panicked")]
    Panicked,
}

/// The running mixers. Dropping them stops them without waiting.
#[derive(Debug)]
pub struct Audio {
    handle: AudioHandle,
    stop: Arc<AtomicBool>,
    /// The mixers, and the reaper, which ends after them.
    threads: Vec<JoinHandle<()>>,
}

/// Starts the mixers: one for each of `from_net`.
///
/// - `to_net`, `from_net`: packets out, of all mixers, and in, for each.
/// - `wake`: the network thread's eventfd, written once per slot in which packets went out.
///
/// # Errors
/// [`AudioError::Spawn`] when the system gives no thread. That it gives no real-time priority is no
/// error; it is logged.
pub fn start(
    config: AudioConfig,
    to_net: Sender<Outbound>,
    from_net: Vec<Receiver<Inbound>>,
    wake: OwnedFd,
) -> Result<Audio, AudioError> {
    thread::silence_room_panics();
    let (to_reaper, retired) = bounded(RETIRED);
    let (say, said) = bounded(from_net.len());
    let bells: Vec<Arc<Bell>> = from_net.iter().map(|_| Arc::default()).collect();
    let mut works = Works {
        config,
        to_net,
        to_reaper,
        wake: Arc::new(wake),
        say,
        stop: Arc::new(AtomicBool::new(false)),
        threads: vec![spawn("reaper".to_owned(), move || reap(&retired))?],
        mixers: Vec::new(),
    };
    let mates = crew::crew(&bells).into_iter().zip(bells);
    for ((mate, bell), packets) in mates.zip(from_net) {
        if let Err(error) = works.start_mixer(mate, bell, packets) {
            // What runs already ends with this.
            drop(works.finish());
            return Err(error);
        }
    }
    let audio = works.finish();
    if let Some(error) = said.iter().flatten().find_map(Result::err) {
        tracing::warn!(
            %error,
            "no real-time priority for the mixers: a busy machine will be heard; \
             allow it with CAP_SYS_NICE or `ulimit -r {}`",
            priority::MIXER
        );
    }
    Ok(audio)
}

/// Mixers being started.
struct Works {
    config: AudioConfig,
    to_net: Sender<Outbound>,
    to_reaper: Sender<Retired>,
    wake: Arc<OwnedFd>,
    /// Where each says what came of its priority, if it asked.
    say: Sender<Option<Result<(), NotPermitted>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    mixers: Vec<MixerHandle>,
}

impl Works {
    fn start_mixer(
        &mut self,
        mate: Mate<EncodeJob>,
        bell: Arc<Bell>,
        packets: Receiver<Inbound>,
    ) -> Result<(), AudioError> {
        let (commands, from_control) = bounded(COMMANDS);
        let (to_control, events) = bounded(EVENTS);
        let metrics = Arc::<MixerMetrics>::default();
        let max_complexity = Arc::new(AtomicU8::new(u8::MAX));
        #[cfg(test)]
        let burden_ns = Arc::<std::sync::atomic::AtomicU64>::default();
        let limits = EngineLimits {
            rooms: self.config.max_rooms,
            participants: self.config.max_participants,
        };
        let mut engine = Engine::new(limits);
        if mate.has_others() {
            engine.reserve_jobs(JOBS);
        }
        let clock = SlotClock::new();
        let ends = OutletEnds {
            packets: self.to_net.clone(),
            events: to_control,
            retired: self.to_reaper.clone(),
            wake: self.wake.clone(),
            mate,
            metrics: metrics.clone(),
        };
        let mixer = thread::Mixer {
            engine,
            commands: from_control,
            packets,
            outlets: Outlets::new(ends, limits, clock),
            clock,
            max_complexity: max_complexity.clone(),
            stop: self.stop.clone(),
            #[cfg(test)]
            burden_ns: burden_ns.clone(),
        };
        let (say, fifo) = (self.say.clone(), self.config.fifo);
        let id = MixerId(self.mixers.len());
        self.threads.push(spawn(format!("mixer-{id}"), move || {
            let _ = say.send(fifo.then(|| priority::raise(priority::MIXER)));
            drop(say);
            mixer.run();
        })?);
        self.mixers.push(MixerHandle {
            id,
            commands,
            events,
            metrics,
            max_complexity,
            bell,
            #[cfg(test)]
            burden_ns,
        });
        Ok(())
    }

    /// The reaper is joined last: it ends when the last mixer has dropped its end of the link.
    fn finish(mut self) -> Audio {
        self.threads.rotate_left(1);
        Audio {
            handle: AudioHandle {
                mixers: self.mixers.into(),
            },
            stop: self.stop,
            threads: self.threads,
        }
    }
}

impl Audio {
    /// What the rest of the server needs.
    pub fn handle(&self) -> AudioHandle {
        self.handle.clone()
    }

    /// Stops the mixers after the slot they are in and waits until everything they held is freed.
    ///
    /// # Errors
    /// [`AudioError::Panicked`] if one had already ended, by a panic outside of any room.
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
            mixer.bell.ring_for_command();
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

/// Frees what the engines are done with. Polls, so that no mixer ever has to wake it.
fn reap(retired: &Receiver<Retired>) {
    loop {
        match retired.try_recv() {
            Ok(retired) => drop(retired),
            Err(TryRecvError::Empty) => std::thread::sleep(REAP_EVERY),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

/// The link usually holds far more than is retired in this time; what is too much waits with its mixer.
const REAP_EVERY: Duration = Duration::from_millis(50);
