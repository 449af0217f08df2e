//! Parts groups whose members begin to hear different mixes, and unites groups with equal mixes.
//!
//! Part of [`Groups`]; both happen only to members with personal gains.

use super::merging::{HANGOVER_MS, Merge, may_merge};
use super::{Group, GroupNo, Groups, Hearing, Key};
use crate::mix::recipe::MixKey;
use crate::output::Retired;
use crate::output::Sink;
use crate::output::{OutputStream, TickInstant};
use crate::room::members::Member;

/// Members of one listener group that hear another mix than the group from this tick on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parting {
    from: GroupNo,
    mix: MixKey,
    /// Place of the member that parted first.
    first: usize,
}

impl Groups {
    /// Sets the mix of each listener group to its leader's mix of this tick; members that hear
    /// another mix will part.
    pub(super) fn follow_leaders(&mut self, list: &[Member]) {
        for group in self.groups.iter_mut().flatten() {
            let leader = &list[group.leader];
            if group.key.mix == leader.mix_key() {
                let tick_ms = leader.participant.tick.ms();
                group.settled_ms = group.settled_ms.saturating_add(tick_ms);
            } else {
                group.key.mix = leader.mix_key();
                group.settled_ms = 0;
                self.may_have_twins = true;
            }
        }
    }

    /// Takes a member out of its listener group, whose mix differs from the member's from this tick
    /// on.
    ///
    /// The first such member goes on with a copy of the group's stream. Other members with the
    /// first one's mix share that copy, since they have heard the same stream before. Returns the
    /// stream that is no longer needed.
    pub(super) fn part(
        &mut self,
        list: &mut [Member],
        place: usize,
        from: GroupNo,
    ) -> Option<Box<OutputStream>> {
        let mix = list[place].mix_key();
        let is_alike = |parting: &&Parting| parting.from == from && parting.mix == mix;
        let first = self.partings.iter().find(is_alike).map(|it| it.first);
        let key = self.group(from).map(|group| Key { mix, ..group.key });
        let at = match first.map(|first| list[first].hearing) {
            Some(Hearing::Grouped(number)) => Some(usize::from(number.0)),
            Some(Hearing::Private { .. }) => first
                .zip(key)
                .and_then(|(first, key)| self.found(list, first, key, 0)),
            Some(Hearing::Nothing) | None => None,
        };
        let Some(at) = at else {
            self.split(list, place);
            if self.partings.len() < self.partings.capacity() {
                let first = place;
                self.partings.push(Parting { from, mix, first });
            }
            return None;
        };
        self.may_have_twins = true;
        self.leave(list, place);
        self.join(list, place, at)
    }

    /// Unites listener groups of equal key that have heard the same mix for long enough.
    pub(super) fn merge_twins(
        &mut self,
        list: &mut [Member],
        instant: TickInstant,
        sink: &mut dyn Sink,
    ) {
        self.may_have_twins = false;
        for one in 0..self.groups.len() {
            for other in one + 1..self.groups.len() {
                let [Some(a), Some(b)] =
                    [one, other].map(|at| self.groups.get(at).copied().flatten())
                else {
                    continue;
                };
                if a.key != b.key {
                    continue;
                }
                self.may_have_twins = true;
                let merge = match a.settled_ms.min(b.settled_ms) >= HANGOVER_MS {
                    true => Merge::Settled,
                    false => Merge::Asleep,
                };
                let is_changing = list[a.leader].is_changing() || list[b.leader].is_changing();
                if !is_changing && may_merge(list, a.leader, b.leader, instant, merge) {
                    // A leader that keeps no other stream stays the leader.
                    match list[b.leader].keeps_stream() {
                        true => self.unite(list, one, other, sink),
                        false => self.unite(list, other, one, sink),
                    }
                }
            }
        }
    }

    /// Moves the members of one listener group into another.
    fn unite(&mut self, list: &mut [Member], into: usize, from: usize, sink: &mut dyn Sink) {
        let (Some(to), Some(gone)) = (self.groups[into], self.groups[from]) else {
            return;
        };
        let leader_keeps_stream = list[to.leader].keeps_stream();
        let [hearing, former] = [to.leader, gone.leader].map(|leader| list[leader].hearing);
        for member in list.iter_mut().filter(|member| member.hearing == former) {
            member.hearing = hearing;
            if !member.keeps_stream()
                && !leader_keeps_stream
                && let Some(unneeded) = member.participant.stream.take()
            {
                sink.retired(Retired::owned(unneeded));
            }
        }
        self.groups[from] = None;
        self.groups[into] = Some(Group {
            members: to.members + gone.members,
            ..to
        });
        while self.groups.pop_if(|group| group.is_none()).is_some() {}
    }
}
