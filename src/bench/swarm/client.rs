//! One light client: a connection of the sans-I/O core, with as little around it as possible.
//!
//! Connectivity checks, DTLS and sent packets go through the core. Of received packets only the
//! clear header is read, unless the client checks its audio: two thousand listeners receive a
//! hundred thousand packets per second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::statistics::StatsSelector;
use tokio::sync::oneshot;

use super::audio_check::AudioCheck;
use super::sending::Sending;
use super::stream::{Header, Stream};

/// One client of the swarm, driven by the swarm's thread.
pub(super) struct Client {
    pc: RTCPeerConnection,
    local: SocketAddr,
    ssrc: u32,
    pub(super) sending: Option<Sending>,
    pub(super) stream: Stream,
    pub(super) ear: Option<AudioCheck>,
    /// DTLS datagrams that arrived before a candidate pair was selected.
    early: Vec<(SocketAddr, BytesMut)>,
    ice: bool,
    stage: Stage,
    up: Option<oneshot::Sender<bool>>,
    /// Bytes that SRTP adds to a packet.
    tag_bytes: usize,
    settled: Instant,
    report_due: Instant,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Up,
    Gone,
}

/// What [`Client::new`] needs.
pub(super) struct ClientParts {
    pub(super) pc: RTCPeerConnection,
    pub(super) local: SocketAddr,
    pub(super) ssrc: u32,
    pub(super) sending: Option<Sending>,
    pub(super) ear: Option<AudioCheck>,
    /// Receives whether the connection was established, once that is known.
    pub(super) up: oneshot::Sender<bool>,
}

/// Datagrams to send, each with its destination.
pub(super) type Outgoing = Vec<(SocketAddr, BytesMut)>;

impl Client {
    pub(super) fn new(parts: ClientParts, now: Instant) -> Client {
        Client {
            pc: parts.pc,
            local: parts.local,
            ssrc: parts.ssrc,
            sending: parts.sending,
            stream: Stream::default(),
            ear: parts.ear,
            early: Vec::new(),
            ice: false,
            stage: Stage::Connecting,
            up: Some(parts.up),
            tag_bytes: 0,
            settled: now + SETTLE,
            // Spread over the interval, because thousands of clients may have connected within a
            // second.
            report_due: now + REPORT_EVERY.mul_f64(1.0 + rand::random::<f64>()),
            deadline: now,
        }
    }

    /// Whether media can flow.
    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Returns when [`Client::timeout`] is due.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Handles an RTP packet; returns how far off its beat it was, in microseconds, if it is valid.
    pub(super) fn media(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        at_ns: u64,
        now: Instant,
    ) -> Option<u64> {
        if self.stage != Stage::Up {
            return None;
        }
        let header = Header::read(datagram)?;
        let payload_bytes = datagram.len().checked_sub(header.bytes + self.tag_bytes)?;
        let off_us = self.stream.take(&header, at_ns, payload_bytes);
        if self.ear.is_some() {
            self.read(from, datagram, now);
            while let Some(message) = self.pc.poll_media_read() {
                if let (Some(ear), RTCMessage::RtpPacket(_, packet)) =
                    (&mut self.ear, message.message)
                {
                    ear.take(&packet.payload);
                }
            }
        }
        Some(off_us)
    }

    /// Handles a connectivity check or a DTLS record.
    pub(super) fn control(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        out: &mut Outgoing,
    ) {
        let is_dtls = datagram
            .first()
            .is_some_and(|first| (20..64).contains(first));
        if is_dtls && !self.ice {
            // The core would drop this record, and the server would wait a second before it
            // retransmits it.
            if self.early.len() < MAX_EARLY {
                self.early.push((from, BytesMut::from(datagram)));
            }
            return;
        }
        self.read(from, datagram, now);
        self.drain(now, out);
    }

    /// Sends the packet that is due; returns how late it is.
    pub(super) fn send(&mut self, now: Instant, out: &mut Outgoing) -> Option<Duration> {
        let (packet, late) = self.sending.as_mut()?.packet(now);
        if self.stage != Stage::Up {
            return None;
        }
        self.write(RTCMessage::RtpPacket(String::new(), packet), now);
        if let Some(datagram) = self.pc.poll_write() {
            out.push((datagram.transport.peer_addr, datagram.message));
        }
        Some(late)
    }

    /// Handles what is due: the core's timers, and a report.
    pub(super) fn timeout(&mut self, now: Instant, out: &mut Outgoing) {
        if self.pc.handle_timeout(now).is_err() {
            tracing::debug!("the WebRTC stack failed to handle a timeout");
        }
        if now >= self.report_due && self.stage == Stage::Up {
            self.report(now);
            self.report_due = now + REPORT_EVERY;
        }
        self.drain(now, out);
    }

