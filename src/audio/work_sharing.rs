//! Work sharing between mixers: a mixer that waits for its next slot runs encodes that another
//! mixer offers.
//!
//! A room in which everybody talks needs one encode per listener, which may take longer than a
//! tick. The mixer that owns the room offers these encodes on its [board](Board), wakes as many
//! other mixers as there is work for, and works too: it takes back jobs that no other mixer has
//! begun. No thread blocks on a board.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;
use std::time::Duration;

use super::board::{Board, PlaceNo};
use super::parker::Parker;

/// A job that any of the mixers may run.
pub(super) trait Job: Send {
    /// Longest duration of the job, unless the machine is busy with something else.
    fn budget(&self) -> Duration;
    /// Runs the job. Must be real-time safe, and must not panic.
    fn run(&mut self);
}

/// One mixer's access to its own jobs and to those of all mixers that share work with it.
pub(super) struct WorkShare<J> {
    sharers: Arc<[Sharer<J>]>,
    own: usize,
    /// The free places on this mixer's own board.
    free: Vec<PlaceNo>,
    /// Number of jobs that this mixer has offered since it last woke other mixers.
    offered: usize,
}

/// The part of a mixer that other mixers can access. Jobs left on its board are freed with the last
/// reference to it.
struct Sharer<J> {
    parker: Arc<Parker>,
    board: Board<J>,
}

/// Makes mixers share work: returns one access for each of `parkers`, in their order.
pub(super) fn sharers<J: Job>(parkers: &[Arc<Parker>]) -> Vec<WorkShare<J>> {
    let mut places = Vec::new();
    let sharers = parkers.iter().map(|parker| {
        let (board, free) = Board::new();
        places.push(free);
        Sharer {
            parker: parker.clone(),
            board,
        }
    });
    let sharers: Arc<[Sharer<J>]> = sharers.collect();
    let work_shares = places.into_iter().enumerate().map(|(own, free)| WorkShare {
        sharers: sharers.clone(),
        own,
        free,
        offered: 0,
    });
    work_shares.collect()
}

/// Methods for the mixer that owns jobs. Real-time: safe.
impl<J: Job> WorkShare<J> {
    /// Whether there are other mixers to share work with.
    pub fn has_others(&self) -> bool {
        self.sharers.len() > 1
    }

    /// Offers a job of this mixer to the other mixers.
    ///
    /// # Errors
    /// Returns the job if there is no other mixer or the board is full; the caller should then run
    /// it at once.
    pub fn offer(&mut self, job: Box<J>) -> Result<(), Box<J>> {
        if !self.has_others() {
            return Err(job);
        }
        let Some(place) = self.free.pop() else {
            return Err(job);
        };
        let budget = job.budget();
        self.sharers[self.own].board.offer(place, job, budget);
        self.offered += 1;
        Ok(())
    }

    /// Wakes one sleeping mixer for each offered job except one, which the owner runs itself.
    /// Mixers that are awake look for jobs by themselves.
    pub fn wake_others(&mut self) {
        let mut wanted = self.offered.saturating_sub(1);
        self.offered = 0;
        for other in self.others() {
            if wanted == 0 {
                return;
            }
            wanted -= usize::from(self.sharers[other].parker.wake_for_work());
        }
    }

    /// Takes back a job of this mixer that no other mixer has begun, if there is one.
    pub fn unbegun(&mut self) -> Option<Box<J>> {
        let (place, job) = self.sharers[self.own].board.withdraw()?;
        self.free.push(place);
        Some(job)
    }

    /// Takes a job of this mixer that another mixer has finished, if there is one.
    pub fn finished(&mut self) -> Option<Box<J>> {
        let (place, job) = self.sharers[self.own].board.collect()?;
        self.free.push(place);
        Some(job)
    }
}

/// Methods for a mixer that helps others. Real-time: safe.
impl<J: Job> WorkShare<J> {
    /// The means by which this mixer sleeps and is woken.
    pub fn parker(&self) -> &Parker {
        &self.sharers[self.own].parker
    }

    /// Whether another mixer offers a job whose budget is at most `time`.
    pub fn has_work(&self, time: Duration) -> bool {
        fence(SeqCst);
        self.others()
            .any(|other| self.sharers[other].board.has_work(time))
    }

