//! What the rest of the server knows of the mixers.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mixer::command::{Command, Event};

use super::bell::Bell;
use super::metrics::MixerMetrics;
use crate::links::MixerId;

/// All mixers.
#[derive(Debug, Clone)]
pub struct AudioHandle {
    pub(super) mixers: Arc<[MixerHandle]>,
}

/// One mixer.
#[derive(Debug, Clone)]
pub struct MixerHandle {
    pub(super) id: MixerId,
    pub(super) commands: Sender<Command>,
    pub(super) events: Receiver<Event>,
    pub(super) metrics: Arc<MixerMetrics>,
    pub(super) max_complexity: Arc<AtomicU8>,
    pub(super) bell: Arc<Bell>,
    #[cfg(test)]
    pub(super) burden_ns: Arc<std::sync::atomic::AtomicU64>,
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

    /// Hands over a command, which is applied within a slot.
    ///
    /// # Errors
    /// The command itself when the link is full or the mixer has ended.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        let sent = self.commands.try_send(command);
        sent.map_err(TrySendError::into_inner)?;
        self.bell.ring_for_command();
        Ok(())
    }

    /// No encoder takes more care than this from the next slot on, libopus complexity.
    pub fn cap_complexity(&self, most: u8) {
        self.max_complexity.store(most, Relaxed);
    }

    /// What the mixer tells. To be polled, not waited on: waking a blocked receiver takes a lock.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
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
