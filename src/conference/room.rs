//! One room of the conference: its settings, members, floor and links, and its state as clients see
//! it.

use std::collections::BTreeSet;
use std::time::Instant;

use mixer::{ParticipantId, RoomId};

use super::effect::WatchId;
use super::member::Member;
use super::placement::places;
use crate::floor::Floor;
use crate::protocol::{FloorState, Monitors, RoomConfig, RoomLine, RoomName, RoomState};

/// One room: its settings, members, seats, floor and links.
#[derive(Debug)]
pub(super) struct Room {
    /// The id of the room on its mixer, which changes when the room is built anew.
    pub(super) id: RoomId,
    /// Identifies the room to the WebSockets that watch it.
    pub(super) watch: WatchId,
    /// Settings of the room.
    pub(super) config: RoomConfig,
    /// Whether the room stays when it is empty.
    pub(super) permanent: bool,
    /// Number of members that the room has memory for on its mixer.
    pub(super) capacity: usize,
    /// Number of seats held by joins under way.
    pub(super) seats: usize,
    /// Members in the order of joining.
    pub(super) members: Vec<Member>,
    /// The floor, which decides whose voice is heard.
    pub(super) floor: Floor,
    /// The rooms that this room is directly linked with, including rooms that do not exist.
    pub(super) links: BTreeSet<RoomName>,
    /// The participants of other rooms who hear this room, if there are any.
    pub(super) subscribers: Option<Subscribers>,
    /// The monitors that the room lists: participants of other rooms who asked to hear this room.
    pub(super) monitors: Monitors,
}

/// The participants of other rooms who hear a room.
#[derive(Debug)]
pub(super) struct Subscribers {
    /// The name of the room that these participants hear.
    pub(super) room: RoomName,
    /// The ids of these participants, in ascending order.
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

    /// Returns whether nothing keeps the room: it is not permanent, and has neither members nor
    /// seats.
    pub(super) fn is_over(&self) -> bool {
        !self.permanent && self.members.is_empty() && self.seats == 0
    }

    /// Returns whether the room has no seat left.
    pub(super) fn is_full(&self) -> bool {
        self.members.len() + self.seats >= self.config.max_participants as usize
    }

    /// Returns the room's state with all its participants.
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

    /// Returns the room's summary for the list of rooms.
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

    /// Returns the floor's holders and queue; `None` if the room has no floor.
    fn floor_state(&self, now: Instant) -> Option<FloorState> {
        let has_floor = self.config.floor.mode.has_floor();
        has_floor.then(|| FloorState::of(&self.floor, now))
    }

    /// Returns the member of this id.
    pub(super) fn member(&self, id: ParticipantId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Returns the name of a member, empty if the room has no such member.
    pub(super) fn name_of(&self, id: ParticipantId) -> &str {
        self.member(id).map_or("", |member| &member.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::conference::member::tests::member;
    use crate::conference::registry::tests::registry;

    #[test]
    fn room_ends_only_without_members_and_reserved_seats_and_if_not_permanent() {
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
    fn reserved_seats_count_towards_a_full_room() {
        let (mut registry, name) = registry();
        registry.add(&name, member(7, "secret"));
        let room = registry.rooms.get_mut(&name).expect("it is there");
        room.config.max_participants = 2;
        assert!(!room.is_full());
        room.seats = 1;
        assert!(room.is_full());
    }
}
