//! One client's connection: the core's peer connection, and the rules around it.
//!
//! The thread calls in with a datagram, a packet, a command or a deadline, each with the time; what comes of it
//! (datagrams, events, a new deadline, the peer's end) is left in the [`Outbox`] and in the peer. The peer owns no
//! socket and reads no clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mixer::ParticipantId;
use mixer::packet::OutPacket;
use rtc::crypto::RTCCryptoProvider;
use rtc::data_channel::RTCDataChannelId;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::peer_connection::transport::{RTCDtlsTransportState, RTCIceCandidateInit};
use rtc::rtcp;
use rtc::rtcp::goodbye::Goodbye;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtp_transceiver::RTCRtpReceiverId;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::accept::{LocalAddresses, credentials};
use super::demux::{StunClass, StunHead, is_hostile_dtls, stun_head};
use super::error::RestartError;
use super::handle::{Reason, RtcEvent};
use super::metrics::{Dropped, RtcMetrics};
use super::outbox::Outbox;
use super::sdp::{Credentials, Offer, Restart, plain_offer, remote_candidates};
use super::send::Sending;
use super::sources::Sources;
use super::stream::{Shared, canonical_name};
use super::stun;

/// A client's connection, made by [`RtcHandle::accept`](super::RtcHandle::accept).
pub struct Peer {
    parts: PeerParts,
    remote: Credentials,
    /// The one transceiver: the way to the state of DTLS.
    receiver: Option<RTCRtpReceiverId>,
    versions: u32,

    stage: Stage,
    /// A pair is selected.
    ice: bool,
    /// Nothing was heard for a while.
    silent: bool,
    /// When the client last answered a check of ours.
    consent: Instant,
    /// Addresses that authenticated, oldest first.
    addresses: Vec<SocketAddr>,
    /// A nomination that waits for our own check to succeed.
    nomination: Option<(SocketAddr, Vec<u8>)>,
    /// Transaction of the last check that was answered.
    answered: Option<[u8; 12]>,
    /// DTLS that came before a pair was selected.
    early: Vec<(SocketAddr, BytesMut)>,
    handshake_datagrams: u32,
    /// Candidates that came after the offer, in this ICE session.
    trickled: usize,
    sources: Sources,

    control: Option<RTCDataChannelId>,
    channels: u32,
    loss_percent: u8,

    last_timeout: Instant,
    /// Until when the core's own deadlines are kept to: something is going on.
    brisk_until: Instant,
    handshake_due: Instant,
    handshake_step: usize,
    deadline: Instant,
    fate: Option<Reason>,
}

/// What a peer is made of.
pub(super) struct PeerParts {
    pub(super) participant: ParticipantId,
    pub(super) pc: RTCPeerConnection,
    pub(super) local: Credentials,
    pub(super) local_addresses: LocalAddresses,
    pub(super) sending: Sending,
    pub(super) cname: String,
    pub(super) shared: Arc<Shared>,
    pub(super) crypto: Arc<dyn RTCCryptoProvider>,
    pub(super) metrics: Arc<RtcMetrics>,
    pub(super) connect_timeout: Duration,
    pub(super) consent_timeout: Duration,
    pub(super) offer: Offer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Made, or started at this time and looking for a path.
    Connecting(Instant),
    /// A path was found; DTLS is under way.
    Handshaking(Instant),
    /// Media flows.
    Up,
}

/// What a check turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Not from this client.
    Refused,
    /// From this client, at an address that is known.
    Known,
    /// From this client, at a new address that has to be added to the routes.
    NewAddress,
}

impl Peer {
    pub(super) fn new(now: Instant, parts: PeerParts) -> Peer {
        let receiver = parts.pc.get_receivers().next();
        Peer {
            remote: parts.offer.credentials.clone(),
            receiver,
            versions: 1,
            stage: Stage::Connecting(now),
            ice: false,
            silent: false,
            consent: now,
            addresses: Vec::new(),
            nomination: None,
            answered: None,
            early: Vec::new(),
            handshake_datagrams: 0,
            trickled: 0,
            sources: Sources::new(now),
            control: None,
            channels: 0,
            loss_percent: 0,
            last_timeout: now,
            brisk_until: now,
            handshake_due: now,
            handshake_step: 0,
            deadline: now,
            fate: None,
            parts,
        }
    }

    /// Whose it is.
    pub fn participant(&self) -> ParticipantId {
        self.parts.participant
    }

