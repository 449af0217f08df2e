//! The bus: the sum of all contributors, and the sum without one of them.
//!
//! The `+=` and the `-` of the picture. The bus does not decide who contributes and does not limit:
//! a sum of several voices may exceed full scale by any amount.

use crate::format::{Layout, TickLength};
use crate::frame::Frame;

/// One tick's sum of all contributors.
#[derive(Debug, Clone)]
pub struct Bus {
    sum: Frame,
}

impl Bus {
    /// Creates an empty bus.
    pub fn new(layout: Layout, tick: TickLength) -> Bus {
        Bus {
            sum: Frame::new(layout, tick),
        }
    }

    /// Sets the sum to silence.
    ///
    /// Real-time: safe.
    pub fn clear(&mut self) {
        self.sum.clear();
    }

    /// Adds one frame to the bus.
    ///
    /// Called once per contributing strip per tick; the strip keeps `frame`, so that the same
    /// samples can be subtracted again for that participant.
    ///
    /// Real-time: safe.
    pub fn add(&mut self, frame: &Frame) {
        debug_assert_eq!(frame.layout(), self.sum.layout());
        for (sum, sample) in self.sum.samples_mut().iter_mut().zip(frame.samples()) {
            *sum += sample;
        }
    }

    /// The sum of all contributors: what listeners hear that contribute nothing.
    pub fn sum(&self) -> &Frame {
        &self.sum
    }

    /// Fills `mix` with the sum.
    ///
    /// Real-time: safe.
    pub fn copy_into(&self, mix: &mut Frame) {
        mix.samples_mut().copy_from_slice(self.sum.samples());
    }

    /// Fills `mix` with the sum minus `own`, which must be a frame that was added this tick.
    ///
    /// Real-time: safe.
    pub fn minus_into(&self, own: &Frame, mix: &mut Frame) {
        let sums = self.sum.samples().iter().zip(own.samples());
        for (out, (sum, own)) in mix.samples_mut().iter_mut().zip(sums) {
            *out = sum - own;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(seed: u32, peak: f32) -> Frame {
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms10);
        let mut state = seed | 1;
        for sample in frame.samples_mut() {
            // xorshift32: any reproducible noise will do.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            *sample = (state as f32 / u32::MAX as f32 * 2.0 - 1.0) * peak;
        }
        frame
    }

    proptest! {
        #[test]
        fn the_bus_minus_one_is_the_sum_of_the_others(
            voices in prop::collection::vec((any::<u32>(), 0.0f32..1.0), 1..16),
            own in any::<prop::sample::Index>(),
        ) {
            let frames: Vec<Frame> = voices.iter().map(|&(seed, peak)| frame(seed, peak)).collect();
            let own = own.index(frames.len());
            let mut bus = Bus::new(Layout::Mono, TickLength::Ms10);
            frames.iter().for_each(|frame| bus.add(frame));
            let mut mix = frames[0].clone();
            bus.minus_into(&frames[own], &mut mix);

            for (at, &got) in mix.samples().iter().enumerate() {
                let others: f64 = frames
                    .iter()
                    .enumerate()
                    .filter(|&(index, _)| index != own)
                    .map(|(_, frame)| f64::from(frame.samples()[at]))
                    .sum();
                let bound = 1e-6 * frames.len() as f64;
                prop_assert!((f64::from(got) - others).abs() < bound);
            }
        }

        #[test]
        fn the_order_of_adding_is_irrelevant(
            mut seeds in prop::collection::vec(any::<u32>(), 2..10),
        ) {
            let sum = |seeds: &[u32]| {
                let mut bus = Bus::new(Layout::Mono, TickLength::Ms10);
                seeds.iter().for_each(|&seed| bus.add(&frame(seed, 0.3)));
                bus
            };
            let forward = sum(&seeds);
            seeds.reverse();
            let backward = sum(&seeds);
            for (a, b) in forward.sum().samples().iter().zip(backward.sum().samples()) {
                prop_assert!((a - b).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn bus_minus_its_only_voice_is_exact_silence() {
        let voice = frame(7, 1.0);
        let mut bus = Bus::new(Layout::Mono, TickLength::Ms10);
        bus.add(&voice);
        let mut mix = voice.clone();
        bus.minus_into(&voice, &mut mix);
        assert!(mix.samples().iter().all(|&sample| sample == 0.0));
    }
}
