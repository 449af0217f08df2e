//! The monitor mix: what a participant hears of other rooms besides its own, on one connection.
//!
//! A monitor mix is a list of feeds, each with a gain and a priority, and the gain and priority of
//! the listener's own room. While somebody is heard in a room, rooms of lower priority are ducked.
//! That also holds for the listener's own voice: a listener that talks in its own room has the
//! other rooms ducked by that room's priority, as a radio turns its loudspeaker down. So all
//! listeners of equal lists in a room hear the same mix except for their own voices. These
//! listeners share the work: a room sums each distinct list once a tick, and its listeners form a
//! listener group. A replaced list is heard for one more tick and faded out, so that no change can
//! be heard as a click.

use std::sync::Arc;

use crate::format::{Layout, MAX_CHANNELS, MAX_TICK_SAMPLES, SAMPLE_RATE_HZ, TickLength};
use crate::frame::Frame;
use crate::gain_ramp::GainRamp;
use crate::monitor::{Feed, FeedReader, TickSpan};
use crate::output::OutputStream;
use crate::packet::Sources;
use crate::units::{Decibels, Gain};

/// Gain and priority of one of the rooms that a listener hears.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonitorLevel {
    /// Gain of the room's voices.
    pub gain: Gain,
    /// The room is ducked while somebody is heard in a room of higher priority.
    pub priority: u8,
}

impl Default for MonitorLevel {
    fn default() -> MonitorLevel {
        MonitorLevel {
            gain: Gain::UNITY,
            priority: 0,
        }
    }
}

/// A room that is monitored or linked.
#[derive(Debug, Clone)]
pub struct MonitoredRoom {
    /// The feed with the room's voices.
    pub feed: Arc<Feed>,
    /// Gain and priority of these voices.
    pub level: MonitorLevel,
}

/// The rooms that one listener monitors, and this tick's sum of their voices.
#[derive(Debug)]
pub struct MonitorMix {
    home: Ducking,
    channels: Vec<(FeedReader, Ducking)>,
    layout: Layout,
    tick: TickLength,
    /// Position on the media clock at which the last tick ended.
    passed_to: Option<u64>,
    /// This tick's sum of the other rooms.
    sum: Frame,
    sounds: bool,
    /// Who is heard in the sum, loudest first.
    sources: Sources,
}

