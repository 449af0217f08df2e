//! Decides what happens to each packet of a participant: whether it is played, held until a floor
//! request is answered, skipped because nobody would hear it, or refused because it arrived after
//! the participant released the floor.
//!
//! Of a skipped packet only the arrival counts. It is not decoded, or only roughly and within a
//! [budget](super::decode_budget). The last few skipped payloads are kept to warm up the decoder.

mod classify;

use core::time::Duration;

use super::decode_budget::DecodeBudget;
use super::decoder_warmup::WarmupPackets;
use super::level_hint::{Class, LevelHint};
use super::network::Network;
use super::permit_state::PermitState;
use super::reception::Pushed;
use super::talk_spurt::TalkSpurt;
use crate::format::{SAMPLE_RATE_HZ, TickLength};
use crate::meter::LevelReading;
use crate::packet::Packet;
use crate::permit::Permit;
use crate::schedule::Rhythm;
use crate::units::{Decibels, Time};

/// The decision about one arriving packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The packet is stored and played when it is due.
    Play,
    /// The packet is stored for at most 300 ms, and nothing plays meanwhile: the participant has
    /// asked for the floor, or may be about to ask.
    Hold,
    /// The packet's arrival is recorded, and its payload may warm up the decoder.
    Skip,
    /// The packet arrived after the participant released the floor, while earlier packets still
    /// play. It does not count as lost.
    Refuse,
}

/// How a participant's packets are used at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Packets are played.
    Playing,
    /// Packets are skipped.
    Skipping(SkipReason),
    /// The participant has no permit, and its last audible sound has faded out: packets are held or
    /// skipped.
    Shut,
}

/// The reason why a participant's packets are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SkipReason {
    /// The participant is muted.
    Muted,
    /// The sender signals silence in its audio levels (RFC 6464).
    Silent,
    /// The sound has been below the noise gate for a second. Packets are decoded roughly to notice
    /// when that changes.
    Quiet,
}

/// What a source has to do after its participant's permit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Change {
    /// The source plays on as before.
    None,
    /// The source plays the held packets and catches up with the sender.
    CatchUp,
    /// The source plays the remaining packets at normal speed: none will follow.
    Finish,
    /// The source stops: the participant is no longer heard.
    Stop,
}

/// The measured sound of one source in one tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TickHeard {
    /// The tick's instant.
    pub now: Time,
    pub reading: LevelReading,
    /// Whether the tick's samples were decoded from packets, not produced by concealment.
    pub is_played: bool,
    /// Time from a packet's arrival to the tick that plays it.
    pub on_the_way: Duration,
}

/// Decides for each packet of one participant whether it is played.
#[derive(Debug)]
pub(crate) struct Admission {
    tick: TickLength,
    permit: PermitState,
    muted: bool,
    /// Level at which the noise gate opens.
    gate_db: Option<Decibels>,
    state: State,
    /// Milliseconds for which the sound has been well below the gate.
    quiet_ms: u32,
    spurt: TalkSpurt,
    level_hint: LevelHint,
    warmup: WarmupPackets,
    budget: DecodeBudget,
    /// The last packet was decoded roughly, so the decoder needs no warm-up for the next packet.
    is_decoding_roughly: bool,
    /// SSRC of the last packet.
    ssrc: u32,
    /// Packets that held a sound; see [`Admission::voiced_total`].
    voiced_total: u64,
}

/// All methods are real-time safe. `network` is `None` for a source that receives no packets.
impl Admission {
    /// Creates an admission that plays every packet.
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

    /// Mutes or unmutes the participant. Returns whether a muted participant was unmuted.
    pub fn set_muted(&mut self, muted: bool) -> bool {
        core::mem::replace(&mut self.muted, muted) && !muted
    }

    /// Sets the level at which the noise gate opens; `None` opens it for anything but digital
    /// silence.
    pub fn set_gate(&mut self, gate_db: Option<Decibels>) {
        self.gate_db = gate_db;
    }

