//! Monitor plans: which rooms each participant monitors, and how loud it hears each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mixer::monitor::MonitorLevel;
use mixer::{Decibels, Gain, ParticipantId};

use super::RoomMixers;
use super::feeds::{RoomFeeds, monitor_plan};
use crate::conference::effect::{FeedNo, QueueFull};
use crate::conference::registry::Registry;
use crate::protocol::{MAX_MONITORED_ROOMS, MonitorEntry, RoomName};

/// The monitor lists of all participants, and the plans that the mixers were last told.
#[derive(Debug, Default)]
pub(super) struct MonitorPlans {
    lists: HashMap<ParticipantId, MonitorList>,
    /// For each room that monitor lists name, the participants of other rooms whose list names it.
    listeners: BTreeMap<RoomName, BTreeSet<ParticipantId>>,
    /// Participants whose plan may differ from the plan that their mixer was last told.
    stale: BTreeSet<ParticipantId>,
}

/// The monitor list of one participant.
#[derive(Debug, Default)]
struct MonitorList {
    list: Vec<MonitorEntry>,
    /// The plan that the participant's mixer was last told.
    told: MonitorPlan,
}

/// The existing rooms that a participant hears because of its monitor list.
#[derive(Debug, Clone, Default, PartialEq)]
struct MonitorPlan {
    /// Gain and priority of the participant's own room.
    home: MonitorLevel,
    /// The feeds of the other rooms.
    channels: BTreeMap<FeedNo, MonitorLevel>,
    /// The names of the other rooms.
    names: BTreeSet<RoomName>,
}

