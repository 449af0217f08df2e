//! The registry: every room, where each participant is, and the secrets that name them. Plain state of the machine; it
//! knows neither threads nor queues, so that it can be tested alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mixer::{ParticipantId, RoomId};

use super::counters::ParticipantTotals;
use super::member::Member;
use super::room::Room;
use crate::protocol::{Monitor, PublicId, RoomConfig, RoomName};

/// Every room, and the two ways to find a participant.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) rooms: BTreeMap<RoomName, Room>,
    /// Rooms with a floor, so that nobody has to look at all the others fifty times a second; and maybe some that had one.
    pub(super) floors: BTreeSet<RoomName>,
    /// Rooms whose floors the input at hand has changed, so that what they want done is still to do.
    pub(super) changed_floors: BTreeSet<RoomName>,
    places: HashMap<ParticipantId, RoomName>,
    sessions: HashMap<String, ParticipantId>,
    /// Joins under way that hold a place in some room.
    pub(super) seats: usize,
    next_room: u32,
    /// What those who left had counted.
    pub(super) departed: ParticipantTotals,
}

impl Registry {
    /// A new room, not in the mixer yet.
    pub(super) fn new_room(&mut self, config: RoomConfig, permanent: bool) -> Room {
        Room::new(self.new_room_id(), config, permanent)
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

    /// An id that nobody has, never zero.
    ///
    /// - `drawn`: what chance has drawn (RFC 3550, 8.1: CSRCs are chosen at random as SSRCs are). If that is taken, the
    ///   next that is free is used.
    pub(super) fn new_participant_id(&self, drawn: u32) -> ParticipantId {
        let mut id = ParticipantId(drawn);
        while id.0 == 0 || self.places.contains_key(&id) {
            id.0 = id.0.wrapping_add(1);
        }
        id
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

    /// A room whose floor is to be changed. What the floor then wants done follows at the end of the input.
    pub(super) fn change_floor(&mut self, name: &RoomName) -> Option<&mut Room> {
        let room = self.rooms.get_mut(name)?;
        if !self.changed_floors.contains(name) {
            self.changed_floors.insert(name.clone());
        }
        Some(room)
    }

    /// The room the mixer knows by `id`.
    pub(super) fn room_of(&self, id: RoomId) -> Option<&RoomName> {
        self.rooms
            .iter()
            .find(|(_, room)| room.id == id)
            .map(|(name, _)| name)
    }

    /// What everybody has counted, those who left included.
    pub(super) fn totals(&self) -> ParticipantTotals {
        let mut totals = self.departed;
        for member in self.rooms.values().flat_map(|room| &room.members) {
            totals.add(&member.shared.telemetry);
        }
        totals
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::conference::member::tests::member;

    pub(in crate::conference) fn registry() -> (Registry, RoomName) {
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
