//! The loop of a mixer thread: its work in each slot of 2.5 ms, and between slots.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use mixer::engine::{Command, Engine};
use mixer::format::{SLOT, TickLength};

use super::clock::SlotClock;
use super::engine_sink::EngineSink;
use super::metrics::{SlotTimes, add};
use super::parker::Sleep;
use super::work_sharing::Job;
use crate::queues::{COMMANDS, Consumer, Inbound, PACKETS_IN, take_in_place};

/// The state of a mixer thread, which owns all of it.
pub(super) struct Mixer {
    pub engine: Engine,
    pub commands: Consumer<Command>,
    pub packets: Consumer<Inbound>,
    pub sink: EngineSink,
    pub clock: SlotClock,
    /// Limit on the libopus complexity of all encoders, set by load control.
    pub max_complexity: Arc<AtomicU8>,
    pub stop: Arc<AtomicBool>,
    /// Extra time that every slot takes, in nanoseconds, to simulate load.
    #[cfg(test)]
    pub burden_ns: Arc<std::sync::atomic::AtomicU64>,
}

impl Mixer {
    /// Runs one slot after another until the stop flag is set.
    ///
    /// 1. Wait until the slot begins; until then, run encodes for other mixers.
    /// 2. Apply commands, then take packets, so that packets of a participant added in this slot
    ///    count.
    /// 3. Run the rooms whose tick is due.
    /// 4. Wake the network thread and the conference, if they were sent anything, and update the
    ///    counters.
    ///
    /// A late slot is run at once; a slot that would begin more than a tick late is skipped, so
    /// that the delay never grows. Without participants the mixer sleeps for several slots.
    pub fn run(mut self) {
        let mut slot = self.clock.current() + 1;
        loop {
            self.wait_for(slot);
            if self.is_stopped() {
                return;
            }
            let is_clear = self.do_slot(slot);
            slot = if is_clear && self.engine.is_idle() && self.engine.stats().participants == 0 {
                self.rest()
            } else {
                self.next_slot(slot)
            };
        }
    }

    /// Does all work of a slot that has begun; returns whether commands were applied, which is not
    /// the case while retired boxes wait for the reaper.
    pub fn do_slot(&mut self, slot: u64) -> bool {
        let late_ns = self.clock.late_ns(slot);
        let is_clear = self.sink.retry_retired();
        if is_clear {
            self.apply_commands();
        }
        self.take_packets();
        self.run_slot(slot, late_ns);
        self.sink.wake_the_network();
        self.sink.wake_the_conference();
        self.count(slot, late_ns);
        is_clear
    }

    /// Applies at most [`COMMANDS`] commands, so that a flood of commands does not delay the rooms.
    fn apply_commands(&mut self) {
        self.engine
            .cap_complexity(self.max_complexity.load(Ordering::Relaxed));
        IN_ROOMS.set(true);
        for _ in 0..COMMANDS {
            let Ok(command) = self.commands.pop() else {
                break;
            };
            self.engine.apply(command, &mut self.sink);
        }
        IN_ROOMS.set(false);
    }

    /// Takes at most [`PACKETS_IN`] packets, so that a flood of packets does not delay the rooms.
    fn take_packets(&mut self) {
        IN_ROOMS.set(true);
        for _ in 0..PACKETS_IN {
            let (packets, engine) = (&mut self.packets, &mut self.engine);
            let push = |it: &Inbound| engine.push(it.from, &it.packet, it.arrival);
            if take_in_place(packets, push).is_none() {
                break;
            }
        }
        IN_ROOMS.set(false);
    }

    fn run_slot(&mut self, slot: u64, late_ns: i64) {
        IN_ROOMS.set(true);
        self.engine.hurry(late_ns > HURRIES_NS);
        self.engine
            .run_slot(slot, SlotClock::at(slot), &mut self.sink);
        IN_ROOMS.set(false);
        #[cfg(test)]
        self.carry_burden();
    }

    fn count(&mut self, slot: u64, late_ns: i64) {
        let times = SlotTimes {
            late_ns: late_ns.max(0) as u64,
            work_ns: (self.clock.late_ns(slot) - late_ns).max(0) as u64,
            waited_ns: self.sink.take_waited_ns(),
        };
        self.sink.metrics().worked(&times, self.engine.stats());
    }

