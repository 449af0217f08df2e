//! The DTLS handshake: which datagrams the core gets, and when the core repeats a flight.

use std::time::{Duration, Instant};

use super::super::demux::{handshake_types, is_handshake};

/// A DTLS handshake, observed from outside the WebRTC core.
///
/// RFC 6347, section 4.2.4, has both sides repeat a flight until it is answered. The core (rtc-dtls
/// 0.21) falls short in four ways, for which this type compensates:
///
/// - Any handshake record that does not complete the awaited flight stops the core's timer for
///   good, even a repetition of an answered flight. libwebrtc repeats its flights after 50 ms: if
///   our answer was lost, nothing would replace it. So the core does not get repetitions.
/// - The core waits for a second before it repeats a flight. By then a client that has finished its
///   side is talking. So the core is told that the client's flights came 900 ms earlier than they
///   did; and our own hello, which follows no flight, is sent twice.
/// - As client the core sends a fatal alert if a server's certificate arrives before its hello,
///   which can happen when they are in two datagrams. So the core gets nothing from a server before
///   its hello.
/// - As client the core answers a repetition of the server's last flight with its own, which the
///   server answers in turn, endlessly. So a client core that is up gets no more of the handshake.
pub(super) struct Handshake {
    /// Whether the client is DTLS client and starts the handshake.
    client_starts: bool,
    /// Number of the client's datagrams that belonged to the handshake.
    datagrams: u32,
    /// Whether the core got input since its last flight: its next flight is an answer, not a
    /// repetition.
    is_new: bool,
    /// Whether the client, as DTLS server, has asked for a cookie.
    asked_for_cookie: bool,
    /// Whether the client, as DTLS server, has sent its hello.
    greeted: bool,
    /// Our hello, until it is sent a second time or answered.
    hello: Option<Vec<u8>>,
    /// Whether the core has sent its certificate, and thereby answered the client's earlier
    /// flights.
    answered: bool,
    /// When the core is to check its flight next.
    due: Instant,
    /// Number of times the core has checked this flight.
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

    /// Counts a datagram of the client; returns whether the core may have one more.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.datagrams < MAX_DATAGRAMS;
        self.datagrams += u32::from(has_room);
        has_room
    }

    /// Whether a datagram must be kept from the core: a repetition of an answered flight, or too
    /// early.
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

    /// Whether a datagram must be kept from a core that is up. As DTLS client the core needs no
    /// more of the handshake. As DTLS server it must repeat its last flight whenever the client
    /// repeats the preceding one.
    pub(super) fn withholds_when_up(&self, datagram: &[u8]) -> bool {
        self.withholds(datagram) || !self.client_starts && is_handshake(datagram)
    }

    /// Notes that the core gets a datagram; returns the arrival time to tell the core. For a flight
    /// that the core answers this is 900 ms ago, so that the core repeats its answer
    /// [`FIRST_REPETITION`] from now.
    pub(super) fn given(&mut self, datagram: &[u8], now: Instant) -> Instant {
        // A server's last flight has no plaintext message. It starts SCTP's clock, so its time must
        // be true.
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

    /// Notes a datagram that the core sends.
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
        // Our first hello answers no flight whose time could be shifted, so keep a copy for
        // repetition.
        if self.datagrams == 0 {
            self.hello = Some(datagram.to_vec());
        }
    }

    /// When the core is to check its flight next. If its second is over, it repeats the flight,
    /// seven times at most. At one per second, all would be spent before a slow client begins to
    /// answer; so the pauses grow.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Notes that a path exists again: the core checks soon, because datagrams sent meanwhile were
    /// lost.
    pub(super) fn resume(&mut self, now: Instant) {
        self.due = self.due.min(now + PAUSES[0]);
    }

    /// Notes that the core checks its flight; returns our hello if it is to be sent again.
    pub(super) fn look(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.due = now + PAUSES[self.looks.min(PAUSES.len() - 1)];
        self.looks += 1;
        self.hello.take()
    }
}

/// Handshake message types (RFC 5246, section 7.4; RFC 6347, section 4.3.2).
const HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// The first flight of a DTLS client.
const CLIENT_HELLO: &[u8] = &[HELLO];

/// A DTLS server's request for a cookie.
const COOKIE_REQUEST: &[u8] = &[HELLO_VERIFY_REQUEST];

/// The messages that precede either side's certificate.
const HELLOS: &[u8] = &[HELLO, HELLO_VERIFY_REQUEST];

/// A server's messages after its hello: certificate, keys, certificate request, ServerHelloDone.
const AFTER_SERVER_HELLO: &[u8] = &[11, 12, 13, 14];

/// All messages of a server up to ServerHelloDone.
const SERVER_FLIGHT: &[u8] = &[SERVER_HELLO, HELLO_VERIFY_REQUEST, 11, 12, 13, 14];

/// Most datagrams of one handshake: two dozen if every flight is fragmented and repeated; ten times
/// that for bad networks.
const MAX_DATAGRAMS: u32 = 256;

/// Time after which the core repeats a flight.
const CORE_REPETITION: Duration = Duration::from_secs(1);

/// Time after which a flight is to be repeated first: longer than most round trips, too short to
/// lose a syllable.
const FIRST_REPETITION: Duration = Duration::from_millis(100);

/// Delay after that time before the core is called, so that its timer has expired for certain.
const MARGIN: Duration = Duration::from_millis(10);

/// Pauses between the core's checks after the first. The seventh repetition comes after 18 s; the
/// check at which the core would give up comes after 30 s, when the handshake has timed out.
const PAUSES: [Duration; 7] = [
    Duration::from_millis(1_010),
    Duration::from_millis(1_010),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(6),
    Duration::from_secs(12),
];
