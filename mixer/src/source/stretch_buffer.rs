//! Time-scale modification: removes a few milliseconds from a signal or inserts them without
//! changing its pitch.
//!
//! Works at the head of the queue of decoded audio, between the samples played last and those
//! played next. A splice is one pitch period long, where the signal repeats itself best
//! (waveform-similarity overlap-add, Verhelst and Roelands 1993), so that a voice keeps its pitch
//! and a tone its phase.

use crate::format::MAX_CHANNELS;

/// Queue of decoded audio waiting to be played, with a little of the audio played before.
pub struct StretchBuffer {
    samples: Box<[f32]>,
    channels: usize,
    /// Index of the first frame not yet played; the frames before it are history.
    head: usize,
    /// Index just after the last frame.
    tail: usize,
}

impl StretchBuffer {
    /// Creates an empty queue that holds at least `capacity` frames beside its history.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(channels: usize, capacity: usize) -> StretchBuffer {
        let frames = capacity + HISTORY + MAX_LAG;
        StretchBuffer {
            samples: crate::memory::filled(frames * channels, 0.0),
            channels,
            head: HISTORY,
            tail: HISTORY,
        }
    }

    /// Frames (samples per channel) that wait to be played.
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether no frames wait to be played.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets `write` fill space for `frames` frames and appends as many as it returns.
    ///
    /// Real-time: safe. If the queue is nearly full, `write` sees only the space that is left.
    pub fn append(&mut self, frames: usize, write: impl FnOnce(&mut [f32]) -> usize) -> usize {
        self.make_room(frames);
        let room = frames.min(self.samples.len() / self.channels - self.tail);
        let start = self.tail * self.channels;
        let written = write(&mut self.samples[start..start + room * self.channels]).min(room);
        self.tail += written;
        written
    }

    /// The last `frames` frames of the queue, interleaved.
    pub fn last_mut(&mut self, frames: usize) -> &mut [f32] {
        let start = self.tail.saturating_sub(frames).max(self.head);
        &mut self.samples[start * self.channels..self.tail * self.channels]
    }

    /// The next `frames` frames, interleaved, or all if there are fewer.
    pub fn front(&self, frames: usize) -> &[f32] {
        let end = self.tail.min(self.head + frames);
        &self.samples[self.head * self.channels..end * self.channels]
    }

    /// Marks the next `frames` frames as played.
    pub fn advance(&mut self, frames: usize) {
        self.head = (self.head + frames).min(self.tail);
    }

    /// Keeps the next `frames` frames and drops all later ones.
    pub fn truncate(&mut self, frames: usize) {
        self.tail = self.tail.min(self.head + frames);
    }

    /// Drops all waiting frames and keeps the history.
    pub fn clear(&mut self) {
        self.tail = self.head;
    }

    /// Whether a splice in the next `frames` frames would be inaudible.
    pub fn is_quiet(&self, frames: usize) -> bool {
        self.energy(self.head, frames) < QUIET_ENERGY
    }

    /// Removes up to `max_frames` frames at the head and returns their number; 0 if the signal does
    /// not repeat itself with `min_similarity`, or the queue is too short.
    ///
    /// Real-time: safe.
    pub fn shorten(&mut self, max_frames: usize, min_similarity: f32) -> usize {
        let longest = max_frames.min(MAX_LAG).min(self.len() / 2);
        let found = match longest < MIN_LAG && self.is_quiet(2 * longest) {
            // In silence, less than a period may be removed.
            true => Some(longest).filter(|lag| *lag > 0),
            false => self.find_lag(self.head, longest, min_similarity),
        };
        let Some(lag) = found else {
            return 0;
        };
        // The first period fades into the second, which then replaces both.
        for i in 0..lag {
            let weight = (i as f32 + 0.5) / lag as f32;
            for channel in 0..self.channels {
                let second = (self.head + lag + i) * self.channels + channel;
                let first = second - lag * self.channels;
                self.samples[second] =
                    self.samples[first] * (1.0 - weight) + self.samples[second] * weight;
            }
        }
        // The second period now follows the samples played last: keep the history adjacent to it.
        let channels = self.channels;
        let kept = self.head.min(HISTORY);
        let from = (self.head - kept) * channels;
        self.samples
            .copy_within(from..from + kept * channels, from + lag * channels);
        self.head += lag;
        lag
    }

    /// Inserts up to `max_frames` frames at the head and returns their number; 0 if the signal does
    /// not repeat itself with `min_similarity`, or the queue is too short.
    ///
    /// Real-time: safe.
    pub fn lengthen(&mut self, max_frames: usize, min_similarity: f32) -> usize {
        let longest = max_frames.min(MAX_LAG).min(self.len()).min(self.head);
        if longest < MIN_LAG {
            return 0;
        }
        // The period played last is compared with the period to be played next.
        let Some(lag) = self.find_lag_back(longest, min_similarity) else {
            return 0;
        };
        self.make_room(lag);
        if (self.tail + lag) * self.channels > self.samples.len() {
            return 0;
        }
        let channels = self.channels;
        let (head, tail) = (self.head * channels, self.tail * channels);
        self.samples.copy_within(head..tail, head + lag * channels);
        // The new period starts like the next period and ends like the last one, so both seams are
        // smooth.
        for i in 0..lag {
            let weight = (i as f32 + 0.5) / lag as f32;
            for channel in 0..channels {
                let at = (self.head + i) * channels + channel;
                let next = self.samples[at + lag * channels];
                let last = self.samples[at - lag * channels];
                self.samples[at] = next * (1.0 - weight) + last * weight;
            }
        }
        self.tail += lag;
        lag
    }

    /// Moves the queue and its history to the front once the space behind the tail runs short.
    fn make_room(&mut self, frames: usize) {
        if (self.tail + frames) * self.channels <= self.samples.len() {
            return;
        }
        let start = self.head - HISTORY.min(self.head);
        self.samples
            .copy_within(start * self.channels..self.tail * self.channels, 0);
        self.head -= start;
        self.tail -= start;
    }

    /// Lag up to `longest` at which the signal best repeats its part from `at` on.
    fn find_lag(&self, at: usize, longest: usize, min_similarity: f32) -> Option<usize> {
        self.search(longest, min_similarity, |lag| (at, at + lag))
    }

    /// Lag up to `longest` at which the signal at the head best repeats what was played before it.
    fn find_lag_back(&self, longest: usize, min_similarity: f32) -> Option<usize> {
        let head = self.head;
        self.search(longest, min_similarity, |lag| (head - lag, head))
    }

    fn search(
        &self,
        longest: usize,
        min_similarity: f32,
        pair: impl Fn(usize) -> (usize, usize),
    ) -> Option<usize> {
        if longest < MIN_LAG {
            return None;
        }
        let coarse = (MIN_LAG..=longest).step_by(COARSE_STEP);
        let (lag, _) = best(coarse.map(|lag| (lag, self.similarity(pair(lag), COARSE_STEP))))?;
        let fine = lag.saturating_sub(COARSE_STEP).max(MIN_LAG)..=(lag + COARSE_STEP).min(longest);
        let (lag, similarity) = best(fine.map(|lag| (lag, self.similarity(pair(lag), 1))))?;
        if self.is_quiet(longest) {
            Some(longest)
        } else {
            (similarity >= min_similarity).then_some(lag)
        }
    }

    /// Normalised cross-correlation of two stretches, `-1.0..=1.0`, over every `step`-th frame.
    fn similarity(&self, (a, b): (usize, usize), step: usize) -> f32 {
        let span = COMPARED
            .min(self.tail.saturating_sub(b))
            .min(self.tail.saturating_sub(a));
        let (mut aa, mut bb, mut ab) = (1e-9f32, 1e-9f32, 0.0f32);
        for i in (0..span).step_by(step) {
            let (x, y) = (self.mono(a + i), self.mono(b + i));
            aa += x * x;
            bb += y * y;
            ab += x * y;
        }
        ab / (aa * bb).sqrt()
    }

    /// Mean square over all channels; channels that cancel in the sum still count.
    fn energy(&self, at: usize, frames: usize) -> f32 {
        let end = (at + frames).min(self.tail);
        let samples = &self.samples[at * self.channels..end * self.channels];
        samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
    }

    fn mono(&self, frame: usize) -> f32 {
        let at = frame * self.channels;
        self.samples[at..at + self.channels].iter().sum::<f32>()
    }
}

