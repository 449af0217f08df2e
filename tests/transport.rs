//! The network thread end to end on loopback: real sockets, real ICE, DTLS, SRTP and SCTP, a mixer that echoes.

#[path = "transport/client.rs"]
mod client;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::{Client, Kind};
use crossbeam_channel::{Receiver, bounded};
use mixer::packet::{OutPacket, Sources};
use mixer::{Level, ParticipantId, RtpTime};
use mixminus::queues::{self, Inbound, Outbound, Recipients};
use mixminus::rtc::{
    AcceptOptions, Dropped, MessageError, OfferError, Reason, Restart, RestartError, Rtc,
    RtcConfig, RtcEvent, RtcHandle, start,
};

const SECOND: Duration = Duration::from_secs(1);

/// How often a ring that nobody is woken for is looked into.
const POLL: Duration = Duration::from_micros(500);

/// A server whose mixer sends each packet back to its sender, and names the sender and another in it.
struct Server {
    rtc: Rtc,
    handle: RtcHandle,
    echoed: Receiver<Inbound>,
}

impl Server {
    fn start(configure: impl FnOnce(&mut RtcConfig)) -> Server {
        let mut config = RtcConfig::new("127.0.0.1:0".parse().expect("address"));
        configure(&mut config);
        let (network_ends, mut mixer_ends) = queues::media(1);
        let mut mixer = mixer_ends.pop().expect("one mixer");
        let (note, echoed) = bounded(1_024);
        let rtc = start(config, network_ends).expect("started");
        let wake = rtc.wake().expect("descriptor");
        std::thread::spawn(move || {
            while !mixer.packets_in.is_abandoned() {
                let Ok(inbound) = mixer.packets_in.pop() else {
                    std::thread::sleep(POLL);
                    continue;
                };
                let mut sources = Sources::default();
                sources.push(inbound.from, Level::from_wire(20));
                sources.push(ParticipantId(0xabcd), Level::from_wire(40));
                let packet = OutPacket {
                    time: RtpTime(inbound.packet.time.0),
                    marker: true,
                    sources,
                    payload: inbound.packet.payload,
                };
                let _ = mixer.packets_out.push(Outbound {
                    to: Recipients::one(inbound.from),
                    packet,
                });
                let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
                let _ = note.try_send(inbound);
            }
        });
        let handle = rtc.handle();
        Server {
            rtc,
            handle,
            echoed,
        }
    }

    /// Joins `client` with its offer changed by `edit`.
    fn join(&self, client: &mut Client, id: u32, edit: impl FnOnce(String) -> String) -> String {
        let offer = edit(client.offer());
        let accepted = self
            .handle
            .accept(&offer, ParticipantId(id), AcceptOptions::default())
            .expect("accepted");
        assert!(self.handle.start(accepted.peer).is_ok());
        client.answer(&accepted.answer);
        accepted.answer
    }

    fn event(&self, wanted: impl Fn(&RtcEvent) -> bool, limit: Duration) -> Option<RtcEvent> {
        let end = Instant::now() + limit;
        loop {
            match self.handle.next_event() {
                Some(event) if wanted(&event) => return Some(event),
                Some(_) => {}
                None if Instant::now() >= end => return None,
                None => std::thread::sleep(POLL),
            }
        }
    }
}

fn same(offer: String) -> String {
    offer
}

#[test]
fn a_client_is_heard_and_hears() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1234, true);
    let begin = Instant::now();
    server.join(&mut client, 7, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    println!("connected after {:?}", begin.elapsed());
    assert_eq!(
        server.event(|event| matches!(event, RtcEvent::Connected(_)), SECOND),
        Some(RtcEvent::Connected(ParticipantId(7)))
    );
    for _ in 0..60 {
        client.send(&[0xfc, 1, 2, 3]);
        client.run(Duration::from_millis(5), |_| false);
    }
    assert!(client.run(2 * SECOND, |client| client.packets.len() == 60));
    let inbound: Vec<Inbound> = server.echoed.try_iter().collect();
    assert_eq!(inbound.len(), 60);
    assert_eq!(inbound[0].packet.level, Some(Level::from_wire(25)));
    assert_eq!(inbound[0].packet.payload.as_slice(), [0xfc, 1, 2, 3]);
    for pair in client.packets.windows(2) {
        assert_eq!(
            pair[1].header.sequence_number,
            pair[0].header.sequence_number.wrapping_add(1)
        );
        assert_eq!(pair[0].header.csrc, [7, 0xabcd]);
        assert_eq!(
            pair[0].header.get_extension(2).as_deref(),
            Some(&[20, 40][..])
        );
    }
    client.send_text("hello");
    assert!(client.run(SECOND, |_| {
        server
            .event(
                |event| *event == RtcEvent::Text(ParticipantId(7), "hello".to_owned()),
                Duration::ZERO,
            )
            .is_some()
    }));
    server.handle.send_text(vec![ParticipantId(7)], "hi".into());
    assert!(client.run(SECOND, |client| client.texts == ["hi"]));
    server.rtc.stop();
}

