//! Who waits to share an encode, and with whom he may.
//!
//! Belongs to [`Listeners`](super::Listeners), which keeps the groups; this only looks.

use super::{Hearing, Key, key_of};
use crate::listener::Turn;
use crate::members::Member;

/// How long a member has heard, from a stream of its own, what others hear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub before_ms: u32,
    /// Too many others wait.
    pub is_cut_short: bool,
}

impl Wait {
    pub fn is_over(self) -> bool {
        self.is_cut_short || self.before_ms >= HANGOVER_MS
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
        let is_over = wait.is_cut_short || wait.is_over() && settled_ms >= HANGOVER_MS;
        *other != place
            && !member.hears_apart()
            && hears_as(member, &list[place])
            && key_of(member).is_some_and(|it| it == *key)
            && may_merge(list, *other, place, turn, is_over)
    };
    let mut members = list.iter().enumerate();
    members.find(is_mate).map(|(other, _)| other)
}

/// Whether who hears one of two streams may go on with the other.
///
/// - `is_over`: both have been given the same for long enough.
pub(super) fn may_merge(
    list: &[Member],
    one: usize,
    other: usize,
    turn: Turn,
    is_over: bool,
) -> bool {
    let [one, other] = [one, other].map(|place| list[place].participant.listener.as_deref());
    let Some((one, other)) = one.zip(other) else {
        return false;
    };
    one.is_asleep() && other.is_asleep() || is_over && one.can_merge_into(other, turn)
}

pub(super) fn settled_ms(member: &Member) -> u32 {
    match member.hearing {
        Hearing::Private { settled_ms } => settled_ms,
        Hearing::Deaf | Hearing::Grouped(_) => 0,
    }
}

/// Whether what it hears is on its way from one scan to another.
pub(super) fn is_changing(member: &Member) -> bool {
    member.participant.rescan.is_some()
}

/// Whether two who are of one key hear the same in this tick too, in which they may be on their way from
/// another scan.
pub(super) fn hears_as(one: &Member, other: &Member) -> bool {
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
pub(super) const HANGOVER_MS: u32 = 200;

/// Who has been alone for long looks this seldom for others, which takes a walk over all members; a
/// number that meets every packet's end, whatever its length.
const SEEK_TICKS: u64 = 13;
