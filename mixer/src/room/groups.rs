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
//! hears a fresh stream of its own for the same time, and then merges. Of a crowd of newcomers only the
//! first do.
//!
//! Members with personal gains hear something else than their group as soon as a talker they name is heard: they part
//! together, with a copy of the group's stream, and merge again once the mixes have been equal for a fifth of a second.
//!
//! A group is two at least: who is alone in what it hears keeps a stream of its own, as who
//! contributes does. So there is a place for every group that there can be, however many listen in
//! ways that nobody shares.
//!
//! Members that can talk, or have personal gains, keep a stream of their own while grouped, so that parting needs no
//! allocation; a leader that leaves copies its state to a successor. Other members give theirs up: most of what a
//! listener weighs. A group with such members is led by one of them, whose stream goes to another when it leaves. As long
//! as there are places, nothing here allocates.

mod merging;
mod parting;

pub(crate) use self::merging::HANGOVER_MS;
use self::merging::{Merge, Wait, find_mate, hears_as, may_merge, settled_ms};
use self::parting::Parting;
use crate::codec::Codec;
use crate::codec::{Recipe, loss_class};
use crate::mix::recipe::MixKey;
use crate::output::Retired;
use crate::output::Sink;
use crate::output::{Listener, Tuning, Turn};
use crate::room::members::Member;

/// How one member's stream is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// Is sent nothing.
    Deaf,
    /// Is sent what the group of this index is sent.
    Grouped(GroupNo),
    /// Has an encoder of its own.
    Private {
        /// For how long its mix has been what a group hears, saturating.
        settled_ms: u32,
    },
}

/// Numbers a group within its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupNo(u16);

/// What the members of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    /// The mix that all members hear.
    mix: MixKey,
    /// How that mix is encoded.
    recipe: Recipe,
    /// Class of the loss their receivers report: the encoder is prepared for it.
    loss_percent: u8,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    key: Key,
    /// Place of the member whose stream is sent to all.
    leader: usize,
    /// How many are in it, two at least.
    members: usize,
    /// For how long it has heard what its key says, saturating.
    settled_ms: u32,
}

/// The listener groups of one room.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Groups keep their number as long as they exist.
    groups: Vec<Option<Group>>,
    /// Those of this tick.
    partings: Vec<Parting>,
    /// Two groups may have come to hear the same.
    may_have_twins: bool,
}

