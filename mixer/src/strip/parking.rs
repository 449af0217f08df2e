//! Whose packets are taken in without being played, because nobody would hear them.
//!
//! Belongs to the strip. It parks what is muted, silent or under the gate, and has no permit, and
//! plays it again from the first packet on that may be heard. To know which that is, some packets
//! are decoded on arrival, roughly ([`Playout::decode_roughly`]) and within a [budget](super::budget).

use super::level_hint::Taken;
use super::{Strip, Unheard};
use crate::listener::DTX_MAX_BYTES;
use crate::packet::Packet;
use crate::source::gate::Reading;
use crate::units::{Decibels, Level, Time};

#[cfg(doc)]
use crate::source::Playout;

/// Why a strip's packets are not played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parked {
    /// It is muted.
    Muted,
    /// Its sender tells silence (RFC 6464).
    Silent,
    /// It has been under the gate for long. What it sends is sketched, to know when that changes.
    Quiet,
    /// It has no permit.
    Closed,
}

/// What listening to one packet gave.
enum Ear {
    Heard(Reading),
    /// It cannot be decoded roughly: only playing it can tell.
    Unable,
    /// The budget is spent: it sends more than anybody could hear.
    Spent,
}

impl Strip {
    /// Whether its packets are taken in without being played, since nobody would hear them.
    pub fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Whether its sender tells silence, and is believed.
    pub(crate) fn tells_silence(&self) -> bool {
        self.hint.silent_since().is_some()
    }

    /// What a packet is taken for: what its level tells, unless it looks like more than that and a
    /// parked strip's decoder is free to listen to it.
    pub(super) fn judge(&mut self, packet: &Packet, arrival: Time) -> Taken {
        let was_sketching = core::mem::take(&mut self.is_sketching);
        let payload = packet.payload.as_slice();
        let bytes = payload.len();
        let told = self.hint.level_of(packet);
        let is_under = |opens_at: Decibels| {
            told.is_some_and(|told| told.decibels().0 < opens_at.0 - CLEARLY_DB)
        };
        let by_word = match told {
            Some(Level::SILENCE) => Taken::Silent,
            _ if self.gate_db.is_some_and(is_under) => Taken::Low,
            _ => Taken::Sound,
        };
        let is_silent = by_word == Taken::Silent;
        let listens = match self.parked {
            None | Some(Parked::Muted) => {
                if is_silent {
                    self.hint.expect(bytes);
                }
                false
            }
            Some(Parked::Silent | Parked::Closed) => is_silent,
            Some(Parked::Quiet) => is_silent || self.gate_db.is_some(),
        };
        if !listens {
            return by_word;
        }
        let if_quiet = match by_word {
            Taken::Sound => Taken::Low,
            told => told,
        };
        // A sound that was heard in the last packet is followed to its end: that is cheaper than to warm
        // the decoder up for every packet that looks like more again.
        let follows = was_sketching && !self.tells_silence();
        let is_believed =
            by_word != Taken::Sound && !follows && self.hint.is_believed(payload, arrival);
        if is_believed || bytes <= DTX_MAX_BYTES {
            self.show_level(told.map_or(Decibels::SILENCE, Level::decibels));
            return if_quiet;
        }
        match self.listen_to(packet, arrival, was_sketching) {
            Ear::Spent => if_quiet,
            Ear::Unable => {
                self.hint.listened(bytes, false, arrival);
                match self.parked {
                    Some(Parked::Closed) => by_word,
                    _ => Taken::Sound,
                }
            }
            Ear::Heard(reading) => {
                let opens_at = self
                    .gate_db
                    .map_or(FAINT_DB, |opens_at| opens_at.0 - LEAVES_DB);
                let is_quiet = reading.onset.0 < opens_at;
                self.hint.listened(bytes, is_quiet, arrival);
                self.show_level(reading.level);
                if is_quiet { if_quiet } else { Taken::Sound }
            }
        }
    }

    /// Shows how loud a parked strip is; behind a shut door it is silent.
    fn show_level(&mut self, level: Decibels) {
        if self.parked != Some(Parked::Closed) {
            self.level = level;
        }
    }

