//! A client for the tests of the transport: the server's sans-I/O core, with a socket of its own.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::configure_rtcp_reports;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_OPUS, MIME_TYPE_PCMU, MediaEngine,
};
use rtc::peer_connection::configuration::setting_engine::{SettingEngine, SettingEngineBuilder};
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};

pub const SSRC_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub const CSRC_LEVEL: &str = "urn:ietf:params:rtp-hdrext:csrc-audio-level";

pub struct Client {
    pub pc: RTCPeerConnection,
    pub socket: UdpSocket,
    pub address: SocketAddr,
    pub server: Option<SocketAddr>,
    pub connected: bool,
    pub channel: Option<usize>,
    pub packets: Vec<rtc::rtp::Packet>,
    pub texts: Vec<String>,
    pub ssrc: u32,
    seq: u16,
    /// While set, every datagram in either direction is dropped.
    pub mute: bool,
    /// How often each datagram is repeated.
    pub replay: usize,
    /// While set, RTP datagrams are kept here instead of being sent.
    pub kept: Option<Vec<Vec<u8>>>,
    /// State of the generator of random damage. If set, a damaged copy is sent before each
    /// datagram.
    pub damage: Option<u64>,
    pub closed: bool,
    /// Every datagram that arrived.
    pub wire: Vec<Came>,
    /// How long the client holds back each DTLS datagram, as if computing it took that long.
    pub dtls_delay: Duration,
    held: VecDeque<(Instant, SocketAddr, BytesMut)>,
    /// The payload type with which the client sends.
    pub payload_type: u8,
}

/// A datagram that arrived: when, of which kind, and its size.
#[derive(Debug, Clone, Copy)]
pub struct Came {
    pub at: Instant,
    pub kind: Kind,
    pub bytes: usize,
}

/// The protocol of a datagram (RFC 7983; RFC 5761, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

impl Came {
    fn read(at: Instant, datagram: &[u8]) -> Came {
        let kind = match datagram {
            [0..=3, ..] => Kind::Stun,
            [20..=63, ..] => Kind::Dtls,
            [_, 192..=223, ..] => Kind::Rtcp,
            _ => Kind::Rtp,
        };
        Came {
            at,
            kind,
            bytes: datagram.len(),
        }
    }
}

impl Client {
    pub fn new(ssrc: u32, data: bool) -> Client {
        Client::with(ssrc, data, opus(), SettingEngineBuilder::new().build())
    }

    /// Returns a client that checks its path as rarely as consent allows.
    pub fn sparse(ssrc: u32) -> Client {
        let seconds = Duration::from_secs;
        let settings = SettingEngineBuilder::new().with_ice_timeouts(
            Some(seconds(10)),
            Some(seconds(25)),
            Some(seconds(5)),
        );
        Client::with(ssrc, false, opus(), settings.build())
    }

    /// Returns a client that only answers connectivity checks (ICE lite).
    pub fn lite(ssrc: u32) -> Client {
        let settings = SettingEngineBuilder::new().with_lite(true);
        Client::with(ssrc, false, opus(), settings.build())
    }