    /// Takes in one packet. Returns the outcome, and the level to publish if the packet reveals its
    /// level without being played.
    pub fn push(
        &mut self,
        packet: &Packet,
        arrival: Time,
        network: &mut Network<'_>,
    ) -> (Pushed, Option<Decibels>) {
        let (class, level) = self.classify(packet, arrival, network);
        let payload = packet.payload.as_slice();
        self.level_hint.note(payload.len(), class, arrival);
        let samples = network.reception.codec().samples(payload).unwrap_or(0);
        let is_silent = class == Class::Silent;
        let voiced = self.spurt.record(packet, samples, is_silent, arrival);
        let verdict = self.verdict(class, arrival, network);
        let pushed = self.carry_out(verdict, packet, class, arrival, network);
        if !matches!(pushed, Pushed::Malformed | Pushed::Duplicate) {
            self.voiced_total += voiced;
        }
        (pushed, level)
    }

    /// Decides what happens to one packet.
    fn verdict(&self, class: Class, arrival: Time, network: &Network<'_>) -> Verdict {
        if self.permit.is_open() {
            return match self.state {
                _ if !self.permit.admits(arrival, network.reception.target()) => Verdict::Refuse,
                State::Skipping(reason) if self.still_skips(reason, class) => Verdict::Skip,
                _ => Verdict::Play,
            };
        }
        if self.state != State::Shut {
            // The sound heard so far fades out in the next tick, and the fade needs packets to
            // play.
            return Verdict::Play;
        }
        let may_be_asked_for = match self.spurt.is_young(arrival, HELD) {
            _ if self.permit.effective() == Permit::Asked => true,
            Some(is_young) => is_young,
            None => !network.reception.is_empty(),
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
            Verdict::Refuse => network.reception.refuse(packet, arrival),
            Verdict::Play if !self.permit.is_open() => network.reception.push(packet, arrival),
            Verdict::Play => {
                self.ssrc = packet.ssrc;
                if self.state != State::Playing {
                    self.state = State::Playing;
                    self.warm_up(packet.ssrc, arrival, network);
                }
                if self.quiet_ms > 0 || class == Class::Silent {
                    self.warmup.keep(packet, network.reception.codec());
                }
                network.reception.push(packet, arrival)
            }
            Verdict::Hold => {
                // The packets held so far come from the SSRC of the packet before.
                self.forget_old(arrival, network);
                self.ssrc = packet.ssrc;
                network.reception.push(packet, arrival)
            }
            Verdict::Skip => {
                if self.state == State::Shut {
                    self.forget_held(network);
                }
                self.ssrc = packet.ssrc;
                self.warmup.keep(packet, network.reception.codec());
                network.reception.pass(packet, arrival)
            }
        }
    }

    /// Whether a participant whose packets are skipped is still to be skipped with this packet.
    fn still_skips(&self, reason: SkipReason, class: Class) -> bool {
        match reason {
            SkipReason::Muted => self.muted,
            _ if self.permit.is_held() => false,
            SkipReason::Silent => class == Class::Silent,
            SkipReason::Quiet => class != Class::Voice,
        }
    }

    /// Applies a permit that the control side ordered. Returns what the source has to do.
    ///
    /// - `is_audible`: the participant's last frame did not end in silence.
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

    /// Begins a tick: closes a draining permit once the participant's last words have been played.
    ///
    /// - `target`: how long packets wait before they are played.
    /// - `has_run_dry`: all packets that arrived have been played.
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

    /// Whether the sender's audio levels say that this tick is silent.
    ///
    /// Also records whether a voice is heard although the levels signal silence: such a sender's
    /// levels are no longer believed.
    pub fn is_silent_by_its_own_word(&mut self, tick: &TickHeard) -> bool {
        let opens_at = self.gate_db.map_or(FAINT_DB, |opens_at| opens_at.0);
        let has_voice = tick.is_played && tick.reading.onset.0 >= opens_at;
        let tick_ms = self.tick.ms();
        self.level_hint
            .hear(has_voice, tick.now, tick.on_the_way, tick_ms);
        let since = self.level_hint.silent_since();
        !has_voice && since.is_some_and(|since| tick.now.since(since) > tick.on_the_way)
    }

