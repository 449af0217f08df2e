//! Monitoring: the other rooms that participants hear, through their own monitor lists or through
//! links between rooms.
//!
//! | file | decides |
//! |---|---|
//! | `plan` | which rooms each participant monitors |
//! | `feeds` | which rooms have a feed, and which feeds linked rooms hear |
//! | `subscribers` | which participants receive the events of another room |
//!
//! Rooms begin and end while participants monitor them, and the queue to a mixer may be full.
//! Therefore the wanted state of each mixer is computed from the monitor lists and links, and
//! compared with the state that the mixer was last told. Each call of [`Machine::sync_monitors`]
//! sends the differences; a difference that finds the queue full is sent by a later call.

mod feeds;
mod plan;
mod subscribers;

use std::collections::BTreeSet;
use std::time::Instant;

use mixer::ParticipantId;

use super::CommandError;
use super::effect::Effects;
use super::machine::Machine;
use super::placement::Placement;
use super::registry::Registry;
use super::rights::Actor;
use crate::protocol::{Event, MonitorEntry, RoomName};
use feeds::RoomFeeds;
use plan::MonitorPlans;
use subscribers::MonitoringChanges;

/// The monitor lists of participants, the feeds of rooms, and the differences from the state that
/// the mixers and the rooms were last told.
#[derive(Debug, Default)]
pub(super) struct Monitoring {
    plans: MonitorPlans,
    feeds: RoomFeeds,
    /// Rooms whose monitors or subscribers may have changed.
    changed_rooms: BTreeSet<RoomName>,
    /// The registry's [generation](Registry::generation) at the last synchronisation, which changes
    /// when a room begins or ends.
    generation: (u32, usize),
}

/// The rooms, and the queues to their mixers.
struct RoomMixers<'a> {
    registry: &'a Registry,
    placement: &'a Placement,
    effects: &'a mut Effects,
}

impl Machine {
    /// Replaces the monitor list of a participant.
    ///
    /// On a server whose joins create rooms, the list may name rooms that do not exist: the
    /// participant hears such a room once it begins.
    ///
    /// # Errors
    /// [`CommandError::UnknownRoom`] if a room does not exist on a server whose joins create no
    /// rooms; [`CommandError::MonitoringRefused`] if a room allows no monitors. The monitor list is
    /// then unchanged.
    pub(super) fn listen(
        &mut self,
        id: ParticipantId,
        list: Vec<MonitorEntry>,
        now: Instant,
    ) -> Result<(), CommandError> {
        self.may_monitor(Actor::Participant(id), &list)?;
        if let Some(home) = self.registry.place(id) {
            self.monitoring.set(id, home, list);
        }
        self.sync_monitors(now);
        Ok(())
    }

    /// Sends the mixers the monitors and feeds that have changed, sends new subscribers of a room
    /// the room's present state, and announces changed monitors to their rooms.
    pub(super) fn sync_monitors(&mut self, now: Instant) {
        let MonitoringChanges { notices, monitored } = self.sync_mixers(now);
        for notice in notices {
            let text = notice.event.to_json_from(&notice.room);
            self.effects.text(notice.to, text.into());
        }
        for name in monitored {
            if let Some(room) = self.registry.rooms.get(&name) {
                let event = Event::Monitors {
                    room: name,
                    monitors: room.monitors.clone(),
                };
                self.effects.broadcast(room, &event);
            }
        }
    }

    /// Sends the mixers the monitors and feeds that have changed; returns the events that
    /// participants must receive after the mixers' orders.
    pub(super) fn sync_mixers(&mut self, now: Instant) -> MonitoringChanges {
        let Machine {
            registry,
            placement,
            monitoring,
            effects,
            ..
        } = self;
        let mut changes = MonitoringChanges::default();
        if !monitoring.is_due(registry) {
            return changes;
        }
        monitoring.end_refused(registry, &mut changes);
        let mut mixers = RoomMixers {
            registry,
            placement,
            effects,
        };
        monitoring.sync_feeds(&mut mixers);
        // A feed that has opened or closed may change which linked rooms hear each other, and these
        // rooms may need feeds in turn.
        monitoring.sync_feeds(&mut mixers);
        monitoring.feeds.send_links(&mut mixers);
        let changed = monitoring.plans.send(&monitoring.feeds, &mut mixers);
        monitoring.changed_rooms.extend(changed);
        monitoring.sync_subscribers(registry, now, &mut changes);
        changes
    }
}

impl Monitoring {
    /// Returns whether an order to open or close a feed found a mixer's queue full and must be sent
    /// again.
    pub(super) fn is_to_retry(&self) -> bool {
        self.feeds.is_to_retry()
    }

