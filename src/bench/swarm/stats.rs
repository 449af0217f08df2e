//! Statistics of a swarm over a measurement.

use hdrhistogram::Histogram;

use super::audio_check::Heard;
use super::stream::Counts;

/// The counters of all clients of a swarm between two instants.
#[derive(Debug, Clone)]
pub struct SwarmStats {
    /// The duration of the measurement, in seconds.
    pub seconds: f64,
    /// Clients connected at the end.
    pub clients: usize,
    /// Clients whose connection went down or never came up.
    pub gone: usize,
    /// Packets that should have arrived, by their sequence numbers.
    pub expected: u64,
    /// Packets that arrived.
    pub received: u64,
    /// Packets that arrived after one with a higher sequence number.
    pub disordered: u64,
    /// Frames that the server skipped in a continuing stream.
    pub skipped: u64,
    /// Clients that received less than half as many packets as the median client.
    pub starved: usize,
    /// Opus bytes received.
    pub payload_bytes: u64,
    /// How far packets were off their stream's beat, in microseconds.
    pub off_beat_us: Histogram<u64>,
    /// How late the swarm's own packets were sent, in microseconds: the load generator's share of
    /// the measured delays.
    pub send_late_us: Histogram<u64>,
    /// Packets sent.
    pub sent: u64,
    /// The results of the audio checks.
    pub heard: Vec<Heard>,
}

impl SwarmStats {
    /// Returns statistics without any counts.
    pub fn new() -> SwarmStats {
        SwarmStats {
            seconds: 0.0,
            clients: 0,
            gone: 0,
            expected: 0,
            received: 0,
            disordered: 0,
            skipped: 0,
            starved: 0,
            payload_bytes: 0,
            off_beat_us: histogram(),
            send_late_us: histogram(),
            sent: 0,
            heard: Vec::new(),
        }
    }

    /// Adds the counters of the clients.
    pub(super) fn add(&mut self, counts: &[Counts]) {
        let mut received: Vec<u64> = counts.iter().map(|counts| counts.received).collect();
        received.sort_unstable();
        let median = received.get(received.len() / 2).copied().unwrap_or(0);
        for counts in counts {
            self.expected += counts.expected;
            self.received += counts.received;
            self.disordered += counts.disordered;
            self.skipped += counts.skipped;
            self.payload_bytes += counts.payload_bytes;
            self.starved += usize::from(counts.received * 2 < median);
        }
    }

    /// Returns the share of packets that never arrived, in percent.
    pub fn lost_percent(&self) -> f64 {
        let lost = self.expected.saturating_sub(self.received);
        percent(lost, self.expected)
    }

    /// Returns the share of skipped frames, in percent of those that there should have been.
    pub fn skipped_percent(&self) -> f64 {
        percent(self.skipped, self.expected + self.skipped)
    }

    /// Returns the off-beat time at a percentile, in milliseconds.
    pub fn off_beat_ms(&self, percentile: f64) -> f64 {
        self.off_beat_us.value_at_percentile(percentile) as f64 / 1e3
    }

    /// Returns the lateness of the swarm's own packets at a percentile, in milliseconds.
    pub fn send_late_ms(&self, percentile: f64) -> f64 {
        self.send_late_us.value_at_percentile(percentile) as f64 / 1e3
    }

    /// Returns the Opus bitrate that one client receives, in kbit/s.
    pub fn payload_kbps(&self) -> f64 {
        self.payload_bytes as f64 * 8e-3 / self.seconds.max(1e-9) / self.clients.max(1) as f64
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

impl Default for SwarmStats {
    fn default() -> SwarmStats {
        SwarmStats::new()
    }
}

/// Returns a histogram of up to a minute, with three digits.
fn histogram() -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_max(60_000_000, 3).expect("bounds that the crate documents as good");
    histogram.auto(true);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swarm_stats_percentages_are_relative_to_the_expected_packets() {
        let counts = |expected, received, skipped| Counts {
            expected,
            received,
            skipped,
            payload_bytes: received * 80,
            ..Counts::default()
        };
        let mut tally = SwarmStats::new();
        tally.seconds = 10.0;
        tally.clients = 3;
        tally.add(&[
            counts(500, 500, 0),
            counts(500, 495, 10),
            counts(200, 200, 0),
        ]);
        assert_eq!(tally.starved, 1);
        assert!((tally.lost_percent() - 100.0 * 5.0 / 1_200.0).abs() < 1e-9);
        assert!((tally.skipped_percent() - 100.0 * 10.0 / 1_210.0).abs() < 1e-9);
        assert!((tally.payload_kbps() - 1_195.0 * 80.0 * 8.0 / 30_000.0).abs() < 1e-6);
        assert_eq!(SwarmStats::new().lost_percent(), 0.0);
    }
}
