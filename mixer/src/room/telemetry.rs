//! Counts of one tick, and the copying of a strip's counts to the telemetry.

use std::sync::atomic::Ordering::Relaxed;

use crate::room::Telemetry;
use crate::schedule::WorkOutcome;
use crate::source::PlayoutStats;
use crate::source::Strip;

/// What one tick of one room did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TickStats {
    /// Voices on the bus.
    pub contributors: usize,
    /// Packets handed out, counted once per recipient.
    pub packets: u64,
    /// Packets encoded.
    pub encodes: u64,
    /// Encodes offered to other threads.
    pub encodes_offered: u64,
    /// Packets skipped because another thread had not encoded them in time.
    pub encodes_skipped: u64,
    /// Mixes that the codec failed to encode.
    pub encode_failures: u64,
    /// Whether further ticks would do nothing until the next packet or command.
    pub asleep: bool,
}

impl TickStats {
    /// Counts one encode by its outcome.
    pub(crate) fn count(&mut self, outcome: WorkOutcome) {
        match outcome {
            WorkOutcome::Packet | WorkOutcome::Nothing => self.encodes += 1,
            WorkOutcome::Failed => self.encode_failures += 1,
        }
    }
}

/// Copies all counts of a strip to the telemetry, where any thread can read them.
///
/// Real-time: safe.
pub(crate) fn publish(strip: &Strip, telemetry: &Telemetry) {
    let stats = strip.stats();
    publish_arrivals(strip, stats.received, telemetry);
    publish_playout(&stats, telemetry);
}

fn publish_playout(stats: &PlayoutStats, telemetry: &Telemetry) {
    let counts = [
        (&telemetry.lost_total, stats.lost),
        (&telemetry.late_total, stats.late),
        (&telemetry.duplicate_total, stats.duplicate),
        (&telemetry.undecodable_total, stats.undecodable),
        (&telemetry.concealed_samples_total, stats.concealed_samples),
        (&telemetry.recovered_samples_total, stats.recovered_samples),
        (&telemetry.inserted_samples_total, stats.inserted_samples),
        (&telemetry.removed_samples_total, stats.removed_samples),
        (
            &telemetry.resampling_inserted_samples_total,
            stats.resampling_inserted_samples,
        ),
        (
            &telemetry.resampling_removed_samples_total,
            stats.resampling_removed_samples,
        ),
        (&telemetry.covered_samples_total, stats.covered_samples),
        (&telemetry.played_samples_total, stats.played_samples),
    ];
    for (total, count) in counts {
        total.store(count, Relaxed);
    }
    let delay_us = stats.delay.as_micros().min(u128::from(u32::MAX)) as u32;
    telemetry.delay_us.store(delay_us, Relaxed);
}

/// Copies the counts that change even while nothing is played, and the state of the strip's permit.
///
/// - `received_total`: packets that arrived for the strip.
///
/// Real-time: safe.
pub(crate) fn publish_arrivals(strip: &Strip, received_total: u64, telemetry: &Telemetry) {
    telemetry.received_total.store(received_total, Relaxed);
    telemetry.voiced_total.store(strip.voiced(), Relaxed);
    telemetry.permit.store(strip.permit() as u8, Relaxed);
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn each_playout_count_has_its_own_telemetry_field() {
        let stats = PlayoutStats {
            lost: 1,
            late: 2,
            duplicate: 3,
            undecodable: 4,
            concealed_samples: 5,
            recovered_samples: 6,
            inserted_samples: 7,
            removed_samples: 8,
            resampling_inserted_samples: 9,
            resampling_removed_samples: 10,
            covered_samples: 11,
            played_samples: 12,
            delay: Duration::from_millis(13),
            ..PlayoutStats::default()
        };
        let telemetry = Telemetry::default();
        publish_playout(&stats, &telemetry);
        let counts = [
            &telemetry.lost_total,
            &telemetry.late_total,
            &telemetry.duplicate_total,
            &telemetry.undecodable_total,
            &telemetry.concealed_samples_total,
            &telemetry.recovered_samples_total,
            &telemetry.inserted_samples_total,
            &telemetry.removed_samples_total,
            &telemetry.resampling_inserted_samples_total,
            &telemetry.resampling_removed_samples_total,
            &telemetry.covered_samples_total,
            &telemetry.played_samples_total,
        ];
        let counts = counts.map(|count| count.load(Relaxed));
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(telemetry.delay_us.load(Relaxed), 13_000);
    }
}
