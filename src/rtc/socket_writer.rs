//! Writes datagrams to the socket, and lets them wait while the socket's buffer is full.
//!
//! A full buffer drains within milliseconds, at the pace of the network. So datagrams wait until
//! the socket accepts more. All of them are dropped after [`PATIENCE`]: late media is worthless,
//! and ICE, DTLS and SCTP repeat their datagrams. Trying to send single datagrams meanwhile would
//! cost a system call for each.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::datagram_batch::BATCH;
use super::metrics::{Dropped, RtcMetrics};
use super::send_queue::SendQueue;

/// Writes datagrams to the socket, and remembers since when the socket's buffer is full.
#[derive(Debug, Default)]
pub(super) struct SocketWriter {
    /// When the socket's buffer became full; `None` while the socket accepts datagrams.
    full_since: Option<Instant>,
}

impl SocketWriter {
    /// Whether datagrams wait because the socket's buffer is full.
    pub(super) fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// Sends waiting datagrams, as many as the socket accepts.
    ///
    /// - `send`: passes the first datagrams to the system and returns how many it accepted.
    pub(super) fn send(
        &mut self,
        datagrams: &mut SendQueue,
        metrics: &RtcMetrics,
        now: Instant,
        mut send: impl FnMut(&SendQueue) -> io::Result<usize>,
    ) {
        while !datagrams.is_empty() {
            match send(datagrams) {
                Ok(sent) if sent > 0 => {
                    self.full_since = None;
                    let bytes: usize = datagrams.iter().take(sent).map(|(_, it)| it.len()).sum();
                    add(&metrics.datagrams_out_total, sent);
                    add(&metrics.bytes_out_total, bytes);
                    datagrams.drop_oldest(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.wait(datagrams, metrics, now);
                }
                // The queue of the network interface is full, and no socket event tells when it has
                // room: drop the batch.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    let lost = datagrams.len().min(BATCH);
                    metrics.count_many(Dropped::SendBuffer, lost);
                    datagrams.drop_oldest(lost);
                }
                // The error concerns only the first datagram, so the others are still tried.
                _ => {
                    add(&metrics.send_errors_total, 1);
                    datagrams.drop_oldest(1);
                }
            }
        }
        self.full_since = None;
    }

    /// Handles a full socket buffer: the datagrams wait, or are all dropped if they have waited for
    /// too long or are too many.
    fn wait(&mut self, datagrams: &mut SendQueue, metrics: &RtcMetrics, now: Instant) {
        let since = *self.full_since.get_or_insert(now);
        let is_late = now.saturating_duration_since(since) >= PATIENCE;
        if is_late || datagrams.len() > MAX_WAITING {
            metrics.count_many(Dropped::SendBuffer, datagrams.len());
            datagrams.clear();
            self.full_since = None;
        }
    }
}

fn add(counter: &std::sync::atomic::AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// Longest time that datagrams wait for the socket: one packet time.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// Most datagrams that wait for the socket: one packet for each peer of the largest server, and
/// some messages to rooms.
const MAX_WAITING: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn waiting(count: usize) -> SendQueue {
        let mut datagrams = SendQueue::default();
        for _ in 0..count {
            datagrams.push(SocketAddr::from(([192, 0, 2, 1], 9)), b"four");
        }
        datagrams
    }

    fn full(_: &SendQueue) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    #[test]
    fn socket_writer_keeps_datagrams_while_the_buffer_is_full() {
        let (metrics, now) = (RtcMetrics::default(), Instant::now());
        let mut writer = SocketWriter::default();
        let mut datagrams = waiting(1_000);
        let mut calls = 0;
        let mut room = 100;
        let mut socket = |datagrams: &SendQueue, room: &mut usize| {
            calls += 1;
            let taken = datagrams.len().min(BATCH).min(*room);
            *room -= taken;
            if taken == 0 {
                full(datagrams)
            } else {
                Ok(taken)
            }
        };
        writer.send(&mut datagrams, &metrics, now, |it| socket(it, &mut room));
        assert!(writer.is_full());
        assert_eq!(datagrams.len(), 900, "nothing is lost");
        room = 10_000;
        writer.send(&mut datagrams, &metrics, now + PATIENCE / 2, |it| {
            socket(it, &mut room)
        });
        assert!(!writer.is_full() && datagrams.is_empty());
        assert_eq!(calls, 3 + 900_usize.div_ceil(BATCH), "not one for each");
        assert_eq!(metrics.datagrams_out_total.load(Ordering::Relaxed), 1_000);
        assert_eq!(metrics.bytes_out_total.load(Ordering::Relaxed), 4_000);
        assert_eq!(metrics.dropped_total(Dropped::SendBuffer), 0);
    }

    #[test]
    fn socket_writer_drops_and_counts_datagrams_that_waited_too_long() {
        let (metrics, now) = (RtcMetrics::default(), Instant::now());
        let mut writer = SocketWriter::default();
        let mut datagrams = waiting(500);
        let mut calls = 0;
        for late_ms in [0, 10, 19, 20] {
            let now = now + Duration::from_millis(late_ms);
            writer.send(&mut datagrams, &metrics, now, |it| {
                calls += 1;
                full(it)
            });
        }
        assert_eq!(calls, 4, "one call each time");
        assert!(datagrams.is_empty() && !writer.is_full());
        assert_eq!(metrics.dropped_total(Dropped::SendBuffer), 500);
        let mut datagrams = waiting(MAX_WAITING + 1);
        writer.send(&mut datagrams, &metrics, now, full);
        assert!(datagrams.is_empty(), "nor is the queue without end");
    }

    #[test]
    fn socket_writer_drops_only_the_datagram_that_causes_an_error() {
        let (metrics, now) = (RtcMetrics::default(), Instant::now());
        let mut datagrams = waiting(3);
        let mut results = vec![Ok(1), Err(libc::EPERM), Ok(1)].into_iter();
        SocketWriter::default().send(&mut datagrams, &metrics, now, |_| {
            let result = results.next().expect("no more calls");
            result.map_err(io::Error::from_raw_os_error)
        });
        assert!(datagrams.is_empty());
        assert_eq!(metrics.send_errors_total.load(Ordering::Relaxed), 1);
        let mut datagrams = waiting(2 * BATCH);
        let mut calls = 0;
        SocketWriter::default().send(&mut datagrams, &metrics, now, |_| {
            calls += 1;
            Err(io::Error::from_raw_os_error(libc::ENOBUFS))
        });
        assert_eq!(calls, 2, "the interface's queue is full");
    }
}
