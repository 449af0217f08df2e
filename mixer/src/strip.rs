//! One participant's channel strip: packets in, the frame that is added to the bus out.
//!
//! Playout, meter, gate, ramp. The strip keeps the very frame that was added, so that it can be taken out again for its
//! owner. It judges whether it has something to say, and lets nothing of it pass without a permit where there is a floor;
//! whether it is heard is the room's decision. It knows neither other strips nor the room.

mod budget;
mod burst;
mod door;
mod level_hint;
mod parking;
mod unheard;

use core::fmt;
use core::time::Duration;

use self::budget::Budget;
use self::burst::Burst;
use self::door::Door;
use self::level_hint::{LevelHint, Taken};
use self::parking::Parked;
use self::unheard::Unheard;
use crate::codec::Decode;
use crate::format::{Layout, SAMPLE_RATE_HZ, TickLength};
use crate::frame::Frame;
use crate::gain_ramp::GainRamp;
use crate::ingest::Pushed;
use crate::packet::Packet;
use crate::phase::Rhythm;
use crate::source::gate::{Gate, Reading, SANE_PEAK};
use crate::source::{Playout, PlayoutStats, Pulled};
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
    playout: Playout,
    tick: TickLength,
    frame: Frame,
    gate: Gate,
    hint: LevelHint,
    /// What is decoded on arrival.
    budget: Budget,
    /// The last packet was sketched: the decoder need not be warmed up for the next sketch.
    is_sketching: bool,
    /// Why its packets are not played, if they are not.
    parked: Option<Parked>,
    unheard: Unheard,
    /// How long it has been well under the gate.
    quiet_ms: u32,
    /// Where its gate opens.
    gate_db: Option<Decibels>,
    door: Door,
    burst: Burst,
    /// The source of the last packet.
    ssrc: u32,
    /// Packets that held a sound.
    voiced: u64,
    muted: bool,
    gain: Gain,
    applied: f32,
    level: Decibels,
    loudness: Decibels,
    in_mix: bool,
}

