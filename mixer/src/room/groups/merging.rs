//! Who waits to share an encode, and with whom he may.
//!
//! Belongs to [`Listeners`](super::Listeners), which keeps the groups; this only looks.

use super::{Hearing, Key, key_of};
use crate::output::Turn;
use crate::room::members::Member;

/// How long a member has heard, from a stream of its own, what others hear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub before_ms: u32,
    /// Too many others wait.
    pub is_cut_short: bool,
}

/// What has to be true of two streams for one to take the place of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// Both are silent for good: nothing can be heard of the change.
    Asleep,
    /// Both have been given the same for long enough: no packet is half gathered and the ceilings
    /// stand alike, or both are asleep.
    Settled,
    /// Nothing: that they stay apart costs everybody else more than one rough packet.
    AtOnce,
}

impl Wait {
    pub fn is_over(self) -> bool {
        self.is_cut_short || self.before_ms >= HANGOVER_MS
    }

    /// When the member may merge.
    pub fn merge(self) -> Merge {
        match self.before_ms >= HANGOVER_MS {
            _ if self.is_cut_short => Merge::AtOnce,
            true => Merge::Settled,
            false => Merge::Asleep,
        }
    }

    /// Whether those who hear the same are looked for: if there were any, that has mostly shown soon after
    /// it was time.
    fn looks(self, place: usize, turn: Turn) -> bool {
        self.before_ms < 2 * HANGOVER_MS || (turn.tick.0 + place as u64).is_multiple_of(SEEK_TICKS)
    }
}

/// Another who hears the same from a stream of its own, if the two may share one from now on.
pub(super) fn find_mate(
    list: &[Member],
    place: usize,
    key: &Key,
    turn: Turn,
    wait: Wait,
) -> Option<usize> {
    let own = list[place].participant.listener.as_ref()?;
    if !wait.looks(place, turn) || !wait.is_over() && !own.is_asleep() {
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
            && may_merge(list, *other, place, turn, merge)
    };
    let mut members = list.iter().enumerate();
    members.find(is_mate).map(|(other, _)| other)
}

/// Whether a member who hears one of two streams may go on with the other.
pub(super) fn may_merge(
    list: &[Member],
    one: usize,
    other: usize,
    turn: Turn,
    merge: Merge,
) -> bool {
    let [one, other] = [one, other].map(|place| list[place].participant.listener.as_deref());
    let Some((one, other)) = one.zip(other) else {
        return false;
    };
    match merge {
        Merge::AtOnce => true,
        _ if one.is_asleep() && other.is_asleep() => true,
        Merge::Asleep => false,
        Merge::Settled => one.can_merge_into(other, turn),
    }
}

pub(super) fn settled_ms(member: &Member) -> u32 {
    match member.hearing {
        Hearing::Private { settled_ms } => settled_ms,
        Hearing::Deaf | Hearing::Grouped(_) => 0,
    }
}

/// Whether two members of one key hear the same in this tick too, in which what they hear may be changing.
pub(super) fn hears_as(one: &Member, other: &Member) -> bool {
    if one.participant.gain_change.is_some() || other.participant.gain_change.is_some() {
        return false;
    }
    match (&one.participant.rescan, &other.participant.rescan) {
        (None, None) => true,
        (Some(one), Some(other)) => match (&one.scan, &other.scan) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_like(other),
            _ => false,
        },
        _ => false,
    }
}

/// How long a private stream is fed what its group's is before the two may become one: ten packets
/// at the usual length. From two on the far decoder is well off; the rest keeps those who pause
/// between words from changing to and fro.
pub(crate) const HANGOVER_MS: u32 = 200;

/// Who has been alone for long looks this seldom for others, which takes a walk over all members; a
/// number that meets every packet's end, whatever its length.
const SEEK_TICKS: u64 = 13;
