//! Who may share one encode.
//!
//! All listeners of a room who contribute nothing hear the same mix; those of one recipe, who report
//! like losses, are sent the same packets, made by one of their streams, the leader's. Who begins to
//! contribute goes on with a copy of that stream (a split, exact to the last bit of the far
//! decoder's state). Who has fallen silent, and has heard what the group hears for a fifth of a
//! second, is sent the group's packets again (a merge: the far decoder meets another encoder that
//! has been fed the same, which stays below the codec's own distortion).
//!
//! A newcomer's decoder is cold, while a shared encoder relies on what was sent before: a newcomer
//! hears a fresh stream of its own for the same time, and then merges.
//!
//! Whoever may talk keeps a stream of its own, whether used or not: a leader who leaves copies its
//! state to a successor, and nothing has to be allocated when roles change. Who cannot talk will
//! never need one again once he is in a group, so that his is freed: most of what a listener weighs.
//! Such a group is led by one of them, whose stream goes to another when he leaves.

use crate::command::Retired;
use crate::engine::Sink;
use crate::format::TickLength;
use crate::listener::{Listener, Tuning, Turn};
use crate::members::Member;
use crate::profile::{Recipe, loss_class};
use crate::scans::ScanNo;

/// How one member's stream is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// Is sent nothing.
    Deaf,
    /// Is sent what the group of this index is sent.
    Grouped(u8),
    /// Has an encoder of its own.
    Private {
        /// For how long its mix has been what a group hears, saturating.
        settled_ms: u32,
    },
}

/// What the members of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    recipe: Recipe,
    /// What they hear of other rooms.
    scan: Option<ScanNo>,
    /// Class of the loss their receivers report: the encoder is prepared for it.
    loss_percent: u8,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    key: Key,
    /// Place of the member whose stream is sent to all.
    leader: usize,
}

/// The listener groups of one room.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Groups keep their index as long as they exist.
    groups: [Option<Group>; MAX_GROUPS],
    tick: TickLength,
}

impl Listeners {
    /// No groups yet.
    pub fn new(tick: TickLength) -> Listeners {
        Listeners {
            groups: [None; MAX_GROUPS],
            tick,
        }
    }

    /// The groups there are: index and leader.
    pub fn leaders(&self) -> impl Iterator<Item = (u8, usize)> {
        let groups = self.groups.iter().enumerate();
        groups.filter_map(|(index, group)| Some((index as u8, (*group)?.leader)))
    }

    /// Takes in a newcomer, or one with another stream than before.
    pub fn admit(&self, list: &mut [Member], place: usize) {
        let member = &mut list[place];
        member.hearing = match member.participant.listener {
            Some(_) => Hearing::Private { settled_ms: 0 },
            None => Hearing::Deaf,
        };
    }

    /// Makes a member independent of its group, if it is in one: the stream it has heard goes on as
    /// its own.
    pub fn split(&mut self, list: &mut [Member], place: usize) {
        let Hearing::Grouped(index) = list[place].hearing else {
            return;
        };
        list[place].hearing = Hearing::Private { settled_ms: 0 };
        let group = &mut self.groups[usize::from(index)];
        let Some(Group { leader, .. }) = group else {
            return;
        };
        if *leader != place {
            copy(list, *leader, place);
            return;
        }
        let is_other = |member: &Member| member.hearing == Hearing::Grouped(index);
        let cannot_talk = |member: &Member| is_other(member) && !can_talk(member);
        let heir = list.iter().position(cannot_talk);
        match heir.or_else(|| list.iter().position(is_other)) {
            Some(successor) => {
                *leader = successor;
                if list[successor].participant.listener.is_some() {
                    copy(list, place, successor);
                } else {
                    // The leader cannot talk either: it is on its way out, or about to get another.
                    list[successor].participant.listener = list[place].participant.listener.take();
                }
            }
            None => *group = None,
        }
    }

    /// Makes a member independent of its group as [`split`](Listeners::split) does, and so that it has a
    /// stream of its own afterwards: who cannot talk may need `spare` for that, of the group's recipe.
    /// What is not needed comes back.
    ///
    /// # Errors
    /// What was given in place of the spare one that it needs; nothing has changed.
    pub fn split_with(
        &mut self,
        list: &mut [Member],
        place: usize,
        spare: Option<Box<Listener>>,
    ) -> Result<Option<Box<Listener>>, Option<Box<Listener>>> {
        let Hearing::Grouped(index) = list[place].hearing else {
            return Ok(spare);
        };
        let Some(Group { key, leader }) = self.groups[usize::from(index)] else {
            return Err(spare);
        };
        let is_other = |(other, member): (usize, &Member)| {
            other != place && member.hearing == Hearing::Grouped(index)
        };
        let is_needed = match leader == place {
            true => !can_talk(&list[place]) && list.iter().enumerate().any(is_other),
            false => list[place].participant.listener.is_none(),
        };
        if !is_needed {
            self.split(list, place);
            return Ok(spare);
        }
        let fits = |spare: &Listener| *spare.recipe() == key.recipe && spare.tick() == self.tick;
        if !spare.as_deref().is_some_and(fits) {
            return Err(spare);
        }
        if leader != place {
            list[place].participant.listener = spare;
            self.split(list, place);
            return Ok(None);
        }
        self.split(list, place);
        if list[place].participant.listener.is_some() {
            return Ok(spare);
        }
        // Its stream is that of its successor now.
        list[place].participant.listener = spare;
        if let Some(Group { leader, .. }) = self.groups[usize::from(index)] {
            copy(list, leader, place);
        }
        Ok(None)
    }

    /// Lets go of one who is to be sent nothing any more.
    pub fn dismiss(&mut self, list: &mut [Member], place: usize) {
        self.split(list, place);
        list[place].hearing = Hearing::Deaf;
    }

