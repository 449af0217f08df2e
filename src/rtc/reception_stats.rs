//! Reception statistics of one SSRC, for the report blocks of RTCP reports (RFC 3550, sections
//! 6.4.1, A.1, A.3 and A.8).

use std::time::{Duration, Instant};

use rtc::rtcp::reception_report::ReceptionReport;

/// Reception statistics of one SSRC.
#[derive(Debug, Clone)]
pub(super) struct ReceptionStats {
    ssrc: u32,
    /// RTP clock rate of the SSRC, in Hz.
    clock_hz: u32,
    /// Sequence number of the first packet, and the highest sequence number since, extended by its
    /// wraparounds.
    first: u32,
    highest: u32,
    received: u32,
    /// Number of packets expected, and of packets received, when the last report was sent.
    reported: (u32, u32),
    /// Arrival minus RTP time of the last packet, in units of the RTP clock.
    transit: u32,
    /// Sixteen times the interarrival jitter, in units of the RTP clock.
    jitter: u32,
    /// Origin of the arrival times: when the first packet arrived.
    start: Instant,
}

impl ReceptionStats {
    /// Creates the statistics from the first packet of an SSRC.
    pub(super) fn new(
        ssrc: u32,
        clock_hz: u32,
        sequence: u16,
        time: u32,
        now: Instant,
    ) -> ReceptionStats {
        ReceptionStats {
            ssrc,
            clock_hz,
            first: u32::from(sequence),
            highest: u32::from(sequence),
            received: 1,
            reported: (0, 0),
            transit: 0u32.wrapping_sub(time),
            jitter: 0,
            start: now,
        }
    }

    /// The SSRC that these statistics are about.
    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Counts a packet that is not a duplicate.
    pub(super) fn count(&mut self, sequence: u16, time: u32, now: Instant) {
        let step = sequence.wrapping_sub(self.highest as u16);
        if step < 0x8000 {
            self.highest = self.highest.wrapping_add(u32::from(step));
        }
        self.received = self.received.wrapping_add(1);
        let since = now.saturating_duration_since(self.start).as_micros();
        let arrival = (since * u128::from(self.clock_hz) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(time);
        let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        self.transit = transit;
        // The first packet after a pause looks like jitter if the client's media clock stood still,
        // so a difference of a second or more is not counted.
        if difference < self.clock_hz {
            self.jitter = self.jitter + difference - ((self.jitter + 8) >> 4);
        }
    }

    /// Whether packets are missing that no report has counted as lost yet.
    pub(super) fn has_lost(&self) -> bool {
        let expected = self.highest.wrapping_sub(self.first).wrapping_add(1);
        let (expected_before, received_before) = self.reported;
        let received = self.received.wrapping_sub(received_before);
        expected.wrapping_sub(expected_before) > received
    }

    /// Returns the present report block and begins a new report interval.
    ///
    /// - `heard`: the middle 32 bits of the time stamp in the client's last sender report, and its
    ///   arrival time.
    pub(super) fn report(
        &mut self,
        heard: Option<(u32, Instant)>,
        now: Instant,
    ) -> ReceptionReport {
        let expected = self.highest.wrapping_sub(self.first).wrapping_add(1);
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, self.received);
        let expected_now = expected.wrapping_sub(expected_before);
        let received_now = self.received.wrapping_sub(received_before);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (u64::from(lost_now) << 8).checked_div(u64::from(expected_now));
        let delay = |since: Instant| units(now.saturating_duration_since(since));
        ReceptionReport {
            ssrc: self.ssrc,
            fraction_lost: fraction.unwrap_or(0).min(255) as u8,
            total_lost: expected.saturating_sub(self.received).min(MAX_LOST),
            last_sequence_number: self.highest,
            jitter: self.jitter >> 4,
            last_sender_report: heard.map_or(0, |(stamp, _)| stamp),
            delay: heard.map_or(0, |(_, at)| delay(at)),
        }
    }
}

/// Converts a duration to units of 1/65,536 s, in which RTCP counts.
fn units(duration: Duration) -> u32 {
    (duration.as_micros() * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32
}

/// Largest value of the 24-bit signed field for lost packets.
const MAX_LOST: u32 = 0x7f_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    #[test]
    fn reception_stats_count_loss_per_interval_and_in_total() {
        let start = Instant::now();
        let mut reception = ReceptionStats::new(9, 48_000, 65_530, 0, start);
        for number in (1..100u32).filter(|number| number % 4 != 0) {
            let sequence = 65_530u16.wrapping_add(number as u16);
            reception.count(sequence, number * 960, start + number * STEP);
        }
        let report = reception.report(None, start);
        assert_eq!((report.ssrc, report.total_lost), (9, 24));
        assert_eq!(report.fraction_lost, (24 * 256 / 100) as u8);
        assert_eq!(report.last_sequence_number, 65_530 + 99);
        assert_eq!((report.last_sender_report, report.delay), (0, 0));
        let quiet = reception.report(Some((7, start)), start + Duration::from_secs(2));
        assert_eq!((quiet.fraction_lost, quiet.total_lost), (0, 24));
        assert_eq!((quiet.last_sender_report, quiet.delay), (7, 2 * 65_536));
    }

    #[test]
    fn reception_jitter_covers_arrivals_and_not_pauses() {
        let start = Instant::now();
        let mut even = ReceptionStats::new(9, 48_000, 0, 0, start);
        let mut uneven = even.clone();
        for number in 1..500u32 {
            let at = start + number * STEP;
            let late = Duration::from_millis(u64::from(number % 2) * 5);
            even.count(number as u16, number * 960, at);
            uneven.count(number as u16, number * 960, at + late);
        }
        assert_eq!(even.report(None, start).jitter, 0);
        let jitter = uneven.report(None, start).jitter;
        assert!(
            (230..=245).contains(&jitter),
            "5 ms are 240 samples: {jitter}"
        );
        even.count(500, 500 * 960, start + Duration::from_secs(60));
        assert_eq!(even.report(None, start).jitter, 0);
    }
}