    /// Decodes one packet roughly, after the ones before it unless they have been.
    fn listen_to(&mut self, packet: &Packet, arrival: Time, was_sketching: bool) -> Ear {
        let codec = self.playout.codec();
        let payload = packet.payload.as_slice();
        if !Unheard::fits(payload, codec) {
            return Ear::Unable;
        }
        let before = match was_sketching {
            true => 0,
            false => self.unheard.samples_of(packet.ssrc, codec),
        };
        let all = before + self.samples_of(packet);
        if !self.budget.spend(all, arrival) {
            return Ear::Spent;
        }
        if !was_sketching {
            // A decoder that begins in the middle of a stream is too loud at first.
            for payload in self.unheard.of(packet.ssrc) {
                let _ = self.playout.decode_roughly(payload);
            }
        }
        let reading = self.playout.decode_roughly(payload);
        self.is_sketching = reading.is_some();
        reading.map_or(Ear::Unable, Ear::Heard)
    }

    /// Whether a parked strip has nothing to say in this packet either.
    pub(super) fn stays_parked(&self, why: Parked, taken: Taken) -> bool {
        match why {
            Parked::Muted => self.muted,
            // Only behind a shut door, where this is not asked.
            Parked::Closed => false,
            _ if self.door.is_held() => false,
            Parked::Silent => taken == Taken::Silent,
            Parked::Quiet => taken != Taken::Sound,
        }
    }

    /// Brings the decoder to where it would be had it decoded what was not played of this source.
    pub(super) fn warm_up(&mut self, ssrc: u32, now: Time) {
        self.is_sketching = false;
        let samples = self.unheard.samples_of(ssrc, self.playout.codec());
        if self.budget.spend(samples, now) {
            for payload in self.unheard.of(ssrc) {
                self.playout.warm_up(payload);
            }
        }
    }

    /// Parks it, if it has no voice in the mix and none that it might have soon.
    pub(super) fn park(&mut self, silent: bool, reading: &Reading) {
        let is_quiet = match self.gate_db {
            Some(opens_at) => reading.onset.0 < opens_at.0 - ENTERS_DB,
            None => false,
        };
        self.quiet_ms = match is_quiet {
            true => self.quiet_ms.saturating_add(self.tick.ms()),
            false => 0,
        };
        if self.applied > 0.0 || self.gate.is_open() || self.parked.is_some() {
            return;
        }
        self.parked = if self.muted {
            Some(Parked::Muted)
        } else if self.door.is_held() {
            None
        } else if silent && !self.hint.last_is_large() {
            Some(Parked::Silent)
        } else if self.quiet_ms >= QUIET_MS && self.unheard.is_whole() {
            Some(Parked::Quiet)
        } else {
            None
        };
        if self.parked.is_some() {
            self.playout.park();
            self.loudness = Decibels::SILENCE;
        }
    }

    /// Whether what plays now is told to be silent.
    ///
    /// Takes note of a voice that is heard all the same: then it is not believed.
    ///
    /// - `is_played`: the reading is of what was sent, not of what was made up.
    pub(super) fn is_silent_by_its_own_word(
        &mut self,
        now: Time,
        reading: &Reading,
        is_played: bool,
    ) -> bool {
        let on_the_way = self.playout.delay() + self.tick.duration();
        let opens_at = self.gate_db.map_or(FAINT_DB, |opens_at| opens_at.0);
        let has_voice = is_played && reading.onset.0 >= opens_at;
        self.hint.hear(has_voice, now, on_the_way, self.tick.ms());
        let since = self.hint.silent_since();
        !has_voice && since.is_some_and(|since| now.since(since) > on_the_way)
    }
}

/// How long a strip has to be quiet before its packets are only sketched: pauses for thought are
/// shorter, and what is gained is gained from those who only listen.
const QUIET_MS: u32 = 1_000;

/// How far under the gate it has to be for that, and where it comes back. Between the two is more
/// than steady noise varies by; a sketch leaves out what is over 8 kHz, so a strip comes back before
/// its gate opens.
const ENTERS_DB: f32 = 2.5;
const LEAVES_DB: f32 = 1.0;

/// A level that a sender tells (RFC 6464) is of a whole packet, whose loudest part may be louder by
/// so much.
const CLEARLY_DB: f32 = 12.0;

/// Without a gate, what is told to be silent and is louder than this is not: more than a codec makes
/// of digital silence.
const FAINT_DB: f32 = -70.0;
