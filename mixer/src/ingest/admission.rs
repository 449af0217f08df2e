//! Decides what happens to each packet of a participant: whether it is played, held until a request for the floor is
//! answered, skipped because nobody would hear it, or refused because it comes after the floor was let go.
//!
//! A packet that is skipped costs no decoding, or a rough one within a [budget](super::decode_budget): then only the arrival
//! counts, and the last few payloads are kept to warm the decoder up.

mod classify;

use core::time::Duration;

use super::decode_budget::DecodeBudget;
use super::decoder_warmup::WarmupPackets;
use super::intake::Network;
use super::level_hint::{Class, LevelHint};
use super::permit_state::PermitState;
use super::reception::Pushed;
use super::talk_spurt::TalkSpurt;
use crate::format::{SAMPLE_RATE_HZ, TickLength};
use crate::meter::LevelReading;
use crate::packet::Packet;
use crate::permit::Permit;
use crate::schedule::Rhythm;
use crate::units::{Decibels, Time};

/// What happens to a packet that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is played in its time.
    Play,
    /// It is kept for 300 ms at most, and nothing plays meanwhile: the participant has asked for the floor, or may be about
    /// to.
    Hold,
    /// Its arrival counts, and its payload may warm the decoder up.
    Skip,
    /// It comes after the participant let the floor go, while packets before it still play. Nobody misses it.
    Refuse,
}

/// What the packets of a participant are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// They are played.
    Playing,
    /// They are skipped.
    Skipping(SkipReason),
    /// The participant has no permit, and what was heard before has faded.
    Shut,
}

/// Why packets are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SkipReason {
    /// The participant is muted.
    Muted,
    /// The sender tells silence (RFC 6464).
    Silent,
    /// The sound has been under the gate for long. Packets are decoded roughly, to know when that changes.
    Quiet,
}

/// What a change of the permit asks of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Play what was held, and catch up with the sender.
    CatchUp,
    /// Play what is left as it was spoken: nothing comes after it.
    Finish,
    /// Stop: nothing of the participant is heard any more.
    Stop,
}

/// What one tick of a source held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TickHeard {
    /// The tick's instant.
    pub now: Time,
    pub reading: LevelReading,
    /// The tick is made of what was sent, not of what was made up.
    pub is_played: bool,
    /// How long a packet takes from its arrival to its tick.
    pub on_the_way: Duration,
}

/// Decides what happens to one participant's packets.
#[derive(Debug)]
pub(crate) struct Admission {
    tick: TickLength,
    permit: PermitState,
    muted: bool,
    /// Where the gate opens.
    gate_db: Option<Decibels>,
    state: State,
    /// How long the sound has been well under the gate.
    quiet_ms: u32,
    spurt: TalkSpurt,
    level_hint: LevelHint,
    warmup: WarmupPackets,
    budget: DecodeBudget,
    /// The last packet was decoded roughly: the decoder need not be warmed up for the next one.
    is_decoding_roughly: bool,
    /// The source of the last packet.
    ssrc: u32,
    /// Packets that held a sound.
    voiced_total: u64,
}

/// Each of these is real-time safe, and `network` is `None` for a source that takes no packets.
impl Admission {
    /// Admits everything.
    pub fn new(tick: TickLength) -> Admission {
        Admission {
            tick,
            permit: PermitState::default(),
            muted: false,
            gate_db: None,
            state: State::Playing,
            quiet_ms: 0,
            spurt: TalkSpurt::default(),
            level_hint: LevelHint::default(),
            warmup: WarmupPackets::default(),
            budget: DecodeBudget::default(),
            is_decoding_roughly: false,
            ssrc: 0,
            voiced_total: 0,
        }
    }

    /// Mutes the participant, or not. Returns whether it was muted and is no longer.
    pub fn set_muted(&mut self, muted: bool) -> bool {
        core::mem::replace(&mut self.muted, muted) && !muted
    }

    /// Sets where the gate opens; `None`: for anything but digital silence.
    pub fn set_gate(&mut self, gate_db: Option<Decibels>) {
        self.gate_db = gate_db;
    }

    /// Takes one packet in. Returns what became of it, and the level to be shown if the packet tells it without being
    /// played.
    pub fn push(
        &mut self,
        packet: &Packet,
        arrival: Time,
        network: &mut Network<'_>,
    ) -> (Pushed, Option<Decibels>) {
        let (class, level) = self.classify(packet, arrival, network);
        let payload = packet.payload.as_slice();
        self.level_hint.note(payload.len(), class, arrival);
        let samples = network.codec().samples(payload).unwrap_or(0);
        let is_silent = class == Class::Silent;
        let voiced = self.spurt.record(packet, samples, is_silent, arrival);
        let verdict = self.verdict(class, arrival, network);
        let pushed = self.carry_out(verdict, packet, class, arrival, network);
        if !matches!(pushed, Pushed::Malformed | Pushed::Duplicate) {
            self.voiced_total += voiced;
        }
        (pushed, level)
    }