    pub(super) fn ufrag(&self) -> &str {
        &self.parts.local.ufrag
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// When [`Peer::timeout`] wants to be called.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Why the peer has to be removed, if it has to.
    pub(super) fn fate(&self) -> Option<Reason> {
        self.fate
    }

    /// The thread has taken the peer over.
    pub(super) fn start(&mut self, now: Instant, key: usize, out: &mut Outbox) {
        self.stage = Stage::Connecting(now);
        self.consent = now;
        self.timeout(now, key, out);
    }

    /// Authenticates a check or an answer to one, before anything is done with it.
    pub(super) fn authenticate(
        &self,
        head: &StunHead<'_>,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Check {
        let password = match head.class {
            StunClass::Request => {
                let ours = self.parts.local.ufrag.as_bytes();
                if head.username != Some((ours, self.remote.ufrag.as_bytes())) {
                    return Check::Refused;
                }
                &self.parts.local.pwd
            }
            StunClass::Success => &self.remote.pwd,
            StunClass::Error => return Check::Refused,
        };
        if !stun::is_authentic(datagram, password, self.parts.crypto.crypto()) {
            Check::Refused
        } else if self.addresses.contains(&from) {
            Check::Known
        } else {
            Check::NewAddress
        }
    }

    /// Takes a new address in; says whether there was room.
    pub(super) fn add_address(&mut self, address: SocketAddr) -> bool {
        let room = self.addresses.len() < MAX_ADDRESSES;
        if room {
            self.addresses.push(address);
        }
        room
    }

    /// Another peer has authenticated from this address since.
    pub(super) fn remove_address(&mut self, address: SocketAddr) {
        self.addresses.retain(|known| *known != address);
    }

    /// An authenticated check or answer.
    pub(super) fn check(
        &mut self,
        head: &StunHead<'_>,
        from: SocketAddr,
        datagram: &[u8],
        turn: Turn<'_>,
    ) {
        let Turn { now, key, out } = turn;
        self.answered = None;
        self.read(now, from, datagram);
        self.drain(now, key, out);
        match head.class {
            StunClass::Request if head.nominates && self.answered != Some(head.transaction) => {
                // The core has not checked this pair itself, or controls: it said nothing.
                let password = &self.parts.local.pwd;
                let crypto = self.parts.crypto.crypto();
                if let Some(plain) = stun::without_nomination(datagram, password, crypto) {
                    self.read(now, from, &plain);
                }
                self.nomination = Some((from, datagram.to_vec()));
                self.drain(now, key, out);
            }
            StunClass::Success => {
                self.consent = now;
                if let Some((_, nomination)) =
                    self.nomination.take_if(|(nominated, _)| *nominated == from)
                {
                    self.read(now, from, &nomination);
                    self.drain(now, key, out);
                }
            }
            _ => {}
        }
    }

    /// DTLS from a validated address.
    pub(super) fn dtls(&mut self, from: SocketAddr, datagram: &[u8], turn: Turn<'_>) {
        let Turn { now, key, out } = turn;
        if is_hostile_dtls(datagram) {
            return self.dropped(Dropped::HostileDtls);
        }
        if self.stage != Stage::Up {
            if self.handshake_datagrams == MAX_HANDSHAKE_DATAGRAMS {
                return self.dropped(Dropped::Handshake);
            }
            self.handshake_datagrams += 1;
        }
        if !self.ice {
            if self.early.len() < MAX_EARLY_DATAGRAMS {
                self.early.push((from, BytesMut::from(datagram)));
            }
            return;
        }
        self.brisk_until = now + BRISK;
        self.read(now, from, datagram);
        self.drain(now, key, out);
        self.note_dtls_close();
    }

    /// RTP or RTCP from a validated address.
    ///
    /// RTP is through to the mixer when this returns; only RTCP can leave anything to be drained.
    pub(super) fn media(
        &mut self,
        from: SocketAddr,
        ssrc: u32,
        is_rtcp: bool,
        datagram: &[u8],
        turn: Turn<'_>,
    ) {
        let Turn { now, key, out } = turn;
        if self.stage != Stage::Up || !self.ice {
            return self.dropped(Dropped::Handshake);
        }
        if !self.sources.admit(ssrc, now) {
            return self.dropped(Dropped::Sources);
        }
        let authentic = &self.parts.shared.authentic_total;
        let before = authentic.load(Ordering::Relaxed);
        self.read(now, from, datagram);
        if self.parts.shared.authentic_total.load(Ordering::Relaxed) == before {
            return self.dropped(Dropped::Core);
        }
        if is_rtcp {
            self.note_loss(out);
            self.drain(now, key, out);
        }
    }

    /// A packet of the mixer's, for the client.
    pub(super) fn send(&mut self, packet: &OutPacket, turn: Turn<'_>) {
        let Turn { now, key, out } = turn;
        if self.stage != Stage::Up || !self.ice {
            return;
        }
        let packet = self.parts.sending.packet(packet);
        let stats = &self.parts.shared.stats;
        stats.sent_total.fetch_add(1, Ordering::Relaxed);
        stats
            .sent_bytes_total
            .fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
        // Past the core's sender, which checks per packet what is known to be right since the answer.
        self.write(now, RTCMessage::RtpPacket(String::new(), packet));
        self.flush(key, out);
    }

    /// Text for the data channel `control`, if there is one.
    pub(super) fn send_text(&mut self, text: String, turn: Turn<'_>) {
        let Turn { now, key, out } = turn;
        let channel = self.control.and_then(|id| self.parts.pc.data_channel(id));
        let Some(mut channel) = channel else {
            return;
        };
        let sent = channel.outstanding_bytes() + text.len() <= MAX_BUFFERED_BYTES
            && channel.send_text(now, text).is_ok();
        if !sent {
            self.dropped(Dropped::Message);
        }
        self.brisk_until = now + BRISK;
        self.drain(now, key, out);
    }

    /// Candidates that came after the offer.
    pub(super) fn trickle(&mut self, lines: &[String], turn: Turn<'_>) {
        let Turn { now, key, out } = turn;
        for candidate in remote_candidates(lines.iter().map(String::as_str)) {
            if self.trickled == MAX_TRICKLED {
                return self.dropped(Dropped::Addresses);
            }
            self.trickled += 1;
            let candidate = RTCIceCandidateInit {
                candidate,
                ..RTCIceCandidateInit::default()
            };
            if self.parts.pc.add_remote_candidate(candidate).is_err() {
                self.dropped(Dropped::Core);
            }
        }
        self.timeout(now, key, out);
    }

    /// Restarts ICE (RFC 8445, 9); says our new credentials, which are [`Peer::ufrag`] from now on.
    pub(super) fn restart(
        &mut self,
        restart: &Restart,
        turn: Turn<'_>,
    ) -> Result<Credentials, RestartError> {
        let Turn { now, key, out } = turn;
        let remote = Credentials::new(&restart.ufrag, &restart.pwd)
            .filter(|credentials| *credentials != self.remote)
            .ok_or(RestartError::Credentials)?;
        let candidates = remote_candidates(restart.candidates.iter().map(String::as_str));
        self.versions += 1;
        let offer = plain_offer(&self.parts.offer, &remote, &candidates, self.versions);
        let local = self.renegotiate(now, offer).ok_or(RestartError::Refused)?;
        self.remote = remote;
        self.parts.local = local.clone();
        self.ice = false;
        self.nomination = None;
        self.trickled = 0;
        self.timeout(now, key, out);
        Ok(local)
    }

    fn renegotiate(&mut self, now: Instant, offer: String) -> Option<Credentials> {
        let pc = &mut self.parts.pc;
        let offer = RTCSessionDescription::offer(offer).ok()?;
        pc.set_remote_description(now, offer).ok()?;
        let answer = pc.create_answer(None).ok()?;
        pc.set_local_description(now, answer).ok()?;
        credentials(&pc.local_description()?.sdp)
    }

    /// The deadline has come.
    pub(super) fn timeout(&mut self, now: Instant, key: usize, out: &mut Outbox) {
        self.last_timeout = now;
        if let Stage::Handshaking(_) = self.stage {
            self.handshake_due =
                now + HANDSHAKE_STEPS[self.handshake_step.min(HANDSHAKE_STEPS.len() - 1)];
            self.handshake_step += 1;
        }
        if self.parts.pc.handle_timeout(now).is_err() {
            self.dropped(Dropped::Core);
        }
        self.drain(now, key, out);
        match self.stage {
            Stage::Connecting(since) if now >= since + self.parts.connect_timeout => {
                self.end(Reason::NeverConnected);
            }
            Stage::Handshaking(since) if now >= since + self.parts.connect_timeout => {
                self.parts
                    .metrics
                    .dtls_failures_total
                    .fetch_add(1, Ordering::Relaxed);
                self.end(Reason::NeverConnected);
            }
            Stage::Up if now >= self.consent + self.parts.consent_timeout + CONSENT_GRACE => {
                self.end(Reason::ConsentLost);
            }
            _ => {}
        }
    }

    /// Says goodbye: RTCP BYE, SCTP ABORT, DTLS close.
    pub(super) fn close(&mut self, now: Instant, key: usize, out: &mut Outbox) {
        if self.stage == Stage::Up {
            let ssrc = self.parts.sending.ssrc();
            let report = ReceiverReport {
                ssrc,
                ..ReceiverReport::default()
            };
            let bye = Goodbye {
                sources: vec![ssrc],
                ..Goodbye::default()
            };
            let compound: Vec<Box<dyn rtcp::Packet>> = vec![
                Box::new(report),
                Box::new(canonical_name(ssrc, &self.parts.cname)),
                Box::new(bye),
            ];
            self.write(now, RTCMessage::RtcpPacket(String::new(), compound));
        }
        if self.parts.pc.close().is_err() {
            self.dropped(Dropped::Core);
        }
        self.flush(key, out);
    }

    fn read(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let message = TaggedBytesMut {
            now,
            transport: TransportContext {
                local_addr: self.parts.local_addresses.towards(from),
                peer_addr: from,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            },
            message: BytesMut::from(datagram),
        };
        if self.parts.pc.handle_read(message).is_err() {
            self.dropped(Dropped::Core);
        }
    }

    fn write(&mut self, now: Instant, message: RTCMessage) {
        if self
            .parts
            .pc
            .handle_write(TaggedRTCMessage { now, message })
            .is_err()
        {
            self.dropped(Dropped::Core);
        }
    }

    /// Everything the core has to say after it was given something; then the new deadline.
    fn drain(&mut self, now: Instant, key: usize, out: &mut Outbox) {
        while let Some(event) = self.parts.pc.poll_event() {
            self.on_event(event, now, key, out);
        }
        while self.parts.pc.poll_media_read().is_some() {}
        while let Some(message) = self.parts.pc.poll_data_read() {
            if let RTCMessage::DataChannelMessage(id, message) = message.message {
                self.on_message(id, message.is_string, &message.data, out);
            }
        }
        self.flush(key, out);
        self.deadline = self.next_deadline(now);
    }

    fn flush(&mut self, key: usize, out: &mut Outbox) {
        while let Some(datagram) = self.parts.pc.poll_write() {
            if datagram.message.first().is_some_and(|&first| first < 4)
                && let Some(head) = stun_head(&datagram.message)
            {
                match head.class {
                    StunClass::Request => out.checks.push((head.transaction, key)),
                    _ => self.answered = Some(head.transaction),
                }
            }
            out.datagrams
                .push_back((datagram.transport.peer_addr, datagram.message));
        }
    }

    fn on_event(
        &mut self,
        event: RTCPeerConnectionEvent,
        now: Instant,
        key: usize,
        out: &mut Outbox,
    ) {
        match event {
            RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => {
                self.on_ice(state, now, key, out)
            }
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(
                RTCPeerConnectionState::Connected,
            ) if self.stage != Stage::Up => {
                self.stage = Stage::Up;
                self.consent = now;
                self.brisk_until = now + BRISK;
                out.events
                    .push_back(RtcEvent::Connected(self.parts.participant));
            }
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) => {
                self.on_channel(id, out)
            }
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnClose(id))
                if self.control == Some(id) =>
            {
                self.control = None;
            }
            _ => {}
        }
    }

    fn on_ice(&mut self, state: RTCIceConnectionState, now: Instant, key: usize, out: &mut Outbox) {
        let participant = self.parts.participant;
        match state {
            RTCIceConnectionState::Connected | RTCIceConnectionState::Completed => {
                self.ice = true;
                // Our answer to the nomination first: the client takes no DTLS before it.
                self.flush(key, out);
                if std::mem::take(&mut self.silent) {
                    out.events.push_back(RtcEvent::Connected(participant));
                }
                if let Stage::Connecting(since) = self.stage {
                    self.stage = Stage::Handshaking(since);
                    // As DTLS client the first flight is ready, but the core sends it at the next deadline only.
                    self.timeout(now, key, out);
                }
                for (from, datagram) in std::mem::take(&mut self.early) {
                    self.read(now, from, &datagram);
                }
            }
            RTCIceConnectionState::Disconnected if self.stage == Stage::Up && !self.silent => {
                self.silent = true;
                out.events.push_back(RtcEvent::Disconnected(participant));
            }
            RTCIceConnectionState::Failed if self.stage == Stage::Up => {
                self.end(Reason::ConsentLost)
            }
            RTCIceConnectionState::Failed => self.end(Reason::NeverConnected),
            _ => {}
        }
    }

    fn on_channel(&mut self, id: RTCDataChannelId, out: &mut Outbox) {
        self.channels += 1;
        if self.channels > MAX_CHANNELS {
            return self.end(Reason::Fault);
        }
        let Some(mut channel) = self.parts.pc.data_channel(id) else {
            return;
        };
        if channel.label() == CONTROL && self.control.is_none() {
            self.control = Some(id);
            out.events
                .push_back(RtcEvent::ChannelOpen(self.parts.participant));
        } else if channel.close().is_err() {
            self.dropped(Dropped::Core);
        }
    }

    fn on_message(&mut self, id: RTCDataChannelId, is_string: bool, data: &[u8], out: &mut Outbox) {
        let text = (is_string && data.len() <= MAX_MESSAGE_BYTES && self.control == Some(id))
            .then(|| std::str::from_utf8(data).ok())
            .flatten();
        match text {
            Some(text) => out
                .events
                .push_back(RtcEvent::Text(self.parts.participant, text.to_owned())),
            None => self.dropped(Dropped::Message),
        }
    }

    fn note_loss(&mut self, out: &mut Outbox) {
        let percent = self.parts.shared.stats.loss_percent.load(Ordering::Relaxed);
        if percent != self.loss_percent {
            self.loss_percent = percent;
            out.events
                .push_back(RtcEvent::Loss(self.parts.participant, percent));
        }
    }

    /// The core closes its DTLS transport without an event of its own.
    fn note_dtls_close(&mut self) {
        let receiver = self.receiver.and_then(|id| self.parts.pc.rtp_receiver(id));
        let state = receiver.and_then(|receiver| Some(receiver.transport()?.state()));
        match state {
            Some(RTCDtlsTransportState::Closed) => self.end(Reason::Closed),
            Some(RTCDtlsTransportState::Failed) => self.end(Reason::NeverConnected),
            _ => {}
        }
    }

    fn next_deadline(&mut self, now: Instant) -> Instant {
        let core = self
            .parts
            .pc
            .poll_timeout()
            .unwrap_or(now + SETTLED_INTERVAL);
        let core = core.max(self.last_timeout + MIN_INTERVAL);
        match self.stage {
            Stage::Connecting(since) => core.min(since + self.parts.connect_timeout),
            // The core repeats its flight every second and gives up after seven times, when a slow client has not even
            // begun. Its clock is therefore read ever more rarely.
            Stage::Handshaking(since) => self.handshake_due.min(since + self.parts.connect_timeout),
            Stage::Up if !self.ice || now < self.brisk_until => core,
            // ICE asks for five calls a second even when it has nothing to do for four seconds.
            Stage::Up => core.max(self.last_timeout + SETTLED_INTERVAL),
        }
    }

    fn end(&mut self, reason: Reason) {
        self.fate.get_or_insert(reason);
    }

    fn dropped(&self, reason: Dropped) {
        self.parts.metrics.count(reason);
    }
}

