//! One participant's channel strip: from the sound of a source to the frame that is added to the
//! bus.
//!
//! Source, meter, gate, gain. The strip keeps the very frame that was added, so that the same frame
//! can be subtracted for its participant. The strip decides whether the participant has something
//! to say and, where the room has a floor, lets nothing pass without a permit. The room decides who
//! is heard. A strip knows neither the other strips nor the room.

use core::fmt;
use core::time::Duration;

use super::gate::Gate;
use super::{Playout, PlayoutStats, Pulled, Source};
use crate::codec::Decode;
use crate::format::{Layout, SAMPLE_RATE_HZ, TickLength};
use crate::frame::Frame;
use crate::gain_ramp::GainRamp;
use crate::ingest::{Admission, Change, Pushed, TickHeard};
use crate::meter::{LevelReading, SANE_PEAK};
use crate::packet::Packet;
use crate::permit::Permit;
use crate::schedule::Rhythm;
use crate::units::{Decibels, Gain, Time};

/// Values that apply to every strip of a room in one tick.
#[derive(Debug, Clone, Copy)]
pub struct TickRules {
    /// The tick's instant.
    pub now: Time,
    /// Level at which gates open; `None` opens them for anything but digital silence.
    pub gate_db: Option<Decibels>,
    /// How many samples after its instant a tick may come when a packet is late.
    pub leeway_samples: usize,
}

/// The channel strip of one participant.
pub struct Strip {
    source: Box<dyn Source>,
    admission: Admission,
    tick: TickLength,
    frame: Frame,
    gate: Gate,
    gain: Gain,
    applied: f32,
    level: Decibels,
    loudness: Decibels,
    in_mix: bool,
}