impl MonitorMix {
    /// Creates the mix for listeners in a room of this layout and tick length.
    ///
    /// - `home`: gain and priority of that room itself.
    /// - `channels`: the other rooms, each only once and in a fixed order: two lists in different
    ///   order do not compare as equal.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(
        home: MonitorLevel,
        channels: impl IntoIterator<Item = MonitoredRoom>,
        layout: Layout,
        tick: TickLength,
    ) -> MonitorMix {
        let channels = channels.into_iter();
        MonitorMix {
            home: Ducking::new(home),
            channels: channels
                .map(|channel| (FeedReader::new(channel.feed), Ducking::new(channel.level)))
                .collect(),
            layout,
            tick,
            passed_to: None,
            sum: Frame::new(layout, tick),
            sounds: false,
            sources: Sources::default(),
        }
    }

    /// The layout and tick length that the mix was made for.
    pub(crate) fn format(&self) -> (Layout, TickLength) {
        (self.layout, self.tick)
    }

    /// Whether the two mixes produce the same sound.
    pub(crate) fn is_like(&self, other: &MonitorMix) -> bool {
        let mut pairs = self.channels.iter().zip(&other.channels);
        self.home.level == other.home.level
            && self.channels.len() == other.channels.len()
            && pairs.all(|((reader, ducking), (other_reader, other_ducking))| {
                ducking.level == other_ducking.level
                    && Arc::ptr_eq(reader.feed(), other_reader.feed())
            })
    }

    /// Continues from the state of `other`, a mix that produces the same sound.
    ///
    /// Real-time: safe.
    pub(crate) fn follow(&mut self, other: &MonitorMix) {
        self.home = other.home;
        self.passed_to = other.passed_to;
        for ((reader, ducking), (other_reader, other_ducking)) in
            self.channels.iter_mut().zip(&other.channels)
        {
            reader.follow(other_reader);
            *ducking = *other_ducking;
        }
    }

    /// Whether a voice may be heard in the tick at `place`. A sleeping room asks this instead of
    /// ticking.
    pub(crate) fn may_hear_others(&self, place: TickSpan) -> bool {
        let mut channels = self.channels.iter();
        channels.any(|(reader, _)| reader.may_hear_others(place))
    }

    /// Sums this tick of the other rooms.
    ///
    /// - `home_is_heard`: whether somebody is heard in the listener's own room, even the listener
    ///   itself.
    ///
    /// Real-time: safe.
    pub(crate) fn sum_tick(&mut self, place: TickSpan, home_is_heard: bool) {
        let ms = self.tick.ms();
        self.sleep_until(place.at);
        self.passed_to = Some(place.at + self.tick.samples() as u64);
        self.balance(home_is_heard, |reader| reader.advance(place), ms);
        self.sounds = false;
        self.sources = Sources::default();
        let mut pcm = [0.0; MAX_TICK_SAMPLES * MAX_CHANNELS];
        for (reader, ducking) in &mut self.channels {
            let pcm = &mut pcm[..self.tick.samples() * reader.layout().channels()];
            if ducking.level.gain == Gain::MUTE || !reader.read(place, ducking.is_heard, pcm) {
                continue;
            }
            if !self.sounds {
                self.sum.clear();
            }
            self.sounds = true;
            add(reader.layout(), pcm, ducking, &mut self.sum);
            if ducking.is_heard {
                let quieter_db = -Decibels::from_factor(ducking.level.gain.factor()).0;
                self.sources = self.sources.with(reader.sources(), quieter_db);
            }
        }
    }

    /// Accounts for the ticks that the room has slept through, in which nobody was heard.
    fn sleep_until(&mut self, at: u64) {
        let passed_to = self.passed_to.unwrap_or(at);
        let ms = at.saturating_sub(passed_to) / SAMPLES_PER_MS;
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        if ms > 0 {
            self.balance(false, |_| false, ms);
        }
    }

    /// Ducks the rooms of lower priority than the highest one heard, over a time of `ms`.
    fn balance(&mut self, home: bool, mut is_heard: impl FnMut(&mut FeedReader) -> bool, ms: u32) {
        self.home.listen(home, ms);
        let mut top = self.home.claim();
        for (reader, ducking) in &mut self.channels {
            ducking.listen(is_heard(reader), ms);
            top = top.max(ducking.claim());
        }
        self.home.duck(top, ms);
        for (_, ducking) in &mut self.channels {
            ducking.duck(top, ms);
        }
    }

    /// This tick's sum of the other rooms and its sources; `None` if nobody is heard.
    pub(crate) fn heard(&self) -> Option<(&Frame, &Sources)> {
        self.sounds.then_some((&self.sum, &self.sources))
    }

    /// Gain of the listener's own room at the beginning and at the end of this tick.
    pub(crate) fn home(&self) -> (f32, f32) {
        (self.home.from, self.home.to)
    }
}

/// Adds `pcm`, in the layout of a monitored room, to a sum in the layout of the listening room;
/// upmixes or downmixes if needed.
fn add(from: Layout, pcm: &[f32], ducking: &Ducking, sum: &mut Frame) {
    let to = sum.layout().channels();
    let instants = sum.samples_mut().chunks_exact_mut(to);
    let ramp = GainRamp::new(ducking.from, ducking.to, pcm.len() / from.channels());
    let sounds = pcm.chunks_exact(from.channels());
    for (at, (out, sound)) in instants.zip(sounds).enumerate() {
        let gain = ramp.at(at);
        match (out, sound) {
            ([out], [left, right]) => *out += gain * 0.5 * (left + right),
            (out, [sound]) => out.iter_mut().for_each(|out| *out += gain * sound),
            (out, sound) => {
                for (out, sound) in out.iter_mut().zip(sound) {
                    *out += gain * sound;
                }
            }
        }
    }
}

/// State of one room of a monitor mix: gain, priority, activity and ducking.
#[derive(Debug, Clone, Copy)]
struct Ducking {
    level: MonitorLevel,
    is_heard: bool,
    /// Time since somebody was last heard in the room, saturating.
    quiet_ms: u32,
    /// Ducking factor of the room; `None` before the first tick.
    ducked: Option<f32>,
    /// Gain at this tick's beginning and at its end, linear.
    from: f32,
    to: f32,
}

impl Ducking {
    fn new(level: MonitorLevel) -> Ducking {
        Ducking {
            level,
            is_heard: false,
            quiet_ms: u32::MAX,
            ducked: None,
            from: 0.0,
            to: 0.0,
        }
    }

    fn listen(&mut self, is_heard: bool, ms: u32) {
        self.is_heard = is_heard;
        self.quiet_ms = match is_heard {
            true => 0,
            false => self.quiet_ms.saturating_add(ms),
        };
    }

