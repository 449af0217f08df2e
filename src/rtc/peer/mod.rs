//! One client's connection: the WebRTC core's peer connection, and the rules around it.
//!
//! The network thread calls in with a datagram, a packet, a command or a deadline, each with the
//! time. The results (datagrams, events, a new deadline, the peer's end) are left in the
//! [`TurnOutput`] and in the peer. The peer owns no socket and reads no clock.

mod channel;
mod connection;
mod handshake;
mod ice;
mod lifecycle;
mod media;
mod path_migration;
mod restart;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mixer::ParticipantId;
use rtc::crypto::{RTCCryptoProvider, SecretVec};
use rtc::data_channel::RTCDataChannelId;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtp_transceiver::RTCRtpReceiverId;
use rtc::rtp_transceiver::rtp_receiver::RTCRtpReceiver;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::candidates::LocalAddresses;
use super::control::NewSession;
use super::demux::{StunClass, is_hostile_dtls, stun_head};
use super::handle::Reason;
use super::metrics::{Dropped, RtcMetrics};
use super::negotiator::Reply;
use super::routes::Asked;
use super::rtcp_interceptor::RtcpState;
use super::rtcp_reports::RtcpReports;
use super::rtp_receiver::RtpReceiver;
use super::rtp_sender::RtpSender;
use super::sdp::{Credentials, Offer};
use super::srtp::key_capture::KeyMaterial;
use super::ssrc_limiter::SsrcLimiter;
use super::turn_output::TurnOutput;

use crate::rate_limit::{Rate, RateLimit};
pub(super) use channel::MAX_SENT_BYTES;
pub(super) use connection::Core;
use connection::CoreInput;
use handshake::Handshake;
pub(super) use ice::Check;
use ice::{MAX_ADDRESSES, MOVE_INTERVAL};
use path_migration::PathMigration;
use restart::{
    CANDIDATE_INTERVAL, CANDIDATES_AT_ONCE, FormerSession, RESTART_INTERVAL, RESTARTS_AT_ONCE,
};

/// A client's connection, made by [`RtcHandle::accept`](super::RtcHandle::accept).
pub struct Peer {
    parts: PeerParts,
    remote: Credentials,
    /// Id of the receiver of the only transceiver, through which the state of DTLS can be read.
    receiver: Option<RTCRtpReceiverId>,
    versions: u32,

    stage: Stage,
    /// Whether a pair of the present ICE session is selected.
    ice: bool,
    /// The previous ICE session, kept until the present one has selected a pair.
    former: Option<FormerSession>,
    /// ICE restarts that wait until the negotiator has finished an earlier one.
    restarts_to_come: VecDeque<(NewSession, Reply)>,
    /// User fragments of ended ICE sessions, until they are removed from the routes.
    retired: Vec<String>,
    /// Whether the client has been silent long enough to be reported as disconnected.
    silent: bool,
    path: PathMigration,
    /// When the client last answered a check from the address that media goes to.
    consent: Instant,
    /// Addresses from which the client has authenticated, oldest first.
    addresses: Vec<SocketAddr>,
    /// Addresses that other clients use, from which checks of this client came.
    claims: Vec<SocketAddr>,
    /// A nomination by the client, with its source address, that waits until our own check of that
    /// address succeeds.
    nomination: Option<(SocketAddr, Vec<u8>)>,
    /// Transaction id of the last check that the core answered.
    answered: Option<[u8; 12]>,
    /// DTLS datagrams that came before a pair was selected, or while the negotiator had the core.
    early: Vec<(SocketAddr, BytesMut)>,
    handshake: Handshake,
    /// Rate limiter of the client's candidates.
    candidates: RateLimit,
    /// Rate limiter of ICE restarts.
    restarts: RateLimit,
    /// Rate limiter of the client's connectivity checks.
    checks: RateLimit,
    /// Rate limiter of messages on the data channel.
    texts: RateLimit,
    /// Decides which floor releases are admitted beyond the message rate limit.
    releases: channel::Releases,
    /// Rate limiter of the client's new addresses.
    moves: RateLimit,
    sources: SsrcLimiter,
    reports: RtcpReports,

