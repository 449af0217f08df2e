//! Interned lists: equal lists of several members are kept once, under a number.
//!
//! Members with equal lists share the list of one of them, the leader. The others keep their own
//! lists unused, so that one of these members can take over when the leader leaves. Within the
//! reserved capacity nothing here allocates or frees.

use core::marker::PhantomData;

use crate::mix::gains::{GainChange, PersonalGains};
use crate::mix::recipe::PartNo;
use crate::monitor::{MonitorChange, MonitorMix};
use crate::output::OutputStream;
use crate::room::Participant;
use crate::room::members::Member;

/// A list that shapes what one participant hears: monitored rooms or personal gains.
pub(crate) trait Part: Sized {
    /// The box that brings a new list and takes the old list back.
    type Change;

    fn of(participant: &Participant) -> Option<&Self>;
    fn of_mut(participant: &mut Participant) -> Option<&mut Self>;
    fn swap(participant: &mut Participant, change: &mut Self::Change);
    fn list_of(change: &Self::Change) -> Option<&Self>;

    /// The stream that comes with a change, for a participant that may have no stream of its own.
    fn stream_of(change: &mut Self::Change) -> &mut Option<Box<OutputStream>>;

    /// The change that takes effect at the next tick; until then it holds the old list.
    fn pending(participant: &mut Participant) -> &mut Option<Box<Self::Change>>;

    fn number(member: &Member) -> Option<PartNo>;
    fn number_mut(member: &mut Member) -> &mut Option<PartNo>;

    /// Whether the two lists produce the same sound.
    fn is_like(&self, other: &Self) -> bool;

    /// Continues from the state of `other`, a list that produces the same sound.
    fn follow(&mut self, _other: &Self) {}
}

impl Part for MonitorMix {
    type Change = MonitorChange;

    fn of(participant: &Participant) -> Option<&MonitorMix> {
        participant.monitors.as_deref()
    }

    fn of_mut(participant: &mut Participant) -> Option<&mut MonitorMix> {
        participant.monitors.as_deref_mut()
    }

    fn swap(participant: &mut Participant, change: &mut MonitorChange) {
        core::mem::swap(&mut participant.monitors, &mut change.monitors);
    }

    fn list_of(change: &MonitorChange) -> Option<&MonitorMix> {
        change.monitors.as_deref()
    }

    fn stream_of(change: &mut MonitorChange) -> &mut Option<Box<OutputStream>> {
        &mut change.stream
    }

    fn pending(participant: &mut Participant) -> &mut Option<Box<MonitorChange>> {
        &mut participant.monitor_change
    }

    fn number(member: &Member) -> Option<PartNo> {
        member.monitors
    }

    fn number_mut(member: &mut Member) -> &mut Option<PartNo> {
        &mut member.monitors
    }

    fn is_like(&self, other: &MonitorMix) -> bool {
        MonitorMix::is_like(self, other)
    }

    fn follow(&mut self, other: &MonitorMix) {
        MonitorMix::follow(self, other);
    }
}

impl Part for PersonalGains {
    type Change = GainChange;

    fn of(participant: &Participant) -> Option<&PersonalGains> {
        participant.gains.as_deref()
    }

    fn of_mut(participant: &mut Participant) -> Option<&mut PersonalGains> {
        participant.gains.as_deref_mut()
    }

    fn swap(participant: &mut Participant, change: &mut GainChange) {
        core::mem::swap(&mut participant.gains, &mut change.gains);
    }

    fn list_of(change: &GainChange) -> Option<&PersonalGains> {
        change.gains.as_deref()
    }

    fn stream_of(change: &mut GainChange) -> &mut Option<Box<OutputStream>> {
        &mut change.stream
    }

    fn pending(participant: &mut Participant) -> &mut Option<Box<GainChange>> {
        &mut participant.gain_change
    }

    fn number(member: &Member) -> Option<PartNo> {
        member.gains
    }

    fn number_mut(member: &mut Member) -> &mut Option<PartNo> {
        &mut member.gains
    }

    fn is_like(&self, other: &PersonalGains) -> bool {
        PersonalGains::is_like(self, other)
    }
}

/// The distinct lists of one kind in a room, at most one per member.
#[derive(Debug)]
pub(crate) struct Interned<T> {
    /// Indexed by list number. A list keeps its number as long as a member uses it.
    entries: Vec<Option<Entry>>,
    /// Number of members whose list changes in the next tick.
    pub changing: usize,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Place of the member whose list serves all users.
    leader: usize,
    users: usize,
}