    /// Closes the connection, so that the server notices at once.
    pub(super) fn close(&mut self, out: &mut Outgoing) {
        let _ = self.pc.close();
        while let Some(datagram) = self.pc.poll_write() {
            out.push((datagram.transport.peer_addr, datagram.message));
        }
    }

    fn report(&mut self, now: Instant) {
        let Some((ssrc, highest, jitter, fraction_lost)) = self.stream.report() else {
            return;
        };
        let report = ReceptionReport {
            ssrc,
            fraction_lost,
            last_sequence_number: highest,
            jitter,
            ..ReceptionReport::default()
        };
        let packet = ReceiverReport {
            ssrc: self.ssrc,
            reports: vec![report],
            ..ReceiverReport::default()
        };
        self.write(
            RTCMessage::RtcpPacket(String::new(), vec![Box::new(packet)]),
            now,
        );
    }

    fn read(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let message = TaggedBytesMut {
            now,
            transport: TransportContext {
                local_addr: self.local,
                peer_addr: from,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            },
            message: BytesMut::from(datagram),
        };
        if let Err(error) = self.pc.handle_read(message) {
            tracing::debug!(%error, "the WebRTC stack rejected a received datagram");
        }
    }

    fn write(&mut self, message: RTCMessage, now: Instant) {
        if let Err(error) = self.pc.handle_write(TaggedRTCMessage { now, message }) {
            tracing::debug!(%error, "the WebRTC stack rejected a message to send");
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Outgoing) {
        while let Some(event) = self.pc.poll_event() {
            self.on_event(event, now);
        }
        while self.pc.poll_read().is_some() {}
        if self.ice && !self.early.is_empty() {
            for (from, datagram) in std::mem::take(&mut self.early) {
                self.read(from, &datagram, now);
            }
            while let Some(event) = self.pc.poll_event() {
                self.on_event(event, now);
            }
        }
        while let Some(datagram) = self.pc.poll_write() {
            out.push((datagram.transport.peer_addr, datagram.message));
        }
        let core = self.pc.poll_timeout().unwrap_or(now + FAR);
        // Once a connection only has to be kept alive, the core needs fewer calls than it asks for.
        self.deadline = if now < self.settled {
            core.max(now + Duration::from_millis(1))
        } else {
            core.max(now + UNHURRIED)
        }
        .min(self.report_due.max(now + Duration::from_millis(1)));
    }

    fn on_event(&mut self, event: RTCPeerConnectionEvent, now: Instant) {
        match event {
            RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(
                RTCIceConnectionState::Connected | RTCIceConnectionState::Completed,
            ) => self.ice = true,
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                RTCPeerConnectionState::Connected => self.come_up(now),
                RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                    self.stage = Stage::Gone;
                    self.tell(false);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn come_up(&mut self, now: Instant) {
        if self.stage != Stage::Connecting {
            return;
        }
        self.stage = Stage::Up;
        self.settled = now + SETTLE;
        let stats = self.pc.get_stats(now, StatsSelector::None);
        let cipher = stats
            .transport()
            .map(|transport| transport.srtp_cipher.as_str());
        self.tag_bytes = tag_bytes(cipher.unwrap_or_default());
        self.tell(true);
    }

    fn tell(&mut self, is_up: bool) {
        if let Some(up) = self.up.take() {
            // Sending the result fails if the caller has stopped waiting.
            let _ = up.send(is_up);
        }
    }
}

/// Returns the bytes that a cipher adds to a packet (RFC 7714, 5.2; RFC 3711, 5.2; RFC 4568,
/// 6.2.2).
fn tag_bytes(cipher: &str) -> usize {
    if cipher.contains("GCM") {
        16
    } else if cipher.ends_with("_32") {
        4
    } else {
        10
    }
}

/// The most DTLS records that are kept until the path is known.
const MAX_EARLY: usize = 8;

/// How long after its start, and again after its handshake, a connection's timers are handled as
/// often as the core asks.
const SETTLE: Duration = Duration::from_secs(3);

/// The least time between two calls of the core's timers after that.
const UNHURRIED: Duration = Duration::from_millis(1_500);

const FAR: Duration = Duration::from_secs(3_600);

/// The shortest permitted interval of reports in a large session (RFC 3550, 6.2), which clients
/// use.
const REPORT_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srtp_tag_lengths_match_their_cipher_suites() {
        assert_eq!(tag_bytes("SRTP_AEAD_AES_128_GCM"), 16);
        assert_eq!(tag_bytes("SRTP_AES128_CM_HMAC_SHA1_80"), 10);
        assert_eq!(tag_bytes("SRTP_AES128_CM_HMAC_SHA1_32"), 4);
    }
}
