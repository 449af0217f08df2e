//! Judges a client's incoming stream by the clear part of each packet: what is missing, and what is
//! off its beat.

/// The clear header of an RTP packet (RFC 3550, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) seq: u16,
    pub(super) time: u32,
    pub(super) ssrc: u32,
    pub(super) marker: bool,
    pub(super) sources: u8,
    /// The length of the header, in bytes.
    pub(super) bytes: usize,
}

impl Header {
    /// Parses the header; `None` if `datagram` is no RTP packet.
    pub(super) fn read(datagram: &[u8]) -> Option<Header> {
        let fixed = datagram.first_chunk::<12>()?;
        let sources = fixed[0] & 0x0f;
        let mut bytes = 12 + 4 * usize::from(sources);
        if fixed[0] & 0x10 != 0 {
            let extension = datagram.get(bytes..)?.first_chunk::<4>()?;
            let words = u16::from_be_bytes([extension[2], extension[3]]);
            bytes += 4 + 4 * usize::from(words);
        }
        let is_rtp = fixed[0] >> 6 == 2 && !(192..=223).contains(&fixed[1]);
        (is_rtp && datagram.len() >= bytes).then(|| Header {
            seq: u16::from_be_bytes([fixed[2], fixed[3]]),
            time: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            marker: fixed[1] & 0x80 != 0,
            sources,
            bytes,
        })
    }
}

/// Counters of one client in one measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Packets that should have arrived, by their sequence numbers.
    pub(super) expected: u64,
    /// Packets that arrived.
    pub(super) received: u64,
    /// Packets that arrived after one with a higher sequence number.
    pub(super) disordered: u64,
    /// Skipped frames: RTP time advanced without a packet, and no talk-spurt started.
    pub(super) skipped: u64,
    /// Opus bytes received.
    pub(super) payload_bytes: u64,
    /// The largest number of contributing sources at one time.
    pub(super) sources: u8,
}

/// The incoming stream of one client, judged packet by packet.
#[derive(Debug, Default)]
pub(super) struct Stream {
    ssrc: u32,
    last: Option<Last>,
    counts: Counts,
    beat: Beat,
    /// The smallest step of RTP time between two packets, which is the packet duration.
    ptime: u32,
    jitter: f64,
    reported: (u64, u64),
}

/// The packet with the highest sequence number so far.
#[derive(Debug, Clone, Copy)]
struct Last {
    /// Sequence number and time, extended beyond their wraps.
    seq: u64,
    time: i64,
    transit_ns: i64,
}

impl Stream {
    /// Counts a packet; returns how far off the stream's beat it was, in microseconds.
    pub(super) fn take(&mut self, header: &Header, at_ns: u64, payload_bytes: usize) -> u64 {
        if self.last.is_none() || header.ssrc != self.ssrc {
            self.begin(header);
        }
        self.counts.received += 1;
        self.counts.payload_bytes += payload_bytes as u64;
        self.counts.sources = self.counts.sources.max(header.sources);
        let Some(last) = self.last else { return 0 };
        let step = i64::from(header.seq.wrapping_sub(last.seq as u16) as i16);
        let time = last.time + i64::from(header.time.wrapping_sub(last.time as u32) as i32);
        let transit_ns = at_ns as i64 - time * 62_500 / 3;
        if step <= 0 {
            self.counts.disordered += u64::from(step < 0);
            return self.beat.off_us(at_ns, transit_ns);
        }
        self.note_skips(step, time - last.time, header.marker);
        self.counts.expected += step as u64;
        let change_ns = (transit_ns - last.transit_ns).abs() as f64;
        if last.transit_ns != 0 {
            self.jitter += (change_ns - self.jitter) / 16.0;
        }
        self.last = Some(Last {
            seq: last.seq + step as u64,
            time,
            transit_ns,
        });
        self.beat.off_us(at_ns, transit_ns)
    }

    /// Restarts the counters; the beat continues.
    pub(super) fn restart(&mut self) {
        self.counts = Counts::default();
        self.reported = (0, 0);
    }

    /// Returns the counters since the last restart.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the values of a receiver report (RFC 3550, 6.4.2): SSRC, highest sequence number,
    /// interarrival jitter in RTP units, and the share lost since the last call in 256ths.
    pub(super) fn report(&mut self) -> Option<(u32, u32, u32, u8)> {
        let last = self.last?;
        let (expected, received) = (self.counts.expected, self.counts.received);
        let new_expected = expected.saturating_sub(self.reported.0);
        let new_received = received.saturating_sub(self.reported.1);
        self.reported = (expected, received);
        let lost = new_expected.saturating_sub(new_received);
        let fraction = (lost * 256).checked_div(new_expected).unwrap_or(0).min(255);
        let jitter = (self.jitter * 48e-6) as u32;
        Some((self.ssrc, last.seq as u32, jitter, fraction as u8))
    }

    fn begin(&mut self, header: &Header) {
        self.ssrc = header.ssrc;
        self.beat = Beat::default();
        self.last = Some(Last {
            // One wrap above zero, so that a step back stays positive.
            seq: (1 << 16) + u64::from(header.seq.wrapping_sub(1)),
            time: i64::from(header.time),
            transit_ns: 0,
        });
    }

