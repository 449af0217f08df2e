//! RTP between the core's SRTP and the mixer: an interceptor at the end of the core's chain.
//!
//! Everything decrypted ends here and goes to the mixer at once, without the core's tracks: they know one source per
//! section, while a client may change its source at any time.

mod reports;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::Sender;
use mixer::packet::{Packet, Payload};
use mixer::{Level, ParticipantId, RtpTime, Seq};
use rtc::interceptor::{Interceptor, Packet as Media, StreamInfo, TaggedPacket};
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::metrics::{Dropped, PeerStats, RtcMetrics};
use crate::links::Inbound;
use reports::Reports;

pub(super) use reports::canonical_name;

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
    reports: Reports,
    writes: VecDeque<TaggedPacket>,
}

impl Stream {
    /// Set-up only (allocates).
    pub(super) fn new(now: Instant, config: StreamConfig) -> Stream {
        Stream {
            reports: Reports::new(
                now,
                config.ssrc,
                config.cname.clone(),
                config.shared.stats.clone(),
            ),
            config,
            writes: VecDeque::new(),
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
            Media::Rtp(packet) => self.take_rtp(message.now, packet),
            _ => {}
        }
        self.reports.received(message)
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        let message = self.reports.sent(message)?;
        self.writes.extend(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.writes.extend(self.reports.due(now));
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Some(self.reports.next())
    }
}

/// Which streams there are is decided here, not by the core.
impl Interceptor for Stream {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use crossbeam_channel::bounded;
    use rtc::interceptor::AttributedPacket;
    use rtc::rtcp::receiver_report::ReceiverReport;
    use rtc::rtcp::reception_report::ReceptionReport;
    use rtc::rtcp::sender_report::SenderReport;
    use rtc::rtcp::source_description::SourceDescription;
    use rtc::shared::TransportContext;
    use std::time::Duration;

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
                .handle_timeout(start + tick * Duration::from_millis(2_500))
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
