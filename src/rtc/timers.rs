//! The deadlines of all peers, so that a pass of the event loop touches only peers whose deadline
//! has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A priority queue of deadlines. Superseded entries are not removed; the caller skips them when
/// their time comes.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Timers {
    /// Adds a deadline for peer `key`.
    pub(super) fn add(&mut self, at: Instant, key: usize) {
        self.heap.push(Reverse((at, key)));
    }

    /// Returns the time of the earliest entry.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the earliest entry whose time has come: its time, and the key of its peer.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_return_deadlines_in_order_and_not_early() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.add(at(30), 3);
        timers.add(at(10), 1);
        timers.add(at(20), 2);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)), Some((at(10), 1)));
        assert_eq!(timers.pop_due(at(20)), Some((at(20), 2)));
        assert_eq!(timers.pop_due(at(20)), None);
    }
}
