//! Renders one listener's mix from the bus; no mix is made anywhere else.
//!
//! bus -> minus own -> personal gains -> monitored rooms -> private source

use crate::frame::Frame;
use crate::gain_ramp::GainRamp;
use crate::mix::PlayingTone;
use crate::mix::bus::{Base, Buses};
use crate::mix::gains::PersonalGains;
use crate::monitor::MonitorMix;
use crate::packet::Sources;
use crate::units::{Gain, Level, ParticipantId};

/// A participant whose frame is on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Voice {
    pub id: ParticipantId,
    /// Place at which [`Voices::frame`] finds the participant's frame.
    pub place: usize,
}

/// The frames that were added to the bus, and the ids of the participants that are heard.
pub(crate) trait Voices {
    /// The frame of the participant at `place`.
    fn frame(&self, place: usize) -> Option<&Frame>;

    /// The participants that are heard, loudest first.
    fn heard(&self) -> impl Iterator<Item = (ParticipantId, Level)>;
}

/// The sounds of a room in one tick, from which each listener's mix is rendered.
pub(crate) struct Renderer<'a, V> {
    pub buses: &'a Buses,
    pub frames: V,
    /// The voices on the bus, sorted by id; only filled while a member has personal gains.
    pub on_bus: &'a [Voice],
    /// The participants that are heard on the total bus, loudest first.
    pub everyone: &'a Sources,
    /// The participants that are heard from the linked rooms.
    pub linked: Option<Sources>,
}

/// The parts from which one listener's mix is rendered.
pub(crate) struct Ingredients<'a> {
    /// The bus that the mix is made from.
    pub base: Base,
    /// The listener's own voice, if it is on the bus.
    pub own: Option<OwnVoice<'a>>,
    pub gains: Option<&'a PersonalGains>,
    /// In the tick in which the personal gains change: the previous gains.
    pub gains_before: Option<Option<&'a PersonalGains>>,
    pub monitors: Option<&'a MonitorMix>,
    /// In the tick in which the monitored rooms change: the previous rooms.
    pub monitors_before: Option<Option<&'a MonitorMix>>,
    /// The tone played to this listener alone; rendering leaves the rest of the tone here.
    pub private_source: &'a mut Option<PlayingTone>,
}

/// A listener's own voice on the bus.
#[derive(Clone, Copy)]
pub(crate) struct OwnVoice<'a> {
    pub id: ParticipantId,
    pub frame: &'a Frame,
}

