//! Tests of peers against a client with the same WebRTC core, without sockets and in virtual time.

use super::*;
use crate::rtc::accept::{AcceptOptions, Acceptor, credentials};
use crate::rtc::config::RtcConfig;
use crate::rtc::demux::stun_head;
use bytes::BytesMut;
use mixer::RtpTime;
use mixer::packet::{OutPacket, Payload, Sources};
use rtc::data_channel::RTCDataChannelId;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::sansio::Protocol as _;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use rtc::stun::textattrs::TextAttribute;

use self::handshake::Mishap;

mod addresses;
mod consent;
mod control;
mod handshake;
mod moving;
mod restart;

const ID: ParticipantId = ParticipantId(7);
const STEP: Duration = Duration::from_millis(10);

struct World {
    begin: Instant,
    now: Instant,
    acceptor: Acceptor,
    peers: Peers,
    client: RTCPeerConnection,
    /// Datagrams from the client that have not been delivered yet.
    held: Vec<Vec<u8>>,
    /// Whether the client's DTLS is held back once the server has sent its certificate.
    slow: bool,
    hold_dtls: bool,
    /// Whether no datagram passes in either direction, while the client's clock stands still.
    cut: bool,
    /// A network fault during the handshake.
    mishap: Option<Mishap>,
    /// Number of checks that the server sent.
    checks: usize,
    /// STUN messages that the server sent, with their destinations.
    stun: Vec<(SocketAddr, StunClass, [u8; 12])>,
    /// Credentials that sign checks: the client's, then the server's.
    credentials: [Credentials; 2],
}

impl World {
    fn new() -> World {
        World::with(|_| ())
    }

    /// Like `new`, but runs `prepare` on the client before it makes its offer.
    fn with(prepare: impl FnOnce(&mut RTCPeerConnection)) -> World {
        World::with_setup("actpass", prepare)
    }

    /// Like `with`, for a client whose offer has the DTLS role `setup`.
    fn with_setup(setup: &str, prepare: impl FnOnce(&mut RTCPeerConnection)) -> World {
        let now = Instant::now();
        let mut media = MediaEngine::default();
        media.register_default_codecs().expect("codecs");
        // The client sends no checks of its own: the server would answer each with a check.
        let settings = SettingEngineBuilder::new()
            .with_ice_timeouts(None, None, Some(Duration::ZERO))
            .build();
        let mut client = RTCPeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_media_engine(media)
            .build(now)
            .expect("client");
        client
            .add_transceiver_from_kind(RtpCodecKind::Audio, None)
            .expect("audio");
        let candidate = RTCIceCandidateInit {
            candidate: "1 1 udp 1 192.0.2.2 5000 typ host".to_owned(),
            ..RTCIceCandidateInit::default()
        };
        client.add_local_candidate(candidate).expect("candidate");
        prepare(&mut client);
        let offer = client.create_offer(None).expect("offer");
        client
            .set_local_description(now, offer.clone())
            .expect("offer is set");
        let theirs = credentials(&offer.sdp).expect("they are there");
        let metrics = Arc::new(RtcMetrics::default());
        let config = RtcConfig::new(server());
        let acceptor = Acceptor::new(config, server(), metrics.clone()).expect("acceptor");
        let setup = format!("a=setup:{setup}");
        let offered = offer.sdp.replace("a=setup:actpass", &setup);
        let accepted = acceptor
            .accept(&offered, ID, AcceptOptions::default())
            .expect("accepted");
        let ours = credentials(&accepted.answer).expect("they are there");
        let answer = RTCSessionDescription::answer(accepted.answer).expect("answer");
        client
            .set_remote_description(now, answer)
            .expect("answer is set");
        let mut peers = Peers::new(metrics);
        peers.start(accepted.peer, now);
        World {
            begin: now,
            now,
            acceptor,
            peers,
            client,
            held: Vec::new(),
            slow: false,
            hold_dtls: false,
            cut: false,
            mishap: None,
            checks: 0,
            stun: Vec::new(),
            credentials: [theirs, ours],
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    fn step(&mut self) {
        self.now += STEP;
        self.peers.serve_deadlines(self.now);
        for _ in 0..10 {
            self.deliver();
        }
        if !self.cut && self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            let _ = self.client.handle_timeout(self.now);
        }
    }

    fn deliver(&mut self) {
        for (to, datagram) in std::mem::take(&mut self.peers.out.datagrams).iter() {
            self.checks += usize::from(datagram[..2] == [0, 1]);
            let head = stun_head(datagram).filter(|_| datagram[0] < 4);
            self.stun
                .extend(head.map(|head| (to, head.class, head.transaction)));
            self.hold_dtls |= self.slow && datagram[0] == 22 && datagram.len() > 300;
            let lost = self
                .mishap
                .as_mut()
                .is_some_and(|it| it.loses(datagram, self.now));
            if !self.cut && !lost {
                let message = TaggedBytesMut {
                    now: self.now,
                    transport: TransportContext {
                        local_addr: client(),
                        peer_addr: server(),
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    },
                    message: BytesMut::from(datagram),
                };
                self.client.handle_read(message).expect("read");
            }
        }
        while let Some(event) = self.client.poll_event() {
            if let RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(_) = event {
                let _ = self.client.handle_timeout(self.now);
            }
        }
        while let Some(datagram) = self.client.poll_write() {
            let mut bytes = datagram.message.to_vec();
            if self.hold_dtls && (20..64).contains(&bytes[0]) {
                self.held.push(bytes);
                continue;
            }
            let lost = self
                .mishap
                .as_mut()
                .is_some_and(|it| it.loses(&bytes, self.now));
            if !self.cut && !lost {
                self.peers.dispatch(client(), &mut bytes, self.now);
            }
        }
        let repeated = self.mishap.as_mut().and_then(|it| it.repetition(self.now));
        if let Some(mut bytes) = repeated {
            self.peers.dispatch(client(), &mut bytes, self.now);
        }
    }

    /// Runs step by step until `event` comes; returns the elapsed time, `None` after `limit`.
    fn until(&mut self, event: &RtcEvent, limit: Duration) -> Option<Duration> {
        let end = self.now + limit;
        while self.now < end {
            self.step();
            let position = self
                .peers
                .out
                .events
                .iter()
                .position(|happened| happened == event);
            if let Some(position) = position {
                self.peers.out.events.drain(..=position);
                return Some(self.elapsed());
            }
        }
        None
    }
}

/// A client played by the test, which sends only checks and answers, from any address.
impl World {
    /// Returns a connected world in which the real client is cut off from the server.
    fn connected_and_cut() -> World {
        let mut world = World::new();
        world
            .until(&RtcEvent::Connected(ID), SECOND)
            .expect("connected");
        world.pass(6 * SECOND, None);
        world.cut = true;
        world
    }

