//! Receive batching: how long datagrams may wait in the socket before the network thread reads
//! them.
//!
//! Received packets are mixed at the next slot (every 2.5 ms), not before. Under high load, waking
//! up for each datagram costs more than reading it, so the thread sleeps until shortly before each
//! slot, which delays no packet. Only packets from the mixers wake it sooner. While peers connect
//! there is no batching: some clients lose a second when a check is answered late.

use std::time::{Duration, Instant};

use mixer::format::SLOT;

/// Decides how long to leave datagrams in the socket.
#[derive(Debug)]
pub(super) struct RxBatching {
    /// Start of the present counting window, and the number of datagrams received in it.
    since: Instant,
    datagrams: usize,
    /// Whether the last complete window had enough datagrams for batching to pay off.
    pays: bool,
    /// When a peer last began to connect or to look for another path.
    disturbed: Option<Instant>,
}

impl RxBatching {
    /// Creates the state without batching.
    pub(super) fn new(now: Instant) -> RxBatching {
        RxBatching {
            since: now,
            datagrams: 0,
            pays: false,
            disturbed: None,
        }
    }

    /// Counts received datagrams; decides at the end of each window whether batching pays off.
    pub(super) fn received(&mut self, datagrams: usize, now: Instant) {
        self.datagrams += datagrams;
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.pays = self.datagrams >= WORTH_DATAGRAMS;
            self.datagrams = 0;
            self.since = now;
        }
    }

    /// Notes that a peer begins to connect, or looks for another path; batching pauses for
    /// [`CONNECTING`].
    pub(super) fn disturb(&mut self, now: Instant) {
        self.disturbed = Some(now);
    }

    /// Returns how long to leave datagrams in the socket; `None` if the thread should wait for
    /// each.
    pub(super) fn length(&self, now: Instant) -> Option<Duration> {
        let connecting = |at: Instant| now.saturating_duration_since(at) < CONNECTING;
        // If the window has not been closed in time, hardly any datagrams arrive.
        let stale = now.saturating_duration_since(self.since) > 2 * WINDOW;
        if !self.pays || stale || self.disturbed.is_some_and(connecting) {
            return None;
        }
        let slot_us = SLOT.as_micros() as u64;
        let into_us = (crate::clock::at(now).us() + LEAD.as_micros() as u64) % slot_us;
        Some(Duration::from_micros(slot_us - into_us))
    }
}

/// Length of the counting window.
const WINDOW: Duration = Duration::from_millis(100);

/// Datagrams per window from which batching pays off: at 1,500 a second each slot brings several.
const WORTH_DATAGRAMS: usize = 150;

/// Time before a slot at which the thread is woken: enough to wake up and read what has arrived.
const LEAD: Duration = Duration::from_micros(400);

/// Time after which ICE and DTLS are complete, or repeat datagrams only every few seconds.
const CONNECTING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    /// A batching state after a second of `per_ms` datagrams per millisecond, and the time at its
    /// end.
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
    fn rx_batching_ends_before_a_slot_and_starts_only_under_load() {
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
        // No more datagrams arrive.
        assert_eq!(batching.length(now + 3 * WINDOW), None);
    }

    #[test]
    fn rx_batching_pauses_while_peers_connect() {
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