#[test]
fn every_setup_connects_at_once() {
    let server = Server::start(|_| {});
    for (id, setup) in [(1, "actpass"), (2, "active"), (3, "passive")] {
        let mut client = Client::new(1_000 + id, true);
        let begin = Instant::now();
        let answer = server.join(&mut client, id, |offer| {
            offer.replace("a=setup:actpass", &format!("a=setup:{setup}"))
        });
        // The server starts DTLS where it may, so that a client's pause after ICE delays nothing.
        assert!(answer.contains(if setup == "active" {
            "a=setup:passive"
        } else {
            "a=setup:active"
        }));
        assert!(client.run(5 * SECOND, |client| client.connected), "{setup}");
        let connected = begin.elapsed();
        assert!(
            client.run(2 * SECOND, |client| client.channel.is_some()),
            "{setup}: data channel"
        );
        client.send(&[0xfc, 9]);
        assert!(
            client.run(SECOND, |client| !client.packets.is_empty()),
            "{setup}: echo"
        );
        println!("{setup}: connected after {connected:?}");
    }
    server.rtc.stop();
}

#[test]
fn directions_and_missing_channels_are_respected() {
    let server = Server::start(|_| {});
    for (id, direction) in [(1, "sendonly"), (2, "recvonly"), (3, "inactive")] {
        let mut client = Client::new(1_000 + id, false);
        let offer = client
            .offer()
            .replace("a=sendrecv", &format!("a={direction}"));
        let accepted = server
            .handle
            .accept(
                &offer,
                ParticipantId(id),
                AcceptOptions {
                    uplink_bitrate_bps: Some(24_000),
                    ..AcceptOptions::default()
                },
            )
            .expect("accepted");
        assert_eq!(
            (accepted.talks, accepted.listens),
            (direction == "sendonly", direction == "recvonly")
        );
        assert!(accepted.answer.contains("maxaveragebitrate=24000"));
        assert!(
            accepted
                .answer
                .contains(&format!("a=ice-ufrag:{}\r\n", accepted.ice_ufrag))
        );
        assert!(server.handle.start(accepted.peer).is_ok());
        client.answer(&accepted.answer);
        assert!(
            client.run(5 * SECOND, |client| client.connected),
            "{direction}"
        );
        client.send(&[0xfc, 9]);
        client.run(Duration::from_millis(50), |_| false);
        assert_eq!(
            server.echoed.try_iter().count(),
            usize::from(direction == "sendonly"),
            "{direction}"
        );
    }
    server.rtc.stop();
}

#[test]
fn two_clients_do_not_mix_and_a_source_may_change() {
    // Whether the system allows the priority or not.
    let server = Server::start(|config| config.fifo_priority = Some(10));
    let (mut one, mut two) = (Client::new(11, false), Client::new(22, false));
    server.join(&mut one, 1, same);
    server.join(&mut two, 2, same);
    let both = |one: &mut Client, two: &mut Client, done: &dyn Fn(&Client, &Client) -> bool| {
        one.run(5 * SECOND, |one| {
            two.turn();
            done(one, two)
        })
    };
    assert!(both(&mut one, &mut two, &|one, two| one.connected
        && two.connected));
    for ssrc in [11, 12, 13] {
        one.send_from(ssrc, &[1, 1]);
        two.send(&[2, 2]);
    }
    assert!(both(&mut one, &mut two, &|one, two| one.packets.len() == 3
        && two.packets.len() == 3));
    assert!(
        one.packets
            .iter()
            .all(|packet| packet.payload.as_ref() == [1, 1])
    );
    assert!(
        two.packets
            .iter()
            .all(|packet| packet.payload.as_ref() == [2, 2])
    );
    let sources: Vec<u32> = server
        .echoed
        .try_iter()
        .filter(|inbound| inbound.from == ParticipantId(1))
        .map(|inbound| inbound.packet.ssrc)
        .collect();
    assert_eq!(sources, [11, 12, 13]);
    server.rtc.stop();
}

