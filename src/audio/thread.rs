//! What the mixer thread does in each slot.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mixer::command::{Command, Event, Retired};
use mixer::engine::{Engine, Sink};
use mixer::format::TickLength;
use mixer::packet::OutPacket;
use mixer::{ParticipantId, Time};

use super::clock::SlotClock;
use super::metrics::{MixerMetrics, add};
use crate::links::{COMMANDS, Inbound, Outbound, PACKETS_IN, RETIRED, Recipients};

/// Everything the mixer thread owns.
pub(super) struct Mixer {
    pub engine: Engine,
    pub commands: Receiver<Command>,
    pub packets: Receiver<Inbound>,
    pub outlets: Outlets,
    pub stop: Arc<AtomicBool>,
}

impl Mixer {
    /// Runs slot after slot until it is told to stop.
    ///
    /// 1. Sleep until the slot begins.
    /// 2. Take in commands, then packets: one for a participant who came in the same slot counts.
    /// 3. Run the rooms that are due.
    /// 4. Wake the network, if it got anything, and count.
    ///
    /// A slot that comes late is made up for at once; one that would come more than a tick late is
    /// left out, so that the delay never grows.
    pub fn run(mut self) {
        let clock = SlotClock::new();
        let mut slot = clock.current() + 1;
        while !self.stop.load(Ordering::Relaxed) {
            clock.sleep_until(slot);
            let began_ns = SlotClock::ns();
            self.apply_commands();
            self.take_packets();
            self.run_slot(slot, SlotClock::at(slot));
            self.outlets.wake_the_network();
            self.outlets.retry_retired();
            let busy_ns = SlotClock::ns() - began_ns;
            self.outlets.metrics.worked(busy_ns, self.engine.stats());
            slot = self.next_slot(slot, &clock);
        }
    }

    fn apply_commands(&mut self) {
        for command in self.commands.try_iter().take(COMMANDS) {
            self.engine.apply(command, &mut self.outlets);
        }
    }

    /// Bounded: a flood must not keep the rooms waiting.
    fn take_packets(&mut self) {
        IN_ROOMS.set(true);
        for inbound in self.packets.try_iter().take(PACKETS_IN) {
            self.engine
                .push(inbound.from, &inbound.packet, inbound.arrival);
        }
        IN_ROOMS.set(false);
    }

    fn run_slot(&mut self, slot: u64, now: Time) {
        IN_ROOMS.set(true);
        self.engine.run_slot(slot, now, &mut self.outlets);
        IN_ROOMS.set(false);
    }

    fn next_slot(&self, slot: u64, clock: &SlotClock) -> u64 {
        let next = slot + 1;
        let late_us = clock.late_us(next);
        if late_us > LATE_US {
            add(&self.outlets.metrics.late_slots, 1);
        }
        if late_us <= TOO_LATE_US {
            return next;
        }
        let current = clock.current();
        add(&self.outlets.metrics.skipped_slots, current - next);
        current
    }
}

impl Drop for Mixer {
    fn drop(&mut self) {
        // A room's panic never comes this far; anything that does ends the mixer.
        if std::thread::panicking() {
            tracing::error!("the mixer has ended by a panic outside of any room");
        }
    }
}

/// Where the engine's output goes. Every send is a try; what finds a link full is counted.
pub(super) struct Outlets {
    packets: Sender<Outbound>,
    events: Sender<Event>,
    retired: Sender<Retired>,
    /// What found the link full waits here for the next slot.
    kept: Vec<Retired>,
    wake: OwnedFd,
    sent: bool,
    pub metrics: Arc<MixerMetrics>,
}

impl Outlets {
    pub fn new(
        packets: Sender<Outbound>,
        events: Sender<Event>,
        retired: Sender<Retired>,
        wake: OwnedFd,
        metrics: Arc<MixerMetrics>,
    ) -> Outlets {
        Outlets {
            packets,
            events,
            retired,
            kept: Vec::with_capacity(RETIRED),
            wake,
            sent: false,
            metrics,
        }
    }

    fn wake_the_network(&mut self) {
        if self.sent {
            self.sent = false;
            // Refused only when the counter is full, and then the network thread is awake already.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    fn retry_retired(&mut self) {
        while let Some(retired) = self.kept.pop() {
            if let Err(TrySendError::Full(retired)) = self.retired.try_send(retired) {
                self.kept.push(retired);
                return;
            }
        }
    }
}

impl Sink for Outlets {
    fn packet(&mut self, to: &[ParticipantId], packet: &OutPacket) {
        for to in Recipients::portions(to) {
            let packet = *packet;
            match self.packets.try_send(Outbound { to, packet }) {
                Ok(()) => self.sent = true,
                Err(_) => add(
                    &self.metrics.packets_out_dropped,
                    to.as_slice().len() as u64,
                ),
            }
        }
    }

    fn event(&mut self, event: Event) {
        if self.events.try_send(event).is_err() {
            add(&self.metrics.events_dropped, 1);
        }
    }

    fn retired(&mut self, retired: Retired) {
        if let Err(TrySendError::Full(retired)) = self.retired.try_send(retired) {
            self.kept.push(retired);
        }
    }
}

thread_local! {
    /// The calling thread runs rooms, whose panics are caught and reported as events.
    static IN_ROOMS: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panic hook from writing, which blocks, when a room panics. Any other panic is told as
/// before.
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

/// One slot: from here on the wake-up itself was late, not just imprecise.
const LATE_US: u64 = mixer::format::SLOT.as_micros() as u64;

/// One tick.
const TOO_LATE_US: u64 = TickLength::Ms20.duration().as_micros() as u64;