    /// Decides what happens to a packet.
    fn verdict(&self, class: Class, arrival: Time, network: &Network<'_>) -> Verdict {
        if self.permit.is_open() {
            return match self.state {
                _ if !self.permit.admits(arrival, network.target()) => Verdict::Refuse,
                State::Skipping(reason) if self.still_skips(reason, class) => Verdict::Skip,
                _ => Verdict::Play,
            };
        }
        if self.state != State::Shut {
            // What was heard so far fades in the next tick, and that out of sound.
            return Verdict::Play;
        }
        let may_be_asked_for = match self.spurt.is_young(arrival, HELD) {
            _ if self.permit.effective() == Permit::Asked => true,
            Some(is_young) => is_young,
            None => network.holds_packets(),
        };
        match may_be_asked_for && !self.muted {
            true => Verdict::Hold,
            false => Verdict::Skip,
        }
    }

    fn carry_out(
        &mut self,
        verdict: Verdict,
        packet: &Packet,
        class: Class,
        arrival: Time,
        network: &mut Network<'_>,
    ) -> Pushed {
        match verdict {
            Verdict::Refuse => return network.refuse(packet, arrival),
            Verdict::Play if !self.permit.is_open() => return network.push(packet, arrival),
            Verdict::Hold => self.forget_old(arrival, network),
            Verdict::Skip if self.state == State::Shut => self.forget_held(network),
            Verdict::Play | Verdict::Skip => {}
        }
        self.ssrc = packet.ssrc;
        match verdict {
            Verdict::Skip => {
                self.warmup.keep(packet, network.codec());
                return network.pass(packet, arrival);
            }
            Verdict::Play => {
                if self.state != State::Playing {
                    self.state = State::Playing;
                    self.warm_up(packet.ssrc, arrival, network);
                }
                if self.quiet_ms > 0 || class == Class::Silent {
                    self.warmup.keep(packet, network.codec());
                }
            }
            Verdict::Hold | Verdict::Refuse => {}
        }
        network.push(packet, arrival)
    }

    /// Whether packets that are skipped go on being skipped with this one.
    fn still_skips(&self, reason: SkipReason, class: Class) -> bool {
        match reason {
            SkipReason::Muted => self.muted,
            _ if self.permit.is_held() => false,
            SkipReason::Silent => class == Class::Silent,
            SkipReason::Quiet => class != Class::Voice,
        }
    }

    /// Follows an order about the permit.
    ///
    /// - `is_audible`: the last frame of the participant did not end in silence.
    pub fn order(
        &mut self,
        permit: Permit,
        now: Time,
        is_audible: bool,
        network: Option<Network<'_>>,
    ) -> Change {
        let (was, was_open) = (self.permit.effective(), self.permit.is_open());
        self.permit.order(permit, now);
        match (was_open, self.permit.is_open()) {
            (false, true) => return self.let_in(now, network),
            (true, true) if was == permit => return Change::None,
            (true, true) if permit == Permit::Draining => return Change::Finish,
            (true, true) if was == Permit::Draining => return Change::CatchUp,
            (true, true) => return Change::None,
            (true, false) => self.spurt.mark_answered(),
            (false, false) if was == Permit::Asked && permit != was => {
                self.spurt.mark_answered();
                if let Some(mut network) = network {
                    self.forget_held(&mut network);
                }
            }
            (false, false) => {}
        }
        self.shut(is_audible)
    }

    /// Begins a tick: closes a permit whose last words have been heard.
    ///
    /// - `target`: how long packets wait to be played; `has_run_dry`: all that came has been played.
    pub fn begin_tick(
        &mut self,
        now: Time,
        is_audible: bool,
        target: Duration,
        has_run_dry: bool,
    ) -> Change {
        if self.permit.has_drained(now, target, has_run_dry) {
            self.permit.close();
            self.spurt.mark_answered();
        }
        match self.permit.is_open() {
            true => Change::None,
            false => self.shut(is_audible),
        }
    }

    /// Whether the tick is told to be silent.
    ///
    /// Takes note of a voice that is heard all the same: then the sender is not believed.
    pub fn is_silent_by_its_own_word(&mut self, tick: &TickHeard) -> bool {
        let opens_at = self.gate_db.map_or(FAINT_DB, |opens_at| opens_at.0);
        let has_voice = tick.is_played && tick.reading.onset.0 >= opens_at;
        let tick_ms = self.tick.ms();
        self.level_hint
            .hear(has_voice, tick.now, tick.on_the_way, tick_ms);
        let since = self.level_hint.silent_since();
        !has_voice && since.is_some_and(|since| tick.now.since(since) > tick.on_the_way)
    }