/// What is not offered, or cannot be had, is left out of the answer, and the audio works.
#[test]
fn audio_works_whatever_else_is_refused() {
    let server = Server::start(|_| {});
    let without = |offer: String, start: &str| -> String {
        let lines = offer.split_inclusive("\r\n");
        lines.filter(|line| !line.starts_with(start)).collect()
    };
    for (id, start, refused) in [
        (1, "a=group:BUNDLE", "m=application 0 "),
        (2, "a=rtcp-mux", ""),
        (3, "a=sctp-port:", "m=application 0 "),
    ] {
        let mut client = Client::new(1_000 + id, true);
        let answer = server.join(&mut client, id, |offer| match id {
            3 => offer.replace("a=sctp-port:5000", "a=sctp-port:0"),
            _ => without(offer, start),
        });
        assert!(answer.contains(refused), "{start}: {answer}");
        assert!(!answer.contains(start), "{start}: {answer}");
        let connected = client.run(5 * SECOND, |client| client.connected);
        assert!(connected, "{start}: connected");
        client.send(&[0xfc, 9]);
        let heard = client.run(SECOND, |client| !client.packets.is_empty());
        assert!(heard, "{start}: echo");
        let reports = client.wire.iter().filter(|came| came.kind == Kind::Rtcp);
        if start == "a=rtcp-mux" {
            assert_eq!(reports.count(), 0, "there is no way for them");
        }
    }
    server.rtc.stop();
}

#[test]
fn every_fixture_is_answered() {
    let server = Server::start(|_| {});
    for entry in std::fs::read_dir("tests/offers").expect("fixtures") {
        let path = entry.expect("fixture").path();
        let offer = std::fs::read_to_string(&path).expect("text");
        for offer in [offer.clone(), offer.replace('\n', "\r\n")] {
            let accepted = server
                .handle
                .accept(&offer, ParticipantId(9), AcceptOptions::default());
            let accepted = accepted.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(accepted.answer.len() < 4_096);
        }
    }
    server.rtc.stop();
}

#[test]
fn offers_that_cannot_be_served_say_why() {
    let server = Server::start(|_| {});
    let refuse = |offer: &str| {
        let result = server
            .handle
            .accept(offer, ParticipantId(1), AcceptOptions::default());
        result.err().expect("refused")
    };
    let offer = Client::new(1, true).offer();
    assert_eq!(refuse(""), OfferError::Unparsable);
    assert_eq!(refuse("v=0\r\n"), OfferError::NoAudio);
    assert_eq!(refuse(&offer.replace("opus", "nope")), OfferError::NoCodec);
    assert_eq!(
        refuse(&offer.replace("m=audio 9", "m=audio 0")),
        OfferError::NoAudio
    );
    for missing in ["fingerprint", "ice-ufrag", "ice-pwd"] {
        let offer = offer.replace(missing, "missing");
        assert!(
            matches!(refuse(&offer), OfferError::Unsupported { .. }),
            "{missing}"
        );
    }
    server.rtc.stop();
}

/// What strangers throw at a media port.
fn hostile_datagrams() -> Vec<Vec<u8>> {
    let null_hello = {
        let mut body = vec![1, 0, 0, 43, 0, 0, 0, 0, 0, 0, 0, 43, 0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0, 0, 2, 0, 0, 1, 0]);
        let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, body.len() as u8];
        record.extend(body);
        record
    };
    let alert = vec![0x15, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0x28];
    let close = vec![0x15, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0];
    let rtp = vec![
        0x80, 0, 0x70, 0x28, 9, 0xcd, 0x2d, 0x15, 0xfd, 0x3e, 0x5c, 0x86, 0x41,
    ];
    let mut bad_tag = vec![0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    bad_tag.extend([0xaa; 60]);
    let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    binding.extend([3; 12]);
    let mut all = vec![
        null_hello,
        alert,
        close,
        rtp,
        bad_tag,
        binding,
        vec![0; 1_400],
        vec![0x80; 1_500],
    ];
    all.extend((0..64u8).map(|length| vec![0x80 ^ length; usize::from(length)]));
    all.extend((20..28).map(|length| {
        let mut rtcp = vec![0x81, 201, 0, 7];
        rtcp.resize(length, 5);
        rtcp
    }));
    all
}

