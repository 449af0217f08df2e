//! The members of a room: joining, leaving and what they share.
//!
//! Within the reserved capacity nothing here allocates or frees: participants cross as boxes, and a
//! longer list arrives already built.

use core::fmt;

use crate::frame::Frame;
use crate::memory;
use crate::mix::PlayingTone;
use crate::mix::bus::Base;
use crate::mix::gains::PersonalGains;
use crate::mix::recipe::{MixKey, MixRecipe, PartNo};
use crate::mix::render::{Voice, Voices};
use crate::monitor::MonitorMix;
use crate::output::{Destination, OutputStream};
use crate::packet::Sources;
use crate::room::Participant;
use crate::room::groups::{Groups, HANGOVER_MS, Hearing};
use crate::room::interned::Interned;
use crate::units::{Level, ParticipantId};

/// The members of a room, in as many places as were reserved when the list was built.
#[derive(Default)]
pub struct Members {
    pub(crate) list: Vec<Member>,
    /// The places of members whose streams have a packet to encode this tick.
    pub(crate) due: Vec<usize>,
    /// The recipients of one packet, collected while it is handed out.
    pub(crate) ids: Vec<ParticipantId>,
    /// The participants with something to say this tick; once decided, those who are heard, loudest
    /// first.
    pub(crate) ranks: Vec<Rank>,
    /// What several members share. In a box, since lists of members cross in commands.
    pub(crate) shares: Box<Shares>,
    leaving: usize,
}

/// What several members of a room share: listener groups, monitored rooms and personal gains.
#[derive(Default)]
pub(crate) struct Shares {
    /// The listener groups: members that share one encoded stream.
    pub groups: Groups,
    /// The distinct lists of monitored rooms.
    pub monitors: Interned<MonitorMix>,
    /// The distinct lists of personal gains.
    pub gains: Interned<PersonalGains>,
    /// The voices on the bus this tick, sorted by id. Only filled while a member has personal
    /// gains.
    pub on_bus: Vec<Voice>,
    /// For each list of personal gains, by its number: the number of the first list with the same
    /// effect on this tick's bus; `None` if the list has no effect.
    pub active: Vec<Option<PartNo>>,
}

impl Shares {
    /// Creates empty collections, with places for what `members` members can share.
    ///
    /// Real-time: set-up only (allocates).
    fn with_capacity(members: usize) -> Shares {
        Shares {
            groups: Groups::with_capacity(members),
            monitors: Interned::with_capacity(members),
            gains: Interned::with_capacity(members),
            on_bus: Vec::with_capacity(members),
            active: Vec::with_capacity(members),
        }
    }
}

/// A participant and its state in the room. The state lies beside the box, so that a tick passes
/// over idle members without following the pointer.
#[derive(Debug)]
pub(crate) struct Member {
    pub id: ParticipantId,
    /// Where the member's packets go.
    pub destination: Destination,
    /// The bus that the member's mix is made from.
    pub base: Base,
    /// Whether the member is sent nothing, its own stream, or that of a listener group.
    pub hearing: Hearing,
    /// The list of monitored rooms that the member hears, if any.
    pub monitors: Option<PartNo>,
    /// The member's list of personal gains, if any.
    pub gains: Option<PartNo>,
    /// The first list of personal gains with the same effect on this tick's bus as the member's
    /// list; `None` if the member's list has no effect.
    pub active_gains: Option<PartNo>,
    /// The member has long had a stream of its own, so waiting for a merge costs no additional
    /// encode.
    pub may_wait: bool,
    /// The member's strip has something to play, to meter or to fade.
    pub awake: bool,
    /// A changed setting must apply at the next tick, without waiting for the member's next packet.
    pub attended: bool,
    /// The tone that is played to this member alone.
    pub tone: Option<PlayingTone>,
    /// Heard by the other members this tick.
    pub is_heard: bool,
    /// On the bus this tick: heard, or fading out.
    pub in_mix: bool,
    /// The sink has been told that the member is heard by the others.
    pub talking: bool,
    /// Leaving: to be taken out as soon as the voice has faded.
    pub leaving: bool,
    /// Once taken out, the participant goes on in another room.
    pub moves: bool,
    /// Another thread encodes the member's stream, and the member does not leave without the
    /// stream.
    pub awaits_stream: bool,
    pub participant: Box<Participant>,
}

impl Member {
    /// The recipe of the mix that this member hears this tick.
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
            base: self.base,
            gains: self.active_gains,
            monitors: self.monitors,
        }
    }

    /// Whether no other member can hear this member's mix, or packets do not yet reach this member.
    pub fn hears_apart(&self) -> bool {
        self.recipe().key().is_none() || self.is_private() && !self.is_reachable()
    }

    /// Whether the member keeps a stream of its own while it is sent a group's packets. It does if
    /// it can talk or has personal gains, since its mix may then differ from the group's in any
    /// tick.
    pub fn keeps_stream(&self) -> bool {
        self.participant.strip.is_some() || self.participant.gains.is_some()
    }

    /// Whether the member's personal gains or monitored rooms change within this tick.
    pub fn is_changing(&self) -> bool {
        self.participant.monitor_change.is_some() || self.participant.gain_change.is_some()
    }

    /// Whether `rank` names this member and a tick may wait for this member's packet.
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

    /// Whether packets reach the member. This looks into the participant's box. Members of a group
    /// need not be asked, since only reachable members join a group.
    fn is_reachable(&self) -> bool {
        self.participant.shared.settings.is_reachable()
    }

    /// Begins the tone that the member's settings ask for. A listen-only member is played no tone,
    /// since it may have no stream of its own.
    pub fn begin_tone(&mut self) {
        let (number, tone) = self.participant.shared.settings.tone();
        if number == core::mem::replace(&mut self.participant.tone, number) {
            return;
        }
        let Some(tone) = tone.filter(|_| self.participant.strip.is_some()) else {
            return;
        };
        match &mut self.tone {
            _ if self.hearing == Hearing::Nothing => self.tone = None,
            Some(playing) => playing.change(tone),
            None => self.tone = Some(PlayingTone::new(tone)),
        }
    }
}

