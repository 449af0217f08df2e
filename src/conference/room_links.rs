//! Links between rooms: linked rooms hear each other. The registry holds the links;
//! [`super::monitoring`] tells the mixers about them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::ConfigureError;
use super::machine::Machine;
use super::registry::Registry;
use super::room::Room;
use crate::protocol::{Event, MAX_MONITORED_ROOMS, RoomName};

impl Machine {
    /// Links a room with a list of other rooms, and ends its links with all rooms outside the list.
    ///
    /// A link may name a room that does not exist, and takes effect once that room begins. If more
    /// rooms than the maximum would then hear each other, the links of older rooms take precedence.
    /// A link ends when both its rooms have ended.
    ///
    /// # Errors
    /// [`ConfigureError::TooManyLinked`]; the links are then unchanged.
    pub(super) fn link(
        &mut self,
        name: &RoomName,
        others: Vec<RoomName>,
        now: Instant,
    ) -> Result<(), ConfigureError> {
        let others = others.into_iter().filter(|other| other != name);
        let others: BTreeSet<RoomName> = others.collect();
        let registry = &mut self.registry;
        let before = registry.links_of(name);
        registry.set_links(name, &others);
        let limit = MAX_MONITORED_ROOMS;
        let adds = !others.is_subset(&before);
        if adds && registry.linked_with(name, limit + 1).len() > limit {
            registry.set_links(name, &before);
            return Err(ConfigureError::TooManyLinked { limit });
        }
        self.monitoring.mark_links_stale();
        self.sync_monitors(now);
        for other in before.symmetric_difference(&others) {
            if let Some(room) = self.registry.rooms.get(other) {
                let event = Event::Room {
                    room: Box::new(room.state(other, now)),
                };
                self.effects.broadcast(room, &event);
            }
        }
        Ok(())
    }
}

impl Registry {
    /// Returns the rooms that a room is directly linked with, including rooms that do not exist.
    pub(super) fn links_of(&self, name: &RoomName) -> BTreeSet<RoomName> {
        match self.rooms.get(name) {
            Some(room) => room.links.clone(),
            // A room that does not exist has no list of links, but other rooms may list it.
            None => {
                let rooms = self.rooms.iter();
                let linked = rooms.filter(|(_, room)| room.links.contains(name));
                linked.map(|(other, _)| other.clone()).collect()
            }
        }
    }

    pub(super) fn set_links(&mut self, name: &RoomName, others: &BTreeSet<RoomName>) {
        for (other, room) in &mut self.rooms {
            if others.contains(other) {
                room.links.insert(name.clone());
            } else {
                room.links.remove(name);
            }
        }
        if let Some(room) = self.rooms.get_mut(name) {
            room.links = others.clone();
        }
    }

    /// Returns for each linked room the other rooms that it hears, directly or through other rooms.
    ///
    /// No room hears more than `most` other rooms. If the links would connect more, the links of
    /// older rooms take precedence.
    pub(super) fn partners(&self, most: usize) -> BTreeMap<RoomName, Vec<RoomName>> {
        let linked = self.rooms.iter().filter(|(_, room)| !room.links.is_empty());
        let mut linked: Vec<(&RoomName, &Room)> = linked.collect();
        linked.sort_by_key(|(_, room)| room.id);
        let mut nets: Vec<Vec<&RoomName>> = Vec::new();
        let mut net_of: HashMap<&RoomName, usize> = HashMap::new();
        for (name, room) in linked {
            net_of.insert(name, nets.len());
            nets.push(vec![name]);
            for other in &room.links {
                // The link with a younger room is handled in the turn of that room, and a room that
                // does not exist hears nothing.
                let (Some(&theirs), own) = (net_of.get(other), net_of[name]) else {
                    continue;
                };
                if theirs != own && nets[theirs].len() + nets[own].len() <= most + 1 {
                    let joining = std::mem::take(&mut nets[own]);
                    net_of.extend(joining.iter().map(|name| (*name, theirs)));
                    nets[theirs].extend(joining);
                }
            }
        }
        let mut partners = BTreeMap::new();
        for net in nets.iter_mut().filter(|net| net.len() > 1) {
            net.sort_unstable();
            for name in &*net {
                let others = net.iter().filter(|other| *other != name);
                partners.insert((*name).clone(), others.map(|it| (*it).clone()).collect());
            }
        }
        partners
    }

    /// Returns up to `most` rooms that a room is linked with, directly or through other rooms.
    pub(super) fn linked_with(&self, name: &RoomName, most: usize) -> Vec<RoomName> {
        let mut found = vec![name.clone()];
        let mut at = 0;
        while let Some(next) = found.get(at).cloned() {
            // Rooms are not linked through a room that does not exist.
            let links = self.rooms.get(&next).map(|room| room.links.clone());
            for other in links.unwrap_or_default() {
                if found.len() <= most && !found.contains(&other) {
                    found.push(other);
                }
            }
            at += 1;
        }
        found.remove(0);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RoomConfig;

    fn name(at: usize) -> RoomName {
        RoomName::parse(&format!("r{at:02}")).expect("a good name")
    }

    fn make(registry: &mut Registry, at: usize) {
        let mut room = registry.new_room(RoomConfig::default(), true);
        room.links = registry.links_of(&name(at));
        registry.rooms.insert(name(at), room);
    }

    fn link(registry: &mut Registry, one: usize, others: impl IntoIterator<Item = usize>) {
        let others = others.into_iter().map(name).collect();
        registry.set_links(&name(one), &others);
    }

    #[test]
    fn linked_rooms_hear_each_other_in_both_directions() {
        let mut registry = Registry::default();
        (0..6).for_each(|at| make(&mut registry, at));
        link(&mut registry, 0, [1, 2]);
        link(&mut registry, 2, [0, 3]);
        link(&mut registry, 4, [9]);
        let partners = registry.partners(16);
        assert_eq!(
            partners.len(),
            4,
            "nothing is heard over a room that is not there"
        );
        assert_eq!(partners[&name(3)], [name(0), name(1), name(2)]);
        assert_eq!(partners[&name(0)], [name(1), name(2), name(3)]);
    }

    #[test]
    fn new_room_is_linked_only_up_to_the_limit_and_existing_links_stay() {
        let mut registry = Registry::default();
        // Two stars of nine rooms each, both also linked with room 5, which does not exist yet.
        for at in (10..19).chain(30..39) {
            make(&mut registry, at);
        }
        link(&mut registry, 10, (11..19).chain([5]));
        link(&mut registry, 30, (31..39).chain([5]));
        let before = registry.partners(16);
        make(&mut registry, 5);
        let partners = registry.partners(16);
        for (one, others) in &partners {
            assert!(others.len() <= 16, "{one} with {}", others.len());
            for other in others {
                assert!(partners[other].contains(one), "{one} hears {other} one way");
            }
        }
        for (one, others) in &before {
            let now = &partners[one];
            assert!(others.iter().all(|other| now.contains(other)), "{one}");
        }
        assert_eq!(
            partners[&name(5)].len(),
            9,
            "it is linked with those it may"
        );
    }
}