#[test]
fn strangers_get_no_answer_and_change_nothing() {
    let server = Server::start(|_| {});
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("socket");
    stranger.set_nonblocking(true).expect("nonblocking");
    let media = server.rtc.media_addr();
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    let begin = Instant::now();
    let attack = |_: &mut Client| {
        for datagram in hostile_datagrams() {
            stranger.send_to(&datagram, media).expect("sent");
        }
    };
    assert!(client.run(5 * SECOND, |client| {
        attack(client);
        client.connected
    }));
    println!("connected under attack after {:?}", begin.elapsed());
    for _ in 0..20 {
        attack(&mut client);
        client.send(&[0xfc, 1]);
        client.run(Duration::from_millis(5), |_| false);
    }
    assert!(client.run(SECOND, |client| client.packets.len() == 20));
    assert_eq!(
        stranger.recv(&mut [0; 100]).err().map(|error| error.kind()),
        Some(std::io::ErrorKind::WouldBlock)
    );
    let metrics = server.handle.metrics();
    for reason in [
        Dropped::Malformed,
        Dropped::Stranger,
        Dropped::Unauthenticated,
    ] {
        assert!(metrics.dropped_total(reason) > 0, "{reason:?}");
    }
    server.rtc.stop();
}

/// Worse than a stranger: the same from the client's own address, as a spoofer on the path would send it.
#[test]
fn spoofed_datagrams_do_not_end_a_call() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    let media = server.rtc.media_addr();
    let attack = |client: &Client| {
        for datagram in hostile_datagrams() {
            client.socket.send_to(&datagram, media).expect("sent");
        }
    };
    assert!(client.run(5 * SECOND, |client| {
        attack(client);
        client.connected
    }));
    for _ in 0..20 {
        attack(&client);
        client.send(&[0xfc, 1]);
        client.run(Duration::from_millis(5), |_| false);
    }
    assert!(
        client.run(SECOND, |client| client.packets.len() == 20),
        "{}",
        client.packets.len()
    );
    assert!(
        server
            .event(|event| matches!(event, RtcEvent::Gone(..)), Duration::ZERO)
            .is_none()
    );
    assert!(server.handle.metrics().dropped_total(Dropped::HostileDtls) > 0);
    server.rtc.stop();
}

#[test]
fn replayed_packets_are_decoded_once() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, false);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected));
    client.replay = 5;
    for _ in 0..10 {
        client.send(&[0xfc, 1]);
    }
    client.replay = 0;
    client.run(Duration::from_millis(200), |_| false);
    assert_eq!(server.echoed.try_iter().count(), 10);
    server.rtc.stop();
}

#[test]
fn who_never_connects_is_reaped() {
    let server = Server::start(|config| config.connect_timeout = Duration::from_millis(300));
    let mut client = Client::new(1, false);
    server.join(&mut client, 5, same);
    let gone = server.event(|event| matches!(event, RtcEvent::Gone(..)), 2 * SECOND);
    assert_eq!(
        gone,
        Some(RtcEvent::Gone(ParticipantId(5), Reason::NeverConnected))
    );
    assert_eq!(server.handle.metrics().peers.load(Ordering::Relaxed), 0);
    server.rtc.stop();
}

#[test]
fn who_falls_silent_is_disconnected_then_gone() {
    let server = Server::start(|config| {
        config.disconnected_after = 6 * SECOND;
        config.consent_timeout = 8 * SECOND;
    });
    let mut client = Client::new(1, false);
    server.join(&mut client, 5, same);
    assert!(client.run(5 * SECOND, |client| client.connected));
    client.mute = true;
    let begin = Instant::now();
    let gone = |event: &RtcEvent| matches!(event, RtcEvent::Gone(..) | RtcEvent::Disconnected(_));
    assert_eq!(
        server.event(gone, 10 * SECOND),
        Some(RtcEvent::Disconnected(ParticipantId(5)))
    );
    assert_eq!(
        server.event(gone, 10 * SECOND),
        Some(RtcEvent::Gone(ParticipantId(5), Reason::ConsentLost))
    );
    assert!(begin.elapsed() < 10 * SECOND, "{:?}", begin.elapsed());
    server.rtc.stop();
}

#[test]
fn a_client_s_close_is_noticed_at_once() {
    use rtc::sansio::Protocol;
    let server = Server::start(|_| {});
    for (id, data) in [(1, true), (2, false)] {
        let mut client = Client::new(id, data);
        server.join(&mut client, id, same);
        assert!(client.run(5 * SECOND, |client| client.connected));
        client.pc.close().expect("closed");
        let begin = Instant::now();
        client.turn();
        let gone = server.event(|event| matches!(event, RtcEvent::Gone(..)), SECOND);
        assert_eq!(
            gone,
            Some(RtcEvent::Gone(ParticipantId(id), Reason::Closed))
        );
        assert!(begin.elapsed() < Duration::from_millis(200));
    }
    server.rtc.stop();
}

