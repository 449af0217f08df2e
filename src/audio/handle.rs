//! What the rest of the server knows of the mixers.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use mixer::command::{Command, Event};

use super::bell::Bell;
use super::metrics::MixerMetrics;
use crate::queues::{Consumer, MixerId, Producer, send};

/// All mixers, as anybody may know them.
#[derive(Debug, Clone)]
pub struct AudioHandle {
    pub(super) mixers: Arc<[MixerHandle]>,
}

/// One mixer, as anybody may know it.
#[derive(Debug, Clone)]
pub struct MixerHandle {
    pub(super) id: MixerId,
    pub(super) metrics: Arc<MixerMetrics>,
    pub(super) max_complexity: Arc<AtomicU8>,
    pub(super) bell: Arc<Bell>,
    #[cfg(test)]
    pub(super) burden_ns: Arc<std::sync::atomic::AtomicU64>,
}

/// The one that commands a mixer and hears its events: the other end of the mixer's rings.
#[derive(Debug)]
pub struct MixerControl {
    pub(super) handle: MixerHandle,
    pub(super) commands: Producer<Command>,
    pub(super) events: Consumer<Event>,
}

impl MixerControl {
    /// The mixer.
    pub fn handle(&self) -> &MixerHandle {
        &self.handle
    }

    /// Hands over a command, which is applied within a slot.
    ///
    /// # Errors
    /// The command itself when the ring is full or the mixer has ended.
    pub fn send(&mut self, command: Command) -> Result<(), Command> {
        send(&mut self.commands, command)?;
        self.handle.bell.ring_for_command();
        Ok(())
    }

    /// How many commands the mixer takes now; none when it has ended. There can only be more until the next is sent.
    pub fn free_places(&self) -> usize {
        match self.commands.is_abandoned() {
            true => 0,
            false => self.commands.slots(),
        }
    }

    /// The mixer's next event. To be polled: nobody is woken for it.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop().ok()
    }

    /// Whether the mixer has ended. What it told before may still be there.
    pub fn has_ended(&self) -> bool {
        self.events.is_abandoned()
    }
}

impl AudioHandle {
    /// Each of them, in the order of their ids.
    pub fn mixers(&self) -> &[MixerHandle] {
        &self.mixers
    }
}

impl MixerHandle {
    /// Its name.
    pub fn id(&self) -> MixerId {
        self.id
    }

    /// No encoder takes more care than this from the next slot on, libopus complexity.
    pub fn cap_complexity(&self, most: u8) {
        self.max_complexity.store(most, Relaxed);
    }

    /// What the mixer counts.
    pub fn metrics(&self) -> &MixerMetrics {
        &self.metrics
    }

    /// Makes every slot take so much longer.
    #[cfg(test)]
    pub(crate) fn burden(&self, slot: std::time::Duration) {
        self.burden_ns.store(slot.as_nanos() as u64, Relaxed);
    }
}