    fn next_slot(&self, slot: u64) -> u64 {
        let next = slot + 1;
        if self.clock.late_ns(next) <= TOO_LATE_NS {
            return next;
        }
        let current = self.clock.current();
        add(&self.sink.metrics().skipped_slots, current - next);
        current
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The work of a mixer between two slots: waiting, and encodes for other mixers.
impl Mixer {
    /// Waits until `slot` begins; runs encodes for other mixers as long as there is time.
    fn wait_for(&self, slot: u64) {
        let work_share = self.sink.work_share();
        let deadline = self.clock.deadline(slot);
        while self.clock.late_ns(slot) < 0 && !self.is_stopped() {
            let time = self.time_before(slot);
            if time < LEAST_TIME {
                work_share
                    .parker()
                    .sleep(Sleep::Uninterrupted, &deadline, || false);
            } else if !self.help(time) {
                let is_needed = || work_share.has_work(self.time_before(slot)) || self.is_stopped();
                work_share.parker().sleep(Sleep::Doze, &deadline, is_needed);
            }
        }
    }

    /// Sleeps for up to [`REST_SLOTS`], until there is a command or an encode of another mixer;
    /// returns the slot to run next.
    fn rest(&self) -> u64 {
        let work_share = self.sink.work_share();
        let deadline = self.clock.deadline(self.clock.current() + REST_SLOTS);
        let is_needed =
            || !self.commands.is_empty() || work_share.has_work(SLOT) || self.is_stopped();
        work_share.parker().sleep(Sleep::Rest, &deadline, is_needed);
        self.clock.current() + 1
    }

    /// Runs one encode of another mixer whose budget is at most `time`; returns whether there was
    /// one.
    fn help(&self, time: Duration) -> bool {
        let began_ns = self.clock.now_ns();
        IN_ROOMS.set(true);
        let helped = self.sink.work_share().help(time);
        IN_ROOMS.set(false);
        if helped {
            let metrics = self.sink.metrics();
            add(&metrics.helped, 1);
            let spent_ns = self.clock.now_ns() - began_ns;
            add(&metrics.helping_ns, spent_ns.max(0) as u64);
        }
        helped
    }

    /// Returns the time left until `slot` begins.
    fn time_before(&self, slot: u64) -> Duration {
        Duration::from_nanos(u64::try_from(-self.clock.late_ns(slot)).unwrap_or(0))
    }

    #[cfg(test)]
    fn carry_burden(&self) {
        let until_ns = self.clock.now_ns() + self.burden_ns.load(Ordering::Relaxed).cast_signed();
        while self.clock.now_ns() < until_ns {
            std::hint::spin_loop();
        }
    }
}

impl Job for mixer::schedule::Job {
    fn budget(&self) -> Duration {
        mixer::schedule::Job::budget(self)
    }

    fn run(&mut self) {
        mixer::schedule::Job::run(self);
    }
}

impl Drop for Mixer {
    fn drop(&mut self) {
        // Panics in rooms have been caught before; any other panic ends the mixer.
        if std::thread::panicking() {
            tracing::error!("a mixer thread panicked outside of any room and has ended");
        }
    }
}

thread_local! {
    /// Whether the calling thread is running engine code, whose panics are caught and reported as
    /// events.
    static IN_ROOMS: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panic hook from writing a message, which can block, when a room panics. Other panics
/// are still reported.
pub(super) fn silence_room_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IN_ROOMS.get() {
                tell(panic);
            }
        }));
    });
}

/// Lateness at which a slot is skipped: one tick.
const TOO_LATE_NS: i64 = TickLength::Ms20.duration().as_nanos() as i64;

/// Lateness above which the engine is told to hurry: one slot, because the next slot has begun
/// already.
const HURRIES_NS: i64 = SLOT.as_nanos() as i64;

/// Shortest time before a slot in which an encode for another mixer is begun; the cheapest encode
/// is not worth a wake-up in less time.
const LEAST_TIME: Duration = Duration::from_micros(100);

/// Number of slots that a mixer without participants sleeps if no command comes: 100 ms. Packets of
/// participants that have left wait meanwhile, and are then dropped.
const REST_SLOTS: u64 = 100_000 / SLOT.as_micros() as u64;