#[test]
fn the_server_s_close_reaches_the_client() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    server.handle.close(ParticipantId(1));
    assert!(client.run(SECOND, |client| client.closed));
    assert!(
        server
            .event(
                |event| matches!(event, RtcEvent::Gone(..)),
                Duration::from_millis(50)
            )
            .is_none()
    );
    server.rtc.stop();
}

#[test]
fn an_ice_restart_loses_no_packet_in_either_direction() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    let before = server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    let ask = |ufrag: &str, pwd: &str, id| {
        let restart = Restart {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
            candidates: vec![],
        };
        runtime.block_on(server.handle.restart(ParticipantId(id), restart))
    };
    assert!(ask("x", "y", 1).is_err(), "unusable credentials");
    assert!(
        ask("longenough", "aaaaaaaaaaaaaaaaaaaaaaaaa", 2).is_err(),
        "unknown participant"
    );

    // The core of this client forgets its pair as soon as it restarts. Others send on, and hear on; so what this one
    // sends meanwhile was encrypted before, and what it hears is counted at its socket.
    client.kept = Some(Vec::new());
    for _ in 0..PACKETS {
        client.send(&[0xfc, 2]);
    }
    let mut packets = client.kept.take().expect("kept").into_iter();
    let media = server.rtc.media_addr();
    client.wire.clear();
    let mut talk = |client: &mut Client, packets_at_once: usize, server: SocketAddr| {
        for packet in packets.by_ref().take(packets_at_once) {
            client.socket.send_to(&packet, server).expect("sent");
            client.run(Duration::from_millis(2), |_| false);
        }
    };
    talk(&mut client, 20, media);
    let (ufrag, pwd) = client.restart();
    talk(&mut client, 20, media);
    let answer = ask(&ufrag, &pwd, 1).expect("restarted");
    // The answer takes its time to the client.
    talk(&mut client, 100, media);
    assert!(!before.contains(&answer.ufrag));
    assert!(answer.candidates[0].starts_with("candidate:1 1 udp "));
    let line = |name: &str| {
        let line = before.lines().find(|line| line.starts_with(name));
        line.expect("line").to_owned()
    };
    let after = before
        .replace(
            &line("a=ice-ufrag:"),
            &format!("a=ice-ufrag:{}", answer.ufrag),
        )
        .replace(&line("a=ice-pwd:"), &format!("a=ice-pwd:{}", answer.pwd));
    client.answer(&after);
    talk(&mut client, PACKETS, media);

    let heard = |client: &Client| {
        let wire = client.wire.iter();
        wire.filter(|came| came.kind == Kind::Rtp).count()
    };
    assert!(
        client.run(2 * SECOND, |client| heard(client) == PACKETS),
        "heard {} of {PACKETS}",
        heard(&client)
    );
    assert_eq!(server.echoed.try_iter().count(), PACKETS, "and was heard");
    // The client's core has its pair as well.
    client.packets.clear();
    assert!(client.run(3 * SECOND, |client| {
        client.send(&[0xfc, 3]);
        !client.packets.is_empty()
    }));
    client.send_text("still here");
    assert!(client.run(5 * SECOND, |_| {
        server
            .event(
                |event| matches!(event, RtcEvent::Text(_, text) if text == "still here"),
                Duration::ZERO,
            )
            .is_some()
    }));
    server.rtc.stop();
}

/// Packets of the talk around a restart; each stands for 20 ms.
const PACKETS: usize = 300;

/// A client that restarts ICE in an endless row is refused, and other clients miss no packet of theirs.
#[test]
fn a_row_of_restarts_is_refused_and_costs_others_nothing() {
    let server = Server::start(|_| {});
    let mut healthy = Client::new(99, false);
    server.join(&mut healthy, 99, same);
    assert!(healthy.run(5 * SECOND, |client| client.connected));
    let mut mallory = Client::new(1, false);
    server.join(&mut mallory, 1, same);
    assert!(mallory.run(5 * SECOND, |client| client.connected));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    let begin = Instant::now();
    let mut answers = Vec::new();
    for number in 0..500 {
        let restart = Restart {
            ufrag: format!("mallory{number}"),
            pwd: "a".repeat(24),
            candidates: vec!["candidate:1 1 udp 1 127.0.0.1 9 typ host".to_owned(); 100],
        };
        answers.push(server.handle.restart(ParticipantId(1), restart));
        if number % 25 == 0 {
            healthy.send(&[0xfc, 1]);
        }
    }
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| runtime.block_on(answer))
        .collect();
    let elapsed = begin.elapsed();
    let restarted = answers.iter().filter(|answer| answer.is_ok()).count();
    println!("{restarted} of 500 restarts in {elapsed:?}");
    let allowed = 5 + elapsed.as_secs() as usize / 5;
    assert!((5..=allowed + 1).contains(&restarted), "{restarted}");
    assert!(answers.iter().flatten().count() == restarted);
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    for error in refused {
        assert!(
            matches!(error, RestartError::TooOften { .. } | RestartError::Busy),
            "{error}"
        );
    }
    assert!(healthy.run(2 * SECOND, |client| client.packets.len() == 20));
    server.rtc.stop();
}

