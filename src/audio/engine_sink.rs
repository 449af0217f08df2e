//! The engine's output onto the rings to other threads. No send waits; values that find a ring full
//! are counted.

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

/// The sending ends of the rings that carry the engine's output.
pub(super) struct EngineSink {
    ends: SinkEnds,
    /// Retired boxes that found the reaper's ring full; see [`most_kept`].
    kept: Vec<Retired>,
    /// Entries on the network's ring since the network thread was last woken.
    sent: usize,
    /// Something has been told since the conference was last woken.
    has_told: bool,
    clock: SlotClock,
    /// When an encode was last offered or finished, by any mixer.
    progress_ns: i64,
    /// Since when the mixer only waits for other mixers' encodes.
    waiting_since_ns: Cell<Option<i64>>,
    /// Nanoseconds of such waiting in this slot so far.
    waited_ns: Cell<i64>,
}

/// The parts that [`EngineSink`] are made of.
pub(super) struct SinkEnds {
    pub packets: Producer<Outbound>,
    pub events: Producer<Event>,
    pub retired: Producer<Retired>,
    pub wakes: Arc<Wakes>,
    pub work_share: WorkShare<Job>,
    pub metrics: Arc<MixerMetrics>,
}

impl EngineSink {
    /// Builds the sink. Set-up only (allocates).
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

    /// This mixer's share in the work of the others.
    pub fn work_share(&self) -> &WorkShare<Job> {
        &self.ends.work_share
    }

    /// Nanoseconds that the mixer only waited for others in this slot; resets the count.
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

    /// Wakes the network thread if packets were sent since the last call.
    pub fn wake_the_network(&mut self) {
        if self.sent > 0 {
            self.sent = 0;
            // Refused only when the counter is full, and then the network thread is awake already.
            let _ = rustix::io::write(&self.ends.wakes.network, &1u64.to_ne_bytes());
        }
    }

    /// Wakes the conference if something has happened since it was last woken.
    pub fn wake_the_conference(&mut self) {
        if core::mem::take(&mut self.has_told) {
            // Refused only when the counter is full, and then the conference is awake already.
            let _ = rustix::io::write(&self.ends.wakes.conference, &1u64.to_ne_bytes());
        }
    }

    /// Retries to hand retired boxes to the reaper; returns whether none is left.
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
            // This server builds no participant with another destination.
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
        // Beyond that capacity the box is freed here: a late slot is better than leaked memory.
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

    /// Whether the mixer gives up waiting for encodes. Yields the core to threads of equal
    /// priority: with more mixers than cores, the mixer that runs the encode may need this mixer's
    /// core.
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

/// Most retired boxes that can wait for the reaper at one time. While any waits, no command is
/// applied, and a command yields at most one box (the box of a leaving participant, of monitored rooms and
/// of personal gains one tick later). So these are the commands of one tick's slots and of the slot
/// that found the ring full. Without any command each room may fail, each participant may give up
/// its own stream for a group's, and each encode on another thread may find its participant gone.
fn most_kept(limits: EngineLimits) -> usize {
    COMMANDS * (TickLength::Ms20.slots() + 1) + limits.rooms + limits.participants + JOBS
}

/// Time without any finished encode after which waiting for other mixers ends: two slots. An encode
/// takes a sixteenth of that, one of 60 ms a sixth, so the thread that runs it is being held up;
/// and while we wait, all other rooms of this mixer are late. A packet that comes so much later is
/// still on its beat for any receiver that tolerates the network's own jitter.
const PATIENCE_NS: i64 = 2 * SLOT.as_nanos() as i64;

/// Entries after which the network thread is woken within a slot: its batch size. A room in which
/// everybody talks takes long to encode, and its first packets need not wait for the last.
const FULL_BATCH: usize = 64;
