//! What playout does next with a sender's sound.

/// One step of a playout. [`DelayControl`](super::delay_control::DelayControl) and
/// [`next_supply`](super::supply::next_supply) choose it, [`Decoding`](super::decoding::Decoding) executes it. The names are
/// those of NetEq, the jitter buffer of libwebrtc.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operation {
    /// Decode the next packet, which is there.
    Normal,
    /// Packets are lost, and the first one after them carries a copy of the last.
    Recover { missing: usize },
    /// Packets are lost.
    Conceal { missing: usize },
    /// Late packets are there whose time has been covered by a prediction, and what comes after them is there too.
    Merge { covered: usize },
    /// Nothing is there. Whether it is lost, late or over will show.
    Expand,
    /// A pause of the sender has passed meanwhile: go on with the first packet stored.
    ResumeAtFirst,
    /// The talk-spurt is over, or what follows belongs to another timeline.
    End,
    /// Take time out, so that the wait is shorter.
    Accelerate(Acceleration),
    /// Put time in, so that the wait is longer.
    Decelerate { min_similarity: f32 },
}

/// How time is taken out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Acceleration {
    /// At most so many samples.
    pub excess: usize,
    /// How alike two periods must be to become one: from -1 to 1.
    pub min_similarity: f32,
    /// The same where no packet follows yet.
    pub min_similarity_at_end: f32,
    /// Why it is taken out.
    pub reason: Reason,
}

/// Why time is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The sender waited for the floor and is being caught up with.
    CatchUp,
    /// Packets wait for longer than they should.
    Excess {
        /// Nobody hears the splice.
        is_unheard: bool,
    },
}
