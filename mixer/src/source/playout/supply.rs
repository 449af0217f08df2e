//! Decides where the next samples come from: a packet, the FEC in the packet after it, or
//! concealment.

use super::decoding::CONCEAL_STEP;
use super::fade::{FADE_END, FADE_START};
use super::operation::Operation;
use crate::ingest::Reception;

/// The next operation, and what the stored packets show about the concealment before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Supply {
    pub operation: Operation,
    /// `None` while the stored packets do not show what the concealment replaced.
    pub settlement: Option<Settlement>,
}

/// What the concealment since the buffer ran dry has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settlement {
    /// Sequence number of the first stored packet, if packets before it are lost.
    pub lost_before: Option<i64>,
    /// Media time at which playing goes on, if it jumps.
    pub next_time: Option<i64>,
}

/// Decides how the next samples are produced.
///
/// - `now`: the tick's instant, in samples.
/// - `tick_samples`: length of the tick, in samples.
pub(super) fn next_supply(reception: &Reception, now: i64, tick_samples: usize) -> Supply {
    let cursor = &reception.cursor;
    let unsettled = |operation| Supply {
        operation,
        settlement: None,
    };
    if cursor.is_new_timeline {
        return unsettled(Operation::End);
    }
    let Some(first) = reception.first() else {
        return unsettled(match cursor.stalled_samples >= FADE_END {
            true => Operation::End,
            false => Operation::Expand,
        });
    };
    let lost = first.seq - cursor.expected(first.seq);
    let missing = first.time - cursor.next_time;
    if lost <= 0 && missing >= CONCEAL_STEP as i64 {
        // A gap without a loss: the sender was silent, and the concealment replaced no lost packet.
        // If the pause has passed by now, playing goes on without another silent tick.
        let has_passed = cursor.stalled_samples > 0 && reception.is_due(now, tick_samples);
        return unsettled(match has_passed {
            true => Operation::ResumeAtFirst,
            false => Operation::End,
        });
    }
    let settled = |operation, next_time| Supply {
        operation,
        settlement: Some(Settlement {
            lost_before: (lost > 0).then_some(first.seq),
            next_time,
        }),
    };
    if missing > FADE_END as i64 {
        return settled(Operation::End, None);
    }
    let covered = cursor.stalled_samples;
    let passes_for_sound = (1..=FADE_START).contains(&covered);
    if lost <= 0 && passes_for_sound && reception.len() > 1 {
        // A prediction of up to 20 ms can replace the sound. After a longer one the sound would be
        // missed.
        return settled(Operation::Merge { covered }, None);
    }
    let uncovered = missing - covered as i64;
    if uncovered < CONCEAL_STEP as i64 {
        // In order, or late, or lost and already concealed: the delay has grown by the difference.
        return settled(Operation::Normal, Some(first.time));
    }
    let missing = (uncovered as usize).next_multiple_of(CONCEAL_STEP);
    let operation = match first.fec {
        true => Operation::Recover { missing },
        false => Operation::Conceal { missing },
    };
    settled(operation, Some(first.time - missing as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Codec;
    use crate::packet::{Packet, Payload};
    use crate::units::{RtpTime, Seq, Time};

    /// A packet of two bytes with one frame, 20 ms of CELT.
    fn packet(number: u16, time: u32) -> Packet {
        Packet {
            seq: Seq(number),
            time: RtpTime(time),
            ssrc: 1,
            marker: false,
            level: None,
            payload: Payload::copy_from(&[0xf8, 0]).unwrap(),
        }
    }

    proptest! {
        /// Under any losses, delays and pauses, the operation fits the stored packets, and
        /// concealment is settled once, when the next packet shows what it replaced.
        #[test]
        fn supply_operation_fits_the_stored_packets(
            steps in proptest::collection::vec((0u16..4, 0u32..8, 0usize..3), 1..100),
        ) {
            let mut reception = Reception::new(Codec::Opus);
            let (mut number, mut time, mut now_ms) = (0u16, 0u32, 1_000u64);
            for (lost, pause_ticks, ticks) in steps {
                number = number.wrapping_add(1 + lost);
                time = time.wrapping_add(960 * (1 + u32::from(lost) + pause_ticks));
                now_ms += 20;
                reception.push(&packet(number, time), Time::from_us(now_ms * 1_000));
                for _ in 0..ticks {
                    let now = (now_ms * 48) as i64;
                    let supply = next_supply(&reception, now, 960);
                    let cursor = &reception.cursor;
                    let (stalled, next_time) = (cursor.stalled_samples, cursor.next_time);
                    let is_lost = !cursor.is_new_timeline
                        && reception.first().is_some_and(|first| first.seq > cursor.expected(first.seq));
                    if let Some(settlement) = supply.settlement {
                        prop_assert_eq!(settlement.lost_before.is_some(), is_lost);
                        if let Some(seq) = settlement.lost_before {
                            reception.count_lost(seq);
                        }
                        reception.cursor.stalled_samples = 0;
                        reception.cursor.next_time = settlement.next_time.unwrap_or(next_time);
                    }
                    match supply.operation {
                        Operation::Normal => {
                            prop_assert!(reception.first().is_some() && supply.settlement.is_some());
                            reception.consume_first();
                        }
                        Operation::Conceal { missing } => {
                            prop_assert!(is_lost && missing <= FADE_END && missing % CONCEAL_STEP == 0);
                            reception.cursor.next_time += missing as i64;
                            prop_assert!(reception.has_next(), "the gap ends where the next packet begins");
                        }
                        Operation::Recover { .. } => prop_assert!(false, "these packets carry no copies"),
                        Operation::Merge { covered } => {
                            prop_assert!(covered == stalled && reception.len() > 1);
                            reception.consume_first();
                        }
                        Operation::Expand => {
                            prop_assert!(reception.is_empty() && stalled < FADE_END);
                            reception.cursor.stalled_samples += 960;
                        }
                        Operation::ResumeAtFirst | Operation::End => {
                            prop_assert!(reception.is_empty() || supply.settlement.is_some() || !is_lost);
                            reception.resume_at_first();
                        }
                    }
                }
            }
        }
    }
}
