//! All mixers as one crew: what one has too much of, the others do while they wait for their slots.
//!
//! A room where everybody talks needs an encode per listener and may outgrow its mixer's tick. The owner offers these
//! encodes on its [board](Board), wakes as many others as there is work for, and works itself; what it takes back is its own
//! again. Nobody waits at a board.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;
use std::time::Duration;

use super::bell::Bell;
use super::board::{Board, PlaceNo};

/// Something anybody may do.
pub(super) trait Job: Send {
    /// What it takes at most, unless the machine is busy with something else.
    fn budget(&self) -> Duration;
    /// Does it. Must be real-time safe, and must not panic.
    fn run(&mut self);
}

/// A mixer's place in the crew.
pub(super) struct Mate<J> {
    crew: Arc<[Station<J>]>,
    own: usize,
    /// Places of its own board without a job.
    free: Vec<PlaceNo>,
    /// Jobs offered since others were last woken.
    offered: usize,
}

/// What a mixer shares with the others. What is left on its board is freed with the last of them.
struct Station<J> {
    bell: Arc<Bell>,
    board: Board<J>,
}

/// A crew of one for each of `bells`.
pub(super) fn crew<J: Job>(bells: &[Arc<Bell>]) -> Vec<Mate<J>> {
    let mut places = Vec::new();
    let stations = bells.iter().map(|bell| {
        let (board, free) = Board::new();
        places.push(free);
        Station {
            bell: bell.clone(),
            board,
        }
    });
    let crew: Arc<[Station<J>]> = stations.collect();
    let mates = places.into_iter().enumerate().map(|(own, free)| Mate {
        crew: crew.clone(),
        own,
        free,
        offered: 0,
    });
    mates.collect()
}

/// As an owner. Real-time: safe.
impl<J: Job> Mate<J> {
    /// Whether there is anybody else.
    pub fn has_others(&self) -> bool {
        self.crew.len() > 1
    }

    /// Offers a job to the others.
    ///
    /// # Errors
    /// The job itself, when there are no others or the board is full: it had better be done at once.
    pub fn offer(&mut self, job: Box<J>) -> Result<(), Box<J>> {
        if !self.has_others() {
            return Err(job);
        }
        let Some(place) = self.free.pop() else {
            return Err(job);
        };
        let budget = job.budget();
        self.crew[self.own].board.offer(place, job, budget);
        self.offered += 1;
        Ok(())
    }

    /// Wakes as many others as there is work for, beside what the owner does meanwhile. Who is awake looks by itself.
    pub fn wake_others(&mut self) {
        let mut wanted = self.offered.saturating_sub(1);
        self.offered = 0;
        for other in self.others() {
            if wanted == 0 {
                return;
            }
            wanted -= usize::from(self.crew[other].bell.ring_for_work());
        }
    }

    /// Takes back a job that nobody has begun.
    pub fn unbegun(&mut self) -> Option<Box<J>> {
        let (place, job) = self.crew[self.own].board.withdraw()?;
        self.free.push(place);
        Some(job)
    }

    /// Takes a job that somebody has done.
    pub fn finished(&mut self) -> Option<Box<J>> {
        let (place, job) = self.crew[self.own].board.collect()?;
        self.free.push(place);
        Some(job)
    }
}

/// As one of the others. Real-time: safe.
impl<J: Job> Mate<J> {
    /// The bell by which this one is woken.
    pub fn bell(&self) -> &Bell {
        &self.crew[self.own].bell
    }

    /// Whether anybody offers anything that takes no longer than `time`.
    pub fn has_work(&self, time: Duration) -> bool {
        fence(SeqCst);
        self.others()
            .any(|other| self.crew[other].board.has_work(time))
    }

    /// Does one job of somebody else's that takes no longer than `time`, if there is one; whether there was.
    pub fn help(&self, time: Duration) -> bool {
        let offer = self.others().find_map(|other| {
            let (place, job) = self.crew[other].board.take(time)?;
            Some((other, place, job))
        });
        let Some((owner, place, mut job)) = offer else {
            return false;
        };
        job.run();
        self.crew[owner].board.give_back(place, job);
        true
    }

    /// Everybody else, beginning with the next, so that not all turn to the same.
    fn others(&self) -> impl Iterator<Item = usize> + use<J> {
        let (own, all) = (self.own, self.crew.len());
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

    /// A number that becomes its square.
    struct Square(u64, Option<u64>);

    impl Job for Square {
        fn budget(&self) -> Duration {
            Duration::from_micros(100)
        }

        fn run(&mut self) {
            self.1 = Some(self.0 * self.0);
        }
    }

    fn mates(count: usize) -> Vec<Mate<Square>> {
        let bells: Vec<Arc<Bell>> = (0..count).map(|_| Arc::default()).collect();
        crew(&bells)
    }

    fn square(number: u64) -> Box<Square> {
        Box::new(Square(number, None))
    }

    #[test]
    fn alone_one_does_everything_oneself() {
        let mut alone = mates(1);
        assert!(alone[0].offer(square(3)).is_err());
        assert!(!alone[0].has_work(LONG) && !alone[0].help(LONG));
        assert!(alone[0].unbegun().is_none());
    }

    #[test]
    fn a_job_goes_back_to_whose_it_is() {
        let mut all = mates(3);
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
    fn no_more_is_out_than_the_board_holds() {
        let mut all = mates(2);
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
    fn everything_is_done_once_whoever_does_it() {
        let mut all = mates(4);
        let mut owner = all.remove(0);
        let stop = Arc::new(AtomicBool::new(false));
        let helpers: Vec<_> = all
            .into_iter()
            .map(|mate| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if !mate.help(LONG) {
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
