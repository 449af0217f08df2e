//! What is said in one room, for who listens from another.
//!
//! Beside the picture: after the bus is summed a room that is listened to from elsewhere writes it to its
//! feed, and the rooms of those who listen read it in their own ticks, maybe on another mixer's thread, at
//! another phase, with another length of tick. A feed holds a room's own voices only and nothing that
//! came from a feed, so nothing goes in circles, and nobody can meet himself in another room's.
//!
//! Positions count samples on the media clock, which all mixers of a server share. A ring of atomics
//! needs neither lock nor unsafe code: who reads what is being overwritten finds out, and hears silence
//! instead. What is written without a gap is a run; outside of it there is silence.

use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, fence};
use std::sync::Arc;

use crate::format::{Layout, MAX_CHANNELS, MAX_CSRCS, SLOT_SAMPLES, TickLength};
use crate::frame::Frame;
use crate::packet::Sources;
use crate::units::{Level, ParticipantId};

/// The voices of one room. It has one writer at a time; two would make noise, and do no other harm.
pub struct Feed {
    layout: Layout,
    tick: TickLength,
    /// Up to where the writer may have written by now: what lies a ring's length before is not to be
    /// trusted.
    claimed: AtomicU64,
    /// Where the last run began.
    begin: AtomicU64,
    /// Where the last tick ended in which there was a voice.
    voiced: AtomicU64,
    /// Where the last run ends so far.
    end: AtomicU64,
    /// Bits of the samples, channels interleaved.
    ring: Box<[AtomicU32]>,
    /// Who is heard: how many.
    heard: AtomicU8,
    /// Their ids, and their levels in the lowest byte.
    sources: [AtomicU64; MAX_CSRCS],
}

impl Feed {
    /// A silent feed, for a room of this layout and tick.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(layout: Layout, tick: TickLength) -> Feed {
        let samples = RING_SAMPLES * layout.channels();
        Feed {
            layout,
            tick,
            claimed: AtomicU64::new(0),
            begin: AtomicU64::new(0),
            voiced: AtomicU64::new(0),
            end: AtomicU64::new(0),
            ring: (0..samples).map(|_| AtomicU32::new(0)).collect(),
            heard: AtomicU8::new(0),
            sources: [const { AtomicU64::new(0) }; MAX_CSRCS],
        }
    }

    /// Writes one tick that begins at `at`: its voices and whose they are, or silence.
    fn write(&self, at: u64, voices: Option<(&Frame, &Sources)>) {
        let end = at + self.tick.samples() as u64;
        self.claimed.store(end, Relaxed);
        // Whoever sees any of what follows sees that it was claimed.
        fence(Release);
        if self.end.load(Relaxed) != at {
            self.begin.store(at, Relaxed);
        }
        match voices {
            Some((frame, sources)) => {
                debug_assert_eq!(frame.layout(), self.layout);
                let samples = frame.samples().iter();
                for (cell, sample) in self.cells(at..end).zip(samples) {
                    cell.store(sample.to_bits(), Relaxed);
                }
                self.name(sources);
                self.voiced.store(end, Relaxed);
            }
            None => {
                self.cells(at..end).for_each(|cell| cell.store(0, Relaxed));
                self.heard.store(0, Relaxed);
            }
        }
        self.end.store(end, Release);
    }

    fn name(&self, sources: &Sources) {
        let named = sources.ids().iter().zip(sources.levels());
        for (cell, (id, level)) in self.sources.iter().zip(named) {
            cell.store(u64::from(*id) << 8 | u64::from(*level), Relaxed);
        }
        self.heard.store(sources.ids().len() as u8, Relaxed);
    }

    /// How far it has been written.
    fn glance(&self) -> Glance {
        let end = self.end.load(Acquire);
        Glance {
            begin: self.begin.load(Relaxed),
            voiced: self.voiced.load(Relaxed),
            end,
        }
    }

    /// Fills `pcm`, channels interleaved, with what begins at `from`; the part of it that was there to be
    /// read, in instants. The rest is silence.
    fn read(&self, seen: &Glance, from: u64, pcm: &mut [f32]) -> Range<usize> {
        let channels = self.layout.channels();
        let to = from + (pcm.len() / channels) as u64;
        let there = from.max(seen.begin)..to.min(seen.end);
        pcm.fill(0.0);
        if there.is_empty() {
            return 0..0;
        }
        let within = (there.start - from) as usize..(there.end - from) as usize;
        let out = &mut pcm[within.start * channels..within.end * channels];
        for (cell, sample) in self.cells(there.clone()).zip(&mut *out) {
            *sample = f32::from_bits(cell.load(Relaxed));
        }
        fence(Acquire);
        if self.claimed.load(Relaxed) > there.start + RING_SAMPLES as u64 {
            out.fill(0.0);
            return 0..0;
        }
        within
    }

    /// Who is heard in what was written last; `None` while it is being written.
    fn sources(&self, seen: &Glance) -> Option<Sources> {
        let mut sources = Sources::default();
        let heard = usize::from(self.heard.load(Relaxed));
        for cell in self.sources.iter().take(heard) {
            let named = cell.load(Relaxed);
            let id = ParticipantId((named >> 8) as u32);
            sources.push(id, Level::from_wire(named as u8));
        }
        fence(Acquire);
        (self.claimed.load(Relaxed) == seen.end).then_some(sources)
    }

    /// The cells of a stretch no longer than the ring.
    fn cells(&self, stretch: Range<u64>) -> impl Iterator<Item = &AtomicU32> {
        let channels = self.layout.channels();
        let len = (stretch.end - stretch.start) as usize * channels;
        let at = (stretch.start % RING_SAMPLES as u64) as usize * channels;
        let (before, from) = self.ring.split_at(at);
        from.iter().chain(before).take(len)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed({:?}, {:?})", self.layout, self.tick)
    }
}

