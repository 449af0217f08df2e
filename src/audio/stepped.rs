//! Mixers without threads, for tests: the test runs each slot itself, so that no test waits for a
//! mixer.

use std::sync::Arc;
use std::time::Duration;

use mixer::format::SLOT;
use mixer::output::Retired;

use super::parker::Parker;
use super::thread::{self, Mixer};
use super::{AudioConfig, AudioHandle, MixerControl, SharedParts, Wakes, work_sharing};
use crate::queues::{Consumer, MixerEnds, MixerId, RETIRED, ring};

/// Mixers whose slots the thread of the test runs. Dropping them ends them.
pub(crate) struct SteppedMixers {
    mixers: Vec<Mixer>,
    retired: Vec<Consumer<Retired>>,
    /// Number of the slot to run next.
    slot: u64,
}

impl SteppedMixers {
    /// Builds one mixer for each of `ends`; returns the mixers, a handle to all of them, and one
    /// control for each.
    pub(crate) fn new(
        config: AudioConfig,
        ends: Vec<MixerEnds>,
        wakes: Wakes,
    ) -> (SteppedMixers, AudioHandle, Vec<MixerControl>) {
        thread::silence_room_panics();
        let parts = SharedParts::new(config, wakes);
        let parkers: Vec<Arc<Parker>> = ends.iter().map(|_| Arc::default()).collect();
        let work_shares = work_sharing::sharers(&parkers).into_iter().zip(parkers);
        let (mut mixers, mut controls, mut retired) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (work_share, ends)) in work_shares.zip(ends).enumerate() {
            let (to_reaper, reaped) = ring(RETIRED);
            let (mixer, control) = parts.build_mixer(MixerId(at), work_share, ends, to_reaper);
            mixers.push(mixer);
            controls.push(control);
            retired.push(reaped);
        }
        let handle = AudioHandle {
            mixers: controls.iter().map(|it| it.handle.clone()).collect(),
        };
        let stepped = SteppedMixers {
            mixers,
            retired,
            slot: 1,
        };
        (stepped, handle, controls)
    }

    /// Runs all slots of the next `time` in every mixer, and frees what the mixers have retired.
    pub(crate) fn run(&mut self, time: Duration) {
        for _ in 0..time.as_micros() / SLOT.as_micros() {
            for mixer in &mut self.mixers {
                mixer.do_slot(self.slot);
            }
            for retired in &mut self.retired {
                while retired.pop().is_ok() {}
            }
            self.slot += 1;
        }
    }
}
