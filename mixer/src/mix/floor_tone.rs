//! Floor tones: short tones that tell a participant the outcome of its request for the floor.
//!
//! Generated sample by sample while they are played: a tone is a function of the time since it
//! began.

use core::f32::consts::{PI, TAU};

use crate::format::SAMPLE_RATE_HZ;
use crate::frame::Frame;
use crate::gain_ramp::GainRamp;

/// The message that a floor tone conveys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tone {
    /// The listener holds the floor now: two rising notes.
    Grant = 1,
    /// The listener's request was denied: a low buzz, twice.
    Deny = 2,
    /// The listener no longer holds the floor: one short note.
    End = 3,
}

impl Tone {
    /// The tone of this number; `None` if no tone has this number.
    pub(crate) const fn from_number(number: u8) -> Option<Tone> {
        match number {
            1 => Some(Tone::Grant),
            2 => Some(Tone::Deny),
            3 => Some(Tone::End),
            _ => None,
        }
    }

    /// Length of the tone, samples.
    pub fn samples(self) -> u32 {
        self.notes().iter().map(|note| note.samples()).sum()
    }

    /// Value of the tone `at` samples after its beginning.
    fn at(self, at: u32) -> f32 {
        let mut since = at;
        for note in self.notes() {
            if since < note.samples() {
                return note.at(since);
            }
            since -= note.samples();
        }
        0.0
    }

    const fn notes(self) -> &'static [Note] {
        match self {
            Tone::Grant => const { &[Note::pure(880.0, 60), Note::pure(1_318.5, 60)] },
            Tone::Deny => {
                const {
                    &[
                        Note::buzz(220.0, 90),
                        Note::pause(60),
                        Note::buzz(220.0, 90),
                    ]
                }
            }
            Tone::End => const { &[Note::pure(587.3, 80)] },
        }
    }
}

/// A tone that is being played to its listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlayingTone {
    tone: Tone,
    /// Samples played so far.
    at: u32,
    /// The tone that replaces this one from the next tick on.
    next: Option<Tone>,
}

impl PlayingTone {
    /// Starts a tone at its beginning.
    pub fn new(tone: Tone) -> PlayingTone {
        PlayingTone {
            tone,
            at: 0,
            next: None,
        }
    }

    /// Fades this tone out within the next tick, and then starts another tone.
    pub fn change(&mut self, next: Tone) {
        self.next = Some(next);
    }

    /// Adds one tick of the tone to `mix`; returns the rest of the tone, or `None` at its end.
    ///
    /// Real-time: safe.
    pub fn add_to(mut self, mix: &mut Frame) -> Option<PlayingTone> {
        let channels = mix.layout().channels();
        let samples = mix.samples().len() / channels;
        let end = if self.next.is_some() { 0.0 } else { 1.0 };
        let ramp = GainRamp::new(1.0, end, samples);
        for (n, instant) in mix.samples_mut().chunks_exact_mut(channels).enumerate() {
            let value = ramp.at(n) * self.tone.at(self.at + n as u32);
            instant.iter_mut().for_each(|sample| *sample += value);
        }
        self.at += samples as u32;
        match self.next {
            Some(next) => Some(PlayingTone::new(next)),
            None => (self.at < self.tone.samples()).then_some(self),
        }
    }
}

/// One note of a tone.
#[derive(Debug, Clone, Copy)]
struct Note {
    hz: f32,
    ms: u32,
    /// Amplitudes of the third and of the fifth harmonic, relative to the fundamental.
    harmonics: [f32; 2],
    amplitude: f32,
}

impl Note {
    const fn pure(hz: f32, ms: u32) -> Note {
        Note {
            hz,
            ms,
            harmonics: [0.0; 2],
            amplitude: AMPLITUDE,
        }
    }

    /// The first three partials of a square wave: rough, and audible through small loudspeakers.
    const fn buzz(hz: f32, ms: u32) -> Note {
        Note {
            hz,
            ms,
            harmonics: [1.0 / 3.0, 1.0 / 5.0],
            amplitude: AMPLITUDE,
        }
    }

