//! Decides how far the audio level that a sender signals for its packets (RFC 6464) is believed.
//!
//! A low level saves the strip from decoding a packet that is silent or below the gate. But the
//! level is only a hint: some clients signal level 127 (silence) for everything they send. So
//! packets with a low level are decoded roughly if their size suggests more than silence, and now
//! and then in any case. A sender that is heard while it signals silence is no longer believed.

use core::time::Duration;

use crate::packet::Packet;
use crate::units::{Level, Time};

/// What is known about the audio levels that one SSRC signals.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LevelHint {
    ssrc: u32,
    /// A voice was heard in packets whose level signalled silence or a level below the gate.
    is_wrong: bool,
    /// Since when all packets have signalled silence without being found louder.
    silent_since: Option<Time>,
    /// Since when the levels of all packets have been far below the gate.
    low_since: Option<Time>,
    /// Milliseconds of sound heard although the level was low.
    heard_ms: u32,
    size: SilenceSize,
    last_bytes: u16,
    listened: Option<Time>,
    /// The ends of the last payload of more than [`TINY_BYTES`].
    ends: Ends,
}

impl LevelHint {
    /// The audio level of a packet, if the packet carries one and the sender is believed.
    pub fn level_of(&mut self, packet: &Packet) -> Option<Level> {
        if packet.ssrc != self.ssrc {
            *self = LevelHint {
                ssrc: packet.ssrc,
                ..LevelHint::default()
            };
        }
        packet.level.filter(|_| !self.is_wrong)
    }

    /// Records the class of a packet, by its level or by a rough decode.
    pub fn note(&mut self, bytes: usize, class: Class, arrival: Time) {
        self.last_bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        match class {
            Class::Silent => {
                self.silent_since.get_or_insert(arrival);
                self.low_since.get_or_insert(arrival);
            }
            Class::Low => {
                self.silent_since = None;
                self.low_since.get_or_insert(arrival);
            }
            Class::Voice => {
                self.silent_since = None;
                self.low_since = None;
                self.heard_ms = 0;
            }
        }
    }

    /// Records the size of a packet that signals silence and will be played: the smallest of these
    /// packets is taken to be silence.
    pub fn expect(&mut self, bytes: usize) {
        if self.silent_since.is_none() {
            self.size = SilenceSize::default();
        }
        self.size.lessen(bytes);
    }

    /// Since when the sender has signalled silence; `None` if it does not.
    pub fn silent_since(&self) -> Option<Time> {
        self.silent_since
    }

    /// Whether the last packet is too large to be taken for silence by its size.
    pub fn last_is_large(&self) -> bool {
        !self.size.covers(self.last_bytes.into())
    }

    /// Whether a packet with a low level need not be decoded to check it.
    pub fn is_believed(&mut self, payload: &[u8], arrival: Time) -> bool {
        let bytes = payload.len();
        let listen_every = match self.repeats(payload) {
            true => LISTEN_EVERY_REPEATED,
            false => LISTEN_EVERY,
        };
        let is_due = self
            .listened
            .is_none_or(|last| arrival.since(last) >= listen_every);
        let is_believed = bytes <= TINY_BYTES || !is_due && self.size.covers(bytes);
        if is_believed {
            self.size.shrink(bytes);
        }
        is_believed
    }

    /// Whether a payload repeats the one before, judged by its length, its first and its last
    /// bytes. Payloads of at most [`TINY_BYTES`] are not compared.
    fn repeats(&mut self, payload: &[u8]) -> bool {
        if payload.len() <= TINY_BYTES {
            return true;
        }
        let ends = Ends::of(payload);
        core::mem::replace(&mut self.ends, ends) == ends
    }

    /// Records that a packet was decoded roughly, and whether it was quiet.
    pub fn listened(&mut self, bytes: usize, was_quiet: bool, arrival: Time) {
        self.listened = Some(arrival);
        if was_quiet {
            self.size.grow(bytes);
        }
    }