    /// Sends a check from `from`; returns its transaction id.
    fn ask(&mut self, from: SocketAddr, nominates: bool) -> [u8; 12] {
        let [theirs, ours] = self.credentials.clone();
        let user = format!("{}:{}", ours.ufrag, theirs.ufrag);
        let transaction = TransactionId::new();
        let mut message = Message::new();
        message
            .build(&[
                Box::new(BINDING_REQUEST),
                Box::new(transaction),
                Box::new(TextAttribute::new(ATTR_USERNAME, user)),
            ])
            .expect("built");
        message.add(ATTR_PRIORITY, &[0x6e, 0, 0, 0xff]);
        message.add(ATTR_ICE_CONTROLLING, &[7; 8]);
        if nominates {
            message.add(ATTR_USE_CANDIDATE, &[]);
        }
        self.sign_and_send(from, message, &ours.pwd);
        transaction.0
    }

    /// Sends the answer to a check of the server from `from`.
    fn answer(&mut self, from: SocketAddr, transaction: [u8; 12]) {
        let mut message = Message::new();
        message
            .build(&[
                Box::new(BINDING_SUCCESS),
                Box::new(TransactionId(transaction)),
            ])
            .expect("built");
        let pwd = self.credentials[0].pwd.clone();
        self.sign_and_send(from, message, &pwd);
    }

    fn sign_and_send(&mut self, from: SocketAddr, mut message: Message, pwd: &str) {
        let provider = rtc::crypto::default_provider().expect("built in");
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(
            pwd.to_owned(),
            provider.crypto(),
        );
        integrity.add_to(&mut message).expect("signed");
        let now = self.now;
        self.peers.dispatch(from, &mut message.raw, now);
        self.deliver();
    }

    /// Runs for `time`; the test answers the server's checks of the address `at` from there.
    fn pass(&mut self, time: Duration, at: Option<SocketAddr>) {
        let end = self.now + time;
        while self.now < end {
            self.stun.clear();
            self.step();
            let asked = std::mem::take(&mut self.stun).into_iter();
            for (to, class, transaction) in asked {
                if class == StunClass::Request && Some(to) == at {
                    self.answer(to, transaction);
                }
            }
        }
        self.stun.clear();
    }

    /// Returns the destinations and transaction ids of the server's checks since the last call.
    fn asked(&mut self) -> Vec<(SocketAddr, [u8; 12])> {
        let sent = std::mem::take(&mut self.stun).into_iter();
        let checks = sent.filter(|(_, class, _)| *class == StunClass::Request);
        checks
            .map(|(to, _, transaction)| (to, transaction))
            .collect()
    }

    /// Returns the addresses to which the server sends media.
    fn media_to(&mut self) -> Vec<SocketAddr> {
        let packet = packet();
        self.peers.out.datagrams.clear();
        let now = self.now;
        self.peers.send(&[ID], &packet, now);
        let sent = std::mem::take(&mut self.peers.out.datagrams);
        sent.iter().map(|(to, _)| to).collect()
    }
}

fn packet() -> OutPacket {
    OutPacket {
        time: RtpTime(0),
        marker: true,
        sources: Sources::default(),
        payload: Payload::copy_from(&[0xf8; 40]).expect("fits"),
    }
}

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 6_000))
}

fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7_882))
}

fn client() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 5_000))
}

const SECOND: Duration = Duration::from_secs(1);

/// Returns a connected world whose client has opened the data channel `control`.
fn world_with_control() -> (World, RTCDataChannelId) {
    let mut control = None;
    let mut world = World::with(|client| {
        let channel = client.create_data_channel("control", None);
        control = Some(channel.expect("made").id());
    });
    let open = world.until(&RtcEvent::ChannelOpen(ID), 5 * SECOND);
    assert!(open.is_some());
    (world, control.expect("made"))
}