    /// Counts the frames that the server left out between this packet and the previous one. A
    /// longer gap is a pause of the sender, not a failure.
    fn note_skips(&mut self, step: i64, time_step: i64, marker: bool) {
        if step != 1 || marker || time_step < MIN_PTIME {
            return;
        }
        let time_step = time_step as u32;
        if self.ptime == 0 || time_step < self.ptime {
            self.ptime = time_step;
        }
        let frames = (time_step + self.ptime / 2) / self.ptime;
        if (2..=MAX_SKIPPED).contains(&frames) {
            self.counts.skipped += u64::from(frames - 1);
        }
    }
}

/// The times at which a stream's packets would arrive if none were late: RTP time plus the least
/// transit time of the last seconds.
#[derive(Debug)]
struct Beat {
    began_ns: u64,
    least_ns: i64,
    before_ns: i64,
}

impl Default for Beat {
    fn default() -> Beat {
        Beat {
            began_ns: 0,
            least_ns: i64::MAX,
            before_ns: i64::MAX,
        }
    }
}

impl Beat {
    fn off_us(&mut self, at_ns: u64, transit_ns: i64) -> u64 {
        if at_ns.saturating_sub(self.began_ns) > SPAN_NS {
            self.before_ns = self.least_ns;
            self.least_ns = i64::MAX;
            self.began_ns = at_ns;
        }
        self.least_ns = self.least_ns.min(transit_ns);
        let line_ns = self.least_ns.min(self.before_ns);
        transit_ns.saturating_sub(line_ns).max(0) as u64 / 1_000
    }
}

/// The beat covers the last one to two spans of this length: long enough for a hundred packets,
/// short enough for drifting clocks.
const SPAN_NS: u64 = 2_500_000_000;

/// RTP time of 2.5 ms, the shortest packet duration.
const MIN_PTIME: i64 = 120;

/// The most missing frames that count as skipped. Longer gaps are pauses: refreshes of a silent
/// stream are twenty frames apart.
const MAX_SKIPPED: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seq: u16, time: u32) -> Header {
        Header {
            seq,
            time,
            ssrc: 7,
            marker: false,
            sources: 0,
            bytes: 12,
        }
    }

    /// Returns a stream that received packets with these sequence numbers and arrival times in
    /// milliseconds.
    fn stream(packets: &[(u16, u64)]) -> (Stream, Vec<u64>) {
        let mut stream = Stream::default();
        let first = packets[0].0;
        let offs = packets
            .iter()
            .map(|&(seq, at_ms)| {
                let time = 960u32.wrapping_mul(u32::from(seq.wrapping_sub(first)));
                stream.take(&header(seq, time), 1_000_000_000 + at_ms * 1_000_000, 50)
            })
            .collect();
        (stream, offs)
    }

    #[test]
    fn rtp_headers_are_parsed_with_sources_and_extensions() {
        let mut packet = vec![0x92, 0x80 | 111, 0x01, 0x02, 0, 0, 3, 0xc0, 0, 0, 0, 9];
        packet.extend([0; 8]);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 5, 0, 0]);
        packet.extend([1; 30]);
        let read = Header::read(&packet).expect("RTP");
        assert_eq!((read.seq, read.time, read.ssrc), (0x0102, 960, 9));
        assert_eq!((read.sources, read.bytes, read.marker), (2, 28, true));
        assert_eq!(Header::read(&packet[..25]), None);
        packet[1] = 200;
        assert_eq!(Header::read(&packet), None, "RTCP");
    }

    #[test]
    fn losses_and_disorder_are_counted_across_the_wrap() {
        let (stream, _) = stream(&[(65_534, 0), (65_535, 20), (1, 60), (0, 61), (4, 120)]);
        let counts = stream.counts();
        assert_eq!((counts.expected, counts.received), (7, 5));
        assert_eq!((counts.disordered, counts.skipped), (1, 0));
        assert_eq!(counts.payload_bytes, 250);
    }

    #[test]
    fn packet_lateness_is_measured_against_a_schedule_that_follows_the_arrivals() {
        let (_, offs) = stream(&[(0, 5), (1, 25), (2, 57), (3, 64), (4, 85)]);
        // The fourth packet was early: it defines the line.
        assert_eq!(offs, [0, 0, 12_000, 0, 1_000]);
        let slow: Vec<(u16, u64)> = (0..600)
            .map(|n| (n, u64::from(n) * 20 + if n < 200 { 0 } else { 3 }))
            .collect();
        let (_, offs) = stream(&slow);
        assert_eq!((offs[250], offs[590]), (3_000, 0));
    }

    #[test]
    fn skipped_frames_are_distinguished_from_pauses() {
        let mut stream = Stream::default();
        let mut at = |seq, frames: u32, marker| {
            let packet = Header {
                marker,
                ..header(seq, frames * 960)
            };
            stream.take(&packet, 1_000_000_000 + u64::from(frames) * 20_000_000, 50);
            stream.counts().skipped
        };
        assert_eq!(at(1, 0, true), 0);
        assert_eq!(at(2, 1, false), 0);
        assert_eq!(at(3, 4, false), 2);
        assert_eq!(at(4, 24, false), 2, "a refresh");
        assert_eq!(at(5, 28, true), 2, "a talk-spurt");
    }

    #[test]
    fn receiver_reports_give_the_loss_since_the_last_report() {
        let (mut stream, _) = stream(&[(10, 0), (11, 20), (13, 60), (14, 80)]);
        let (ssrc, highest, _, fraction) = stream.report().expect("something came");
        assert_eq!((ssrc, highest & 0xffff, fraction), (7, 14, 51));
        assert_eq!(stream.report().map(|report| report.3), Some(0));
    }
}
