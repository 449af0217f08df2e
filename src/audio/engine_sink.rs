//! Sends a mixer engine's output over the rings to other threads. No send waits; a value that finds
//! its ring full is counted.

use std::cell::Cell;
use std::sync::Arc;

use mixer::ParticipantId;
use mixer::engine::{EngineLimits, Sink};
use mixer::format::{SLOT, TickLength};
use mixer::output::{Destination, Event, Retired};
use mixer::packet::OutPacket;
use mixer::schedule::{Job, WorkPool};
use rtrb::PushError;

use super::Wakes;
use super::clock::SlotClock;
use super::metrics::{MixerMetrics, add};
use super::work_sharing::WorkShare;
use crate::queues::{COMMANDS, JOBS, Outbound, Producer, Recipients};

/// The sending ends of the rings that carry one engine's output.
pub(super) struct EngineSink {
    ends: SinkEnds,
    /// Retired boxes that found the reaper's ring full; at most [`most_kept`].
    kept: Vec<Retired>,
    /// Number of entries sent to the network thread since it was last woken.
    sent: usize,
    /// Whether an event was sent since the conference was last woken.
    has_told: bool,
    clock: SlotClock,
    /// When an encode of this mixer was last offered, taken back or finished.
    progress_ns: i64,
    /// When the mixer began to do nothing but wait for encodes on other mixers; `None` while it
    /// works.
    waiting_since_ns: Cell<Option<i64>>,
    /// Time spent on such waiting in the present slot, in nanoseconds.
    waited_ns: Cell<i64>,
}

/// The parts from which [`EngineSink`] is built.
pub(super) struct SinkEnds {
    pub packets: Producer<Outbound>,
    pub events: Producer<Event>,
    pub retired: Producer<Retired>,
    pub wakes: Arc<Wakes>,
    pub work_share: WorkShare<Job>,
    pub metrics: Arc<MixerMetrics>,
}

impl EngineSink {
    /// Builds the sink. Real-time: set-up only (allocates).
    pub fn new(ends: SinkEnds, limits: EngineLimits, clock: SlotClock) -> EngineSink {
        EngineSink {
            ends,
            kept: Vec::with_capacity(most_kept(limits)),
            sent: 0,
            has_told: false,
            clock,
            progress_ns: 0,
            waiting_since_ns: Cell::new(None),
            waited_ns: Cell::new(0),
        }
    }

    /// The mixer's counters.
    pub fn metrics(&self) -> &MixerMetrics {
        &self.ends.metrics
    }

    /// This mixer's access to the encodes that all mixers share.
    pub fn work_share(&self) -> &WorkShare<Job> {
        &self.ends.work_share
    }

    /// Returns the time that the mixer has only waited for other mixers in this slot, in
    /// nanoseconds; resets it to 0.
    pub fn take_waited_ns(&mut self) -> u64 {
        self.waited_ns.take().max(0) as u64
    }

    fn progress(&mut self) {
        self.progress_ns = self.clock.now_ns();
        self.stop_waiting(self.progress_ns);
    }

    fn stop_waiting(&self, now_ns: i64) {
        if let Some(since_ns) = self.waiting_since_ns.take() {
            self.waited_ns.set(self.waited_ns.get() + now_ns - since_ns);
        }
    }

    /// Wakes the network thread, if packets were sent since it was last woken.
    pub fn wake_the_network(&mut self) {
        if self.sent > 0 {
            self.sent = 0;
            // The write fails only if the eventfd's counter is full, and then the network thread is
            // awake.
            let _ = rustix::io::write(&self.ends.wakes.network, &1u64.to_ne_bytes());
        }
    }

    /// Wakes the conference, if events were sent since it was last woken.
    pub fn wake_the_conference(&mut self) {
        if core::mem::take(&mut self.has_told) {
            // The write fails only if the eventfd's counter is full, and then the conference is
            // awake.
            let _ = rustix::io::write(&self.ends.wakes.conference, &1u64.to_ne_bytes());
        }
    }