    /// Ends a tick: starts skipping packets if the participant is not heard in the mix and is not
    /// about to be. Returns whether skipping has just begun.
    ///
    /// - `is_silent`: the sender's levels say that the tick is silent.
    /// - `is_present`: the participant is audible, or its gate is open.
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

    /// Whether arriving packets are not played because nobody would hear them.
    pub fn is_skipping(&self) -> bool {
        self.state != State::Playing
    }

    /// Whether the sender signals silence in its audio levels and is believed.
    pub fn tells_silence(&self) -> bool {
        self.level_hint.silent_since().is_some()
    }

    pub fn spurt(&self) -> &TalkSpurt {
        &self.spurt
    }

    /// Packets that held a sound: neither signalled as silent (RFC 6464) nor a DTX refresh.
    pub fn voiced_total(&self) -> u64 {
        self.voiced_total
    }

    /// When the packets held for a permit could be played; `None` if no packets are held.
    pub fn held_rhythm(&self, target: Duration, holds_packets: bool) -> Option<Rhythm> {
        let is_holding = self.state == State::Shut && holds_packets;
        let last = self.spurt.last_arrival().filter(|_| is_holding)?;
        Some(Rhythm {
            ready: last + target,
            packet_samples: self.spurt.packet_samples(),
        })
    }

    /// Opens the participant's permit: plays the held packets, or plays on without interruption if
    /// the permit was closed so recently that the sound has not faded out yet.
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

    /// Shuts out a participant without a permit once nothing of it is audible.
    fn shut(&mut self, is_audible: bool) -> Change {
        if is_audible || self.state == State::Shut {
            return Change::None;
        }
        self.state = State::Shut;
        self.warmup = WarmupPackets::default();
        self.quiet_ms = 0;
        Change::Stop
    }

    /// Warms up the decoder with the last packets of this SSRC that were not played.
    fn warm_up(&mut self, ssrc: u32, now: Time, network: &mut Network<'_>) {
        self.is_decoding_roughly = false;
        let samples = self.warmup.samples_of(ssrc, network.reception.codec());
        if self.budget.spend(samples, now) {
            for payload in self.warmup.of(ssrc) {
                network.warm_up(payload);
            }
        }
    }

    /// Drops held packets that are too old to be heard; their payloads may still warm up the
    /// decoder.
    fn forget_old(&mut self, now: Time, network: &mut Network<'_>) {
        let (codec, ssrc, warmup) = (network.reception.codec(), self.ssrc, &mut self.warmup);
        let keep = |payload: &[u8]| warmup.keep_payload(ssrc, payload, codec);
        network.reception.forget_older(now, HELD_SAMPLES, keep);
    }

    fn forget_held(&mut self, network: &mut Network<'_>) {
        let (codec, ssrc, warmup) = (network.reception.codec(), self.ssrc, &mut self.warmup);
        let keep = |payload: &[u8]| warmup.keep_payload(ssrc, payload, codec);
        network.reception.forget_all(keep);
    }
}

/// How much speech from before a floor grant is still played. Longer than a grant takes on a
/// working network, and too short for anybody else to have begun to speak about something else.
const HELD: Duration = Duration::from_millis(HELD_MS);
const HELD_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 * HELD_MS as i64 / 1_000;
const HELD_MS: u64 = 300;

/// How long a sound has to be quiet before its packets are only decoded roughly. Longer than a
/// pause for thought; the CPU time is saved on participants who only listen.
const QUIET_MS: u32 = 1_000;

/// How far below the gate a sound has to be before its packets are only decoded roughly. Steady
/// noise varies by less than the difference between this and [`classify::LEAVES_DB`].
const ENTERS_DB: f32 = 2.5;

/// Without a gate, sound above this level is not silent, whatever the sender signals. Above the
/// noise that a codec makes of digital silence.
const FAINT_DB: f32 = -70.0;

#[cfg(test)]
mod tests;