/// The circumstances of a call: when, under which key the thread knows the peer, and where results go.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) key: usize,
    pub(super) out: &'a mut Outbox,
}

/// Longest message taken and sent on a data channel.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 * 1_024;

/// The one data channel that is listened to.
const CONTROL: &str = "control";

/// Data channels a client may ever open; those beside `control` are closed at once.
const MAX_CHANNELS: u32 = 16;

/// Text that waits for the client to take it; more is dropped.
const MAX_BUFFERED_BYTES: usize = 256 * 1_024;

/// Addresses a client may authenticate from: interfaces, families and NAT rebindings of one ICE session.
const MAX_ADDRESSES: usize = 32;

/// Candidates a client may trickle in one ICE session.
const MAX_TRICKLED: usize = 40;

/// DTLS datagrams kept until a pair is selected: a ClientHello, its repetitions, and a fragmented second flight.
const MAX_EARLY_DATAGRAMS: usize = 8;

/// DTLS datagrams of a handshake: two dozen with every flight fragmented and repeated, and as many again in reserve.
const MAX_HANDSHAKE_DATAGRAMS: u32 = 256;

/// How long the core's deadlines are kept to after something happened: SCTP and DTLS may have to repeat themselves.
const BRISK: Duration = Duration::from_secs(5);

/// How often a peer with nothing going on is looked at.
const SETTLED_INTERVAL: Duration = Duration::from_secs(1);

/// The core may name a deadline in the past; the thread must not spin on it.
const MIN_INTERVAL: Duration = Duration::from_millis(5);

/// Pauses between repetitions of a DTLS flight: seven of them reach past 20 s.
const HANDSHAKE_STEPS: [Duration; 5] = [
    Duration::from_millis(1_010),
    Duration::from_millis(1_010),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
];

/// Requests of the client's keep ICE going without consent; this is how much longer than its time-out.
const CONSENT_GRACE: Duration = Duration::from_secs(4);