#[test]
fn trickled_candidates_are_checked() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, false);
    let accepted = server
        .handle
        .accept(&client.offer(), ParticipantId(1), AcceptOptions::default())
        .expect("accepted");
    assert!(server.handle.start(accepted.peer).is_ok());
    let other = UdpSocket::bind("127.0.0.1:0").expect("socket");
    other.set_read_timeout(Some(2 * SECOND)).expect("timeout");
    let port = other.local_addr().expect("bound").port();
    let lines = vec![
        "a=candidate:9 1 udp 1 some-name.local 9 typ host".to_owned(),
        "nonsense".to_owned(),
        format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host"),
    ];
    server
        .handle
        .trickle(ParticipantId(1), lines)
        .expect("taken");
    let mut check = [0; 200];
    let length = other.recv(&mut check).expect("a check comes");
    assert_eq!(check[..2], [0, 1]);
    assert!(length > 20);
    server.rtc.stop();
}

#[test]
fn only_short_text_on_the_control_channel_is_taken_and_the_client_is_told() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    let other = client
        .pc
        .create_data_channel("other", None)
        .expect("channel")
        .id();
    client.run(Duration::from_millis(300), |_| false);
    assert_ne!(
        client.channel,
        Some(other),
        "closed again at once, so never of use"
    );
    let id = ParticipantId(1);
    let comes = |client: &mut Client, wanted: RtcEvent| {
        let is_wanted = |event: &RtcEvent| *event == wanted;
        client.run(5 * SECOND, |_| {
            server.event(is_wanted, Duration::ZERO).is_some()
        })
    };
    client.send_binary(b"binary");
    let not_text = RtcEvent::BadMessage(id, MessageError::NotText);
    assert!(comes(&mut client, not_text));
    let limit_bytes = 16 * 1_024;
    for bytes in [limit_bytes + 1, 40_000, 64 * 1_024] {
        client.send_text(&"x".repeat(bytes));
        let too_long = RtcEvent::BadMessage(id, MessageError::TooLong { limit_bytes });
        assert!(comes(&mut client, too_long), "{bytes}");
    }
    assert_eq!(server.handle.metrics().dropped_total(Dropped::Message), 4);
    let longest = "x".repeat(limit_bytes);
    client.send_text(&longest);
    assert!(comes(&mut client, RtcEvent::Text(id, longest)));
    server.rtc.stop();
}

#[test]
fn surplus_data_channels_are_closed_and_the_call_goes_on() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    for round in 0..3 {
        for number in 0..20 {
            let label = format!("other {round} {number}");
            client
                .pc
                .create_data_channel(&label, None)
                .expect("channel");
        }
        client.run(Duration::from_millis(300), |_| false);
    }
    client.send(&[0xfc, 9]);
    assert!(client.run(SECOND, |client| !client.packets.is_empty()));
    client.send_text("still here");
    let said = RtcEvent::Text(ParticipantId(1), "still here".to_owned());
    assert!(client.run(5 * SECOND, |_| {
        server
            .event(|event| *event == said, Duration::ZERO)
            .is_some()
    }));
    let gone = server.event(|event| matches!(event, RtcEvent::Gone(..)), Duration::ZERO);
    assert_eq!(gone, None);
    server.rtc.stop();
}