/// How far a feed has been written.
#[derive(Debug, Clone, Copy, Default)]
struct Glance {
    begin: u64,
    voiced: u64,
    end: u64,
}

/// A room's end of its feed.
#[derive(Debug)]
pub(crate) struct Mouth {
    feed: Arc<Feed>,
    silent_ms: u32,
}

impl Mouth {
    /// Speaks to `feed`, which must be made for the room's layout and tick; gives it back if not.
    pub fn new(feed: Arc<Feed>, layout: Layout, tick: TickLength) -> Result<Mouth, Arc<Feed>> {
        if feed.layout != layout || feed.tick != tick {
            return Err(feed);
        }
        Ok(Mouth {
            feed,
            silent_ms: TAIL_MS,
        })
    }

    /// The feed, which is not written to any more.
    pub fn into_feed(self) -> Arc<Feed> {
        self.feed
    }

    /// Writes one tick, or that nobody is heard in it. After a while of silence nothing is written any
    /// more.
    ///
    /// Real-time: safe.
    pub fn speak(&mut self, at: u64, voices: Option<(&Frame, &Sources)>) {
        if voices.is_some() {
            self.silent_ms = 0;
        } else if self.silent_ms >= TAIL_MS {
            return;
        } else {
            self.silent_ms += self.feed.tick.ms();
        }
        self.feed.write(at, voices);
    }
}

/// One listening room's end of another's feed: where it reads, and how it got there.
///
/// It reads so far behind the media clock as the two rooms' phases ask for: everything that the writer
/// has written a slot before this room's tick, and nothing later. So it does not matter which of two
/// rooms comes first in a slot, nor which of two mixers. If a mixer is later than that, what is missing
/// is faded out and in, and the reader stays further behind from then on.
#[derive(Debug)]
pub(crate) struct Tap {
    feed: Arc<Feed>,
    seen: Glance,
    /// The run for which `lag` holds.
    run: u64,
    /// How far behind the media clock it reads.
    lag: u64,
    /// How long before this room's tick the writer's must have been.
    margin: u64,
    /// Where this tick's part begins.
    from: u64,
    /// The part before.
    before: Before,
    /// The sample that was given out last, of each channel.
    last: [f32; MAX_CHANNELS],
    /// Who was heard.
    sources: Sources,
}

/// What was given out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing yet.
    Nothing,
    /// All that there was, up to here.
    Whole { to: u64 },
    /// Less than there should have been.
    Broken,
}

/// Where a tick of the listening room stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Its first sample on the media clock.
    pub at: u64,
    /// Its length.
    pub tick: TickLength,
}

impl Tap {
    /// Nothing heard yet.
    pub fn new(feed: Arc<Feed>) -> Tap {
        Tap {
            feed,
            seen: Glance::default(),
            run: 0,
            lag: 0,
            margin: SLOT_SAMPLES as u64,
            from: 0,
            before: Before::Nothing,
            last: [0.0; MAX_CHANNELS],
            sources: Sources::default(),
        }
    }

    /// What it listens to.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Channels of what it gives out.
    pub fn layout(&self) -> Layout {
        self.feed.layout
    }

    /// Reads on from where `other`, which reads the same feed, stands.
    ///
    /// Real-time: safe.
    pub fn follow(&mut self, other: &Tap) {
        debug_assert!(Arc::ptr_eq(&self.feed, &other.feed));
        self.seen = other.seen;
        self.run = other.run;
        self.lag = other.lag;
        self.margin = other.margin;
        self.from = other.from;
        self.before = other.before;
        self.last = other.last;
        self.sources = other.sources;
    }

