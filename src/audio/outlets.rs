//! Where the engine's output goes. No send waits; what finds its ring full is counted.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mixer::ParticipantId;
use mixer::command::{Event, Retired};
use mixer::engine::{EngineLimits, Sink};
use mixer::format::{SLOT, TickLength};
use mixer::output::Destination;
use mixer::packet::OutPacket;
use mixer::schedule::{Job, WorkPool};
use rtrb::PushError;

use super::clock::SlotClock;
use super::crew::Mate;
use super::metrics::{MixerMetrics, add};
use crate::queues::{COMMANDS, JOBS, Outbound, Producer, Recipients};

/// The ends of the rings that the engine's output goes to.
pub(super) struct Outlets {
    ends: OutletEnds,
    /// What found the reaper's ring full waits here; see [`most_kept`].
    kept: Vec<Retired>,
    /// Entries on the network's ring since it was last woken.
    sent: usize,
    clock: SlotClock,
    /// When an encode was last offered, or done by anybody.
    progress_ns: i64,
    /// Since when there has been nothing to do but wait for others' encodes.
    waiting_since_ns: Cell<Option<i64>>,
    /// How long that was in this slot so far.
    waited_ns: Cell<i64>,
}

/// What [`Outlets`] are made of.
pub(super) struct OutletEnds {
    pub packets: Producer<Outbound>,
    pub events: Producer<Event>,
    pub retired: Producer<Retired>,
    /// The network thread's eventfd.
    pub wake: Arc<OwnedFd>,
    pub mate: Mate<Job>,
    pub metrics: Arc<MixerMetrics>,
}

impl Outlets {
    /// Set-up only (allocates).
    pub fn new(ends: OutletEnds, limits: EngineLimits, clock: SlotClock) -> Outlets {
        Outlets {
            ends,
            kept: Vec::with_capacity(most_kept(limits)),
            sent: 0,
            clock,
            progress_ns: 0,
            waiting_since_ns: Cell::new(None),
            waited_ns: Cell::new(0),
        }
    }

    /// What the mixer counts.
    pub fn metrics(&self) -> &MixerMetrics {
        &self.ends.metrics
    }

    /// This mixer's place among the others.
    pub fn mate(&self) -> &Mate<Job> {
        &self.ends.mate
    }

    /// How long the mixer had nothing to do but wait in this slot, nanoseconds. Counts anew from here.
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

    /// Wakes the network thread if there is something for it.
    pub fn wake_the_network(&mut self) {
        if self.sent > 0 {
            self.sent = 0;
            // Refused only when the counter is full, and then the network thread is awake already.
            let _ = rustix::io::write(&self.ends.wake, &1u64.to_ne_bytes());
        }
    }

    /// Tries again to hand over what is to be freed; whether nothing waits any more.
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

impl Sink for Outlets {
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
        // Beyond that it is freed here: a slot that is late is better than memory that is lost.
    }
}

impl WorkPool for Outlets {
    fn offer(&mut self, job: Box<Job>) -> Result<(), Box<Job>> {
        self.ends.mate.offer(job)
    }

    fn offered(&mut self) {
        self.progress_ns = self.clock.now_ns();
        self.ends.mate.wake_others();
    }

    fn unbegun(&mut self) -> Option<Box<Job>> {
        let job = self.ends.mate.unbegun()?;
        self.progress();
        Some(job)
    }

    fn finished(&mut self) -> Option<Box<Job>> {
        let job = self.ends.mate.finished()?;
        self.progress();
        add(&self.ends.metrics.was_helped, 1);
        Some(job)
    }

    /// Asked while there is nothing to do but wait, so others of the same priority get the core: there may be more
    /// mixers than cores, and the one that has the encode may be waiting for this one's.
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

/// Most boxes that can wait for the reaper at one time. No command is applied while any waits, and a command yields one
/// box at most (that of a participant who leaves, of a scan and of personal gains come a tick later). So these are the commands of one
/// tick's slots and of the slot that found the ring full. Without any command each room may fail, each participant may
/// give up its own stream for a group's, and each encode that another thread has may find its participant gone.
fn most_kept(limits: EngineLimits) -> usize {
    COMMANDS * (TickLength::Ms20.slots() + 1) + limits.rooms + limits.participants + JOBS
}

/// How long the others are waited for when nobody has finished anything meanwhile: two slots. An encode takes a sixteenth
/// of that, one of 60 ms a sixth, so the thread that has it is being kept from it; and as long as it is waited for, all other rooms of this mixer are
/// late. A packet that comes so much later is still on its beat for any receiver that stands the network's own jitter.
const PATIENCE_NS: i64 = 2 * SLOT.as_nanos() as i64;

/// Entries after which the network thread is woken within a slot: what it sends in one batch. A room that everybody talks
/// in takes long to encode; its first packets need not wait for the last.
const FULL_BATCH: usize = 64;