/// A client's certificate has to be one of those that its offer names, and any of them will do.
#[test]
fn one_fingerprint_that_matches_is_enough() {
    let server = Server::start(|_| {});
    let wrong = |hash: &str, bytes: usize| {
        let value = vec!["AB"; bytes].join(":");
        format!("a=fingerprint:{hash} {value}\r\n")
    };
    let first = |offer: String, lines: &str| {
        let lines = format!("{lines}a=fingerprint:");
        offer.replace("a=fingerprint:", &lines)
    };
    let others = [
        wrong("sha-256", 32),
        wrong("sha-512", 64),
        wrong("sha-1", 20) + &wrong("sha-256", 32) + &wrong("sha-384", 48),
    ];
    for (id, lines) in (1..).zip(&others) {
        let mut client = Client::new(id, true);
        server.join(&mut client, id, |offer| first(offer, lines));
        assert!(client.run(5 * SECOND, |client| client.connected), "{lines}");
        client.send(&[0xfc, 9]);
        let heard = client.run(SECOND, |client| !client.packets.is_empty());
        assert!(heard, "{lines}");
    }
    for (id, lines) in (11..).zip(&others) {
        let mut client = Client::new(id, true);
        server.join(&mut client, id, |offer| {
            first(offer, lines)
                .split_inclusive("\r\n")
                .filter(|line| !line.starts_with("a=fingerprint:") || lines.contains(*line))
                .collect()
        });
        let mut gone = None;
        client.run(5 * SECOND, |client| {
            client.send(&[0xfc, 9]);
            gone = gone.take().or_else(|| {
                server.event(|event| matches!(event, RtcEvent::Gone(..)), Duration::ZERO)
            });
            gone.is_some()
        });
        let refused = RtcEvent::Gone(ParticipantId(id), Reason::Fault);
        assert_eq!(gone, Some(refused), "{lines}");
        assert!(client.packets.is_empty(), "{lines}");
    }
    let metrics = server.handle.metrics();
    assert_eq!(metrics.dropped_total(Dropped::Certificate), 3);
    server.rtc.stop();
}

#[test]
fn a_flood_of_reports_is_bounded_and_what_it_ends_with_is_told() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, false);
    let offer = client.offer();
    let accepted = server
        .handle
        .accept(&offer, ParticipantId(1), AcceptOptions::default())
        .expect("accepted");
    assert!(server.handle.start(accepted.peer).is_ok());
    client.answer(&accepted.answer);
    assert!(client.run(5 * SECOND, |client| client.connected));
    let ssrc = accepted
        .answer
        .lines()
        .find_map(|line| {
            line.strip_prefix("a=ssrc:")?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .expect("the server's source");
    let begin = Instant::now();
    while server.handle.metrics().dropped_total(Dropped::RtcpRate) < 500 {
        for fraction_lost in [0, 80, 160, 240] {
            client.send_report(ssrc, fraction_lost);
        }
        client.run(Duration::from_millis(1), |_| false);
        assert!(begin.elapsed() < 30 * SECOND, "it is never bounded");
    }
    let flood = begin.elapsed();
    let losses: Vec<RtcEvent> = std::iter::from_fn(|| server.handle.next_event())
        .filter(|event| matches!(event, RtcEvent::Loss(..)))
        .collect();
    let told = losses.len() as u64;
    assert!(
        (1..=flood.as_secs() + 2).contains(&told),
        "{told} in {flood:?}"
    );

    let now = |stats: &mixminus::rtc::PeerStats| stats.loss_percent.load(Ordering::Relaxed);
    // A media stream is what has a deadline every now and then.
    let mut last = losses.last().cloned();
    assert!(client.run(15 * SECOND, |client| {
        client.send(&[0xfc, 9]);
        last = server
            .event(|event| matches!(event, RtcEvent::Loss(..)), Duration::ZERO)
            .or(last.take());
        last == Some(RtcEvent::Loss(ParticipantId(1), now(&accepted.stats)))
    }));
    server.rtc.stop();
}

#[test]
fn long_text_arrives_in_one_piece() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    for bytes in [1_000, 16 * 1_024, 64 * 1_024] {
        client.texts.clear();
        let text = "x".repeat(bytes);
        let to = vec![ParticipantId(1)];
        server.handle.send_text(to, text.as_str().into());
        assert!(
            client.run(5 * SECOND, |client| client.texts.contains(&text)),
            "{bytes} bytes"
        );
    }
    server.rtc.stop();
}

