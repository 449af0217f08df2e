//! Jobs of one mixer that any mixer may do, on a board that nobody ever waits at.
//!
//! The owner hangs a job on a free place and marks the place as offered. Others, and the owner itself, take a job by
//! clearing that mark; of all who try, one succeeds. What is done goes back to its place and is marked as done, where the
//! owner collects it. A place stays its job's own until then, so a mixer that stands still anywhere on this way keeps that
//! one job, and no other thread waits for it. Each step is a single atomic instruction.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crossbeam_utils::atomic::AtomicCell;

use crate::queues::JOBS;

/// The board of one owner.
pub(super) struct Board<J> {
    places: Box<[Place<J>]>,
    offered: Marks,
    done: Marks,
}

struct Place<J> {
    job: AtomicCell<Option<Box<J>>>,
    /// What the job takes at most.
    budget_us: AtomicU32,
}

/// A number of a place, handed from call to call and never made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceNo(usize);

impl<J> Board<J> {
    /// An empty board, and the numbers of its places, for its owner to keep.
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

    /// Whether a job is offered that takes no longer than `time`.
    ///
    /// Real-time: safe.
    pub fn has_work(&self, time: Duration) -> bool {
        self.offered.all().any(|at| self.fits(at, time))
    }

    /// Takes a job that takes no longer than `time`, to give it back [when it is done](Board::give_back).
    ///
    /// Real-time: safe.
    pub fn take(&self, time: Duration) -> Option<(PlaceNo, Box<J>)> {
        let mut fitting = self.offered.all().filter(|at| self.fits(*at, time));
        let at = fitting.find(|at| self.offered.clear(*at))?;
        Some((PlaceNo(at), self.places[at].job.take()?))
    }

    /// Gives back what is done, to the place that it was taken from.
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

/// For the owner alone. Real-time: safe.
impl<J> Board<J> {
    /// Offers a job at a free place.
    pub fn offer(&self, place: PlaceNo, job: Box<J>, budget: Duration) {
        let Place {
            job: cell,
            budget_us,
        } = &self.places[place.0];
        budget_us.store(budget.as_micros() as u32, Relaxed);
        cell.store(Some(job));
        self.offered.set(place.0);
    }

    /// Takes back an offered job that nobody has begun; its place is free again. From the other end than others take
    /// from.
    pub fn withdraw(&self) -> Option<(PlaceNo, Box<J>)> {
        let mut offered = self.offered.all().rev();
        let at = offered.find(|at| self.offered.clear(*at))?;
        Some((PlaceNo(at), self.places[at].job.take()?))
    }

    /// Takes a job that somebody has done; its place is free again.
    pub fn collect(&self) -> Option<(PlaceNo, Box<J>)> {
        let at = self.done.all().find(|at| self.done.clear(*at))?;
        Some((PlaceNo(at), self.places[at].job.take()?))
    }
}

/// One bit for each place.
#[derive(Default)]
struct Marks([AtomicU64; WORDS]);

impl Marks {
    /// Sets a mark. All that was done to its place before is seen by the thread that clears it.
    fn set(&self, at: usize) {
        self.0[at / WORD].fetch_or(1 << (at % WORD), Release);
    }

    /// Clears a mark; whether it was this call that did so.
    fn clear(&self, at: usize) -> bool {
        let bit = 1 << (at % WORD);
        self.0[at / WORD].fetch_and(!bit, AcqRel) & bit != 0
    }

    /// Every mark that is set.
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

/// A box in a cell is a single word: no lock is hidden behind it.
const _: () = assert!(AtomicCell::<Option<Box<u64>>>::is_lock_free());

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1);

    /// A board with these jobs offered, each with its own value as its budget in microseconds.
    fn board(jobs: &[u32]) -> (Board<u32>, Vec<PlaceNo>) {
        let (board, mut free) = Board::new();
        for &job in jobs {
            let place = free.pop().expect("it has places");
            board.offer(place, Box::new(job), Duration::from_micros(job.into()));
        }
        (board, free)
    }

    #[test]
    fn job_that_a_stalled_mixer_has_begun_holds_up_no_other() {
        let (board, mut free) = board(&[1, 2, 3]);
        // A helper takes a job and is suspended with it.
        let (stalled, job) = board.take(LONG).expect("it is offered");
        // Another helper and the owner share the rest.
        let (place, other) = board.take(LONG).expect("it is offered");
        board.give_back(place, other);
        assert!(board.withdraw().is_some());
        assert!(board.withdraw().is_none() && board.take(LONG).is_none());
        assert!(board.collect().is_some() && board.collect().is_none());
        // All other places are used over and over.
        for round in 0..2 * JOBS as u32 {
            let place = free[round as usize % free.len()];
            board.offer(place, Box::new(round), LONG);
            assert_eq!(board.withdraw().map(|(_, job)| *job), Some(round));
        }
        free.clear();
        // It goes on at last.
        let value = *job;
        board.give_back(stalled, job);
        assert_eq!(board.collect(), Some((stalled, Box::new(value))));
    }

    #[test]
    fn helper_takes_what_it_has_time_for() {
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
