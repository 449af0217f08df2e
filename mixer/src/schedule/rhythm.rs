//! Chooses the slot of its tick in which a room runs.
//!
//! A room's *phase* is the first slot of the longest tick in which it runs.
//!
//! Rooms are spread over the slots, so that the work comes evenly instead of in one burst. While
//! nobody is heard in a room, its slot is free to choose. The room then moves to the slot shortly
//! after the packets of the participant who is likely to talk next arrive. The packets then wait a
//! few milliseconds for the tick, instead of half a tick on average. Where a few participants talk
//! in turns, the room stays in a slot in which none of them waits longer than necessary: a delay
//! that changes with each turn would be worse. While somebody is heard, the slot does not change.

use core::time::Duration;

use crate::format::{SLOT, SLOT_SAMPLES, TickLength};
use crate::units::{Tick, Time};

/// The times at which one sender's packets may be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Time at which one of the packets may be played, on a clock whose origin is a slot boundary.
    pub ready: Time,
    /// Time from one packet to the next, in samples.
    pub packet_samples: usize,
}

/// Rhythms of the participants who are likely to talk next, none of whom should wait long for the
/// room's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rhythms([Option<Rhythm>; MOST_MET]);

impl Rhythms {
    fn iter(&self) -> impl Iterator<Item = Rhythm> {
        self.0.iter().flatten().copied()
    }

    /// Whether no rhythm is known.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl FromIterator<Rhythm> for Rhythms {
    /// Takes the first [`MOST_MET`] rhythms and ignores the rest.
    fn from_iter<I: IntoIterator<Item = Rhythm>>(rhythms: I) -> Rhythms {
        let mut met = Rhythms::default();
        for (place, rhythm) in met.0.iter_mut().zip(rhythms) {
            *place = Some(rhythm);
        }
        met
    }
}

impl From<Rhythm> for Rhythms {
    fn from(next: Rhythm) -> Rhythms {
        Rhythms::from_iter([next])
    }
}

/// Number of rooms and members that run in each slot of the longest tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotLoads([usize; SLOTS]);

impl SlotLoads {
    /// Adds `by` rooms and members, or removes them if negative, in the slots of `phase`.
    pub fn change(&mut self, phase: usize, tick: TickLength, by: isize) {
        for slot in slots_of(phase, tick) {
            self.0[slot] = self.0[slot].saturating_add_signed(by);
        }
    }

    /// Total load of the slots of `phase`.
    pub fn of(&self, phase: usize, tick: TickLength) -> usize {
        slots_of(phase, tick).map(|slot| self.0[slot]).sum()
    }

    /// The phase whose slots have the least load.
    pub fn least_loaded(&self, tick: TickLength) -> usize {
        let phases = 0..tick.slots();
        phases
            .min_by_key(|&phase| self.of(phase, tick))
            .unwrap_or(0)
    }

    /// The phase to which a room of `members` should move from phase `now`, so that the longest
    /// wait of the packets of `rhythms` becomes shortest; `None` if the gain is too small or the
    /// slots there are too loaded.
    ///
    /// If several packets make up a tick, it does not matter after which of them the tick comes.
    pub fn better(
        &self,
        now: usize,
        rhythms: Rhythms,
        tick: TickLength,
        members: usize,
    ) -> Option<usize> {
        let slots = tick.slots();
        let each = || rhythms.iter();
        let longest = |phase| each().map(|rhythm| waits(phase, rhythm, slots)).max();
        let after = |rhythm| (now + slots - waits(now, rhythm, slots)) % slots;
        let phase = each().map(after).min_by_key(|phase| longest(*phase))?;
        let is_worth_it = longest(now) > longest(phase).map(|slots| slots + WORTH_SLOTS);
        // A move must not make one slot carry more than twice what the room's slots carry now.
        let has_room = self.of(phase, tick) <= self.of(now, tick) + members;
        (is_worth_it && has_room).then_some(phase)
    }
}

