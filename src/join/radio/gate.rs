//! The gate of a push-to-talk client: decides which frames of the source are sent, either those
//! while a key is pressed or those that contain a voice.
//!
//! The control side opens and closes the [`Gate`]; the uplink asks its [`UplinkGate`] about each
//! frame.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mixer::Level;
use mixer::format::SAMPLE_RATE_HZ;

/// Opens and closes the uplink of a client; closed at first. One thread changes it, and the uplink
/// reads it at each frame.
#[derive(Debug, Default)]
pub struct Gate {
    /// The number of changes so far; the gate is open if it is odd. A press and a release between
    /// two frames are thus still noticed.
    turns: AtomicU32,
}

impl Gate {
    /// Opens the gate.
    pub fn open(&self) {
        self.turn(true);
    }

    /// Closes the gate. What was said before is still sent.
    pub fn shut(&self) {
        self.turn(false);
    }

    /// Whether the gate is open.
    pub fn is_open(&self) -> bool {
        is_open(self.turns())
    }

    fn turn(&self, open: bool) {
        let turns = self.turns.load(Ordering::Acquire);
        if is_open(turns) != open {
            self.turns.store(turns.wrapping_add(1), Ordering::Release);
        }
    }

    fn turns(&self) -> u32 {
        self.turns.load(Ordering::Acquire)
    }
}

fn is_open(turns: u32) -> bool {
    turns % 2 == 1
}

/// What the uplink does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The frame is sent.
    Send,
    /// The frame is sent after the frames kept before it, which hold the start of the word.
    SendWithKept,
    /// The frame is not sent.
    Drop,
}

/// The changes that the control side must know about: whether a voice, or the sending of packets,
/// starts or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// A voice starts (`true`) or ends with this frame.
    pub voice: Option<bool>,
    /// Sending starts (`true`) with this frame, or has ended before it.
    pub sending: Option<bool>,
}

/// The uplink's end of the gate: decides frame by frame what is sent.
#[derive(Debug)]
pub struct UplinkGate {
    gate: Arc<Gate>,
    seen_turns: u32,
    is_sending: bool,
    /// With a key: the number of samples, said before the key was released, that remain to be sent.
    tail_samples: usize,
    /// Detects a voice; `None` with a key.
    voice: Option<Voice>,
    kept: VecDeque<Vec<f32>>,
}

impl UplinkGate {
    /// Creates the uplink's end for a key: frames are sent while the gate is open.
    pub fn key(gate: Arc<Gate>) -> UplinkGate {
        UplinkGate::new(gate, None)
    }

    /// Creates the uplink's end for voice operation: frames are sent while the gate is open and the
    /// source is louder than `threshold_db`, in dBFS.
    pub fn voice(gate: Arc<Gate>, threshold_db: f32) -> UplinkGate {
        UplinkGate::new(gate, Some(Voice::new(threshold_db)))
    }

    fn new(gate: Arc<Gate>, voice: Option<Voice>) -> UplinkGate {
        UplinkGate {
            seen_turns: gate.turns(),
            gate,
            is_sending: false,
            tail_samples: 0,
            voice,
            kept: VecDeque::new(),
        }
    }

    /// Whether every frame would be dropped: a file then need not be read further.
    pub fn is_waiting(&self) -> bool {
        let turns = self.gate.turns();
        self.voice.is_none() && !self.is_sending && turns == self.seen_turns && !is_open(turns)
    }

    /// Decides what the uplink does with one frame, and reports what changes.
    ///
    /// - `waiting_samples`: samples that the source has buffered, which were said but not sent yet.
    pub fn frame(&mut self, pcm: &[f32], level: Level, waiting_samples: usize) -> (Fate, Turn) {
        let mut turn = Turn::default();
        let wanted = match &mut self.voice {
            Some(voice) => {
                turn.voice = voice.hear(level, pcm.len());
                voice.is_talking && is_open(self.look())
            }
            None => self.key_wants(pcm.len(), waiting_samples),
        };
        turn.sending = self.turn(wanted);
        let fate = match (wanted, turn.sending) {
            (true, Some(true)) if !self.kept.is_empty() => Fate::SendWithKept,
            (true, _) => Fate::Send,
            (false, _) => Fate::Drop,
        };
        if fate == Fate::Drop && self.voice.is_some() {
            self.keep(pcm);
        }
        (fate, turn)
    }

