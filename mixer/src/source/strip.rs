//! One participant's channel strip: from a source's sound to the frame that is added to the bus.
//!
//! Source, meter, gate, gain. The strip keeps the very frame that was added, so that it can be taken out again for its owner.
//! It tells whether it has something to say, and lets nothing pass without a permit where there is a floor; whether it is
//! heard is the room's decision. It knows neither other strips nor the room.

use core::fmt;
use core::time::Duration;

use super::gate::Gate;
use super::{Playout, PlayoutStats, Pulled, Source};
use crate::codec::Decode;
use crate::format::{Layout, SAMPLE_RATE_HZ, TickLength};
use crate::frame::Frame;
use crate::gain_ramp::GainRamp;
use crate::ingest::{Admission, Change, Intake, Pushed, TickHeard};
use crate::meter::{LevelReading, SANE_PEAK};
use crate::packet::Packet;
use crate::permit::Permit;
use crate::schedule::Rhythm;
use crate::units::{Decibels, Gain, Time};

/// What applies to every strip of a room this tick.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The tick's instant.
    pub now: Time,
    /// Where gates open; `None`: for anything but digital silence.
    pub gate_db: Option<Decibels>,
    /// How much later than its instant a tick may come where a packet is late.
    pub leeway_samples: usize,
}

