//! A client's statistics, and the line that `--stats` prints.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mixer::format::SAMPLE_RATE_HZ;
use serde::Serialize;

/// Counters that the client's threads write and any thread may read.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) sent_packets: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    /// Packets that the connection did not accept.
    pub(super) unsent_packets: AtomicU64,
    /// Packet times at which the source had no samples ready.
    pub(super) underruns: AtomicU64,
    pub(super) received_packets: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) connected: AtomicBool,
    pub(super) playout: Mutex<Playout>,
    talkers: Mutex<Vec<(u32, Instant)>>,
}

/// The state and the counters of the playout, as last published by the receiving thread.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Playout {
    pub lost: u64,
    pub late: u64,
    pub concealed_samples: u64,
    pub inserted_samples: u64,
    pub removed_samples: u64,
    pub resampling_inserted_samples: u64,
    pub resampling_removed_samples: u64,
    pub delay: Duration,
    pub target: Duration,
}

impl Counters {
    /// Records whether media can flow.
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Counts a reconnection.
    pub(super) fn count_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a received packet and its payload.
    pub(super) fn received(&self, payload_bytes: usize) {
        self.received_packets.fetch_add(1, Ordering::Relaxed);
        self.received_bytes
            .fetch_add(payload_bytes as u64, Ordering::Relaxed);
    }

    /// Records that the contributors named by a packet were heard.
    pub(super) fn heard(&self, csrcs: &[u32], at: Instant) {
        let mut talkers = self.talkers.lock().unwrap_or_else(PoisonError::into_inner);
        for csrc in csrcs {
            if let Some((_, last)) = talkers.iter_mut().find(|(known, _)| known == csrc) {
                *last = at;
            } else if talkers.len() < MAX_TALKERS {
                talkers.push((*csrc, at));
            }
        }
        talkers.retain(|(_, last)| at.saturating_duration_since(*last) < TALKING_FOR);
    }

    /// Returns the current values of all statistics.
    ///
    /// - `time`: the time since the client joined.
    /// - `rtt`: round-trip time to the server, where known.
    pub fn snapshot(&self, time: Duration, rtt: Option<Duration>) -> Stats {
        let playout = *self.playout.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = Instant::now();
        let talkers = self.talkers.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            time_s: ms(time).round() / 1_000.0,
            connected: self.connected.load(Ordering::Relaxed),
            sent_packets: count(&self.sent_packets),
            sent_bytes: count(&self.sent_bytes),
            unsent_packets: count(&self.unsent_packets),
            underruns: count(&self.underruns),
            received_packets: count(&self.received_packets),
            received_bytes: count(&self.received_bytes),
            lost: playout.lost,
            late: playout.late,
            concealed_ms: playout.concealed_samples as f64 * 1_000.0 / f64::from(SAMPLE_RATE_HZ),
            concealed_samples: playout.concealed_samples,
            inserted_samples: playout.inserted_samples,
            removed_samples: playout.removed_samples,
            resampling_inserted_samples: playout.resampling_inserted_samples,
            resampling_removed_samples: playout.resampling_removed_samples,
            delay_ms: ms(playout.delay),
            target_ms: ms(playout.target),
            rtt_ms: rtt.map(ms),
            talkers: talkers
                .iter()
                .filter(|(_, last)| now.saturating_duration_since(*last) < TALKING_FOR)
                .map(|(csrc, _)| format!("{csrc:08x}"))
                .collect(),
            reconnects: count(&self.reconnects),
        }
    }
}

/// One line of `--stats`. Counters run from the start of the client, reconnects included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Seconds since the client joined.
    pub time_s: f64,
    /// Whether media can flow at this moment.
    pub connected: bool,
    /// RTP packets sent.
    pub sent_packets: u64,
    /// Opus bytes in the packets sent.
    pub sent_bytes: u64,
    /// Packets dropped because the connection did not accept them.
    pub unsent_packets: u64,
    /// Packet times at which the source had no samples ready, so that nothing was sent.
    pub underruns: u64,
    /// RTP packets received.
    pub received_packets: u64,
    /// Opus bytes in the packets received.
    pub received_bytes: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// Packets that arrived too late to be played.
    pub late: u64,
    /// Playing time that was concealed, in milliseconds.
    pub concealed_ms: f64,
    /// Concealed samples at 48 kHz.
    pub concealed_samples: u64,
    /// Samples inserted by time stretching, to lengthen the playout delay.
    pub inserted_samples: u64,
    /// Samples removed by time stretching, to shorten the playout delay.
    pub removed_samples: u64,
    /// Samples added by resampling, to follow a slower clock.
    pub resampling_inserted_samples: u64,
    /// Samples saved by resampling, to follow a faster clock.
    pub resampling_removed_samples: u64,
    /// The playout delay, in milliseconds.
    pub delay_ms: f64,
    /// The playout delay that the jitter buffer aims at, in milliseconds.
    pub target_ms: f64,
    /// Round-trip time to the server in milliseconds, once it has been measured.
    pub rtt_ms: Option<f64>,
    /// Participants heard within the last second, by their ids.
    pub talkers: Vec<String>,
    /// Reconnections after a lost connection.
    pub reconnects: u64,
}

impl Stats {
    /// Returns one line of JSON, without a line break.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always serialise")
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// How long a participant counts as talking after the last packet that names it: longer than the
/// pause between two refreshes of a silent stream.
const TALKING_FOR: Duration = Duration::from_secs(1);

/// The most participants that are remembered as talking within a second.
const MAX_TALKERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_line_is_json_with_units_in_its_names() {
        let counters = Counters::default();
        counters.sent_packets.store(50, Ordering::Relaxed);
        counters.heard(&[0x00ab_cdef], Instant::now());
        *counters.playout.lock().unwrap() = Playout {
            concealed_samples: 960,
            inserted_samples: 1,
            removed_samples: 2,
            resampling_inserted_samples: 3,
            resampling_removed_samples: 4,
            ..Playout::default()
        };
        let line = counters
            .snapshot(
                Duration::from_millis(1_000),
                Some(Duration::from_micros(250)),
            )
            .to_json();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time_s"], 1.0);
        assert_eq!(json["sent_packets"], 50);
        assert_eq!(json["rtt_ms"], 0.25);
        assert_eq!(json["talkers"][0], "00abcdef");
        assert_eq!(json["concealed_ms"], 20.0);
        let samples = [
            ("concealed_samples", 960),
            ("inserted_samples", 1),
            ("removed_samples", 2),
            ("resampling_inserted_samples", 3),
            ("resampling_removed_samples", 4),
        ];
        for (name, count) in samples {
            assert_eq!(json[name], count, "{name}");
        }
        assert!(!line.contains('\n'));
    }

    #[test]
    fn list_of_heard_talkers_expires_and_is_bounded() {
        let counters = Counters::default();
        let start = Instant::now();
        counters.heard(&(0..1_000).collect::<Vec<_>>(), start);
        assert_eq!(counters.talkers.lock().unwrap().len(), MAX_TALKERS);
        counters.heard(&[7], start + Duration::from_millis(900));
        counters.heard(&[], start + Duration::from_millis(1_500));
        assert_eq!(counters.talkers.lock().unwrap().len(), 1);
    }
}
