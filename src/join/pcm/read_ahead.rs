//! Reads the source ahead on a thread, into a bounded buffer from which the uplink takes frames
//! without waiting.
//!
//! A file is read as fast as its samples are used. A live source (a microphone behind a pipe) has a
//! clock of its own, and what it recorded before the connection is old. Samples that a live source
//! leaves in the buffer for a whole second are therefore delay, and are dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use mixer::format::SAMPLE_RATE_HZ;

use super::{PcmError, Source};

/// The result of [`ReadAhead::pull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// The frame is filled; the last frame of a file is completed with silence.
    Full,
    /// Too few samples are buffered; nothing was taken.
    Underrun,
    /// The source has ended and all samples have been taken.
    Ended,
}

/// The consumer's end of a source that is read ahead.
pub struct ReadAhead {
    shared: Arc<Shared>,
    live: bool,
    backlog: Backlog,
}

impl ReadAhead {
    /// Starts reading `source`, repeatedly if `looped`.
    ///
    /// # Errors
    /// The system's error if it starts no thread.
    pub fn start(source: Box<dyn Source>, looped: bool) -> std::io::Result<ReadAhead> {
        let shared = Arc::new(Shared::default());
        let live = source.may_be_live();
        let reader = Reader {
            source,
            looped,
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name("join-source".to_owned())
            .spawn(move || reader.run())?;
        Ok(ReadAhead {
            shared,
            live,
            backlog: Backlog::default(),
        })
    }

    /// Whether the source has a clock of its own.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Returns the number of buffered samples of a live source, which were spoken a moment ago; 0
    /// for a file.
    pub fn waiting_samples(&self) -> usize {
        match self.live {
            true => self.shared.lock().pcm.len(),
            false => 0,
        }
    }

    /// Takes one frame; never waits for the source.
    pub fn pull(&mut self, pcm: &mut [f32]) -> Pull {
        let mut store = self.shared.lock();
        if self.live && !store.ended {
            let stale_samples = self.backlog.stale_samples(&store, pcm.len());
            store.pcm.drain(..stale_samples);
        }
        if store.pcm.is_empty() && store.ended {
            return Pull::Ended;
        }
        if store.pcm.len() < pcm.len() && !store.ended {
            return Pull::Underrun;
        }
        let samples = store.pcm.len().min(pcm.len());
        for (sample, stored) in pcm.iter_mut().zip(store.pcm.drain(..samples)) {
            *sample = stored;
        }
        pcm[samples..].fill(0.0);
        drop(store);
        self.shared.room.notify_one();
        Pull::Full
    }

    /// Returns the error that ended the source early, if any. Only the first call returns it.
    pub fn take_error(&self) -> Option<PcmError> {
        self.shared.lock().error.take()
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        // A reading thread that waits for space ends at once; one that waits for its input ends
        // when the input does.
        self.shared.lock().closed = true;
        self.shared.room.notify_one();
    }
}

/// Determines how much of a live source's buffer is delay.
#[derive(Default)]
struct Backlog {
    seen_samples: usize,
    lowest_samples: Option<usize>,
    was_full: bool,
}

impl Backlog {
    /// Notes the level of the buffer at a pull; returns the number of samples to drop now.
    fn stale_samples(&mut self, store: &Store, frame_samples: usize) -> usize {
        let level_samples = store.pcm.len();
        let lowest_samples = self
            .lowest_samples
            .map_or(level_samples, |low| low.min(level_samples));
        self.lowest_samples = Some(lowest_samples);
        // A live source cannot fill the buffer, so one that does is a file through a pipe, of which
        // nothing is dropped.
        self.was_full |= level_samples >= STORE_SAMPLES;
        self.seen_samples += frame_samples;
        if self.seen_samples < WINDOW_SAMPLES {
            return 0;
        }
        let was_full = self.was_full;
        *self = Backlog::default();
        if was_full || lowest_samples <= 3 * frame_samples {
            return 0;
        }
        lowest_samples - 2 * frame_samples
    }
}

#[derive(Default)]
struct Shared {
    store: Mutex<Store>,
    room: Condvar,
}

#[derive(Default)]
struct Store {
    pcm: VecDeque<f32>,
    ended: bool,
    closed: bool,
    error: Option<PcmError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    source: Box<dyn Source>,
    looped: bool,
    shared: Arc<Shared>,
}

impl Reader {
    fn run(mut self) {
        let error = self.read_all().err();
        let mut store = self.shared.lock();
        store.ended = true;
        store.error = error;
    }

    fn read_all(&mut self) -> Result<(), PcmError> {
        let mut pcm = [0.0; READ_SAMPLES];
        // An empty file must not be looped for ever.
        let mut empty = true;
        loop {
            let samples = self.source.read(&mut pcm)?;
            if samples == 0 {
                if empty || !self.looped || !self.source.rewind()? {
                    return Ok(());
                }
                empty = true;
                continue;
            }
            empty = false;
            if !self.store(&pcm[..samples]) {
                return Ok(());
            }
        }
    }

