//! Watches for stalls of the machine. If a processor stalls for 20 ms, as those of virtual machines
//! do, that is audible but no fault of the code under test. Audio of that time and shortly after it
//! is not judged.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Watches with a thread on each processor, which sleeps in a loop and records when it wakes too
/// late.
pub struct SchedulerWatch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The start and the end of each stall.
    stalls: Mutex<Vec<(Instant, Instant)>>,
}

impl SchedulerWatch {
    /// Starts watching.
    pub fn start() -> SchedulerWatch {
        let shared = Arc::<Shared>::default();
        let all = sched_getaffinity(None).expect("the system tells where threads may run");
        let usable = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor));
        let watch_on = |processor| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut only = CpuSet::new();
                only.set(processor);
                sched_setaffinity(None, &only).expect("threads may run there");
                shared.watch();
            })
        };
        let threads = usable.map(watch_on).collect();
        SchedulerWatch { shared, threads }
    }

    /// Whether a processor stalled between two instants.
    pub fn was_disturbed(&self, from: Instant, until: Instant) -> bool {
        let stalls = self.shared.stalls.lock().expect("no panic while held");
        stalls.iter().any(|stall| stall.0 < until && from < stall.1)
    }

    /// Describes how often the machine stalled and for how long at most, to be printed beside a
    /// measurement.
    pub fn stalls(&self) -> String {
        let stalls = self.shared.stalls.lock().expect("no panic while held");
        let longest = stalls.iter().map(|stall| stall.1 - stall.0).max();
        format!(
            "the machine stalled {} times, for up to {:?}",
            stalls.len(),
            longest.unwrap_or_default()
        )
    }
}

impl Shared {
    fn watch(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let slept = Instant::now();
            thread::sleep(NAP);
            let woke = Instant::now();
            if woke - slept > NAP + BRIDGED {
                let stall = (slept, woke);
                self.stalls.lock().expect("no panic while held").push(stall);
            }
        }
    }
}

impl Drop for SchedulerWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of a watching thread has already been printed.
            let _ = thread.join();
        }
    }
}

/// How often a measurement is repeated until enough of it can be judged.
pub const ATTEMPTS: usize = 5;

const NAP: Duration = Duration::from_millis(5);

/// The longest late wake-up that is not a stall, half a packet: a packet that is this late misses
/// its tick in half of the cases.
const BRIDGED: Duration = Duration::from_millis(10);
