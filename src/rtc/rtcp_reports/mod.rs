//! Receiver and sender reports of one client (RFC 3550, 6.4): when they are due, and what is in them.
//!
//! Each goes out as a compound packet with the canonical name, through the core, which encrypts it.

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

/// Writes the reports of one client when they are due.
#[derive(Debug)]
pub(super) struct RtcpReports {
    next: Instant,
    /// When a report is due even if nothing was lost.
    regular: Instant,
    /// Packets sent and received when a report was due last.
    before: (u64, u64),
    /// Nothing had come or gone then.
    quiet: bool,
    /// When the last one went out.
    last: Instant,
    /// Packets sent when the last two reports went out.
    sent: [u64; 2],
    /// The client's last report: its source, the middle of its time stamp, and when it came.
    heard: Option<(u32, u32, Instant)>,
}

impl RtcpReports {
    /// With nothing to say yet.
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

    /// When [`RtcpReports::due`] wants to be called; while nothing flows it is enough to do so now and then.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.quiet).then_some(self.next)
    }

    /// Takes note of a sender report of the client's.
    pub(super) fn heard(&mut self, ssrc: u32, stamp: u32, now: Instant) {
        self.heard = Some((ssrc, stamp, now));
    }

    /// The compound packet of this moment, if one is due.
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

    /// Who sent nothing since the report before the last is a receiver only (RFC 3550, 6.4).
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

/// Seconds since 1900 and their fraction (RFC 3550, 4).
fn ntp_time(now: SystemTime) -> u64 {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs() + SECONDS_FROM_1900_TO_1970;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

/// Source description with nothing but the canonical name, which every compound packet must have (RFC 3550, 6.1).
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

/// How often a report is sent while media flows: the least that RFC 3550, 6.2, lets a session wait in which nobody has
/// agreed on feedback, and what browsers do for audio.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// How often while packets are lost: a sender that has agreed to protect its packets (RFC 7587, `useinbandfec`) begins
/// with it when it learns of the loss. Within what RFC 4585, 3.5, allows a session with feedback: one report of some 100
/// bytes is less than a twentieth of the thinnest stream.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How often while nothing flows.
const QUIET_INTERVAL: Duration = Duration::from_secs(10);

const SECONDS_FROM_1900_TO_1970: u64 = 2_208_988_800;

#[cfg(test)]
mod tests;
