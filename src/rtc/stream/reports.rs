//! Receiver and sender reports of one stream (RFC 3550, 6.4): the core's reporters, driven together.
//!
//! What the two say goes out as one compound packet with the canonical name. The client's reports about our stream
//! become the peer's counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::interceptor::{
    AttributedPacket, Interceptor, Packet as Media, ReceiverReportBuilder,
    ReceiverReportInterceptor, SenderReportBuilder, SenderReportInterceptor, StreamInfo,
    TaggedPacket,
};
use rtc::rtcp;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::error::Error;

use crate::rtc::metrics::PeerStats;

/// The reporters and their clock.
pub(super) struct Reports {
    ssrc: u32,
    cname: String,
    stats: Arc<PeerStats>,
    receiver: ReceiverReportInterceptor,
    sender: SenderReportInterceptor,
    remote: Option<StreamInfo>,
    next: Instant,
    /// Packets sent and received when the last report went out.
    reported: (u64, u64),
    unchanged: u32,
}

impl Reports {
    /// Set-up only (allocates).
    pub(super) fn new(now: Instant, ssrc: u32, cname: String, stats: Arc<PeerStats>) -> Reports {
        let mut sender = SenderReportBuilder::new().with_interval(AT_ONCE).build();
        sender.bind_local_stream(&stream_info(ssrc));
        Reports {
            ssrc,
            cname,
            stats,
            receiver: ReceiverReportBuilder::new().with_interval(AT_ONCE).build(),
            sender,
            remote: None,
            next: now,
            reported: (0, 0),
            unchanged: 0,
        }
    }

    /// When [`Reports::due`] wants to be called.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Takes note of what the client sent; it ends here.
    pub(super) fn received(&mut self, message: TaggedPacket) -> Result<(), Error> {
        match &message.message.packet {
            Media::Rtp(packet) => self.follow(packet.header.ssrc),
            Media::Rtcp(packets) => {
                for packet in packets {
                    if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                        report.reports.iter().for_each(|report| self.take(report));
                    } else if let Some(report) = packet.as_any().downcast_ref::<ReceiverReport>() {
                        report.reports.iter().for_each(|report| self.take(report));
                    }
                }
            }
            _ => return Ok(()),
        }
        self.receiver.handle_read(message)?;
        while self.receiver.poll_read().is_some() {}
        Ok(())
    }

    /// Takes note of what is sent, and gives it back.
    pub(super) fn sent(&mut self, message: TaggedPacket) -> Result<Option<TaggedPacket>, Error> {
        self.sender.handle_write(message)?;
        Ok(self.sender.poll_write())
    }

    /// The compound packet of this moment, if one is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<TaggedPacket> {
        if now < self.next {
            return None;
        }
        self.next = now + REPORT_INTERVAL;
        let totals = (
            self.stats.sent_total.load(Ordering::Relaxed),
            self.stats.received_total.load(Ordering::Relaxed),
        );
        self.unchanged = if totals == self.reported {
            self.unchanged + 1
        } else {
            0
        };
        self.reported = totals;
        if !self.unchanged.is_multiple_of(QUIET_REPORTS) {
            return None;
        }
        let compound = self.compound(now);
        Some(TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Media::Rtcp(compound)),
        })
    }

    fn compound(&mut self, now: Instant) -> Vec<Box<dyn rtcp::Packet>> {
        // Neither reporter can fail, and one that did would only have nothing to say.
        let _ = self.receiver.handle_timeout(now);
        let _ = self.sender.handle_timeout(now);
        let reports = drain(&mut self.receiver)
            .filter_map(|packet| downcast::<ReceiverReport>(packet.as_ref()))
            .flat_map(|report| report.reports)
            .collect();
        let sent =
            drain(&mut self.sender).find_map(|packet| downcast::<SenderReport>(packet.as_ref()));
        let first: Box<dyn rtcp::Packet> = match sent {
            Some(report) => Box::new(SenderReport { reports, ..report }),
            None => Box::new(ReceiverReport {
                ssrc: self.ssrc,
                reports,
                ..ReceiverReport::default()
            }),
        };
        vec![first, Box::new(canonical_name(self.ssrc, &self.cname))]
    }

    /// Points the receiver reports at the source that is heard now.
    fn follow(&mut self, ssrc: u32) {
        if self
            .remote
            .as_ref()
            .is_some_and(|remote| remote.ssrc == ssrc)
        {
            return;
        }
        if let Some(old) = self.remote.take() {
            self.receiver.unbind_remote_stream(&old);
        }
        let remote = stream_info(ssrc);
        self.receiver.bind_remote_stream(&remote);
        self.remote = Some(remote);
    }

    fn take(&self, report: &ReceptionReport) {
        if report.ssrc != self.ssrc {
            return;
        }
        let stats = &self.stats;
        let percent = (u32::from(report.fraction_lost) * 100).div_ceil(256) as u8;
        let before = stats.loss_percent.load(Ordering::Relaxed);
        // Up at once, so that FEC is there while it is needed; down slowly, so that the encoder is left alone.
        let smooth = ((u32::from(before) * 3 + u32::from(percent)) / 4) as u8;
        stats
            .loss_percent
            .store(percent.max(smooth), Ordering::Relaxed);
        stats.jitter_samples.store(report.jitter, Ordering::Relaxed);
    }
}

fn stream_info(ssrc: u32) -> StreamInfo {
    StreamInfo {
        ssrc,
        clock_rate: mixer::format::SAMPLE_RATE_HZ,
        ..StreamInfo::default()
    }
}

/// Source description with nothing but the canonical name, which every compound packet must have (RFC 3550, 6.1).
pub(in crate::rtc) fn canonical_name(ssrc: u32, cname: &str) -> SourceDescription {
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

fn drain(interceptor: &mut dyn Interceptor) -> impl Iterator<Item = Box<dyn rtcp::Packet>> {
    std::iter::from_fn(move || interceptor.poll_write())
        .filter_map(|message| match message.message.packet {
            Media::Rtcp(packets) => Some(packets),
            _ => None,
        })
        .flatten()
}

fn downcast<T: Clone + 'static>(packet: &dyn rtcp::Packet) -> Option<T> {
    packet.as_any().downcast_ref::<T>().cloned()
}

/// How often a report is sent while media flows. RFC 3550 asks for 5 s with one sender each way and little RTCP
/// bandwidth; half of it makes FEC react within a few seconds and still costs 0.4 packets/s.
const REPORT_INTERVAL: Duration = Duration::from_millis(2_500);

/// While nothing flows, every fourth report is sent: one in ten seconds.
const QUIET_REPORTS: u32 = 4;

/// The core's reporters are asked when a report is due, so their own interval only has to have passed.
const AT_ONCE: Duration = Duration::ZERO;
