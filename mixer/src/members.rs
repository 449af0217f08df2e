//! The places of a room: who is in it, who joins, who is on the way out.
//!
//! As long as there are places, nothing here allocates or frees: participants come and go as boxes,
//! and a longer list comes built.

use core::fmt;

use crate::listener::Listener;
use crate::listeners::{Hearing, Listeners};
use crate::memory;
use crate::packet::Sources;
use crate::participant::Participant;
use crate::scans::{ScanNo, Scans};
use crate::tone::Playing;
use crate::units::{Level, ParticipantId};

/// The places of a room: as many as were reserved when it was built.
#[derive(Default)]
pub struct Members {
    pub(crate) list: Vec<Member>,
    /// Whose streams have a packet to encode this tick.
    pub(crate) due: Vec<usize>,
    /// Whom one packet is for.
    pub(crate) ids: Vec<ParticipantId>,
    /// Who has something to say this tick; once decided, who is heard, loudest first.
    pub(crate) ranks: Vec<Rank>,
    /// What some of them share. In a box, since lists cross in commands.
    pub(crate) shares: Box<Shares>,
    leaving: usize,
}

/// What members of a room share.
#[derive(Default)]
pub(crate) struct Shares {
    /// Who of them are sent the same.
    pub listeners: Listeners,
    /// What some of them hear of other rooms.
    pub scans: Scans,
}

/// A participant and what its room knows of it, side by side, so that a tick passes over those with
/// whom nothing is the matter without looking into their boxes.
#[derive(Debug)]
pub(crate) struct Member {
    pub id: ParticipantId,
    /// How its stream is made.
    pub hearing: Hearing,
    /// What it hears of other rooms, if it does.
    pub scan: Option<ScanNo>,
    /// Its strip has something to play, to meter or to fade.
    pub awake: bool,
    /// Its settings have changed in a way that must not wait for its next packet.
    pub attended: bool,
    /// What is played to it alone.
    pub tone: Option<Playing>,
    /// Heard by the others this tick.
    pub is_heard: bool,
    /// On the bus this tick: heard, or fading out.
    pub in_mix: bool,
    /// The others have been told that it is heard.
    pub talking: bool,
    /// To be taken out as soon as its voice has faded.
    pub leaving: bool,
    pub participant: Box<Participant>,
}

impl Member {
    /// Whether the member hears something else than members who contribute nothing. Before packets
    /// reach it, it hears nothing at all.
    pub fn hears_apart(&self) -> bool {
        self.in_mix || self.tone.is_some() || self.is_private() && !self.is_reachable()
    }

    /// Whether this is the member that an entry among the loudest names, and a tick may wait for its packet.
    pub fn may_be_awaited(&self, rank: &Rank) -> bool {
        self.id == rank.id && !self.leaving && !self.participant.shared.settings.muted()
    }

    /// Whether the member is sent a stream of its own.
    pub fn has_own_stream(&self) -> bool {
        self.is_private() && self.is_reachable()
    }

    fn is_private(&self) -> bool {
        matches!(self.hearing, Hearing::Private { .. })
    }

    /// Whether packets reach the member. This looks into its box; members of a group need not be
    /// asked, since only reachable members join one.
    fn is_reachable(&self) -> bool {
        self.participant.shared.settings.is_reachable()
    }

    /// Begins the tone that its settings ask for. Who cannot talk has no stream of its own to hear
    /// it in.
    pub fn begin_tone(&mut self) {
        let (number, tone) = self.participant.shared.settings.tone();
        if number == core::mem::replace(&mut self.participant.tone, number) {
            return;
        }
        let Some(tone) = tone.filter(|_| self.participant.strip.is_some()) else {
            return;
        };
        match &mut self.tone {
            _ if self.hearing == Hearing::Deaf => self.tone = None,
            Some(playing) => playing.change(tone),
            None => self.tone = Some(Playing::new(tone)),
        }
    }
}

