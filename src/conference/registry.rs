//! Who is where: rooms, their members and the secrets that name them. Plain state behind the conference's one lock; it
//! knows neither threads nor links, so everything it does can be tested as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mixer::command::Shared;
use mixer::format::TickLength;
use mixer::profile::Recipe;
use mixer::{ParticipantId, RoomId};
use tokio::sync::broadcast;

use super::floor::Sent;
use super::mixing::places;
use super::totals::Totals;
use crate::floor::Floor;
use crate::protocol::{
    FloorState, Monitor, Monitors, Participant, PublicId, RoomConfig, RoomLine, RoomName, RoomState,
};
use crate::rate_limit::MessageLimit;

/// Events a slow listener may be behind before it is cut off.
const BACKLOG_EVENTS: usize = 256;

/// Every room, and the two ways to find a participant.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) rooms: BTreeMap<RoomName, Room>,
    /// Rooms with a floor, so that nobody has to look at all the others fifty times a second; and maybe some that had one.
    pub(super) floors: BTreeSet<RoomName>,
    places: HashMap<ParticipantId, RoomName>,
    sessions: HashMap<String, ParticipantId>,
    /// Joins under way that hold a place in some room.
    pub(super) seats: usize,
    next_room: u32,
    /// What those who left had counted.
    pub(super) departed: Totals,
}

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    /// The mixer's name for it.
    pub(super) id: RoomId,
    /// What it is set to.
    pub(super) config: RoomConfig,
    /// Stays when it is empty.
    pub(super) permanent: bool,
    /// Members the mixer's room has memory for.
    pub(super) capacity: usize,
    /// Joins under way.
    pub(super) seats: usize,
    /// Members in the order of joining.
    pub(super) members: Vec<Member>,
    /// Who may talk.
    pub(super) floor: Floor,
    /// The rooms it is linked with, whether they are there or not.
    pub(super) links: BTreeSet<RoomName>,
    /// Who hears it from elsewhere.
    pub(super) audience: Option<Audience>,
    /// Those of them who asked to, as everybody may see them.
    pub(super) monitors: Monitors,
    /// Where its events go, each already written as JSON.
    pub(super) events: broadcast::Sender<Arc<str>>,
}

/// Those who hear a room from elsewhere.
#[derive(Debug)]
pub(super) struct Audience {
    /// The room's name.
    pub(super) room: RoomName,
    /// Who, in order.
    pub(super) ears: Vec<ParticipantId>,
}

/// One participant.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ParticipantId,
    pub(super) session: String,
    pub(super) name: String,
    pub(super) gain_db: f32,
    pub(super) talking: bool,
    pub(super) connected: bool,
    pub(super) talks: bool,
    pub(super) listens: bool,
    /// How its stream is made, if it only listens.
    pub(super) ear: Option<Ear>,
    /// Its data channel is open.
    pub(super) channel: bool,
    /// What it had sent when its room's floor last looked.
    pub(super) sent: Sent,
    /// How many messages it may still send: over its data channel, over WebSockets, and requests for the floor over
    /// HTTP. What others do to it is not counted here.
    pub(super) messages: MessageLimit,
    /// The present ICE session of the peer.
    pub(super) ice: IceSession,
    /// Settings the engine reads and telemetry it writes.
    pub(super) shared: Arc<Shared>,
}

/// How the stream of one who cannot talk is made: in a group of such, only this side can give one another stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ear {
    /// How it is encoded.
    pub(super) recipe: Recipe,
    /// The room's tick.
    pub(super) tick: TickLength,
}

/// How requests name a peer's ICE session.
#[derive(Debug, Clone, Default)]
pub(super) struct IceSession {
    /// Ours for it (RFC 9725, 4.3.1).
    pub(super) etag: String,
    /// The client's user name fragment in it.
    pub(super) client_ufrag: String,
    /// The one before the last restart: what comes under it is late.
    pub(super) former_ufrag: Option<String>,
}

impl Registry {
    /// A fresh room, not in the mixer yet.
    pub(super) fn new_room(&mut self, config: RoomConfig, permanent: bool) -> Room {
        Room {
            id: self.new_room_id(),
            config,
            permanent,
            capacity: places(&config),
            seats: 0,
            members: Vec::new(),
            floor: Floor::new(config.floor),
            links: BTreeSet::new(),
            audience: None,
            monitors: Monitors::default(),
            events: broadcast::Sender::new(BACKLOG_EVENTS),
        }
    }

