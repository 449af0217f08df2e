//! The slot grid: the instants at which mixers wake up, every 2.5 ms, on the server's clock.
//!
//! Slots are numbered from the origin of [`crate::clock`], so that a slot's begin and a packet's
//! arrival can be compared.

use mixer::Time;
use mixer::format::SLOT;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Converts between slot numbers and points in time.
#[derive(Debug, Clone, Copy)]
pub struct SlotClock {
    /// The server clock's origin on the system's monotonic clock, in nanoseconds.
    origin_ns: i64,
}

impl SlotClock {
    /// Creates a slot clock that agrees with [`crate::clock`] to a few microseconds.
    pub fn new() -> SlotClock {
        // A preemption between the two readings makes the difference too small, so take the largest
        // of several differences.
        let origin_ns = (0..8)
            .map(|_| monotonic_ns() - crate::clock::now().us() as i64 * 1_000)
            .max()
            .unwrap_or(0);
        SlotClock { origin_ns }
    }

    /// The time at which `slot` begins, on the server's clock.
    pub fn at(slot: u64) -> Time {
        Time::from_us(slot * SLOT_US)
    }

    /// Number of the slot that began last.
    pub fn current(&self) -> u64 {
        (self.now_ns().max(0) / SLOT_NS) as u64
    }

    /// Nanoseconds since `slot` began; negative while it is in the future.
    pub fn late_ns(&self, slot: u64) -> i64 {
        self.now_ns() - slot as i64 * SLOT_NS
    }

    /// The time at which `slot` begins, as a deadline on the system's monotonic clock.
    pub fn deadline(&self, slot: u64) -> Timespec {
        let deadline_ns = self.origin_ns + slot as i64 * SLOT_NS;
        Timespec {
            tv_sec: deadline_ns / NS_PER_S,
            tv_nsec: deadline_ns % NS_PER_S,
        }
    }

    /// Nanoseconds since slot 0 began.
    pub fn now_ns(&self) -> i64 {
        monotonic_ns() - self.origin_ns
    }
}

fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * NS_PER_S + now.tv_nsec
}

const NS_PER_S: i64 = 1_000_000_000;
const SLOT_US: u64 = SLOT.as_micros() as u64;
const SLOT_NS: i64 = SLOT.as_nanos() as i64;

#[cfg(test)]
mod tests {
    use super::super::parker::{Parker, Sleep};
    use super::*;

    #[test]
    fn slot_clock_agrees_with_the_server_clock() {
        let clock = SlotClock::new();
        let slot = clock.current() + 4;
        assert!(clock.late_ns(slot) < 0);
        Parker::default().sleep(Sleep::Uninterrupted, &clock.deadline(slot), || false);
        let late_us = crate::clock::now().us() as i64 - SlotClock::at(slot).us() as i64;
        // Early by at most the difference of the two clocks; late by as much as the machine is
        // busy.
        assert!((-100..500_000).contains(&late_us), "{late_us} us");
        assert!(clock.current() >= slot && clock.late_ns(slot) >= 0);
    }
}
