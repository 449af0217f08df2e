//! ICE restarts, trickled candidates and nominations.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixminus::rtc::{AcceptOptions, Restart, RestartAnswer, RestartError, RtcEvent};

use super::client::{self, Client, Kind};
use super::{SECOND, Server, same};

#[test]
fn ice_restart_loses_no_packet_in_either_direction() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    let before = server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    assert_eq!(
        ask(&server, 1, "x", "y").err(),
        Some(RestartError::Credentials)
    );
    assert_eq!(
        ask(&server, 2, "longenough", "aaaaaaaaaaaaaaaaaaaaaaaaa").err(),
        Some(RestartError::Unknown)
    );

    // When this client restarts ICE, its core discards its candidate pair; those of other clients
    // keep sending and receiving meanwhile. Therefore the packets that this client sends during the
    // restart are encrypted beforehand, and those that it receives are counted at its socket.
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
    let answer = ask(&server, 1, &ufrag, &pwd).expect("restarted");
    // The answer reaches the client after a delay.
    talk(&mut client, 100, media);
    assert!(!before.contains(&answer.ufrag));
    assert!(answer.candidates[0].starts_with("candidate:1 1 udp "));
    let after = with_credentials(&before, &answer.ufrag, &answer.pwd);
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
    // By now the client's core has selected a pair as well.
    client.packets.clear();
    assert!(client.run(3 * SECOND, |client| {
        client.send(&[0xfc, 3]);
        !client.packets.is_empty()
    }));
    client.send_text("still here");
    let is_it = |event: &RtcEvent| matches!(event, RtcEvent::Text(_, text) if text == "still here");
    assert!(client.run(5 * SECOND, |_| {
        server.event(is_it, Duration::ZERO).is_some()
    }));
    server.rtc.stop();
}

/// Returns the answer with these ICE credentials in place of its own.
fn with_credentials(answer: &str, ufrag: &str, pwd: &str) -> String {
    let line = |name: &str| {
        let line = answer.lines().find(|line| line.starts_with(name));
        line.expect("line").to_owned()
    };
    answer
        .replace(&line("a=ice-ufrag:"), &format!("a=ice-ufrag:{ufrag}"))
        .replace(&line("a=ice-pwd:"), &format!("a=ice-pwd:{pwd}"))
}

/// Requests an ICE restart of a participant with these credentials.
fn ask(server: &Server, id: u32, ufrag: &str, pwd: &str) -> Result<RestartAnswer, RestartError> {
    let restart = Restart {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
        candidates: vec![],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    runtime.block_on(server.restart(id, restart))
}

/// The number of packets that are sent before, during and after a restart; each stands for 20 ms.
const PACKETS: usize = 300;

/// A client that restarts ICE again and again is refused, and other clients lose no packet.
#[test]
fn repeated_ice_restarts_are_refused_and_cost_other_clients_no_packet() {
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
        answers.push(server.restart(1, restart));
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
    assert!(server.control().start(accepted.peer).is_ok());
    let other = UdpSocket::bind("127.0.0.1:0").expect("socket");
    other.set_read_timeout(Some(2 * SECOND)).expect("timeout");
    let port = other.local_addr().expect("bound").port();
    let lines = vec![
        "a=candidate:9 1 udp 1 some-name.local 9 typ host".to_owned(),
        "nonsense".to_owned(),
        format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host"),
    ];
    server
        .control()
        .trickle(ParticipantId(1), lines)
        .expect("taken");
    let mut check = [0; 200];
    let length = other.recv(&mut check).expect("a check comes");
    assert_eq!(check[..2], [0, 1]);
    assert!(length > 20);
    server.rtc.stop();
}

/// The client nominates with its first check and sends that check only once.
#[test]
fn ice_nomination_with_the_first_check_is_answered_at_once() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, false);
    // The client also starts the DTLS handshake.
    let offer = client.offer().replace("a=setup:actpass", "a=setup:active");
    let accepted = server
        .handle
        .accept(&offer, ParticipantId(1), AcceptOptions::default())
        .expect("accepted");
    assert!(server.control().start(accepted.peer).is_ok());
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
    // The server's own check has not been answered, so no pair is selected: a ClientHello is kept
    // but not processed yet.
    let response = client::response(&checked.expect("checked"), &ours("a=ice-pwd:"));
    socket.send_to(&response, media).expect("sent");
    // A ClientHello with extended master secret, one group, one signature algorithm and one SRTP
    // profile.
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
fn ice_lite_client_connects() {
    let server = Server::start(|_| {});
    let mut client = Client::lite(1);
    let offer = |offer: String| offer.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n");
    server.join(&mut client, 1, offer);
    assert!(client.run(5 * SECOND, |client| client.connected));
    client.send(&[0xfc, 9]);
    assert!(client.run(SECOND, |client| !client.packets.is_empty()));
    server.rtc.stop();
}