    /// Runs one job of another mixer whose budget is at most `time`; returns whether there was one.
    pub fn help(&self, time: Duration) -> bool {
        let offer = self.others().find_map(|other| {
            let (place, job) = self.sharers[other].board.take(time)?;
            Some((other, place, job))
        });
        let Some((owner, place, mut job)) = offer else {
            return false;
        };
        job.run();
        self.sharers[owner].board.give_back(place, job);
        true
    }

    /// Returns the indices of all other mixers, beginning after this one, so that not all mixers
    /// help the same owner first.
    fn others(&self) -> impl Iterator<Item = usize> + use<J> {
        let (own, all) = (self.own, self.sharers.len());
        (1..all).map(move |ahead| (own + ahead) % all)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::queues::JOBS;

    const LONG: Duration = Duration::from_secs(1);

    /// A job that computes the square of its number.
    struct Square(u64, Option<u64>);

    impl Job for Square {
        fn budget(&self) -> Duration {
            Duration::from_micros(100)
        }

        fn run(&mut self) {
            self.1 = Some(self.0 * self.0);
        }
    }

    fn work_shares(count: usize) -> Vec<WorkShare<Square>> {
        let parkers: Vec<Arc<Parker>> = (0..count).map(|_| Arc::default()).collect();
        sharers(&parkers)
    }

    fn square(number: u64) -> Box<Square> {
        Box::new(Square(number, None))
    }

    #[test]
    fn work_sharing_refuses_jobs_if_there_is_only_one_mixer() {
        let mut alone = work_shares(1);
        assert!(alone[0].offer(square(3)).is_err());
        assert!(!alone[0].has_work(LONG) && !alone[0].help(LONG));
        assert!(alone[0].unbegun().is_none());
    }

    #[test]
    fn finished_job_returns_to_the_mixer_that_offered_it() {
        let mut all = work_shares(3);
        assert!(all[0].offer(square(3)).is_ok());
        assert!(all[1].offer(square(4)).is_ok());
        assert!(!all[0].others().any(|other| other == 0));
        assert!(all[2].has_work(LONG));
        assert!(all[2].help(LONG) && all[2].help(LONG));
        assert!(!all[2].help(LONG));
        assert_eq!(all[0].finished().unwrap().1, Some(9));
        assert_eq!(all[1].finished().unwrap().1, Some(16));
        assert!(all[0].finished().is_none() && all[0].unbegun().is_none());
    }

    #[test]
    fn job_board_refuses_jobs_beyond_its_capacity() {
        let mut all = work_shares(2);
        let taken = (0..JOBS as u64 + 5).filter(|&at| all[0].offer(square(at)).is_ok());
        assert_eq!(taken.count(), JOBS);
        while all[1].help(LONG) {}
        assert!(
            all[0].offer(square(1)).is_err(),
            "what is done is still out"
        );
        assert!(all[0].finished().is_some());
        assert!(all[0].offer(square(1)).is_ok());
        assert!(all[0].unbegun().is_some());
    }

    #[test]
    fn each_offered_job_is_done_exactly_once_by_its_owner_or_a_helper() {
        let mut all = work_shares(4);
        let mut owner = all.remove(0);
        let stop = Arc::new(AtomicBool::new(false));
        let helpers: Vec<_> = all
            .into_iter()
            .map(|work_share| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if !work_share.help(LONG) {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for round in 0..200u64 {
            let mut seen = BTreeSet::new();
            for number in 0..100 {
                assert!(owner.offer(square(round * 100 + number)).is_ok());
            }
            owner.wake_others();
            while seen.len() < 100 {
                let done = match owner.unbegun() {
                    Some(mut job) => {
                        job.run();
                        Some(job)
                    }
                    None => owner.finished(),
                };
                if let Some(job) = done {
                    assert_eq!(job.1, Some(job.0 * job.0));
                    assert!(seen.insert(job.0), "{} twice", job.0);
                }
            }
            assert_eq!(owner.free.len(), JOBS);
        }
        stop.store(true, Ordering::Relaxed);
        for helper in helpers {
            helper.join().unwrap();
        }
    }
}
