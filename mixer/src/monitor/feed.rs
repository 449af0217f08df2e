//! The feed of one room: its voices, for listeners in other rooms.
//!
//! A room that other rooms listen to writes its summed bus to its feed. The listening rooms read
//! the feed in their own ticks, maybe on another mixer's thread, at another phase and with another
//! tick length. A feed holds only the room's own voices and nothing that came from another feed. So
//! no sound goes in circles, and no participant hears its own voice through another room.
//!
//! Positions count samples on the media clock, which all mixers of a server share. A ring of
//! atomics needs neither lock nor unsafe code: a reader detects that the writer is overwriting what
//! it reads, and then hears silence. A run is a stretch written without a gap; outside of runs
//! there is silence.

mod feed_reader;
#[cfg(test)]
mod tests;

use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, fence};
use std::sync::Arc;

pub(crate) use self::feed_reader::{FeedReader, TickSpan};
use crate::format::{Layout, MAX_CSRCS, TickLength};
use crate::frame::Frame;
use crate::gain_ramp::GainRamp;
use crate::packet::Sources;
use crate::units::{Level, ParticipantId};

/// The voices of one room, for listeners in other rooms. A feed has one writer at a time; a second
/// writer would make noise, but do no other harm.
pub struct Feed {
    layout: Layout,
    tick: TickLength,
    /// Position up to which the writer may have written by now. Samples a ring's length or
    /// more before it may be overwritten and must not be trusted.
    claimed: AtomicU64,
    /// Position at which the last run began.
    begin: AtomicU64,
    /// Position at which the last tick with a voice ended.
    voiced: AtomicU64,
    /// Position at which the last run ends so far.
    end: AtomicU64,
    /// Bits of the samples, channels interleaved.
    ring: Box<[AtomicU32]>,
    /// Number of participants heard in the last tick.
    heard: AtomicU8,
    /// Ids of these participants, with their levels in the lowest byte.
    sources: [AtomicU64; MAX_CSRCS],
}

impl Feed {
    /// Creates a silent feed for a room of this layout and tick length.
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

    /// Writes one tick that begins at position `at`: the voices and their sources, or silence.
    ///
    /// - `fades_in`: ramp the voices up, because listeners have not heard what came before them.
    fn write(&self, at: u64, voices: Option<(&Frame, &Sources)>, fades_in: bool) {
        let end = at + self.tick.samples() as u64;
        self.claimed.store(end, Relaxed);
        // A reader that sees any of the following stores also sees the claim.
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
                    let gain = if fades_in {
                        FADE_IN.at(n / channels)
                    } else {
                        1.0
                    };
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

    /// Takes a snapshot of the positions up to which the feed is written.
    fn extent(&self) -> Extent {
        let end = self.end.load(Acquire);
        Extent {
            begin: self.begin.load(Relaxed),
            voiced: self.voiced.load(Relaxed),
            end,
        }
    }

    /// Fills `pcm`, channels interleaved, with the samples from position `from` on, or silence
    /// where there are none. Returns the range that was read, in samples per channel.
    fn read(&self, seen: &Extent, from: u64, pcm: &mut [f32]) -> Range<usize> {
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

    /// The sources of the last written tick; `None` while a tick is being written.
    fn sources(&self, seen: &Extent) -> Option<Sources> {
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

    /// The cells of a range of positions no longer than the ring.
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

/// A snapshot of the positions up to which a feed is written.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    begin: u64,
    voiced: u64,
    end: u64,
}

/// The writing end of a feed, owned by the room that is heard.
#[derive(Debug)]
pub(crate) struct FeedWriter {
    feed: Arc<Feed>,
    silent_ms: u32,
    /// Position at which the writer's last tick ended; `None` before the first tick.
    spoken_to: Option<u64>,
}

impl FeedWriter {
    /// Creates the writing end of `feed`.
    ///
    /// # Errors
    /// Returns the feed if it was made for another layout or tick length.
    pub fn new(feed: Arc<Feed>, layout: Layout, tick: TickLength) -> Result<FeedWriter, Arc<Feed>> {
        if feed.layout != layout || feed.tick != tick {
            return Err(feed);
        }
        Ok(FeedWriter {
            feed,
            silent_ms: TAIL_MS,
            spoken_to: None,
        })
    }

    /// Stops writing and returns the feed.
    pub fn into_feed(self) -> Arc<Feed> {
        self.feed
    }

    /// Writes one tick of voices, or of silence. After [`TAIL_MS`] of silence nothing more is
    /// written.
    ///
    /// After silence a voice starts softly by itself. If a tick was left out while a voice was
    /// heard, or if the feed was just given to the room, `write_tick` ramps the voice up.
    ///
    /// Real-time: safe.
    pub fn write_tick(&mut self, at: u64, voices: Option<(&Frame, &Sources)>) {
        let end = at + self.feed.tick.samples() as u64;
        let fades_in = match self.spoken_to.replace(end) {
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
        self.feed.write(at, voices, fades_in);
    }
}

/// Length of a feed's ring: 170 ms. A reader is up to three ticks behind the writer, and one mixer
/// may run late by one more tick.
const RING_SAMPLES: usize = 8_192;

/// Silence written after the last voice, so that a reader with a lag hears the end of the voice;
/// longer than any lag.
const TAIL_MS: u32 = 80;

/// The ramp at the start of a voice: 1 ms, as long as any noise gate takes to open.
const FADE_IN: GainRamp = GainRamp::new(0.0, 1.0, 48);

const _: () = assert!(TAIL_MS as usize * 48 > feed_reader::MAX_LAG_SAMPLES + 960);
