//! The reading end of a feed.

use std::sync::Arc;

use super::{Feed, Glance, RISE_SAMPLES, rise};
use crate::format::{Layout, MAX_CHANNELS, SLOT_SAMPLES, TickLength};
use crate::packet::Sources;

/// One listening room's end of another's feed: where it reads, and how it got there.
///
/// It reads so far behind the media clock as the two rooms' phases ask for: everything that the writer
/// has to have written a slot before this room's tick, and nothing later. So it does not matter which of
/// two rooms comes first in a slot, nor which of two mixers. If the writer is later than that, the reader
/// stays further behind, by up to 20 ms: what is missing in the middle of a run is faded out and in, and
/// a run whose beginning comes late is read from there. With each run it tries to come a slot closer.
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
    /// Nothing yet: this is its first tick.
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
            self.begin_run(place);
        }
        self.from = place.at.saturating_sub(self.lag);
        let to = self.from + place.tick.samples() as u64;
        self.seen.begin < to && self.from < self.seen.voiced
    }

    /// Finds the lag for a run that has begun: a slot less than was enough before, or as much more as
    /// it takes for this tick to be there, and to begin no later than the run, unless that is long ago.
    fn begin_run(&mut self, place: Place) {
        let slot = SLOT_SAMPLES as u64;
        self.run = self.seen.begin;
        let closer = (self.margin - slot).max(slot);
        let to = place.at + place.tick.samples() as u64;
        let age = place.at.saturating_sub(self.run);
        let most = self.lag_with(MAX_MARGIN_SAMPLES, place);
        let needed = to.saturating_sub(self.seen.end);
        let needed = needed.max(if age <= most { age } else { 0 });
        let margins = (closer..=MAX_MARGIN_SAMPLES).step_by(SLOT_SAMPLES);
        let mut enough = margins.filter(|&margin| self.lag_with(margin, place) >= needed);
        self.margin = enough.next().unwrap_or(closer);
        self.lag = self.lag_with(self.margin, place);
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
        let to = self.from + place.tick.samples() as u64;
        self.before = match self.seen.voiced == self.seen.end {
            true => Before::Broken,
            false => Before::Whole { to },
        };
        self.judge(to > self.seen.end, place);
        false
    }

    fn fill(&mut self, place: Place, pcm: &mut [f32]) {
        let channels = self.feed.layout.channels();
        let there = self.feed.read(&self.seen, self.from, pcm);
        let instants = pcm.len() / channels;
        let first = self.from + there.start as u64;
        let goes_on = match self.before {
            // Whatever is heard for the first time is faded over to.
            Before::Nothing => true,
            Before::Whole { to } if to == first => true,
            // Where a run begins, it rises by itself, or its writer lets it rise.
            _ => first == self.seen.begin,
        };
        if !goes_on {
            fade_in(&mut pcm[there.start * channels..], channels);
        }
        if there.is_empty() || self.before != (Before::Whole { to: first }) {
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
            self.lag = self.lag_with(self.margin, place);
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
    fn lag_with(&self, margin: u64, place: Place) -> u64 {
        let writes = self.feed.tick.samples() as u64;
        let reads = place.tick.samples() as u64;
        let step = writes.min(reads) as i64;
        let apart = place.at as i64 - self.run as i64 - margin as i64;
        margin + apart.rem_euclid(step) as u64 + reads.saturating_sub(writes)
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
        instant.iter_mut().for_each(|sample| *sample *= rise(at));
    }
}

/// As far as a reader may stay behind a mixer that is late: beyond a tick that mixer leaves ticks out.
const MAX_MARGIN_SAMPLES: u64 = 960;

/// The longest lag: the margin, a phase of nearly a tick, and half a tick for a shorter one.
pub(super) const MAX_LAG_SAMPLES: usize = 960 + 960 + 480;

/// Five milliseconds: what breaks off is lost, and this much takes the click out of it.
const FALL_SAMPLES: usize = 240;