    control: Option<RTCDataChannelId>,
    /// Memory, in bytes, that the core keeps for the data channels that the client has opened so
    /// far.
    channel_bytes: usize,
    /// The loss that was last reported as an event, in percent, and when.
    loss_percent: u8,
    loss_told: Instant,
    /// Rate limiter of the client's RTCP packets.
    control_packets: RateLimit,
    /// The SRTP keying material in use, for both directions.
    keys: Option<SecretVec>,

    last_timeout: Instant,
    /// When the core should send its next check of the path.
    check_due: Instant,
    /// When a check of a settled path was last sent, and how many checks were left out so far.
    checked: Instant,
    needless: usize,
    /// Until this time the deadlines of the core are followed, because SCTP or DTLS may have work
    /// to do.
    brisk_until: Instant,
    deadline: Instant,
    fate: Option<Reason>,
}

/// The parts from which a peer is built.
pub(super) struct PeerParts {
    pub(super) participant: ParticipantId,
    pub(super) core: Core,
    pub(super) local: Credentials,
    pub(super) local_addresses: LocalAddresses,
    pub(super) sending: RtpSender,
    pub(super) receiving: RtpReceiver,
    /// Where the SRTP keying material of the DTLS handshake is captured.
    pub(super) material: Arc<KeyMaterial>,
    pub(super) cname: String,
    pub(super) shared: Arc<RtcpState>,
    pub(super) crypto: Arc<dyn RTCCryptoProvider>,
    pub(super) metrics: Arc<RtcMetrics>,
    pub(super) check_interval: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) disconnected_after: Duration,
    pub(super) consent_timeout: Duration,
    pub(super) offer: Offer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// ICE has not found a path yet; the peer was built, or started, at this time.
    Connecting(Instant),
    /// ICE has found a path and DTLS is in progress; the peer was started at this time.
    Handshaking(Instant),
    /// DTLS is complete and media can flow.
    Up,
}

impl Peer {
    /// Builds a peer that has not been started.
    pub(super) fn new(now: Instant, mut parts: PeerParts) -> Peer {
        let connection = parts.core.connection();
        let receiver = connection.and_then(|connection| connection.get_receivers().next());
        let limit = |burst, interval| RateLimit::new(Rate { burst, interval });
        let mut candidates = limit(CANDIDATES_AT_ONCE, CANDIDATE_INTERVAL);
        for _ in &parts.offer.candidates {
            candidates.passes(now);
        }
        Peer {
            remote: parts.offer.credentials.clone(),
            receiver,
            versions: 1,
            stage: Stage::Connecting(now),
            ice: false,
            former: None,
            restarts_to_come: VecDeque::new(),
            retired: Vec::new(),
            silent: false,
            path: PathMigration::default(),
            consent: now,
            addresses: Vec::new(),
            claims: Vec::new(),
            nomination: None,
            answered: None,
            early: Vec::new(),
            handshake: Handshake::new(!parts.offer.setup.server_starts(), now),
            candidates,
            restarts: limit(RESTARTS_AT_ONCE, RESTART_INTERVAL),
            checks: limit(CHECKS_AT_ONCE, CHECK_INTERVAL),
            texts: limit(TEXTS_AT_ONCE, TEXT_INTERVAL),
            releases: channel::Releases::default(),
            moves: limit(MAX_ADDRESSES, MOVE_INTERVAL),
            sources: SsrcLimiter::new(),
            reports: RtcpReports::new(now),
            control: None,
            channel_bytes: 0,
            loss_percent: 0,
            loss_told: now.checked_sub(Duration::from_secs(1)).unwrap_or(now),
            control_packets: limit(CONTROL_PACKETS_AT_ONCE, CONTROL_PACKET_INTERVAL),
            keys: None,
            last_timeout: now,
            check_due: now,
            checked: now,
            needless: 0,
            brisk_until: now,
            deadline: now,
            fate: None,
            parts,
        }
    }

    /// The participant that this peer belongs to.
    pub fn participant(&self) -> ParticipantId {
        self.parts.participant
    }

    /// Our ICE user fragment in the present ICE session.
    pub(super) fn ufrag(&self) -> &str {
        &self.parts.local.ufrag
    }

