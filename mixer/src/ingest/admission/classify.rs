//! Tells whether a packet may hold a voice, by the audio level that its sender signals and, where
//! the level is not enough, by a rough decode.

use super::{Admission, FAINT_DB, SkipReason, State};
use crate::codec::DTX_MAX_BYTES;
use crate::ingest::decoder_warmup::WarmupPackets;
use crate::ingest::level_hint::Class;
use crate::ingest::network::Network;
use crate::meter::LevelReading;
use crate::packet::Packet;
use crate::units::{Decibels, Level, Time};

/// The outcome of listening to one packet by a rough decode.
enum Ear {
    Heard(LevelReading),
    /// The packet cannot be decoded roughly: its level shows only when it is played.
    Unable,
    /// The decode budget is spent: the source sends more sound than real time.
    Spent,
}

impl Admission {
    /// Classifies a packet by the audio level that its sender signals, or by a rough decode if the
    /// level is not to be relied on and the decoder is not in use for playout. Also returns the
    /// level to publish for a packet that is not played; `None` without a permit.
    pub(super) fn classify(
        &mut self,
        packet: &Packet,
        arrival: Time,
        network: &mut Network<'_>,
    ) -> (Class, Option<Decibels>) {
        let was_decoding_roughly = core::mem::take(&mut self.is_decoding_roughly);
        let payload = packet.payload.as_slice();
        let bytes = payload.len();
        let told = self.level_hint.level_of(packet);
        let by_word = self.class_by_word(told);
        let is_silent = by_word == Class::Silent;
        let listens = match self.state {
            State::Playing | State::Skipping(SkipReason::Muted) => {
                if is_silent {
                    self.level_hint.expect(bytes);
                }
                false
            }
            State::Skipping(SkipReason::Silent) | State::Shut => is_silent,
            State::Skipping(SkipReason::Quiet) => is_silent || self.gate_db.is_some(),
        };
        if !listens {
            return (by_word, None);
        }
        let if_quiet = match by_word {
            Class::Voice => Class::Low,
            told => told,
        };
        // Once a packet was decoded because it held a sound, the following packets are decoded too
        // until the sound ends. That costs less than a new warm-up of the decoder for each packet
        // that looks louder than silence.
        let follows = was_decoding_roughly && !self.tells_silence();
        let is_believed =
            by_word != Class::Voice && !follows && self.level_hint.is_believed(payload, arrival);
        if is_believed || bytes <= DTX_MAX_BYTES {
            let level = told.map_or(Decibels::SILENCE, Level::decibels);
            return (if_quiet, self.shown(level));
        }
        match self.listen_to(packet, arrival, was_decoding_roughly, network) {
            Ear::Spent => (if_quiet, None),
            Ear::Unable => {
                self.level_hint.listened(bytes, false, arrival);
                match self.state {
                    State::Shut => (by_word, None),
                    _ => (Class::Voice, None),
                }
            }
            Ear::Heard(reading) => {
                let opens_at = self.gate_db.map_or(FAINT_DB, |at| at.0 - LEAVES_DB);
                let is_quiet = reading.onset.0 < opens_at;
                self.level_hint.listened(bytes, is_quiet, arrival);
                let class = if is_quiet { if_quiet } else { Class::Voice };
                (class, self.shown(reading.level))
            }
        }
    }

    fn class_by_word(&self, told: Option<Level>) -> Class {
        let is_under = |opens_at: Decibels| {
            told.is_some_and(|told| told.decibels().0 < opens_at.0 - CLEARLY_DB)
        };
        match told {
            Some(Level::SILENCE) => Class::Silent,
            _ if self.gate_db.is_some_and(is_under) => Class::Low,
            _ => Class::Voice,
        }
    }

    fn shown(&self, level: Decibels) -> Option<Decibels> {
        (self.state != State::Shut).then_some(level)
    }

    /// Decodes one packet roughly, after a warm-up if the packet before was not decoded.
    fn listen_to(
        &mut self,
        packet: &Packet,
        arrival: Time,
        was_decoding_roughly: bool,
        network: &mut Network<'_>,
    ) -> Ear {
        let codec = network.reception.codec();
        let payload = packet.payload.as_slice();
        if !WarmupPackets::fits(payload, codec) {
            return Ear::Unable;
        }
        let before = match was_decoding_roughly {
            true => 0,
            false => self.warmup.samples_of(packet.ssrc, codec),
        };
        let all = before + codec.samples(payload).unwrap_or(0);
        if !self.budget.spend(all, arrival) {
            return Ear::Spent;
        }
        if !was_decoding_roughly {
            // A decoder that starts in the middle of a stream is too loud at first.
            for payload in self.warmup.of(packet.ssrc) {
                let _ = network.decoder.decode_roughly(payload);
            }
        }
        let reading = network.decoder.decode_roughly(payload);
        self.is_decoding_roughly = reading.is_some();
        reading.map_or(Ear::Unable, Ear::Heard)
    }
}

/// How far below the gate a sound may be when its packets are played again. A rough decode leaves
/// out everything above 8 kHz, so playing starts before the gate opens.
const LEAVES_DB: f32 = 1.0;

/// An RFC 6464 level is that of a whole packet; the packet's loudest part may be this much louder.
const CLEARLY_DB: f32 = 12.0;
