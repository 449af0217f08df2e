//! Handles through which the rest of the server commands and observes the mixers.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use mixer::engine::Command;
use mixer::output::Event;

use super::metrics::MixerMetrics;
use super::parker::Parker;
use crate::queues::{Consumer, MixerId, Producer, send};

/// A handle to all mixers, for any part of the server: for their counters and their complexity
/// limit.
#[derive(Debug, Clone)]
pub struct AudioHandle {
    pub(super) mixers: Arc<[MixerHandle]>,
}

/// A handle to one mixer, which can be cloned.
#[derive(Debug, Clone)]
pub struct MixerHandle {
    pub(super) id: MixerId,
    pub(super) metrics: Arc<MixerMetrics>,
    pub(super) max_complexity: Arc<AtomicU8>,
    pub(super) parker: Arc<Parker>,
    #[cfg(test)]
    pub(super) burden_ns: Arc<std::sync::atomic::AtomicU64>,
}

/// The control side of one mixer: sends its commands and receives its events.
#[derive(Debug)]
pub struct MixerControl {
    pub(super) handle: MixerHandle,
    pub(super) commands: Producer<Command>,
    pub(super) events: Consumer<Event>,
}

impl MixerControl {
    /// The handle of the controlled mixer, which can be cloned and passed on.
    pub fn handle(&self) -> &MixerHandle {
        &self.handle
    }

    /// Sends a command to the mixer, which applies it at its next slot.
    ///
    /// # Errors
    /// Returns the command if the ring is full or the mixer has ended.
    pub fn send(&mut self, command: Command) -> Result<(), Command> {
        send(&mut self.commands, command)?;
        self.handle.parker.wake_for_command();
        Ok(())
    }

    /// Number of commands that the mixer accepts now; 0 if it has ended. Can only grow until the
    /// next command is sent.
    pub fn free_places(&self) -> usize {
        match self.commands.is_abandoned() {
            true => 0,
            false => self.commands.slots(),
        }
    }

    /// Takes the mixer's next event, if any. The mixer wakes the conference after a slot with
    /// events; see [`Wakes`](super::Wakes).
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop().ok()
    }

    /// Whether the mixer has ended. Events that it sent before may still be unread.
    pub fn has_ended(&self) -> bool {
        self.events.is_abandoned()
    }
}

impl AudioHandle {
    /// All mixers, in the order of their ids.
    pub fn mixers(&self) -> &[MixerHandle] {
        &self.mixers
    }
}

impl MixerHandle {
    /// The mixer's id.
    pub fn id(&self) -> MixerId {
        self.id
    }

    /// Limits the libopus complexity of all encoders of the mixer to `most`, from the next slot on.
    pub fn cap_complexity(&self, most: u8) {
        self.max_complexity.store(most, Relaxed);
    }

    /// The mixer's counters.
    pub fn metrics(&self) -> &MixerMetrics {
        &self.metrics
    }

    /// Makes every slot of the mixer take `slot` longer, to simulate load.
    #[cfg(test)]
    pub(crate) fn burden(&self, slot: std::time::Duration) {
        self.burden_ns.store(slot.as_nanos() as u64, Relaxed);
    }
}
