//! RTP between the core's SRTP and the mixer: an interceptor at the end of the core's chain.
//!
//! Everything decrypted ends here and goes to the mixer at once, without the core's tracks: they know one source per
//! section, while a client may change its source at any time. Receiver and sender reports (RFC 3550, 6.4) are the
//! core's own interceptors, driven from here and sent as one compound packet with the canonical name.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Sender;
use mixer::packet::{Packet, Payload};
use mixer::{Level, ParticipantId, RtpTime, Seq};
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
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::error::Error;

use super::metrics::{Dropped, PeerStats, RtcMetrics};
use crate::links::Inbound;

/// What the stream and its peer share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Packets that SRTP accepted, media and control.
    pub(super) authentic_total: AtomicU64,
    /// Counters of the peer, for anyone.
    pub(super) stats: Arc<PeerStats>,
}

/// What a stream is made of.
pub(super) struct StreamConfig {
    pub(super) participant: ParticipantId,
    /// The one payload type taken.
    pub(super) payload_type: u8,
    /// Header extension of RFC 6464, if negotiated.
    pub(super) level_id: Option<u8>,
    /// Where packets go; `None` if the client does not send.
    pub(super) to_mixer: Option<Sender<Inbound>>,
    /// Our own source.
    pub(super) ssrc: u32,
    /// Our own canonical name.
    pub(super) cname: String,
    pub(super) metrics: Arc<RtcMetrics>,
    pub(super) shared: Arc<Shared>,
}

/// The interceptor.
pub(super) struct Stream {
    config: StreamConfig,
    receiver: ReceiverReportInterceptor,
    sender: SenderReportInterceptor,
    remote: Option<StreamInfo>,
    writes: VecDeque<TaggedPacket>,
    next_report: Instant,
    /// Packets sent and received when the last report went out.
    reported: (u64, u64),
    unchanged_reports: u32,
}

impl Stream {
    /// Set-up only (allocates).
    pub(super) fn new(now: Instant, config: StreamConfig) -> Stream {
        let mut sender = SenderReportBuilder::new().with_interval(AT_ONCE).build();
        sender.bind_local_stream(&stream_info(config.ssrc));
        Stream {
            config,
            receiver: ReceiverReportBuilder::new().with_interval(AT_ONCE).build(),
            sender,
            remote: None,
            writes: VecDeque::new(),
            next_report: now,
            reported: (0, 0),
            unchanged_reports: 0,
        }
    }

    fn take_rtp(&mut self, now: Instant, packet: &rtp::Packet) {
        let stats = &self.config.shared.stats;
        stats.received_total.fetch_add(1, Ordering::Relaxed);
        stats
            .received_bytes_total
            .fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
        let Some(to_mixer) = &self.config.to_mixer else {
            return;
        };
        let Some(payload) = Payload::copy_from(&packet.payload) else {
            return self.config.metrics.count(Dropped::Unusable);
        };
        let header = &packet.header;
        let inbound = Inbound {
            from: self.config.participant,
            arrival: crate::clock::at(now),
            packet: Packet {
                seq: Seq(header.sequence_number),
                time: RtpTime(header.timestamp),
                ssrc: header.ssrc,
                marker: header.marker,
                level: self.level_of(header),
                payload,
            },
        };
        if to_mixer.try_send(inbound).is_err() {
            self.config.metrics.count(Dropped::MixerFull);
        }
    }

