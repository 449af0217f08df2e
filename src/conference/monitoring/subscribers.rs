//! Subscribers of a room: the participants of other rooms who receive the room's events. Those who
//! monitor the room are also listed in it as monitors.

use std::collections::BTreeSet;
use std::time::Instant;

use mixer::ParticipantId;

use super::Monitoring;
use crate::conference::CommandError;
use crate::conference::commands::refusal;
use crate::conference::registry::Registry;
use crate::conference::room::Subscribers;
use crate::protocol::{Event, MAX_MONITORS, Monitors, RoomName};

/// An event of a room for participants of other rooms.
#[derive(Debug)]
pub(in crate::conference) struct MonitorNotice {
    pub(in crate::conference) to: Vec<ParticipantId>,
    pub(in crate::conference) event: Event,
    pub(in crate::conference) room: RoomName,
}

/// The events that follow from a synchronisation; they are sent after the orders to the mixers.
#[derive(Debug, Default)]
pub(in crate::conference) struct MonitoringChanges {
    pub(in crate::conference) notices: Vec<MonitorNotice>,
    /// Rooms whose listed monitors have changed.
    pub(in crate::conference) monitored: Vec<RoomName>,
}

impl Monitoring {
    /// Returns the participants of other rooms who monitor a room, directly or by monitoring a room
    /// that is linked with it.
    pub(in crate::conference) fn monitors(
        &self,
        name: &RoomName,
        registry: &Registry,
    ) -> BTreeSet<ParticipantId> {
        if !registry.allows_monitors(name) {
            return BTreeSet::new();
        }
        let heard = [name].into_iter().chain(self.feeds.partners(name));
        let listeners = heard.clone().flat_map(|room| self.plans.listeners(room));
        let is_elsewhere = |id: &ParticipantId| {
            let place = registry.place(*id);
            place.is_some_and(|place| heard.clone().all(|room| room != place))
        };
        listeners.filter(is_elsewhere).collect()
    }

    /// Ends the monitoring of rooms that allow no monitors; appends a notice for their former
    /// monitors to `changes`.
    pub(super) fn end_refused(&mut self, registry: &Registry, changes: &mut MonitoringChanges) {
        for (room, listeners) in self.plans.end_refused(registry) {
            let heard = listeners.iter().flat_map(|id| self.plans.heard_by(*id));
            self.changed_rooms.extend(heard.cloned());
            self.changed_rooms.insert(room.clone());
            let error = CommandError::MonitoringRefused { room: room.clone() };
            changes.notices.push(MonitorNotice {
                to: listeners.into_iter().collect(),
                event: refusal(&error, None),
                room,
            });
        }
    }

    /// Stores the monitors and the subscribers of each changed room in the room; appends a notice
    /// of the room's present state for each new subscriber to `changes`.
    pub(super) fn sync_subscribers(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        changes: &mut MonitoringChanges,
    ) {
        for name in std::mem::take(&mut self.changed_rooms) {
            let ids = self.monitors(&name, registry);
            let subscribers = self.subscribers(&name, &ids, registry);
            let listed = ids.iter().take(MAX_MONITORS);
            let monitors = Monitors {
                monitors: listed.filter_map(|id| registry.monitor(*id)).collect(),
                total: ids.len(),
            };
            let Some(room) = registry.rooms.get_mut(&name) else {
                continue;
            };
            if room.monitors != monitors {
                room.monitors = monitors;
                changes.monitored.push(name.clone());
            }
            let before = room.subscribers.take();
            let before = before.map_or(Vec::new(), |before| before.ids);
            let new = subscribers.iter().copied();
            let new = new.filter(|id| before.binary_search(id).is_err());
            let new: Vec<ParticipantId> = new.collect();
            if !new.is_empty() {
                let events = room.snapshot(&name, now).into_iter();
                changes.notices.extend(events.map(|event| MonitorNotice {
                    to: new.clone(),
                    event,
                    room: name.clone(),
                }));
            }
            room.subscribers = (!subscribers.is_empty()).then_some(Subscribers {
                room: name,
                ids: subscribers,
            });
        }
    }

    /// Returns the participants of other rooms who hear a room, in ascending order: its monitors,
    /// and all members of the rooms that are linked with it.
    fn subscribers(
        &self,
        name: &RoomName,
        monitors: &BTreeSet<ParticipantId>,
        registry: &Registry,
    ) -> Vec<ParticipantId> {
        let partners = self.feeds.partners(name);
        let linked = partners.filter_map(|partner| registry.rooms.get(partner));
        let linked = linked.flat_map(|room| &room.members);
        let linked = linked.map(|member| &member.id);
        let subscribers: BTreeSet<ParticipantId> = monitors.iter().chain(linked).copied().collect();
        subscribers.into_iter().collect()
    }
}