    /// Takes note that the source had no samples for a frame of this length; returns what changes.
    pub fn dry(&mut self, samples: usize) -> Turn {
        let turns = self.look();
        let mut turn = Turn::default();
        let wanted = match &mut self.voice {
            Some(voice) => {
                turn.voice = voice.hear(Level::SILENCE, samples);
                voice.is_talking && is_open(turns)
            }
            None => is_open(turns),
        };
        // The kept frames are not adjacent to the next ones any more.
        self.kept.clear();
        turn.sending = self.turn(wanted && self.is_sending);
        turn
    }

    /// Takes note that there is nothing to send, or no connection; returns what changes.
    pub fn idle(&mut self) -> Turn {
        self.look();
        self.kept.clear();
        let voice = self.voice.as_mut().and_then(Voice::end);
        Turn {
            voice,
            sending: self.turn(false),
        }
    }

    /// Removes and returns the kept frames, the oldest first.
    pub fn take_kept(&mut self) -> VecDeque<Vec<f32>> {
        std::mem::take(&mut self.kept)
    }

    fn key_wants(&mut self, samples: usize, waiting_samples: usize) -> bool {
        let before = self.seen_turns;
        if is_open(self.look()) {
            return true;
        }
        if self.is_sending && is_open(before) {
            // The key was released after the previous frame, so this frame and the buffered ones
            // were said before the release.
            self.tail_samples = (samples + waiting_samples).min(MAX_TAIL_SAMPLES);
        }
        let wanted = self.is_sending && self.tail_samples > 0;
        self.tail_samples = self.tail_samples.saturating_sub(samples);
        wanted
    }

    /// Reads the gate. A press that ended before the uplink saw it is reported as the end of a
    /// talk-spurt.
    fn look(&mut self) -> u32 {
        let turns = self.gate.turns();
        let missed = turns.wrapping_sub(self.seen_turns) > 1 && !is_open(turns);
        self.seen_turns = turns;
        // Nothing of that talk-spurt was sent, so its end is reported with the next frame.
        self.is_sending |= missed && self.voice.is_none();
        turns
    }

    fn turn(&mut self, wanted: bool) -> Option<bool> {
        let was = std::mem::replace(&mut self.is_sending, wanted);
        (was != wanted).then_some(wanted)
    }

    fn keep(&mut self, pcm: &[f32]) {
        let frames = LOOK_BACK_SAMPLES.div_ceil(pcm.len());
        let mut frame = match self.kept.len() < frames {
            true => Vec::with_capacity(pcm.len()),
            false => self.kept.pop_front().unwrap_or_default(),
        };
        frame.clear();
        frame.extend_from_slice(pcm);
        self.kept.push_back(frame);
    }
}

/// Tells a voice from constant noise.
#[derive(Debug)]
struct Voice {
    threshold_db: f32,
    is_talking: bool,
    loud_samples: usize,
    /// Samples since the level was last high enough for a voice to go on.
    quiet_samples: usize,
    /// Samples since the level was last high enough for a voice to start.
    lull_samples: usize,
}

impl Voice {
    fn new(threshold_db: f32) -> Voice {
        Voice {
            threshold_db,
            is_talking: false,
            loud_samples: 0,
            quiet_samples: 0,
            lull_samples: 0,
        }
    }