impl<V: Voices> Renderer<'_, V> {
    /// Fills `mix` with one listener's mix and returns who is heard in it; `None` if there is
    /// nothing to hear.
    ///
    /// - `spare`: scratch space, any frame of the room's layout.
    ///
    /// Real-time: safe.
    pub fn render(
        &self,
        listener: Ingredients<'_>,
        mix: &mut Frame,
        spare: &mut Frame,
    ) -> Option<Sources> {
        let room_is_heard = self.room_is_heard(&listener);
        let mut sources = Sources::default();
        if room_is_heard {
            let (bus, _) = self.buses.heard(listener.base);
            match listener.own {
                Some(own) => bus.minus_into(own.frame, mix),
                None => bus.copy_into(mix),
            }
            self.correct(&listener, mix);
            sources = self.sources_of_room(&listener);
        }
        let is_heard = match (listener.monitors, listener.monitors_before) {
            (None, None) => room_is_heard,
            (monitors, None) => blend(monitors, room_is_heard, mix),
            (monitors, Some(before)) => fade(monitors, before, room_is_heard, mix, spare),
        };
        if let Some((_, others)) = listener.monitors.and_then(MonitorMix::heard) {
            sources = sources.with(others, 0.0);
        }
        let mut heard = is_heard.then_some(sources);
        if let Some(tone) = listener.private_source.take() {
            if heard.is_none() {
                mix.clear();
            }
            heard.get_or_insert_default();
            *listener.private_source = tone.add_to(mix);
        }
        heard
    }

    /// Whether any voice is left on the listener's bus without the listener's own voice and voices
    /// of zero gain.
    fn room_is_heard(&self, listener: &Ingredients<'_>) -> bool {
        let (_, voices) = self.buses.heard(listener.base);
        let others = voices - usize::from(listener.own.is_some());
        let is_excluded = |gains: Option<&PersonalGains>, id| {
            gains.is_some_and(|gains| gains.gain_of(id) == Gain::MUTE)
        };
        let excluded = match listener.gains_before {
            // A voice that is still fading out or in must not be left out.
            Some(before) => {
                let voices = self.on_bus.iter().filter(|voice| !is_own(listener, voice));
                let excluded = voices.filter(|voice| {
                    is_excluded(before, voice.id) && is_excluded(listener.gains, voice.id)
                });
                excluded.count()
            }
            None => {
                let corrections = listener.gains.map_or(&[][..], PersonalGains::corrections);
                let excluded = corrections
                    .iter()
                    .filter(|it| it.gain == Gain::MUTE && !is_own(listener, &it.voice));
                excluded.count()
            }
        };
        others > excluded
    }

    /// Applies the personal gains: adds each named voice again with the difference of its gain.
    fn correct(&self, listener: &Ingredients<'_>, mix: &mut Frame) {
        match (listener.gains_before, listener.gains) {
            (None, None) => {}
            (None, Some(gains)) => {
                for it in gains.corrections() {
                    let change = it.gain.factor() - 1.0;
                    self.add_voice(listener, &it.voice, (change, change), mix);
                }
            }
            (Some(before), now) => {
                let change_of = |gains: Option<&PersonalGains>, id| {
                    gains.map_or(0.0, |gains| gains.gain_of(id).factor() - 1.0)
                };
                for voice in self.on_bus {
                    let change = (change_of(before, voice.id), change_of(now, voice.id));
                    self.add_voice(listener, voice, change, mix);
                }
            }
        }
    }

    /// Adds a voice of the bus again, with a gain that ramps from `from` to `to` within the tick.
    fn add_voice(
        &self,
        listener: &Ingredients<'_>,
        voice: &Voice,
        (from, to): (f32, f32),
        mix: &mut Frame,
    ) {
        let channels = mix.layout().channels();
        let ramp = GainRamp::new(from, to, mix.samples().len() / channels);
        if let Some(frame) = self.frames.frame(voice.place)
            && !is_own(listener, voice)
            && !ramp.is_zero()
        {
            ramp.add(frame.samples(), channels, mix.samples_mut());
        }
    }

    /// Returns the participants that the listener hears from its bus, loudest first.
    fn sources_of_room(&self, listener: &Ingredients<'_>) -> Sources {
        let gains = listener
            .gains
            .filter(|gains| !gains.corrections().is_empty());
        let linked = self.linked.filter(|_| listener.base == Base::Total);
        let hears_all = linked.is_some() == self.linked.is_some();
        if listener.own.is_none() && gains.is_none() && hears_all {
            return *self.everyone;
        }
        let own = listener.own.map(|own| own.id);
        let mut others = Sources::default();
        for (id, level) in self.frames.heard().filter(|(id, _)| Some(*id) != own) {
            match gains.map_or(Gain::UNITY, |gains| gains.gain_of(id)) {
                Gain::MUTE => {}
                gain if !others.push(id, level.amplified(gain)) => break,
                _ => {}
            }
        }
        linked.map_or(others, |linked| others.with(&linked, 0.0))
    }
}

fn is_own(listener: &Ingredients<'_>, voice: &Voice) -> bool {
    listener.own.is_some_and(|own| own.id == voice.id)
}

/// Adds the monitored rooms to the mix of the listener's own room, which is ducked where monitored
/// rooms have priority. Returns whether anybody is heard in the mix.
pub(crate) fn blend(monitors: Option<&MonitorMix>, home_is_heard: bool, mix: &mut Frame) -> bool {
    if !home_is_heard {
        mix.clear();
    } else if let Some(monitors) = monitors {
        let (from, to) = monitors.home();
        ramp(mix, from, to);
    }
    let Some((sum, _)) = monitors.and_then(MonitorMix::heard) else {
        return home_is_heard;
    };
    for (out, sample) in mix.samples_mut().iter_mut().zip(sum.samples()) {
        *out += sample;
    }
    true
}

/// Mixes the monitored rooms in like [`blend`], and cross-fades within the tick from the rooms
/// monitored before to those monitored now.
pub(crate) fn fade(
    monitors: Option<&MonitorMix>,
    before: Option<&MonitorMix>,
    home_is_heard: bool,
    mix: &mut Frame,
    spare: &mut Frame,
) -> bool {
    spare.samples_mut().copy_from_slice(mix.samples());
    let sounds = blend(monitors, home_is_heard, mix);
    let sounded = blend(before, home_is_heard, spare);
    ramp(mix, 0.0, 1.0);
    ramp(spare, 1.0, 0.0);
    for (out, sample) in mix.samples_mut().iter_mut().zip(spare.samples()) {
        *out += sample;
    }
    sounds || sounded
}

/// Applies a gain to a whole frame that ramps from `from` to `to`.
fn ramp(frame: &mut Frame, from: f32, to: f32) {
    let channels = frame.layout().channels();
    GainRamp::across(frame.samples_mut(), channels, from, to);
}
