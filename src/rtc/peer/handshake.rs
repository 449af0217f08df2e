//! What the core is told of a DTLS handshake, and when it is asked to repeat a flight.

use std::time::{Duration, Instant};

use super::super::demux::{handshake_types, is_handshake};

/// A DTLS handshake, seen from outside of the core.
///
/// RFC 6347, 4.2.4, has both sides repeat a flight until it is answered. The core (rtc-dtls 0.21) falls short of it in
/// three ways, and this makes up for them:
///
/// - Any handshake record that does not complete the flight it waits for stops its timer for good, even a repetition of
///   what it has answered. libwebrtc repeats its flights after 50 ms: if our answer was lost, nothing would replace it.
///   So the core is not given repetitions.
/// - It waits for a second before it repeats a flight. By then a client that has finished its side is talking. So the
///   core is told that the client's flights came 900 ms earlier than they did, and its hello is sent a second time.
/// - As client it answers a repetition of the server's last flight with its own, which the server answers in turn, and
///   so on. So once it is up it is given no more of the handshake.
pub(super) struct Handshake {
    /// The client is DTLS client: it begins.
    client_starts: bool,
    /// How many of the client's datagrams belonged to the handshake.
    datagrams: u32,
    /// What the core sends next is a new flight, and no repetition.
    is_new: bool,
    /// Our hello, until it is sent a second time or answered.
    hello: Option<Vec<u8>>,
    /// The core has sent its certificate: what the client sent before that is answered.
    answered: bool,
    /// When the core is to look at its flight.
    due: Instant,
    /// How often it has looked at this flight.
    looks: usize,
}

impl Handshake {
    pub(super) fn new(client_starts: bool, now: Instant) -> Handshake {
        Handshake {
            client_starts,
            datagrams: 0,
            is_new: true,
            hello: None,
            answered: false,
            due: now,
            looks: 0,
        }
    }

    /// Takes note of a datagram of the client's; says whether the core may have one more.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.datagrams < MAX_DATAGRAMS;
        self.datagrams += u32::from(has_room);
        has_room
    }

    /// Whether a datagram only repeats what the core has answered.
    pub(super) fn is_repetition(&self, datagram: &[u8]) -> bool {
        let answered = match self.client_starts {
            true => CLIENT_HELLO,
            false => SERVER_FLIGHT,
        };
        let mut types = handshake_types(datagram);
        self.answered && types.all(|typ| typ.is_some_and(|typ| answered.contains(&typ)))
    }

    /// Whether a datagram is nothing to a core that is up. As server it has to repeat its last flight whenever the
    /// client repeats the one before.
    pub(super) fn is_over(&self, datagram: &[u8]) -> bool {
        !self.client_starts && is_handshake(datagram)
    }

    /// The core is given a datagram; returns the arrival time that it is told. This is so early that it waits no longer
    /// than [`FIRST_REPETITION`] from now for an answer to the flight that it may send.
    pub(super) fn given(&mut self, datagram: &[u8], now: Instant) -> Instant {
        self.is_new = true;
        self.hello = None;
        // The client's last flight is encrypted. It starts SCTP's clock, and that is to be right.
        let is_answered = handshake_types(datagram).any(|typ| typ.is_some());
        let early = now.checked_sub(CORE_REPETITION - FIRST_REPETITION);
        early.filter(|_| is_answered).unwrap_or(now)
    }

    /// Takes note of a datagram that the core sends.
    pub(super) fn sent(&mut self, datagram: &[u8], now: Instant) {
        let begins = handshake_types(datagram).next().flatten();
        let Some(begins) = begins.filter(|_| self.is_new) else {
            return;
        };
        self.is_new = false;
        self.answered = !HELLOS.contains(&begins);
        self.looks = 0;
        self.due = now + FIRST_REPETITION + MARGIN;
        // Of what came before the client was heard at all, the core knows the true time.
        if self.datagrams == 0 {
            self.hello = Some(datagram.to_vec());
        }
    }

    /// When the core is to look at its flight. If the time is over, it repeats it; but not more than seven times, which
    /// a slow client has not even begun by then if that is every second. The pauses therefore grow.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The core looks at its flight. Returns what is to be sent beside.
    pub(super) fn look(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.due = now + PAUSES[self.looks.min(PAUSES.len() - 1)];
        self.looks += 1;
        self.hello.take()
    }
}

/// What a client begins with.
const CLIENT_HELLO: &[u8] = &[1];

/// What a server says up to ServerHelloDone: hello, request for a cookie, certificate, keys, request for a certificate.
const SERVER_FLIGHT: &[u8] = &[2, 3, 11, 12, 13, 14];

/// What is said before anybody shows a certificate: a client's hello, and a server's request for a cookie.
const HELLOS: &[u8] = &[1, 3];

/// Two dozen if every flight is fragmented and repeated; ten times that for bad networks.
const MAX_DATAGRAMS: u32 = 256;

/// How long the core waits before it repeats a flight.
const CORE_REPETITION: Duration = Duration::from_secs(1);

/// How long it is to wait the first time: longer than most round trips, too short to cost a syllable.
const FIRST_REPETITION: Duration = Duration::from_millis(100);

/// How long after that it is called, so that the time is over for certain.
const MARGIN: Duration = Duration::from_millis(10);

/// Pauses between its looks after the first. With them its seven repetitions last longer than a handshake may.
const PAUSES: [Duration; 7] = [
    Duration::from_millis(1_010),
    Duration::from_millis(1_010),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(6),
    Duration::from_secs(12),
];
