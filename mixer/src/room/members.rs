//! The places of a room: who is in it, who joins, who is on the way out.
//!
//! As long as there are places, nothing here allocates or frees: participants come and go as boxes,
//! and a longer list comes built.

use core::fmt;

use crate::frame::Frame;
use crate::memory;
use crate::mix::Playing;
use crate::mix::gains::PersonalGains;
use crate::mix::recipe::{MixKey, MixRecipe, PartNo};
use crate::mix::render::{Voice, Voices};
use crate::monitor::Scan;
use crate::output::{Destination, Listener};
use crate::packet::Sources;
use crate::room::Participant;
use crate::room::groups::{HANGOVER_MS, Hearing, Listeners};
use crate::room::interned::Interned;
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
    pub scans: Interned<Scan>,
    /// Which talkers some of them hear louder or quieter.
    pub gains: Interned<PersonalGains>,
    /// The voices on the bus this tick, sorted by id. Only filled while a member has personal gains.
    pub on_bus: Vec<Voice>,
    /// For each list of personal gains, by its number: the number of the first list that does the same to this tick's
    /// bus; `None` if it does nothing.
    pub active: Vec<Option<PartNo>>,
}

impl Shares {
    /// Nothing shared yet, with places for what `members` can share.
    ///
    /// Real-time: set-up only (allocates).
    fn with_capacity(members: usize) -> Shares {
        Shares {
            listeners: Listeners::with_capacity(members),
            scans: Interned::with_capacity(members),
            gains: Interned::with_capacity(members),
            on_bus: Vec::with_capacity(members),
            active: Vec::with_capacity(members),
        }
    }
}

/// A participant and what its room knows of it, side by side, so that a tick passes over those with
/// whom nothing is the matter without looking into their boxes.
#[derive(Debug)]
pub(crate) struct Member {
    pub id: ParticipantId,
    /// Where its packets go.
    pub destination: Destination,
    /// How its stream is made.
    pub hearing: Hearing,
    /// What it hears of other rooms, if it does.
    pub scan: Option<PartNo>,
    /// Its personal gains, if it has any.
    pub gains: Option<PartNo>,
    /// Those of its personal gains that act on this tick's bus: the number of the first list that does the same.
    pub active_gains: Option<PartNo>,
    /// It has had a stream of its own for long, so it costs nothing new while it waits for a merge.
    pub may_wait: bool,
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
    /// When it is taken out, it goes on in another room.
    pub moves: bool,
    /// Its stream is encoded by another thread, and it does not go without the stream.
    pub awaits_stream: bool,
    pub participant: Box<Participant>,
}

impl Member {
    /// The mix that this member hears this tick.
    pub fn recipe(&self) -> MixRecipe {
        MixRecipe {
            shared: self.mix_key(),
            minus_own: self.in_mix,
            private_source: self.tone.is_some(),
        }
    }

    /// The part of this tick's mix that other members can hear too.
    pub fn mix_key(&self) -> MixKey {
        MixKey {
            gains: self.active_gains,
            monitors: self.scan,
        }
    }

    /// Whether the member hears what nobody else can hear. Before packets reach it, it hears nothing at all.
    pub fn hears_apart(&self) -> bool {
        self.recipe().key().is_none() || self.is_private() && !self.is_reachable()
    }

    /// Whether the member keeps a stream of its own while it is sent a group's packets: it may come to talk, or to hear
    /// something else than its group, in any tick.
    pub fn keeps_stream(&self) -> bool {
        self.participant.strip.is_some() || self.participant.gains.is_some()
    }

