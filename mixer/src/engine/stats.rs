//! Counters of the engine.

use crate::room::TickStats;

/// Totals of one engine since its creation, and what it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Rooms held now.
    pub rooms: usize,
    /// Participants held now.
    pub participants: usize,
    /// Ticks run, summed over all rooms.
    pub ticks_total: u64,
    /// Ticks that waited for a late packet.
    pub ticks_held_total: u64,
    /// Packets handed out, counted once per recipient.
    pub packets_total: u64,
    /// Packets encoded.
    pub encodes_total: u64,
    /// Packets skipped because another thread had not encoded them in time.
    pub encodes_skipped_total: u64,
    /// Mixes that the codec failed to encode.
    pub encode_failures_total: u64,
    /// Packets from a participant that is in no room, only listens, or plays a queue of PCM.
    pub strays_total: u64,
    /// Commands that could not be carried out; see [`Command`](crate::engine::Command).
    pub refused_total: u64,
    /// Rooms retired after a panic.
    pub faults_total: u64,
}

impl EngineStats {
    /// Adds the counts of one tick.
    pub(crate) fn add(&mut self, tick: &TickStats) {
        self.packets_total += tick.packets;
        self.encodes_total += tick.encodes;
        self.encodes_skipped_total += tick.encodes_skipped;
        self.encode_failures_total += tick.encode_failures;
    }
}
