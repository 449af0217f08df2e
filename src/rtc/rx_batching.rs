//! Receive batching: how long datagrams may wait in the socket before the thread reads them.
//!
//! What arrives is mixed at the next slot, not before. Where many datagrams come, to get up for each costs more than to
//! take it in; so then the thread sleeps through until shortly before each slot, which makes nobody's packet late. Only
//! what the mixer hands out gets it up sooner. While peers connect it does not batch: a check that is answered late costs
//! some clients a second.

use std::time::{Duration, Instant};

use mixer::format::SLOT;

/// Decides how long to leave datagrams in the socket.
#[derive(Debug)]
pub(super) struct RxBatching {
    /// When counting began, and what has come since.
    since: Instant,
    datagrams: usize,
    /// So much came in the last window that it pays.
    pays: bool,
    /// When the last peer began to connect.
    disturbed: Option<Instant>,
}

impl RxBatching {
    /// No batching yet.
    pub(super) fn new(now: Instant) -> RxBatching {
        RxBatching {
            since: now,
            datagrams: 0,
            pays: false,
            disturbed: None,
        }
    }

    /// Takes note of what was received.
    pub(super) fn received(&mut self, datagrams: usize, now: Instant) {
        self.datagrams += datagrams;
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.pays = self.datagrams >= WORTH_DATAGRAMS;
            self.datagrams = 0;
            self.since = now;
        }
    }

    /// A peer connects, or looks for another path.
    pub(super) fn disturb(&mut self, now: Instant) {
        self.disturbed = Some(now);
    }

    /// How long to leave the socket alone; `None` if it had better be watched.
    pub(super) fn length(&self, now: Instant) -> Option<Duration> {
        let connecting = |at: Instant| now.saturating_duration_since(at) < CONNECTING;
        // A window that nobody has closed is one in which next to nothing came.
        let stale = now.saturating_duration_since(self.since) > 2 * WINDOW;
        if !self.pays || stale || self.disturbed.is_some_and(connecting) {
            return None;
        }
        let slot_us = SLOT.as_micros() as u64;
        let into_us = (crate::clock::at(now).us() + LEAD.as_micros() as u64) % slot_us;
        Some(Duration::from_micros(slot_us - into_us))
    }
}

/// How long arrivals are counted.
const WINDOW: Duration = Duration::from_millis(100);

/// From 1,500 datagrams a second on, a slot brings several.
const WORTH_DATAGRAMS: usize = 150;

/// Before a slot: what the thread needs to get up and to take in what has come.
const LEAD: Duration = Duration::from_micros(400);

/// ICE and DTLS are done by then, or are repeating themselves in seconds.
const CONNECTING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    /// An `RxBatching` that has seen `per_ms` datagrams a millisecond for a second, and the time after that.
    fn after(per_ms: usize) -> (RxBatching, Instant) {
        let start = crate::clock::instant(mixer::Time::from_us(10_000_000));
        let mut batching = RxBatching::new(start);
        let mut now = start;
        for _ in 0..1_000 {
            now += STEP;
            batching.received(per_ms, now);
        }
        (batching, now)
    }

    #[test]
    fn batches_end_before_a_slot_and_only_where_much_arrives() {
        let (batching, now) = after(1);
        assert_eq!(batching.length(now), None);
        let (batching, now) = after(10);
        for late_us in [0, 700, 2_050, 2_099, 2_100, 2_101, 2_499] {
            let now = now + Duration::from_micros(late_us);
            let length = batching.length(now).expect("it pays");
            assert!(length > Duration::ZERO && length <= SLOT);
            let end_us = crate::clock::at(now + length).us();
            assert_eq!(end_us % 2_500, 2_100, "{late_us} us");
        }
        // Nothing comes any more.
        assert_eq!(batching.length(now + 3 * WINDOW), None);
    }

    #[test]
    fn nothing_is_batched_while_peers_connect() {
        let (mut batching, now) = after(10);
        batching.disturb(now);
        assert_eq!(batching.length(now + STEP), None);
        let mut later = now;
        while later < now + CONNECTING + STEP {
            later += STEP;
            batching.received(10, later);
        }
        assert!(batching.length(later).is_some());
    }
}
