//! Decides when members that hear the same mix may share one encoded stream.
//!
//! Part of [`Groups`](super::Groups), which keeps the groups; nothing here changes them.

use super::{Hearing, Key, key_of};
use crate::output::TickInstant;
use crate::room::members::Member;

/// How long a member has heard its own stream while waiting to share a stream with others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub before_ms: u32,
    /// Too many other members wait, so this member merges at once.
    pub is_cut_short: bool,
}

/// The condition for one stream to take the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// Both streams are asleep: nothing of the change can be heard.
    Asleep,
    /// Both streams have been fed the same mix for long enough: no packet is partly gathered and
    /// the limiter gains are alike, or both streams are asleep.
    Settled,
    /// No condition: staying apart costs all other members more than one rough packet.
    AtOnce,
}

impl Wait {
    pub fn is_over(self) -> bool {
        self.is_cut_short || self.before_ms >= HANGOVER_MS
    }

    /// The condition under which the member may merge.
    pub fn merge(self) -> Merge {
        match self.before_ms >= HANGOVER_MS {
            _ if self.is_cut_short => Merge::AtOnce,
            true => Merge::Settled,
            false => Merge::Asleep,
        }
    }

    /// Whether to look for other members that hear the same mix. Such members mostly appear soon
    /// after the wait is over, so later looks are rare.
    fn looks(self, place: usize, instant: TickInstant) -> bool {
        self.before_ms < 2 * HANGOVER_MS
            || (instant.tick.0 + place as u64).is_multiple_of(SEEK_TICKS)
    }
}

/// Finds another member whose private stream has an equal group key, if both may share one stream
/// from now on.
pub(super) fn find_partner(
    list: &[Member],
    place: usize,
    key: &Key,
    instant: TickInstant,
    wait: Wait,
) -> Option<usize> {
    let own = list[place].participant.stream.as_ref()?;
    if !wait.looks(place, instant) || !wait.is_over() && !own.is_asleep() {
        return None;
    }
    let is_mate = |(other, member): &(usize, &Member)| {
        let Hearing::Private { settled_ms } = member.hearing else {
            return false;
        };
        let merge = match wait.merge() {
            Merge::Settled if settled_ms < HANGOVER_MS => Merge::Asleep,
            merge => merge,
        };
        *other != place
            && !member.hears_apart()
            && hears_as(member, &list[place])
            && key_of(member).is_some_and(|it| it == *key)
            && may_merge(list, *other, place, instant, merge)
    };
    let mut members = list.iter().enumerate();
    members.find(is_mate).map(|(other, _)| other)
}

/// Whether a listener of one of two streams may continue with the other.
pub(super) fn may_merge(
    list: &[Member],
    one: usize,
    other: usize,
    instant: TickInstant,
    merge: Merge,
) -> bool {
    let [one, other] = [one, other].map(|place| list[place].participant.stream.as_deref());
    let Some((one, other)) = one.zip(other) else {
        return false;
    };
    match merge {
        Merge::AtOnce => true,
        _ if one.is_asleep() && other.is_asleep() => true,
        Merge::Asleep => false,
        Merge::Settled => one.can_merge_into(other, instant),
    }
}

pub(super) fn settled_ms(member: &Member) -> u32 {
    match member.hearing {
        Hearing::Private { settled_ms } => settled_ms,
        Hearing::Nothing | Hearing::Grouped(_) => 0,
    }
}

/// Whether two members of equal group key hear the same mix even in a tick in which lists change.
pub(super) fn hears_as(one: &Member, other: &Member) -> bool {
    if one.participant.gain_change.is_some() || other.participant.gain_change.is_some() {
        return false;
    }
    match (
        &one.participant.monitor_change,
        &other.participant.monitor_change,
    ) {
        (None, None) => true,
        (Some(one), Some(other)) => match (&one.monitors, &other.monitors) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_like(other),
            _ => false,
        },
        _ => false,
    }
}

/// How long a private stream is fed the group's mix before it may merge: ten packets of the usual
/// length. Two packets are enough for the far decoder; the rest keeps talkers who pause between
/// words from changing to and fro.
pub(crate) const HANGOVER_MS: u32 = 200;

/// How often a member that has long been alone looks for others, ticks: each look visits all
/// members. 13 has no factor in common with the ticks of any packet, so that some looks fall on the
/// end of a packet.
const SEEK_TICKS: u64 = 13;