    /// An id no room had before.
    pub(super) fn new_room_id(&mut self) -> RoomId {
        self.next_room = self.next_room.wrapping_add(1);
        RoomId(self.next_room)
    }

    /// Another value whenever rooms have come or gone.
    pub(super) fn generation(&self) -> (u32, usize) {
        (self.next_room, self.rooms.len())
    }

    /// An id that nobody has, never zero (RFC 3550, 8.1: CSRCs are chosen at random as SSRCs are).
    pub(super) fn new_participant_id(&self) -> ParticipantId {
        loop {
            let id = ParticipantId(rand::random());
            if id.0 != 0 && !self.places.contains_key(&id) {
                return id;
            }
        }
    }

    /// Keeps in mind that a room has a floor, if it does.
    pub(super) fn note_floor(&mut self, name: &RoomName, config: &RoomConfig) {
        if config.floor.mode.has_floor() {
            self.floors.insert(name.clone());
        }
    }

    /// Participants and joins under way.
    pub(super) fn sessions(&self) -> usize {
        self.places.len() + self.seats
    }

    /// Puts a member into a room; it must exist.
    pub(super) fn add(&mut self, name: &RoomName, member: Member) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        self.sessions.insert(member.session.clone(), member.id);
        self.places.insert(member.id, name.clone());
        room.members.push(member);
        if room.config.floor.mode.has_floor() {
            self.floors.insert(name.clone());
        }
    }

    /// Takes a member out of its room and keeps what it had counted.
    pub(super) fn take(&mut self, id: ParticipantId) -> Option<(RoomName, Member)> {
        let name = self.places.remove(&id)?;
        let room = self.rooms.get_mut(&name)?;
        let at = room.members.iter().position(|member| member.id == id)?;
        let member = room.members.remove(at);
        self.sessions.remove(&member.session);
        self.departed.add(&member.shared.telemetry);
        Some((name, member))
    }

    /// Takes everybody out of a room and keeps what they had counted.
    pub(super) fn take_all(&mut self, name: &RoomName) -> Vec<Member> {
        let room = self.rooms.get_mut(name);
        let members = room.map_or(Vec::new(), |room| std::mem::take(&mut room.members));
        for member in &members {
            self.places.remove(&member.id);
            self.sessions.remove(&member.session);
            self.departed.add(&member.shared.telemetry);
        }
        members
    }

    /// The participant a secret belongs to.
    pub(super) fn of_session(&self, session: &str) -> Option<ParticipantId> {
        self.sessions.get(session).copied()
    }

    /// The name of the room a participant is in.
    pub(super) fn place(&self, id: ParticipantId) -> Option<&RoomName> {
        self.places.get(&id)
    }

    /// A participant and its room.
    pub(super) fn member_mut(&mut self, id: ParticipantId) -> Option<(&RoomName, &mut Member)> {
        let name = self.places.get(&id)?;
        let room = self.rooms.get_mut(name)?;
        let member = room.members.iter_mut().find(|member| member.id == id)?;
        Some((name, member))
    }

    /// A participant who listens to another room, as that room shows it.
    pub(super) fn monitor(&self, id: ParticipantId) -> Option<Monitor> {
        let room = self.place(id)?;
        Some(Monitor {
            participant: PublicId(id),
            name: self.rooms.get(room)?.name_of(id).to_owned(),
            room: room.clone(),
        })
    }

    /// The room a participant is in.
    pub(super) fn room_with(&mut self, id: ParticipantId) -> Option<&mut Room> {
        self.rooms.get_mut(self.places.get(&id)?)
    }

    /// The room the mixer knows by `id`.
    pub(super) fn room_of(&self, id: RoomId) -> Option<&RoomName> {
        self.rooms
            .iter()
            .find(|(_, room)| room.id == id)
            .map(|(name, _)| name)
    }

    /// What everybody has counted, those who left included.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.departed;
        for member in self.rooms.values().flat_map(|room| &room.members) {
            totals.add(&member.shared.telemetry);
        }
        totals
    }
}

impl Room {
    /// Whether nothing keeps it.
    pub(super) fn is_over(&self) -> bool {
        !self.permanent && self.members.is_empty() && self.seats == 0
    }

    /// Whether one more may come.
    pub(super) fn is_full(&self) -> bool {
        self.members.len() + self.seats >= self.config.max_participants as usize
    }

    /// The room with everybody in it.
    pub(super) fn state(&self, name: &RoomName) -> RoomState {
        RoomState {
            participants: self.members.iter().map(Member::public).collect(),
            ..self.state_without_people(name)
        }
    }