    /// The addresses from which the client has sent a check or answer with valid ICE credentials.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// When [`Peer::timeout`] should be called next.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Why the peer has to be removed; `None` as long as it should stay.
    pub(super) fn fate(&self) -> Option<Reason> {
        self.fate
    }

    /// Processes a DTLS datagram from a validated address; it waits if the core cannot take it yet.
    pub(super) fn dtls(&mut self, from: SocketAddr, datagram: &[u8], turn: &mut Turn<'_>) {
        if is_hostile_dtls(datagram) {
            return self.dropped(Dropped::HostileDtls);
        }
        if self.stage != Stage::Up && !self.handshake.has_room() {
            return self.dropped(Dropped::Handshake);
        }
        if !self.ice || self.parts.core.is_away() {
            if self.early.len() < MAX_EARLY_DATAGRAMS {
                self.early.push((from, BytesMut::from(datagram)));
            }
            return;
        }
        self.brisk_until = turn.now + BRISK;
        self.read_dtls(self.path.inward(from), datagram, turn.now);
        self.drain(turn);
        self.note_dtls(turn);
    }

    /// Gives a DTLS datagram to the core, unless [`Handshake`] says that it must be withheld.
    fn read_dtls(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        if self.stage == Stage::Up {
            if !self.handshake.withholds_when_up(datagram) {
                self.read(from, datagram, now);
            }
        } else if !self.handshake.withholds(datagram) {
            let told = self.handshake.given(datagram, now);
            self.read(from, datagram, told);
        }
    }

    /// Passes a received datagram to the core.
    fn read(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
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
        self.with_core(|core| core.handle_read(message));
    }

    /// Passes a message, such as an RTCP report, to the core, which encrypts and sends it.
    fn write(&mut self, message: RTCMessage, now: Instant) {
        let message = TaggedRTCMessage { now, message };
        self.with_core(|core| core.handle_write(message));
    }

    /// Runs `act` on the core; counts a drop if `act` fails or the negotiator has the core.
    fn with_core<E>(&mut self, act: impl FnOnce(&mut RTCPeerConnection) -> Result<(), E>) {
        let done = self.parts.core.connection().map(act);
        if done.is_none_or(|done| done.is_err()) {
            self.dropped(Dropped::Core);
        }
    }

    /// Gives the core an input; if the negotiator has the core, the input waits.
    fn give(&mut self, given: CoreInput) {
        if self.parts.core.give(given).is_err() {
            self.dropped(Dropped::Core);
        }
    }

    /// Collects all output of the core after an input, and sets the peer's new deadline.
    fn drain(&mut self, turn: &mut Turn<'_>) {
        while let Some(event) = self.poll(Protocol::poll_event) {
            self.on_event(event, turn);
        }
        while self.poll(RTCPeerConnection::poll_media_read).is_some() {}
        while let Some(message) = self.poll(RTCPeerConnection::poll_data_read) {
            if let RTCMessage::DataChannelMessage(id, message) = message.message {
                self.on_message(id, message.is_string, &message.data, turn);
            }
        }
        self.flush(turn);
        self.deadline = self.next_deadline(turn.now);
    }

    /// Collects the datagrams that the core wants to send, and notes the checks and answers among
    /// them.
    fn flush(&mut self, turn: &mut Turn<'_>) {
        while let Some(datagram) = self.poll(Protocol::poll_write) {
            let addressed = datagram.transport.peer_addr;
            if datagram.message.first().is_some_and(|&first| first >= 4) {
                self.path.select(addressed);
                self.handshake.sent(&datagram.message, turn.now);
            }
            let mut to = self.path.outward(addressed);
            if let Some(head) = stun_head(&datagram.message) {
                if head.class != StunClass::Request {
                    to = addressed;
                    self.answered = Some(head.transaction);
                } else if self.path.calls_back(addressed) {
                    to = addressed;
                    turn.expect(head.transaction, to);
                } else if self.is_needless(addressed, turn) {
                    continue;
                } else {
                    turn.expect(head.transaction, to);
                }
            }
            turn.out.datagrams.push(to, &datagram.message);
        }
    }

