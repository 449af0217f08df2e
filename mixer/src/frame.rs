//! One tick of PCM.

use crate::format::{Layout, MAX_CHANNELS, MAX_TICK_SAMPLES, TickLength};

/// One tick of PCM: 32-bit float, full scale is 1.0, channels interleaved.
#[derive(Clone)]
pub struct Frame {
    layout: Layout,
    len: usize,
    samples: [f32; MAX_TICK_SAMPLES * MAX_CHANNELS],
}

impl Frame {
    /// Creates a silent frame.
    pub fn new(layout: Layout, tick: TickLength) -> Frame {
        Frame {
            layout,
            len: tick.samples() * layout.channels(),
            samples: [0.0; MAX_TICK_SAMPLES * MAX_CHANNELS],
        }
    }

    /// The channel layout of the frame.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Samples of all channels, interleaved: tick samples times channels.
    pub fn samples(&self) -> &[f32] {
        &self.samples[..self.len]
    }

    /// Samples of all channels, interleaved, for writing.
    pub fn samples_mut(&mut self) -> &mut [f32] {
        &mut self.samples[..self.len]
    }

    /// Fills the frame with silence.
    pub fn clear(&mut self) {
        self.samples_mut().fill(0.0);
    }

    /// Largest absolute value of the samples.
    pub fn peak(&self) -> f32 {
        self.samples()
            .iter()
            .fold(0.0, |peak, sample| peak.max(sample.abs()))
    }

    /// Root mean square of all samples.
    pub fn rms(&self) -> f32 {
        let energy: f32 = self.samples().iter().map(|sample| sample * sample).sum();
        (energy / self.len as f32).sqrt()
    }
}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Frame({:?}, {} samples, peak {:.3})",
            self.layout,
            self.len,
            self.peak()
        )
    }
}