    /// Whether there may be something to hear for a tick at `place`: asked in place of a tick.
    ///
    /// Real-time: safe.
    pub fn is_called(&self, place: Place) -> bool {
        let seen = self.feed.glance();
        let reach = (MAX_LAG_SAMPLES + place.tick.samples()) as u64;
        seen.voiced + reach > place.at
    }

    /// Goes on to this tick; says whether somebody is heard in it.
    ///
    /// Real-time: safe.
    pub fn turn(&mut self, place: Place) -> bool {
        self.seen = self.feed.glance();
        if self.seen.begin != self.run {
            self.run = self.seen.begin;
            // What went well may be tried a little closer.
            let closer = self.margin - SLOT_SAMPLES as u64;
            self.margin = closer.max(SLOT_SAMPLES as u64);
            self.lag = self.lag_at(place);
        }
        self.from = place.at.saturating_sub(self.lag);
        let to = self.from + place.tick.samples() as u64;
        self.seen.begin < to && self.from < self.seen.voiced
    }

    /// Fills `pcm`, channels interleaved, with this tick's part; says whether there is any sound in it,
    /// be it the end of what broke off. If not, `pcm` is left as it is.
    ///
    /// - `is_heard`: what [`turn`](Tap::turn) said.
    ///
    /// Real-time: safe.
    pub fn take(&mut self, place: Place, is_heard: bool, pcm: &mut [f32]) -> bool {
        let is_cut = self.last != [0.0; MAX_CHANNELS];
        if is_heard || is_cut {
            self.fill(place, pcm);
            return true;
        }
        if self.before != Before::Nothing {
            let to = self.from + place.tick.samples() as u64;
            self.before = match self.seen.voiced == self.seen.end {
                true => Before::Broken,
                false => Before::Whole { to },
            };
            self.judge(to > self.seen.end, place);
        }
        false
    }

    fn fill(&mut self, place: Place, pcm: &mut [f32]) {
        let channels = self.feed.layout.channels();
        let there = self.feed.read(&self.seen, self.from, pcm);
        let instants = pcm.len() / channels;
        let first = self.from + there.start as u64;
        let goes_on = match self.before {
            Before::Nothing => true,
            Before::Whole { to } if to == first => true,
            // Where a run begins, it begins by itself.
            _ => first == self.seen.begin,
        };
        if !goes_on {
            fade_in(&mut pcm[there.start * channels..], channels);
        }
        if self.before != (Before::Whole { to: first }) {
            fade_out(pcm, &self.last[..channels]);
        }
        self.last = [0.0; MAX_CHANNELS];
        let is_whole = there.end == instants;
        if let Some(end) = there.end.checked_sub(1) {
            let end = &pcm[end * channels..][..channels];
            self.last[..channels].copy_from_slice(end);
        }
        self.before = match is_whole {
            true => Before::Whole {
                to: self.from + instants as u64,
            },
            false => {
                let last = core::mem::take(&mut self.last);
                fade_out(&mut pcm[there.end * channels..], &last[..channels]);
                Before::Broken
            }
        };
        self.judge(!is_whole, place);
    }

    /// Draws the consequences of a part that may have been short.
    fn judge(&mut self, is_short: bool, place: Place) {
        // After the last voice there is silence before a run ends, so this one goes on, or its room
        // has come to an end.
        let goes_on = self.seen.voiced == self.seen.end;
        let may_come = self.seen.end + MAX_LAG_SAMPLES as u64 > place.at;
        if is_short && goes_on && may_come && self.margin < MAX_MARGIN_SAMPLES {
            self.margin += SLOT_SAMPLES as u64;
            self.lag = self.lag_at(place);
        }
    }

    /// Who is heard.
    ///
    /// Real-time: safe.
    pub fn sources(&mut self) -> &Sources {
        if let Some(sources) = self.feed.sources(&self.seen) {
            self.sources = sources;
        }
        &self.sources
    }

    /// The least lag at which every tick of this room finds what it needs, if the writer is never later
    /// than `margin`. Of two lengths of tick one is a multiple of the other, so their phase against each
    /// other is the same at every tick of the shorter.
    fn lag_at(&self, place: Place) -> u64 {
        let writes = self.feed.tick.samples() as u64;
        let reads = place.tick.samples() as u64;
        let step = writes.min(reads) as i64;
        let apart = place.at as i64 - self.run as i64 - self.margin as i64;
        self.margin + apart.rem_euclid(step) as u64 + reads.saturating_sub(writes)
    }
}

