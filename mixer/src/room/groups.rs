//! Listener groups: members of a room that share one encoded stream.
//!
//! All listeners that contribute nothing hear the same mix. Those of equal encoding and similar
//! reported loss are sent the same packets, made by the stream of one of them, the leader. A member
//! that begins to contribute goes on with a copy of that stream (a split, exact to the last bit of
//! the far decoder's state). A member that has fallen silent, and has heard the group's mix for
//! 200 ms, is sent the group's packets again (a merge: the far decoder meets another encoder that
//! has been fed the same mix; the difference stays below the codec's own distortion).
//!
//! A newcomer's decoder is cold, while a shared encoder relies on earlier packets. So a newcomer
//! hears a fresh stream of its own for 200 ms and then merges. In a crowd of newcomers only the
//! first do.
//!
//! Members with personal gains hear another mix than their group as soon as a talker they name is
//! heard. They part together, with a copy of the group's stream, and merge again once the mixes
//! have been equal for 200 ms.
//!
//! A group has at least two members. A member that hears a mix of its own keeps its own stream, as
//! a contributor does. So there is a place for every possible group, however many listeners hear
//! mixes that nobody shares.
//!
//! Members that can talk or have personal gains keep their own stream while grouped, so that
//! parting needs no allocation; a leader that leaves copies the state of its stream to the stream
//! of a successor. Other members give their stream up, which is most of a listener's memory. A
//! group with such members is led by one of them, whose stream goes to another when the leader
//! leaves. Within the reserved capacity nothing here allocates.

mod merging;
mod parting;

pub(crate) use self::merging::HANGOVER_MS;
use self::merging::{Merge, Wait, find_partner, hears_as, may_merge, settled_ms};
use self::parting::Parting;
use crate::codec::Codec;
use crate::codec::{Encoding, loss_class};
use crate::mix::recipe::MixKey;
use crate::output::Retired;
use crate::output::Sink;
use crate::output::{OutputStream, TickInstant, Tuning};
use crate::room::members::Member;

/// Which stream a member hears: none, that of a listener group, or its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// The member is sent nothing.
    Nothing,
    /// The member is sent the packets of this listener group.
    Grouped(GroupNo),
    /// The member has an encoder of its own.
    Private {
        /// For how long the member's mix has been one that a group can hear, saturating.
        settled_ms: u32,
    },
}

/// The number of a listener group within its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupNo(u16);

/// What the members of a listener group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    /// The mix that all members hear.
    mix: MixKey,
    /// How that mix is encoded.
    encoding: Encoding,
    /// Class of the loss that the members' receivers report, percent; the encoder prepares for it.
    loss_percent: u8,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    key: Key,
    /// Place of the member whose stream is sent to all members.
    leader: usize,
    /// Number of members, at least two.
    members: usize,
    /// For how long the group has heard the mix of its key, saturating.
    settled_ms: u32,
}

/// The listener groups of one room.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Indexed by group number. A group keeps its number as long as it exists.
    groups: Vec<Option<Group>>,
    /// The partings of this tick.
    partings: Vec<Parting>,
    /// Two groups may now hear equal mixes, so that they could be united.
    may_have_twins: bool,
}