    /// Appends samples once there is space for them; returns `false` if the consumer has gone.
    fn store(&self, pcm: &[f32]) -> bool {
        let mut store = self
            .shared
            .room
            .wait_while(self.shared.lock(), |store| {
                !store.closed && store.pcm.len() >= STORE_SAMPLES
            })
            .unwrap_or_else(PoisonError::into_inner);
        store.pcm.extend(pcm);
        !store.closed
    }
}

/// The size of the buffer, two seconds: more than the 0.7 s that a pipe holds at this rate, so that
/// a live source can never fill the buffer.
const STORE_SAMPLES: usize = 2 * SAMPLE_RATE_HZ as usize;

/// How long the buffer must stay above a level before that level counts as delay: longer than any
/// irregularity of a sound card.
const WINDOW_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// Samples read from the source at a time: 10 ms.
const READ_SAMPLES: usize = 480;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// A source that counts upwards for `left` samples.
    struct Ramp {
        left: usize,
        at: usize,
        live: bool,
    }

    impl Source for Ramp {
        fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
            let samples = self.left.saturating_sub(self.at).min(pcm.len());
            for sample in &mut pcm[..samples] {
                *sample = self.at as f32;
                self.at += 1;
            }
            Ok(samples)
        }
        fn rewind(&mut self) -> Result<bool, PcmError> {
            self.at = 0;
            Ok(true)
        }
        fn may_be_live(&self) -> bool {
            self.live
        }
    }

    fn pull(feed: &mut ReadAhead, pcm: &mut [f32]) -> Pull {
        let start = Instant::now();
        loop {
            match feed.pull(pcm) {
                Pull::Underrun if start.elapsed() < Duration::from_secs(5) => {
                    thread::sleep(Duration::from_millis(1));
                }
                pulled => return pulled,
            }
        }
    }

    #[test]
    fn read_ahead_supplies_a_whole_file_and_pads_its_last_frame_with_silence() {
        let ramp = Ramp {
            left: 200_100,
            at: 0,
            live: false,
        };
        let mut feed = ReadAhead::start(Box::new(ramp), false).unwrap();
        let mut frame = [0.0; 960];
        for n in 0..208 {
            assert_eq!(pull(&mut feed, &mut frame), Pull::Full);
            assert_eq!(frame[0], (n * 960) as f32);
        }
        assert_eq!(pull(&mut feed, &mut frame), Pull::Full);
        assert_eq!((frame[419], frame[420], frame[959]), (200_099.0, 0.0, 0.0));
        assert_eq!(pull(&mut feed, &mut frame), Pull::Ended);
    }

    #[test]
    fn read_ahead_loops_without_a_gap_and_never_loops_an_empty_file() {
        let mut feed = ReadAhead::start(
            Box::new(Ramp {
                left: 700,
                at: 0,
                live: false,
            }),
            true,
        )
        .unwrap();
        let mut frame = [0.0; 960];
        for n in 0..100 {
            assert_eq!(pull(&mut feed, &mut frame), Pull::Full);
            assert_eq!(frame[5], ((n * 960 + 5) % 700) as f32);
        }
        let mut feed = ReadAhead::start(
            Box::new(Ramp {
                left: 0,
                at: 0,
                live: false,
            }),
            true,
        )
        .unwrap();
        assert_eq!(pull(&mut feed, &mut frame), Pull::Ended);
    }

    fn store(level_samples: usize) -> Store {
        Store {
            pcm: vec![0.0; level_samples].into(),
            ..Store::default()
        }
    }

    #[test]
    fn read_ahead_drops_the_backlog_of_a_live_source_after_a_second() {
        let mut backlog = Backlog::default();
        for _ in 0..49 {
            assert_eq!(backlog.stale_samples(&store(30_000), 960), 0);
        }
        assert_eq!(backlog.stale_samples(&store(31_000), 960), 30_000 - 1_920);
        // The level drops at times, which shows that the buffer is needed: nothing is dropped.
        for n in 0..50 {
            let level_samples = if n == 20 { 1_000 } else { 30_000 };
            assert_eq!(backlog.stale_samples(&store(level_samples), 960), 0);
        }
    }

    #[test]
    fn read_ahead_drops_nothing_of_a_file_that_arrives_through_a_pipe() {
        let mut feed = ReadAhead::start(
            Box::new(Ramp {
                left: 400_000,
                at: 0,
                live: true,
            }),
            false,
        )
        .unwrap();
        let mut frame = [0.0; 960];
        thread::sleep(Duration::from_millis(50));
        for n in 0..400 {
            assert_eq!(pull(&mut feed, &mut frame), Pull::Full);
            assert_eq!(frame[0], (n * 960) as f32);
            thread::sleep(Duration::from_micros(300));
        }
    }
}
