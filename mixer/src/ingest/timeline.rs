//! Unwraps RTP sequence numbers and timestamps, and tells new packets from duplicates.
//!
//! A sequence number of 16 bits wraps around after 22 minutes, a timestamp of 32 bits after a day:
//! both within a call. The timeline extends them by their distance from the newest packet (RFC
//! 3550, appendix A.1). It recognises a sender that starts over, with another SSRC or with numbers
//! far from the last.

use crate::units::{RtpTime, Seq};

/// Unwrapped sequence numbers and timestamps of one sender.
#[derive(Debug, Default)]
pub struct Timeline {
    newest: Option<Newest>,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    ssrc: u32,
    wire_seq: Seq,
    wire_time: RtpTime,
    seq: i64,
    time: i64,
    arrival: i64,
    /// Bit `n` is set if the packet `seq - n` has arrived.
    seen: u128,
}

/// The place of a packet on its sender's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The packet continues the timeline so far.
    Next {
        /// Unwrapped sequence number.
        seq: i64,
        /// Unwrapped media time.
        time: i64,
    },
    /// The packet starts a new timeline: it comes from another encoder, or from the same encoder
    /// after a restart. Earlier packets no longer matter.
    Fresh {
        /// Unwrapped sequence number.
        seq: i64,
        /// Unwrapped media time.
        time: i64,
        /// The SSRC changed, and with it the encoder.
        other_source: bool,
    },
    /// The packet is a duplicate, or too old to tell.
    Seen,
}

impl Timeline {
    /// Places one packet on the timeline.
    ///
    /// - `arrival`: in samples on the receiver's clock. A jump of the timestamp counts as a pause
    ///   only if about as much time passed between the arrivals.
    ///
    /// Real-time: safe.
    pub fn place(
        &mut self,
        ssrc: u32,
        wire_seq: Seq,
        wire_time: RtpTime,
        arrival: i64,
    ) -> Placement {
        let Some(newest) = &mut self.newest else {
            return self.begin(ssrc, wire_seq, wire_time, arrival, false);
        };
        let seq_step = i64::from(wire_seq.distance_from(newest.wire_seq));
        let time_step = i64::from(wire_time.distance_from(newest.wire_time));
        let elapsed = arrival - newest.arrival;
        let jumped = seq_step.abs() > MAX_SEQ_STEP || (time_step - elapsed).abs() > MAX_TIME_STEP;
        let backwards = (seq_step > 0) != (time_step > 0) && time_step.abs() > MAX_BACKWARD_TIME;
        if newest.ssrc != ssrc || jumped || backwards {
            let other_source = newest.ssrc != ssrc;
            return self.begin(ssrc, wire_seq, wire_time, arrival, other_source);
        }
        let (seq, time) = (newest.seq + seq_step, newest.time + time_step);
        if seq_step > 0 {
            newest.seen = newest.seen.checked_shl(seq_step as u32).unwrap_or(0) | 1;
            *newest = Newest {
                wire_seq,
                wire_time,
                seq,
                time,
                arrival,
                ..*newest
            };
            return Placement::Next { seq, time };
        }
        let bit = 1u128
            .checked_shl(seq_step.unsigned_abs() as u32)
            .unwrap_or(0);
        if bit == 0 || newest.seen & bit != 0 {
            return Placement::Seen;
        }
        newest.seen |= bit;
        Placement::Next { seq, time }
    }

    fn begin(
        &mut self,
        ssrc: u32,
        wire_seq: Seq,
        wire_time: RtpTime,
        arrival: i64,
        other_source: bool,
    ) -> Placement {
        // Far above all earlier numbers, so that numbers of two timelines can never be mistaken for
        // one another.
        let (seq, time) = match &self.newest {
            Some(newest) => (newest.seq + SCALE_STEP, newest.time + SCALE_STEP),
            None => (SCALE_STEP, SCALE_STEP),
        };
        self.newest = Some(Newest {
            ssrc,
            wire_seq,
            wire_time,
            seq,
            time,
            arrival,
            seen: 1,
        });
        Placement::Fresh {
            seq,
            time,
            other_source,
        }
    }
}

