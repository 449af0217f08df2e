//! The last interceptor of the core's chain: reads the client's RTCP reports and passes ours on.
//!
//! RTP does not pass through this interceptor; see
//! [`RtpReceiver`](super::rtp_receiver::RtpReceiver) and
//! [`RtpSender`](super::rtp_sender::RtpSender).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mixer::codec::Codec;
use rtc::interceptor::{Interceptor, Packet as Media, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::metrics::PeerStats;

/// State that the interceptor and its peer share.
#[derive(Debug, Default)]
pub(super) struct RtcpState {
    /// Number of RTCP packets that SRTCP has authenticated.
    pub(super) authentic_total: AtomicU64,
    /// The client's last sender report: its SSRC in the upper half, the middle 32 bits of its NTP
    /// time stamp in the lower half; 0 if none has come since it was last read.
    pub(super) sender_report: AtomicU64,
    /// The peer's counters that the rest of the server can read.
    pub(super) stats: Arc<PeerStats>,
}

/// The RTCP interceptor of one peer.
pub(super) struct RtcpInterceptor {
    /// The SSRC of the stream that the server sends to the client.
    ssrc: u32,
    codec: Codec,
    shared: Arc<RtcpState>,
    writes: VecDeque<TaggedPacket>,
}

impl RtcpInterceptor {
    /// Builds the interceptor. Set-up only (allocates).
    pub(super) fn new(ssrc: u32, codec: Codec, shared: Arc<RtcpState>) -> RtcpInterceptor {
        RtcpInterceptor {
            ssrc,
            codec,
            shared,
            writes: VecDeque::new(),
        }
    }

    fn take(&self, packet: &dyn rtcp::Packet) {
        if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
            let stamp = report.ntp_time >> 16 & u64::from(u32::MAX);
            let noted = u64::from(report.ssrc) << 32 | stamp;
            self.shared.sender_report.store(noted, Ordering::Relaxed);
            report
                .reports
                .iter()
                .for_each(|block| self.take_block(block));
        } else if let Some(report) = packet.as_any().downcast_ref::<ReceiverReport>() {
            report
                .reports
                .iter()
                .for_each(|block| self.take_block(block));
        }
    }

    fn take_block(&self, report: &ReceptionReport) {
        if report.ssrc != self.ssrc {
            return;
        }
        let stats = &self.shared.stats;
        let percent = (u32::from(report.fraction_lost) * 100).div_ceil(256) as u8;
        let before = stats.loss_percent.load(Ordering::Relaxed);
        // The loss rises at once, so that FEC is on while it is needed, and falls slowly, so that
        // the encoder rarely changes.
        let smooth = ((u32::from(before) * 3 + u32::from(percent)) / 4) as u8;
        stats
            .loss_percent
            .store(percent.max(smooth), Ordering::Relaxed);
        let jitter = report.jitter.saturating_mul(self.codec.samples_per_unit());
        stats.jitter_samples.store(jitter, Ordering::Relaxed);
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for RtcpInterceptor {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.shared.authentic_total.fetch_add(1, Ordering::Relaxed);
        if let Media::Rtcp(packets) = &message.message.packet {
            packets.iter().for_each(|packet| self.take(packet.as_ref()));
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

/// The core's stream bindings are ignored: this module decides which streams exist.
impl Interceptor for RtcpInterceptor {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::interceptor::AttributedPacket;
    use rtc::shared::TransportContext;

    fn read(stream: &mut RtcpInterceptor, packet: impl rtcp::Packet + 'static) {
        let message = TaggedPacket {
            now: Instant::now(),
            transport: TransportContext::default(),
            message: AttributedPacket::new(Media::Rtcp(vec![Box::new(packet)])),
        };
        stream.handle_read(message).expect("read");
    }

    #[test]
    fn smoothed_loss_of_receiver_reports_rises_at_once_and_falls_slowly() {
        let shared = Arc::new(RtcpState::default());
        let mut stream = RtcpInterceptor::new(77, Codec::Opus, shared.clone());
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
            read(&mut stream, packet);
            shared.stats.loss_percent.load(Ordering::Relaxed)
        };
        assert_eq!(report(77, 26), 11);
        assert_eq!(report(77, 0), 8);
        assert_eq!(report(78, 255), 8, "about somebody else");
        for _ in 0..20 {
            report(77, 0);
        }
        assert_eq!(report(77, 0), 0);
        assert_eq!(shared.authentic_total.load(Ordering::Relaxed), 24);
    }

    #[test]
    fn rtcp_interceptor_stores_ssrc_and_time_stamp_of_sender_reports() {
        let shared = Arc::new(RtcpState::default());
        let mut stream = RtcpInterceptor::new(77, Codec::Opus, shared.clone());
        let report = SenderReport {
            ssrc: 0xaabb_ccdd,
            ntp_time: 0x0011_2233_4455_6677,
            ..SenderReport::default()
        };
        read(&mut stream, report);
        let noted = shared.sender_report.load(Ordering::Relaxed);
        assert_eq!(noted, 0xaabb_ccdd_2233_4455);
    }
}
