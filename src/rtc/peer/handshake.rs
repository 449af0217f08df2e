//! The DTLS handshake: the datagrams that the core is given, and the times at which it repeats a flight.

use std::time::{Duration, Instant};

use super::super::demux::{handshake_types, is_handshake};

/// A DTLS handshake, seen from outside of the core.
///
/// RFC 6347, 4.2.4, has both sides repeat a flight until it is answered. The core (rtc-dtls 0.21) falls short of it in
/// four ways, and this makes up for them:
///
/// - Any handshake record that does not complete the flight it waits for stops its timer for good, even a repetition of
///   what it has answered. libwebrtc repeats its flights after 50 ms: if our answer was lost, nothing would replace it.
///   So the core is not given repetitions.
/// - It waits for a second before it repeats a flight. By then a client that has finished its side is talking. So the
///   core is told that the client's flights came 900 ms earlier than they did; and our own hello, which follows no
///   flight, is sent twice.
/// - As client it sends a fatal alert if a server's certificate comes before its hello, as it may where they are two
///   datagrams. So it is given nothing of a server that has not said hello.
/// - As client it answers a repetition of the server's last flight with its own, which the server answers in turn, and
///   so on. So once it is up it is given no more of the handshake.
pub(super) struct Handshake {
    /// The client is DTLS client: it begins.
    client_starts: bool,
    /// How many of the client's datagrams belonged to the handshake.
    datagrams: u32,
    /// The core was given something since its last flight: what it sends next is an answer, not a repetition.
    is_new: bool,
    /// As DTLS server the client has asked for a cookie.
    asked_for_cookie: bool,
    /// As DTLS server the client has said hello.
    greeted: bool,
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
            asked_for_cookie: false,
            greeted: false,
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

    /// Whether a datagram must be kept from the core: it repeats what the core has answered, or comes too early.
    pub(super) fn withholds(&self, datagram: &[u8]) -> bool {
        let is_of = |messages: &[u8]| {
            let mut types = handshake_types(datagram);
            types.all(|typ| typ.is_some_and(|typ| messages.contains(&typ)))
        };
        match self.client_starts {
            true => self.answered && is_of(CLIENT_HELLO),
            false => {
                (self.answered && is_of(SERVER_FLIGHT))
                    || (!self.greeted && is_of(AFTER_SERVER_HELLO))
                    || (self.asked_for_cookie && is_of(COOKIE_REQUEST))
            }
        }
    }

    /// Whether a datagram must be kept from a core that is up. As DTLS client the core needs no more of the handshake. As
    /// DTLS server it has to repeat its last flight whenever the client repeats the one before.
    pub(super) fn withholds_when_up(&self, datagram: &[u8]) -> bool {
        self.withholds(datagram) || !self.client_starts && is_handshake(datagram)
    }

    /// Takes note that the core is given a datagram; returns the arrival time to tell it. For a flight that it answers
    /// this is 900 ms ago, so that its answer is due again [`FIRST_REPETITION`] from now.
    pub(super) fn given(&mut self, datagram: &[u8], now: Instant) -> Instant {
        // A server's last flight has no plaintext message. It starts SCTP's clock, so its time must be true.
        let mut told = now;
        for message in handshake_types(datagram).flatten() {
            self.asked_for_cookie |= message == HELLO_VERIFY_REQUEST;
            self.greeted |= message == SERVER_HELLO;
            self.is_new = true;
            self.hello = None;
            let early = now.checked_sub(CORE_REPETITION - FIRST_REPETITION);
            told = early.unwrap_or(now);
        }
        told
    }

    /// Takes note of a datagram that the core sends.
    pub(super) fn sent(&mut self, datagram: &[u8], now: Instant) {
        if !self.is_new {
            return;
        }
        let Some(begins) = handshake_types(datagram).next().flatten() else {
            return;
        };
        self.is_new = false;
        self.answered = !HELLOS.contains(&begins);
        self.looks = 0;
        self.due = now + FIRST_REPETITION + MARGIN;
        // Our first hello answers nothing that could be dated back: a copy is kept instead.
        if self.datagrams == 0 {
            self.hello = Some(datagram.to_vec());
        }
    }

    /// When the core is to look at its flight next. If its second is over, it repeats the flight, seven times at most.
    /// Once a second, these would be spent before a slow client has begun to answer; so the pauses grow.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// There is a path again: the core looks soon, for what it sent meanwhile went nowhere.
    pub(super) fn resume(&mut self, now: Instant) {
        self.due = self.due.min(now + PAUSES[0]);
    }

    /// The core looks at its flight. Returns our hello if it is to be sent once more.
    pub(super) fn look(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.due = now + PAUSES[self.looks.min(PAUSES.len() - 1)];
        self.looks += 1;
        self.hello.take()
    }
}

/// Messages of a handshake (RFC 5246, 7.4; RFC 6347, 4.3.2).
const HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// The first flight of a client.
const CLIENT_HELLO: &[u8] = &[HELLO];

/// A server's request for a cookie.
const COOKIE_REQUEST: &[u8] = &[HELLO_VERIFY_REQUEST];

/// The messages that go before anybody's certificate.
const HELLOS: &[u8] = &[HELLO, HELLO_VERIFY_REQUEST];

/// The messages of a server that follow its hello: certificate, keys, request for a certificate, ServerHelloDone.
const AFTER_SERVER_HELLO: &[u8] = &[11, 12, 13, 14];

/// All messages of a server up to ServerHelloDone.
const SERVER_FLIGHT: &[u8] = &[SERVER_HELLO, HELLO_VERIFY_REQUEST, 11, 12, 13, 14];

/// Two dozen if every flight is fragmented and repeated; ten times that for bad networks.
const MAX_DATAGRAMS: u32 = 256;

/// How long the core waits before it repeats a flight.
const CORE_REPETITION: Duration = Duration::from_secs(1);

/// How long it is to wait the first time: longer than most round trips, too short to cost a syllable.
const FIRST_REPETITION: Duration = Duration::from_millis(100);

/// How long after that it is called, so that the time is over for certain.
const MARGIN: Duration = Duration::from_millis(10);

/// Pauses between its looks after the first. The seventh repetition comes after 18 s; the look at which the core would
/// give up comes after 30 s, when the handshake has timed out.
const PAUSES: [Duration; 7] = [
    Duration::from_millis(1_010),
    Duration::from_millis(1_010),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(6),
    Duration::from_secs(12),
];
