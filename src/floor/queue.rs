//! The floor queue: waiting requests, the next one first.

use mixer::ParticipantId;

use super::{Asked, Position, Precedence};

/// One waiting floor request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) participant: ParticipantId,
    pub(super) precedence: Precedence,
    /// Whether the request precedes all requests that are not called: a moderator has granted it,
    /// or it was made in a room of mode `cut-in`.
    pub(super) called: bool,
    pub(super) asked: Asked,
}

/// The floor queue, ordered by called requests first, then by precedence, then by arrival.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Waiting>,
}

impl Queue {
    /// Inserts a request behind all requests of higher or equal rank.
    pub(super) fn insert(&mut self, new: Waiting) {
        let key = |waiting: &Waiting| (waiting.called, waiting.precedence);
        let at = self
            .waiting
            .partition_point(|waiting| key(waiting) >= key(&new));
        self.waiting.insert(at, new);
    }

    /// Removes and returns a participant's request.
    pub(super) fn remove(&mut self, participant: ParticipantId) -> Option<Waiting> {
        let at = self.find(participant)?;
        Some(self.waiting.remove(at))
    }

    /// Updates the waiting request of a participant that requests again. After a request by
    /// message, silence no longer releases the floor; a request of higher precedence moves up
    /// behind the requests of the same precedence.
    pub(super) fn raise(
        &mut self,
        participant: ParticipantId,
        precedence: Precedence,
        asked: Asked,
    ) {
        let Some(at) = self.find(participant) else {
            return;
        };
        let waiting = &mut self.waiting[at];
        if asked == Asked::ByMessage {
            waiting.asked = asked;
        }
        if precedence > waiting.precedence {
            let waiting = self.waiting.remove(at);
            self.insert(Waiting {
                precedence,
                ..waiting
            });
        }
    }

    /// Calls a participant's request to the front. A request that was called earlier becomes an
    /// ordinary request again, behind those of the same precedence.
    pub(super) fn call(&mut self, participant: ParticipantId) {
        let is_other = |waiting: &mut Waiting| waiting.called && waiting.participant != participant;
        let others: Vec<Waiting> = self.waiting.extract_if(.., is_other).collect();
        for other in others {
            self.insert(Waiting {
                called: false,
                ..other
            });
        }
        if let Some(waiting) = self.remove(participant) {
            self.insert(Waiting {
                called: true,
                ..waiting
            });
        }
    }

    pub(super) fn first(&self) -> Option<&Waiting> {
        self.waiting.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns a participant's position in the queue, if it waits.
    pub(super) fn position(&self, participant: ParticipantId) -> Option<Position> {
        let at = self.find(participant)?;
        Some(Position {
            position: at + 1,
            size: self.len(),
        })
    }

    pub(super) fn contains(&self, participant: ParticipantId) -> bool {
        self.find(participant).is_some()
    }

    fn find(&self, participant: ParticipantId) -> Option<usize> {
        self.iter()
            .position(|waiting| waiting.participant == participant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::Tier;

    fn waiting(id: u32, priority: u8) -> Waiting {
        Waiting {
            participant: ParticipantId(id),
            precedence: Precedence {
                tier: Tier::Normal,
                priority,
            },
            called: false,
            asked: Asked::ByMessage,
        }
    }

    fn order(queue: &Queue) -> Vec<u32> {
        queue.iter().map(|it| it.participant.0).collect()
    }

    #[test]
    fn floor_queue_is_ordered_by_moderator_grant_then_priority_then_arrival() {
        let mut queue = Queue::default();
        for (id, priority) in [(1, 0), (2, 5), (3, 0), (4, 5)] {
            queue.insert(waiting(id, priority));
        }
        assert_eq!(order(&queue), [2, 4, 1, 3]);
        queue.call(ParticipantId(3));
        assert_eq!(order(&queue), [3, 2, 4, 1]);
        queue.raise(ParticipantId(1), waiting(1, 5).precedence, Asked::ByMessage);
        assert_eq!(order(&queue), [3, 2, 4, 1]);
        queue.raise(ParticipantId(1), waiting(1, 6).precedence, Asked::ByMessage);
        assert_eq!(order(&queue), [3, 1, 2, 4]);
        queue.raise(ParticipantId(1), waiting(1, 2).precedence, Asked::ByMessage);
        let position = queue.position(ParticipantId(2)).expect("it waits");
        assert_eq!((position.position, position.size), (3, 4));
        assert!(queue.remove(ParticipantId(9)).is_none());
    }
}