/// Lets what broke off at `last` fall to nothing.
fn fade_out(pcm: &mut [f32], last: &[f32]) {
    for (at, instant) in pcm
        .chunks_exact_mut(last.len())
        .take(FALL_SAMPLES)
        .enumerate()
    {
        let weight = 1.0 - (at + 1) as f32 / FALL_SAMPLES as f32;
        for (sample, last) in instant.iter_mut().zip(last) {
            *sample += last * weight * weight;
        }
    }
}

/// Lets what begins in the middle rise from nothing.
fn fade_in(pcm: &mut [f32], channels: usize) {
    for (at, instant) in pcm
        .chunks_exact_mut(channels)
        .take(RISE_SAMPLES)
        .enumerate()
    {
        let gain = (at + 1) as f32 / RISE_SAMPLES as f32;
        instant.iter_mut().for_each(|sample| *sample *= gain);
    }
}

/// What a feed remembers: 170 ms. A reader is up to three ticks behind the writer, and one mixer may run
/// late by one more.
const RING_SAMPLES: usize = 8_192;

/// Silence written after the last voice, so that who reads it later than it is written hears its end:
/// more than any lag.
const TAIL_MS: u32 = 80;

/// As far as a reader may stay behind a mixer that is late: beyond a tick that mixer leaves ticks out.
const MAX_MARGIN_SAMPLES: u64 = 960;

/// The longest lag: the margin, a phase of nearly a tick, and half a tick for a shorter one.
const MAX_LAG_SAMPLES: usize = 960 + 960 + 480;

/// Five milliseconds: what breaks off is lost, and this much takes the click out of it.
const FALL_SAMPLES: usize = 240;

/// One millisecond, as long as any voice takes to open.
const RISE_SAMPLES: usize = 48;

