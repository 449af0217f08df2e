//! The registry: every room, the room of each participant, and the session secrets. Plain state of
//! the machine without threads or queues, so that it can be tested alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mixer::{ParticipantId, RoomId};

use super::counters::ParticipantTotals;
use super::member::Member;
use super::room::Room;
use crate::protocol::{Monitor, PublicId, RoomConfig, RoomName};

/// All rooms, with an index by participant id and one by session secret.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) rooms: BTreeMap<RoomName, Room>,
    /// Rooms with a floor, and possibly some that no longer have one. Only these rooms are checked
    /// fifty times a second.
    pub(super) floors: BTreeSet<RoomName>,
    /// Rooms whose floors the present input has changed and whose floor actions are still to be
    /// performed.
    pub(super) changed_floors: BTreeSet<RoomName>,
    places: HashMap<ParticipantId, RoomName>,
    sessions: HashMap<String, ParticipantId>,
    /// Number of seats held by joins under way, in all rooms.
    pub(super) seats: usize,
    next_room: u32,
    /// Telemetry sums of the participants who have left.
    pub(super) departed: ParticipantTotals,
}

impl Registry {
    /// Creates a room that is not on a mixer yet.
    pub(super) fn new_room(&mut self, config: RoomConfig, permanent: bool) -> Room {
        Room::new(self.new_room_id(), config, permanent)
    }

    /// Returns a new room id.
    pub(super) fn new_room_id(&mut self) -> RoomId {
        self.next_room = self.next_room.wrapping_add(1);
        RoomId(self.next_room)
    }

    /// Returns a value that changes whenever rooms are created or removed.
    pub(super) fn generation(&self) -> (u32, usize) {
        (self.next_room, self.rooms.len())
    }

    /// Returns a participant id that is not in use, never zero.
    ///
    /// - `drawn`: a random number (RFC 3550, 8.1: CSRCs are chosen at random, as SSRCs are). If it
    ///   is in use, the next free id is returned.
    pub(super) fn new_participant_id(&self, drawn: u32) -> ParticipantId {
        let mut id = ParticipantId(drawn);
        while id.0 == 0 || self.places.contains_key(&id) {
            id.0 = id.0.wrapping_add(1);
        }
        id
    }

    /// Records that a room has a floor, if its configuration gives it one.
    pub(super) fn note_floor(&mut self, name: &RoomName, config: &RoomConfig) {
        if config.floor.mode.has_floor() {
            self.floors.insert(name.clone());
        }
    }

    /// Returns the number of participants and joins under way.
    pub(super) fn sessions(&self) -> usize {
        self.places.len() + self.seats
    }

    /// Adds a member to a room, which must exist.
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

    /// Removes a member from its room and keeps its telemetry sums.
    pub(super) fn take(&mut self, id: ParticipantId) -> Option<(RoomName, Member)> {
        let name = self.places.remove(&id)?;
        let room = self.rooms.get_mut(&name)?;
        let at = room.members.iter().position(|member| member.id == id)?;
        let member = room.members.remove(at);
        self.sessions.remove(&member.session);
        self.departed.add(&member.shared.telemetry);
        Some((name, member))
    }

    /// Removes all members from a room and keeps their telemetry sums.
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

    /// Returns the participant of a session secret.
    pub(super) fn of_session(&self, session: &str) -> Option<ParticipantId> {
        self.sessions.get(session).copied()
    }

    /// Returns the name of a participant's room.
    pub(super) fn place(&self, id: ParticipantId) -> Option<&RoomName> {
        self.places.get(&id)
    }

    /// Returns a participant and the name of its room.
    pub(super) fn member_mut(&mut self, id: ParticipantId) -> Option<(&RoomName, &mut Member)> {
        let name = self.places.get(&id)?;
        let room = self.rooms.get_mut(name)?;
        let member = room.members.iter_mut().find(|member| member.id == id)?;
        Some((name, member))
    }

    /// Returns a participant as a monitor, as the room that it monitors lists it.
    pub(super) fn monitor(&self, id: ParticipantId) -> Option<Monitor> {
        let room = self.place(id)?;
        Some(Monitor {
            participant: PublicId(id),
            name: self.rooms.get(room)?.name_of(id).to_owned(),
            room: room.clone(),
        })
    }

    /// Returns a room whose floor the caller changes; the floor's actions are performed when the
    /// present input has been handled.
    pub(super) fn change_floor(&mut self, name: &RoomName) -> Option<&mut Room> {
        let room = self.rooms.get_mut(name)?;
        if !self.changed_floors.contains(name) {
            self.changed_floors.insert(name.clone());
        }
        Some(room)
    }

    /// Returns the name of the room that has this id on its mixer.
    pub(super) fn room_of(&self, id: RoomId) -> Option<&RoomName> {
        self.rooms
            .iter()
            .find(|(_, room)| room.id == id)
            .map(|(name, _)| name)
    }

    /// Returns the telemetry sums of all participants, including those who have left.
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
    fn registry_finds_members_by_id_and_secret_and_forgets_them_when_taken() {
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
    fn registry_totals_keep_the_counts_of_departed_participants() {
        let (mut registry, name) = registry();
        let ann = member(7, "secret");
        ann.shared.telemetry.received_total.store(5, Relaxed);
        registry.add(&name, ann);
        assert_eq!(registry.totals().received, 5);
        registry.take(ParticipantId(7));
        assert_eq!(registry.totals().received, 5);
    }
}
