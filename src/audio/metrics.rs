//! What the mixer thread counts: written by it alone, read by anyone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mixer::format::SLOT;
use mixer::stats::EngineStats;

/// Totals of one mixer thread since it started, and its load now.
#[derive(Debug, Default)]
pub struct MixerMetrics {
    /// Slots run: one turn of the mixer's own clock.
    pub slots: AtomicU64,
    /// Slots that began more than a slot late, and were run all the same.
    pub late_slots: AtomicU64,
    /// Slots left out because they would have come more than a tick late.
    pub skipped_slots: AtomicU64,
    /// Events that found their link full.
    pub events_dropped: AtomicU64,
    /// Packets for the network that found their link full.
    pub packets_out_dropped: AtomicU64,
    /// Time spent at work.
    pub busy_ns: AtomicU64,
    /// The longest slot's work since the last reading.
    slowest_ns: AtomicU64,
    load_bits: AtomicU32,
    /// Rooms held now.
    pub rooms: AtomicU64,
    /// Participants held now.
    pub participants: AtomicU64,
    /// Ticks run, of all rooms.
    pub room_ticks: AtomicU64,
    /// Packets handed out, to each who gets one.
    pub packets_out: AtomicU64,
    /// Packets encoded.
    pub encodes: AtomicU64,
    /// Packets left out because another thread had not encoded them in time.
    pub encodes_skipped: AtomicU64,
    /// Mixes the codec refused.
    pub encode_failures: AtomicU64,
    /// Packets in from participants who are not here, or do not talk.
    pub packets_in_dropped: AtomicU64,
    /// Commands there was no place for.
    pub refused: AtomicU64,
    /// Rooms retired by a fault.
    pub faults: AtomicU64,
}

impl MixerMetrics {
    /// Busy time over time, of the last second or so: 0.0 idle, 1.0 cannot do more.
    pub fn load(&self) -> f32 {
        f32::from_bits(self.load_bits.load(Relaxed))
    }

    /// The longest slot's work since this was last asked.
    pub fn take_slowest(&self) -> Duration {
        Duration::from_nanos(self.slowest_ns.swap(0, Relaxed))
    }

    /// Counts one slot's work.
    pub(super) fn worked(&self, busy_ns: u64, engine: EngineStats) {
        add(&self.slots, 1);
        add(&self.busy_ns, busy_ns);
        self.slowest_ns.fetch_max(busy_ns, Relaxed);
        let load = self.load();
        let now = busy_ns as f32 / SLOT.as_nanos() as f32;
        let smoothed = load + (now - load) * LOAD_WEIGHT;
        self.load_bits.store(smoothed.to_bits(), Relaxed);

        self.rooms.store(engine.rooms as u64, Relaxed);
        self.participants.store(engine.participants as u64, Relaxed);
        self.room_ticks.store(engine.ticks_total, Relaxed);
        self.packets_out.store(engine.packets_total, Relaxed);
        self.encodes.store(engine.encodes_total, Relaxed);
        self.encodes_skipped
            .store(engine.encodes_skipped_total, Relaxed);
        self.encode_failures
            .store(engine.encode_failures_total, Relaxed);
        self.packets_in_dropped.store(engine.strays_total, Relaxed);
        self.refused.store(engine.refused_total, Relaxed);
        self.faults.store(engine.faults_total, Relaxed);
    }
}

/// Adds to a count that only the calling thread writes: no locked instruction is needed.
pub(super) fn add(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed) + by, Relaxed);
}

/// One slot's weight in the load: 400 slots are a second.
const LOAD_WEIGHT: f32 = 1.0 / 400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_busy_time_over_time() {
        let metrics = MixerMetrics::default();
        for _ in 0..4_000 {
            metrics.worked(1_250_000, EngineStats::default());
        }
        assert!((metrics.load() - 0.5).abs() < 0.01);
        assert_eq!(metrics.take_slowest(), Duration::from_micros(1_250));
        assert_eq!(metrics.take_slowest(), Duration::ZERO);
    }
}
