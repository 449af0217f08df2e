//! All mixers as one crew: what one has too much of, the others do while they wait for their slots.
//!
//! A room where everybody talks needs an encode per listener and may outgrow its mixer's tick. The owner offers these
//! encodes, wakes as many others as there is work for, and works itself; what it takes back is its own again. Each owner
//! has a link of its own for offers, which all others take from, and one for what is done. Nobody waits on either.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::bell::Bell;
use crate::links::JOBS;

/// Something anybody may do.
pub(super) trait Job: Send {
    /// Does it. Must be real-time safe, and must not panic.
    fn run(&mut self);
}

/// A mixer's place in the crew.
pub(super) struct Mate<J> {
    crew: Arc<[Station<J>]>,
    own: usize,
    /// Jobs that are neither here nor back: as many as [`JOBS`], so that no link can be full.
    out: usize,
    /// Jobs offered since others were last woken.
    offered: usize,
}

/// What a mixer shares with the others.
struct Station<J> {
    bell: Arc<Bell>,
    offers: Link<J>,
    done: Link<J>,
}

/// Both ends, so that a link outlives whoever ends first; what is left in it is freed with the last of them.
type Link<J> = (Sender<Box<J>>, Receiver<Box<J>>);

/// A crew of one for each of `bells`.
pub(super) fn crew<J: Job>(bells: &[Arc<Bell>]) -> Vec<Mate<J>> {
    let stations = bells.iter().map(|bell| Station {
        bell: bell.clone(),
        offers: bounded(JOBS),
        done: bounded(JOBS),
    });
    let crew: Arc<[Station<J>]> = stations.collect();
    let mates = (0..bells.len()).map(|own| Mate {
        crew: crew.clone(),
        own,
        out: 0,
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
    /// The job itself, when there are no others or as much is out as may be: it had better be done at once.
    pub fn offer(&mut self, job: Box<J>) -> Result<(), Box<J>> {
        if !self.has_others() || self.out >= JOBS {
            return Err(job);
        }
        let offer = self.crew[self.own].offers.0.try_send(job);
        offer.map_err(crossbeam_channel::TrySendError::into_inner)?;
        self.out += 1;
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
        let job = self.crew[self.own].offers.1.try_recv().ok()?;
        self.out -= 1;
        Some(job)
    }

    /// Takes a job that somebody has done.
    pub fn finished(&mut self) -> Option<Box<J>> {
        let job = self.crew[self.own].done.1.try_recv().ok()?;
        self.out -= 1;
        Some(job)
    }
}

/// As one of the others. Real-time: safe.
impl<J: Job> Mate<J> {
    /// The bell by which this one is woken.
    pub fn bell(&self) -> &Bell {
        &self.crew[self.own].bell
    }

    /// Whether anybody offers anything.
    pub fn has_work(&self) -> bool {
        fence(SeqCst);
        self.others()
            .any(|other| !self.crew[other].offers.1.is_empty())
    }

    /// Does one job of somebody else's, if there is one; whether there was.
    pub fn help(&self) -> bool {
        let offer = self.others().find_map(|other| {
            let job = self.crew[other].offers.1.try_recv().ok()?;
            Some((other, job))
        });
        let Some((owner, mut job)) = offer else {
            return false;
        };
        job.run();
        // Has room: an owner never has more out than the link holds.
        let full = self.crew[owner].done.0.try_send(job).is_err();
        debug_assert!(!full, "more is done than was offered");
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

    /// A number that becomes its square.
    struct Square(u64, Option<u64>);

    impl Job for Square {
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
        assert!(!alone[0].has_work() && !alone[0].help());
        assert!(alone[0].unbegun().is_none());
    }

    #[test]
    fn a_job_goes_back_to_whose_it_is() {
        let mut all = mates(3);
        assert!(all[0].offer(square(3)).is_ok());
        assert!(all[1].offer(square(4)).is_ok());
        assert!(!all[0].others().any(|other| other == 0));
        assert!(all[2].has_work());
        assert!(all[2].help() && all[2].help());
        assert!(!all[2].help());
        assert_eq!(all[0].finished().unwrap().1, Some(9));
        assert_eq!(all[1].finished().unwrap().1, Some(16));
        assert!(all[0].finished().is_none() && all[0].unbegun().is_none());
    }

    #[test]
    fn no_more_is_out_than_the_links_hold() {
        let mut all = mates(2);
        let taken = (0..JOBS as u64 + 5).filter(|&at| all[0].offer(square(at)).is_ok());
        assert_eq!(taken.count(), JOBS);
        while all[1].help() {}
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
                        if !mate.help() {
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
            assert_eq!(owner.out, 0);
        }
        stop.store(true, Ordering::Relaxed);
        for helper in helpers {
            helper.join().unwrap();
        }
    }
}