/// A member that was taken out of the room.
pub(crate) struct RemovedMember {
    pub participant: Box<Participant>,
    /// Whether the participant goes on in another room.
    pub moves: bool,
    /// The place that became free; the last member of the list sits there now.
    pub place: usize,
}

/// A participant that has something to say this tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rank {
    pub member: usize,
    pub id: ParticipantId,
    pub level: Level,
    pub loudness_db: f32,
    /// The participant holds the floor, so no other participant can replace it.
    pub has_floor: bool,
}

impl Members {
    /// Creates an empty list with places for `capacity` members.
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

    /// Number of places, taken and free.
    pub fn capacity(&self) -> usize {
        let lists = [self.due.capacity(), self.ids.capacity()];
        let least = lists.into_iter().fold(self.ranks.capacity(), usize::min);
        self.list.capacity().min(least)
    }

    /// Number of members, including those that are leaving.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the room has no members.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The ids of all members, including those that are leaving.
    pub fn ids(&self) -> impl Iterator<Item = ParticipantId> {
        self.list.iter().map(|member| member.id)
    }

    /// The id of the member at `place`, or `None` if it is leaving.
    pub(crate) fn at(&self, place: usize) -> Option<ParticipantId> {
        let member = self.list.get(place)?;
        (!member.leaving).then_some(member.id)
    }

    /// Adds a participant and returns its place.
    ///
    /// # Errors
    /// Returns the participant if no place is free.
    pub(crate) fn add(&mut self, participant: Box<Participant>) -> Result<usize, Box<Participant>> {
        if self.len() >= self.capacity() {
            return Err(participant);
        }
        self.list.push(Member {
            id: participant.id,
            destination: participant.destination,
            base: participant.base,
            hearing: Hearing::Nothing,
            monitors: None,
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

    /// Lets the member at `place` hear its own stream, if it has one. Called when the member or its
    /// stream is new.
    pub(crate) fn admit(&mut self, place: usize) {
        let member = &mut self.list[place];
        member.hearing = match member.participant.stream {
            Some(_) => Hearing::Private { settled_ms: 0 },
            None => Hearing::Nothing,
        };
    }

    /// Moves all members to `longer`. Returns the list that is no longer needed: the old one, or
    /// `longer` if it has no more places.
    pub(crate) fn reserve(&mut self, mut longer: Box<Members>) -> Box<Members> {
        if longer.capacity() > self.capacity() {
            longer.list.append(&mut self.list);
            let shares = &mut *longer.shares;
            shares.groups.take_over(&mut self.shares.groups);
            shares.monitors.take_over(&mut self.shares.monitors);
            shares.gains.take_over(&mut self.shares.gains);
            shares.on_bus.append(&mut self.shares.on_bus);
            shares.active.append(&mut self.shares.active);
            longer.leaving = core::mem::take(&mut self.leaving);
            core::mem::swap(self, &mut *longer);
        }
        longer
    }

    /// Lets the member at `place` fade out; [`take_left`](Members::take_left) takes it out
    /// afterwards.
    pub(crate) fn dismiss(&mut self, place: usize) {
        if let Some(member) = self.list.get_mut(place) {
            self.leaving += usize::from(!member.leaving);
            member.leaving = true;
            member.awake = member.participant.strip.is_some();
        }
    }

    /// Marks the member at `place` to go on in another room after [`dismiss`](Members::dismiss).
    pub(crate) fn detach(&mut self, place: usize) {
        if let Some(member) = self.list.get_mut(place) {
            member.moves = true;
            member.awaits_stream = member.is_private() && member.participant.stream.is_none();
        }
    }

    /// Takes out a member that was dismissed and is no longer audible. The last member of the list
    /// moves to the free place.
    pub(crate) fn take_left(&mut self) -> Option<RemovedMember> {
        if self.leaving == 0 {
            return None;
        }
        let mut list = self.list.iter();
        let may_go = |it: &Member| it.leaving && !it.awaits_stream && !it.participant.is_audible();
        let place = list.position(may_go)?;
        self.leaving -= 1;
        let member = self.list.swap_remove(place);
        Some(RemovedMember {
            participant: member.participant,
            moves: member.moves,
            place,
        })
    }

    /// Finds the personal gains that act on this tick's bus. Returns whether any member's effective
    /// gains differ from those of the last tick.
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

    /// Replaces the stream of the member at `place`. Returns the stream that is no longer needed:
    /// the old one, or `stream` if it was built for another tick.
    pub(crate) fn set_stream(
        &mut self,
        place: usize,
        stream: Box<OutputStream>,
    ) -> Option<Box<OutputStream>> {
        match self.list.get_mut(place) {
            Some(member) if member.participant.tick == stream.tick() => {
                member.participant.stream.replace(stream)
            }
            _ => Some(stream),
        }
    }
}

/// The number of the first list of personal gains with the same effect on the bus as the list at
/// `leader`; `None` if that list has no effect.
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

/// The frames of a room's members, and the ids of the members that are heard.
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

/// The ids and levels of the ranked participants, loudest first.
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