    /// Takes the level of the next samples; returns `true` if a voice starts, `false` if it ends.
    fn hear(&mut self, level: Level, samples: usize) -> Option<bool> {
        let level_db = match level == Level::SILENCE {
            true => f32::NEG_INFINITY,
            false => level.decibels().0,
        };
        let count_if = |is_so: bool, before: usize| if is_so { before + samples } else { 0 };
        let is_loud = level_db >= self.threshold_db;
        if self.is_talking {
            let is_quiet = level_db < self.threshold_db - HYSTERESIS_DB;
            self.quiet_samples = count_if(is_quiet, self.quiet_samples);
            self.lull_samples = count_if(!is_loud, self.lull_samples);
            let is_over = self.quiet_samples >= HANG_SAMPLES || self.lull_samples >= LULL_SAMPLES;
            return if is_over { self.end() } else { None };
        }
        self.loud_samples = count_if(is_loud, self.loud_samples);
        if self.loud_samples < ATTACK_SAMPLES {
            return None;
        }
        self.is_talking = true;
        (self.quiet_samples, self.lull_samples) = (0, 0);
        Some(true)
    }

    fn end(&mut self) -> Option<bool> {
        self.loud_samples = 0;
        std::mem::take(&mut self.is_talking).then_some(false)
    }
}

const MS: usize = SAMPLE_RATE_HZ as usize / 1_000;

/// The most samples that are sent after the release. A longer backlog is not a sound card's delay
/// but a file through a pipe.
pub const MAX_TAIL_SAMPLES: usize = 200 * MS;

/// How long a sound must be loud before it counts as a voice: longer than a click.
const ATTACK_SAMPLES: usize = 40 * MS;

/// How long the source must be quiet before the voice has ended: longer than the pauses within a
/// sentence.
const HANG_SAMPLES: usize = 800 * MS;

/// How long a voice may stay below the level at which it would start. A sound that stays there
/// longer is background noise, such as an engine or a fan, and would hold the floor for ever. A
/// person who speaks exceeds the threshold at least once in a sentence.
const LULL_SAMPLES: usize = 3_000 * MS;

/// How many samples before the detection of a voice are sent: they hold a soft consonant at its
/// start, and cover the time that the detection takes. The server buffers 300 ms of what arrives
/// before the floor is granted.
const LOOK_BACK_SAMPLES: usize = 200 * MS;

