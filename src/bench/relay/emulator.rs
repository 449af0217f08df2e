//! Emulates a bad network as a pure state machine: packets come out late, or never. It has no clock
//! and no sockets, and the same seed causes the same impairments each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use mixer::Time;

/// How an [`Emulator`] impairs packets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Impairment {
    /// Probability that a packet is lost, `0.0..=1.0`.
    pub loss: f64,
    /// Each packet is delayed by up to this time, evenly distributed: 60 ms is a jitter of +-30 ms.
    pub jitter: Duration,
    /// Whether packets keep their order, as in one queue; otherwise they may overtake each other.
    pub ordered: bool,
}

/// How many packets entered an [`Emulator`], and how many it lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// Packets that entered the emulator.
    pub offered: u64,
    /// Packets that the emulator lost.
    pub lost: u64,
}

/// One direction of a network path, on which packets are lost and delayed.
#[derive(Debug)]
pub struct Emulator<T> {
    impairment: Impairment,
    state: u64,
    held: BinaryHeap<Reverse<Held<T>>>,
    /// The latest due time of all packets so far: packets that keep their order leave no earlier.
    last_due: Time,
    passage: Passage,
}

#[derive(Debug)]
struct Held<T> {
    due: Time,
    number: u64,
    packet: T,
}

impl<T> Emulator<T> {
    /// Creates an empty path; `seed` determines which packets are lost and how late the others are.
    pub fn new(impairment: Impairment, seed: u64) -> Emulator<T> {
        Emulator {
            impairment,
            state: seed,
            held: BinaryHeap::new(),
            last_due: Time::ZERO,
            passage: Passage::default(),
        }
    }

    /// Changes the impairments from now on.
    pub fn impair(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// Returns the counters so far.
    pub fn passage(&self) -> Passage {
        self.passage
    }

    /// Accepts a packet. It is lost if `MOST_HELD` packets are already under way.
    pub fn take(&mut self, now: Time, packet: T) {
        let Impairment {
            loss,
            jitter,
            ordered,
        } = self.impairment;
        self.passage.offered += 1;
        // A path without impairments uses no random numbers: the same packets are lost whenever
        // impairments begin.
        let is_bad = loss > 0.0 || !jitter.is_zero();
        let (luck, hold) = if is_bad {
            (self.chance(), self.chance())
        } else {
            (1.0, 0.0)
        };
        if luck < loss || self.held.len() >= MOST_HELD {
            self.passage.lost += 1;
            return;
        }
        let mut due = now + jitter.mul_f64(hold);
        if ordered {
            due = due.max(self.last_due);
        }
        self.last_due = self.last_due.max(due);
        self.held.push(Reverse(Held {
            due,
            number: self.passage.offered,
            packet,
        }));
    }

    /// Returns the next packet that is due.
    pub fn give(&mut self, now: Time) -> Option<T> {
        let is_due = self.next_due().is_some_and(|due| due <= now);
        is_due.then(|| self.held.pop())?.map(|held| held.0.packet)
    }

    /// Returns when the next packet is due.
    pub fn next_due(&self) -> Option<Time> {
        self.held.peek().map(|held| held.0.due)
    }

    /// Returns the next number of a linear congruential generator, in `0.0..1.0`.
    fn chance(&mut self) -> f64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Held<T>) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Held<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    /// Orders packets by due time; packets due at the same time keep their order.
    fn cmp(&self, other: &Held<T>) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// The most packets under way: a minute of one voice. A longer delay is no jitter.
const MOST_HELD: usize = 3_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `packets` packets, one every 20 ms; returns those that come out as (number, delay in
    /// microseconds).
    fn pass(impairment: Impairment, seed: u64, packets: u64) -> Vec<(u64, u64)> {
        let mut emulator = Emulator::new(impairment, seed);
        let mut out = Vec::new();
        for ms in 0..packets * 20 + 1_000 {
            let now = Time::from_us(ms * 1_000);
            if ms % 20 == 0 && ms / 20 < packets {
                emulator.take(now, ms / 20);
            }
            while let Some(packet) = emulator.give(now) {
                out.push((packet, ms * 1_000 - packet * 20_000));
            }
        }
        assert_eq!(emulator.passage().offered, packets);
        assert_eq!(emulator.passage().lost, packets - out.len() as u64);
        out
    }

    #[test]
    fn emulator_without_impairments_changes_nothing() {
        let out = pass(Impairment::default(), 1, 100);
        assert_eq!(out, (0..100).map(|packet| (packet, 0)).collect::<Vec<_>>());
    }

    #[test]
    fn emulator_repeats_its_impairments_with_the_same_seed() {
        let bad = Impairment {
            loss: 0.02,
            jitter: Duration::from_millis(60),
            ordered: false,
        };
        assert_eq!(pass(bad, 7, 1_000), pass(bad, 7, 1_000));
        assert_ne!(pass(bad, 7, 1_000), pass(bad, 8, 1_000));
    }

    #[test]
    fn emulator_loses_and_delays_as_configured() {
        let bad = Impairment {
            loss: 0.1,
            jitter: Duration::from_millis(60),
            ordered: false,
        };
        let out = pass(bad, 3, 10_000);
        assert!((8_800..9_200).contains(&out.len()), "{}", out.len());
        let mean_us = out.iter().map(|(_, held)| held).sum::<u64>() / out.len() as u64;
        assert!((29_000..32_000).contains(&mean_us), "{mean_us}");
        assert!(out.iter().all(|(_, held)| *held <= 61_000));
        assert!(out.windows(2).any(|pair| pair[0].0 > pair[1].0));
    }

    #[test]
    fn ordered_emulator_keeps_the_order() {
        let bad = Impairment {
            loss: 0.0,
            jitter: Duration::from_millis(100),
            ordered: true,
        };
        let out = pass(bad, 3, 1_000);
        assert!(out.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(out.len(), 1_000);
    }

    #[test]
    fn emulator_queue_is_bounded() {
        let slow = Impairment {
            jitter: Duration::from_secs(3_600),
            ..Impairment::default()
        };
        let mut emulator = Emulator::new(slow, 1);
        (0..10_000).for_each(|packet| emulator.take(Time::ZERO, packet));
        assert_eq!(emulator.passage().lost, 10_000 - MOST_HELD as u64);
    }
}
