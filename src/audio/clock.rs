//! The slot grid: absolute deadlines on the server's clock.
//!
//! Slots count from the origin of [`crate::clock`], so that a slot's instant and a packet's arrival
//! can be compared.

use mixer::Time;
use mixer::format::SLOT;
use rustix::thread::clock_nanosleep_absolute;
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
        self.now_us() / SLOT_US
    }

    /// How long ago `slot` began, microseconds; zero if it is still to come.
    pub fn late_us(&self, slot: u64) -> u64 {
        self.now_us().saturating_sub(slot * SLOT_US)
    }

    /// Nanoseconds on a clock without meaning but its differences.
    pub fn ns() -> u64 {
        monotonic_ns() as u64
    }

    /// Sleeps until `slot` begins; returns at once if it has.
    pub fn sleep_until(&self, slot: u64) {
        let deadline_ns = self.origin_ns + (slot * SLOT_US * 1_000) as i64;
        let deadline = Timespec {
            tv_sec: deadline_ns / NS_PER_S,
            tv_nsec: deadline_ns % NS_PER_S,
        };
        // Ends early only when a signal comes; the deadline is absolute, so trying again is right.
        while let Err(rustix::io::Errno::INTR) =
            clock_nanosleep_absolute(ClockId::Monotonic, &deadline)
        {}
    }

    fn now_us(&self) -> u64 {
        ((monotonic_ns() - self.origin_ns).max(0) / 1_000) as u64
    }
}

fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * NS_PER_S + now.tv_nsec
}

const NS_PER_S: i64 = 1_000_000_000;
const SLOT_US: u64 = SLOT.as_micros() as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_s_instant_is_the_server_s() {
        let clock = SlotClock::new();
        let slot = clock.current() + 4;
        clock.sleep_until(slot);
        let late_us = crate::clock::now().us() as i64 - SlotClock::at(slot).us() as i64;
        // Never early by more than the two clocks are apart; late by what the machine is busy with.
        assert!((-100..500_000).contains(&late_us), "{late_us} us");
        assert!(clock.current() >= slot);
    }
}
