//! The DTLS handshake: which datagrams the WebRTC core gets, and when the core repeats a flight.

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
    /// Whether the core got input since its last flight, so that its next flight is an answer and
    /// not a repetition.
    is_new: bool,
    /// Whether the client, as DTLS server, has asked for a cookie.
    asked_for_cookie: bool,
    /// Whether the client, as DTLS server, has sent its hello.
    greeted: bool,
    /// Our hello, kept until it is sent a second time or answered.
    hello: Option<Vec<u8>>,
    /// Whether the core has sent its certificate, and thereby answered the client's earlier
    /// flights.
    answered: bool,
    /// When the core is called next to check whether its flight must be repeated.
    due: Instant,
    /// Number of times the core has been called for the present flight.
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

    /// Counts a handshake datagram of the client; returns false if the client has sent more than
    /// [`MAX_DATAGRAMS`].
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.datagrams < MAX_DATAGRAMS;
        self.datagrams += u32::from(has_room);
        has_room
    }

    /// Whether a datagram must be kept from the core: it repeats an answered flight, or comes
    /// before the server's hello.
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

    /// Whether a datagram must be kept from a core that has completed the handshake.
    ///
    /// As DTLS client the core needs no more handshake messages. As DTLS server it must repeat its
    /// last flight whenever the client repeats the preceding one.
    pub(super) fn withholds_when_up(&self, datagram: &[u8]) -> bool {
        self.withholds(datagram) || !self.client_starts && is_handshake(datagram)
    }

    /// Notes that the core gets a datagram; returns the arrival time that the core is told.
    ///
    /// For a flight that the core answers, this time lies 900 ms in the past, so that the core
    /// repeats its answer [`FIRST_REPETITION`] from now.
    pub(super) fn given(&mut self, datagram: &[u8], now: Instant) -> Instant {
        // A server's last flight has no plaintext message. It starts the clock of SCTP in the core,
        // so its time must be true.
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

    /// When the core is to be called next to check its flight.
    ///
    /// The core repeats a flight that is older than a second, seven times at most. At one
    /// repetition per second all would be spent before a slow client begins to answer, so the
    /// pauses grow.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Notes that a network path exists again: the core is called soon, because datagrams sent
    /// meanwhile were lost.
    pub(super) fn resume(&mut self, now: Instant) {
        self.due = self.due.min(now + PAUSES[0]);
    }

    /// Notes that the core is called to check its flight; returns our hello if it is to be sent a
    /// second time.
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

/// Most datagrams that a client may send for one handshake: two dozen if every flight is fragmented
/// and repeated, times ten for bad networks.
const MAX_DATAGRAMS: u32 = 256;

/// Time after which the core repeats a flight by itself.
const CORE_REPETITION: Duration = Duration::from_secs(1);

/// Time after which a flight is to be repeated for the first time: longer than most round trips,
/// and too short to lose a syllable.
const FIRST_REPETITION: Duration = Duration::from_millis(100);

/// Time by which the core is called later than its timer expires, so that the timer has certainly
/// expired.
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
