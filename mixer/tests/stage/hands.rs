//! A sink that has encodes done by others, as other threads would do them.
#![allow(clippy::vec_box, reason = "jobs cross between threads as boxes")]

use std::cell::Cell;

use mixer::command::{Event, Retired};
use mixer::engine::Sink;
use mixer::output::Destination;
use mixer::packet::OutPacket;
use mixer::schedule::{Job, WorkPool};
use mixer::units::ParticipantId;

use super::Collector;

/// A sink with hands that are as quick as a test wants them.
#[derive(Default)]
pub struct Hands {
    pub inner: Collector,
    pub offered: Vec<Box<Job>>,
    pub done: Vec<Box<Job>>,
    /// How many offers they begin at once, the rest is left to the engine.
    pub begin: usize,
    /// They finish only when told so.
    pub slow: bool,
    pub begun: Vec<Box<Job>>,
    pub rounds: usize,
    /// How often the engine had nothing to do but wait.
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
