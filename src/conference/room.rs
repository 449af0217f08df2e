//! One room of the conference: its settings, members, floor and links, and how clients see it.

use std::collections::BTreeSet;
use std::time::Instant;

use mixer::{ParticipantId, RoomId};

use super::effect::WatchId;
use super::member::Member;
use super::placement::places;
use crate::floor::Floor;
use crate::protocol::{FloorState, Monitors, RoomConfig, RoomLine, RoomName, RoomState};

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    /// The mixer's name for it.
    pub(super) id: RoomId,
    /// What those who watch it know it by.
    pub(super) watch: WatchId,
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
    pub(super) subscribers: Option<Subscribers>,
    /// Those of them who asked to, as everybody may see them.
    pub(super) monitors: Monitors,
}

/// The participants of other rooms who hear a room.
#[derive(Debug)]
pub(super) struct Subscribers {
    /// The room's name.
    pub(super) room: RoomName,
    /// Who, in order.
    pub(super) ids: Vec<ParticipantId>,
}

impl Room {
    pub(super) fn new(id: RoomId, config: RoomConfig, permanent: bool) -> Room {
        Room {
            id,
            watch: WatchId(id),
            config,
            permanent,
            capacity: places(&config),
            seats: 0,
            members: Vec::new(),
            floor: Floor::new(config.floor),
            links: BTreeSet::new(),
            subscribers: None,
            monitors: Monitors::default(),
        }
    }

    /// Whether nothing keeps it.
    pub(super) fn is_over(&self) -> bool {
        !self.permanent && self.members.is_empty() && self.seats == 0
    }

    /// Whether one more may come.
    pub(super) fn is_full(&self) -> bool {
        self.members.len() + self.seats >= self.config.max_participants as usize
    }

    /// The room with everybody in it.
    pub(super) fn state(&self, name: &RoomName, now: Instant) -> RoomState {
        RoomState {
            name: name.clone(),
            config: self.config,
            allow_monitors: self.config.allows_monitors(),
            floor: self.floor_state(now),
            monitors: self.monitors.clone(),
            links: self.links.iter().cloned().collect(),
            permanent: self.permanent,
            participants: self.members.iter().map(Member::public).collect(),
            participants_total: None,
        }
    }

    /// The room in one line.
    pub(super) fn line(&self, name: &RoomName, now: Instant) -> RoomLine {
        RoomLine {
            name: name.clone(),
            config: self.config,
            allow_monitors: self.config.allows_monitors(),
            floor: self.floor_state(now),
            links: self.links.iter().cloned().collect(),
            participants: self.members.len(),
            talking: self.members.iter().filter(|member| member.talking).count(),
        }
    }

    /// Who holds the floor and who waits, where there is one.
    fn floor_state(&self, now: Instant) -> Option<FloorState> {
        let has_floor = self.config.floor.mode.has_floor();
        has_floor.then(|| FloorState::of(&self.floor, now))
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

#[cfg(test)]
mod tests {
    use crate::conference::member::tests::member;
    use crate::conference::registry::tests::registry;

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
}
