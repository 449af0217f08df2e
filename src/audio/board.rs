//! A lock-free board on which one mixer offers jobs that any mixer may run; no thread waits for
//! another.
//!
//! The mixer that owns the board puts a job into a free place and marks the place as offered. Other
//! mixers, and the owner itself, take the job by clearing that mark; of all threads that try, one
//! succeeds. A finished job goes back into its place, which is marked as done, and the owner
//! collects it. Until then the place belongs to this job. So a mixer that stalls in any of these
//! steps holds up only one job, and no other thread waits for it. Each step is a single atomic
//! instruction.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crossbeam_utils::atomic::AtomicCell;

use crate::queues::JOBS;

/// The board on which one mixer, its owner, offers jobs.
pub(super) struct Board<J> {
    places: Box<[Place<J>]>,
    offered: Marks,
    done: Marks,
}

struct Place<J> {
    job: AtomicCell<Option<Box<J>>>,
    /// Longest duration of the job (its budget), in microseconds.
    budget_us: AtomicU32,
}

/// Index of a place on a board. Values come only from the methods of [`Board`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceNo(usize);

impl<J> Board<J> {
    /// Builds an empty board; also returns the indices of its free places, which the owner keeps.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new() -> (Board<J>, Vec<PlaceNo>) {
        let places = (0..JOBS).map(|_| Place {
            job: AtomicCell::new(None),
            budget_us: AtomicU32::new(0),
        });
        let board = Board {
            places: places.collect(),
            offered: Marks::default(),
            done: Marks::default(),
        };
        (board, (0..JOBS).map(PlaceNo).collect())
    }

    /// Whether a job is offered whose budget is at most `time`.
    ///
    /// Real-time: safe.
    pub fn has_work(&self, time: Duration) -> bool {
        self.offered.all().any(|at| self.fits(at, time))
    }

    /// Takes an offered job whose budget is at most `time`. The caller runs it and then [gives it
    /// back](Board::give_back).
    ///
    /// Real-time: safe.
    pub fn take(&self, time: Duration) -> Option<(PlaceNo, Box<J>)> {
        let mut fitting = self.offered.all().filter(|at| self.fits(*at, time));
        let at = fitting.find(|at| self.offered.clear(*at))?;
        Some((PlaceNo(at), self.places[at].job.take()?))
    }

    /// Puts a finished job back into the place that it was taken from.
    ///
    /// Real-time: safe.
    pub fn give_back(&self, place: PlaceNo, job: Box<J>) {
        self.places[place.0].job.store(Some(job));
        self.done.set(place.0);
    }

    fn fits(&self, at: usize, time: Duration) -> bool {
        let budget_us = self.places[at].budget_us.load(Relaxed);
        Duration::from_micros(budget_us.into()) <= time
    }
}

/// Methods for the owner only. Real-time: safe.
impl<J> Board<J> {
    /// Offers a job in a free place, with its longest duration as its budget.
    pub fn offer(&self, place: PlaceNo, job: Box<J>, budget: Duration) {
        let Place {
            job: cell,
            budget_us,
        } = &self.places[place.0];
        budget_us.store(budget.as_micros() as u32, Relaxed);
        cell.store(Some(job));
        self.offered.set(place.0);
    }

    /// Takes back an offered job that no mixer has taken, and frees its place. Searches from the
    /// other end than [`take`](Board::take), so that the two rarely try the same job.
    pub fn withdraw(&self) -> Option<(PlaceNo, Box<J>)> {
        let mut offered = self.offered.all().rev();
        let at = offered.find(|at| self.offered.clear(*at))?;
        Some((PlaceNo(at), self.places[at].job.take()?))
    }

    /// Takes a finished job off the board and frees its place.
    pub fn collect(&self) -> Option<(PlaceNo, Box<J>)> {
        let at = self.done.all().find(|at| self.done.clear(*at))?;
        Some((PlaceNo(at), self.places[at].job.take()?))
    }
}

/// A set of bits, one for each place.
#[derive(Default)]
struct Marks([AtomicU64; WORDS]);

impl Marks {
    /// Sets a mark. The thread that clears the mark sees all earlier writes to its place.
    fn set(&self, at: usize) {
        self.0[at / WORD].fetch_or(1 << (at % WORD), Release);
    }

    /// Clears a mark; returns whether this call cleared it.
    fn clear(&self, at: usize) -> bool {
        let bit = 1 << (at % WORD);
        self.0[at / WORD].fetch_and(!bit, AcqRel) & bit != 0
    }

    /// Indices of all marks that are set.
    fn all(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let bits = bits.load(Relaxed);
            let range = if bits == 0 { 0..0 } else { 0..WORD };
            let set = range.filter(move |bit| bits >> bit & 1 == 1);
            set.map(move |bit| word * WORD + bit)
        })
    }
}

const WORD: usize = u64::BITS as usize;
const WORDS: usize = JOBS.div_ceil(WORD);

/// A boxed job in an `AtomicCell` is a single word, so the cell uses no lock internally.
const _: () = assert!(AtomicCell::<Option<Box<u64>>>::is_lock_free());

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1);

    /// Returns a board on which these jobs are offered, each with its own value as its budget in
    /// microseconds.
    fn board(jobs: &[u32]) -> (Board<u32>, Vec<PlaceNo>) {
        let (board, mut free) = Board::new();
        for &job in jobs {
            let place = free.pop().expect("it has places");
            board.offer(place, Box::new(job), Duration::from_micros(job.into()));
        }
        (board, free)
    }

    #[test]
    fn job_board_hands_out_the_other_jobs_while_a_stalled_mixer_holds_a_job() {
        let (board, mut free) = board(&[1, 2, 3]);
        // A mixer that helps takes a job and is suspended while it has the job.
        let (stalled, job) = board.take(LONG).expect("it is offered");
        // Another helping mixer and the owner share the other jobs.
        let (place, other) = board.take(LONG).expect("it is offered");
        board.give_back(place, other);
        assert!(board.withdraw().is_some());
        assert!(board.withdraw().is_none() && board.take(LONG).is_none());
        assert!(board.collect().is_some() && board.collect().is_none());
        // The owner can reuse all other places.
        for round in 0..2 * JOBS as u32 {
            let place = free[round as usize % free.len()];
            board.offer(place, Box::new(round), LONG);
            assert_eq!(board.withdraw().map(|(_, job)| *job), Some(round));
        }
        free.clear();
        // The suspended mixer resumes.
        let value = *job;
        board.give_back(stalled, job);
        assert_eq!(board.collect(), Some((stalled, Box::new(value))));
    }

    #[test]
    fn job_board_gives_a_helper_only_jobs_that_fit_the_time_it_has_left() {
        let (board, _) = board(&[900, 100, 300]);
        let us = Duration::from_micros;
        assert!(!board.has_work(us(99)) && board.take(us(99)).is_none());
        assert!(board.has_work(us(100)));
        assert_eq!(board.take(us(299)).map(|(_, job)| *job), Some(100));
        assert!(board.take(us(299)).is_none());
        assert_eq!(board.take(us(899)).map(|(_, job)| *job), Some(300));
        assert_eq!(board.withdraw().map(|(_, job)| *job), Some(900));
        assert!(!board.has_work(LONG));
    }
}