    /// The priority by which the room ducks other rooms; `None` while nobody is heard in it.
    fn claim(&self) -> Option<u8> {
        let is_heard = self.quiet_ms <= HOLD_MS && self.level.gain > Gain::MUTE;
        is_heard.then_some(self.level.priority)
    }

    /// Moves the ducking factor towards its target while `top` is the highest priority heard.
    fn duck(&mut self, top: Option<u8>, ms: u32) {
        let is_outdone = top.is_some_and(|top| top > self.level.priority);
        let target = if is_outdone { DUCKED } else { 1.0 };
        // Nobody has heard the room yet, so its factor starts at the target.
        let now = self.ducked.unwrap_or(target);
        let depth = 1.0 - DUCKED;
        let next = if target < now {
            (now - depth * ms as f32 / DOWN_MS).max(target)
        } else {
            (now + depth * ms as f32 / UP_MS).min(target)
        };
        self.ducked = Some(next);
        let gain = self.level.gain.factor();
        self.from = now * gain;
        self.to = next * gain;
    }
}

/// New monitored rooms for a participant. The box comes back with the previous rooms, and with the
/// stream if that was not needed.
#[derive(Debug, Default)]
pub struct MonitorChange {
    /// The rooms monitored from now on; `None`: only the participant's own room.
    pub monitors: Option<Box<MonitorMix>>,
    /// A stream of the participant's own encoding, for a listen-only participant that may have no
    /// stream of its own.
    pub stream: Option<Box<OutputStream>>,
}

const SAMPLES_PER_MS: u64 = SAMPLE_RATE_HZ as u64 / 1_000;

/// Gain of a ducked room: -12 dB, quiet enough not to mask the voice above it, and still
/// intelligible.
const DUCKED: f32 = 0.251_19;

/// How long a room keeps ducking other rooms after its last word, so that these do not become
/// louder in a pause between words.
const HOLD_MS: u32 = 300;

/// Time from full to ducked level: shorter than the first syllable, too slow to be heard as a
/// click.
const DOWN_MS: f32 = 20.0;

