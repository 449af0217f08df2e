//! What the conference counts: what happened since the start, and the counters of all participants together, whose sums
//! never fall when somebody leaves.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mixer::command::Telemetry;

use super::error::Refusal;
use super::floor::FloorCounts;
use crate::protocol::LeaveReason;
use crate::rate_limit::Limited;

/// What happened since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    pub(super) joins: u64,
    /// Joins that were refused, by [`Refusal`].
    pub(super) refused: [u64; Refusal::ALL.len()],
    /// Participants who went, by [`LeaveReason`].
    pub(super) left: [u64; LeaveReason::ALL.len()],
    /// Rooms that failed.
    pub(super) faults: u64,
    pub(super) floor: FloorCounts,
    /// Refusals by the limits that are kept with each participant, by [`Limited`].
    pub(super) limited: [u64; Limited::ALL.len()],
}

impl Counters {
    /// Counts a join that was refused.
    pub(super) fn refuse_join(&mut self, why: Refusal) {
        self.refused[why as usize] += 1;
    }

    /// Counts something that came more often than it may.
    pub(super) fn count_limited(&mut self, what: Limited) {
        self.limited[what as usize] += 1;
    }
}

/// Sums of the participants' telemetry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParticipantTotals {
    /// Packets taken in.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets that are not Opus.
    pub undecodable: u64,
    /// Samples made up because none were there.
    pub concealed_samples: u64,
    /// Samples recovered from in-band FEC.
    pub recovered_samples: u64,
    /// Samples inserted by time stretching.
    pub inserted_samples: u64,
    /// Samples removed by time stretching.
    pub removed_samples: u64,
    /// Samples that the resampler added.
    pub resampling_inserted_samples: u64,
    /// Samples that the resampler saved.
    pub resampling_removed_samples: u64,
    /// Samples of late packets not played, because concealment had covered their time.
    pub covered_samples: u64,
    /// Samples played.
    pub played_samples: u64,
}

impl ParticipantTotals {
    /// Adds what one participant has counted.
    pub(super) fn add(&mut self, telemetry: &Telemetry) {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        self.received += of(&telemetry.received_total);
        self.lost += of(&telemetry.lost_total);
        self.late += of(&telemetry.late_total);
        self.duplicate += of(&telemetry.duplicate_total);
        self.undecodable += of(&telemetry.undecodable_total);
        self.concealed_samples += of(&telemetry.concealed_samples_total);
        self.recovered_samples += of(&telemetry.recovered_samples_total);
        self.inserted_samples += of(&telemetry.inserted_samples_total);
        self.removed_samples += of(&telemetry.removed_samples_total);
        self.resampling_inserted_samples += of(&telemetry.resampling_inserted_samples_total);
        self.resampling_removed_samples += of(&telemetry.resampling_removed_samples_total);
        self.covered_samples += of(&telemetry.covered_samples_total);
        self.played_samples += of(&telemetry.played_samples_total);
    }
}
