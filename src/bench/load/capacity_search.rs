//! Searches for the largest number of clients with which a server meets its objective: doubles the
//! number until the server fails, then bisects.

/// Chooses the number of clients of each step of a load measurement, and records whether the server
/// held them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CapacitySearch {
    way: Way,
    holds: usize,
    fails: Option<usize>,
    tried: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Steps through given numbers, the next one last, whatever their results.
    Steps(Vec<usize>),
    /// Searches for the largest number that the server holds, at most this one.
    Search(usize),
}

impl CapacitySearch {
    /// Returns a search that tries exactly these numbers, in their order.
    pub(super) fn steps(mut steps: Vec<usize>) -> CapacitySearch {
        steps.reverse();
        CapacitySearch::new(Way::Steps(steps))
    }

    /// Returns a search for the largest number of clients that the server holds, up to `most`.
    pub(super) fn up_to(most: usize) -> CapacitySearch {
        CapacitySearch::new(Way::Search(most))
    }

    fn new(way: Way) -> CapacitySearch {
        CapacitySearch {
            way,
            holds: 0,
            fails: None,
            tried: 0,
        }
    }

    /// Returns the next number of clients to try; `None` when the search is over.
    pub(super) fn next(&mut self) -> Option<usize> {
        let next = match (&mut self.way, self.fails) {
            (Way::Steps(steps), _) => steps.pop()?,
            (Way::Search(most), None) if self.holds >= *most => return None,
            (Way::Search(most), None) => (self.holds * 2).max(FIRST).min(*most),
            (Way::Search(_), Some(fails)) => {
                let gap = fails - self.holds;
                if gap <= 1 || gap * FINENESS <= fails {
                    return None;
                }
                self.holds + gap / 2
            }
        };
        self.tried = next;
        Some(next)
    }

    /// Records whether the server held the number of clients tried last.
    pub(super) fn held(&mut self, held: bool) {
        if held {
            self.holds = self.holds.max(self.tried);
        } else {
            self.fails = Some(self.fails.map_or(self.tried, |fails| fails.min(self.tried)));
        }
    }

    /// Returns the largest number of clients that the server held, and the smallest that it did not
    /// hold.
    pub(super) fn most(&self) -> (usize, Option<usize>) {
        (self.holds, self.fails)
    }
}

/// Returns roughly how many numbers a search up to `most` tries, for the progress.
pub(super) fn usual_steps(most: usize) -> usize {
    let doublings = most.div_ceil(FIRST).next_power_of_two().ilog2() as usize;
    1 + doublings + FINENESS.ilog2() as usize
}

/// The number of clients with which a search starts.
const FIRST: usize = 50;

/// The search ends when it knows the number to one part in this many.
const FINENESS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn search(most: usize, limit: usize) -> (Vec<usize>, (usize, Option<usize>)) {
        let mut ramp = CapacitySearch::up_to(most);
        let mut tried = Vec::new();
        while let Some(count) = ramp.next() {
            tried.push(count);
            ramp.held(count <= limit);
        }
        (tried, ramp.most())
    }

    #[test]
    fn capacity_search_closes_in_on_the_limit() {
        let (tried, (holds, fails)) = search(4_000, 700);
        assert_eq!(tried[..5], [50, 100, 200, 400, 800]);
        assert!(tried.len() <= usual_steps(4_000), "{tried:?}");
        assert!(holds <= 700 && holds > 640 && fails.is_some_and(|fails| fails > 700));
    }

    #[test]
    fn capacity_search_ends_at_the_largest_permitted_number_of_clients() {
        assert_eq!(search(300, 1_000), (vec![50, 100, 200, 300], (300, None)));
        assert_eq!(search(20, 1_000), (vec![20], (20, None)));
        let (tried, (holds, fails)) = search(1_000, 0);
        assert_eq!((holds, fails), (0, Some(1)));
        assert_eq!(tried[..2], [50, 25]);
    }

    #[test]
    fn capacity_search_tries_given_steps_in_their_order() {
        let mut ramp = CapacitySearch::steps(vec![5, 3, 9]);
        let mut tried = Vec::new();
        while let Some(count) = ramp.next() {
            tried.push(count);
            ramp.held(count != 9);
        }
        assert_eq!((tried, ramp.most()), (vec![5, 3, 9], (5, Some(9))));
    }
}