impl<T> Default for Interned<T> {
    fn default() -> Interned<T> {
        Interned {
            entries: Vec::new(),
            changing: 0,
            of: PhantomData,
        }
    }
}

impl<T: Part> Interned<T> {
    /// Creates an empty collection with places for `capacity` lists.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_capacity(capacity: usize) -> Interned<T> {
        Interned {
            entries: Vec::with_capacity(capacity),
            ..Interned::default()
        }
    }

    /// Moves all lists out of `shorter` into this collection, which must be empty.
    pub fn take_over(&mut self, shorter: &mut Interned<T>) {
        self.entries.append(&mut shorter.entries);
        self.changing = core::mem::take(&mut shorter.changing);
    }

    /// Whether no member has a list.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(Option::is_none)
    }

    /// The list numbers in use, each with the place of the leader that holds the list.
    pub fn entries(&self) -> impl Iterator<Item = (PartNo, usize)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(number, entry)| {
            let number = u16::try_from(number).ok().map(PartNo)?;
            Some((number, entry.as_ref()?.leader))
        })
    }

    /// The places of the leaders, whose lists are in use.
    pub fn leaders(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().flatten().map(|entry| entry.leader)
    }

    /// The list that serves the member at `place`, or `None` if the member has no list.
    pub fn of<'l>(&self, list: &'l [Member], place: usize) -> Option<&'l T> {
        let number = T::number(&list[place])?;
        let leader = self.entries.get(usize::from(number.0))?.as_ref()?.leader;
        T::of(&list[leader].participant)
    }

    /// Records that the member at place `from` has moved to place `to`.
    pub fn moved(&mut self, from: usize, to: usize) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.leader == from {
                entry.leader = to;
            }
        }
    }

    /// Gives a member a new list and keeps the old one for the cross-fade of the next tick.
    ///
    /// A second change before that tick returns the list in between, which was never heard.
    pub fn change(
        &mut self,
        list: &mut [Member],
        place: usize,
        change: Box<T::Change>,
    ) -> Option<Box<T::Change>> {
        let change = self.replace(list, place, change);
        let pending = T::pending(&mut list[place].participant);
        if pending.is_some() {
            // The list that is replaced now was never heard.
            return Some(change);
        }
        *pending = Some(change);
        self.changing += 1;
        None
    }

    /// Gives a member a new list at once, without a cross-fade. Returns the old list.
    pub fn replace(
        &mut self,
        list: &mut [Member],
        place: usize,
        mut change: Box<T::Change>,
    ) -> Box<T::Change> {
        self.leave(list, place);
        T::swap(&mut list[place].participant, &mut change);
        self.enter(list, place);
        change
    }

    /// Enters a member's list under the number of an equal list, or under a free number.
    fn enter(&mut self, list: &mut [Member], place: usize) {
        let Some(own) = T::of(&list[place].participant) else {
            return;
        };
        let is_alike = |entry: &Option<Entry>| {
            let leader = entry.map(|entry| &list[entry.leader].participant);
            let theirs = leader.and_then(|leader| T::of(leader));
            theirs.is_some_and(|theirs| theirs.is_like(own))
        };
        let number = self.entries.iter().position(is_alike).or_else(|| {
            let free = self.entries.iter().position(Option::is_none);
            free.or_else(|| {
                let has_room = self.entries.len() < self.entries.capacity();
                has_room.then(|| self.entries.push(None))?;
                Some(self.entries.len() - 1)
            })
        });
        let Some(number) = number else {
            return;
        };
        let entry = self.entries[number].get_or_insert(Entry {
            leader: place,
            users: 0,
        });
        entry.users += 1;
        *T::number_mut(&mut list[place]) = u16::try_from(number).ok().map(PartNo);
    }

    /// Removes a member from the users of its shared list. The member keeps its own list, brought
    /// to the state of the shared one.
    pub fn leave(&mut self, list: &mut [Member], place: usize) {
        let Some(number) = T::number_mut(&mut list[place]).take() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(usize::from(number.0)) else {
            return;
        };
        let Some(Entry { leader, users }) = entry else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            *entry = None;
            return;
        }
        let successor = match *leader == place {
            true => list
                .iter()
                .position(|member| T::number(member) == Some(number)),
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
        follow::<T>(list, from, to);
    }
}

/// Brings one member's list to the state of another member's equal list.
fn follow<T: Part>(list: &mut [Member], from: usize, to: usize) {
    let Ok([from, to]) = list.get_disjoint_mut([from, to]) else {
        return;
    };
    if let (Some(from), Some(to)) = (T::of(&from.participant), T::of_mut(&mut to.participant)) {
        to.follow(from);
    }
}
