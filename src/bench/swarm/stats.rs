//! Statistics of a swarm over a measurement.

use hdrhistogram::Histogram;

use super::audio_check::Heard;
use super::stream::Counts;

/// What all clients of a swarm counted between two points in time.
#[derive(Debug, Clone)]
pub struct SwarmStats {
    /// How long it lasted, in seconds.
    pub seconds: f64,
    /// Clients connected at the end.
    pub clients: usize,
    /// Clients whose connection went down or never came up.
    pub gone: usize,
    /// Packets whose numbers have passed.
    pub expected: u64,
    /// Packets that came.
    pub received: u64,
    /// Packets that came after one of a higher number.
    pub disordered: u64,
    /// Frames left out in a stream that went on.
    pub skipped: u64,
    /// Clients that got less than half of what the others got.
    pub starved: usize,
    /// Bytes of Opus received.
    pub payload_bytes: u64,
    /// How far off their stream's beat packets were, in microseconds.
    pub off_beat_us: Histogram<u64>,
    /// How late our own packets left, in microseconds: the generator's share of what looks like the server's.
    pub send_late_us: Histogram<u64>,
    /// Packets sent.
    pub sent: u64,
    /// What the ears heard.
    pub heard: Vec<Heard>,
}

impl SwarmStats {
    /// Nothing seen yet.
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

    /// Adds what the clients counted.
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

    /// Packets that never came, in percent.
    pub fn lost_percent(&self) -> f64 {
        let lost = self.expected.saturating_sub(self.received);
        percent(lost, self.expected)
    }

    /// Frames left out, in percent of those there should have been.
    pub fn skipped_percent(&self) -> f64 {
        percent(self.skipped, self.expected + self.skipped)
    }

    /// Off-beat at a percentile, in milliseconds.
    pub fn off_beat_ms(&self, percentile: f64) -> f64 {
        self.off_beat_us.value_at_percentile(percentile) as f64 / 1e3
    }

    /// Lateness of our own packets at a percentile, in milliseconds.
    pub fn send_late_ms(&self, percentile: f64) -> f64 {
        self.send_late_us.value_at_percentile(percentile) as f64 / 1e3
    }

    /// Opus bits a second that one client gets.
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

/// Up to a minute, to three figures.
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
    fn shares_are_of_what_should_have_come() {
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
