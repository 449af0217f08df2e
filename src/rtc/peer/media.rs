//! The peer's media: SRTP keys, RTP in both directions without the WebRTC core, RTCP reports
//! through the core.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mixer::packet::OutPacket;
use rtc::crypto::constant_time_eq;
use rtc::peer_connection::message::RTCMessage;
use rtc::statistics::StatsSelector;

use super::super::handle::{Reason, RtcEvent};
use super::super::metrics::Dropped;
use super::super::send_queue::SendQueue;
use super::super::srtp::{MasterKey, SrtpProfile};
use super::{BRISK, Peer, Stage, Turn};

impl Peer {
    /// Notes that the DTLS handshake is complete. Media can flow from now on, if the client's
    /// certificate is one that the offer names.
    pub(super) fn come_up(&mut self, turn: &mut Turn<'_>) {
        if self.take_keys(turn.now).is_none() {
            return self.end(Reason::Fault);
        }
        if self.stage != Stage::Up {
            self.stage = Stage::Up;
            self.consent = turn.now;
            self.brisk_until = turn.now + BRISK;
            self.note_path();
            self.deadline = self.next_deadline(turn.now);
            turn.out
                .events
                .push_back(RtcEvent::Connected(self.parts.participant));
        }
    }

    /// Sets the SRTP keys of both directions if the handshake has produced new ones; `None` if
    /// there are no usable keys.
    fn take_keys(&mut self, now: Instant) -> Option<()> {
        let Some(material) = self.parts.material.take() else {
            return self.keys.is_some().then_some(());
        };
        // Starting again with keys already in use would encrypt two packets with the same index.
        if self
            .keys
            .as_ref()
            .is_some_and(|keys| constant_time_eq(keys.as_ref(), material.as_ref()))
        {
            return Some(());
        }
        if !self.is_of_the_offer() {
            self.dropped(Dropped::Certificate);
            return None;
        }
        let connection = self.parts.core.connection()?;
        let statistics = connection.get_stats(now, StatsSelector::None);
        let profile = SrtpProfile::of_name(&statistics.transport()?.srtp_cipher)?;
        let (client, server) = MasterKey::divide(profile, material.as_ref())?;
        let (ours, theirs) = match self.parts.offer.setup.server_starts() {
            true => (client, server),
            false => (server, client),
        };
        let crypto = self.parts.crypto.crypto();
        self.parts.sending.set_key(crypto, &ours).ok()?;
        self.parts.receiving.set_key(crypto, &theirs).ok()?;
        self.keys = Some(material);
        Some(())
    }

    /// Whether the certificate that the client has proven to own is one that the offer names (RFC
    /// 8122, section 5; RFC 8827, section 6.5).
    fn is_of_the_offer(&mut self) -> bool {
        // `Peer::receiver` would borrow the whole peer, including the offer that is needed below.
        let connection = self.parts.core.connection();
        let receiver = self.receiver.and_then(|id| connection?.rtp_receiver(id));
        let transport = receiver.as_ref().and_then(|receiver| receiver.transport());
        let certificate = transport.and_then(|it| it.get_remote_certificates().first());
        certificate.is_some_and(|der| self.parts.offer.fingerprints.matches(der))
    }

    /// Decrypts an RTP packet from a validated address and passes it to the mixer before returning.
    pub(in crate::rtc) fn rtp(&mut self, datagram: &mut [u8], turn: &mut Turn<'_>) {
        // Packets are accepted also during an ICE restart, when they come over the former pair.
        if self.stage != Stage::Up {
            return self.dropped(Dropped::Handshake);
        }
        let to_mixers = &mut turn.out.to_mixers;
        let taken = self.parts.receiving.take(datagram, turn.now, to_mixers);
        if let Err(reason) = taken {
            self.dropped(reason);
        }
    }