    /// RFC 6464, 3: the low seven bits of the first byte.
    fn level_of(&self, header: &rtp::Header) -> Option<Level> {
        let id = self.config.level_id?;
        let extension = header
            .extensions
            .iter()
            .find(|extension| extension.id == id)?;
        extension.payload.first().copied().map(Level::from_wire)
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

    fn take_report(&self, report: &ReceptionReport) {
        if report.ssrc != self.config.ssrc {
            return;
        }
        let stats = &self.config.shared.stats;
        let percent = (u32::from(report.fraction_lost) * 100).div_ceil(256) as u8;
        let before = stats.loss_percent.load(Ordering::Relaxed);
        // Up at once, so that FEC is there while it is needed; down slowly, so that the encoder is left alone.
        let smooth = ((u32::from(before) * 3 + u32::from(percent)) / 4) as u8;
        stats
            .loss_percent
            .store(percent.max(smooth), Ordering::Relaxed);
        stats.jitter_samples.store(report.jitter, Ordering::Relaxed);
    }

    fn write_report(&mut self, now: Instant) {
        let stats = &self.config.shared.stats;
        let totals = (
            stats.sent_total.load(Ordering::Relaxed),
            stats.received_total.load(Ordering::Relaxed),
        );
        if totals == self.reported {
            self.unchanged_reports += 1;
            if !self.unchanged_reports.is_multiple_of(QUIET_REPORTS) {
                return;
            }
        } else {
            self.unchanged_reports = 0;
        }
        self.reported = totals;

        let _ = self.receiver.handle_timeout(now);
        let reports = drain(&mut self.receiver)
            .filter_map(|packet| downcast::<ReceiverReport>(packet.as_ref()))
            .flat_map(|report| report.reports)
            .collect();
        let _ = self.sender.handle_timeout(now);
        let sent =
            drain(&mut self.sender).find_map(|packet| downcast::<SenderReport>(packet.as_ref()));
        let first: Box<dyn rtcp::Packet> = match sent {
            Some(report) => Box::new(SenderReport { reports, ..report }),
            None => Box::new(ReceiverReport {
                ssrc: self.config.ssrc,
                reports,
                ..ReceiverReport::default()
            }),
        };
        let names = Box::new(canonical_name(self.config.ssrc, &self.config.cname));
        self.writes.push_back(TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Media::Rtcp(vec![first, names])),
        });
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Stream {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.config
            .shared
            .authentic_total
            .fetch_add(1, Ordering::Relaxed);
        match &message.message.packet {
            Media::Rtp(packet) if packet.header.payload_type != self.config.payload_type => {
                self.config.metrics.count(Dropped::Unusable);
                return Ok(());
            }
            Media::Rtp(packet) => {
                self.follow(packet.header.ssrc);
                self.take_rtp(message.now, packet);
            }
            Media::Rtcp(packets) => {
                for packet in packets {
                    if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                        report
                            .reports
                            .iter()
                            .for_each(|report| self.take_report(report));
                    } else if let Some(report) = packet.as_any().downcast_ref::<ReceiverReport>() {
                        report
                            .reports
                            .iter()
                            .for_each(|report| self.take_report(report));
                    }
                }
            }
            _ => return Ok(()),
        }
        // For its statistics; what it hands on ends here.
        self.receiver.handle_read(message)?;
        while self.receiver.poll_read().is_some() {}
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.sender.handle_write(message)?;
        while let Some(message) = self.sender.poll_write() {
            self.writes.push_back(message);
        }
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.write_report(now);
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Some(self.next_report)
    }
}