fn best(candidates: impl Iterator<Item = (usize, f32)>) -> Option<(usize, f32)> {
    candidates.max_by(|(_, a), (_, b)| a.total_cmp(b))
}

impl core::fmt::Debug for StretchBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "StretchBuffer({} frames of {} channels)",
            self.len(),
            self.channels
        )
    }
}

/// Longest splice in frames: one period of the lowest voices (67 Hz).
pub const MAX_LAG: usize = 720;

/// Shortest splice in frames: 2.5 ms; a shorter one is not worth an operation.
pub const MIN_LAG: usize = 120;

/// Frames of history kept from the audio played last.
const HISTORY: usize = MAX_LAG;

/// Frames compared: 10 ms, a period of a low voice. Comparing half as many costs a tenth of a PESQ
/// point at a drift of 5,000 ppm.
const COMPARED: usize = 480;

/// Step of the coarse search: a twelfth of a millisecond, well below half a period of the
/// frequencies in which speech has most of its energy.
const COARSE_STEP: usize = 4;

/// Mean square below which a splice is inaudible: -50 dBFS.
const QUIET_ENERGY: f32 = 1e-5;

const _: () = assert!(
    MAX_CHANNELS <= 2,
    "mono() sums the channels without scaling"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(queue: &mut StretchBuffer, from: usize, frames: usize, hz: f32) {
        queue.append(frames, |out| {
            for (n, sample) in out.iter_mut().enumerate() {
                *sample = 0.5 * (core::f32::consts::TAU * hz * (from + n) as f32 / 48_000.0).sin();
            }
            frames
        });
    }

    /// Largest second difference: a click shows as a jump in it.
    fn roughness(samples: &[f32]) -> f32 {
        samples
            .windows(3)
            .map(|w| (w[0] - 2.0 * w[1] + w[2]).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn stretch_buffer_shortens_and_lengthens_a_tone_without_a_click() {
        for hz in [150.0, 220.0, 440.0, 925.0, 1_310.0] {
            for longer in [false, true] {
                let mut queue = StretchBuffer::new(1, 6_000);
                tone(&mut queue, 0, 2_880, hz);
                let mut played = queue.front(960).to_vec();
                queue.advance(960);
                let before = queue.len();
                let changed = if longer {
                    queue.lengthen(720, 0.9)
                } else {
                    queue.shorten(720, 0.9)
                };
                assert!((MIN_LAG..=MAX_LAG).contains(&changed), "{hz} Hz: {changed}");
                let after = if longer {
                    before + changed
                } else {
                    before - changed
                };
                assert_eq!(queue.len(), after);
                played.extend_from_slice(queue.front(10_000));
                let clean = 0.5 * (core::f32::consts::TAU * hz / 48_000.0).powi(2);
                assert!(
                    roughness(&played) < clean * 1.6 + 0.002,
                    "{hz} Hz longer {longer}: {}",
                    roughness(&played)
                );
                assert!(played.iter().all(|sample| sample.abs() <= 0.51));
            }
        }
    }

    #[test]
    fn stretch_buffer_splices_noise_only_if_any_similarity_is_accepted() {
        let mut queue = StretchBuffer::new(1, 6_000);
        let mut state = 1u32;
        queue.append(2_880, |out| {
            for sample in out.iter_mut() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *sample = (state >> 8) as f32 / 8_388_608.0 - 1.0;
            }
            2_880
        });
        queue.advance(960);
        assert_eq!(queue.shorten(720, 0.9), 0);
        assert_eq!(queue.lengthen(720, 0.9), 0);
        assert!(queue.shorten(720, -1.0) > 0);
    }

    #[test]
    fn stretch_buffer_shortens_silence_in_one_splice() {
        let mut queue = StretchBuffer::new(2, 6_000);
        queue.append(1_920, |out| {
            out.fill(0.0);
            1_920
        });
        assert_eq!(queue.shorten(500, 0.9), 500);
        assert_eq!(queue.len(), 1_420);
    }

    #[test]
    fn stretch_buffer_does_not_mistake_cancelling_channels_for_silence() {
        let mut queue = StretchBuffer::new(2, 6_000);
        let mut state = 1u32;
        queue.append(1_920, |out| {
            for pair in out.chunks_mut(2) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                pair[0] = (state >> 8) as f32 / 8_388_608.0 - 1.0;
                pair[1] = -pair[0];
            }
            1_920
        });
        assert_eq!(queue.shorten(500, 0.9), 0);
    }

    #[test]
    fn stretch_buffer_keeps_the_order_of_its_frames() {
        let mut queue = StretchBuffer::new(1, 2_000);
        let (mut written, mut read) = (0usize, 0usize);
        for step in 0..5_000 {
            let frames = 120 + step * 37 % 960;
            if queue.len() + frames <= 2_000 {
                queue.append(frames, |out| {
                    for (n, sample) in out.iter_mut().enumerate() {
                        *sample = (written + n) as f32;
                    }
                    frames
                });
                written += frames;
            }
            let take = queue.len().min(480);
            for (n, sample) in queue.front(take).iter().enumerate() {
                assert_eq!(*sample, (read + n) as f32);
            }
            queue.advance(take);
            read += take;
        }
    }
}