    /// Marks the links between rooms as possibly changed: a room's list of links, or the members of
    /// a linked room.
    pub(super) fn mark_links_stale(&mut self) {
        self.feeds.mark_links_stale();
    }

    /// Marks a room whose settings may have begun to allow or refuse monitors.
    pub(super) fn mark_monitors_stale(&mut self, name: &RoomName) {
        self.changed_rooms.insert(name.clone());
        if self.feeds.is_linked(name) {
            self.plans.mark_all_stale();
        }
    }

    /// Marks the rooms that a participant monitors, because they show the participant's name, which
    /// has changed.
    pub(super) fn mark_renamed(&mut self, id: ParticipantId) {
        self.changed_rooms.extend(self.plans.rooms_of(id).cloned());
    }

    /// Replaces the monitor list of a participant.
    ///
    /// - `home`: the participant's own room.
    pub(super) fn set(&mut self, id: ParticipantId, home: &RoomName, list: Vec<MonitorEntry>) {
        self.changed_rooms.extend(self.plans.rooms_of(id).cloned());
        let others = list.iter().map(|entry| &entry.room);
        let others = others.filter(|room| *room != home);
        self.changed_rooms.extend(others.cloned());
        self.plans.set(id, home, list);
    }

    /// Removes a participant who has left.
    pub(super) fn forget(&mut self, id: ParticipantId) {
        self.changed_rooms.extend(self.plans.rooms_of(id).cloned());
        self.plans.remove(id);
    }

    /// Returns the rooms that a participant hears besides its own room.
    ///
    /// - `home`: the participant's own room.
    pub(super) fn heard_by(
        &self,
        id: ParticipantId,
        home: Option<&RoomName>,
    ) -> impl Iterator<Item = &RoomName> {
        let monitored = self.plans.heard_by(id);
        let linked = home.into_iter().flat_map(|home| self.feeds.partners(home));
        monitored.chain(linked)
    }

    /// Returns whether the mixers or the rooms may have to be told of a change. Rooms that have
    /// begun or ended matter only if any room is monitored or linked.
    fn is_due(&mut self, registry: &Registry) -> bool {
        let generation = registry.generation();
        let has_other_rooms = std::mem::replace(&mut self.generation, generation) != generation;
        let is_used = self.plans.is_used() || self.feeds.is_used();
        let is_stale = self.plans.is_stale() || self.feeds.is_stale();
        is_used && has_other_rooms || is_stale || !self.changed_rooms.is_empty()
    }

    /// Computes which linked rooms hear each other, and opens and closes feeds accordingly.
    fn sync_feeds(&mut self, mixers: &mut RoomMixers<'_>) {
        if let Some(linked) = self.feeds.sync_partners(mixers.registry) {
            self.changed_rooms.extend(linked);
            self.plans.mark_all_stale();
        }
        for name in self.feeds.sync(self.plans.monitored_rooms(), mixers) {
            if self.feeds.is_linked(&name) {
                self.plans.mark_all_stale();
                self.feeds.mark_links_stale();
            } else {
                self.plans.mark_listeners_stale(&name);
            }
            if mixers.registry.rooms.contains_key(&name) {
                self.changed_rooms.insert(name);
            }
        }
    }
}

impl Registry {
    /// Returns whether a room allows participants of other rooms to monitor it; true for a room
    /// that does not exist.
    pub(super) fn allows_monitors(&self, name: &RoomName) -> bool {
        let room = self.rooms.get(name);
        room.is_none_or(|room| room.config.allows_monitors())
    }
}

/// Views for tests.
#[cfg(test)]
mod views {
    use mixer::monitor::MonitorLevel;

    use super::*;
    use crate::conference::effect::FeedNo;

    impl Monitoring {
        /// Returns the names of the rooms that have a feed.
        pub(in crate::conference) fn feeds(&self) -> impl Iterator<Item = &RoomName> {
            self.feeds.names()
        }

        /// Returns the number of a room's feed.
        pub(in crate::conference) fn feed(&self, room: &RoomName) -> Option<FeedNo> {
            self.feeds.number(room)
        }

        /// Returns the feeds that a participant with a monitor list should hear, and the feeds that
        /// its mixer was last told.
        pub(in crate::conference) fn planned(
            &self,
            id: ParticipantId,
            registry: &Registry,
        ) -> Option<[Vec<(FeedNo, MonitorLevel)>; 2]> {
            self.plans.planned(id, &self.feeds, registry)
        }

        /// Returns whether no participant monitors a room and no room has a feed.
        pub(in crate::conference) fn is_empty(&self) -> bool {
            !self.plans.is_used() && self.feeds.names().next().is_none()
        }
    }
}
