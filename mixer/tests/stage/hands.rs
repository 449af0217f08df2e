//! A sink that simulates helper threads for encodes.
#![allow(clippy::vec_box, reason = "jobs cross between threads as boxes")]

use std::cell::Cell;

use mixer::engine::Sink;
use mixer::output::{Destination, Event, Retired};
use mixer::packet::OutPacket;
use mixer::schedule::{Job, WorkPool};
use mixer::units::ParticipantId;

use super::{Collector, Stage};

/// A sink whose simulated helpers are as fast as the test wants.
#[derive(Default)]
pub struct Hands {
    pub inner: Collector,
    pub offered: Vec<Box<Job>>,
    pub done: Vec<Box<Job>>,
    /// Number of offered jobs that the helpers begin at once; the engine does the others.
    pub begin: usize,
    /// Whether begun jobs stay in `begun` until the test finishes them.
    pub slow: bool,
    pub begun: Vec<Box<Job>>,
    pub rounds: usize,
    /// How often the engine asked whether to go on waiting.
    pub waits: Cell<usize>,
}

/// Helpers that finish each encode some slots after they have begun it.
#[derive(Default)]
pub struct LateHelpers {
    /// The encodes under way, each with the slot in which it is finished.
    held: Vec<(u64, Box<Job>)>,
}

impl LateHelpers {
    /// Runs the slots of one tick of 20 ms, in which every talker sends one packet.
    ///
    /// - `delay`: returns how many slots the next encode takes.
    pub fn tick(&mut self, stage: &mut Stage, hands: &mut Hands, mut delay: impl FnMut() -> u64) {
        stage.arrive();
        for _ in 0..8 {
            stage.slot += 1;
            let now = stage.now();
            stage.engine.run_slot(stage.slot, now, hands);
            for mut job in hands.begun.drain(..) {
                job.run();
                self.held.push((stage.slot + delay(), job));
            }
            let finished = self.held.extract_if(.., |(due, _)| *due <= stage.slot);
            hands.done.extend(finished.map(|(_, job)| job));
        }
    }
}

impl Sink for Hands {
    fn packet(&mut self, destination: Destination, to: &[ParticipantId], packet: &OutPacket) {
        self.inner.packet(destination, to, packet);
    }

    fn event(&mut self, event: Event) {
        self.inner.event(event);
    }

    fn retired(&mut self, retired: Retired) {
        self.inner.retired(retired);
    }
}

impl WorkPool for Hands {
    fn offer(&mut self, job: Box<Job>) -> Result<(), Box<Job>> {
        self.offered.push(job);
        Ok(())
    }

    fn offered(&mut self) {
        self.rounds += 1;
        for _ in 0..self.begin.min(self.offered.len()) {
            let mut job = self.offered.remove(0);
            if self.slow {
                self.begun.push(job);
            } else {
                job.run();
                self.done.push(job);
            }
        }
    }

    fn unbegun(&mut self) -> Option<Box<Job>> {
        self.offered.pop()
    }

    fn finished(&mut self) -> Option<Box<Job>> {
        self.done.pop()
    }

    fn is_overdue(&self) -> bool {
        self.waits.set(self.waits.get() + 1);
        true
    }
}