/// How far below the threshold the level may fall before a voice that has started counts as quiet.
const HYSTERESIS_DB: f32 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 20 * MS;
    const PCM: [f32; FRAME] = [0.0; FRAME];

    fn loud(db: u8) -> Level {
        Level::from_wire(db)
    }

    fn sending(on: bool) -> Turn {
        Turn {
            sending: Some(on),
            ..Turn::default()
        }
    }

    #[test]
    fn key_gate_sends_frames_that_were_buffered_when_the_key_was_released() {
        let gate = Arc::new(Gate::default());
        let mut switch = UplinkGate::key(Arc::clone(&gate));
        let mut next = |waiting_samples| switch.frame(&PCM, loud(30), waiting_samples);
        assert_eq!(next(0), (Fate::Drop, Turn::default()));
        gate.open();
        assert_eq!(next(0), (Fate::Send, sending(true)));
        assert_eq!(next(0), (Fate::Send, Turn::default()));
        gate.shut();
        for _ in 0..3 {
            // The frame of the release and the two frames buffered behind it are sent.
            assert_eq!(next(2 * FRAME), (Fate::Send, Turn::default()));
        }
        assert_eq!(next(2 * FRAME), (Fate::Drop, sending(false)));
        assert_eq!(next(2 * FRAME), (Fate::Drop, Turn::default()));
    }

    #[test]
    fn key_gate_sends_at_most_200_ms_of_a_longer_backlog_after_the_release() {
        let gate = Arc::new(Gate::default());
        let mut switch = UplinkGate::key(Arc::clone(&gate));
        gate.open();
        switch.frame(&PCM, loud(30), 96_000);
        gate.shut();
        let tail = (0..100)
            .filter(|_| switch.frame(&PCM, loud(30), 96_000).0 == Fate::Send)
            .count();
        assert_eq!(tail, 10);
    }

    #[test]
    fn key_gate_reports_a_press_that_begins_and_ends_between_two_frames() {
        let gate = Arc::new(Gate::default());
        let mut switch = UplinkGate::key(Arc::clone(&gate));
        assert!(switch.is_waiting());
        gate.open();
        gate.shut();
        assert!(!switch.is_waiting());
        assert_eq!(
            switch.frame(&PCM, loud(30), 0),
            (Fate::Drop, sending(false))
        );
        assert!(switch.is_waiting());
    }

    #[test]
    fn source_without_samples_ends_the_tail_after_a_release_but_no_ongoing_talk_spurt() {
        let gate = Arc::new(Gate::default());
        let mut switch = UplinkGate::key(Arc::clone(&gate));
        gate.open();
        switch.frame(&PCM, loud(30), 0);
        assert_eq!(switch.dry(FRAME), Turn::default());
        gate.shut();
        assert_eq!(switch.dry(FRAME), sending(false));
        gate.open();
        switch.frame(&PCM, loud(30), 0);
        assert_eq!(switch.idle(), sending(false));
        assert_eq!(switch.idle(), Turn::default());
    }

    #[test]
    fn voice_gate_sends_the_start_of_a_voice_and_bridges_its_pauses() {
        let gate = Arc::new(Gate::default());
        gate.open();
        let mut switch = UplinkGate::voice(gate, -40.0);
        assert!(!switch.is_waiting());
        for _ in 0..50 {
            assert_eq!(switch.frame(&PCM, loud(60), 0).0, Fate::Drop);
        }
        // A click is not a voice.
        assert_eq!(switch.frame(&PCM, loud(10), 0).0, Fate::Drop);
        assert_eq!(switch.frame(&PCM, loud(60), 0).0, Fate::Drop);
        assert_eq!(switch.frame(&PCM, loud(40), 0).0, Fate::Drop);
        let began = Turn {
            voice: Some(true),
            sending: Some(true),
        };
        let fate = switch.frame(&PCM, loud(40), 0);
        assert_eq!(fate, (Fate::SendWithKept, began));
        assert_eq!(switch.take_kept().len() * FRAME, LOOK_BACK_SAMPLES);
        // Not loud enough to start, but loud enough to go on.
        for _ in 0..100 {
            assert_eq!(switch.frame(&PCM, loud(46), 0).0, Fate::Send);
        }
        for _ in 0..39 {
            assert_eq!(switch.frame(&PCM, loud(47), 0).0, Fate::Send);
        }
        let ended = Turn {
            voice: Some(false),
            sending: Some(false),
        };
        assert_eq!(switch.frame(&PCM, loud(47), 0), (Fate::Drop, ended));
    }

    #[test]
    fn voice_gate_sends_nothing_while_it_is_closed() {
        let gate = Arc::new(Gate::default());
        gate.open();
        let mut switch = UplinkGate::voice(Arc::clone(&gate), -40.0);
        switch.frame(&PCM, loud(20), 0);
        assert_eq!(switch.frame(&PCM, loud(20), 0).0, Fate::SendWithKept);
        switch.take_kept();
        gate.shut();
        assert_eq!(
            switch.frame(&PCM, loud(20), 0),
            (Fate::Drop, sending(false))
        );
        gate.open();
        // The frames kept while the gate was closed are sent first.
        assert_eq!(
            switch.frame(&PCM, loud(20), 0),
            (Fate::SendWithKept, sending(true))
        );
        assert_eq!(switch.take_kept().len(), 1);
    }

    #[test]
    fn voice_gate_ends_a_voice_that_fades_into_noise() {
        let gate = Arc::new(Gate::default());
        gate.open();
        let mut switch = UplinkGate::voice(gate, -40.0);
        let mut told = Vec::new();
        let mut hear = |level, frames| {
            for _ in 0..frames {
                told.extend(switch.frame(&PCM, loud(level), 0).1.voice);
            }
        };
        // One second of speech, then five seconds of an engine 4 dB below the threshold.
        hear(30, 50);
        hear(44, 250);
        // A person speaks over the engine.
        hear(30, 50);
        for _ in 0..3 {
            hear(44, 140);
            hear(39, 1);
        }
        assert_eq!(told, [true, false, true]);
    }

    #[test]
    fn voice_gate_ignores_digital_silence_at_any_threshold() {
        let mut voice = Voice::new(-200.0);
        assert_eq!(voice.hear(Level::SILENCE, HANG_SAMPLES), None);
    }
}
