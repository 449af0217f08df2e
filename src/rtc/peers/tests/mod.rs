//! Peers against a client of the same core, without sockets and in virtual time.

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
mod handshake;
mod restart;

const ID: ParticipantId = ParticipantId(7);
const STEP: Duration = Duration::from_millis(10);

struct World {
    begin: Instant,
    now: Instant,
    acceptor: Acceptor,
    peers: Peers,
    client: RTCPeerConnection,
    /// Datagrams from the client that are kept back.
    held: Vec<Vec<u8>>,
    /// The client's DTLS is kept back from the server's certificate on.
    slow: bool,
    hold_dtls: bool,
    /// Nothing passes in either direction, and the client's clock stands still.
    cut: bool,
    /// A loss in the handshake, and a flight that is repeated.
    mishap: Option<Mishap>,
    /// Checks that the server sent.
    checks: usize,
    /// STUN that the server sent, and where to.
    stun: Vec<(SocketAddr, StunClass, [u8; 12])>,
    /// What checks are signed with: the client's, the server's.
    credentials: [Credentials; 2],
}

impl World {
    fn new() -> World {
        World::with(|_| ())
    }

    /// The same, but before the client offers it does something else.
    fn with(prepare: impl FnOnce(&mut RTCPeerConnection)) -> World {
        World::with_setup("actpass", prepare)
    }

