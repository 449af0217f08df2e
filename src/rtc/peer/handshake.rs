//! When the core is told of the client's DTLS flights, and when it is asked to repeat its own.

use std::time::{Duration, Instant};

use super::super::demux::handshake_types;

/// A DTLS handshake, seen from outside of the core.
///
/// RFC 6347, 4.2.4, has both sides repeat their flights until they are answered. The core (rtc-dtls 0.21) falls short
/// of it in two ways. Whatever belongs to a handshake stops its timer for good, a flight that it has answered already
/// too; libwebrtc repeats its flight after 50 ms, and from then on nothing would replace an answer that was lost. And
/// it waits for a second, in which a client that has all it needs speaks already. Therefore it is not told of what it
/// has answered, and of all else as if that had come earlier.
pub(super) struct Handshake {
    /// Whether the client begins.
    client_starts: bool,
    /// Datagrams of the client's so far.
    datagrams: u32,
    /// A flight of ours that follows a flight of the client's, other than one for a cookie, has gone out.
    answered: bool,
    /// When the core is to look at its flight.
    due: Instant,
    /// How often it did.
    step: usize,
}

impl Handshake {
    pub(super) fn new(client_starts: bool, now: Instant) -> Handshake {
        Handshake {
            client_starts,
            datagrams: 0,
            answered: false,
            due: now,
            step: 0,
        }
    }

    /// Whether the core may be told of one more datagram.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.datagrams < MAX_DATAGRAMS;
        self.datagrams += u32::from(has_room);
        has_room
    }

    /// Whether the client only repeats what the core has answered. The core repeats its answer all the same, at
    /// [`Handshake::due`].
    pub(super) fn is_repetition(&self, datagram: &[u8]) -> bool {
        let answered = match self.client_starts {
            true => CLIENT_HELLO,
            false => SERVER_FLIGHT,
        };
        self.answered
            && handshake_types(datagram).all(|typ| typ.is_some_and(|typ| answered.contains(&typ)))
    }

    /// When the core is told that a datagram came that comes `now`: its second ends after [`FIRST_REPETITION`].
    pub(super) fn told_at(now: Instant) -> Instant {
        now.checked_sub(CORE_REPETITION - FIRST_REPETITION)
            .unwrap_or(now)
    }

    /// The core sends a datagram of DTLS in answer to one of the client's.
    pub(super) fn answers(&mut self, datagram: &[u8], now: Instant) {
        let mut types = handshake_types(datagram).flatten();
        if !self.answered && types.any(|typ| !HELLOS.contains(&typ)) {
            self.answered = true;
            self.step = 0;
            self.due = now + FIRST_REPETITION + MARGIN;
        }
    }

    /// The core looks at its flight.
    pub(super) fn looked(&mut self, now: Instant) {
        self.due = now + STEPS[self.step.min(STEPS.len() - 1)];
        self.step += 1;
    }

    /// When the core is to look at its flight: it repeats it if its time is over. It does so seven times at most, and a
    /// slow client has not even begun by then if that is every second: it is let look ever more rarely.
    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

/// What a client begins with.
const CLIENT_HELLO: &[u8] = &[1];

/// What a server says up to ServerHelloDone: hello, request for a cookie, certificate, keys, request for a certificate.
const SERVER_FLIGHT: &[u8] = &[2, 3, 11, 12, 13, 14];

/// What is said before anybody shows a certificate: a client's hello, and a server's request for a cookie.
const HELLOS: &[u8] = &[1, 3];

/// Two dozen with every flight fragmented and repeated, and as many again in reserve.
const MAX_DATAGRAMS: u32 = 256;

/// How long the core waits before it repeats a flight.
const CORE_REPETITION: Duration = Duration::from_secs(1);

/// How long it is to wait: more than a round trip of most clients, less than a syllable.
const FIRST_REPETITION: Duration = Duration::from_millis(100);

/// How much later it is let look.
const MARGIN: Duration = Duration::from_millis(10);

/// Pauses between its looks: seven of them, and the first repetition, reach past 20 s.
const STEPS: [Duration; 6] = [
    Duration::from_millis(1_010),
    Duration::from_millis(1_010),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
    Duration::from_secs(5),
];
