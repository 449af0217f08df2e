//! Statistics of a playout.

use core::time::Duration;

use super::decoding::DecodingCounts;
use crate::ingest::ReceptionCounts;

/// Running totals of one playout, with its present delay and target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// Packets taken in, whatever happened to them.
    pub received: u64,
    /// Packets that never arrived, or arrived too late.
    pub lost: u64,
    /// Packets that arrived too late.
    pub late: u64,
    /// Packets that arrived twice.
    pub duplicate: u64,
    /// Packets that could not be decoded.
    pub undecodable: u64,
    /// Packets discarded unplayed because far too many were waiting.
    pub discarded: u64,
    /// Samples per channel decoded from packets.
    pub decoded_samples: u64,
    /// Samples per channel of concealment, played because no packets were available.
    pub concealed_samples: u64,
    /// Samples per channel recovered from in-band FEC.
    pub recovered_samples: u64,
    /// Samples per channel played, apart from the silence between talk-spurts.
    pub played_samples: u64,
    /// Samples per channel inserted by time stretching, to lengthen the delay.
    pub inserted_samples: u64,
    /// Samples per channel removed by time stretching, to shorten the delay.
    pub removed_samples: u64,
    /// Samples per channel that the resampler added, to follow a slower clock.
    pub resampling_inserted_samples: u64,
    /// Samples per channel that the resampler removed, to follow a faster clock.
    pub resampling_removed_samples: u64,
    /// Samples per channel of late packets that were decoded but not played, because concealment
    /// had already covered their time.
    pub covered_samples: u64,
    /// How long the sound that plays now has waited since its earliest possible arrival.
    pub delay: Duration,
    /// How long a packet should wait at least after its earliest possible arrival.
    pub target: Duration,
}

impl PlayoutStats {
    pub(super) fn of(
        reception: &ReceptionCounts,
        decoding: &DecodingCounts,
        delay: Duration,
        target: Duration,
    ) -> PlayoutStats {
        PlayoutStats {
            received: reception.received,
            lost: reception.lost,
            late: reception.late,
            duplicate: reception.duplicate,
            undecodable: reception.malformed + decoding.undecodable_packets,
            discarded: reception.discarded,
            decoded_samples: decoding.decoded,
            concealed_samples: decoding.concealed,
            recovered_samples: decoding.recovered,
            played_samples: decoding.played,
            inserted_samples: decoding.inserted,
            removed_samples: decoding.removed,
            resampling_inserted_samples: decoding.resampling_inserted,
            resampling_removed_samples: decoding.resampling_removed,
            covered_samples: decoding.covered,
            delay,
            target,
        }
    }
}
