//! What the engine counts.

use crate::room::TickStats;

/// Totals of one engine since it was made, and what it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Rooms held now.
    pub rooms: usize,
    /// Participants held now.
    pub participants: usize,
    /// Ticks run, of all rooms.
    pub ticks_total: u64,
    /// Ticks that waited for a late packet.
    pub ticks_held_total: u64,
    /// Packets handed out.
    pub packets_total: u64,
    /// Packets encoded.
    pub encodes_total: u64,
    /// Packets left out because another thread had not encoded them in time.
    pub encodes_skipped_total: u64,
    /// Mixes the codec refused.
    pub encode_failures_total: u64,
    /// Packets for participants that are not here.
    pub strays_total: u64,
    /// Commands that named something that is not here, or for which there was no place.
    pub refused_total: u64,
    /// Rooms retired by a fault in their tick.
    pub faults_total: u64,
}

impl EngineStats {
    /// Adds what one tick did.
    pub(crate) fn add(&mut self, tick: &TickStats) {
        self.packets_total += tick.packets;
        self.encodes_total += tick.encodes;
        self.encodes_skipped_total += tick.encodes_skipped;
        self.encode_failures_total += tick.encode_failures;
    }
}
