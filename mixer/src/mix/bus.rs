//! The buses of a room: the sum of its contributors, and the sum with the linked rooms.
//!
//! These are the steps `Bus (+=)` and `Bus - own Frame` in the diagram of the [crate
//! documentation](crate). A bus does not decide who contributes and does not limit: a sum of
//! several voices may exceed full scale by any amount.

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

    /// The sum of all contributors: what a listener that contributes nothing hears.
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

/// Which of a room's two sums a listener hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Base {
    /// The room's own contributors and the linked rooms.
    #[default]
    Total,
    /// Only the room's own contributors: for a listener that carries the room elsewhere, so that
    /// no voice is sent back to where it came from.
    Local,
}

/// A room's two sums of one tick.
#[derive(Debug)]
pub(crate) struct Buses {
    local: Bus,
    /// Number of frames on the local bus.
    contributors: usize,
    /// The local bus and the linked rooms. Only a room with links has it.
    total: Option<Box<Bus>>,
    /// Whether linked rooms are heard this tick; if not, the total is the local bus.
    is_linked: bool,
}

impl Buses {
    /// Creates empty buses for a room without links.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(layout: Layout, tick: TickLength) -> Buses {
        Buses {
            local: Bus::new(layout, tick),
            contributors: 0,
            total: None,
            is_linked: false,
        }
    }

    /// Begins a tick in which nobody is heard yet.
    pub fn begin(&mut self) {
        self.contributors = 0;
        self.is_linked = false;
    }

    /// Adds the frame of one of the room's contributors.
    pub fn add(&mut self, frame: &Frame) {
        if self.contributors == 0 {
            self.local.clear();
        }
        self.local.add(frame);
        self.contributors += 1;
    }

    /// Adds the sum of the linked rooms, once the room's contributors are complete.
    pub fn add_linked(&mut self, frame: &Frame) {
        let Some(total) = &mut self.total else {
            debug_assert!(false, "links bring the bus that they need");
            return;
        };
        match self.contributors {
            0 => total.clear(),
            _ => self.local.copy_into(&mut total.sum),
        }
        total.add(frame);
        self.is_linked = true;
    }

    /// Number of the room's contributors.
    pub fn contributors(&self) -> usize {
        self.contributors
    }

    /// The sum of the room's contributors; `None` if there are none.
    pub fn local(&self) -> Option<&Frame> {
        (self.contributors > 0).then_some(&self.local.sum)
    }

    /// The bus that a listener of this base hears, and the number of voices on it. All linked rooms
    /// count as one voice. The bus is valid only if there is a voice.
    pub fn heard(&self, base: Base) -> (&Bus, usize) {
        match (&self.total, base) {
            (Some(total), Base::Total) if self.is_linked => (total, self.contributors + 1),
            _ => (&self.local, self.contributors),
        }
    }

    /// Takes the bus for the total sum out of `total`, if this room has none yet. A bus that is not
    /// needed stays in `total`.
    pub fn accept_total(&mut self, total: &mut Option<Box<Bus>>) {
        if self.total.is_none() {
            self.total = total.take();
        }
    }

    /// Takes out the bus for the total sum, once the room has no links.
    pub fn release_total(&mut self) -> Option<Box<Bus>> {
        self.is_linked = false;
        self.total.take()
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
        fn bus_minus_one_contributor_is_the_sum_of_the_others(
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
        fn bus_sum_does_not_depend_on_the_order_of_its_frames(
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
