//! Receives one sender's packets: places them on the timeline, stores them and returns them in
//! order.
//!
//! The caller decides what happens to a packet: it is stored to be played, passed (its arrival
//! counts, and playing goes on after it) or refused (its arrival counts, and playing goes on with
//! the packets before it).

use core::time::Duration;

use super::Cursor;
use super::delay_estimator::DelayEstimator;
use super::jitter_buffer::{Entry, Inserted, JitterBuffer};
use super::timeline::{Placement, Timeline};
use crate::codec::Codec;
use crate::format::{MAX_PAYLOAD_BYTES, SAMPLE_RATE_HZ};
use crate::packet::Packet;
use crate::schedule::Rhythm;
use crate::units::Time;

/// The outcome of one received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The packet is stored until it is due, or its arrival is recorded.
    Stored,
    /// The packet came after its turn to be played.
    Late,
    /// The packet was received before.
    Duplicate,
    /// The buffer is full: it holds more than will ever be played.
    Overflow,
    /// The payload is not a packet of the sender's codec.
    Malformed,
}

/// Running totals of one sender's packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceptionCounts {
    /// Packets that arrived, whatever happened to them.
    pub received: u64,
    /// Packets that never arrived, or arrived too late.
    pub lost: u64,
    /// Packets that arrived too late.
    pub late: u64,
    /// Packets that arrived twice.
    pub duplicate: u64,
    /// Packets whose payload is not of the sender's codec.
    pub malformed: u64,
    /// Packets discarded unplayed because far too many were waiting.
    pub discarded: u64,
}

/// Receives one sender's packets.
#[derive(Debug)]
pub struct Reception {
    codec: Codec,
    timeline: Timeline,
    buffer: JitterBuffer,
    pub(crate) delay: DelayEstimator,
    pub(crate) cursor: Cursor,
    /// The next packets come from a new encoder, so the decoder has to be reset before them.
    has_new_encoder: bool,
    counts: ReceptionCounts,
}

/// A packet with its place on the timeline.
struct Placed {
    seq: i64,
    time: i64,
    samples: usize,
    fec: bool,
}

