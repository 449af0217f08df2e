//! Whether the machine let real-time tests be: a stall of the machine is a glitch of no one's making.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A thread that sleeps and notes how much later than it wished it wakes, as any other thread without
/// real-time priority would on this machine.
pub struct Watch {
    stop: Arc<AtomicBool>,
    longest_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts watching.
    pub fn start() -> Watch {
        let (stop, longest_us) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, longest) = (Arc::clone(&stop), Arc::clone(&longest_us));
        let watch = move || {
            while !stopped.load(Ordering::Relaxed) {
                let slept = Instant::now();
                thread::sleep(NAP);
                let late = slept.elapsed().saturating_sub(NAP);
                longest.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        };
        Watch {
            stop,
            longest_us,
            thread: Some(thread::spawn(watch)),
        }
    }

    /// The longest stall so far.
    pub fn longest_stall(&self) -> Duration {
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed))
    }

    /// Whether nothing happened that could be heard.
    pub fn was_calm(&self) -> bool {
        self.longest_stall() < BRIDGED
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How often a measurement is made when the machine stalls in the midst of it.
pub const ATTEMPTS: usize = 3;

const NAP: Duration = Duration::from_millis(5);

/// Half a packet: one that comes so late misses its tick every other time.
const BRIDGED: Duration = Duration::from_millis(10);
