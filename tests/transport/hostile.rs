//! Datagrams from strangers and from misbehaving clients.

use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixminus::rtc::{AcceptOptions, Dropped, RtcEvent};

use super::client::Client;
use super::{SECOND, Server, same};

/// Datagrams that strangers send to a media port.
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
fn datagrams_of_strangers_get_no_answer_and_change_nothing() {
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

/// The datagrams come from the client's own address, as an attacker on the path would spoof them.
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
fn replayed_packets_are_accepted_once() {
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
fn flood_of_receiver_reports_is_limited_and_the_last_loss_is_reported() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, false);
    let offer = client.offer();
    let accepted = server
        .handle
        .accept(&offer, ParticipantId(1), AcceptOptions::default())
        .expect("accepted");
    assert!(server.control().start(accepted.peer).is_ok());
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
    let losses: Vec<RtcEvent> = std::iter::from_fn(|| server.control().next_event())
        .filter(|event| matches!(event, RtcEvent::Loss(..)))
        .collect();
    let told = losses.len() as u64;
    assert!(
        (1..=flood.as_secs() + 2).contains(&told),
        "{told} in {flood:?}"
    );

    let now = |stats: &mixminus::rtc::PeerStats| stats.loss_percent.load(Ordering::Relaxed);
    // Only a media stream has a regular deadline, at which the last report is handed on.
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

/// A damaged copy precedes every DTLS flight of the client. The client may fail to connect, but the
/// server must not be affected.
#[test]
fn damaged_dtls_flights_do_not_affect_other_clients() {
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
        server.control().close(ParticipantId(id));
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
fn random_bytes_from_a_clients_own_address_are_dropped() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    // The first packet registers the client's SSRC. A new SSRC later would compete with those of
    // the random packets.
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
