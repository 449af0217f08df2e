//! Counters of a mixer thread: written by that thread alone, readable by any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mixer::engine::EngineStats;

use super::histogram::Histogram;

/// Counters of one mixer thread since it started.
///
/// A slot is one turn of the thread's loop, every 2.5 ms. A room is due in the slot in which its
/// next tick begins.
#[derive(Debug, Default)]
pub struct MixerMetrics {
    /// Number of slots run.
    pub slots: AtomicU64,
    /// Number of slots with a due room that began more than one slot late and were run
    /// nevertheless.
    pub late_slots: AtomicU64,
    /// Number of slots with a due room whose work was not finished when the next slot should begin.
    pub overrun_slots: AtomicU64,
    /// Number of slots skipped because they would have begun more than a tick late.
    pub skipped_slots: AtomicU64,
    /// Histogram of how late the slots with a due room began.
    pub lateness: Histogram,
    /// Histogram of the duration of the slots with a due room.
    pub work: Histogram,
    /// Time spent on the mixer's own slots, in nanoseconds of wall-clock time, so that preemption
    /// counts as load. Waiting for other mixers does not count.
    pub busy_ns: AtomicU64,
    /// Time spent waiting for encodes that other mixers had begun, in nanoseconds.
    pub waiting_ns: AtomicU64,
    /// Time spent on encodes for other mixers, between the mixer's own slots, in nanoseconds.
    pub helping_ns: AtomicU64,
    /// Number of encodes done for other mixers.
    pub helped: AtomicU64,
    /// Number of encodes that other mixers did for this mixer.
    pub was_helped: AtomicU64,
    /// Number of events dropped because the ring to the conference was full.
    pub events_dropped: AtomicU64,
    /// Number of packets dropped because the ring to the network thread was full, per recipient.
    pub packets_out_dropped: AtomicU64,
    /// Number of rooms on this mixer.
    pub rooms: AtomicU64,
    /// Number of participants on this mixer.
    pub participants: AtomicU64,
    /// Number of ticks run, over all rooms.
    pub room_ticks: AtomicU64,
    /// Number of ticks that waited for a late packet.
    pub ticks_held: AtomicU64,
    /// Number of packets sent, per recipient.
    pub packets_out: AtomicU64,
    /// Number of packets encoded.
    pub encodes: AtomicU64,
    /// Number of packets skipped because another thread had not encoded them in time.
    pub encodes_skipped: AtomicU64,
    /// Number of mixes that the codec refused to encode.
    pub encode_failures: AtomicU64,
    /// Number of received packets from participants that are not on this mixer or do not talk.
    pub packets_in_dropped: AtomicU64,
    /// Number of commands that the engine refused.
    pub refused: AtomicU64,
    /// Number of rooms removed because of a fault.
    pub faults: AtomicU64,
}

/// Measured times of one slot.
pub(super) struct SlotTimes {
    /// Nanoseconds by which the slot began late.
    pub late_ns: u64,
    /// Nanoseconds that the slot took, from its actual begin to its end.
    pub work_ns: u64,
    /// The part of `work_ns` that was spent only waiting for other mixers.
    pub waited_ns: u64,
}

impl MixerMetrics {
    /// Counts one finished slot, and copies the engine's counters.
    pub(super) fn worked(&self, times: &SlotTimes, engine: EngineStats) {
        add(&self.slots, 1);
        add(&self.busy_ns, times.work_ns.saturating_sub(times.waited_ns));
        add(&self.waiting_ns, times.waited_ns);
        // Lateness and duration matter only for a slot with a due room.
        if engine.ticks_total != self.room_ticks.load(Relaxed) {
            self.lateness.record_ns(times.late_ns);
            self.work.record_ns(times.work_ns);
            add(&self.late_slots, u64::from(times.late_ns > SLOT_NS));
            let is_over = times.late_ns + times.work_ns > SLOT_NS;
            add(&self.overrun_slots, u64::from(is_over));
        }
        self.rooms.store(engine.rooms as u64, Relaxed);
        self.participants.store(engine.participants as u64, Relaxed);
        self.room_ticks.store(engine.ticks_total, Relaxed);
        self.ticks_held.store(engine.ticks_held_total, Relaxed);
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

/// Adds to a counter that only the calling thread writes, so that no locked instruction is needed.
pub(super) fn add(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed) + by, Relaxed);
}

const SLOT_NS: u64 = mixer::format::SLOT.as_nanos() as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(metrics: &MixerMetrics, late_us: u64, work_us: u64, ticks_total: u64) {
        let times = SlotTimes {
            late_ns: late_us * 1_000,
            work_ns: work_us * 1_000,
            waited_ns: 0,
        };
        let engine = EngineStats {
            ticks_total,
            ..EngineStats::default()
        };
        metrics.worked(&times, engine);
    }

    #[test]
    fn mixer_metrics_do_not_count_waiting_for_other_mixers_as_load() {
        let metrics = MixerMetrics::default();
        let times = SlotTimes {
            late_ns: 0,
            work_ns: 3_000_000,
            waited_ns: 2_600_000,
        };
        let engine = EngineStats {
            ticks_total: 1,
            ..EngineStats::default()
        };
        metrics.worked(&times, engine);
        assert_eq!(metrics.busy_ns.load(Relaxed), 400_000);
        assert_eq!(metrics.waiting_ns.load(Relaxed), 2_600_000);
        // Waiting for other mixers still counts towards the slot's duration.
        assert_eq!(metrics.overrun_slots.load(Relaxed), 1);
    }

    #[test]
    fn mixer_metrics_count_only_slots_with_a_due_room_as_late() {
        let metrics = MixerMetrics::default();
        slot(&metrics, 9_000, 5, 0);
        slot(&metrics, 40, 300, 1);
        slot(&metrics, 2_000, 600, 3);
        slot(&metrics, 2_600, 10, 4);
        let of = |count: &AtomicU64| count.load(Relaxed);
        assert_eq!(of(&metrics.slots), 4);
        assert_eq!(of(&metrics.late_slots), 1);
        assert_eq!(of(&metrics.overrun_slots), 2);
        assert_eq!(of(&metrics.busy_ns), 915_000);
        assert_eq!(metrics.lateness.longest().as_micros(), 2_600);
        assert_eq!(metrics.work.longest().as_micros(), 600);
    }
}