impl Strip {
    /// A silent strip.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(layout: Layout, tick: TickLength, decoder: Box<dyn Decode>) -> Strip {
        Strip {
            playout: Playout::new(layout, tick, decoder),
            tick,
            frame: Frame::new(layout, tick),
            gate: Gate::new(),
            hint: LevelHint::default(),
            budget: Budget::default(),
            is_sketching: false,
            parked: None,
            unheard: Unheard::default(),
            quiet_ms: 0,
            gate_db: None,
            door: Door::default(),
            burst: Burst::default(),
            ssrc: 0,
            voiced: 0,
            muted: false,
            gain: Gain::UNITY,
            applied: 0.0,
            level: Decibels::SILENCE,
            loudness: Decibels::SILENCE,
            in_mix: false,
        }
    }

    /// Takes in one packet that arrived at `arrival`.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        let taken = self.judge(packet, arrival);
        self.hint
            .note(packet.payload.as_slice().len(), taken, arrival);
        let samples = self.samples_of(packet);
        let is_silent = taken == Taken::Silent;
        let voiced = self.burst.note(packet, samples, is_silent, arrival);
        let pushed = self.push_inside(packet, taken, arrival);
        if !matches!(pushed, Pushed::Malformed | Pushed::Duplicate) {
            self.voiced += voiced;
        }
        pushed
    }

    fn push_inside(&mut self, packet: &Packet, taken: Taken, arrival: Time) -> Pushed {
        if let Some(pushed) = self.push_outside(packet, arrival) {
            return pushed;
        }
        self.ssrc = packet.ssrc;
        if let Some(why) = self.parked {
            if self.stays_parked(why, taken) {
                self.unheard.keep(packet, self.playout.codec());
                return self.playout.pass(packet, arrival);
            }
            self.parked = None;
            self.warm_up(packet.ssrc, arrival);
        }
        if self.quiet_ms > 0 || taken == Taken::Silent {
            self.unheard.keep(packet, self.playout.codec());
        }
        self.playout.push(packet, arrival)
    }

    /// Whether ticks and their gain would pass it by unnoticed until its next packet: nothing plays,
    /// fades, or holds a gate open.
    pub fn is_idle(&self) -> bool {
        if self.in_mix || self.applied > 0.0 || self.door.is_held() {
            // A holder is not asleep: its end has to be noticed even if it says nothing.
            return false;
        }
        if !self.door.is_open() {
            return self.is_parked();
        }
        self.playout.is_idle() && !self.gate.is_open() && self.loudness <= Decibels::SILENCE
    }

    /// Whether a packet that arrives now comes after a pause.
    pub fn begins_talk_spurt_at(&self, arrival: Time) -> bool {
        self.burst.follows_pause(arrival)
    }

    /// Says whether ticks come later for packets that are late; its packets wait longer if not.
    ///
    /// Real-time: safe.
    pub fn set_ticks_wait(&mut self, ticks_wait: bool) {
        self.playout.set_ticks_wait(ticks_wait);
    }

    /// Sets the gain it moves to at the next [`contribute`](Strip::contribute), and whether it is
    /// muted.
    ///
    /// Real-time: safe.
    pub fn set(&mut self, muted: bool, gain: Gain) {
        if self.muted && !muted {
            // What waited meanwhile is stale.
            self.playout.restart();
        }
        self.muted = muted;
        self.gain = gain;
    }

    /// Tells where its gate opens from now on; a parked strip is not told by its ticks.
    ///
    /// Real-time: safe.
    pub fn set_gate(&mut self, gate_db: Option<Decibels>) {
        self.gate_db = gate_db;
    }

    /// Pulls and decodes one tick, meters it, and says whether there is something to hear.
    ///
    /// A muted strip goes on taking its packets off, so that it is up to date when it is let in
    /// again.
    ///
    /// Real-time: safe.
    pub fn listen(&mut self, rules: &Rules) -> bool {
        self.finish_drain(rules.now);
        if !self.door.is_open() && self.applied == 0.0 {
            self.gate_db = rules.gate_db;
            self.park_outside();
            return false;
        }
        // No tick waits for who is not heard.
        let leeway_samples = match self.is_audible() {
            true => rules.leeway_samples,
            false => 0,
        };
        self.playout.set_leeway(leeway_samples);
        let pulled = self.playout.pull(rules.now, &mut self.frame);
        let reading = match pulled {
            Pulled::Silent => Reading::SILENCE,
            Pulled::Audio | Pulled::Concealed => self.read(),
        };
        self.gate_db = rules.gate_db;
        if self.muted || !self.door.is_open() {
            self.gate.close();
            self.level = Decibels::SILENCE;
            self.loudness = Decibels::SILENCE;
            if self.door.is_open() {
                self.park(false, &reading);
            }
            return false;
        }
        // What has come and waits for its time is no silence.
        let waits = pulled == Pulled::Silent && self.playout.has_packets();
        let is_played = pulled == Pulled::Audio;
        let silent = self.is_silent_by_its_own_word(rules.now, &reading, is_played);
        let heard = if silent { Reading::SILENCE } else { reading };
        self.meter(reading.level);
        let open = self.gate.judge(heard, rules.gate_db, self.tick);
        if !waits {
            self.park(silent, &heard);
        }
        let speaks = match self.door.is_held() {
            true => pulled != Pulled::Silent && !silent,
            false => open,
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

    /// Whether what its sender says may be heard: it is not muted, and there is no floor or it has it.
    pub fn may_be_heard(&self) -> bool {
        self.door.is_open() && !self.muted
    }

    /// Whether it is heard, and the packet has not come that its next tick begins with.
    pub fn lacks_packet(&self) -> bool {
        self.is_audible() && self.playout.lacks_packet()
    }

    /// Takes note that the next tick waits.
    pub fn await_packet(&mut self) {
        if self.is_audible() {
            self.playout.await_packet();
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
        self.playout.target()
    }

    /// When its sender's packets may be played; `None` before the first one.
    pub(crate) fn rhythm(&self) -> Option<Rhythm> {
        self.playout.rhythm()
    }

    /// When the sender's packets may be played, if the sender may be heard and still sends. A sender whose silence is
    /// refreshed only now and then (DTX) still sends.
    pub(crate) fn rhythm_at(&self, now: Time) -> Option<Rhythm> {
        let is_likely = self.may_be_heard() && self.burst.is_going_on(now);
        self.rhythm().filter(|_| is_likely)
    }

    /// Samples that a packet of its sender holds at 48 kHz; none if it is no such packet.
    pub fn samples_of(&self, packet: &Packet) -> usize {
        let samples = self.playout.codec().samples(packet.payload.as_slice());
        samples.unwrap_or(0)
    }

    /// Packets that held a sound: neither called silent (RFC 6464) nor a DTX refresh.
    pub fn voiced(&self) -> u64 {
        self.voiced
    }

    /// What the jitter buffer counted.
    pub fn stats(&self) -> PlayoutStats {
        self.playout.stats()
    }

    fn read(&mut self) -> Reading {
        let reading = Reading::of(&self.frame);
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
        Reading::of(&self.frame)
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
mod tests {
    use super::*;
    use crate::codec::DecodeError;
    use crate::packet::Payload;
    use crate::units::{Level, RtpTime, Seq};

    /// Decodes any payload to 20 ms of the value its last byte stands for: `(byte - 128) / 128`.
    struct Constant;

    impl Decode for Constant {
        fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
            let value = match payload[1] {
                255 => f32::NAN,
                byte => (f32::from(byte) - 128.0) / 128.0,
            };
            pcm[..960].fill(value);
            Ok(960)
        }

        fn recover(&mut self, _: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
            pcm.fill(0.0);
            Ok(())
        }

        fn conceal(&mut self, pcm: &mut [f32]) {
            pcm.fill(0.0);
        }

        fn reset(&mut self) {}
    }

    struct Talker {
        strip: Strip,
        sent: u16,
        now: Time,
    }

    impl Talker {
        fn new() -> Talker {
            Talker {
                strip: Strip::new(Layout::Mono, TickLength::Ms20, Box::new(Constant)),
                sent: 0,
                now: Time::from_us(1_000_000),
            }
        }

        /// One packet, one tick, and whether it wants to be heard.
        fn say(&mut self, value: u8, level: Option<Level>) -> bool {
            let packet = Packet {
                seq: Seq(self.sent),
                time: RtpTime(u32::from(self.sent) * 960),
                ssrc: 1,
                marker: self.sent == 0,
                level,
                // 0xf8: 20 ms of CELT, one frame.
                payload: Payload::copy_from(&[0xf8, value]).unwrap(),
            };
            self.strip.push(&packet, self.now);
            self.sent += 1;
            self.now = self.now + TickLength::Ms20.duration();
            self.strip.listen(&Rules {
                now: self.now,
                gate_db: Some(crate::source::gate::DEFAULT_THRESHOLD),
                leeway_samples: 0,
            })
        }
    }

    fn steepest_step(samples: impl IntoIterator<Item = f32>) -> f32 {
        let samples: Vec<f32> = samples.into_iter().collect();
        samples
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn a_change_of_gain_makes_no_step() {
        let mut talker = Talker::new();
        let mut heard = Vec::new();
        for tick in 0..40 {
            let gain = [1.0, 0.1, 4.0, 0.5][tick / 5 % 4];
            talker
                .strip
                .set((18..22).contains(&tick), Gain::linear(gain));
            let wants = talker.say(160, None);
            if talker.strip.contribute(wants) {
                heard.extend_from_slice(talker.strip.frame().samples());
            } else {
                heard.extend([0.0; 960]);
            }
        }
        // 0.25 full scale times the largest change (3.9) over 480 samples; opening: 0.25 times 4
        // over 48.
        assert!(steepest_step(heard.iter().copied()) <= 0.25 * 4.0 / 48.0 + 1e-6);
        let after_opening = heard[..960 * 18]
            .iter()
            .skip_while(|&&sample| sample < 0.25);
        assert!(steepest_step(after_opening.copied()) <= 0.25 * 3.9 / 480.0 + 1e-6);
    }

    #[test]
    fn unity_is_bit_exact() {
        let mut talker = Talker::new();
        for _ in 0..10 {
            let wants = talker.say(192, None);
            talker.strip.contribute(wants);
        }
        assert!(
            talker
                .strip
                .frame()
                .samples()
                .iter()
                .all(|&sample| sample == 0.5)
        );
    }

    #[test]
    fn closing_fades_for_one_tick_and_then_adds_nothing() {
        let mut talker = Talker::new();
        for _ in 0..10 {
            let wants = talker.say(192, None);
            assert_eq!(talker.strip.contribute(wants), wants);
        }
        talker.strip.set(true, Gain::UNITY);
        assert!(!talker.say(192, None));
        assert!(talker.strip.contribute(false), "the tick of the fade");
        assert_eq!(talker.strip.frame().samples()[959], 0.0);
        assert!(!talker.say(192, None));
        assert!(!talker.strip.contribute(false));
        assert_eq!(talker.strip.level(), Decibels::SILENCE);
    }

    #[test]
    fn a_client_that_tells_silence_is_let_go_and_comes_back_at_once() {
        let mut talker = Talker::new();
        let loud = (0..10)
            .filter(|_| talker.say(192, Some(Level::from_wire(6))))
            .count();
        assert!(loud >= 8);
        let mut hangs = 0;
        while talker.say(128, Some(Level::SILENCE)) {
            hangs += 1;
            assert!(hangs < 25, "hangover and playout delay are over");
        }
        assert!(talker.strip.is_parked());
        assert!(talker.say(192, None), "back at once");
    }

    #[test]
    fn a_voice_that_is_told_to_be_silence_is_heard() {
        let mut talker = Talker::new();
        let heard = (0..500)
            .filter(|_| talker.say(192, Some(Level::SILENCE)))
            .count();
        assert!(heard >= 498, "{heard}");
    }

    #[test]
    fn what_is_no_number_becomes_silence() {
        let mut talker = Talker::new();
        for _ in 0..10 {
            let wants = talker.say(255, None);
            assert!(!wants);
            talker.strip.contribute(true);
        }
        assert!(
            talker
                .strip
                .frame()
                .samples()
                .iter()
                .all(|&sample| sample == 0.0)
        );
    }
}
