//! A source of PCM from a thread outside the engine: an announcement, a recording, music on hold.

use super::{PlayoutStats, Pulled, Source};
use crate::format::{Layout, SAMPLE_RATE_HZ};
use crate::frame::Frame;
use crate::units::Time;

/// Reading end of a queue of PCM that a thread outside the engine fills.
///
/// Every call must be wait-free: no allocation, no lock, no system call.
pub trait PcmReader: Send {
    /// Moves interleaved samples at 48 kHz, in the room's layout, out of the queue; returns their
    /// number. Fewer than requested mean that the queue is empty for now.
    fn read(&mut self, pcm: &mut [f32]) -> usize;

    /// Number of interleaved samples in the queue.
    fn available(&self) -> usize;

    /// Whether nothing will be added to the queue any more.
    fn is_finished(&self) -> bool;
}

/// Plays a queue of PCM from its first sample to its last. Playing begins once the queue holds 60
/// ms, or is finished.
///
/// The participant with this source is heard like any other: gain, mute, gate and permit apply. An
/// underrun is silence and counts as concealed. [`Command::Attend`](crate::engine::Command::Attend)
/// wakes the room when the queue receives its first samples.
pub struct PcmSource {
    reader: Box<dyn PcmReader>,
    channels: usize,
    has_begun: bool,
    stats: PlayoutStats,
}

impl PcmSource {
    /// Creates a source for a room of this layout.
    pub fn new(layout: Layout, reader: Box<dyn PcmReader>) -> PcmSource {
        PcmSource {
            reader,
            channels: layout.channels(),
            has_begun: false,
            stats: PlayoutStats::default(),
        }
    }

    /// Whether the queue holds enough to begin: with 60 ms in stock, a reader that stalls for a few
    /// ticks causes no gap.
    fn may_begin(&self) -> bool {
        let available = self.reader.available();
        available >= STOCK_SAMPLES * self.channels || available > 0 && self.reader.is_finished()
    }
}

impl Source for PcmSource {
    fn pull(&mut self, _: Time, frame: &mut Frame) -> Pulled {
        if !self.has_begun && !self.may_begin() {
            frame.clear();
            return Pulled::Silent;
        }
        self.has_begun = true;
        let ends = self.reader.is_finished();
        let pcm = frame.samples_mut();
        let read = self.reader.read(pcm).min(pcm.len());
        pcm[read..].fill(0.0);
        let (samples, missing) = (read / self.channels, (pcm.len() - read) / self.channels);
        self.stats.decoded_samples += samples as u64;
        self.stats.played_samples += samples as u64;
        if missing > 0 && !ends {
            self.stats.concealed_samples += missing as u64;
        }
        match (read, ends) {
            (0, true) => Pulled::Silent,
            (0, false) => Pulled::Concealed,
            _ => Pulled::Audio,
        }
    }

    fn is_idle(&self) -> bool {
        // Asked in this order so that samples added between the two calls are not missed.
        let may_wait = self.reader.is_finished() || !self.has_begun;
        may_wait && self.reader.available() == 0
    }

    fn stats(&self) -> PlayoutStats {
        self.stats
    }
}

/// Stock before playing begins: 60 ms, three ticks of 20 ms.
const STOCK_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 60 / 1_000;