    const fn pause(ms: u32) -> Note {
        Note {
            hz: 0.0,
            ms,
            harmonics: [0.0; 2],
            amplitude: 0.0,
        }
    }

    const fn samples(&self) -> u32 {
        self.ms * SAMPLES_PER_MS
    }

    fn at(&self, since: u32) -> f32 {
        let from_edge = since.min(self.samples() - 1 - since);
        let edge = match from_edge < EDGE_SAMPLES {
            true => 0.5 - 0.5 * (PI * (from_edge as f32 + 0.5) / EDGE_SAMPLES as f32).cos(),
            false => 1.0,
        };
        let turns = (self.hz * since as f32 / SAMPLE_RATE_HZ as f32).fract();
        let partial = |order: f32| (TAU * order * turns).sin();
        let [third, fifth] = self.harmonics;
        self.amplitude * edge * (partial(1.0) + third * partial(3.0) + fifth * partial(5.0))
    }
}

/// A sine of -20 dBFS: as loud as speech, and no louder.
const AMPLITUDE: f32 = 0.141_4;

/// Fade at each end of a note: 8 ms, raised cosine; avoids a click and still sounds like an onset.
const EDGE_SAMPLES: u32 = 8 * SAMPLES_PER_MS;

const SAMPLES_PER_MS: u32 = SAMPLE_RATE_HZ / 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Layout, TickLength};

    const TONES: [Tone; 3] = [Tone::Grant, Tone::Deny, Tone::End];

    fn whole(tone: Tone) -> Vec<f32> {
        (0..tone.samples()).map(|at| tone.at(at)).collect()
    }

    fn rms_db(samples: &[f32]) -> f32 {
        let energy: f32 = samples.iter().map(|sample| sample * sample).sum();
        10.0 * (energy / samples.len() as f32).log10()
    }

    #[test]
    fn floor_tones_are_short_soft_at_the_edges_and_about_minus_20_dbfs() {
        for tone in TONES {
            let pcm = whole(tone);
            assert!((60..=250).contains(&(pcm.len() / 48)), "{tone:?}");
            let loudest = pcm.chunks(960).map(rms_db).fold(-120.0, f32::max);
            assert!((-21.0..=-18.5).contains(&loudest), "{tone:?}: {loudest}");
            let mut around = vec![0.0];
            around.extend(&pcm);
            around.push(0.0);
            let steepest = around.windows(2).map(|w| (w[1] - w[0]).abs());
            // A sine of 1,318 Hz changes by at most 0.173 of its amplitude per sample, a buzz by
            // less.
            assert!(steepest.fold(0.0, f32::max) < 0.026, "{tone:?}");
            assert!(pcm[0].abs() < 0.001 && pcm[pcm.len() - 1].abs() < 0.001);
        }
    }

    #[test]
    fn floor_tone_is_played_whole_at_every_tick_length_and_layout() {
        for tick in [TickLength::Ms10, TickLength::Ms20] {
            for layout in [Layout::Mono, Layout::Stereo] {
                let (mut playing, mut heard) = (Some(PlayingTone::new(Tone::Grant)), Vec::new());
                while let Some(it) = playing {
                    let mut mix = Frame::new(layout, tick);
                    playing = it.add_to(&mut mix);
                    let instants = mix.samples().chunks(layout.channels());
                    heard.extend(instants.map(|instant| instant[instant.len() - 1]));
                }
                assert_eq!(heard, whole(Tone::Grant));
            }
        }
    }

    #[test]
    fn latest_floor_tone_replaces_a_playing_one_without_a_click() {
        let mut playing = PlayingTone::new(Tone::Deny);
        playing.change(Tone::End);
        playing.change(Tone::Grant);
        let mut mix = Frame::new(Layout::Mono, TickLength::Ms20);
        let next = playing.add_to(&mut mix).expect("goes on with the other");
        assert_eq!(mix.samples()[959], 0.0);
        assert_eq!((next.tone, next.at), (Tone::Grant, 0));
    }
}
