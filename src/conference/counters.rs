//! Counters of the conference since its start, and the sums of all participants' telemetry,
//! including participants who have left.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mixer::room::Telemetry;

use super::error::Refusal;
use super::floor::FloorCounts;
use crate::protocol::LeaveReason;
use crate::rate_limit::Limited;

/// Conference events counted since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    pub(super) joins: u64,
    /// Refused joins, indexed by [`Refusal`].
    pub(super) refused: [u64; Refusal::ALL.len()],
    /// Participants who left, indexed by [`LeaveReason`].
    pub(super) left: [u64; LeaveReason::ALL.len()],
    /// Rooms that failed on their mixer.
    pub(super) faults: u64,
    pub(super) floor: FloorCounts,
    /// Refusals by the rate limiters of single participants, indexed by [`Limited`].
    pub(super) limited: [u64; Limited::ALL.len()],
}

impl Counters {
    /// Counts a refused join.
    pub(super) fn refuse_join(&mut self, why: Refusal) {
        self.refused[why as usize] += 1;
    }

    /// Counts a refusal by a rate limiter.
    pub(super) fn count_limited(&mut self, what: Limited) {
        self.limited[what as usize] += 1;
    }
}

/// Sums of the telemetry of all participants, including those who have left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParticipantTotals {
    /// Audio packets that the server received from participants.
    pub received: u64,
    /// Audio packets of participants that never arrived.
    pub lost: u64,
    /// Audio packets of participants that arrived after their playout time.
    pub late: u64,
    /// Audio packets of participants that arrived more than once.
    pub duplicate: u64,
    /// Audio packets of participants that could not be decoded.
    pub undecodable: u64,
    /// Samples synthesized by concealment.
    pub concealed_samples: u64,
    /// Samples recovered from in-band FEC.
    pub recovered_samples: u64,
    /// Samples inserted by time stretching.
    pub inserted_samples: u64,
    /// Samples removed by time stretching.
    pub removed_samples: u64,
    /// Samples inserted by the resampler.
    pub resampling_inserted_samples: u64,
    /// Samples removed by the resampler.
    pub resampling_removed_samples: u64,
    /// Samples of late packets that were not played because concealment had covered their playout
    /// time.
    pub covered_samples: u64,
    /// Samples played into mixes.
    pub played_samples: u64,
}

impl ParticipantTotals {
    /// Adds the telemetry of one participant to the sums.
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