    /// Whether its personal gains or the rooms it monitors change within this tick.
    pub fn is_changing(&self) -> bool {
        self.participant.rescan.is_some() || self.participant.gain_change.is_some()
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

/// A member that was taken out.
pub(crate) struct Left {
    pub participant: Box<Participant>,
    /// It goes on in another room.
    pub moves: bool,
    /// Where it was, and where the last member in the list is now.
    pub place: usize,
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
            shares: Box::new(Shares::with_capacity(capacity)),
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
            destination: participant.destination,
            hearing: Hearing::Deaf,
            scan: None,
            gains: None,
            active_gains: None,
            may_wait: false,
            awake: participant.strip.is_some(),
            attended: false,
            tone: None,
            is_heard: false,
            in_mix: false,
            talking: false,
            leaving: false,
            moves: false,
            awaits_stream: false,
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
    pub(crate) fn reserve(&mut self, mut longer: Box<Members>) -> Box<Members> {
        if longer.capacity() > self.capacity() {
            longer.list.append(&mut self.list);
            let shares = &mut *longer.shares;
            shares.listeners.take_over(&mut self.shares.listeners);
            shares.scans.take_over(&mut self.shares.scans);
            shares.gains.take_over(&mut self.shares.gains);
            shares.on_bus.append(&mut self.shares.on_bus);
            shares.active.append(&mut self.shares.active);
            longer.leaving = core::mem::take(&mut self.leaving);
            core::mem::swap(self, &mut *longer);
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

    /// Lets the member at `place` fade out as [`dismiss`](Members::dismiss) does, to go on in another room.
    pub(crate) fn detach(&mut self, place: usize) {
        if let Some(member) = self.list.get_mut(place) {
            member.moves = true;
            member.awaits_stream = member.is_private() && member.participant.listener.is_none();
        }
    }

    /// Takes out a member that was dismissed and is no longer heard. The last in the list moves to its place.
    pub(crate) fn take_left(&mut self) -> Option<Left> {
        if self.leaving == 0 {
            return None;
        }
        let mut list = self.list.iter();
        let may_go = |it: &Member| it.leaving && !it.awaits_stream && !it.participant.is_audible();
        let place = list.position(may_go)?;
        self.leaving -= 1;
        let member = self.list.swap_remove(place);
        Some(Left {
            participant: member.participant,
            moves: member.moves,
            place,
        })
    }

    /// Finds out which personal gains act on this tick's bus. Says whether that changes anything about what anybody hears
    /// compared with the last tick.
    pub(crate) fn find_active_gains(&mut self) -> bool {
        let Members { list, shares, .. } = self;
        let Shares {
            gains,
            on_bus,
            active,
            ..
        } = &mut **shares;
        if gains.is_empty() && active.is_empty() {
            return false;
        }
        on_bus.clear();
        let voices = list.iter().enumerate().filter(|(_, it)| it.in_mix);
        on_bus.extend(voices.map(|(place, it)| Voice { id: it.id, place }));
        on_bus.sort_unstable_by_key(|voice| voice.id);
        active.clear();
        for (number, leader) in gains.entries() {
            if let Some(gains) = &mut list[leader].participant.gains {
                gains.find_corrections(on_bus);
            }
            active.resize(usize::from(number.0), None);
            active.push(first_alike(gains, list, leader));
        }
        let mut has_changed = false;
        for member in list {
            let number = member.gains.map(|number| usize::from(number.0));
            let now = number.and_then(|number| *active.get(number)?);
            if now == core::mem::replace(&mut member.active_gains, now) {
                continue;
            }
            has_changed = true;
            if let Hearing::Private { settled_ms } = &mut member.hearing {
                member.may_wait |= *settled_ms >= HANGOVER_MS;
                *settled_ms = 0;
            }
        }
        has_changed
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

/// The number of the first list of personal gains that does to the bus what the one at `leader` does; `None` if that does
/// nothing.
fn first_alike(gains: &Interned<PersonalGains>, list: &[Member], leader: usize) -> Option<PartNo> {
    let corrections = |place: usize| {
        let gains = list[place].participant.gains.as_deref();
        gains.map_or(&[][..], PersonalGains::corrections)
    };
    let own = corrections(leader);
    if own.is_empty() {
        return None;
    }
    let mut entries = gains.entries();
    let first = entries.find(|(_, other)| corrections(*other) == own);
    first.map(|(number, _)| number)
}

/// The frames of a room's members, and the names of those who are heard.
#[derive(Clone, Copy)]
pub(crate) struct RoomVoices<'a> {
    pub list: &'a [Member],
    pub ranks: &'a [Rank],
}

impl Voices for RoomVoices<'_> {
    fn frame(&self, place: usize) -> Option<&Frame> {
        let member = self.list.get(place).filter(|member| member.in_mix)?;
        member.participant.strip.as_deref().map(|it| it.frame())
    }

    fn heard(&self) -> impl Iterator<Item = (ParticipantId, Level)> {
        self.ranks.iter().map(|rank| (rank.id, rank.level))
    }
}

/// Who is heard, loudest first.
pub(crate) fn sources_of(ranks: &[Rank]) -> Sources {
    let mut sources = Sources::default();
    for rank in ranks {
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