    /// Returns a client that supports only G.711, mu-law.
    pub fn telephone(ssrc: u32) -> Client {
        let pcmu = RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: MIME_TYPE_PCMU.to_owned(),
                clock_rate: 8_000,
                ..RTCRtpCodec::default()
            },
            payload_type: 0,
        };
        Client::with(ssrc, false, pcmu, SettingEngineBuilder::new().build())
    }

    fn with(
        ssrc: u32,
        data: bool,
        codec: RTCRtpCodecParameters,
        settings: SettingEngine,
    ) -> Client {
        let now = Instant::now();
        let mut media = MediaEngine::default();
        media
            .register_codec(codec.clone(), RtpCodecKind::Audio)
            .expect("codec");
        for uri in [SSRC_LEVEL, CSRC_LEVEL] {
            let extension = RTCRtpHeaderExtensionCapability {
                uri: uri.to_owned(),
            };
            media
                .register_header_extension(extension, RtpCodecKind::Audio, None)
                .expect("extension");
        }
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_media_engine(media)
            .with_interceptor_registry(configure_rtcp_reports(Default::default()))
            .build(now)
            .expect("connection");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
        socket.set_nonblocking(true).expect("nonblocking");
        let address = socket.local_addr().expect("bound");
        pc.add_track(track(ssrc, codec.rtp_codec)).expect("track");
        if data {
            pc.create_data_channel("control", None).expect("channel");
        }
        let candidate = format!(
            "candidate:1 1 udp 2130706431 127.0.0.1 {} typ host",
            address.port()
        );
        pc.add_local_candidate(RTCIceCandidateInit {
            candidate,
            ..Default::default()
        })
        .expect("candidate");
        Client {
            pc,
            socket,
            address,
            server: None,
            connected: false,
            channel: None,
            packets: Vec::new(),
            texts: Vec::new(),
            ssrc,
            seq: 65_500,
            mute: false,
            replay: 0,
            kept: None,
            damage: None,
            closed: false,
            wire: Vec::new(),
            dtls_delay: Duration::ZERO,
            held: VecDeque::new(),
            payload_type: codec.payload_type,
        }
    }

    pub fn offer(&mut self) -> String {
        let offer = self.pc.create_offer(None).expect("offer");
        self.pc
            .set_local_description(Instant::now(), offer.clone())
            .expect("local description");
        offer.sdp
    }

    pub fn answer(&mut self, sdp: &str) {
        let candidate = sdp
            .lines()
            .find(|line| line.starts_with("a=candidate:"))
            .expect("candidate");
        let words: Vec<&str> = candidate.split(' ').collect();
        self.server = Some(
            format!("{}:{}", words[4], words[5])
                .parse()
                .expect("address"),
        );
        let answer = RTCSessionDescription::answer(sdp.to_owned()).expect("answer parses");
        self.pc
            .set_remote_description(Instant::now(), answer)
            .expect("answer is taken");
    }

    /// Runs the client until `done`, or for `limit`; returns whether `done` was reached.
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Client) -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            self.turn();
            if done(self) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    pub fn turn(&mut self) {
        let now = Instant::now();
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            if self.mute {
                continue;
            }
            self.wire.push(Came::read(now, &buffer[..length]));
            let message = TaggedBytesMut {
                now,
                transport: TransportContext {
                    local_addr: self.address,
                    peer_addr: from,
                    transport_protocol: TransportProtocol::UDP,
                    ecn: None,
                },
                message: BytesMut::from(&buffer[..length]),
            };
            self.pc.handle_read(message).expect("read");
            self.drain();
        }
        if self.pc.poll_timeout().is_some_and(|at| at <= now) {
            let _ = self.pc.handle_timeout(now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.pc.poll_event() {
            match event {
                // As a DTLS client the core sends its first flight when its timeout is handled.
                RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(_) => {
                    let _ = self.pc.handle_timeout(Instant::now());
                }
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => {
                    self.connected = state == RTCPeerConnectionState::Connected;
                }
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) => {
                    self.channel.get_or_insert(id);
                }
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnClose(id)) => {
                    self.closed |= self.channel == Some(id);
                }
                _ => {}
            }
        }
        self.take();
        self.send_datagrams();
    }

    /// Takes the packets and messages that have arrived from the core.
    fn take(&mut self) {
        while let Some(message) = self.pc.poll_read() {
            match message.message {
                RTCMessage::RtpPacket(_, packet) => self.packets.push(packet),
                RTCMessage::DataChannelMessage(_, message) => {
                    self.texts
                        .push(String::from_utf8(message.data.to_vec()).expect("text"));
                }
                _ => {}
            }
        }
    }

    /// Sends the datagrams that the core has ready and those whose delay is over.
    fn send_datagrams(&mut self) {
        let now = Instant::now();
        while self.held.front().is_some_and(|(due, ..)| *due <= now)
            && let Some((_, to, held)) = self.held.pop_front()
        {
            let _ = self.socket.send_to(&held, to);
        }
        while let Some(datagram) = self.pc.poll_write() {
            if let (Some(kept), 128..=191) = (&mut self.kept, datagram.message[0])
                && !(192..=223).contains(&datagram.message[1])
            {
                kept.push(datagram.message.to_vec());
                continue;
            }
            let is_dtls = (20..64).contains(&datagram.message[0]);
            if is_dtls && self.dtls_delay > Duration::ZERO && !self.connected {
                let due = now + self.dtls_delay;
                self.held
                    .push_back((due, datagram.transport.peer_addr, datagram.message));
                continue;
            }
            if !self.mute {
                self.send_datagram(&datagram.message, datagram.transport.peer_addr);
            }
        }
    }

    /// Sends a datagram as often as `replay` says, after a damaged copy if `damage` is set.
    fn send_datagram(&mut self, datagram: &[u8], to: SocketAddr) {
        if let Some(state) = &mut self.damage {
            let mut copy = datagram.to_vec();
            for _ in 0..4 {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = (*state >> 33) as usize % copy.len();
                copy[at] ^= 1 << (*state >> 60 & 7);
            }
            let _ = self.socket.send_to(&copy, to);
        }
        for _ in 0..=self.replay {
            let _ = self.socket.send_to(datagram, to);
        }
    }

    /// Sends one RTP packet with `payload`, from `ssrc`.
    pub fn send_from(&mut self, ssrc: u32, payload: &'static [u8]) {
        let mut header = rtc::rtp::Header {
            version: 2,
            payload_type: self.payload_type,
            sequence_number: self.seq,
            timestamp: u32::from(self.seq) * self.packet_units(),
            ssrc,
            ..Default::default()
        };
        header
            .set_extension(1, Bytes::from_static(&[25]))
            .expect("extension");
        self.seq = self.seq.wrapping_add(1);
        self.send_packet(rtc::rtp::Packet {
            header,
            payload: Bytes::from_static(payload),
        });
    }

    /// Returns 20 ms in units of RTP time; the clock of G.711 is its sample rate.
    fn packet_units(&self) -> u32 {
        if self.payload_type == 0 { 160 } else { 960 }
    }

    /// Moves the client to another port, as by a change of the NAT mapping, unnoticed by its core.
    pub fn is_moved(&mut self) {
        self.socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
        self.socket.set_nonblocking(true).expect("nonblocking");
    }

    /// Sends an RTP packet as it is, with its own header.
    pub fn send_packet(&mut self, packet: rtc::rtp::Packet) {
        self.pc
            .handle_write(TaggedRTCMessage {
                now: Instant::now(),
                message: RTCMessage::RtpPacket(String::new(), packet),
            })
            .expect("write");
        self.drain();
    }

    pub fn send(&mut self, payload: &'static [u8]) {
        self.send_from(self.ssrc, payload);
    }

    pub fn send_binary(&mut self, bytes: &[u8]) {
        let id = self.channel.expect("open");
        let mut channel = self.pc.data_channel(id).expect("channel");
        channel
            .send(Instant::now(), BytesMut::from(bytes))
            .expect("sent");
        self.drain();
    }

    /// Starts an ICE restart; returns the new credentials.
    pub fn restart(&mut self) -> (String, String) {
        self.pc.restart_ice();
        let offer = self.offer();
        let value = |name: &str| {
            let line = offer.lines().find_map(|line| line.strip_prefix(name));
            line.expect("attribute").trim().to_owned()
        };
        (value("a=ice-ufrag:"), value("a=ice-pwd:"))
    }

    /// Sends a receiver report about the server's stream.
    pub fn send_report(&mut self, ssrc: u32, fraction_lost: u8) {
        let report = ReceiverReport {
            ssrc: self.ssrc,
            reports: vec![ReceptionReport {
                ssrc,
                fraction_lost,
                ..Default::default()
            }],
            ..Default::default()
        };
        let message = RTCMessage::RtcpPacket(String::new(), vec![Box::new(report)]);
        let now = Instant::now();
        self.pc
            .handle_write(TaggedRTCMessage { now, message })
            .expect("write");
        self.drain();
    }

    pub fn send_text(&mut self, text: &str) {
        let id = self.channel.expect("open");
        let mut channel = self.pc.data_channel(id).expect("channel");
        channel.send_text(Instant::now(), text).expect("sent");
        self.drain();
    }
}

