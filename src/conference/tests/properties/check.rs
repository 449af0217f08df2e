//! Invariants checked after every step of the conference's random test.

use std::collections::BTreeSet;

use mixer::permit::Permit;
use mixer::{ParticipantId, RoomId};

use super::world::{World, monitors};
use crate::conference::placement::{places, settings};
use crate::conference::registry::Registry;
use crate::floor::Mode;
use crate::protocol::MAX_MONITORED_ROOMS;

impl World {
    pub(super) fn check(&mut self) {
        self.check_sessions();
        self.check_mixers();
        self.check_floors();
        self.check_watchers();
    }

    /// Checks that counts match the participants present, and that failed joins leave nothing
    /// behind.
    fn check_sessions(&self) {
        let registry = &self.machine.registry;
        assert_eq!(registry.sessions(), self.members() + self.seats.len());
        assert_eq!(registry.seats, self.seats.len());
        for (name, room) in &registry.rooms {
            let seats = self.seats.iter();
            let seats = seats.filter(|seat| seat.room == *name && seat.room_id == room.id);
            assert_eq!(room.seats, seats.count(), "{name}");
            // Rooms stay during shutdown. A room that has failed stays until the joins that held
            // seats at the failure have ended.
            let is_awaited = self.seats.iter().any(|seat| seat.room == *name);
            assert!(self.closed || is_awaited || !room.is_over(), "{name}");
            for member in &room.members {
                assert_eq!(registry.of_session(&member.session), Some(member.id));
                assert_eq!(registry.place(member.id), Some(name));
                assert!(self.network.peers.contains(&member.id));
            }
        }
        assert_eq!(self.network.peers.len(), self.members());
    }

    /// Checks that the mixers have exactly the existing rooms and participants, with their
    /// settings.
    fn check_mixers(&self) {
        let Registry { rooms, .. } = &self.machine.registry;
        let placement = &self.machine.placement;
        let mut known: BTreeSet<RoomId> = BTreeSet::new();
        for (name, room) in rooms {
            if placement.has_failed(room.id) {
                continue;
            }
            let mixer = placement.mixer_of(room.id).expect("it is on one");
            let there = &self.mixers[mixer.0].rooms.get(&room.id);
            let there = there.unwrap_or_else(|| panic!("{name} is on no mixer"));
            assert_eq!(there.settings, settings(&room.config), "{name}");
            assert!(there.capacity >= places(&room.config), "{name}");
            assert_eq!(there.capacity, room.capacity, "{name}");
            let members = room.members.iter();
            let members = members.filter(|member| !member.shared.telemetry.was_refused());
            let members: BTreeSet<ParticipantId> = members.map(|member| member.id).collect();
            assert_eq!(there.members, members, "{name}");
            known.insert(room.id);
        }
        let there = self.mixers.iter().flat_map(|mixer| mixer.rooms.keys());
        assert_eq!(there.copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(placement.counts(), (rooms.len(), self.members()));
    }

    /// Checks that every permit matches its floor, and that no room has more talkers than its mode
    /// allows.
    fn check_floors(&mut self) {
        let registry = &mut self.machine.registry;
        assert!(registry.changed_floors.is_empty());
        for (name, room) in &mut registry.rooms {
            let looked_at = registry.floors.contains(name);
            let is_empty = room.members.is_empty();
            assert!(looked_at || is_empty || room.config.floor.mode == Mode::Open);
            assert_eq!(
                room.floor.take_actions(),
                [],
                "{name}: nothing is left to do"
            );
            assert_eq!(room.floor.settings(), &room.config.floor);
            let permits = room.members.iter().map(|member| {
                let permit = member.shared.settings.permit();
                assert_eq!(permit, room.floor.permit(member.id), "{name}");
                permit
            });
            let held = permits.filter(|permit| matches!(permit, Permit::Held | Permit::Draining));
            let held = held.count();
            let most = match room.config.floor.mode {
                Mode::Open => 0,
                Mode::Multi(most) => usize::from(most),
                _ => 1,
            };
            assert!(held <= most, "{held} in {name}, {}", room.config.floor.mode);
        }
    }

    /// Checks that the state of each room, as its watchers know it, is correct.
    fn check_watchers(&mut self) {
        let rooms = &self.machine.registry.rooms;
        self.watchers.retain_mut(|watcher| {
            let room = rooms.get(&watcher.room);
            let room = room.filter(|room| room.watch == watcher.watch);
            let goes_on = watcher.read();
            assert_eq!(goes_on, room.is_some(), "{}", watcher.room);
            let Some(room) = room else {
                return false;
            };
            let state = room.state(&watcher.room, self.now);
            let state = serde_json::to_value(&state).expect("JSON");
            let people = state["participants"].as_array().expect("a list");
            assert_eq!(&watcher.participants, people, "{}", watcher.room);
            assert_eq!(watcher.monitors, monitors(&state), "{}", watcher.room);
            true
        });
    }

    /// Checks that participants hear exactly the rooms of their monitor lists, and no room that
    /// refuses monitors. All effects must be delivered before.
    pub(super) fn check_monitoring(&self) {
        let machine = &self.machine;
        let (registry, monitoring) = (&machine.registry, &machine.monitoring);
        let partners = registry.partners(MAX_MONITORED_ROOMS);
        for (name, room) in &registry.rooms {
            let Some(mixer) = machine.placement.mixer_of(room.id) else {
                continue;
            };
            let Some(there) = self.mixers[mixer.0].rooms.get(&room.id) else {
                continue;
            };
            assert_eq!(there.feed, monitoring.feed(name), "{name}");
            let linked = partners.get(name).into_iter().flatten();
            let linked: Vec<_> = linked.filter_map(|name| monitoring.feed(name)).collect();
            assert_eq!(there.links, linked, "{name}");
            if room.subscribers.is_some() {
                assert!(there.feed.is_some(), "{name} is heard elsewhere");
            }
            let listening = monitoring.monitors(name, registry);
            assert_eq!(room.monitors.total, listening.len(), "{name}");
            for member in &room.members {
                if member.shared.telemetry.was_refused() {
                    continue;
                }
                let plan = self.mixers[mixer.0].monitors.get(&member.id);
                let mut heard = plan.map_or(Vec::new(), |plan| plan.channels.clone());
                heard.sort_unstable_by_key(|(number, _)| *number);
                let plans = monitoring.planned(member.id, registry);
                let [plan, told] = plans.unwrap_or_default();
                assert_eq!((&told, &heard), (&plan, &plan), "{name}");
            }
        }
        let feeds = monitoring.feeds().filter_map(|name| monitoring.feed(name));
        assert_eq!(feeds.collect::<BTreeSet<_>>(), self.feeds);
        for (id, plan) in self.mixers.iter().flat_map(|mixer| &mixer.monitors) {
            for (number, _) in &plan.channels {
                let mut names = monitoring.feeds();
                let name = names.find(|name| monitoring.feed(name) == Some(*number));
                let name = name.expect("a feed of a room that is there");
                let room = &registry.rooms[name];
                assert!(room.config.allows_monitors(), "{name} refuses it");
                let heard_by = room.subscribers.as_ref().expect("somebody");
                assert!(heard_by.ids.contains(id), "{name}");
            }
        }
    }
}
