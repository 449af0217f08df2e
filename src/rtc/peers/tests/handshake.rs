//! Tests of the DTLS handshake over a network that loses, repeats and delays flights.

use super::*;

/// A network fault during the handshake: one datagram is lost, and the client repeats one flight 50
/// ms later, as libwebrtc does.
pub(super) struct Mishap {
    lost: DtlsPart,
    repeated: DtlsPart,
    /// The flight that the client will repeat.
    flight: Vec<u8>,
    due: Option<Instant>,
    over: bool,
}

/// The kind of a handshake datagram, by its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DtlsPart {
    ClientHello,
    ServerHello,
    ChangeCipherSpec,
    Other,
    Nothing,
}

impl DtlsPart {
    fn of(datagram: &[u8]) -> DtlsPart {
        match (datagram[0], datagram.get(13)) {
            (20, _) => DtlsPart::ChangeCipherSpec,
            (22, Some(1)) => DtlsPart::ClientHello,
            (22, Some(2)) => DtlsPart::ServerHello,
            _ => DtlsPart::Other,
        }
    }
}

impl Mishap {
    fn new(lost: DtlsPart, repeated: DtlsPart) -> Mishap {
        Mishap {
            lost,
            repeated,
            flight: Vec::new(),
            due: None,
            over: false,
        }
    }

    pub(super) fn loses(&mut self, datagram: &[u8], now: Instant) -> bool {
        let part = DtlsPart::of(datagram);
        if part == self.repeated {
            self.flight = datagram.to_vec();
            self.due = Some(now + 5 * STEP);
        }
        let lost = part == self.lost && !self.over;
        self.over |= lost;
        lost
    }

    /// Returns the repeated flight once it is due, with new sequence numbers in its records.
    pub(super) fn repetition(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.due.take_if(|due| *due <= now)?;
        let mut flight = std::mem::take(&mut self.flight);
        let mut at = 0;
        while at < flight.len() {
            flight[at + 10] += 20;
            at += 13 + usize::from(u16::from_be_bytes([flight[at + 11], flight[at + 12]]));
        }
        Some(flight)
    }
}

#[test]
fn lost_dtls_flight_delays_the_handshake_by_less_than_200_ms_and_a_repeated_flight_does_not() {
    use DtlsPart::{ChangeCipherSpec, ClientHello, Nothing, ServerHello};
    let mishaps = [
        ("actpass", Nothing, ServerHello, 3),
        ("actpass", ClientHello, Nothing, 20),
        ("actpass", ChangeCipherSpec, ServerHello, 20),
        ("active", Nothing, ClientHello, 3),
        ("active", ServerHello, ClientHello, 20),
        ("active", ServerHello, Nothing, 20),
    ];
    for (setup, lost, repeated, steps) in mishaps {
        let mut world = World::with_setup(setup, |_| ());
        world.mishap = Some(Mishap::new(lost, repeated));
        let connected = world.until(&RtcEvent::Connected(ID), 30 * SECOND);
        assert!(
            connected.is_some_and(|at| at <= steps * STEP),
            "{setup}, without {lost:?}, {repeated:?} repeated: {connected:?}"
        );
        world.pass(SECOND, None);
        let mishap = world.mishap.expect("it is there");
        assert_eq!(mishap.over, lost != Nothing, "{setup}, {lost:?}");
        assert!(mishap.due.is_none(), "{setup}, {repeated:?}");
        assert_eq!(world.peers.out.events.len(), 0, "{setup}, {lost:?}");
    }
}

/// The server's flight is in two datagrams, of which the first is lost or overtaken.
#[test]
fn dtls_handshake_survives_a_certificate_that_arrives_before_the_server_hello() {
    let mut world = World::new();
    let mishap = Mishap::new(DtlsPart::ClientHello, DtlsPart::Nothing);
    world.mishap = Some(mishap);
    while world.mishap.as_ref().is_some_and(|it| !it.over) {
        world.step();
        assert!(world.elapsed() < SECOND, "it begins at once");
    }
    let header = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 15];
    let mut certificate = header.to_vec();
    certificate.extend([11, 0, 0, 3, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    let now = world.now;
    world.peers.dispatch(client(), &mut certificate, now);
    let answers = world.peers.out.datagrams.iter();
    let alerts = answers.filter(|(_, datagram)| datagram[0] == 21);
    assert_eq!(alerts.count(), 0);
    let connected = world.until(&RtcEvent::Connected(ID), 30 * SECOND);
    assert!(connected.is_some_and(|at| at <= 20 * STEP), "{connected:?}");
}

/// The client's answer takes so long that the server repeats its last flight, and the client then
/// repeats its answer.
#[test]
fn dtls_handshake_does_not_repeat_last_flights_endlessly() {
    let mut world = World::new();
    world.slow = true;
    while world.held.len() < 2 {
        world.step();
        assert!(world.elapsed() < SECOND, "it repeats");
    }
    (world.slow, world.hold_dtls) = (false, false);
    let held = std::mem::take(&mut world.held);
    let (first, repeated) = (held[0].clone(), held[1].clone());
    assert_eq!(DtlsPart::of(&first), DtlsPart::ChangeCipherSpec);
    assert_eq!(DtlsPart::of(&repeated), DtlsPart::ChangeCipherSpec);
    for mut datagram in [first, repeated] {
        let now = world.now;
        world.peers.out.datagrams.clear();
        world.peers.dispatch(client(), &mut datagram, now);
        let answers = world.peers.out.datagrams.iter();
        let dtls = answers.filter(|(_, datagram)| (20..64).contains(&datagram[0]));
        assert!(dtls.count() <= 1, "at most SCTP's beginning");
    }
    let answers = world.peers.out.datagrams.iter();
    let flights = answers.filter(|(_, datagram)| matches!(datagram[0], 20 | 22));
    assert_eq!(flights.count(), 0);
    let connected = world.until(&RtcEvent::Connected(ID), STEP);
    assert!(connected.is_some());
}

#[test]
fn dtls_handshake_allows_a_slow_client_fifteen_seconds() {
    let mut world = World::new();
    world.slow = true;
    while !world.hold_dtls {
        world.step();
        assert!(
            world.elapsed() < SECOND,
            "the server's certificate comes at once"
        );
    }
    let end = world.now + 15 * SECOND;
    world.cut = true;
    while world.now < end {
        world.now += STEP;
        let now = world.now;
        world.peers.serve_deadlines(now);
        world.peers.out.datagrams.clear();
    }
    assert!(world.peers.out.events.is_empty() && !world.held.is_empty());
    world.cut = false;
    (world.slow, world.hold_dtls) = (false, false);
    for mut datagram in std::mem::take(&mut world.held) {
        let now = world.now;
        world.peers.dispatch(client(), &mut datagram, now);
    }
    let connected = world
        .until(&RtcEvent::Connected(ID), 3 * SECOND)
        .expect("connected");
    assert!(connected > 15 * SECOND);
}

#[test]
fn peer_whose_client_never_connects_is_removed_after_ten_seconds() {
    let mut world = World::new();
    world.cut = true;
    let gone = world.until(&RtcEvent::Gone(ID, Reason::NeverConnected), 60 * SECOND);
    assert!(
        gone.is_some_and(|gone| (10 * SECOND..=11 * SECOND).contains(&gone)),
        "{gone:?}"
    );
}

#[test]
fn media_is_not_sent_before_srtp_has_keys() {
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
