//! Tells whether a packet may hold a voice, by the level that its sender tells and, where that is not enough, by a rough
//! decode.

use super::{Admission, FAINT_DB, SkipReason, State};
use crate::codec::DTX_MAX_BYTES;
use crate::ingest::decoder_warmup::WarmupPackets;
use crate::ingest::intake::Network;
use crate::ingest::level_hint::Class;
use crate::meter::LevelReading;
use crate::packet::Packet;
use crate::units::{Decibels, Level, Time};

/// What listening to one packet gave.
enum Ear {
    Heard(LevelReading),
    /// The packet cannot be decoded roughly: only playing it can tell.
    Unable,
    /// The budget is spent: the sender sends more than anybody could hear.
    Spent,
}

impl Admission {
    /// What a packet is taken for: what its level tells, unless it looks like more than that and the decoder is free to
    /// listen to it. With it comes the level to be shown of a packet that is not played; without a permit none is shown.
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
        // A sound that was heard in the last packet is followed to its end: that is cheaper than to warm the decoder up for
        // every packet that looks like more again.
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

    /// Decodes one packet roughly, after the ones before it unless they have been.
    fn listen_to(
        &mut self,
        packet: &Packet,
        arrival: Time,
        was_decoding_roughly: bool,
        network: &mut Network<'_>,
    ) -> Ear {
        let codec = network.codec();
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
            // A decoder that begins in the middle of a stream is too loud at first.
            for payload in self.warmup.of(packet.ssrc) {
                let _ = network.decoder.decode_roughly(payload);
            }
        }
        let reading = network.decoder.decode_roughly(payload);
        self.is_decoding_roughly = reading.is_some();
        reading.map_or(Ear::Unable, Ear::Heard)
    }
}

/// How far under the gate a sound comes back. A rough decode leaves out what is over 8 kHz, so packets are played before the
/// gate opens.
const LEAVES_DB: f32 = 1.0;

/// A level that a sender tells (RFC 6464) is of a whole packet, whose loudest part may be louder by so much.
const CLEARLY_DB: f32 = 12.0;