    /// Records whether a voice is heard in a tick.
    ///
    /// - `on_the_way`: time from a packet's arrival to the tick that plays it.
    pub fn hear(&mut self, voice: bool, now: Time, on_the_way: Duration, tick_ms: u32) {
        let is_low = self
            .low_since
            .is_some_and(|since| now.since(since) > on_the_way);
        if !voice || !is_low {
            return;
        }
        self.heard_ms += tick_ms;
        if self.heard_ms >= WRONG_AFTER_MS {
            self.is_wrong = true;
            self.note(self.last_bytes.into(), Class::Voice, now);
        }
    }
}

/// What a packet is assumed to hold before it is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The sender signals silence.
    Silent,
    /// The packet's level is far below the gate.
    Low,
    /// The packet may hold a sound.
    Voice,
}

/// A payload's length, its first bytes and its last bytes, to compare it with another payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    len_bytes: usize,
    first: [u8; 8],
    last: [u8; 8],
}

impl Ends {
    fn of(payload: &[u8]) -> Ends {
        Ends {
            len_bytes: payload.len(),
            first: payload.first_chunk().copied().unwrap_or_default(),
            last: payload.last_chunk().copied().unwrap_or_default(),
        }
    }
}

/// Size of one source's packets of silence, which differs more between encoders than from packet to
/// packet.
///
/// Measured with libopus at 6 to 510 kbit/s: a packet of silence has 3 to 8 bytes without FEC and
/// up to two thirds of the median of speech with FEC, and varies by no more than a byte from packet
/// to packet. Of 320 packets of speech, at most 3 in a hundred were within the allowance below.
/// With constant bitrate, silence is as large as speech: then only listening at intervals tells
/// them apart ([`LISTEN_EVERY`]).
#[derive(Debug, Clone, Copy, Default)]
struct SilenceSize {
    /// Largest size of a packet of silence; `None` if it is not known.
    bytes: Option<u16>,
    /// The largest of the last `packets` packets.
    largest: u16,
    packets: u8,
}

impl SilenceSize {
    fn covers(&self, bytes: usize) -> bool {
        let known = self.bytes.map(usize::from);
        known.is_some_and(|known| bytes <= known + known / 4 + 2)
    }

    fn lessen(&mut self, bytes: usize) {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.bytes = Some(self.bytes.map_or(bytes, |known| known.min(bytes)));
    }

    fn grow(&mut self, bytes: usize) {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.bytes = Some(self.bytes.map_or(bytes, |known| known.max(bytes)));
        self.largest = self.largest.max(bytes);
    }

    /// Follows an encoder whose packets of silence have become smaller, as when the encoder stops
    /// adding FEC.
    fn shrink(&mut self, bytes: usize) {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.largest = self.largest.max(bytes);
        self.packets += 1;
        if self.packets == SHRINKS_AFTER {
            self.bytes = Some(self.largest);
            (self.largest, self.packets) = (0, 0);
        }
    }
}

/// Packets up to this size hold no speech: at 6 kbit/s the smallest of 320 packets of speech had 8
/// bytes.
const TINY_BYTES: usize = 6;

/// How often a packet of more than [`TINY_BYTES`] is decoded although its sender signals silence.
/// Each time, four packets are decoded at 16 kHz, so that the last of them is accurate.
const LISTEN_EVERY: Duration = Duration::from_millis(500);

/// How often a packet of a sender that signals silence is decoded while its packets repeat one
/// another. An encoder that is given zeroes makes the same packet again and again, and most packets
/// of level 127 are such packets: decoding them twice a second would double the cost of a silent
/// client. A voice does not repeat itself, but a tone may.
const LISTEN_EVERY_REPEATED: Duration = Duration::from_secs(4);

/// A sender is not believed after so much sound at a low level: more than concealment, the
/// decoder's overlap and a time stretch together carry over into silence.
const WRONG_AFTER_MS: u32 = 80;