    /// Ends a tick: skips the packets from now on if the participant has no voice in the mix and none that it might have
    /// soon. Returns whether it has just begun to.
    ///
    /// - `is_silent`: the tick is told to be silent; `is_present`: the participant is audible, or its gate is open.
    pub fn end_tick(&mut self, is_silent: bool, reading: &LevelReading, is_present: bool) -> bool {
        let is_quiet = (self.gate_db).is_some_and(|at| reading.onset.0 < at.0 - ENTERS_DB);
        self.quiet_ms = match is_quiet {
            true => self.quiet_ms.saturating_add(self.tick.ms()),
            false => 0,
        };
        if is_present || self.is_skipping() {
            return false;
        }
        let reason = if self.muted {
            SkipReason::Muted
        } else if self.permit.is_held() {
            return false;
        } else if is_silent && !self.level_hint.last_is_large() {
            SkipReason::Silent
        } else if self.quiet_ms >= QUIET_MS && self.warmup.is_complete() {
            SkipReason::Quiet
        } else {
            return false;
        };
        self.state = State::Skipping(reason);
        true
    }

    pub fn permit(&self) -> &PermitState {
        &self.permit
    }

    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Whether packets are not played, since nobody would hear them.
    pub fn is_skipping(&self) -> bool {
        self.state != State::Playing
    }

    /// Whether the sender tells silence, and is believed.
    pub fn tells_silence(&self) -> bool {
        self.level_hint.silent_since().is_some()
    }

    pub fn spurt(&self) -> &TalkSpurt {
        &self.spurt
    }

    /// Packets that held a sound: neither called silent (RFC 6464) nor a DTX refresh.
    pub fn voiced_total(&self) -> u64 {
        self.voiced_total
    }

    /// When packets that are held for a permit could be played; `None` if there are none.
    pub fn held_rhythm(&self, target: Duration, holds_packets: bool) -> Option<Rhythm> {
        let is_holding = self.state == State::Shut && holds_packets;
        let last = self.spurt.last_arrival().filter(|_| is_holding)?;
        Some(Rhythm {
            ready: last + target,
            packet_samples: self.spurt.packet_samples(),
        })
    }

    /// Plays what was held for a permit, or goes on as if the permit had never been closed: it may be opened before what
    /// was heard so far has faded.
    fn let_in(&mut self, now: Time, network: Option<Network<'_>>) -> Change {
        if self.state == State::Shut {
            self.state = State::Playing;
            if let Some(mut network) = network {
                self.forget_old(now, &mut network);
                self.warm_up(self.ssrc, now, &mut network);
            }
        }
        match self.permit.effective() {
            Permit::Draining => Change::Finish,
            _ => Change::CatchUp,
        }
    }

    /// Shuts a participant without a permit out, once nothing of it is heard.
    fn shut(&mut self, is_audible: bool) -> Change {
        if is_audible || self.state == State::Shut {
            return Change::None;
        }
        self.state = State::Shut;
        self.warmup = WarmupPackets::default();
        self.quiet_ms = 0;
        Change::Stop
    }

    /// Brings the decoder to where it would be had it decoded what was not played of this source.
    fn warm_up(&mut self, ssrc: u32, now: Time, network: &mut Network<'_>) {
        self.is_decoding_roughly = false;
        let samples = self.warmup.samples_of(ssrc, network.codec());
        if self.budget.spend(samples, now) {
            for payload in self.warmup.of(ssrc) {
                network.warm_up(payload);
            }
        }
    }

    /// Forgets held packets that are too old to be heard; the decoder may still be warmed up by them.
    fn forget_old(&mut self, now: Time, network: &mut Network<'_>) {
        let (codec, ssrc, warmup) = (network.codec(), self.ssrc, &mut self.warmup);
        let keep = |payload: &[u8]| warmup.keep_payload(ssrc, payload, codec);
        network.reception.forget_older(now, HELD_SAMPLES, keep);
    }

    fn forget_held(&mut self, network: &mut Network<'_>) {
        let (codec, ssrc, warmup) = (network.codec(), self.ssrc, &mut self.warmup);
        let keep = |payload: &[u8]| warmup.keep_payload(ssrc, payload, codec);
        network.reception.forget_all(keep);
    }
}

/// As much of what was said before a request was granted is heard: longer than any answer takes on a working network, and
/// not so long that anybody would have begun something else.
const HELD: Duration = Duration::from_millis(HELD_MS);
const HELD_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 * HELD_MS as i64 / 1_000;
const HELD_MS: u64 = 300;

/// How long a sound has to be quiet before its packets are only decoded roughly: pauses for thought are shorter, and what is
/// gained is gained from those who only listen.
const QUIET_MS: u32 = 1_000;

/// How far under the gate it has to be for that. Between this and [`classify::LEAVES_DB`] is more than steady noise varies
/// by.
const ENTERS_DB: f32 = 2.5;

/// Without a gate, what is told to be silent and is louder than this is not: more than a codec makes of digital silence.
const FAINT_DB: f32 = -70.0;

#[cfg(test)]
mod tests;