    /// The same, with a client that says who starts DTLS.
    fn with_setup(setup: &str, prepare: impl FnOnce(&mut RTCPeerConnection)) -> World {
        let now = Instant::now();
        let mut media = MediaEngine::default();
        media.register_default_codecs().expect("codecs");
        // Without checks of its own: each would have the server check back.
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

    /// Steps until `event` comes; says when.
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

/// A client that is nothing but its checks and answers, from wherever it likes.
impl World {
    /// The client of the core is still there, but nothing reaches it any more.
    fn connected_and_cut() -> World {
        let mut world = World::new();
        world
            .until(&RtcEvent::Connected(ID), SECOND)
            .expect("connected");
        world.pass(6 * SECOND, None);
        world.cut = true;
        world
    }

    /// Sends a check.
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

    /// Answers a check.
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

    /// Lets time pass; what is asked `at` one address is answered from there.
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

    /// Where checks went since that was last asked.
    fn asked(&mut self) -> Vec<(SocketAddr, [u8; 12])> {
        let sent = std::mem::take(&mut self.stun).into_iter();
        let checks = sent.filter(|(_, class, _)| *class == StunClass::Request);
        checks
            .map(|(to, _, transaction)| (to, transaction))
            .collect()
    }

    /// Where media goes.
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

#[test]
fn checks_go_out_every_few_seconds_and_their_end_is_noticed() {
    let mut world = World::new();
    let connected = world
        .until(&RtcEvent::Connected(ID), SECOND)
        .expect("connected");
    assert!(connected <= 3 * STEP, "{connected:?}");
    let begin = world.now;
    world.checks = 0;
    while world.now < begin + 60 * SECOND {
        world.step();
    }
    assert!(
        (10..=15).contains(&world.checks),
        "{} checks in a minute",
        world.checks
    );
    assert!(
        world.peers.out.events.is_empty(),
        "{:?}",
        world.peers.out.events
    );
    world.cut = true;
    let cut = world.elapsed();
    let silent = world
        .until(&RtcEvent::Disconnected(ID), 60 * SECOND)
        .expect("noticed")
        - cut;
    assert!((5 * SECOND..=12 * SECOND).contains(&silent), "{silent:?}");
    let gone = world
        .until(&RtcEvent::Gone(ID, Reason::ConsentLost), 60 * SECOND)
        .expect("noticed")
        - cut;
    assert!((20 * SECOND..=28 * SECOND).contains(&gone), "{gone:?}");
    assert!(world.peers.participants().is_empty());
    assert_eq!(world.peers.routes.peer_at(client()), None);
}

#[test]
fn nothing_is_sent_before_there_are_keys() {
    let mut world = World::new();
    let packet = packet();
    let rtp = |world: &mut World| {
        world.peers.out.datagrams.clear();
        let strangers = [ParticipantId(8), ID, ParticipantId(9)];
        let now = world.now;
        world.peers.send(&strangers, &packet, now);
        let waiting = world.peers.out.datagrams.iter();
        waiting.map(|(to, _)| to).collect::<Vec<SocketAddr>>()
    };
    world.slow = true;
    while !world.hold_dtls {
        assert!(rtp(&mut world).is_empty(), "DTLS is not up");
        world.step();
    }
    assert!(rtp(&mut world).is_empty(), "nor is it now");
    (world.slow, world.hold_dtls) = (false, false);
    for mut datagram in std::mem::take(&mut world.held) {
        let now = world.now;
        world.peers.dispatch(client(), &mut datagram, now);
    }
    world
        .until(&RtcEvent::Connected(ID), 5 * SECOND)
        .expect("connected");
    assert_eq!(rtp(&mut world), [client()], "to where its path leads");
}

#[test]
fn an_answer_in_a_strangers_name_moves_nothing_there() {
    let mut world = World::connected_and_cut();
    world.pass(8 * SECOND, None);
    for _ in 0..12 * 100 {
        world.step();
        for (_, transaction) in world.asked() {
            world.answer(elsewhere(), transaction);
        }
    }
    assert_eq!(world.media_to(), [client()]);
    assert_eq!(world.peers.routes.peer_at(elsewhere()), None);
    let gone = world.until(&RtcEvent::Gone(ID, Reason::ConsentLost), 10 * SECOND);
    assert!(gone.is_some(), "nor is it consent");
}

#[test]
fn a_client_that_moves_is_followed_and_followed_back() {
    for nominates in [false, true] {
        let mut world = World::connected_and_cut();
        world.pass(8 * SECOND, None);
        world.ask(elsewhere(), nominates);
        let checks = world.asked();
        assert!(!checks.is_empty() && checks.iter().all(|(to, _)| *to == elsewhere()));
        world.answer(elsewhere(), checks[0].1);
        assert_eq!(world.media_to(), [elsewhere()]);
        world.pass(12 * SECOND, Some(elsewhere()));

        // Where it was it is answered and asked; but as long as it is heard where it is, it stays there.
        let transaction = world.ask(client(), nominates);
        let answer = (client(), StunClass::Success, transaction);
        assert!(world.stun.contains(&answer), "{:?}", world.stun);
        let checks = world.asked();
        assert!(
            matches!(checks[..], [(to, _)] if to == client()),
            "{checks:?}"
        );
        world.answer(client(), checks[0].1);
        assert_eq!(world.media_to(), [elsewhere()]);
        world.pass(6 * SECOND, Some(elsewhere()));

        world.pass(8 * SECOND, None);
        world.ask(client(), nominates);
        let checks = world.asked();
        world.answer(client(), checks[0].1);
        assert_eq!(world.media_to(), [client()]);
        // And it is there for good: what is asked of it there keeps it connected.
        world.pass(40 * SECOND, Some(client()));
        assert_eq!(world.media_to(), [client()]);
    }
}

#[test]
fn a_client_on_the_move_always_gets_one_more_address() {
    let mut world = World::new();
    world
        .until(&RtcEvent::Connected(ID), SECOND)
        .expect("connected");
    let mut now = world.now;
    let peer = &mut world.peers.entries[0].peer;
    let address = |port| SocketAddr::from(([198, 51, 100, 7], port));
    let at_once = (1..=100).filter(|&port| peer.add_address(address(port), now));
    assert_eq!(at_once.count(), 31, "beside the one it came from");
    assert_eq!(peer.drop_oldest_address(), None);
    for port in 1_001..=1_100 {
        now += 11 * SECOND;
        assert!(peer.add_address(address(port), now));
        let dropped = peer.drop_oldest_address().expect("there is one too many");
        assert_ne!(dropped, client(), "media goes there");
        assert_eq!(peer.addresses().len(), 32);
    }
    assert!(peer.addresses().contains(&client()));
    assert!(peer.addresses().contains(&address(1_100)));
}

/// A connected client with its data channel `control` open.
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

#[test]
fn no_client_s_messages_fill_the_link_that_is_everybody_s() {
    let (mut world, control) = world_with_control();
    let now = world.now;
    let mut channel = world.client.data_channel(control);
    for _ in 0..300 {
        let channel = channel.as_mut().expect("it is open");
        channel.send_text(now, "hello").expect("sent");
    }
    for _ in 0..50 {
        world.step();
    }
    let events = std::mem::take(&mut world.peers.out.events);
    let texts = events.iter().filter(|it| matches!(it, RtcEvent::Text(..)));
    // So many at once, and some while they arrive.
    assert!((40..=50).contains(&texts.count()));
    assert!(world.peers.metrics.dropped_total(Dropped::Message) >= 250);
}

#[test]
fn a_silence_may_end() {
    let mut world = World::new();
    world
        .until(&RtcEvent::Connected(ID), SECOND)
        .expect("connected");
    world.cut = true;
    world
        .until(&RtcEvent::Disconnected(ID), 15 * SECOND)
        .expect("noticed");
    world.cut = false;
    world
        .until(&RtcEvent::Connected(ID), 10 * SECOND)
        .expect("back");
}
