//! A sink that has encodes done by others, as other threads would do them.
#![allow(clippy::vec_box, reason = "jobs cross between threads as boxes")]

use std::cell::Cell;

use mixer::command::{Event, Retired};
use mixer::crew::EncodeJob;
use mixer::engine::Sink;
use mixer::packet::OutPacket;
use mixer::units::ParticipantId;

use super::Collector;

/// A sink with hands that are as quick as a test wants them.
#[derive(Default)]
pub struct Hands {
    pub inner: Collector,
    pub offered: Vec<Box<EncodeJob>>,
    pub done: Vec<Box<EncodeJob>>,
    /// How many offers they begin at once, the rest is left to the engine.
    pub begin: usize,
    /// They finish only when told so.
    pub slow: bool,
    pub begun: Vec<Box<EncodeJob>>,
    pub rounds: usize,
    /// How often the engine had nothing to do but wait.
    pub waits: Cell<usize>,
}

impl Sink for Hands {
    fn packet(&mut self, to: &[ParticipantId], packet: &OutPacket) {
        self.inner.packet(to, packet);
    }

    fn event(&mut self, event: Event) {
        self.inner.event(event);
    }

    fn retired(&mut self, retired: Retired) {
        self.inner.retired(retired);
    }

    fn offer(&mut self, job: Box<EncodeJob>) -> Result<(), Box<EncodeJob>> {
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

    fn unbegun(&mut self) -> Option<Box<EncodeJob>> {
        self.offered.pop()
    }

    fn finished(&mut self) -> Option<Box<EncodeJob>> {
        self.done.pop()
    }

    fn is_overdue(&self) -> bool {
        self.waits.set(self.waits.get() + 1);
        true
    }
}