    /// The member at `from` sits at `to` now.
    pub fn moved(&mut self, from: usize, to: usize) {
        for group in self.groups.iter_mut().flatten() {
            if group.leader == from {
                group.leader = to;
            }
        }
    }

    /// Draws the consequences of who contributes this tick, before anybody is given a mix: splits,
    /// and merges. Streams that nobody will need any more are given back.
    pub fn regroup(&mut self, list: &mut [Member], turn: Turn, sink: &mut dyn Sink) {
        let mut unsettled = 0;
        for place in 0..list.len() {
            let member = &mut list[place];
            let apart = member.hears_apart();
            match &mut member.hearing {
                Hearing::Deaf => {}
                Hearing::Grouped(_) if apart => self.split(list, place),
                Hearing::Grouped(index) => {
                    let index = *index;
                    // Who cannot talk has no stream to go on with, and is given one from outside.
                    let is_able = can_talk(member) && is_looked_at(place, turn);
                    if is_able && self.has_changed(member, index) {
                        self.split(list, place);
                    }
                }
                Hearing::Private { settled_ms } if apart => *settled_ms = 0,
                Hearing::Private { settled_ms }
                    if member.participant.rescan.is_some() && unsettled < MAX_UNSETTLED =>
                {
                    // What he hears is on its way from one scan to another.
                    *settled_ms = 0;
                    unsettled += 1;
                }
                Hearing::Private { settled_ms } => {
                    let before_ms = *settled_ms;
                    *settled_ms = before_ms.saturating_add(self.tick.ms());
                    unsettled += 1;
                    let settled = before_ms >= HANGOVER_MS || unsettled > MAX_UNSETTLED;
                    if let Some(unneeded) = self.merge(list, place, turn, settled) {
                        sink.retired(Retired::Listener(unneeded));
                    }
                }
            }
        }
    }

    /// Tunes every stream that is in use.
    pub fn tune(&self, list: &mut [Member], complexity_cap: u8) {
        for group in self.groups.iter().flatten() {
            if let Some(listener) = &mut list[group.leader].participant.listener {
                listener.tune(Tuning {
                    loss_percent: group.key.loss_percent,
                    complexity_cap,
                });
            }
        }
    }

    /// Whether the loss that the member's receiver reports is of another class than its group's.
    fn has_changed(&self, member: &Member, index: u8) -> bool {
        let group = &self.groups[usize::from(index)];
        group.is_some_and(|group| group.key.loss_percent != loss_of(member))
    }

    /// Moves a member that contributes nothing to the group of its key, if it is time; founds the
    /// group if there is none. Gives back the stream it will not need any more, if there is one.
    fn merge(
        &mut self,
        list: &mut [Member],
        place: usize,
        turn: Turn,
        settled: bool,
    ) -> Option<Box<Listener>> {
        let member = &list[place];
        let own = member.participant.listener.as_ref()?;
        let key = Key {
            recipe: *own.recipe(),
            scan: member.scan,
            loss_percent: loss_of(member),
        };
        let is_its = |group: &Option<Group>| group.is_some_and(|group| group.key == key);
        let Some(index) = self.groups.iter().position(is_its) else {
            self.found(list, place, key);
            return None;
        };
        let group = self.groups[index].as_mut()?;
        let theirs = list[group.leader].participant.listener.as_ref()?;
        let asleep = own.is_asleep() && theirs.is_asleep();
        let ready = asleep || settled && own.can_merge_into(theirs, turn);
        if !ready {
            return None;
        }
        list[place].hearing = Hearing::Grouped(index as u8);
        if can_talk(&list[place]) {
            return None;
        }
        if can_talk(&list[group.leader]) {
            copy(list, group.leader, place);
            group.leader = place;
            return None;
        }
        list[place].participant.listener.take()
    }

    /// Makes a member's stream that of a new group; whoever has heard it goes on hearing it.
    fn found(&mut self, list: &mut [Member], place: usize, key: Key) {
        if let Some(index) = self.groups.iter().position(Option::is_none) {
            self.groups[index] = Some(Group { key, leader: place });
            list[place].hearing = Hearing::Grouped(index as u8);
        }
    }
}

/// Copies the state of one member's stream to another's.
fn copy(list: &mut [Member], from: usize, to: usize) {
    let Ok([from, to]) = list.get_disjoint_mut([from, to]) else {
        return;
    };
    if let (Some(from), Some(to)) = (&from.participant.listener, &mut to.participant.listener) {
        let copied = to.follow(from);
        debug_assert!(copied, "a group has one recipe");
    }
}

/// Whether it may come to contribute, and then needs a stream of its own.
fn can_talk(member: &Member) -> bool {
    member.participant.strip.is_some()
}

fn loss_of(member: &Member) -> u8 {
    loss_class(member.participant.shared.settings.loss_percent())
}

/// Reports of loss come every few seconds; each member of a group is asked once in
/// [`LOOK_TICKS`].
fn is_looked_at(place: usize, turn: Turn) -> bool {
    (turn.tick.0 + place as u64).is_multiple_of(LOOK_TICKS)
}

/// How long a private stream is fed what its group's is before the two may become one: ten packets
/// at the usual length. From two on the far decoder is well off; the rest keeps those who pause
/// between words from changing to and fro.
const HANGOVER_MS: u32 = 200;

/// As many groups as a room has. The ladder of recipes is short, so few rooms see more than four;
/// beyond this, listeners keep their own encoders.
const MAX_GROUPS: usize = 32;

/// As many may wait for their merge at once: a crowd that joins while somebody talks would cost
/// everybody else their tick. Who comes on top of these hears one rough packet instead.
const MAX_UNSETTLED: usize = 16;

/// About a second.
const LOOK_TICKS: u64 = 50;