const _: () = assert!(TAIL_MS as usize * 48 > MAX_LAG_SAMPLES + 960);

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: [TickLength; 2] = [TickLength::Ms10, TickLength::Ms20];

    /// A voice that is a function of the position, and nowhere zero.
    fn voice(at: u64) -> f32 {
        0.1 + (at % 7_919) as f32 / 10_000.0
    }

    fn sources(id: u32) -> Sources {
        let mut sources = Sources::default();
        sources.push(ParticipantId(id), Level::from_wire(20));
        sources
    }

    struct Pair {
        mouth: Mouth,
        tap: Tap,
        frame: Frame,
    }

    impl Pair {
        fn new(tick: TickLength) -> Pair {
            let feed = Arc::new(Feed::new(Layout::Mono, tick));
            let mouth = Mouth::new(feed.clone(), Layout::Mono, tick);
            Pair {
                mouth: mouth.expect("made for it"),
                tap: Tap::new(feed),
                frame: Frame::new(Layout::Mono, tick),
            }
        }

        fn speak(&mut self, at: u64) {
            for (position, sample) in (at..).zip(self.frame.samples_mut()) {
                *sample = voice(position);
            }
            self.mouth.speak(at, Some((&self.frame, &sources(7))));
        }

        fn hear(&mut self, at: u64, tick: TickLength) -> (bool, Vec<f32>) {
            let mut pcm = vec![0.0; tick.samples()];
            let place = Place { at, tick };
            let is_heard = self.tap.turn(place);
            self.tap.take(place, is_heard, &mut pcm);
            (is_heard, pcm)
        }
    }

    #[test]
    fn every_sample_is_heard_once_whatever_the_phases_and_ticks() {
        for writes in TICKS {
            for reads in TICKS {
                for phase in 0..reads.slots() as u64 {
                    for writer_first in [true, false] {
                        check_pair(writes, reads, phase, writer_first);
                    }
                }
            }
        }
    }

    fn check_pair(writes: TickLength, reads: TickLength, phase: u64, writer_first: bool) {
        let mut pair = Pair::new(writes);
        let mut heard = Vec::new();
        let (first, last) = (4_000u64, 4_000 + 8 * 40);
        for slot in first..last + 80 {
            let at = slot * 120;
            let spoken = slot < last && (slot - first).is_multiple_of(writes.slots() as u64);
            let silent = slot >= last && (slot - first).is_multiple_of(writes.slots() as u64);
            let speak = |pair: &mut Pair| {
                if spoken {
                    pair.speak(at);
                } else if silent {
                    pair.mouth.speak(at, None);
                }
            };
            if writer_first {
                speak(&mut pair);
            }
            if slot % reads.slots() as u64 == phase {
                heard.extend(pair.hear(at, reads).1);
            }
            if !writer_first {
                speak(&mut pair);
            }
        }
        let start = heard.iter().position(|&sample| sample != 0.0);
        let start = start.expect("it was heard");
        let spoken: Vec<f32> = (first * 120..last * 120).map(voice).collect();
        let got = &heard[start..][..spoken.len()];
        assert_eq!(got, spoken, "{writes:?} {reads:?} {phase} {writer_first}");
        let rest = &heard[start + spoken.len()..];
        assert!(rest.iter().all(|&sample| sample == 0.0));
    }

    #[test]
    fn a_writer_that_is_late_makes_no_step_and_is_waited_for() {
        let tick = TickLength::Ms20;
        let mut pair = Pair::new(tick);
        let tone = |at: u64| (std::f64::consts::TAU * 925.0 * at as f64 / 48_000.0).sin() as f32;
        let mut heard = Vec::new();
        for turn in 400..600u64 {
            // The reader's tick is a slot after the writer's; from the hundredth on the writer comes
            // after the reader every time.
            let writer_at = turn * 960;
            let write = |pair: &mut Pair| {
                for (position, sample) in (writer_at..).zip(pair.frame.samples_mut()) {
                    *sample = tone(position);
                }
                pair.mouth
                    .speak(writer_at, Some((&pair.frame, &sources(7))));
            };
            if turn < 500 {
                write(&mut pair);
            }
            heard.extend(pair.hear(writer_at + 120, tick).1);
            if turn >= 500 {
                write(&mut pair);
            }
        }
        let steps = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        let steepest = steps.fold(0.0f32, f32::max);
        // The tone itself rises by 0.121 a sample.
        assert!(steepest < 0.15, "a step of {steepest}");
        let end = &heard[heard.len() - 960 * 90..];
        assert!(
            end.chunks(60)
                .all(|part| part.iter().any(|it| it.abs() > 0.5))
        );
    }

    #[test]
    fn what_is_overwritten_meanwhile_is_silence() {
        let mut pair = Pair::new(TickLength::Ms20);
        for turn in 100..110 {
            pair.speak(turn * 960);
        }
        let feed = pair.tap.feed.clone();
        let seen = Glance {
            begin: 100 * 960,
            voiced: 110 * 960,
            end: 110 * 960,
        };
        let mut pcm = [1.0; 960];
        assert_eq!(feed.read(&seen, 101 * 960, &mut pcm), 0..0);
        assert!(pcm.iter().all(|&sample| sample == 0.0));
        assert_eq!(feed.read(&seen, 105 * 960, &mut pcm), 0..960);
        assert_eq!(pcm[5], voice(105 * 960 + 5));
        // Claimed, though not written yet.
        feed.claimed.store(120 * 960, Relaxed);
        assert_eq!(feed.read(&seen, 105 * 960, &mut pcm), 0..0);
        assert!(feed.sources(&seen).is_none());
    }

    #[test]
    fn who_is_heard_goes_with_it() {
        let mut pair = Pair::new(TickLength::Ms20);
        pair.speak(96_000);
        assert!(pair.hear(96_240, TickLength::Ms20).0);
        assert_eq!(pair.tap.sources().ids(), [7]);
        assert_eq!(pair.tap.sources().levels(), [20]);
    }

    #[test]
    fn a_thread_that_writes_and_one_that_reads_never_meet_in_a_sample() {
        let feed = Arc::new(Feed::new(Layout::Stereo, TickLength::Ms10));
        let mouth = Mouth::new(feed.clone(), Layout::Stereo, TickLength::Ms10);
        let mut mouth = mouth.expect("made for it");
        #[expect(clippy::disallowed_methods, reason = "a test may have threads")]
        let writer = std::thread::spawn(move || {
            let mut frame = Frame::new(Layout::Stereo, TickLength::Ms10);
            for turn in 1..40_000u64 {
                frame.samples_mut().fill(turn as f32);
                mouth.speak(turn * 480, Some((&frame, &sources(turn as u32))));
            }
        });
        let mut pcm = [0.0; 960];
        let mut whole = 0;
        while !writer.is_finished() {
            let seen = feed.glance();
            let Some(from) = seen.end.checked_sub(4 * 480) else {
                continue;
            };
            let there = feed.read(&seen, from, &mut pcm);
            if there == (0..480) {
                whole += 1;
                let turn = from / 480;
                assert!(pcm.iter().all(|&sample| sample == turn as f32));
            }
            if let Some(sources) = feed.sources(&seen)
                && seen.end > 480
            {
                assert_eq!(u64::from(sources.ids()[0]), seen.end / 480 - 1);
            }
        }
        writer.join().expect("it does not panic");
        assert!(whole > 100, "{whole}");
    }
}