/// A second of packets of 20 ms.
const SHRINKS_AFTER: u8 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const ON_THE_WAY: Duration = Duration::from_millis(40);

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    #[test]
    fn level_hint_believes_silence_by_size_and_checks_it_at_intervals() {
        for (is_repeated, times) in [(true, 2), (false, 19)] {
            let mut hint = LevelHint::default();
            let mut is_believed = |bytes, number: u64| {
                let byte = if is_repeated { 0 } else { number as u8 };
                let believed = hint.is_believed(&vec![byte; bytes], at(number * 20));
                if !believed {
                    hint.listened(bytes, true, at(number * 20));
                }
                believed
            };
            assert!(!is_believed(40, 0), "its size is not known");
            let listened = (1..500).filter(|number| !is_believed(40, *number));
            assert_eq!(listened.count(), times, "in ten seconds");
            assert!(!is_believed(60, 500), "larger than silence");
            assert!(is_believed(3, 3_000), "too small for any sound");
        }
    }

    #[test]
    fn level_hint_checks_the_first_packet_that_is_not_a_repetition() {
        let mut hint = LevelHint::default();
        assert!(!hint.is_believed(&[1; 40], at(0)));
        hint.listened(40, true, at(0));
        // DTX sends packets of one byte between two packets of comfort noise. These small packets
        // are not compared.
        let payloads = [&[1][..], &[1; 40]];
        assert!((1..100).all(|n| hint.is_believed(payloads[n as usize % 2], at(n * 20))));
        assert!(!hint.is_believed(&[2; 40], at(2_000)));
    }

    #[test]
    fn level_hint_includes_the_smallest_packets_in_the_size_of_silence() {
        let mut hint = LevelHint::default();
        hint.listened(60, true, at(0));
        assert!(hint.is_believed(&[1; 50], at(20)));
        let packets = 2 * u64::from(SHRINKS_AFTER);
        (0..packets).for_each(|_| assert!(hint.is_believed(&[1; 3], at(40))));
        assert!(!hint.is_believed(&[1; 50], at(60)));
    }

    #[test]
    fn silence_size_follows_an_encoder_that_changes_its_packet_size() {
        let mut size = SilenceSize::default();
        size.grow(45);
        assert!(size.covers(58) && !size.covers(59));
        (0..2 * SHRINKS_AFTER).for_each(|_| size.shrink(8));
        assert!(size.covers(12) && !size.covers(13));
        size.lessen(6);
        assert!(size.covers(9) && !size.covers(10));
    }

    #[test]
    fn level_hint_distrusts_a_sender_heard_while_signalling_silence() {
        let packet = Packet {
            seq: crate::units::Seq(0),
            time: crate::units::RtpTime(0),
            ssrc: 7,
            marker: false,
            level: Some(Level::SILENCE),
            payload: crate::packet::Payload::EMPTY,
        };
        let mut hint = LevelHint::default();
        assert_eq!(hint.level_of(&packet), Some(Level::SILENCE));
        hint.note(60, Class::Silent, at(1_000));
        // The sound that arrived before is still being played.
        hint.hear(true, at(1_040), ON_THE_WAY, 20);
        for ms in [1_060, 1_080, 1_100] {
            hint.hear(true, at(ms), ON_THE_WAY, 20);
            assert_eq!(hint.level_of(&packet), Some(Level::SILENCE), "{ms}");
        }
        hint.hear(true, at(1_120), ON_THE_WAY, 20);
        assert_eq!(hint.level_of(&packet), None);
        assert_eq!(hint.silent_since(), None);
        let other = Packet { ssrc: 8, ..packet };
        assert_eq!(hint.level_of(&other), Some(Level::SILENCE));
    }

    #[test]
    fn level_hint_trusts_a_sender_that_signals_its_voice() {
        let mut hint = LevelHint::default();
        for n in 0..500 {
            let class = [Class::Silent, Class::Voice][n as usize / 4 % 2];
            hint.note(60, class, at(n * 20));
            hint.hear(true, at(n * 20 + 10), ON_THE_WAY, 20);
        }
        assert!(!hint.is_wrong);
    }
}