/// Which streams there are is decided here, not by the core.
impl Interceptor for Stream {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

fn stream_info(ssrc: u32) -> StreamInfo {
    StreamInfo {
        ssrc,
        clock_rate: mixer::format::SAMPLE_RATE_HZ,
        ..StreamInfo::default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    fn stream(
        now: Instant,
    ) -> (
        Stream,
        crossbeam_channel::Receiver<Inbound>,
        Arc<Shared>,
        Arc<RtcMetrics>,
    ) {
        let (to_mixer, inbound) = bounded(2);
        let shared = Arc::new(Shared::default());
        let metrics = Arc::new(RtcMetrics::default());
        let config = StreamConfig {
            participant: ParticipantId(5),
            payload_type: 111,
            level_id: Some(1),
            to_mixer: Some(to_mixer),
            ssrc: 77,
            cname: "name".to_owned(),
            metrics: metrics.clone(),
            shared: shared.clone(),
        };
        (Stream::new(now, config), inbound, shared, metrics)
    }

    fn tagged(now: Instant, packet: Media) -> TaggedPacket {
        TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(packet),
        }
    }

    fn rtp(ssrc: u32, seq: u16) -> Media {
        let mut header = rtp::Header {
            version: 2,
            payload_type: 111,
            sequence_number: seq,
            timestamp: 960,
            ssrc,
            marker: true,
            ..rtp::Header::default()
        };
        header
            .set_extension(1, Bytes::from_static(&[0x80 | 30]))
            .expect("fits");
        Media::Rtp(rtp::Packet {
            header,
            payload: Bytes::from_static(&[1, 2, 3]),
        })
    }

    #[test]
    fn packets_reach_the_mixer_whatever_their_source() {
        let now = Instant::now();
        let (mut stream, inbound, shared, metrics) = stream(now);
        stream.handle_read(tagged(now, rtp(1, 10))).expect("read");
        stream.handle_read(tagged(now, rtp(2, 11))).expect("read");
        stream.handle_read(tagged(now, rtp(2, 12))).expect("read");
        let packets: Vec<Inbound> = inbound.try_iter().collect();
        assert_eq!(packets.len(), 2, "the link holds two");
        assert_eq!(metrics.dropped_total(Dropped::MixerFull), 1);
        assert_eq!((packets[0].packet.ssrc, packets[1].packet.ssrc), (1, 2));
        assert_eq!(packets[0].from, ParticipantId(5));
        assert_eq!(packets[0].packet.level, Some(Level::from_wire(30)));
        assert!(packets[0].packet.marker);
        assert_eq!(packets[0].packet.payload.as_slice(), [1, 2, 3]);
        assert_eq!(shared.authentic_total.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn reports_are_compound_and_rare_while_quiet() {
        let start = Instant::now();
        let (mut stream, _inbound, shared, _) = stream(start);
        stream.handle_read(tagged(start, rtp(9, 1))).expect("read");
        stream
            .handle_write(tagged(start, rtp(77, 1)))
            .expect("write");
        assert!(matches!(
            stream.poll_write().map(|m| m.message.packet),
            Some(Media::Rtp(_))
        ));
        shared.stats.sent_total.fetch_add(1, Ordering::Relaxed);
        let mut reports = 0;
        for tick in 1..=12 {
            stream
                .handle_timeout(start + tick * REPORT_INTERVAL)
                .expect("timeout");
            while let Some(message) = stream.poll_write() {
                let Media::Rtcp(packets) = message.message.packet else {
                    panic!("RTCP");
                };
                let report = packets[0]
                    .as_any()
                    .downcast_ref::<SenderReport>()
                    .expect("first");
                assert_eq!((report.ssrc, report.reports[0].ssrc), (77, 9));
                assert!(packets[1].as_any().is::<SourceDescription>());
                reports += 1;
            }
        }
        assert_eq!(reports, 1 + 2, "one with news, then one in four");
    }

    #[test]
    fn loss_rises_at_once_and_falls_slowly() {
        let now = Instant::now();
        let (mut stream, _inbound, shared, _) = stream(now);
        let mut report = |ssrc, fraction_lost| {
            let report = ReceptionReport {
                ssrc,
                fraction_lost,
                ..ReceptionReport::default()
            };
            let packet = ReceiverReport {
                ssrc: 1,
                reports: vec![report],
                ..ReceiverReport::default()
            };
            stream
                .handle_read(tagged(now, Media::Rtcp(vec![Box::new(packet)])))
                .expect("read");
            shared.stats.loss_percent.load(Ordering::Relaxed)
        };
        assert_eq!(report(77, 26), 11);
        assert_eq!(report(77, 0), 8);
        assert_eq!(report(78, 255), 8, "about somebody else");
        for _ in 0..20 {
            report(77, 0);
        }
        assert_eq!(report(77, 0), 0);
    }
}
