//! The reading end of a feed.

use std::sync::Arc;

use super::{Extent, FADE_IN, Feed};
use crate::format::{Layout, MAX_CHANNELS, SLOT_SAMPLES, TickLength};
use crate::packet::Sources;

/// One listening room's reader of another room's feed: its position and its state.
///
/// The reader lags behind the media clock as far as the phases of the two rooms require: it reads
/// what the writer must have written a slot before this room's tick, and nothing later. So the
/// order of two rooms within a slot, or of two mixers, does not matter. If the writer is later than
/// that, the reader lags further behind, by up to 20 ms. A gap in the middle of a run is faded out
/// and in; a run that begins late is read from its beginning. With each run the reader tries to
/// come a slot closer.
#[derive(Debug)]
pub(crate) struct FeedReader {
    feed: Arc<Feed>,
    seen: Extent,
    /// Begin of the run for which `lag` holds.
    run: u64,
    /// How far the reader lags behind the media clock, samples.
    lag: u64,
    /// How long before this room's tick the writer must have written, samples.
    margin: u64,
    /// Position at which this tick's samples begin.
    from: u64,
    /// State after the previous tick.
    before: Before,
    /// The last sample given out, of each channel.
    last: [f32; MAX_CHANNELS],
    /// The sources of the last tick that could be read.
    sources: Sources,
}

/// What a reader gave out in the previous tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing yet: this is the reader's first tick.
    Nothing,
    /// All samples up to position `to`.
    Whole { to: u64 },
    /// Fewer samples than the tick should have had.
    Broken,
}

/// The position of one tick of the listening room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TickSpan {
    /// The tick's first sample on the media clock.
    pub at: u64,
    /// The tick's length.
    pub tick: TickLength,
}

impl FeedReader {
    /// Creates a reader that has read nothing yet.
    pub fn new(feed: Arc<Feed>) -> FeedReader {
        FeedReader {
            feed,
            seen: Extent::default(),
            run: 0,
            lag: 0,
            margin: SLOT_SAMPLES as u64,
            from: 0,
            before: Before::Nothing,
            last: [0.0; MAX_CHANNELS],
            sources: Sources::default(),
        }
    }

    /// The feed that is read.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Channel layout of the samples given out.
    pub fn layout(&self) -> Layout {
        self.feed.layout
    }

    /// Continues from the state of `other`, which reads the same feed.
    ///
    /// Real-time: safe.
    pub fn follow(&mut self, other: &FeedReader) {
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

    /// Whether a voice may be heard in the tick at `place`. A sleeping room asks this instead of
    /// ticking.
    ///
    /// Real-time: safe.
    pub fn may_hear_others(&self, place: TickSpan) -> bool {
        let seen = self.feed.extent();
        let reach = (MAX_LAG_SAMPLES + place.tick.samples()) as u64;
        seen.voiced + reach > place.at
    }

    /// Advances to the tick at `place`; returns whether somebody is heard in it.
    ///
    /// Real-time: safe.
    pub fn advance(&mut self, place: TickSpan) -> bool {
        self.seen = self.feed.extent();
        if self.seen.begin != self.run {
            self.begin_run(place);
        }
        self.from = place.at.saturating_sub(self.lag);
        let to = self.from + place.tick.samples() as u64;
        self.seen.begin < to && self.from < self.seen.voiced
    }

    /// Finds the lag for a run that has begun.
    ///
    /// The margin is a slot less than was enough before. It is larger if this tick would otherwise
    /// not be complete yet, or would begin after the run's beginning, unless that beginning is long
    /// ago.
    fn begin_run(&mut self, place: TickSpan) {
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

    /// Fills `pcm`, channels interleaved, with this tick's samples. Returns whether there is any
    /// sound, which may be the fade-out of a voice that broke off. If not, `pcm` is unchanged.
    ///
    /// - `is_heard`: the result of [`advance`](FeedReader::advance).
    ///
    /// Real-time: safe.
    pub fn read(&mut self, place: TickSpan, is_heard: bool, pcm: &mut [f32]) -> bool {
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

    fn fill(&mut self, place: TickSpan, pcm: &mut [f32]) {
        let channels = self.feed.layout.channels();
        let there = self.feed.read(&self.seen, self.from, pcm);
        let instants = pcm.len() / channels;
        let first = self.from + there.start as u64;
        let goes_on = match self.before {
            // The first sound of a monitored or linked room is cross-faded in by the room.
            Before::Nothing => true,
            Before::Whole { to } if to == first => true,
            // A run starts softly by itself, or its writer ramps it up.
            _ => first == self.seen.begin,
        };
        if !goes_on {
            FADE_IN.apply(&mut pcm[there.start * channels..], channels);
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

    /// Raises the margin if this tick lacked samples that the writer may still write.
    fn judge(&mut self, is_short: bool, place: TickSpan) {
        // A run ends with silence after the last voice. So a run without that silence goes on, or
        // its room has been removed.
        let goes_on = self.seen.voiced == self.seen.end;
        let may_come = self.seen.end + MAX_LAG_SAMPLES as u64 > place.at;
        if is_short && goes_on && may_come && self.margin < MAX_MARGIN_SAMPLES {
            self.margin += SLOT_SAMPLES as u64;
            self.lag = self.lag_with(self.margin, place);
        }
    }

    /// The sources heard in this tick, or the last readable ones while the writer is writing.
    ///
    /// Real-time: safe.
    pub fn sources(&mut self) -> &Sources {
        if let Some(sources) = self.feed.sources(&self.seen) {
            self.sources = sources;
        }
        &self.sources
    }

    /// The least lag at which every tick of this room finds its samples, if the writer is never
    /// later than `margin`. Of two tick lengths one is a multiple of the other, so their relative
    /// phase is the same at every tick of the shorter length.
    fn lag_with(&self, margin: u64, place: TickSpan) -> u64 {
        let writes = self.feed.tick.samples() as u64;
        let reads = place.tick.samples() as u64;
        let step = writes.min(reads) as i64;
        let apart = place.at as i64 - self.run as i64 - margin as i64;
        margin + apart.rem_euclid(step) as u64 + reads.saturating_sub(writes)
    }
}

/// Fades out from sample `last`, at which a voice broke off.
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

/// Largest margin for a late mixer: 20 ms. A mixer that is later than a tick skips ticks.
const MAX_MARGIN_SAMPLES: u64 = 960;

/// The longest lag: the margin, a phase of nearly a tick, and half a tick for a shorter tick.
pub(super) const MAX_LAG_SAMPLES: usize = 960 + 960 + 480;

/// Length of the fade-out: 5 ms, enough to take the click out of a voice that broke off.
const FALL_SAMPLES: usize = 240;