/// One participant's way onto the bus.
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
    /// A silent strip for a sender of packets.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(layout: Layout, tick: TickLength, decoder: Box<dyn Decode>) -> Strip {
        let playout = Playout::new(layout, tick, decoder);
        Strip::with_source(layout, tick, Box::new(playout))
    }

    /// A silent strip for any source, which must give frames of this layout and tick.
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

    /// Where packets come in; `None` for a source that takes none.
    pub(crate) fn intake(&mut self) -> Option<Intake<'_>> {
        Some(Intake {
            admission: &mut self.admission,
            network: self.source.playout_mut()?.network(),
            level: &mut self.level,
        })
    }

    /// Whether its source takes packets.
    pub(crate) fn takes_packets(&self) -> bool {
        self.playout().is_some()
    }

    /// Takes in one packet that arrived at `arrival`. A source that takes no packets says that it is malformed.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        let intake = self.intake();
        intake.map_or(Pushed::Malformed, |intake| intake.push(packet, arrival))
    }

    /// Whether ticks and their gain would pass it by unnoticed until its next packet or until its settings change: nothing
    /// plays, fades, or holds a gate open.
    pub fn is_idle(&self) -> bool {
        if self.in_mix || self.is_audible() || self.has_floor() {
            // A holder is not asleep: its end has to be noticed even if it says nothing.
            return false;
        }
        if !self.admission.permit().is_open() {
            return self.is_parked();
        }
        self.source.is_idle() && !self.gate.is_open() && self.loudness <= Decibels::SILENCE
    }

    /// Whether a packet that arrives now comes after a pause.
    pub fn begins_talk_spurt_at(&self, arrival: Time) -> bool {
        self.admission.spurt().follows_pause(arrival)
    }

    /// Says whether ticks come later for packets that are late; its packets wait longer if not.
    ///
    /// Real-time: safe.
    pub fn set_ticks_wait(&mut self, ticks_wait: bool) {
        if let Some(playout) = self.source.playout_mut() {
            playout.set_ticks_wait(ticks_wait);
        }
    }

    /// Sets the gain it moves to at the next [`contribute`](Strip::contribute), and whether it is
    /// muted.
    ///
    /// Real-time: safe.
    pub fn set(&mut self, muted: bool, gain: Gain) {
        if self.admission.set_muted(muted)
            && let Some(playout) = self.source.playout_mut()
        {
            // What waited meanwhile is stale.
            playout.restart();
        }
        self.gain = gain;
    }

    /// Tells where its gate opens from now on; a parked strip is not told by its ticks.
    ///
    /// Real-time: safe.
    pub fn set_gate(&mut self, gate_db: Option<Decibels>) {
        self.admission.set_gate(gate_db);
    }

    /// Tells what its voice may do from now on.
    ///
    /// Real-time: safe.
    pub fn allow(&mut self, permit: Permit, now: Time) {
        let is_audible = self.is_audible();
        let network = self.source.playout_mut().map(Playout::network);
        let change = self.admission.order(permit, now, is_audible, network);
        self.follow(change);
    }

    /// Pulls and decodes one tick, meters it, and says whether there is something to hear.
    ///
    /// A muted strip goes on taking its packets off, so that it is up to date when it is let in
    /// again.
    ///
    /// Real-time: safe.
    pub fn listen(&mut self, rules: &Rules) -> bool {
        let is_audible = self.is_audible();
        let has_run_dry = self.playout().is_none_or(Playout::has_run_dry);
        let change = (self.admission).begin_tick(rules.now, is_audible, self.target(), has_run_dry);
        self.follow(change);
        self.admission.set_gate(rules.gate_db);
        if !self.admission.permit().is_open() && !is_audible {
            return false;
        }
        if let Some(playout) = self.source.playout_mut() {
            // No tick waits for a participant who is not heard.
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
        // What has come and waits for its time is no silence.
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

    /// Makes the frame that is added to the bus, ramped to its gain, or from it to nothing if it is
    /// not `heard`; says whether there is anything to add.
    ///
    /// Opening takes a millisecond: short enough to leave a plosive its attack. Every other change
    /// takes ten.
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

    /// Forgets what the room made of it: it is heard in another room as one who joins is.
    pub(crate) fn leave_room(&mut self) {
        self.fall_silent();
        self.applied = 0.0;
        self.in_mix = false;
    }

    /// The frame that was added; meaningful while [`is_in_mix`](Strip::is_in_mix).
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Whether this tick's frame was added to the bus: while heard, and for the tick in which it
    /// fades out.
    pub fn is_in_mix(&self) -> bool {
        self.in_mix
    }

    /// Whether it would be heard on if it were left alone: its last frame did not end in silence.
    pub fn is_audible(&self) -> bool {
        self.applied > 0.0
    }

    /// Whether what it says may be heard: it is not muted, and there is no floor or it has it.
    pub fn may_be_heard(&self) -> bool {
        self.admission.permit().is_open() && !self.admission.is_muted()
    }

    /// Whether it is heard because it holds the floor, or has just let it go.
    pub fn has_floor(&self) -> bool {
        self.admission.permit().is_held()
    }

    /// What its voice may do, as far as that has come.
    pub fn permit(&self) -> Permit {
        self.admission.permit().effective()
    }

    /// Whether its packets are taken in without being played, since nobody would hear them.
    pub fn is_parked(&self) -> bool {
        self.admission.is_skipping()
    }

    /// Whether its sender tells silence, and is believed.
    pub(crate) fn tells_silence(&self) -> bool {
        self.admission.tells_silence()
    }

    /// Whether it is heard, and the packet has not come that its next tick begins with.
    pub fn lacks_packet(&self) -> bool {
        self.is_audible() && self.playout().is_some_and(Playout::lacks_packet)
    }

    /// Takes note that the next tick waits.
    pub fn await_packet(&mut self) {
        if self.is_audible()
            && let Some(playout) = self.source.playout_mut()
        {
            playout.await_packet();
        }
    }

    /// How loud this tick is as others hear it; silence while muted.
    pub fn level(&self) -> Decibels {
        self.level
    }

    /// The same, rising at once and falling slowly: what "the loudest" is decided by.
    pub fn loudness(&self) -> Decibels {
        self.loudness
    }

    /// How long a packet waits at least before it is played.
    pub fn target(&self) -> Duration {
        self.playout().map_or(Duration::ZERO, Playout::target)
    }

    /// When its sender's packets may be played; `None` before the first one, or if it takes none.
    pub(crate) fn rhythm(&self) -> Option<Rhythm> {
        self.playout()?.rhythm()
    }

    /// When the sender's packets may be played, if the sender may be heard and still sends. A sender whose silence is
    /// refreshed only now and then (DTX) still sends.
    pub(crate) fn rhythm_at(&self, now: Time) -> Option<Rhythm> {
        let is_likely = self.may_be_heard() && self.admission.spurt().is_going_on(now);
        self.rhythm().filter(|_| is_likely)
    }

    /// When packets that wait for a permit could be played; `None` if there are none.
    pub(crate) fn held_rhythm(&self) -> Option<Rhythm> {
        let playout = self.playout()?;
        self.admission
            .held_rhythm(playout.target(), playout.has_packets())
    }

    /// Samples that a packet of its sender holds at 48 kHz; none if it is no such packet.
    pub fn samples_of(&self, packet: &Packet) -> usize {
        let codec = self.playout().map(Playout::codec);
        let samples = codec.and_then(|codec| codec.samples(packet.payload.as_slice()));
        samples.unwrap_or(0)
    }

    /// Packets that held a sound: neither called silent (RFC 6464) nor a DTX refresh.
    pub fn voiced(&self) -> u64 {
        self.admission.voiced_total()
    }

    /// What the source counted.
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

    /// Parks a sender of packets that nobody would hear. Any other source goes on: nothing would wake it.
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

/// 10 ms, the shortest tick: every ramp ends within the tick it began in.
const RAMP_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 100;

/// 1 ms.
const OPENING_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 1_000;

/// 60 dB a second: a pause between words does not cost a speaker the place among the loudest.
const FALL_DB_PER_MS: f32 = 0.06;

#[cfg(test)]
mod tests;