/// One who has something to say this tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rank {
    pub member: usize,
    pub id: ParticipantId,
    pub level: Level,
    pub loudness_db: f32,
    /// It holds the floor: no other takes its place.
    pub has_floor: bool,
}

impl Members {
    /// An empty list with places for `capacity`.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_capacity(capacity: usize) -> Members {
        Members {
            list: memory::list(capacity),
            due: memory::list(capacity),
            ids: memory::list(capacity),
            ranks: memory::list(capacity),
            shares: Box::new(Shares {
                listeners: Listeners::with_capacity(capacity),
                scans: Scans::with_capacity(capacity),
            }),
            leaving: 0,
        }
    }

    /// Places, taken and free.
    pub fn capacity(&self) -> usize {
        let lists = [self.due.capacity(), self.ids.capacity()];
        let least = lists.into_iter().fold(self.ranks.capacity(), usize::min);
        self.list.capacity().min(least)
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
        self.list.iter().map(|member| member.id)
    }

    /// Who sits at `place`, if it is not on the way out.
    pub(crate) fn at(&self, place: usize) -> Option<ParticipantId> {
        let member = self.list.get(place)?;
        (!member.leaving).then_some(member.id)
    }

    /// Seats a participant, or gives it back if there is no place.
    pub(crate) fn add(&mut self, participant: Box<Participant>) -> Result<usize, Box<Participant>> {
        if self.len() >= self.capacity() {
            return Err(participant);
        }
        self.list.push(Member {
            id: participant.id,
            hearing: Hearing::Deaf,
            scan: None,
            awake: participant.strip.is_some(),
            attended: false,
            tone: None,
            is_heard: false,
            in_mix: false,
            talking: false,
            leaving: false,
            participant,
        });
        Ok(self.len() - 1)
    }

    /// Lets the one at `place`, who is new or has another stream than before, hear that by itself.
    pub(crate) fn admit(&mut self, place: usize) {
        let member = &mut self.list[place];
        member.hearing = match member.participant.listener {
            Some(_) => Hearing::Private { settled_ms: 0 },
            None => Hearing::Deaf,
        };
    }

    /// Moves everybody to `longer`; gives back the list that is no longer needed, which is `longer`
    /// if it is not.
    pub(crate) fn reserve(&mut self, mut longer: Members) -> Members {
        if longer.capacity() > self.capacity() {
            longer.list.append(&mut self.list);
            let Shares { listeners, scans } = &mut *longer.shares;
            listeners.take_over(&mut self.shares.listeners);
            scans.take_over(&mut self.shares.scans);
            longer.leaving = core::mem::take(&mut self.leaving);
            core::mem::swap(self, &mut longer);
        }
        longer
    }

    /// Lets the one at `place` fade out; [`take_left`](Members::take_left) gives it back after
    /// that.
    pub(crate) fn dismiss(&mut self, place: usize) {
        if let Some(member) = self.list.get_mut(place) {
            self.leaving += usize::from(!member.leaving);
            member.leaving = true;
            member.awake = member.participant.strip.is_some();
        }
    }

    /// Takes out one who was dismissed and is no longer heard. The last in the list moves to the
    /// place that becomes free, which is named too.
    pub(crate) fn take_left(&mut self) -> Option<(Box<Participant>, usize)> {
        if self.leaving == 0 {
            return None;
        }
        let mut list = self.list.iter();
        let place = list.position(|it| it.leaving && !it.participant.is_audible())?;
        self.leaving -= 1;
        Some((self.list.swap_remove(place).participant, place))
    }

    /// Replaces the stream of the one at `place`; gives back what is no longer needed, which is
    /// `listener` if it was built for another tick.
    pub(crate) fn set_listener(
        &mut self,
        place: usize,
        listener: Box<Listener>,
    ) -> Option<Box<Listener>> {
        match self.list.get_mut(place) {
            Some(member) if member.participant.tick == listener.tick() => {
                member.participant.listener.replace(listener)
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