impl Strip {
    /// Creates a silent strip for a sender of packets.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(layout: Layout, tick: TickLength, decoder: Box<dyn Decode>) -> Strip {
        let playout = Playout::new(layout, tick, decoder);
        Strip::with_source(layout, tick, Box::new(playout))
    }

    /// Creates a silent strip for any source, which must provide frames of this layout and tick.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_source(layout: Layout, tick: TickLength, source: Box<dyn Source>) -> Strip {
        Strip {
            source,
            admission: Admission::new(tick),
            tick,
            frame: Frame::new(layout, tick),
            gate: Gate::new(),
            gain: Gain::UNITY,
            applied: 0.0,
            level: Decibels::SILENCE,
            loudness: Decibels::SILENCE,
            in_mix: false,
        }
    }

    /// Whether the source of this strip receives packets.
    pub(crate) fn takes_packets(&self) -> bool {
        self.playout().is_some()
    }

    /// Takes in one packet that arrived at the time `arrival`. Returns [`Pushed::Malformed`] if the
    /// source receives no packets.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        let Some(playout) = self.source.playout_mut() else {
            return Pushed::Malformed;
        };
        let mut network = playout.network();
        let (pushed, level) = self.admission.push(packet, arrival, &mut network);
        self.level = level.unwrap_or(self.level);
        pushed
    }

    /// Whether ticks can leave this strip out until its next packet or a change of its settings:
    /// nothing plays, fades or holds the gate open.
    pub fn is_idle(&self) -> bool {
        if self.in_mix || self.is_audible() || self.has_floor() {
            // The strip of a floor holder is never idle: its end must be noticed even if it is
            // silent.
            return false;
        }
        if !self.admission.permit().is_open() {
            return self.is_parked();
        }
        self.source.is_idle() && !self.gate.is_open() && self.loudness <= Decibels::SILENCE
    }

    /// Whether a packet that arrives now follows a pause.
    pub fn begins_talk_spurt_at(&self, arrival: Time) -> bool {
        self.admission.spurt().follows_pause(arrival)
    }

    /// Sets whether ticks wait for late packets; if not, packets wait longer.
    ///
    /// Real-time: safe.
    pub fn set_ticks_wait(&mut self, ticks_wait: bool) {
        if let Some(playout) = self.source.playout_mut() {
            playout.set_ticks_wait(ticks_wait);
        }
    }

    /// Sets whether the participant is muted, and the gain that the next
    /// [`contribute`](Strip::contribute) ramps to.
    ///
    /// Real-time: safe.
    pub fn set(&mut self, muted: bool, gain: Gain) {
        if self.admission.set_muted(muted)
            && let Some(playout) = self.source.playout_mut()
        {
            // Packets stored while muted are stale.
            playout.restart();
        }
        self.gain = gain;
    }

    /// Sets the level at which the noise gate opens; needed while the strip is parked, since ticks
    /// then do not set it.
    ///
    /// Real-time: safe.
    pub fn set_gate(&mut self, gate_db: Option<Decibels>) {
        self.admission.set_gate(gate_db);
    }

    /// Sets the participant's permit to be heard from now on.
    ///
    /// Real-time: safe.
    pub fn allow(&mut self, permit: Permit, now: Time) {
        let is_audible = self.is_audible();
        let network = self.source.playout_mut().map(Playout::network);
        let change = self.admission.order(permit, now, is_audible, network);
        self.follow(change);
    }

    /// Pulls and decodes one tick, meters it, and returns whether there is something to hear.
    ///
    /// A muted strip keeps consuming packets, so that it is up to date when it is unmuted.
    ///
    /// Real-time: safe.
    pub fn listen(&mut self, rules: &TickRules) -> bool {
        let is_audible = self.is_audible();
        let has_run_dry = self.playout().is_none_or(Playout::has_run_dry);
        let change = (self.admission).begin_tick(rules.now, is_audible, self.target(), has_run_dry);
        self.follow(change);
        self.admission.set_gate(rules.gate_db);
        if !self.admission.permit().is_open() && !is_audible {
            return false;
        }
        if let Some(playout) = self.source.playout_mut() {
            // Ticks do not wait for a participant who is not heard.
            playout.set_leeway(if is_audible { rules.leeway_samples } else { 0 });
        }
        let pulled = self.source.pull(rules.now, &mut self.frame);
        let reading = match pulled {
            Pulled::Silent => LevelReading::SILENCE,
            Pulled::Audio | Pulled::Concealed => self.read(),
        };
        if !self.may_be_heard() {
            self.fall_silent();
            if self.admission.permit().is_open() {
                self.end_tick(false, &reading);
            }
            return false;
        }
        let tick = TickHeard {
            now: rules.now,
            reading,
            is_played: pulled == Pulled::Audio,
            on_the_way: self.playout().map_or(Duration::ZERO, Playout::delay)
                + self.tick.duration(),
        };
        let is_silent = self.admission.is_silent_by_its_own_word(&tick);
        let heard = match is_silent {
            true => LevelReading::SILENCE,
            false => reading,
        };
        self.meter(reading.level);
        let is_open = self.gate.judge(heard, rules.gate_db, self.tick);
        // A packet that has arrived and is not due yet is not silence.
        let waits = pulled == Pulled::Silent && self.playout().is_some_and(Playout::has_packets);
        if !waits {
            self.end_tick(is_silent, &heard);
        }
        let speaks = match self.has_floor() {
            true => pulled != Pulled::Silent && !is_silent,
            false => is_open,
        };
        speaks && self.gain > Gain::MUTE
    }

    /// Prepares the frame that is added to the bus, ramped to the strip's gain or, if not `heard`,
    /// to zero. Returns whether there is anything to add.
    ///
    /// Opening takes 1 ms: short enough to leave a plosive its attack. Every other change takes 10
    /// ms.
    ///
    /// Real-time: safe.
    pub fn contribute(&mut self, heard: bool) -> bool {
        let target = if heard { self.gain.factor() } else { 0.0 };
        let from = self.applied;
        self.in_mix = from > 0.0 || target > 0.0;
        if !self.in_mix {
            return false;
        }
        let ramp_samples = if from == target {
            0
        } else if from == 0.0 {
            OPENING_SAMPLES
        } else {
            RAMP_SAMPLES
        };
        let channels = self.frame.layout().channels();
        GainRamp::new(from, target, ramp_samples).apply(self.frame.samples_mut(), channels);
        self.applied = target;
        true
    }

    /// Resets the strip for another room, where its participant starts like one who joins.
    pub(crate) fn leave_room(&mut self) {
        self.fall_silent();
        self.applied = 0.0;
        self.in_mix = false;
    }

    /// The frame that was added to the bus; meaningful while [`is_in_mix`](Strip::is_in_mix).
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Whether this tick's frame was added to the bus: while the strip is heard, and in the tick of
    /// its fade-out.
    pub fn is_in_mix(&self) -> bool {
        self.in_mix
    }

    /// Whether the strip's last frame did not end in silence, so that stopping would need a
    /// fade-out.
    pub fn is_audible(&self) -> bool {
        self.applied > 0.0
    }

    /// Whether the participant may be heard: not muted, and the room has no floor or the
    /// participant holds it.
    pub fn may_be_heard(&self) -> bool {
        self.admission.permit().is_open() && !self.admission.is_muted()
    }

    /// Whether the participant is heard because it holds the floor or has just released it.
    pub fn has_floor(&self) -> bool {
        self.admission.permit().is_held()
    }

    /// The permit that is in effect now.
    pub fn permit(&self) -> Permit {
        self.admission.permit().effective()
    }

    /// Whether packets are taken in but not played because nobody would hear them.
    pub fn is_parked(&self) -> bool {
        self.admission.is_skipping()
    }

    /// Whether the sender signals silence in its audio levels and is believed.
    pub(crate) fn tells_silence(&self) -> bool {
        self.admission.tells_silence()
    }

    /// Whether the strip is heard and the packet that its next tick needs has not arrived.
    pub fn lacks_packet(&self) -> bool {
        self.is_audible() && self.playout().is_some_and(Playout::lacks_packet)
    }

    /// Records that the next tick waits for late packets.
    pub fn await_packet(&mut self) {
        if self.is_audible()
            && let Some(playout) = self.source.playout_mut()
        {
            playout.await_packet();
        }
    }

    /// Level of this tick with the participant's gain; silence while muted.
    pub fn level(&self) -> Decibels {
        self.level
    }

    /// Level that rises at once and falls slowly: the loudest participants are chosen by it.
    pub fn loudness(&self) -> Decibels {
        self.loudness
    }

    /// How long a packet waits at least before it is played.
    pub fn target(&self) -> Duration {
        self.playout().map_or(Duration::ZERO, Playout::target)
    }

    /// When the sender's packets may be played; `None` before the first packet, or if the source
    /// receives none.
    pub(crate) fn rhythm(&self) -> Option<Rhythm> {
        self.playout()?.rhythm()
    }

    /// When the sender's packets may be played, if the sender may be heard and still sends; `None`
    /// otherwise. A sender that only refreshes its silence now and then (DTX) still sends.
    pub(crate) fn rhythm_at(&self, now: Time) -> Option<Rhythm> {
        let is_likely = self.may_be_heard() && self.admission.spurt().is_going_on(now);
        self.rhythm().filter(|_| is_likely)
    }

    /// When packets held for a permit could be played; `None` if no packets are held.
    pub(crate) fn held_rhythm(&self) -> Option<Rhythm> {
        let playout = self.playout()?;
        self.admission
            .held_rhythm(playout.target(), playout.has_packets())
    }

    /// Length of a packet in samples at 48 kHz; 0 if it is not of the sender's codec.
    pub fn samples_of(&self, packet: &Packet) -> usize {
        let codec = self.playout().map(Playout::codec);
        let samples = codec.and_then(|codec| codec.samples(packet.payload.as_slice()));
        samples.unwrap_or(0)
    }

    /// Packets that held a sound: neither signalled as silent (RFC 6464) nor a DTX refresh.
    pub fn voiced(&self) -> u64 {
        self.admission.voiced_total()
    }

    /// Totals of packets and samples since the source was created.
    pub fn stats(&self) -> PlayoutStats {
        self.source.stats()
    }

    fn playout(&self) -> Option<&Playout> {
        self.source.playout()
    }

    fn follow(&mut self, change: Change) {
        if change == Change::Stop {
            self.fall_silent();
        }
        let Some(playout) = self.source.playout_mut() else {
            return;
        };
        match change {
            Change::None => {}
            Change::CatchUp => playout.catch_up(),
            Change::Finish => playout.finish(),
            Change::Stop => playout.park(),
        }
    }

    /// Parks a sender of packets that nobody would hear. Any other source keeps playing, since
    /// nothing would wake it.
    fn end_tick(&mut self, is_silent: bool, reading: &LevelReading) {
        let Some(playout) = self.source.playout_mut() else {
            return;
        };
        let is_present = self.applied > 0.0 || self.gate.is_open();
        if self.admission.end_tick(is_silent, reading, is_present) {
            playout.park();
            self.loudness = Decibels::SILENCE;
        }
    }

    fn fall_silent(&mut self) {
        self.gate.close();
        self.level = Decibels::SILENCE;
        self.loudness = Decibels::SILENCE;
    }

    fn read(&mut self) -> LevelReading {
        let reading = LevelReading::of(&self.frame);
        if reading.sane {
            return reading;
        }
        for sample in self.frame.samples_mut() {
            *sample = if sample.is_nan() {
                0.0
            } else {
                sample.clamp(-SANE_PEAK, SANE_PEAK)
            };
        }
        LevelReading::of(&self.frame)
    }

    fn meter(&mut self, level: Decibels) {
        let gain = Decibels::from_factor(self.gain.factor());
        self.level = Decibels((level.0 + gain.0).clamp(Decibels::SILENCE.0, 0.0));
        let fallen = self.loudness.0 - FALL_DB_PER_MS * self.tick.ms() as f32;
        self.loudness = Decibels(self.level.0.max(fallen));
    }
}

impl fmt::Debug for Strip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strip")
            .field("frame", &self.frame)
            .field("gate", &self.gate)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

/// Length of a ramp: 10 ms, the shortest tick, so that every ramp ends within the tick it began in.
const RAMP_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 100;

/// Length of the ramp that opens a strip: 1 ms.
const OPENING_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 1_000;

/// 60 dB a second: a speaker who pauses between words stays among the loudest.
const FALL_DB_PER_MS: f32 = 0.06;

#[cfg(test)]
mod tests;
