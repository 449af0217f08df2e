//! What a playout counts.

use core::time::Duration;

use super::decoding::DecodingCounts;
use crate::ingest::ReceptionCounts;

/// Running totals of one playout, and its delay now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// Packets taken in, of any fate.
    pub received: u64,
    /// Packets that never came, or came too late.
    pub lost: u64,
    /// Packets that came too late.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets that did not decode.
    pub undecodable: u64,
    /// Packets thrown away unplayed because far too much was waiting.
    pub discarded: u64,
    /// Samples per channel decoded from packets.
    pub decoded_samples: u64,
    /// Samples per channel made up because none were there.
    pub concealed_samples: u64,
    /// Samples per channel recovered from in-band FEC.
    pub recovered_samples: u64,
    /// Samples per channel handed out, silence between talk-spurts apart.
    pub played_samples: u64,
    /// Samples per channel inserted by time stretching, to lengthen the delay.
    pub inserted_samples: u64,
    /// Samples per channel removed by time stretching, to shorten the delay.
    pub removed_samples: u64,
    /// Samples per channel that the resampler added, to follow a slower clock.
    pub resampling_inserted_samples: u64,
    /// Samples per channel that the resampler saved, to follow a faster clock.
    pub resampling_removed_samples: u64,
    /// Samples per channel of late packets that were decoded and not played, because concealment had
    /// already covered their time.
    pub covered_samples: u64,
    /// How long what plays now has waited since the earliest it could have arrived.
    pub delay: Duration,
    /// How long it should wait at least.
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
