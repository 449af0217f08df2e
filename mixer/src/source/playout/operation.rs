//! Operations of a playout: what it does next with a sender's sound.

/// Where the next samples come from. [`next_supply`](super::supply::next_supply) chooses the
/// operation, [`Decoding`](super::decoding::Decoding) executes it. The names here are those of
/// NetEq, the jitter buffer of libwebrtc.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operation {
    /// Decode the next packet, which is stored.
    Normal,
    /// Recover lost packets: the first packet after them carries FEC for the last of them.
    Recover { missing: usize },
    /// Conceal lost packets.
    Conceal { missing: usize },
    /// Decode late packets whose time concealment has covered, and blend into the sound after
    /// them.
    Merge { covered: usize },
    /// Conceal while no packet is stored. Whether a packet is late, lost or was never sent shows
    /// later.
    Expand,
    /// Go on with the first stored packet: a pause of the sender has passed meanwhile.
    ResumeAtFirst,
    /// End the talk-spurt: it is over, or the next packets belong to another timeline.
    End,
}

/// A change of how long packets wait, made by a splice in the queued sound.
/// [`DelayControl`](super::delay_control::DelayControl) chooses it,
/// [`Decoding`](super::decoding::Decoding) executes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TimeStretch {
    /// Remove time to shorten the wait.
    Accelerate(Acceleration),
    /// Insert time to lengthen the wait.
    Decelerate { min_similarity: f32 },
}

/// How time is removed from the queued sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Acceleration {
    /// Samples to be removed at most.
    pub excess: usize,
    /// How similar two periods must be to be spliced into one: from -1 to 1.
    pub min_similarity: f32,
    /// How similar two periods must be where no packet follows yet.
    pub min_similarity_at_end: f32,
    /// Why time is removed.
    pub reason: Reason,
}

/// Why time is removed from the queued sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The sender spoke while waiting for the floor, and the playout is catching up.
    CatchUp,
    /// Packets wait longer than necessary.
    Excess {
        /// The splice is inaudible.
        is_unheard: bool,
    },
}
