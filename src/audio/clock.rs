//! The slot grid: absolute deadlines on the server's clock.
//!
//! Slots count from the origin of [`crate::clock`], so that a slot's instant and a packet's arrival
//! can be compared.

use mixer::Time;
use mixer::format::SLOT;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Knows when each slot is.
#[derive(Debug, Clone, Copy)]
pub struct SlotClock {
    /// The server clock's origin on the system's monotonic clock, nanoseconds.
    origin_ns: i64,
}

impl SlotClock {
    /// A clock that agrees with [`crate::clock`] to a few microseconds.
    pub fn new() -> SlotClock {
        // Whatever comes between the two readings makes the difference too small: the largest of a
        // few is the truth.
        let origin_ns = (0..8)
            .map(|_| monotonic_ns() - crate::clock::now().us() as i64 * 1_000)
            .max()
            .unwrap_or(0);
        SlotClock { origin_ns }
    }

    /// The instant of a slot.
    pub fn at(slot: u64) -> Time {
        Time::from_us(slot * SLOT_US)
    }

    /// The slot that has begun last.
    pub fn current(&self) -> u64 {
        (self.now_ns().max(0) / SLOT_NS) as u64
    }

    /// How long ago `slot` began, nanoseconds; negative while it is still to come.
    pub fn late_ns(&self, slot: u64) -> i64 {
        self.now_ns() - slot as i64 * SLOT_NS
    }

    /// The instant of a slot as the system takes it for a deadline.
    pub fn deadline(&self, slot: u64) -> Timespec {
        let deadline_ns = self.origin_ns + slot as i64 * SLOT_NS;
        Timespec {
            tv_sec: deadline_ns / NS_PER_S,
            tv_nsec: deadline_ns % NS_PER_S,
        }
    }

    /// Nanoseconds since the first slot.
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
    use super::super::bell::{Bell, Sleep};
    use super::*;

    #[test]
    fn a_slot_s_instant_is_the_server_s() {
        let clock = SlotClock::new();
        let slot = clock.current() + 4;
        assert!(clock.late_ns(slot) < 0);
        Bell::default().sleep(Sleep::Deaf, &clock.deadline(slot), || false);
        let late_us = crate::clock::now().us() as i64 - SlotClock::at(slot).us() as i64;
        // Never early by more than the two clocks are apart; late by what the machine is busy with.
        assert!((-100..500_000).contains(&late_us), "{late_us} us");
        assert!(clock.current() >= slot && clock.late_ns(slot) >= 0);
    }
}
