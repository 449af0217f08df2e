//! The places of a room: who is in it, who joins, who is on the way out.
//!
//! As long as there are places, nothing here allocates or frees: participants come and go as boxes,
//! and a longer list comes built.

use core::fmt;

use crate::listener::Listener;
use crate::packet::Sources;
use crate::participant::Participant;
use crate::units::{Level, ParticipantId};

/// The places of a room: as many as were reserved when it was built.
#[derive(Default)]
pub struct Members {
    pub(crate) list: Vec<Box<Participant>>,
    /// Who has something to say this tick; once decided, who is heard, loudest first.
    pub(crate) ranks: Vec<Rank>,
    leaving: usize,
}

/// One who has something to say this tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rank {
    pub member: usize,
    pub id: ParticipantId,
    pub level: Level,
    pub loudness_db: f32,
}

impl Members {
    /// An empty list with places for `capacity`.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_capacity(capacity: usize) -> Members {
        Members {
            list: Vec::with_capacity(capacity),
            ranks: Vec::with_capacity(capacity),
            leaving: 0,
        }
    }

    /// Places, taken and free.
    pub fn capacity(&self) -> usize {
        self.list.capacity().min(self.ranks.capacity())
    }

    /// How many are in, those on the way out included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Everyone in it.
    pub fn ids(&self) -> impl Iterator<Item = ParticipantId> {
        self.list.iter().map(|participant| participant.id)
    }

    /// Who sits at `place`, if it is not on the way out.
    pub(crate) fn at(&self, place: usize) -> Option<ParticipantId> {
        let participant = self.list.get(place)?;
        (!participant.leaving).then_some(participant.id)
    }

    /// Seats a participant, or gives it back if there is no place.
    pub(crate) fn add(&mut self, participant: Box<Participant>) -> Result<usize, Box<Participant>> {
        if self.len() >= self.capacity() {
            return Err(participant);
        }
        self.list.push(participant);
        Ok(self.len() - 1)
    }

    /// Moves everybody to `longer`; gives back the list that is no longer needed, which is `longer`
    /// if it is not.
    pub(crate) fn reserve(&mut self, mut longer: Members) -> Members {
        if longer.capacity() > self.capacity() {
            longer.list.append(&mut self.list);
            longer.leaving = core::mem::take(&mut self.leaving);
            core::mem::swap(self, &mut longer);
        }
        longer
    }

    /// Lets the one at `place` fade out; [`take_left`](Members::take_left) gives it back after
    /// that.
    pub(crate) fn dismiss(&mut self, place: usize) {
        if let Some(participant) = self.list.get_mut(place) {
            self.leaving += usize::from(!participant.leaving);
            participant.leaving = true;
        }
    }

    /// Takes out one who was dismissed and is no longer heard. The last in the list moves to the
    /// place that becomes free, which is named too.
    pub(crate) fn take_left(&mut self) -> Option<(Box<Participant>, usize)> {
        if self.leaving == 0 {
            return None;
        }
        let mut list = self.list.iter();
        let place = list.position(|member| member.leaving && !member.is_audible())?;
        self.leaving -= 1;
        Some((self.list.swap_remove(place), place))
    }

    /// Replaces the stream of the one at `place`; gives back what is no longer needed, which is
    /// `listener` if it was built for another tick.
    pub(crate) fn set_listener(
        &mut self,
        place: usize,
        listener: Box<Listener>,
    ) -> Option<Box<Listener>> {
        match self.list.get_mut(place) {
            Some(participant) if listener.tick() == participant.tick => {
                participant.listener.replace(listener)
            }
            _ => Some(listener),
        }
    }
}

/// Who is heard, loudest first, without `listener`.
pub(crate) fn sources_of(ranks: &[Rank], listener: Option<ParticipantId>) -> Sources {
    let mut sources = Sources::default();
    for rank in ranks.iter().filter(|rank| Some(rank.id) != listener) {
        if !sources.push(rank.id, rank.level) {
            break;
        }
    }
    sources
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({} of {})", self.list.len(), self.capacity())
    }
}