/// Time from ducked to full level.
const UP_MS: f32 = 250.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::FeedWriter;
    use crate::units::{Level, ParticipantId};

    const TICK: TickLength = TickLength::Ms20;

    struct Desk {
        monitors: MonitorMix,
        feed_writers: Vec<FeedWriter>,
        turn: u64,
    }

    impl Desk {
        fn new(home: MonitorLevel, strengths: &[MonitorLevel]) -> Desk {
            let feeds: Vec<_> = strengths
                .iter()
                .map(|_| Arc::new(Feed::new(Layout::Mono, TICK)))
                .collect();
            let channels = feeds.iter().zip(strengths);
            let channels = channels.map(|(feed, level)| MonitoredRoom {
                feed: feed.clone(),
                level: *level,
            });
            Desk {
                monitors: MonitorMix::new(home, channels, Layout::Mono, TICK),
                feed_writers: feeds
                    .iter()
                    .map(|feed| FeedWriter::new(feed.clone(), Layout::Mono, TICK).expect("fits"))
                    .collect(),
                turn: 100,
            }
        }

        /// Runs one tick with a constant 0.1 in the rooms that speak; returns the last sample of
        /// the sum.
        fn turn(&mut self, write_tick: &[bool]) -> f32 {
            self.turn += 1;
            let mut frame = Frame::new(Layout::Mono, TICK);
            frame.samples_mut().fill(0.1);
            for (id, (feed_writer, speaks)) in
                (1..).zip(self.feed_writers.iter_mut().zip(write_tick))
            {
                let mut sources = Sources::default();
                sources.push(ParticipantId(id), Level::from_wire(20 + id as u8));
                feed_writer.write_tick(self.turn * 960, speaks.then_some((&frame, &sources)));
            }
            let place = TickSpan {
                at: self.turn * 960 + 240,
                tick: TICK,
            };
            self.monitors.sum_tick(place, false);
            let heard = self.monitors.heard();
            heard.map_or(0.0, |(sum, _)| sum.samples()[900])
        }
    }

    fn level(db: f32, priority: u8) -> MonitorLevel {
        MonitorLevel {
            gain: Gain::from(Decibels(db)),
            priority,
        }
    }

    #[test]
    fn monitor_mix_applies_each_room_gain_and_orders_sources_by_level() {
        let mut desk = Desk::new(
            MonitorLevel::default(),
            &[level(-6.0206, 0), level(6.0206, 0)],
        );
        assert_eq!(desk.turn(&[false, false]), 0.0);
        assert!(desk.monitors.heard().is_none());
        for _ in 0..3 {
            desk.turn(&[true, true]);
        }
        let sum = desk.turn(&[true, true]);
        assert!((sum - 0.25).abs() < 1e-4, "{sum}");
        let (_, sources) = desk.monitors.heard().expect("both speak");
        // The second room is made louder than the first.
        assert_eq!(sources.ids(), [2, 1]);
        assert_eq!(sources.levels(), [16, 27]);
    }

    #[test]
    fn monitored_room_ducks_lower_priorities_and_keeps_ducking_in_pauses() {
        let mut desk = Desk::new(MonitorLevel::default(), &[level(0.0, 1), level(0.0, 2)]);
        for _ in 0..5 {
            desk.turn(&[true, false]);
        }
        assert!((desk.turn(&[true, false]) - 0.1).abs() < 1e-4);
        for _ in 0..3 {
            desk.turn(&[true, true]);
        }
        assert!((desk.turn(&[true, true]) - 0.125_1).abs() < 1e-3);
        assert!(
            (desk.monitors.home().1 - DUCKED).abs() < 1e-3,
            "home is lowest"
        );
        for _ in 0..14 {
            desk.turn(&[true, false]);
        }
        assert!((desk.turn(&[true, false]) - 0.025_1).abs() < 1e-3, "held");
        for _ in 0..20 {
            desk.turn(&[true, false]);
        }
        assert!((desk.turn(&[true, false]) - 0.1).abs() < 1e-4, "and back");
    }

    #[test]
    fn monitor_mix_counts_slept_ticks_towards_the_end_of_ducking() {
        let mut desk = Desk::new(MonitorLevel::default(), &[level(0.0, 1), level(0.0, 2)]);
        for _ in 0..5 {
            desk.turn(&[true, true]);
        }
        desk.turn += 5;
        let held = desk.turn(&[true, false]);
        assert!((held - 0.025_1).abs() < 1e-3, "{held} after 100 ms");
        desk.turn += 500;
        let free = desk.turn(&[true, false]);
        assert!((free - 0.1).abs() < 1e-4, "{free} after 10 s");
    }

    #[test]
    fn monitored_rooms_of_equal_priority_do_not_duck_each_other() {
        let mut desk = Desk::new(level(0.0, 3), &[level(0.0, 3), level(0.0, 3)]);
        for _ in 0..5 {
            desk.turn(&[true, true]);
        }
        assert!((desk.turn(&[true, true]) - 0.2).abs() < 1e-4);
        assert_eq!(desk.monitors.home(), (1.0, 1.0));
    }

    #[test]
    fn monitor_mixes_are_alike_only_with_equal_feeds_and_levels() {
        let feed = Arc::new(Feed::new(Layout::Mono, TICK));
        let other = Arc::new(Feed::new(Layout::Mono, TICK));
        let monitors = |feed: &Arc<Feed>, home, level| {
            let channel = MonitoredRoom {
                feed: feed.clone(),
                level,
            };
            MonitorMix::new(home, [channel], Layout::Mono, TICK)
        };
        let plain = MonitorLevel::default();
        let one = monitors(&feed, plain, plain);
        assert!(one.is_like(&monitors(&feed, plain, plain)));
        assert!(!one.is_like(&monitors(&other, plain, plain)));
        assert!(!one.is_like(&monitors(&feed, level(0.0, 1), plain)));
        assert!(!one.is_like(&monitors(&feed, plain, level(-6.0, 0))));
        assert!(!one.is_like(&MonitorMix::new(plain, [], Layout::Mono, TICK)));
    }

    #[test]
    fn monitor_mix_upmixes_and_downmixes_rooms_to_its_own_layout() {
        for (from, to, expected) in [
            (Layout::Stereo, Layout::Mono, vec![0.3, 0.3]),
            (Layout::Mono, Layout::Stereo, vec![0.2, 0.2, 0.4, 0.4]),
            (Layout::Stereo, Layout::Stereo, vec![0.2, 0.4, 0.2, 0.4]),
        ] {
            let mut ducking = Ducking::new(MonitorLevel::default());
            ducking.duck(None, 20);
            let mut sum = Frame::new(to, TICK);
            let pcm = match from {
                Layout::Mono => [0.2, 0.4],
                Layout::Stereo => [0.2, 0.4],
            };
            let pcm = pcm.repeat(960 * from.channels() / 2);
            add(from, &pcm, &ducking, &mut sum);
            for (got, expected) in sum.samples().iter().zip(expected) {
                assert!((got - expected).abs() < 1e-6, "{from:?} to {to:?}");
            }
        }
    }
}
