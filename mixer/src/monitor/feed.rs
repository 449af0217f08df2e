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

mod feed_reader;
#[cfg(test)]
mod tests;

use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, fence};
use std::sync::Arc;

pub(crate) use self::feed_reader::{Place, Tap};
use crate::format::{Layout, MAX_CSRCS, TickLength};
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
    ///
    /// - `rises`: nobody has been let hear what came before, so that the voices would begin at their full
    ///   level.
    fn write(&self, at: u64, voices: Option<(&Frame, &Sources)>, rises: bool) {
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
                let channels = self.layout.channels();
                for (n, (cell, sample)) in self.cells(at..end).zip(samples).enumerate() {
                    let gain = if rises { rise(n / channels) } else { 1.0 };
                    cell.store((gain * sample).to_bits(), Relaxed);
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
    /// Where its last tick ended; `None` before the first.
    spoken_to: Option<u64>,
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
            spoken_to: None,
        })
    }

    /// The feed, which is not written to any more.
    pub fn into_feed(self) -> Arc<Feed> {
        self.feed
    }

    /// Writes one tick, or that nobody is heard in it. After a while of silence nothing is written any
    /// more.
    ///
    /// A voice begins by itself after silence. Where a tick was left out in the middle of it, or the feed
    /// is given to the room, it is made to begin.
    ///
    /// Real-time: safe.
    pub fn speak(&mut self, at: u64, voices: Option<(&Frame, &Sources)>) {
        let end = at + self.feed.tick.samples() as u64;
        let rises = match self.spoken_to.replace(end) {
            Some(spoken_to) => self.silent_ms == 0 && spoken_to != at,
            None => true,
        };
        if voices.is_some() {
            self.silent_ms = 0;
        } else if self.silent_ms >= TAIL_MS {
            return;
        } else {
            self.silent_ms += self.feed.tick.ms();
        }
        self.feed.write(at, voices, rises);
    }
}

/// How loud the instant `at` is of what is made to rise from nothing.
fn rise(at: usize) -> f32 {
    ((at + 1) as f32 / RISE_SAMPLES as f32).min(1.0)
}

/// What a feed remembers: 170 ms. A reader is up to three ticks behind the writer, and one mixer may run
/// late by one more.
const RING_SAMPLES: usize = 8_192;

/// Silence written after the last voice, so that who reads it later than it is written hears its end:
/// more than any lag.
const TAIL_MS: u32 = 80;

/// One millisecond, as long as any voice takes to open.
const RISE_SAMPLES: usize = 48;

const _: () = assert!(TAIL_MS as usize * 48 > feed_reader::MAX_LAG_SAMPLES + 960);