/// Number of slots from when a packet may be played to the tick.
fn waits(phase: usize, rhythm: Rhythm, slots: usize) -> usize {
    let ready = rhythm.ready + SPARE;
    let slot = ready.us().div_ceil(SLOT.as_micros() as u64);
    let first = (slot % slots as u64) as usize;
    // Packets of one and a half ticks alternate between two places within the tick: the nearer one
    // counts.
    let period = gcd((rhythm.packet_samples / SLOT_SAMPLES).max(1), slots);
    (phase + slots - first) % period
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The slots of the longest tick in which a room of this phase runs.
pub(crate) fn slots_of(phase: usize, tick: TickLength) -> impl Iterator<Item = usize> {
    (phase..SLOTS).step_by(tick.slots())
}

/// Whether a room that moved at tick `last` may move again at tick `now`.
///
/// However often packets come, and whatever they claim, a room's clock must keep going at its own
/// pace.
pub fn may_move_again(last: Option<Tick>, now: Tick) -> bool {
    last.is_none_or(|last| now.0 >= last.0 + TICKS_BETWEEN_MOVES)
}

/// Number of talkers that a room's ticks are aligned to. More would gain little: three senders of
/// packets as long as a tick wait two thirds of a tick at most, four would wait three quarters.
pub const MOST_MET: usize = 3;

/// Number of slots in the longest tick.
pub(crate) const SLOTS: usize = TickLength::Ms20.slots();

/// Margin between a packet being ready and the tick, for a packet that comes later than all before
/// it. It adds to the packet's own wait and to rounding up to a slot.
const SPARE: Duration = Duration::from_micros(500);

/// Number of ticks between two moves: 200 ms of the longest tick. A move adds or skips part of a
/// tick, so the pace of the room's clock changes by less than a tenth.
const TICKS_BETWEEN_MOVES: u64 = 10;

/// A move that gains no more than this many slots is not made: the packets' own jitter is as large.
const WORTH_SLOTS: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: TickLength = TickLength::Ms20;

    fn rhythm(ready_us: u64, packet_ms: usize) -> Rhythm {
        Rhythm {
            ready: Time::from_us(ready_us),
            packet_samples: packet_ms * 48,
        }
    }

    #[test]
    fn slot_choice_limits_the_wait_of_talkers_that_take_turns() {
        let loads = SlotLoads::default();
        for ready_us in (0..20_000).step_by(1_250) {
            for third_us in (0..20_000).step_by(1_250) {
                let [first, second, third] =
                    [2_600, ready_us, third_us].map(|ready_us| rhythm(ready_us, 20));
                for (all, most_slots) in [(vec![first, second], 4), (vec![first, second, third], 5)]
                {
                    let turned = all.iter().rev().copied().collect();
                    let all = Rhythms::from_iter(all);
                    for now in 0..TICK.slots() {
                        let phase = loads.better(now, all, TICK, 1).unwrap_or(now);
                        let longest = all.iter().map(|it| waits(phase, it, TICK.slots())).max();
                        assert!(
                            longest <= Some(most_slots + WORTH_SLOTS),
                            "{phase}: {all:?}"
                        );
                        // The room then stays, whichever of them is taken for the next talker.
                        assert_eq!(loads.better(phase, all, TICK, 1), None);
                        assert_eq!(loads.better(phase, turned, TICK, 1), None);
                    }
                }
            }
        }
    }

    #[test]
    fn slot_choice_picks_the_first_slot_after_a_packet_is_ready() {
        let loads = SlotLoads::default();
        for (ready_us, now, better) in [
            // Ready at 3.1 ms including the margin: slot 2.
            (2_600, 2, None),
            (2_600, 3, None),
            (2_600, 4, Some(2)),
            (2_600, 7, Some(2)),
            (2_600, 1, Some(2)),
            // The wait crosses the end of the tick.
            (20_500, 1, None),
            (20_500, 0, Some(1)),
            (1_000_002_600, 0, Some(2)),
        ] {
            for packet_ms in [20, 60] {
                let got = loads.better(now, rhythm(ready_us, packet_ms).into(), TICK, 1);
                assert_eq!(got, better, "ready at {ready_us} us, now {now}");
            }
        }
    }

    #[test]
    fn slot_choice_does_not_alternate_for_packets_of_one_and_a_half_ticks() {
        let loads = SlotLoads::default();
        for now in 0..8 {
            let mut phase = now;
            let mut moves = 0;
            for packet in 0..10 {
                let ready = rhythm(2_600 + packet * 30_000, 30).into();
                if let Some(better) = loads.better(phase, ready, TICK, 1) {
                    phase = better;
                    moves += 1;
                }
            }
            assert!(moves <= 1, "{moves} moves from {now}");
        }
    }

    #[test]
    fn slot_choice_may_follow_any_of_the_packets_that_make_up_a_tick() {
        let loads = SlotLoads::default();
        for (now, better) in [(2, None), (5, Some(2)), (6, None), (0, Some(6))] {
            let got = loads.better(now, rhythm(2_600, 10).into(), TICK, 1);
            assert_eq!(got, better, "now {now}");
        }
        for now in 0..8 {
            assert_eq!(loads.better(now, rhythm(2_600, 5).into(), TICK, 1), None);
        }
    }

    #[test]
    fn slot_choice_avoids_a_crowded_slot() {
        let mut loads = SlotLoads::default();
        loads.change(7, TICK, 3);
        loads.change(2, TICK, 20);
        assert_eq!(loads.better(7, rhythm(2_600, 20).into(), TICK, 2), None);
        loads.change(2, TICK, -15);
        assert_eq!(loads.better(7, rhythm(2_600, 20).into(), TICK, 2), Some(2));
    }

    #[test]
    fn short_tick_runs_twice_in_the_slots_of_a_long_tick() {
        let mut loads = SlotLoads::default();
        loads.change(1, TickLength::Ms10, 4);
        assert_eq!(loads, SlotLoads([0, 4, 0, 0, 0, 4, 0, 0]));
        assert_eq!(loads.of(1, TickLength::Ms10), 8);
        assert_eq!(loads.of(1, TICK), 4);
    }
}