    /// Polls the core with `next`; `None` while the negotiator has the core.
    fn poll<T>(&mut self, next: impl FnOnce(&mut RTCPeerConnection) -> Option<T>) -> Option<T> {
        self.parts.core.connection().and_then(next)
    }

    /// The receiver of the only transceiver; `None` while the negotiator has the core.
    fn receiver(&mut self) -> Option<RTCRtpReceiver<'_>> {
        let id = self.receiver?;
        self.parts.core.connection()?.rtp_receiver(id)
    }

    /// Whether a check of a settled path can be left out, because it follows another too closely to
    /// tell anything new. The core answers each check of the client with a check of its own.
    fn is_needless(&mut self, to: SocketAddr, turn: &Turn<'_>) -> bool {
        let settled = self.stage == Stage::Up && self.ice && turn.now >= self.brisk_until;
        if !settled || !self.path.is_selected(to) {
            return false;
        }
        let is_needless = turn.now < self.checked + CHECK_SPACING;
        if is_needless {
            self.needless += 1;
        } else {
            self.checked = turn.now;
        }
        is_needless
    }

    fn on_event(&mut self, event: RTCPeerConnectionEvent, turn: &mut Turn<'_>) {
        match event {
            RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => {
                self.on_ice(state, turn)
            }
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(
                RTCPeerConnectionState::Connected,
            ) => self.come_up(turn),
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) => {
                self.on_channel(id, turn)
            }
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnClose(id))
                if self.control == Some(id) =>
            {
                self.control = None;
            }
            _ => {}
        }
    }

    /// Polls the state of DTLS. The core has no event for the end of DTLS, and none for its
    /// completion while ICE is silent.
    fn note_dtls(&mut self, turn: &mut Turn<'_>) {
        let state = self
            .receiver()
            .and_then(|receiver| Some(receiver.transport()?.state()));
        match state {
            Some(RTCDtlsTransportState::Connected) => self.come_up(turn),
            Some(RTCDtlsTransportState::Closed) => self.end(Reason::Closed),
            Some(RTCDtlsTransportState::Failed) => self.end(Reason::NeverConnected),
            _ => {}
        }
    }

    fn end(&mut self, reason: Reason) {
        self.fate.get_or_insert(reason);
    }

    fn dropped(&self, reason: Dropped) {
        self.parts.metrics.count(reason);
    }
}

/// The context of one call of a peer: the time, the peer's key in the table, and where its output
/// goes.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) key: usize,
    pub(super) out: &'a mut TurnOutput,
}

impl Turn<'_> {
    /// Notes that a check was sent, so that the answer from `to` will be routed to this peer.
    fn expect(&mut self, transaction: [u8; 12], to: SocketAddr) {
        let key = self.key;
        self.out.checks.push((transaction, Asked { key, to }));
    }
}

/// Most DTLS datagrams kept until the core can take them: a ClientHello, its repetitions, and a
/// fragmented second flight.
const MAX_EARLY_DATAGRAMS: usize = 8;

/// How long after an event the deadlines of the core are followed: SCTP and DTLS may have to repeat
/// datagrams.
const BRISK: Duration = Duration::from_secs(5);

/// Shortest time between checks of a settled path: half the consent interval (RFC 7675, section
/// 5.1). If checks were left out for longer, a client could wait twice that interval, and the
/// smallest clients hang up after 10 s without a check.
const CHECK_SPACING: Duration = Duration::from_millis(2_500);

/// Number of connectivity checks that a client may send at once, and the interval at which one more
/// is allowed: several times ICE's own pace (RFC 8445, section 14). The core's work grows with the
/// number of checks in the last four seconds.
const CHECKS_AT_ONCE: u32 = 200;
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Number of a client's RTCP packets that are decrypted at once, and the interval at which one more
/// is: 50 a second. Clients send one every few seconds, and a few in a row when they begin and end.
const CONTROL_PACKETS_AT_ONCE: u32 = 50;
const CONTROL_PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// Number of a client's data-channel messages that are passed on at once, and the interval at which
/// one more is: twice the conference's own limit, so that the conference can warn the client. The
/// limit protects the ring to the conference, which all clients share.
const TEXTS_AT_ONCE: u32 = 40;
const TEXT_INTERVAL: Duration = Duration::from_millis(50);
