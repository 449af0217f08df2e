//! The participants who talked lately in a room.

use crate::schedule::MOST_MET;
use crate::units::{ParticipantId, Tick};

/// The last talkers and the tick in which each was last heard, the most recent first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RecentTalkers([Option<(ParticipantId, Tick)>; MOST_MET]);

impl RecentTalkers {
    /// Records that `talker` is the loudest participant heard at `now`.
    pub fn heard(&mut self, talker: ParticipantId, now: Tick) {
        let is_theirs = |entry: &Option<_>| entry.is_none_or(|(id, _)| id == talker);
        let place = self.0.iter().position(is_theirs);
        self.0[..=place.unwrap_or(MOST_MET - 1)].rotate_right(1);
        self.0[0] = Some((talker, now));
    }

    /// The participant heard most recently; `None` before anybody was heard.
    pub fn last(&self) -> Option<ParticipantId> {
        self.0[0].map(|(talker, _)| talker)
    }

    /// The participants heard at `since` or later, the most recent first.
    pub fn since(&self, since: Tick) -> impl Iterator<Item = ParticipantId> {
        let entries = self.0.iter().flatten();
        let lately = entries.filter(move |(_, heard)| heard.0 >= since.0);
        lately.map(|(talker, _)| *talker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_talkers_are_ordered_by_when_they_were_last_heard() {
        let mut talkers = RecentTalkers::default();
        assert_eq!(talkers.last(), None);
        let order = |talkers: &RecentTalkers, since| {
            let ids = talkers.since(Tick(since)).map(|id| id.0);
            ids.collect::<Vec<_>>()
        };
        for (now, talker, want) in [
            (1, 7, vec![7]),
            (2, 7, vec![7]),
            (3, 8, vec![8, 7]),
            (4, 9, vec![9, 8, 7]),
            (5, 7, vec![7, 9, 8]),
            (6, 5, vec![5, 7, 9]),
        ] {
            talkers.heard(ParticipantId(talker), Tick(now));
            assert_eq!(order(&talkers, 0), want, "{talker} at {now}");
        }
        assert_eq!(talkers.last(), Some(ParticipantId(5)));
        assert_eq!(order(&talkers, 5), [5, 7]);
        assert_eq!(order(&talkers, 7), [0; 0]);
    }
}
