//! A sink that simulates helper threads for encodes.
#![allow(clippy::vec_box, reason = "jobs cross between threads as boxes")]

use std::cell::Cell;

use mixer::engine::Sink;
use mixer::output::{Destination, Event, Retired};
use mixer::packet::OutPacket;
use mixer::schedule::{Job, WorkPool};
use mixer::units::ParticipantId;

use super::Collector;

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