    /// Sends retired boxes that had to wait to the reaper; returns whether none waits any longer.
    pub fn retry_retired(&mut self) -> bool {
        while let Some(retired) = self.kept.pop() {
            if let Err(PushError::Full(retired)) = self.ends.retired.push(retired) {
                self.kept.push(retired);
                return false;
            }
        }
        true
    }
}

impl Sink for EngineSink {
    fn packet(&mut self, destination: Destination, to: &[ParticipantId], packet: &OutPacket) {
        if destination != Destination::Peer {
            // The server adds no participant whose packets go anywhere but to a peer.
            add(&self.ends.metrics.packets_out_dropped, to.len() as u64);
            return;
        }
        for to in Recipients::portions(to) {
            let packet = *packet;
            match self.ends.packets.push(Outbound { to, packet }) {
                Ok(()) => self.sent += 1,
                Err(_) => add(
                    &self.ends.metrics.packets_out_dropped,
                    to.as_slice().len() as u64,
                ),
            }
        }
        if self.sent >= FULL_BATCH {
            self.wake_the_network();
        }
    }

    fn event(&mut self, event: Event) {
        self.has_told = true;
        if self.ends.events.push(event).is_err() {
            add(&self.ends.metrics.events_dropped, 1);
        }
    }

    fn retired(&mut self, retired: Retired) {
        if let Err(PushError::Full(retired)) = self.ends.retired.push(retired)
            && self.kept.len() < self.kept.capacity()
        {
            self.kept.push(retired);
        }
        // If `kept` is full too, the box is freed here: a late slot is better than leaked memory.
    }
}

impl WorkPool for EngineSink {
    fn offer(&mut self, job: Box<Job>) -> Result<(), Box<Job>> {
        self.ends.work_share.offer(job)
    }

    fn offered(&mut self) {
        self.progress_ns = self.clock.now_ns();
        self.ends.work_share.wake_others();
    }

    fn unbegun(&mut self) -> Option<Box<Job>> {
        let job = self.ends.work_share.unbegun()?;
        self.progress();
        Some(job)
    }

    fn finished(&mut self) -> Option<Box<Job>> {
        let job = self.ends.work_share.finished()?;
        self.progress();
        add(&self.ends.metrics.was_helped, 1);
        Some(job)
    }

    /// Whether to give up waiting for encodes on other mixers. Each call yields the core to threads
    /// of equal priority: with more mixers than cores, the mixer that runs the encode may need this
    /// mixer's core.
    fn is_overdue(&self) -> bool {
        if self.waiting_since_ns.get().is_none() {
            self.waiting_since_ns.set(Some(self.clock.now_ns()));
        }
        rustix::thread::sched_yield();
        let now_ns = self.clock.now_ns();
        let is_overdue = now_ns - self.progress_ns >= PATIENCE_NS;
        if is_overdue {
            self.stop_waiting(now_ns);
        }
        is_overdue
    }
}

/// Most retired boxes that can wait for the reaper at one time.
///
/// While any box waits, no command is applied. A command yields at most one box: that of a leaving
/// participant at once, those of monitored rooms and of personal gains one tick later. So the first
/// term counts the commands of one tick's slots and of the slot that found the ring full. The other
/// terms count boxes without a command: each room may fail, each participant may give up its own
/// stream for a group's, and each encode on another thread may find its participant gone.
fn most_kept(limits: EngineLimits) -> usize {
    COMMANDS * (TickLength::Ms20.slots() + 1) + limits.rooms + limits.participants + JOBS
}

/// Time without any finished encode after which a mixer stops waiting for others: two slots. A
/// usual encode takes a sixteenth of that and an encode of 60 ms a sixth, so the thread that runs
/// it is being held up. While this mixer waits, all its other rooms are late. A packet that is late
/// by this time still arrives in time at any receiver that tolerates the network's own jitter.
const PATIENCE_NS: i64 = 2 * SLOT.as_nanos() as i64;

/// Number of entries after which the network thread is woken within a slot: one batch of datagrams.
/// A room in which everybody talks takes long to encode, and its first packets need not wait for
/// its last.
const FULL_BATCH: usize = 64;