/// Largest step of the sequence number: a gap of 1,000 packets is 20 s, after which a new timeline
/// begins.
const MAX_SEQ_STEP: i64 = 1_000;

/// Media time and real time may differ by 30 s (a frozen client) before a new timeline begins.
const MAX_TIME_STEP: i64 = 30 * 48_000;

/// A later packet may carry an earlier timestamp only by the length of the longest packet (120 ms).
const MAX_BACKWARD_TIME: i64 = 5_760;

/// Distance between two timelines. Larger than any step within one timeline ([`MAX_SEQ_STEP`],
/// [`MAX_TIME_STEP`]), and so small that a sender that starts a new timeline with every packet
/// needs years to exhaust 64 bits.
const SCALE_STEP: i64 = 1 << 24;

const _: () = assert!(SCALE_STEP > 4 * MAX_TIME_STEP && SCALE_STEP > 4 * MAX_SEQ_STEP);

#[cfg(test)]
mod tests {
    use super::*;

    fn next(place: Placement) -> (i64, i64) {
        match place {
            Placement::Next { seq, time } => (seq, time),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn timeline_runs_on_over_the_wraparound_of_both_numbers() {
        let mut timeline = Timeline::default();
        timeline.place(1, Seq(65_530), RtpTime(u32::MAX - 3_000), 0);
        let mut last = (SCALE_STEP, SCALE_STEP);
        for n in 1..200_000i64 {
            let seq = Seq((65_530 + n) as u16);
            let time = RtpTime((u32::MAX - 3_000).wrapping_add((n * 960) as u32));
            let at = next(timeline.place(1, seq, time, n * 960));
            assert_eq!(at, (last.0 + 1, last.1 + 960));
            last = at;
        }
    }

    #[test]
    fn timeline_tells_late_packets_from_duplicates() {
        let mut timeline = Timeline::default();
        for n in [0u16, 1, 4] {
            timeline.place(1, Seq(n), RtpTime(u32::from(n) * 960), i64::from(n) * 960);
        }
        assert_eq!(
            timeline.place(1, Seq(4), RtpTime(3_840), 3_900),
            Placement::Seen
        );
        assert_eq!(
            next(timeline.place(1, Seq(2), RtpTime(1_920), 3_900)),
            (SCALE_STEP + 2, SCALE_STEP + 1_920)
        );
        assert_eq!(
            timeline.place(1, Seq(2), RtpTime(1_920), 3_900),
            Placement::Seen
        );
    }

    #[test]
    fn timeline_survives_a_sender_that_restarts_with_every_packet() {
        let mut timeline = Timeline::default();
        let mut last = 0;
        for ssrc in 0..10_000_000u32 {
            match timeline.place(ssrc, Seq(0), RtpTime(0), 0) {
                Placement::Fresh { seq, .. } => {
                    assert!(seq > last);
                    last = seq;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn timeline_restarts_after_a_jump_but_not_after_a_pause() {
        let mut timeline = Timeline::default();
        timeline.place(1, Seq(0), RtpTime(0), 0);
        let minutes = 10 * 60 * 48_000;
        next(timeline.place(1, Seq(1), RtpTime(minutes as u32), minutes));
        assert!(matches!(
            timeline.place(
                1,
                Seq(2),
                RtpTime(minutes as u32 + 3_600 * 48_000),
                minutes + 960
            ),
            Placement::Fresh {
                other_source: false,
                ..
            }
        ));
        assert!(matches!(
            timeline.place(
                1,
                Seq(5_000),
                RtpTime(minutes as u32 + 3_600 * 48_000 + 960),
                minutes + 1_920
            ),
            Placement::Fresh {
                other_source: false,
                ..
            }
        ));
        assert!(matches!(
            timeline.place(2, Seq(5_001), RtpTime(0), minutes),
            Placement::Fresh {
                other_source: true,
                ..
            }
        ));
    }
}