impl MonitorPlans {
    /// Returns whether any participant has a monitor list.
    pub(super) fn is_used(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Returns whether the plan of a participant may have to be sent to a mixer.
    pub(super) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Marks the plans of all participants with a monitor list as possibly changed.
    pub(super) fn mark_all_stale(&mut self) {
        self.stale.extend(self.lists.keys());
    }

    /// Marks the plans of the participants whose monitor list names a room as possibly changed.
    pub(super) fn mark_listeners_stale(&mut self, room: &RoomName) {
        let listeners = self.listeners.get(room).into_iter().flatten();
        self.stale.extend(listeners);
    }

    /// Returns the rooms that monitor lists name, except participants' own rooms.
    pub(super) fn monitored_rooms(&self) -> impl Iterator<Item = &RoomName> + Clone {
        self.listeners.keys()
    }

    /// Returns the participants of other rooms whose monitor list names a room.
    pub(super) fn listeners(&self, room: &RoomName) -> impl Iterator<Item = ParticipantId> {
        self.listeners.get(room).into_iter().flatten().copied()
    }

    /// Returns the rooms that a participant's mixer was last told to play to the participant.
    pub(super) fn heard_by(&self, id: ParticipantId) -> impl Iterator<Item = &RoomName> {
        let monitored = self.lists.get(&id).into_iter();
        monitored.flat_map(|monitored| &monitored.told.names)
    }

    /// Returns the rooms that a participant's monitor list names and the other rooms that the
    /// participant hears; some rooms are returned twice.
    pub(super) fn rooms_of(&self, id: ParticipantId) -> impl Iterator<Item = &RoomName> {
        let listed = self.lists.get(&id).into_iter();
        let listed = listed.flat_map(|monitored| &monitored.list);
        listed.map(|entry| &entry.room).chain(self.heard_by(id))
    }

    /// Replaces the monitor list of a participant.
    ///
    /// - `home`: the participant's own room.
    pub(super) fn set(&mut self, id: ParticipantId, home: &RoomName, list: Vec<MonitorEntry>) {
        self.unlist(id);
        for entry in list.iter().filter(|entry| entry.room != *home) {
            let listeners = self.listeners.entry(entry.room.clone()).or_default();
            listeners.insert(id);
        }
        self.lists.entry(id).or_default().list = list;
        self.stale.insert(id);
    }

    /// Removes a participant who has left.
    pub(super) fn remove(&mut self, id: ParticipantId) {
        self.unlist(id);
        self.lists.remove(&id);
        self.stale.remove(&id);
    }

    /// Takes rooms that allow no monitors out of all monitor lists; returns each such room with the
    /// participants whose list named it.
    pub(super) fn end_refused(
        &mut self,
        registry: &Registry,
    ) -> Vec<(RoomName, BTreeSet<ParticipantId>)> {
        let rooms = self.listeners.keys();
        let refusing = rooms.filter(|room| !registry.allows_monitors(room));
        let refusing: Vec<RoomName> = refusing.cloned().collect();
        let mut ended = Vec::new();
        for room in refusing {
            let listeners = self.listeners.remove(&room).unwrap_or_default();
            for id in &listeners {
                if let Some(monitored) = self.lists.get_mut(id) {
                    monitored.list.retain(|entry| entry.room != room);
                }
            }
            self.stale.extend(&listeners);
            ended.push((room, listeners));
        }
        ended
    }

    /// Sends the mixers the plans that have changed, up to [`MAX_PLANS_PER_SYNC`]; returns the
    /// rooms that participants have begun or may have ceased to hear.
    pub(super) fn send(
        &mut self,
        feeds: &RoomFeeds,
        mixers: &mut RoomMixers<'_>,
    ) -> BTreeSet<RoomName> {
        let mut changed = BTreeSet::new();
        for _ in 0..MAX_PLANS_PER_SYNC {
            let Some(id) = self.stale.pop_first() else {
                break;
            };
            let Some(plan) = self.current(id, feeds, mixers.registry) else {
                continue;
            };
            let is_told = self.lists.get(&id).is_some_and(|it| it.told == plan);
            if !is_told && tell_mixer(id, &plan, feeds, mixers).is_err() {
                self.stale.insert(id);
                break;
            }
            changed.extend(self.note_told(id, plan));
        }
        changed
    }

    /// Computes the present plan of a participant; `None` if the participant has left or has no
    /// monitor list.
    fn current(
        &self,
        id: ParticipantId,
        feeds: &RoomFeeds,
        registry: &Registry,
    ) -> Option<MonitorPlan> {
        let home = registry.place(id)?;
        let monitored = self.lists.get(&id)?;
        Some(MonitorPlan::new(home, &monitored.list, feeds, registry))
    }

    /// Stores the plan that a participant's mixer was told, or forgets the participant if its
    /// monitor list is empty; returns the rooms of the plans before and after, unless the
    /// participant is forgotten.
    fn note_told(&mut self, id: ParticipantId, plan: MonitorPlan) -> BTreeSet<RoomName> {
        let Some(monitored) = self.lists.get_mut(&id) else {
            return BTreeSet::new();
        };
        if monitored.list.is_empty() {
            self.lists.remove(&id);
            return BTreeSet::new();
        }
        let before = std::mem::replace(&mut monitored.told, plan);
        let now = monitored.told.names.iter().cloned();
        before.names.into_iter().chain(now).collect()
    }

    /// Removes a participant from the listeners of all rooms of its monitor list.
    fn unlist(&mut self, id: ParticipantId) {
        let Some(monitored) = self.lists.get(&id) else {
            return;
        };
        for entry in &monitored.list {
            if let Some(listeners) = self.listeners.get_mut(&entry.room) {
                listeners.remove(&id);
                if listeners.is_empty() {
                    self.listeners.remove(&entry.room);
                }
            }
        }
    }

    /// Returns the feeds that a participant with a monitor list should hear, and the feeds that its
    /// mixer was last told.
    #[cfg(test)]
    pub(super) fn planned(
        &self,
        id: ParticipantId,
        feeds: &RoomFeeds,
        registry: &Registry,
    ) -> Option<[Vec<(FeedNo, MonitorLevel)>; 2]> {
        let plan = self.current(id, feeds, registry)?;
        let plans = [plan, self.lists.get(&id)?.told.clone()];
        Some(plans.map(|plan| plan.channels.into_iter().collect()))
    }
}

impl MonitorPlan {
    /// Computes which feeds a participant hears: those of the listed rooms, and those of the rooms
    /// that are linked with a listed room and allow monitors, with the gain and priority of the
    /// listed room.
    ///
    /// Rooms linked with the participant's own room are left out, because the participant hears
    /// them in the mix of its own room.
    ///
    /// - `home`: the participant's own room.
    fn new(
        home: &RoomName,
        list: &[MonitorEntry],
        feeds: &RoomFeeds,
        registry: &Registry,
    ) -> MonitorPlan {
        let in_home_mix: BTreeSet<&RoomName> = feeds.partners(home).chain([home]).collect();
        let own = list.iter().find(|entry| entry.room == *home);
        let mut plan = MonitorPlan {
            home: own.map_or(MonitorLevel::default(), level),
            ..MonitorPlan::default()
        };
        let listed = list.iter().map(|entry| (&entry.room, entry));
        let linked = list.iter().flat_map(|entry| {
            let partners = feeds.partners(&entry.room);
            let partners = partners.filter(|name| registry.allows_monitors(name));
            partners.map(move |partner| (partner, entry))
        });
        for (name, entry) in listed.chain(linked) {
            let feed = feeds.number(name);
            let Some(feed) = feed.filter(|_| !in_home_mix.contains(name)) else {
                continue;
            };
            if plan.channels.len() < MAX_FEEDS {
                plan.channels.entry(feed).or_insert(level(entry));
                plan.names.insert(name.clone());
            }
        }
        plan
    }
}

/// Sends a participant's mixer the participant's plan, unless the participant receives no audio.
fn tell_mixer(
    id: ParticipantId,
    plan: &MonitorPlan,
    feeds: &RoomFeeds,
    mixers: &mut RoomMixers<'_>,
) -> Result<(), QueueFull> {
    let registry = mixers.registry;
    let room = registry.place(id).and_then(|home| registry.rooms.get(home));
    let member = room.and_then(|room| Some((room, room.member(id)?)));
    let Some((room, member)) = member.filter(|(_, member)| member.listens) else {
        return Ok(());
    };
    let is_plain = plan.channels.is_empty() && plan.home == MonitorLevel::default();
    let plan = (!is_plain).then(|| {
        let channels = feeds.numbers().filter_map(|number| {
            let level = *plan.channels.get(&number)?;
            Some((number, level))
        });
        monitor_plan(room, plan.home, channels)
    });
    mixers
        .placement
        .set_monitors(mixers.effects, id, plan, member.stream)
}

fn level(entry: &MonitorEntry) -> MonitorLevel {
    MonitorLevel {
        gain: Gain::from(Decibels(entry.gain_db)),
        priority: entry.priority,
    }
}

/// Maximum number of plans sent in one synchronisation, because an encoder is built for each plan
/// of a listen-only participant.
const MAX_PLANS_PER_SYNC: usize = 64;

/// Maximum number of feeds that one participant hears, including the feeds of linked rooms.
const MAX_FEEDS: usize = 4 * MAX_MONITORED_ROOMS;
