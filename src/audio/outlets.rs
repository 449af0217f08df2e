//! Where the engine's output goes. Every send is a try; what finds a link full is counted.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};
use mixer::ParticipantId;
use mixer::command::{Event, Retired};
use mixer::crew::EncodeJob;
use mixer::engine::{EngineLimits, Sink};
use mixer::format::{SLOT, TickLength};
use mixer::packet::OutPacket;

use super::clock::SlotClock;
use super::crew::Mate;
use super::metrics::{MixerMetrics, add};
use crate::links::{COMMANDS, JOBS, Outbound, Recipients};

/// The ends of the links that the engine's output goes to.
pub(super) struct Outlets {
    ends: OutletEnds,
    /// What found the reaper's link full waits here; see [`most_kept`].
    kept: Vec<Retired>,
    /// Entries on the network's link since it was last woken.
    sent: usize,
    clock: SlotClock,
    /// When an encode was last offered, or done by anybody.
    progress_ns: i64,
}

/// What [`Outlets`] are made of.
pub(super) struct OutletEnds {
    pub packets: Sender<Outbound>,
    pub events: Sender<Event>,
    pub retired: Sender<Retired>,
    /// The network thread's eventfd.
    pub wake: Arc<OwnedFd>,
    pub mate: Mate<EncodeJob>,
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
        }
    }

    /// What the mixer counts.
    pub fn metrics(&self) -> &MixerMetrics {
        &self.ends.metrics
    }

    /// This mixer's place among the others.
    pub fn mate(&self) -> &Mate<EncodeJob> {
        &self.ends.mate
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
            if let Err(TrySendError::Full(retired)) = self.ends.retired.try_send(retired) {
                self.kept.push(retired);
                return false;
            }
        }
        true
    }
}

impl Sink for Outlets {
    fn packet(&mut self, to: &[ParticipantId], packet: &OutPacket) {
        for to in Recipients::portions(to) {
            let packet = *packet;
            match self.ends.packets.try_send(Outbound { to, packet }) {
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
        if self.ends.events.try_send(event).is_err() {
            add(&self.ends.metrics.events_dropped, 1);
        }
    }

    fn retired(&mut self, retired: Retired) {
        if let Err(TrySendError::Full(retired)) = self.ends.retired.try_send(retired)
            && self.kept.len() < self.kept.capacity()
        {
            self.kept.push(retired);
        }
        // Beyond that it is freed here: a slot that is late is better than memory that is lost.
    }

    fn offer(&mut self, job: Box<EncodeJob>) -> Result<(), Box<EncodeJob>> {
        self.ends.mate.offer(job)
    }

    fn offered(&mut self) {
        self.progress_ns = self.clock.now_ns();
        self.ends.mate.wake_others();
    }

    fn unbegun(&mut self) -> Option<Box<EncodeJob>> {
        let job = self.ends.mate.unbegun()?;
        self.progress_ns = self.clock.now_ns();
        Some(job)
    }

    fn finished(&mut self) -> Option<Box<EncodeJob>> {
        let job = self.ends.mate.finished()?;
        self.progress_ns = self.clock.now_ns();
        add(&self.ends.metrics.was_helped, 1);
        Some(job)
    }

    /// Asked while there is nothing to do but wait, so others of the same priority get the core: there may be more
    /// mixers than cores, and the one that has the encode may be waiting for this one's.
    fn is_overdue(&self) -> bool {
        rustix::thread::sched_yield();
        self.clock.now_ns() - self.progress_ns >= PATIENCE_NS
    }
}

/// Most that can wait for the reaper at one time. While anything waits no command is taken in, and each command comes to
/// one box at most, that of who leaves and that of a scan a tick later. So there are the commands of one tick's slots and
/// of the one that found the link full. Without any command a room may fail, a participant may give up the one stream he
/// has for a group's, and an encode that another thread has may come back to nobody.
fn most_kept(limits: EngineLimits) -> usize {
    COMMANDS * (TickLength::Ms20.slots() + 1) + limits.rooms + limits.participants + JOBS
}

/// How long the others are waited for when nobody has finished anything meanwhile: two slots. An encode takes a sixteenth
/// of that, so whoever has it is being kept from it; and as long as it is waited for, all other rooms of this mixer are
/// late. A packet that comes so much later is still on its beat for any receiver that stands the network's own jitter.
const PATIENCE_NS: i64 = 2 * SLOT.as_nanos() as i64;

/// Entries after which the network thread is woken within a slot: what it sends in one batch. A room that everybody talks
/// in takes long to encode; its first packets need not wait for the last.
const FULL_BATCH: usize = 64;