    /// Processes an RTCP packet from a validated address.
    pub(in crate::rtc) fn rtcp(
        &mut self,
        from: SocketAddr,
        ssrc: u32,
        datagram: &[u8],
        turn: &mut Turn<'_>,
    ) {
        if self.stage != Stage::Up || !self.ice || self.parts.core.is_away() {
            return self.dropped(Dropped::Handshake);
        }
        // Forged packets count too. So an attacker that floods the server from the client's address
        // only makes the client lose its reports.
        if !self.control_packets.passes(turn.now) {
            return self.dropped(Dropped::RtcpRate);
        }
        if !self.sources.admit(ssrc, turn.now) {
            return self.dropped(Dropped::Sources);
        }
        let authentic = &self.parts.shared.authentic_total;
        let before = authentic.load(Ordering::Relaxed);
        self.read(self.path.inward(from), datagram, turn.now);
        if self.parts.shared.authentic_total.load(Ordering::Relaxed) == before {
            return self.dropped(Dropped::Srtp);
        }
        self.note_reports(turn);
        self.drain(turn);
    }

    /// Encrypts and queues a packet of the mixer for the client.
    ///
    /// Bypasses the core, so it causes no events of the core and changes no deadline.
    pub(in crate::rtc) fn send(&mut self, packet: &OutPacket, now: Instant, out: &mut SendQueue) {
        let (Stage::Up, Some(to)) = (self.stage, self.path.address()) else {
            return;
        };
        self.parts.sending.write(packet, to, now, out);
    }

    /// Sends an RTCP report if one is due, and publishes the peer's counters.
    pub(super) fn report(&mut self, turn: &mut Turn<'_>) {
        if self.stage != Stage::Up || !self.ice || self.parts.core.is_away() {
            return;
        }
        self.publish();
        self.tell_loss(turn);
        // Without rtcp-mux, RTCP would need a port of its own, which was not negotiated.
        if !self.parts.offer.rtcp_mux {
            return;
        }
        let parts = &mut self.parts;
        let report = self
            .reports
            .due(&parts.sending, &mut parts.receiving, &parts.cname, turn.now);
        if let Some(compound) = report {
            self.write(RTCMessage::RtcpPacket(String::new(), compound), turn.now);
        }
    }

    /// Publishes the packet counters. Only the network thread writes them, so no atomic addition is
    /// needed.
    fn publish(&self) {
        let stats = &self.parts.shared.stats;
        let (sent, received) = (self.parts.sending.sent(), self.parts.receiving.received());
        stats.sent_total.store(sent.packets, Ordering::Relaxed);
        stats
            .sent_bytes_total
            .store(sent.payload_bytes, Ordering::Relaxed);
        stats.received_total.store(received.0, Ordering::Relaxed);
        stats
            .received_bytes_total
            .store(received.1, Ordering::Relaxed);
    }

    /// Asks the core which address the selected pair has, because RTP is sent without the core.
    pub(super) fn note_path(&mut self) {
        let selected = self.receiver().and_then(|receiver| {
            receiver
                .transport()?
                .ice_transport()
                .get_selected_candidate_pair()
        });
        if let Some(remote) = selected.as_ref().map(|pair| pair.remote())
            && let Ok(address) = remote.address.parse()
        {
            self.path.select(SocketAddr::new(address, remote.port));
        }
    }

    fn note_reports(&mut self, turn: &mut Turn<'_>) {
        let noted = self.parts.shared.sender_report.swap(0, Ordering::Relaxed);
        if noted != 0 {
            self.reports
                .heard((noted >> 32) as u32, noted as u32, turn.now);
        }
        self.tell_loss(turn);
    }

    /// Reports a changed loss as an event, at most once a second, because each change may cost the
    /// listener a new encoder. A withheld change is reported with the next RTCP report or at the
    /// next deadline.
    fn tell_loss(&mut self, turn: &mut Turn<'_>) {
        let percent = self.parts.shared.stats.loss_percent.load(Ordering::Relaxed);
        if percent != self.loss_percent && turn.now >= self.loss_told + LOSS_INTERVAL {
            self.loss_percent = percent;
            self.loss_told = turn.now;
            turn.out
                .events
                .push_back(RtcEvent::Loss(self.parts.participant, percent));
        }
    }
}

/// Shortest time between two reported changes of the loss. Clients send a report every few seconds.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);