impl Reception {
    /// Creates a reception that has received nothing.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(codec: Codec) -> Reception {
        let expects_fec = codec == Codec::Opus;
        Reception {
            codec,
            timeline: Timeline::default(),
            buffer: JitterBuffer::new(),
            delay: DelayEstimator::new(expects_fec),
            cursor: Cursor::new(),
            has_new_encoder: false,
            counts: ReceptionCounts::default(),
        }
    }

    /// Stores a packet that is to be played.
    ///
    /// - `arrival`: when the packet was received from the network, on the clock of the ticks.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        let Placed {
            seq,
            time,
            samples,
            fec,
        } = match self.place(packet, arrival) {
            Ok(placed) => placed,
            Err(outcome) => return outcome,
        };
        let payload = packet.payload.as_slice();
        if self.buffer.insert(seq, time, samples, fec, payload) == Inserted::Stored {
            return Pushed::Stored;
        }
        // The buffer is full: its sender is far ahead of the playout, so the oldest packet is
        // discarded.
        self.discard_first();
        match self.buffer.insert(seq, time, samples, fec, payload) {
            Inserted::Stored => Pushed::Stored,
            _ => Pushed::Overflow,
        }
    }

    /// Records a packet that is not to be played: its arrival, and the losses before it. A later
    /// talk-spurt then starts with what is known of the network. The packet counts neither as lost
    /// nor as decoded.
    ///
    /// To be used only while no packet is stored.
    ///
    /// Real-time: safe.
    pub fn pass(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        match self.place(packet, arrival) {
            Ok(placed) => {
                let expected = self.cursor.expected(placed.seq);
                if !self.cursor.is_new_timeline && placed.seq > expected {
                    self.delay.lost();
                }
                let end = placed.time + placed.samples as i64;
                self.cursor.pass(placed.seq, end);
                Pushed::Stored
            }
            Err(outcome) => outcome,
        }
    }

    /// Records a packet that is not to be played while packets before it still are. The packet does
    /// not count as lost.
    ///
    /// Real-time: safe.
    pub fn refuse(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        match self.place(packet, arrival) {
            Ok(placed) => {
                self.cursor.refuse(placed.seq);
                Pushed::Stored
            }
            Err(outcome) => outcome,
        }
    }

    /// Drops all stored packets, and counts the packets lost between them.
    ///
    /// Real-time: safe.
    pub fn skip_all(&mut self) {
        while let Some(first) = self.buffer.drop_first() {
            if !self.cursor.is_new_timeline {
                self.count_lost(first.seq);
            }
            self.cursor.pass(first.seq, first.end());
        }
        self.cursor.pass_refused();
    }

    /// Drops the packets that are older than `limit_samples` plus the target; `each` is called with
    /// their payloads, oldest first. The dropped packets count neither as lost nor as discarded:
    /// nobody was to hear them.
    ///
    /// To be used only while nothing plays.
    ///
    /// Real-time: safe.
    pub fn forget_older(&mut self, now: Time, limit_samples: i64, each: impl FnMut(&[u8])) {
        let now = now.samples() as i64;
        let oldest = (self.delay.base()).map_or(i64::MAX, |base| {
            now - base - limit_samples - self.delay.target()
        });
        self.forget_before(oldest, each);
    }

    /// Drops all stored packets; `each` is called with their payloads, oldest first. The dropped
    /// packets count neither as lost nor as discarded.
    ///
    /// Real-time: safe.
    pub fn forget_all(&mut self, each: impl FnMut(&[u8])) {
        self.forget_before(i64::MAX, each);
    }

    /// Discards all stored packets but the last.
    ///
    /// Real-time: safe.
    pub fn keep_last(&mut self) {
        while self.buffer.len() > 1 {
            self.discard_first();
        }
    }

    /// Discards packets until the first one is at most a tick later than the target, or is the only
    /// one. Reading goes on with that packet.
    pub(crate) fn discard_late(&mut self, now: i64, base: i64, tick_samples: usize) {
        while let Some(first) = self.buffer.first().copied() {
            let latest = self.delay.target() + tick_samples as i64;
            if self.buffer.len() < 2 || now - base - first.end() <= latest {
                break;
            }
            self.discard_first();
        }
        if let Some(first) = self.buffer.first().copied() {
            self.count_lost(first.seq);
            self.cursor.next_time = first.time;
        }
        self.cursor.stalled_samples = 0;
    }

    /// Moves the read position to the first stored packet, whatever should have come before it.
    /// Returns the samples of concealment that replaced lost packets; `None` if no packet was lost.
    pub(crate) fn resume_at_first(&mut self) -> Option<usize> {
        let first = self.buffer.first().copied()?;
        let expected = self.cursor.expected(first.seq);
        let is_lost = !self.cursor.is_new_timeline && first.seq > expected;
        // Silence covered the rest of a long gap, but the concealment before it did replace lost
        // packets.
        let made_up = is_lost.then_some(self.cursor.stalled_samples);
        if is_lost {
            self.count_lost(first.seq);
        }
        self.cursor.next_seq = first.seq;
        self.cursor.next_time = first.time;
        self.cursor.packet_samples = first.samples;
        self.cursor.is_new_timeline = false;
        self.cursor.stalled_samples = 0;
        made_up
    }

    /// Counts the missing packets before `seq` as lost, and moves the read position to `seq`.
    pub(crate) fn count_lost(&mut self, seq: i64) {
        let lost = (seq - self.cursor.expected(seq)).max(0) as u64;
        self.counts.lost += lost;
        if lost > 0 {
            self.delay.lost();
        }
        self.cursor.next_seq = seq;
    }

    /// Copies the payload of the first stored packet into `scratch`.
    pub(crate) fn peek_first<'a>(
        &self,
        scratch: &'a mut [u8; MAX_PAYLOAD_BYTES],
    ) -> Option<(Entry, &'a [u8])> {
        Some((*self.first()?, self.buffer.peek_payload(scratch)?))
    }

    /// Removes the first stored packet, which has been decoded.
    pub(crate) fn consume_first(&mut self) {
        if let Some(first) = self.buffer.drop_first() {
            self.cursor.pass(first.seq, first.end());
            self.cursor.packet_samples = first.samples;
        }
    }

    /// Whether the next packets come from a new encoder; `true` is returned only once.
    pub(crate) fn take_new_encoder(&mut self) -> bool {
        core::mem::take(&mut self.has_new_encoder)
    }

    /// The stored packet with the lowest sequence number.
    pub fn first(&self) -> Option<&Entry> {
        self.buffer.first()
    }

    /// Number of stored packets.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether no packet is stored.
    pub fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// Whether the first stored packet follows the last decoded one without a gap.
    pub(crate) fn has_next(&self) -> bool {
        let Cursor {
            next_seq,
            next_time,
            ..
        } = self.cursor;
        let is_next = |first: &Entry| first.seq == next_seq && first.time == next_time;
        !self.cursor.is_new_timeline && self.first().is_some_and(is_next)
    }

    /// Whether the first stored packet has waited long enough to begin a talk-spurt in this tick.
    ///
    /// - `now`: the tick's instant, in samples.
    pub(crate) fn is_due(&self, now: i64, tick_samples: usize) -> bool {
        let (Some(first), Some(base)) = (self.first(), self.delay.base()) else {
            return false;
        };
        // A tick longer than a packet needs several packets: the last of them is the one to wait
        // for.
        let packets = tick_samples.div_ceil(first.samples);
        let last = first.time + ((packets - 1) * first.samples) as i64;
        now >= base + last + self.delay.target()
    }

    /// Whether the stored packets and the FEC they carry suffice to decode up to the media time
    /// `end`, or the sender pauses before that.
    ///
    /// - `largest_gap`: a longer gap is a pause, in samples.
    /// - `least_gap`: a shorter gap is ignored, in samples.
    pub(crate) fn reaches(&self, end: i64, largest_gap: usize, least_gap: usize) -> bool {
        let (mut seq, mut time) = (self.cursor.next_seq, self.cursor.next_time);
        for entry in self.buffer.iter() {
            let missing = entry.time - time;
            if time >= end || missing > largest_gap as i64 {
                return true;
            }
            if missing >= least_gap as i64 {
                let is_lost = entry.seq > self.cursor.expected(entry.seq).max(seq);
                if !is_lost || !entry.fec {
                    // Without a loss, the gap is a pause of the sender.
                    return !is_lost;
                }
            }
            (seq, time) = (entry.seq + 1, entry.end());
        }
        time >= end
    }

    /// The shortest transit of the packets that are being read, in samples; `None` while the stored
    /// packets belong to a timeline whose reading has not begun.
    pub(crate) fn base(&self) -> Option<i64> {
        self.delay.base().filter(|_| !self.cursor.is_new_timeline)
    }

    /// How long a packet waits after its earliest possible arrival, by the current estimate.
    pub fn target(&self) -> Duration {
        duration_of(self.delay.target())
    }

    /// When packets may be played, by the current estimate; `None` before the first packet.
    pub fn rhythm(&self) -> Option<Rhythm> {
        let ready = self.base()? + self.cursor.next_time + self.delay.target();
        let ready_us = u64::try_from(ready).ok()? * 1_000 / (u64::from(SAMPLE_RATE_HZ) / 1_000);
        Some(Rhythm {
            ready: Time::from_us(ready_us),
            packet_samples: self.cursor.packet_samples,
        })
    }

    /// The codec of the sender's packets.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Totals since the reception was created.
    pub fn counts(&self) -> &ReceptionCounts {
        &self.counts
    }

    /// Places a packet on the timeline, and records its arrival.
    fn place(&mut self, packet: &Packet, arrival: Time) -> Result<Placed, Pushed> {
        self.counts.received += 1;
        let payload = packet.payload.as_slice();
        let Some(samples) = self.codec.samples(payload) else {
            self.counts.malformed += 1;
            return Err(Pushed::Malformed);
        };
        let arrival = arrival.samples() as i64;
        let placement = self
            .timeline
            .place(packet.ssrc, packet.seq, packet.time, arrival);
        let (seq, time) = match placement {
            Placement::Next { seq, time } => (seq, time),
            Placement::Fresh {
                seq,
                time,
                other_source,
            } => {
                self.begin_timeline(other_source);
                (seq, time)
            }
            Placement::Seen => {
                self.counts.duplicate += 1;
                return Err(Pushed::Duplicate);
            }
        };
        let fec = self.codec.carries_fec(payload);
        self.delay.arrived(arrival, time, samples, fec);
        if !self.cursor.is_new_timeline && seq < self.cursor.next_seq {
            self.counts.late += 1;
            self.delay.found();
            return Err(Pushed::Late);
        }
        Ok(Placed {
            seq,
            time,
            samples,
            fec,
        })
    }

    fn begin_timeline(&mut self, other_source: bool) {
        self.buffer.clear();
        self.delay.reanchor();
        self.cursor.is_new_timeline = true;
        self.has_new_encoder |= other_source;
    }

    /// Discards the first stored packet, which then does not count as lost as well.
    fn discard_first(&mut self) {
        let Some(first) = self.buffer.drop_first() else {
            return;
        };
        self.counts.discarded += 1;
        if !self.cursor.is_new_timeline {
            self.count_lost(first.seq);
            self.cursor.next_seq = first.seq + 1;
        }
    }

    fn forget_before(&mut self, oldest: i64, mut each: impl FnMut(&[u8])) {
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        while let Some((first, payload)) = self.peek_first(&mut scratch)
            && first.time < oldest
        {
            each(payload);
            self.buffer.drop_first();
            self.cursor.pass(first.seq, first.end());
        }
    }
}

/// Converts samples at 48 kHz to a duration; a negative number becomes zero.
pub(crate) fn duration_of(samples: i64) -> Duration {
    Duration::from_micros(samples.max(0) as u64 * 1_000_000 / u64::from(SAMPLE_RATE_HZ))
}
