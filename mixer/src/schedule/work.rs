//! Work of one tick that any thread may do.
//!
//! A room may owe more work in a tick than one thread can do: an encode for everybody, where everybody talks. Such work is
//! offered to a [`WorkPool`] as [`Job`]s, each of which holds all that it needs and nothing else of the room. What is not
//! done in time is left out of its tick, and comes back later.

use core::any::Any;
use core::fmt;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::panic::catch_unwind;

use crate::packet::{OutPacket, Payload, Sources};
use crate::units::{ParticipantId, RoomId, RtpTime};

/// Something that any thread may do.
pub(crate) trait Work: Any + Send {
    /// Does it; a packet, if it makes one, is written to `packet`. Must be real-time safe.
    fn run(&mut self, packet: &mut OutPacket) -> WorkOutcome;
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkOutcome {
    /// It made a packet.
    Packet,
    /// It made none, as it should.
    Nothing,
    /// It could not be done.
    Failed,
}

/// To whom a job belongs, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobLabel {
    pub room: RoomId,
    pub participant: ParticipantId,
    /// The instant of the tick it is part of, on the media clock.
    pub time: RtpTime,
    /// When that tick was run.
    pub run_at: RtpTime,
}

/// A box that carries work from one thread to another and back, again and again.
pub struct Job {
    work: Option<Box<dyn Work>>,
    pub(crate) label: JobLabel,
    pub(crate) packet: OutPacket,
    pub(crate) outcome: WorkOutcome,
    budget: Duration,
}

/// Jobs that are not in use.
pub(crate) type Jobs = Vec<Box<Job>>;

impl Job {
    /// An empty one.
    ///
    /// Real-time: set-up only (allocates).
    pub(crate) fn empty() -> Box<Job> {
        Box::new(Job {
            work: None,
            label: JobLabel {
                room: RoomId(0),
                participant: ParticipantId(0),
                time: RtpTime(0),
                run_at: RtpTime(0),
            },
            packet: OutPacket {
                time: RtpTime(0),
                marker: false,
                sources: Sources::default(),
                payload: Payload::EMPTY,
            },
            outcome: WorkOutcome::Nothing,
            budget: Duration::ZERO,
        })
    }

    /// Puts work in.
    ///
    /// - `budget`: what it takes at most, unless the machine is busy with something else.
    pub(crate) fn load(&mut self, work: Box<dyn Work>, label: JobLabel, budget: Duration) {
        self.work = Some(work);
        self.label = label;
        self.outcome = WorkOutcome::Nothing;
        self.budget = budget;
    }

    /// Takes the work out, if it is a `W`.
    pub(crate) fn unload<W: Work>(&mut self) -> Option<Box<W>> {
        let work: Box<dyn Any> = self.work.take_if(|work| (&**work as &dyn Any).is::<W>())?;
        work.downcast().ok()
    }

    /// What it takes at most, unless the machine is busy with something else: a thread with less time than that had better
    /// not begin it.
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// Does it, whichever thread this is. A panic comes to work that could not be done.
    ///
    /// Real-time: safe.
    pub fn run(&mut self) {
        let Some(work) = &mut self.work else {
            return;
        };
        let packet = &mut self.packet;
        let run = AssertUnwindSafe(|| work.run(packet));
        self.outcome = catch_unwind(run).unwrap_or(WorkOutcome::Failed);
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({:?})", self.label)
    }
}

/// Threads that do each other's jobs. Must be real-time safe.
///
/// It is for engines that were [given jobs](crate::engine::Engine::reserve_jobs); as it stands here, nobody but the calling
/// thread does any.
pub trait WorkPool {
    /// Takes a job that any thread may do.
    ///
    /// # Errors
    /// The job itself, if nobody else can do it.
    fn offer(&mut self, job: Box<Job>) -> Result<(), Box<Job>> {
        Err(job)
    }

    /// All jobs of a tick are offered: it is time to wake threads that could do some.
    fn offered(&mut self) {}

    /// A job that was offered and nobody has begun, to be done by the calling thread after all.
    fn unbegun(&mut self) -> Option<Box<Job>> {
        None
    }

    /// A job of this engine's that somebody has done.
    fn finished(&mut self) -> Option<Box<Job>> {
        None
    }

    /// Whether what is not done by now is to be left out.
    fn is_overdue(&self) -> bool {
        true
    }
}