/// A client that nominates with its very first check and sends it only once.
#[test]
fn an_impatient_nomination_is_answered_at_once() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, false);
    // It starts DTLS, too.
    let offer = client.offer().replace("a=setup:actpass", "a=setup:active");
    let accepted = server
        .handle
        .accept(&offer, ParticipantId(1), AcceptOptions::default())
        .expect("accepted");
    assert!(server.handle.start(accepted.peer).is_ok());
    let theirs = |name: &str| {
        let line = accepted
            .answer
            .lines()
            .find_map(|line| line.strip_prefix(name));
        line.expect("attribute").to_owned()
    };
    let ours = |name: &str| {
        let line = offer.lines().find_map(|line| line.strip_prefix(name));
        line.expect("attribute").to_owned()
    };
    let username = format!("{}:{}", theirs("a=ice-ufrag:"), ours("a=ice-ufrag:"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
    socket.set_read_timeout(Some(SECOND)).expect("timeout");
    let nomination = client::binding(&username, &theirs("a=ice-pwd:"), true);
    let media: SocketAddr = server.rtc.media_addr();
    socket.send_to(&nomination, media).expect("sent");
    let begin = Instant::now();
    let (mut answered, mut checked) = (None, None);
    let mut buffer = [0; 300];
    while answered.is_none() || checked.is_none() {
        let length = socket
            .recv(&mut buffer)
            .expect("an answer and a check come");
        match buffer[..2] {
            [1, 1] if buffer[8..20] == nomination[8..20] => answered = Some(begin.elapsed()),
            [0, 1] => checked = Some(buffer[..length].to_vec()),
            _ => {}
        }
    }
    assert!(answered.expect("answered") < Duration::from_millis(100));
    // Our own check has not been answered, so nothing is selected: no ClientHello is taken yet, but kept.
    let response = client::response(&checked.expect("checked"), &ours("a=ice-pwd:"));
    socket.send_to(&response, media).expect("sent");
    // A ClientHello with extended master secret, one group, one signature and one SRTP profile.
    let extensions = [
        0, 0x17, 0, 0, 0, 0x0a, 0, 4, 0, 2, 0, 0x1d, 0, 0x0d, 0, 4, 0, 2, 4, 3, 0, 0x0e, 0, 5, 0,
        2, 0, 1, 0,
    ];
    let mut body = vec![0xfe, 0xfd];
    body.extend([5; 32]);
    body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let length = body.len() as u8;
    let mut hello = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, length + 12];
    hello.extend([1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length]);
    hello.extend(body);
    socket.send_to(&hello, media).expect("sent");
    while buffer[0] != 22 {
        let _ = socket
            .recv(&mut buffer)
            .expect("a HelloVerifyRequest: the pair is selected");
    }
    server.rtc.stop();
}

#[test]
fn a_client_that_only_answers_checks_connects() {
    let server = Server::start(|_| {});
    let mut client = Client::lite(1);
    let offer = |offer: String| offer.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n");
    server.join(&mut client, 1, offer);
    assert!(client.run(5 * SECOND, |client| client.connected));
    client.send(&[0xfc, 9]);
    assert!(client.run(SECOND, |client| !client.packets.is_empty()));
    server.rtc.stop();
}

/// Every flight of the client's is preceded by a damaged copy: the call may fail, the server may not.
#[test]
fn damaged_flights_hurt_nobody_else() {
    let server = Server::start(|_| {});
    let mut healthy = Client::new(99, true);
    server.join(&mut healthy, 99, same);
    assert!(healthy.run(5 * SECOND, |client| client.connected));
    let mut connected = 0;
    for id in 1..=40 {
        let mut client = Client::new(id, true);
        client.damage = Some(u64::from(id));
        server.join(&mut client, id, same);
        connected += u32::from(client.run(Duration::from_millis(60), |client| {
            healthy.turn();
            client.connected && client.channel.is_some()
        }));
        client.send(&[0xfc, 9]);
        client.run(Duration::from_millis(5), |_| false);
        server.handle.close(ParticipantId(id));
    }
    println!("{connected} of 40 connected in spite of it");
    healthy.send(&[0xfc, 1]);
    assert!(healthy.run(SECOND, |client| !client.packets.is_empty()));
    assert_eq!(
        server.handle.metrics().faults_total.load(Ordering::Relaxed),
        0
    );
    server.rtc.stop();
}

#[test]
fn random_bytes_from_a_client_s_own_address_are_dropped() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    // Its source is known from here on; a new one would have to wait its turn among the random ones.
    client.send(&[0xfc, 1]);
    assert!(client.run(SECOND, |client| client.packets.len() == 1));
    let media = server.rtc.media_addr();
    let mut state = 7u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as u8
    };
    for round in 0..200 {
        for first in [0u8, 1, 20, 21, 22, 23, 64, 128, 144, 160, 191] {
            let length = usize::from(random()) + usize::from(random());
            let mut datagram: Vec<u8> = (0..length).map(|_| random()).collect();
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            client.socket.send_to(&datagram, media).expect("sent");
        }
        if round % 10 == 0 {
            client.run(Duration::from_millis(2), |_| false);
        }
    }
    client.send(&[0xfc, 1]);
    assert!(client.run(SECOND, |client| client.packets.len() == 2));
    client.send_text("fine");
    let text = |event: &RtcEvent| matches!(event, RtcEvent::Text(..));
    assert!(client.run(SECOND, |_| server.event(text, Duration::ZERO).is_some()));
    assert_eq!(
        server.handle.metrics().faults_total.load(Ordering::Relaxed),
        0
    );
    server.rtc.stop();
}