impl Listeners {
    /// No groups yet, with places for those of so many members.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_capacity(members: usize) -> Listeners {
        Listeners {
            groups: Vec::with_capacity(members / LEAST_MEMBERS),
            partings: Vec::with_capacity(members / LEAST_MEMBERS),
            may_have_twins: false,
        }
    }

    /// Takes over what `shorter` holds; holds nothing itself yet.
    pub fn take_over(&mut self, shorter: &mut Listeners) {
        self.groups.append(&mut shorter.groups);
        self.may_have_twins = shorter.may_have_twins;
    }

    /// The places of those whose streams are sent to groups.
    pub fn leaders(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flatten().map(|group| group.leader)
    }

    /// Makes a member independent of its group, if it is in one: the stream it has heard goes on as
    /// its own. Who is left alone in the group is independent too.
    pub fn split(&mut self, list: &mut [Member], place: usize) {
        let Hearing::Grouped(number) = list[place].hearing else {
            return;
        };
        let has_led = self.group(number).is_some_and(|it| it.leader == place);
        if let Some(leader) = self.leave(list, place)
            && !has_led
        {
            copy(list, leader, place);
        }
    }

    /// Makes a member independent of its group without the stream that it has heard. Gives the place of the member whose
    /// stream that is now.
    fn leave(&mut self, list: &mut [Member], place: usize) -> Option<usize> {
        let Hearing::Grouped(number) = list[place].hearing else {
            return None;
        };
        list[place].hearing = Hearing::Private { settled_ms: 0 };
        let slot = self.groups.get_mut(usize::from(number.0))?;
        let group = slot.as_mut()?;
        group.members -= 1;
        if group.leader == place {
            group.leader = bequeath(list, place, number)?;
        }
        let Group {
            key,
            leader,
            members,
            settled_ms,
        } = *group;
        if members < LEAST_MEMBERS {
            *slot = None;
            let goes_on = list[leader].mix_key() == key.mix;
            list[leader].hearing = Hearing::Private {
                settled_ms: if goes_on {
                    settled_ms.min(HANGOVER_MS)
                } else {
                    0
                },
            };
            while self.groups.pop_if(|group| group.is_none()).is_some() {}
        }
        Some(leader)
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
        let Hearing::Grouped(number) = list[place].hearing else {
            return Ok(spare);
        };
        let Some(Group { key, leader, .. }) = self.group(number) else {
            return Err(spare);
        };
        let is_needed = match leader == place {
            true => !list[place].keeps_stream(),
            false => list[place].participant.listener.is_none(),
        };
        if !is_needed {
            self.split(list, place);
            return Ok(spare);
        }
        let tick = list[place].participant.tick;
        let fits = |spare: &Listener| *spare.recipe() == key.recipe && spare.tick() == tick;
        if !spare.as_deref().is_some_and(fits) {
            return Err(spare);
        }
        if leader != place {
            list[place].participant.listener = spare;
            self.split(list, place);
            return Ok(None);
        }
        let leader = self.leave(list, place);
        if list[place].participant.listener.is_some() {
            return Ok(spare);
        }
        // Its stream is that of its successor now.
        list[place].participant.listener = spare;
        if let Some(leader) = leader {
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

    /// Draws the consequences of what everybody hears this tick, before anybody is given a mix: splits, and merges.
    /// Streams that nobody will need any more are given back.
    ///
    /// - `has_changed`: other personal gains act than in the last tick.
    pub fn regroup(
        &mut self,
        list: &mut [Member],
        turn: Turn,
        has_changed: bool,
        sink: &mut dyn Sink,
    ) {
        self.partings.clear();
        self.follow_leaders(list);
        let mut waiting = 0;
        for place in 0..list.len() {
            let member = &mut list[place];
            let apart = member.hears_apart();
            let mix = member.mix_key();
            let is_private = matches!(member.hearing, Hearing::Private { .. });
            let is_changing = is_private && member.is_changing();
            match &mut member.hearing {
                Hearing::Deaf => {}
                Hearing::Grouped(_) if apart => self.split(list, place),
                Hearing::Grouped(number) => {
                    let number = *number;
                    if has_changed && self.group(number).is_some_and(|it| it.key.mix != mix) {
                        if let Some(unneeded) = self.part(list, place, number) {
                            sink.retired(Retired::owned(unneeded));
                        }
                        continue;
                    }
                    // A member without a stream to go on with is given one from outside.
                    let is_able = member.keeps_stream() && is_looked_at(place, turn);
                    if is_able && self.reports_other_loss(member, number) {
                        self.split(list, place);
                    }
                }
                Hearing::Private { settled_ms } if apart => *settled_ms = 0,
                Hearing::Private { settled_ms } if is_changing && waiting < MAX_WAITING => {
                    *settled_ms = 0;
                    waiting += 1;
                }
                Hearing::Private { settled_ms } => {
                    let before_ms = *settled_ms;
                    *settled_ms = before_ms.saturating_add(member.participant.tick.ms());
                    member.may_wait &= before_ms < HANGOVER_MS;
                    let waits = before_ms < HANGOVER_MS && !member.may_wait;
                    waiting += usize::from(waits);
                    let wait = Wait {
                        before_ms,
                        is_cut_short: waits && waiting > MAX_WAITING,
                    };
                    if let Some(unneeded) = self.merge(list, place, turn, wait) {
                        sink.retired(Retired::owned(unneeded));
                    }
                }
            }
        }
        if self.may_have_twins {
            self.merge_twins(list, turn, sink);
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

    fn group(&self, number: GroupNo) -> Option<Group> {
        *self.groups.get(usize::from(number.0))?
    }

    /// Whether the loss that the member's receiver reports is of another class than its group's.
    fn reports_other_loss(&self, member: &Member, number: GroupNo) -> bool {
        let group = self.group(number);
        group.is_some_and(|group| group.key.loss_percent != loss_of(member, &group.key.recipe))
    }

    /// Moves a member that contributes nothing to the group of its key, if it is time; founds the
    /// group with another one if there is none. Gives back the stream that is not needed any more, if
    /// there is one.
    fn merge(
        &mut self,
        list: &mut [Member],
        place: usize,
        turn: Turn,
        wait: Wait,
    ) -> Option<Box<Listener>> {
        let key = key_of(&list[place])?;
        let is_its = |group: &Option<Group>| group.is_some_and(|group| group.key == key);
        if let Some(at) = self.groups.iter().position(is_its) {
            let Group {
                leader, settled_ms, ..
            } = self.groups[at]?;
            if wait.before_ms == 0 {
                begin_like(list, leader, place);
            }
            let may = hears_as(&list[leader], &list[place]) || !list[leader].is_changing();
            let merge = match wait.merge() {
                Merge::Settled if settled_ms < HANGOVER_MS => Merge::Asleep,
                merge => merge,
            };
            let is_time = may && may_merge(list, place, leader, turn, merge);
            return is_time.then(|| self.join(list, place, at))?;
        }
        let mate = find_mate(list, place, &key, turn, wait)?;
        // Who has heard his stream for longer goes on hearing it.
        let (leader, other) = match settled_ms(&list[mate]) > settled_ms(&list[place]) {
            true => (mate, place),
            false => (place, mate),
        };
        let at = self.found(list, leader, key, HANGOVER_MS)?;
        self.join(list, other, at)
    }

    /// Makes a member's stream that of a new group; the number of it, if there is a place.
    ///
    /// - `settled_ms`: what to count as the time for which both have heard what the key says.
    fn found(
        &mut self,
        list: &mut [Member],
        leader: usize,
        key: Key,
        settled_ms: u32,
    ) -> Option<usize> {
        let at = match self.groups.iter().position(Option::is_none) {
            Some(at) => at,
            None if self.groups.len() < self.groups.capacity() => self.groups.len(),
            None => return None,
        };
        list[leader].hearing = Hearing::Grouped(GroupNo(u16::try_from(at).ok()?));
        let group = Some(Group {
            key,
            leader,
            members: 1,
            settled_ms,
        });
        match self.groups.get_mut(at) {
            Some(place) => *place = group,
            None => self.groups.push(group),
        }
        Some(at)
    }

    /// Lets a member hear what a group hears. Gives back the stream it does not need any more.
    fn join(&mut self, list: &mut [Member], place: usize, at: usize) -> Option<Box<Listener>> {
        let group = self.groups[at].as_mut()?;
        list[place].hearing = list[group.leader].hearing;
        group.members += 1;
        if list[place].keeps_stream() {
            return None;
        }
        if list[group.leader].keeps_stream() {
            // A member for whom something changes in this tick cannot lead the others.
            if !list[place].is_changing() {
                copy(list, group.leader, place);
                group.leader = place;
            }
            return None;
        }
        list[place].participant.listener.take()
    }
}

/// What a member's own stream is made for; `None` while another thread has it.
fn key_of(member: &Member) -> Option<Key> {
    let recipe = *member.participant.listener.as_ref()?.recipe();
    Some(Key {
        mix: member.mix_key(),
        recipe,
        loss_percent: loss_of(member, &recipe),
    })
}

/// Leaves the stream of one who has left a group to another who is in it; to whom.
fn bequeath(list: &mut [Member], place: usize, number: GroupNo) -> Option<usize> {
    let is_heir = |member: &Member| member.hearing == Hearing::Grouped(number);
    let is_poor = |member: &Member| is_heir(member) && !member.keeps_stream();
    let heir = list.iter().position(is_poor);
    let heir = heir.or_else(|| list.iter().position(is_heir))?;
    if list[heir].participant.listener.is_some() {
        copy(list, place, heir);
    } else {
        // The leader cannot talk either: it is on its way out, or about to get another.
        list[heir].participant.listener = list[place].participant.listener.take();
    }
    Some(heir)
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

/// Lets the stream of a member who has heard nothing yet begin with the ceiling of a group's, so that
/// the two do not differ by it when they are to merge.
fn begin_like(list: &mut [Member], leader: usize, place: usize) {
    let Ok([leader, member]) = list.get_disjoint_mut([leader, place]) else {
        return;
    };
    if let (Some(leader), Some(listener)) = (
        &leader.participant.listener,
        &mut member.participant.listener,
    ) {
        listener.begin_like(leader);
    }
}

/// The class of loss its stream is prepared for: only Opus can be.
fn loss_of(member: &Member, recipe: &Recipe) -> u8 {
    match recipe.codec {
        Codec::Opus => loss_class(member.participant.shared.settings.loss_percent()),
        Codec::Pcmu | Codec::Pcma => 0,
    }
}

/// Reports of loss come every few seconds; each member of a group is asked once in
/// [`LOOK_TICKS`].
fn is_looked_at(place: usize, turn: Turn) -> bool {
    (turn.tick.0 + place as u64).is_multiple_of(LOOK_TICKS)
}

/// A group of one would save nothing, and hold a place.
const LEAST_MEMBERS: usize = 2;

/// So many members may hear a private stream at once while they wait for their merge: each costs an
/// encode, and a crowd that joins while somebody talks would cost everybody else their tick. A member
/// beyond these is sent the group's packets at once, from the one on that is being gathered, whatever
/// the ceilings are: it hears one rough packet.
const MAX_WAITING: usize = 16;

/// About a second.
const LOOK_TICKS: u64 = 50;