impl Groups {
    /// Creates an empty collection, with places for the groups that `members` members can form.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_capacity(members: usize) -> Groups {
        Groups {
            groups: Vec::with_capacity(members / LEAST_MEMBERS),
            partings: Vec::with_capacity(members / LEAST_MEMBERS),
            may_have_twins: false,
        }
    }

    /// Moves all groups out of `shorter` into this collection, which must be empty.
    pub fn take_over(&mut self, shorter: &mut Groups) {
        self.groups.append(&mut shorter.groups);
        self.may_have_twins = shorter.may_have_twins;
    }

    /// The places of the leaders, whose streams are sent to their listener groups.
    pub fn leaders(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flatten().map(|group| group.leader)
    }

    /// Takes a member out of its listener group, if it is in one. The member's own stream continues
    /// the group's stream. A group left with one member is dissolved.
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

    /// Takes a member out of its listener group without copying the group's stream. Returns the
    /// place of the member that holds that stream now.
    fn leave(&mut self, list: &mut [Member], place: usize) -> Option<usize> {
        let Hearing::Grouped(number) = list[place].hearing else {
            return None;
        };
        list[place].hearing = Hearing::Private { settled_ms: 0 };
        let slot = self.groups.get_mut(usize::from(number.0))?;
        let group = slot.as_mut()?;
        group.members -= 1;
        if group.leader == place {
            group.leader = hand_over(list, place, number)?;
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

    /// Takes a member out of its listener group like [`split`](Groups::split), and makes sure
    /// that it has a stream of its own afterwards. A listen-only member may need `spare`, a stream
    /// built in advance with the group's encoding. Returns `spare` if it is not needed.
    ///
    /// # Errors
    /// Returns `spare` if the member needs a stream and `spare` is missing or does not fit; nothing
    /// has changed.
    pub fn split_with(
        &mut self,
        list: &mut [Member],
        place: usize,
        spare: Option<Box<OutputStream>>,
    ) -> Result<Option<Box<OutputStream>>, Option<Box<OutputStream>>> {
        let Hearing::Grouped(number) = list[place].hearing else {
            return Ok(spare);
        };
        let Some(Group { key, leader, .. }) = self.group(number) else {
            return Err(spare);
        };
        let is_needed = match leader == place {
            true => !list[place].keeps_stream(),
            false => list[place].participant.stream.is_none(),
        };
        if !is_needed {
            self.split(list, place);
            return Ok(spare);
        }
        let tick = list[place].participant.tick;
        let fits = |spare: &OutputStream| *spare.encoding() == key.encoding && spare.tick() == tick;
        if !spare.as_deref().is_some_and(fits) {
            return Err(spare);
        }
        if leader != place {
            list[place].participant.stream = spare;
            self.split(list, place);
            return Ok(None);
        }
        let leader = self.leave(list, place);
        if list[place].participant.stream.is_some() {
            return Ok(spare);
        }
        // The member's former stream belongs to its successor as leader now.
        list[place].participant.stream = spare;
        if let Some(leader) = leader {
            copy(list, leader, place);
        }
        Ok(None)
    }

    /// Takes a member out of its listener group; from now on the member is sent nothing.
    pub fn dismiss(&mut self, list: &mut [Member], place: usize) {
        self.split(list, place);
        list[place].hearing = Hearing::Nothing;
    }

    /// Records that the member at place `from` has moved to place `to`.
    pub fn moved(&mut self, from: usize, to: usize) {
        for group in self.groups.iter_mut().flatten() {
            if group.leader == from {
                group.leader = to;
            }
        }
    }

    /// Splits and merges listener groups according to what every member hears this tick; called
    /// before the mixes are rendered. Retires streams that are no longer needed.
    ///
    /// - `has_changed`: other personal gains act than in the last tick.
    pub fn regroup(
        &mut self,
        list: &mut [Member],
        instant: TickInstant,
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
                Hearing::Nothing => {}
                Hearing::Grouped(_) if apart => self.split(list, place),
                Hearing::Grouped(number) => {
                    let number = *number;
                    if has_changed && self.group(number).is_some_and(|it| it.key.mix != mix) {
                        if let Some(unneeded) = self.part(list, place, number) {
                            sink.retired(Retired::owned(unneeded));
                        }
                        continue;
                    }
                    // A member that gave its stream up can only split with a stream from outside.
                    let is_able = member.keeps_stream() && is_looked_at(place, instant);
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
                    if let Some(unneeded) = self.merge(list, place, instant, wait) {
                        sink.retired(Retired::owned(unneeded));
                    }
                }
            }
        }
        if self.may_have_twins {
            self.merge_twins(list, instant, sink);
        }
    }

    /// Tunes the stream of every listener group to the group's loss class and `complexity_cap`.
    pub fn tune(&self, list: &mut [Member], complexity_cap: u8) {
        for group in self.groups.iter().flatten() {
            if let Some(stream) = &mut list[group.leader].participant.stream {
                stream.tune(Tuning {
                    loss_percent: group.key.loss_percent,
                    complexity_cap,
                });
            }
        }
    }

    fn group(&self, number: GroupNo) -> Option<Group> {
        *self.groups.get(usize::from(number.0))?
    }

    /// Whether the member's receiver reports loss of another class than its listener group's.
    fn reports_other_loss(&self, member: &Member, number: GroupNo) -> bool {
        let group = self.group(number);
        group.is_some_and(|group| group.key.loss_percent != loss_of(member, &group.key.encoding))
    }

    /// Moves a member from its private stream into the listener group of equal key, if it may merge
    /// now. If there is no such group, founds it together with another member. Returns the stream
    /// that is no longer needed.
    fn merge(
        &mut self,
        list: &mut [Member],
        place: usize,
        instant: TickInstant,
        wait: Wait,
    ) -> Option<Box<OutputStream>> {
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
            let is_time = may && may_merge(list, place, leader, instant, merge);
            return is_time.then(|| self.join(list, place, at))?;
        }
        let partner = find_partner(list, place, &key, instant, wait)?;
        // The member that has heard its stream for longer keeps hearing it.
        let (leader, other) = match settled_ms(&list[partner]) > settled_ms(&list[place]) {
            true => (partner, place),
            false => (place, partner),
        };
        let at = self.found(list, leader, key, HANGOVER_MS)?;
        self.join(list, other, at)
    }

    /// Founds a listener group whose stream is that of member `leader`; returns its number, if a
    /// place is free.
    ///
    /// - `settled_ms`: for how long to count the mix as the one that the key says.
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

    /// Adds a member to a listener group. Returns the stream that the member no longer needs.
    fn join(&mut self, list: &mut [Member], place: usize, at: usize) -> Option<Box<OutputStream>> {
        let group = self.groups[at].as_mut()?;
        list[place].hearing = list[group.leader].hearing;
        group.members += 1;
        if list[place].keeps_stream() {
            return None;
        }
        if list[group.leader].keeps_stream() {
            // A member whose gains or monitored rooms change in this tick cannot lead the others.
            if !list[place].is_changing() {
                copy(list, group.leader, place);
                group.leader = place;
            }
            return None;
        }
        list[place].participant.stream.take()
    }
}

