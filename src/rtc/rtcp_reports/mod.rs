//! RTCP reports to one client (RFC 3550, section 6.4): when a report is due, and its contents.
//!
//! Each report is a compound packet with the canonical name; the core encrypts it.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rtc::rtcp;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};

use super::rtp_receiver::RtpReceiver;
use super::rtp_sender::RtpSender;

/// Writes receiver and sender reports for one client when they are due.
#[derive(Debug)]
pub(super) struct RtcpReports {
    next: Instant,
    /// Time of the next regular report, which is sent even if no packet is lost.
    regular: Instant,
    /// Number of packets sent and received when a regular report was last due.
    before: (u64, u64),
    /// Whether no packet had been sent or received since the report before, when a report was last
    /// due.
    quiet: bool,
    /// When a report was last sent.
    last: Instant,
    /// Number of packets that had been sent at the last two reports.
    sent: [u64; 2],
    /// The client's last sender report: its SSRC, the middle 32 bits of its NTP time stamp, and its
    /// arrival time.
    heard: Option<(u32, u32, Instant)>,
}

impl RtcpReports {
    /// Creates the state before any packet; the first report is due at `now`.
    pub(super) fn new(now: Instant) -> RtcpReports {
        RtcpReports {
            next: now,
            regular: now,
            before: (0, 0),
            quiet: true,
            last: now,
            sent: [0; 2],
            heard: None,
        }
    }

    /// Returns when [`RtcpReports::due`] should be called next; `None` while no media flows, when
    /// an occasional call is enough.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.quiet).then_some(self.next)
    }

    /// Notes a sender report of the client; `stamp` is the middle 32 bits of its NTP time stamp.
    pub(super) fn heard(&mut self, ssrc: u32, stamp: u32, now: Instant) {
        self.heard = Some((ssrc, stamp, now));
    }

    /// Returns the compound packet to send now; `None` if no report is due.
    pub(super) fn due(
        &mut self,
        sending: &RtpSender,
        receiving: &mut RtpReceiver,
        cname: &str,
        now: Instant,
    ) -> Option<Vec<Box<dyn rtcp::Packet>>> {
        if now < self.next {
            return None;
        }
        let has_lost = receiving.reception().is_some_and(|it| it.has_lost());
        if now < self.regular && !has_lost {
            self.next = (now + LOSS_INTERVAL).min(self.regular);
            return None;
        }
        self.next = now + LOSS_INTERVAL;
        self.regular = now + REPORT_INTERVAL;
        let totals = (sending.sent().packets, receiving.received().0);
        self.quiet = std::mem::replace(&mut self.before, totals) == totals;
        if self.quiet && now < self.last + QUIET_INTERVAL {
            return None;
        }
        self.last = now;
        let reports: Vec<ReceptionReport> = receiving
            .reception()
            .map(|reception| {
                let ssrc = reception.ssrc();
                let heard = self.heard.filter(|(from, ..)| *from == ssrc);
                reception.report(heard.map(|(_, stamp, at)| (stamp, at)), now)
            })
            .into_iter()
            .collect();
        let ssrc = sending.ssrc();
        Some(vec![
            self.first(sending, reports, now),
            Box::new(canonical_name(ssrc, cname)),
        ])
    }

    /// Builds the first packet of the compound: a sender report, or a receiver report if we have
    /// sent no media since the report before the last (RFC 3550, section 6.4).
    fn first(
        &mut self,
        sending: &RtpSender,
        reports: Vec<ReceptionReport>,
        now: Instant,
    ) -> Box<dyn rtcp::Packet> {
        let (ssrc, sent) = (sending.ssrc(), sending.sent());
        let has_sent = sent.packets != self.sent[0];
        self.sent = [self.sent[1], sent.packets];
        match sending.time_at(now) {
            Some(rtp_time) if has_sent => Box::new(SenderReport {
                ssrc,
                ntp_time: ntp_time(SystemTime::now()),
                rtp_time,
                packet_count: sent.packets as u32,
                octet_count: sent.payload_bytes as u32,
                reports,
                ..SenderReport::default()
            }),
            _ => Box::new(ReceiverReport {
                ssrc,
                reports,
                ..ReceiverReport::default()
            }),
        }
    }
}

/// Converts a time to NTP form: seconds since 1900, and their fraction (RFC 3550, section 4).
fn ntp_time(now: SystemTime) -> u64 {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs() + SECONDS_FROM_1900_TO_1970;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

/// Builds a source description with only the canonical name, which every compound packet needs (RFC
/// 3550, section 6.1).
pub(super) fn canonical_name(ssrc: u32, cname: &str) -> SourceDescription {
    SourceDescription {
        chunks: vec![SourceDescriptionChunk {
            source: ssrc,
            items: vec![SourceDescriptionItem {
                sdes_type: SdesType::SdesCname,
                text: Bytes::copy_from_slice(cname.as_bytes()),
            }],
        }],
    }
}

/// Report interval while media flows: the minimum of RFC 3550, section 6.2, without negotiated
/// feedback, and what browsers use for audio.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Report interval while packets are lost. A client that supports FEC (RFC 7587, `useinbandfec`)
/// turns it on when it learns of the loss. The interval keeps the limits of RFC 4585, section 3.5,
/// for sessions with feedback: a report of some 100 bytes is less than a twentieth of the thinnest
/// stream.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// Report interval while no media flows.
const QUIET_INTERVAL: Duration = Duration::from_secs(10);

const SECONDS_FROM_1900_TO_1970: u64 = 2_208_988_800;

#[cfg(test)]
mod tests;
