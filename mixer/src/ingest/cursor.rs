//! Read position in one sender's packets.

/// The packet to be decoded next, in the unwrapped numbers of the [timeline](super::timeline).
#[derive(Debug)]
pub(crate) struct Cursor {
    /// Sequence number of the packet to be decoded next.
    pub next_seq: i64,
    /// Media time just after the last decoded sample.
    pub next_time: i64,
    /// Length of the packet decoded last, in samples at 48 kHz.
    pub packet_samples: usize,
    /// Samples of concealment since the buffer ran dry. Media time stands still meanwhile: only the
    /// next packet shows whether these samples replaced a late packet, a lost packet or a pause.
    pub stalled_samples: usize,
    /// The stored packets belong to another timeline than the packets decoded so far.
    pub is_new_timeline: bool,
    /// Sequence number before which packets have arrived that are not to be played.
    refused_to: i64,
}

impl Cursor {
    /// Creates a cursor that has read nothing.
    pub fn new() -> Cursor {
        Cursor {
            next_seq: 0,
            next_time: 0,
            packet_samples: 960,
            stalled_samples: 0,
            is_new_timeline: true,
            refused_to: 0,
        }
    }

    /// Moves past the packet `seq`, which ends at the media time `end`.
    pub fn pass(&mut self, seq: i64, end: i64) {
        self.next_seq = seq + 1;
        self.next_time = end;
        self.is_new_timeline = false;
    }

    /// Records that the packet `seq` arrived but is not to be played, so that it does not count as
    /// lost.
    pub fn refuse(&mut self, seq: i64) {
        self.refused_to = self.refused_to.max(seq + 1);
    }

    /// Moves past all refused packets.
    pub fn pass_refused(&mut self) {
        if self.next_seq < self.refused_to {
            self.next_seq = self.refused_to;
            self.is_new_timeline = false;
        }
    }

    /// Sequence number that the first stored packet would have if no packet had been lost before
    /// it.
    ///
    /// - `first`: the sequence number that the packet has.
    pub fn expected(&self, first: i64) -> i64 {
        self.next_seq.max(self.refused_to.min(first))
    }
}