/// The key of the listener group that a member's own stream could serve; `None` while another
/// thread encodes that stream.
fn key_of(member: &Member) -> Option<Key> {
    let encoding = *member.participant.stream.as_ref()?.encoding();
    Some(Key {
        mix: member.mix_key(),
        encoding,
        loss_percent: loss_of(member, &encoding),
    })
}

/// Passes the stream of a leader that leaves its listener group to another member; returns the new
/// leader's place.
fn hand_over(list: &mut [Member], place: usize, number: GroupNo) -> Option<usize> {
    let is_heir = |member: &Member| member.hearing == Hearing::Grouped(number);
    let has_no_stream = |member: &Member| is_heir(member) && !member.keeps_stream();
    let heir = list.iter().position(has_no_stream);
    let heir = heir.or_else(|| list.iter().position(is_heir))?;
    if list[heir].participant.stream.is_some() {
        copy(list, place, heir);
    } else {
        // The leader keeps no stream either: it is leaving, or is about to be given another.
        list[heir].participant.stream = list[place].participant.stream.take();
    }
    Some(heir)
}

/// Copies the state of one member's stream to another member's stream.
fn copy(list: &mut [Member], from: usize, to: usize) {
    let Ok([from, to]) = list.get_disjoint_mut([from, to]) else {
        return;
    };
    if let (Some(from), Some(to)) = (&from.participant.stream, &mut to.participant.stream) {
        let copied = to.follow(from);
        debug_assert!(copied, "a group has one encoding");
    }
}

/// Copies the limiter state of a listener group's stream to the stream of a member that has heard
/// nothing yet, so that both limiters are alike when the member merges.
fn begin_like(list: &mut [Member], leader: usize, place: usize) {
    let Ok([leader, member]) = list.get_disjoint_mut([leader, place]) else {
        return;
    };
    if let (Some(leader), Some(stream)) =
        (&leader.participant.stream, &mut member.participant.stream)
    {
        stream.begin_like(leader);
    }
}

/// The class of loss that the member's stream is prepared for, percent; 0 for codecs other than
/// Opus.
fn loss_of(member: &Member, encoding: &Encoding) -> u8 {
    match encoding.codec {
        Codec::Opus => loss_class(member.participant.shared.settings.loss_percent()),
        Codec::Pcmu | Codec::Pcma => 0,
    }
}

/// Whether it is this member's turn to have its reported loss checked, once in [`LOOK_TICKS`]. Loss
/// reports come only every few seconds.
fn is_looked_at(place: usize, instant: TickInstant) -> bool {
    (instant.tick.0 + place as u64).is_multiple_of(LOOK_TICKS)
}

/// Fewest members of a listener group: a group of one would save nothing and occupy a place.
const LEAST_MEMBERS: usize = 2;

/// Largest number of members that may hear streams of their own at once while they wait to join a
/// listener group. Each such stream costs an encode, so a crowd that joins while somebody talks
/// would cost everybody else their tick. Further members are sent the group's packets at once,
/// beginning with the packet that is being gathered, whatever the limiter gains are: they hear one
/// rough packet.
const MAX_WAITING: usize = 16;

/// Ticks between two checks of one member's reported loss: 1 s at ticks of 20 ms.
const LOOK_TICKS: u64 = 50;
