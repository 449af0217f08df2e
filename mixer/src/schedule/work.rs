//! Work of one tick that any thread may do.
//!
//! A room may have more work in a tick than one thread can do: an encode for every participant, if
//! all talk. Such work is offered to a [`WorkPool`] as [`Job`]s. A job holds everything that its
//! work needs, and nothing else of the room. Work that is not finished in time is left out of its
//! tick, and its job comes back later.

use core::any::Any;
use core::fmt;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::panic::catch_unwind;

use crate::packet::{OutPacket, Payload, Sources};
use crate::units::{ParticipantId, RoomId, RtpTime};

/// Work that any thread may do.
pub(crate) trait Work: Any + Send {
    /// Does the work and writes its packet, if any, to `packet`. Must be real-time safe.
    fn run(&mut self, packet: &mut OutPacket) -> WorkOutcome;
}

/// The outcome of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkOutcome {
    /// The work produced a packet.
    Packet,
    /// The work produced no packet, as intended.
    Nothing,
    /// The work could not be done.
    Failed,
}

/// The participant and the tick that a job belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobLabel {
    pub room: RoomId,
    pub participant: ParticipantId,
    /// The instant of the job's tick, on the media clock.
    pub time: RtpTime,
    /// When the tick of the job was run, on the media clock.
    pub run_at: RtpTime,
}

/// A reusable box that carries work from one thread to another and back.
pub struct Job {
    work: Option<Box<dyn Work>>,
    pub(crate) label: JobLabel,
    pub(crate) packet: OutPacket,
    pub(crate) outcome: WorkOutcome,
    budget: Duration,
}

/// Spare jobs: boxes made in advance that hold no work.
pub(crate) type Jobs = Vec<Box<Job>>;

impl Job {
    /// Creates a job without work.
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

    /// Puts work into the job.
    ///
    /// - `budget`: time that the work takes at most, unless the machine is busy with something
    ///   else.
    pub(crate) fn load(&mut self, work: Box<dyn Work>, label: JobLabel, budget: Duration) {
        self.work = Some(work);
        self.label = label;
        self.outcome = WorkOutcome::Nothing;
        self.budget = budget;
    }

    /// Takes the work out of the job, if its type is `W`.
    pub(crate) fn unload<W: Work>(&mut self) -> Option<Box<W>> {
        let work: Box<dyn Any> = self.work.take_if(|work| (&**work as &dyn Any).is::<W>())?;
        work.downcast().ok()
    }

    /// Time that the work takes at most, unless the machine is busy with something else. A thread
    /// that has less time left should not begin the job.
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// Does the work, on any thread. A panic counts as [`WorkOutcome::Failed`].
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

/// A pool of threads that do each other's jobs. All methods must be real-time safe.
///
/// Used by engines that [have jobs](crate::engine::Engine::reserve_jobs). With the default methods,
/// the calling thread does all jobs itself.
pub trait WorkPool {
    /// Offers a job that any thread may do.
    ///
    /// # Errors
    /// The job itself, if no other thread can do it.
    fn offer(&mut self, job: Box<Job>) -> Result<(), Box<Job>> {
        Err(job)
    }

    /// Announces that all jobs of a tick are offered, so that idle threads are woken.
    fn offered(&mut self) {}

    /// Returns an offered job that no thread has begun, for the calling thread to do.
    fn unbegun(&mut self) -> Option<Box<Job>> {
        None
    }

    /// Returns a job of this engine that another thread has finished.
    fn finished(&mut self) -> Option<Box<Job>> {
        None
    }

    /// Whether jobs that are not finished by now are to be left out of the tick.
    fn is_overdue(&self) -> bool {
        true
    }
}
