//! Which members of a room share a scan.
//!
//! Those who hear the same channels alike are served by the scan of one of them, their leader; the others'
//! lie idle, so that there is one to go on with whoever leaves. As long as there are places, nothing here
//! allocates or frees.

use crate::members::Member;
use crate::scan::{Rescan, Scan};

/// The scans of one room, as many at most as it has members.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    /// Scans keep their number as long as somebody hears them.
    list: Vec<Option<Shared>>,
    /// How many members are to be faded over at the next tick.
    pub changing: usize,
}

#[derive(Debug, Clone, Copy)]
struct Shared {
    /// Place of the member whose scan serves all.
    leader: usize,
    users: usize,
}

/// Numbers a scan within its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanNo(u16);

impl Scans {
    /// None yet, with places for `capacity`.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_capacity(capacity: usize) -> Scans {
        Scans {
            list: Vec::with_capacity(capacity),
            changing: 0,
        }
    }

    /// Takes over what `shorter` holds; holds nothing itself yet.
    pub fn take_over(&mut self, shorter: &mut Scans) {
        self.list.append(&mut shorter.list);
        self.changing = core::mem::take(&mut shorter.changing);
    }

    /// Whether nobody scans.
    pub fn is_empty(&self) -> bool {
        self.list.iter().all(Option::is_none)
    }

    /// The places of those whose scans are in use.
    pub fn leaders(&self) -> impl Iterator<Item = usize> {
        self.list.iter().flatten().map(|shared| shared.leader)
    }

    /// What a member hears of other rooms, if he does.
    pub fn of<'l>(&self, list: &'l [Member], place: usize) -> Option<&'l Scan> {
        let leader = self.shared(list[place].scan?)?.leader;
        list[leader].participant.scan.as_deref()
    }

    /// The member at `from` sits at `to` now.
    pub fn moved(&mut self, from: usize, to: usize) {
        for shared in self.list.iter_mut().flatten() {
            if shared.leader == from {
                shared.leader = to;
            }
        }
    }

    /// Gives a member another scan. What he heard before stays with him until the next tick; what is
    /// not needed now comes back.
    pub fn retune(
        &mut self,
        list: &mut [Member],
        place: usize,
        mut rescan: Box<Rescan>,
    ) -> Option<Box<Rescan>> {
        self.leave(list, place);
        let participant = &mut list[place].participant;
        core::mem::swap(&mut participant.scan, &mut rescan.scan);
        let unneeded = match participant.rescan {
            // Nobody has heard what came in between.
            Some(_) => Some(rescan),
            None => {
                participant.rescan = Some(rescan);
                self.changing += 1;
                None
            }
        };
        self.enter(list, place);
        unneeded
    }

    /// Takes one who has a scan to those who hear the same.
    fn enter(&mut self, list: &mut [Member], place: usize) {
        let Some(scan) = &list[place].participant.scan else {
            return;
        };
        let is_alike = |shared: &Option<Shared>| {
            let leader = shared.map(|shared| &list[shared.leader].participant);
            let theirs = leader.and_then(|leader| leader.scan.as_ref());
            theirs.is_some_and(|theirs| theirs.is_like(scan))
        };
        let number = self.list.iter().position(is_alike).or_else(|| {
            let free = self.list.iter().position(Option::is_none);
            free.or_else(|| {
                let has_room = self.list.len() < self.list.capacity();
                has_room.then(|| self.list.push(None))?;
                Some(self.list.len() - 1)
            })
        });
        let Some(number) = number else {
            return;
        };
        let shared = self.list[number].get_or_insert(Shared {
            leader: place,
            users: 0,
        });
        shared.users += 1;
        list[place].scan = u16::try_from(number).ok().map(ScanNo);
    }

    /// Takes one from those with whom he shares a scan. He keeps one that stands where theirs does.
    pub fn leave(&mut self, list: &mut [Member], place: usize) {
        let Some(number) = list[place].scan.take() else {
            return;
        };
        let Some(shared) = self.list.get_mut(usize::from(number.0)) else {
            return;
        };
        let Some(Shared { leader, users }) = shared else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            *shared = None;
            return;
        }
        let successor = match *leader == place {
            true => list.iter().position(|member| member.scan == Some(number)),
            false => Some(*leader),
        };
        let Some(other) = successor else {
            return;
        };
        let (from, to) = match *leader == place {
            true => (place, other),
            false => (other, place),
        };
        *leader = other;
        follow(list, from, to);
    }

    fn shared(&self, number: ScanNo) -> Option<&Shared> {
        self.list.get(usize::from(number.0))?.as_ref()
    }
}

/// Brings one member's scan to where that of another stands, who hears the same.
fn follow(list: &mut [Member], from: usize, to: usize) {
    let Ok([from, to]) = list.get_disjoint_mut([from, to]) else {
        return;
    };
    if let (Some(from), Some(to)) = (&from.participant.scan, &mut to.participant.scan) {
        to.follow(from);
    }
}
