//! Taps on talker and listener that record when each sample was spoken and when it was heard.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mixer::RtpTime;
use rtc::rtp::header::Header;

use crate::join::tap::Tap;

/// Records when each frame was spoken: the instant of its last sample, as at a sound card.
#[derive(Default)]
pub(super) struct TalkerProbe(Mutex<Vec<(Instant, u64)>>);

impl Tap for TalkerProbe {
    fn taken(&self, at: Instant, _: RtpTime, pcm: &[f32]) {
        lock(&self.0).push((at, pcm.len() as u64));
    }
}

impl TalkerProbe {
    /// Returns the number of samples spoken so far.
    pub fn samples(&self) -> u64 {
        lock(&self.0).iter().map(|(_, samples)| samples).sum()
    }

    /// Returns everything spoken so far.
    pub fn spoken(&self) -> Spoken {
        let mut frames = Vec::new();
        let mut samples = 0;
        for &(at, len) in lock(&self.0).iter() {
            frames.push((samples, at.checked_sub(of_samples(len)).unwrap_or(at)));
            samples += len;
        }
        Spoken { frames, samples }
    }
}

/// The instants at which the samples of a source were spoken.
pub(super) struct Spoken {
    /// The number of the first sample of each frame, with the instant of that sample.
    frames: Vec<(u64, Instant)>,
    samples: u64,
}

impl Spoken {
    /// Returns the instants of a file of `samples` samples that is played without a gap from `at`
    /// on.
    pub fn at_once(samples: u64, at: Instant) -> Spoken {
        Spoken {
            frames: vec![(0, at)],
            samples,
        }
    }

    /// Returns the range of the samples spoken.
    pub fn range(&self) -> Range<u64> {
        0..self.samples
    }

    /// Returns when a sample was spoken; `None` if it was not.
    pub fn instant_of(&self, sample: u64) -> Option<Instant> {
        let next = self.frames.partition_point(|(first, _)| *first <= sample);
        let (first, at) = self.frames[..next].last()?;
        (sample < self.samples).then(|| *at + of_samples(sample - first))
    }
}

/// Records each packet that the listener receives, with its arrival.
#[derive(Default)]
pub(super) struct ListenerProbe(Mutex<Vec<Arrival>>);

struct Arrival {
    at: Instant,
    time: u32,
    payload: Vec<u8>,
}

impl Tap for ListenerProbe {
    fn received(&self, at: Instant, header: &Header, payload: &[u8]) {
        lock(&self.0).push(Arrival {
            at,
            time: header.timestamp,
            payload: payload.to_vec(),
        });
    }
}

impl ListenerProbe {
    /// Returns when the first packet arrived.
    pub fn first(&self) -> Option<Instant> {
        lock(&self.0).first().map(|arrival| arrival.at)
    }

    /// Returns everything heard so far: each packet decoded as it arrived, without a jitter buffer.
    ///
    /// # Errors
    /// The error of libopus if it creates no decoder.
    pub fn heard(&self) -> Result<Heard, opus::Error> {
        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
        let mut heard = Heard::default();
        let mut pcm = vec![0f32; 5_760];
        let mut next = None;
        for arrival in lock(&self.0).iter() {
            // A packet that does not decode is not audible.
            let Ok(samples) = decoder.decode_float(&arrival.payload, &mut pcm, false) else {
                continue;
            };
            let gap = next.map_or(0, |next: u32| arrival.time.wrapping_sub(next) as i32);
            // A pause of the stream becomes silence; a larger step of the clock starts a new
            // stream.
            if (0..LONGEST_PAUSE).contains(&gap) {
                heard.pcm.resize(heard.pcm.len() + gap as usize, 0.0);
            }
            heard.packets.push((heard.pcm.len(), arrival.at));
            heard.pcm.extend_from_slice(&pcm[..samples]);
            next = Some(arrival.time.wrapping_add(samples as u32));
        }
        Ok(heard)
    }
}

/// The sound that a listener heard, and when it heard each sample.
#[derive(Default)]
pub(super) struct Heard {
    /// 48 kHz mono, pauses of the stream included.
    pub pcm: Vec<f32>,
    /// The position of each packet's first sample in `pcm`, with the packet's arrival.
    packets: Vec<(usize, Instant)>,
}

impl Heard {
    /// Returns a recording without gaps, whose first sample was heard at `at`.
    pub fn at_once(pcm: Vec<f32>, at: Instant) -> Heard {
        // Treated as packets of 10 ms.
        let firsts = (0..pcm.len()).step_by(480);
        let packets = firsts.map(|first| (first, at + of_samples(first as u64)));
        Heard {
            packets: packets.collect(),
            pcm,
        }
    }

    /// Returns when a sample was heard: its packet's arrival plus its position in the packet.
    pub fn instant_of(&self, sample: usize) -> Option<Instant> {
        let next = self.packets.partition_point(|(first, _)| *first <= sample);
        let (first, at) = self.packets[..next].last()?;
        Some(*at + of_samples((sample - first) as u64))
    }

    /// Returns the first sample of the first packet that arrived at `at` or later; the end if none
    /// did.
    pub fn from(&self, at: Instant) -> usize {
        let packet = self.packets.partition_point(|(_, arrival)| *arrival < at);
        let first = self.packets.get(packet).map(|(first, _)| *first);
        first.unwrap_or(self.pcm.len())
    }

    /// Returns the arrivals of the first and the last packet.
    pub fn span(&self) -> Option<(Instant, Instant)> {
        Some((self.packets.first()?.1, self.packets.last()?.1))
    }
}

/// Returns the duration of `samples` samples.
pub(super) fn of_samples(samples: u64) -> Duration {
    Duration::from_nanos(samples * 1_000_000_000 / 48_000)
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of another thread leaves the list intact.
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest pause of a stream that becomes silence in the recording: five seconds.
const LONGEST_PAUSE: i32 = 240_000;
