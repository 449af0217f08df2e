//! Where the reader of a sender's packets stands.

/// What is to be decoded next, on the scale of the [timeline](super::timeline).
#[derive(Debug)]
pub(crate) struct Cursor {
    /// Sequence number of the packet to be decoded next.
    pub next_seq: i64,
    /// Media time just after what has been decoded.
    pub next_time: i64,
    /// Length of the packet decoded last.
    pub packet_samples: usize,
    /// Samples made up since the buffer ran dry. Media time stands still meanwhile: whether they stand for a packet that is
    /// late, one that is lost or a pause shows with the next packet.
    pub stalled_samples: usize,
    /// The packets stored belong to another timeline than what has been decoded.
    pub is_new_timeline: bool,
    /// Packets before this one came and were not to be played.
    refused_to: i64,
}

impl Cursor {
    /// Where reading starts.
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

    /// Moves past the packet `seq`, whose last sample is before `end`.
    pub fn pass(&mut self, seq: i64, end: i64) {
        self.next_seq = seq + 1;
        self.next_time = end;
        self.is_new_timeline = false;
    }

    /// The packet `seq` has come and is not to be played, so nobody misses it.
    pub fn refuse(&mut self, seq: i64) {
        self.refused_to = self.refused_to.max(seq + 1);
    }

    /// Moves past what was refused.
    pub fn pass_refused(&mut self) {
        if self.next_seq < self.refused_to {
            self.next_seq = self.refused_to;
            self.is_new_timeline = false;
        }
    }

    /// The number that the packet stored first would have if none had been lost before it.
    ///
    /// - `first`: the number that it has.
    pub fn expected(&self, first: i64) -> i64 {
        self.next_seq.max(self.refused_to.min(first))
    }
}