/// Returns a track whose packets have this SSRC.
fn track(ssrc: u32, codec: RTCRtpCodec) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            ..Default::default()
        },
        codec,
        ..Default::default()
    };
    let [stream, name, label] = ["s", "t", "l"].map(str::to_owned);
    MediaStreamTrack::new(stream, name, label, RtpCodecKind::Audio, vec![encoding])
}

/// Returns a STUN Binding request of a controlling agent.
pub fn binding(username: &str, password: &str, nominates: bool) -> Vec<u8> {
    let mut message = Message::new();
    message
        .build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId::new())])
        .expect("built");
    message.add(ATTR_USERNAME, username.as_bytes());
    if nominates {
        message.add(ATTR_USE_CANDIDATE, &[]);
    }
    signed(message, password)
}

/// Returns the success response to the STUN message `request`.
pub fn response(request: &[u8], password: &str) -> Vec<u8> {
    let transaction = TransactionId(request[8..20].try_into().expect("twelve bytes"));
    let mut message = Message::new();
    message
        .build(&[Box::new(BINDING_SUCCESS), Box::new(transaction)])
        .expect("built");
    signed(message, password)
}

fn signed(mut message: Message, password: &str) -> Vec<u8> {
    let provider = rtc::crypto::default_provider().expect("built in");
    MessageIntegrity::new_short_term_integrity_with_provider(
        password.to_owned(),
        provider.crypto(),
    )
    .add_to(&mut message)
    .expect("signed");
    message.raw
}

fn opus() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type: 111,
    }
}