    /// The room alone.
    pub(super) fn state_without_people(&self, name: &RoomName) -> RoomState {
        RoomState {
            name: name.clone(),
            config: self.config,
            allow_monitors: self.config.allows_monitors(),
            floor: self.floor_state(),
            monitors: self.monitors.clone(),
            links: self.links.iter().cloned().collect(),
            permanent: self.permanent,
            participants: Vec::new(),
            participants_total: None,
        }
    }

    /// The room in one line.
    pub(super) fn line(&self, name: &RoomName) -> RoomLine {
        RoomLine {
            name: name.clone(),
            config: self.config,
            allow_monitors: self.config.allows_monitors(),
            floor: self.floor_state(),
            links: self.links.iter().cloned().collect(),
            participants: self.members.len(),
            talking: self.members.iter().filter(|member| member.talking).count(),
        }
    }

    /// Who holds the floor and who waits, where there is one.
    fn floor_state(&self) -> Option<FloorState> {
        let has_floor = self.config.floor.mode.has_floor();
        has_floor.then(|| FloorState::of(&self.floor, Instant::now()))
    }

    /// One of those who are in.
    pub(super) fn member(&self, id: ParticipantId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// What one of those who are in is called.
    pub(super) fn name_of(&self, id: ParticipantId) -> &str {
        self.member(id).map_or("", |member| &member.name)
    }
}

impl Member {
    /// What everybody may see.
    pub(super) fn public(&self) -> Participant {
        Participant {
            id: PublicId(self.id),
            csrc: self.id.0,
            name: self.name.clone(),
            muted: self.shared.settings.muted(),
            talking: self.talking,
            gain_db: self.gain_db,
            connected: self.connected,
            talks: self.talks,
            listens: self.listens,
        }
    }

    /// Whether the engine mixes it at this moment.
    pub(super) fn is_heard(&self) -> bool {
        self.shared.telemetry.talking.load(Relaxed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::conference) fn member(id: u32, session: &str) -> Member {
        Member {
            id: ParticipantId(id),
            session: session.into(),
            name: "Ann".into(),
            gain_db: 0.0,
            talking: false,
            connected: false,
            talks: true,
            listens: true,
            ear: None,
            channel: false,
            sent: Sent::default(),
            messages: MessageLimit::new(crate::rate_limit::Rates::default().messages),
            ice: IceSession::default(),
            shared: Arc::default(),
        }
    }

    fn registry() -> (Registry, RoomName) {
        let mut registry = Registry::default();
        let name = RoomName::parse("lobby").expect("a good name");
        let room = registry.new_room(RoomConfig::default(), false);
        registry.rooms.insert(name.clone(), room);
        (registry, name)
    }

    #[test]
    fn members_are_found_both_ways_and_leave_nothing_behind() {
        let (mut registry, name) = registry();
        registry.add(&name, member(7, "secret"));
        registry.add(&name, member(8, "other"));
        assert_eq!(registry.sessions(), 2);
        assert_eq!(registry.of_session("secret"), Some(ParticipantId(7)));
        assert_eq!(registry.place(ParticipantId(8)), Some(&name));
        let (room, gone) = registry.take(ParticipantId(7)).expect("it is there");
        assert_eq!((room, gone.session.as_str()), (name.clone(), "secret"));
        assert_eq!(registry.of_session("secret"), None);
        assert!(registry.take(ParticipantId(7)).is_none());
        assert_eq!(registry.rooms[&name].members.len(), 1);
    }

    #[test]
    fn a_room_is_over_when_nothing_keeps_it() {
        let (mut registry, name) = registry();
        assert!(registry.rooms[&name].is_over());
        let room = registry.rooms.get_mut(&name).expect("it is there");
        room.seats = 1;
        assert!(!room.is_over());
        room.seats = 0;
        room.permanent = true;
        assert!(!room.is_over());
    }

    #[test]
    fn seats_count_towards_a_full_room() {
        let (mut registry, name) = registry();
        registry.add(&name, member(7, "secret"));
        let room = registry.rooms.get_mut(&name).expect("it is there");
        room.config.max_participants = 2;
        assert!(!room.is_full());
        room.seats = 1;
        assert!(room.is_full());
    }

    #[test]
    fn counters_outlive_their_participant() {
        let (mut registry, name) = registry();
        let ann = member(7, "secret");
        ann.shared.telemetry.received_total.store(5, Relaxed);
        registry.add(&name, ann);
        assert_eq!(registry.totals().received, 5);
        registry.take(ParticipantId(7));
        assert_eq!(registry.totals().received, 5);
    }
}
