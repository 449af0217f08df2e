//! Monitoring: which rooms participants hear besides their own, because they listen to them or the rooms are linked.
//!
//! Rooms come and go while somebody listens to them, and a link to a mixer may be full. So what each mixer should know
//! is worked out from what is asked for and compared with what it was told, as often as the links are emptied; whatever
//! could not be told is told the next time. A room has a feed as long as it is there and somebody elsewhere hears it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use mixer::scan::Strength;
use mixer::{Decibels, Gain, ParticipantId, RoomId};

use super::commands::refusal;
use super::effect::{Effect, Effects, FeedNo, QueueFull, ScanPlan};
use super::machine::Machine;
use super::placement::{Placement, layout};
use super::registry::Registry;
use super::rights::Actor;
use super::room::{Room, Subscribers};
use super::{CommandError, ConfigureError};
use crate::protocol::{Event, MAX_MONITORED_ROOMS, MAX_MONITORS, MonitorEntry, Monitors, RoomName};

/// Which rooms are monitored by whom: what was asked for, and what the mixers were told.
#[derive(Debug, Default)]
pub(super) struct Monitoring {
    lists: HashMap<ParticipantId, MonitorList>,
    /// Who listens to each room.
    listeners: BTreeMap<RoomName, BTreeSet<ParticipantId>>,
    /// What is said in each room that is heard elsewhere.
    feeds: BTreeMap<RoomName, RoomFeed>,
    /// For each room that is there and linked, the others in which its people are heard, and they in it.
    partners: BTreeMap<RoomName, Vec<RoomName>>,
    /// Rooms' links as their mixers were told.
    linked: HashMap<RoomId, Vec<FeedNo>>,
    /// Feeds so far.
    made: u64,
    /// Whose scans are to be looked at.
    stale: BTreeSet<ParticipantId>,
    /// Rooms whose audience may be another than before.
    touched: BTreeSet<RoomName>,
    /// Links are to be looked at.
    relink: bool,
    /// A mixer could not be told something.
    again: bool,
    /// The rooms that were there the last time.
    generation: (u32, usize),
}

/// The rooms that one participant monitors.
#[derive(Debug, Default)]
struct MonitorList {
    list: Vec<MonitorEntry>,
    told: MonitorPlan,
}

/// What a participant hears, in terms of rooms that exist.
#[derive(Debug, Clone, Default, PartialEq)]
struct MonitorPlan {
    home: Strength,
    channels: BTreeMap<FeedNo, Strength>,
    /// The same by the rooms' names.
    names: BTreeSet<RoomName>,
}

/// The feed of a room that is heard elsewhere.
#[derive(Debug)]
struct RoomFeed {
    room: RoomId,
    number: FeedNo,
}

/// An event for participants of other rooms.
#[derive(Debug)]
pub(super) struct MonitoringNews {
    pub(super) to: Vec<ParticipantId>,
    pub(super) event: Event,
    pub(super) room: RoomName,
}

/// What is to be broadcast once the mixers know.
#[derive(Debug, Default)]
pub(super) struct MonitoringChanges {
    pub(super) news: Vec<MonitoringNews>,
    /// Rooms that have other monitors than before.
    pub(super) monitored: Vec<RoomName>,
}

impl Machine {
    /// Lets a participant hear these rooms besides its own, and no others.
    ///
    /// A room that is not there yet is waited for, where rooms are made by joining them.
    ///
    /// # Errors
    /// [`CommandError::UnknownRoom`] where they are not, [`CommandError::MonitoringRefused`]: nothing has changed then.
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

    /// Links a room with these others, and with no others.
    ///
    /// A link lasts as long as one of the two rooms, and waits for the other. If that one comes, and more rooms than may be
    /// linked would hear each other over it, those links hold that came first.
    ///
    /// # Errors
    /// [`ConfigureError::TooManyLinked`]; nothing has changed.
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
        self.monitoring.relink = true;
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

    /// Tells the mixers what they do not know yet, and those who hear another room from now on what goes on in it.
    pub(super) fn sync_monitors(&mut self, now: Instant) {
        let MonitoringChanges { news, monitored } = self.sync_mixers(now);
        for MonitoringNews { to, event, room } in news {
            self.effects.text(to, event.to_json_from(&room).into());
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

    /// Tells the mixers; what the others are to be told.
    pub(super) fn sync_mixers(&mut self, now: Instant) -> MonitoringChanges {
        let Machine {
            registry,
            placement,
            monitoring,
            effects,
            ..
        } = self;
        if !monitoring.is_due(registry) {
            return MonitoringChanges::default();
        }
        let news = monitoring.end_refused(registry);
        let mut changes = MonitoringChanges {
            news,
            ..MonitoringChanges::default()
        };
        monitoring.find_partners(registry);
        monitoring.open_feeds(registry, placement, effects);
        // If a linked room has come or gone, others hear each other now.
        monitoring.find_partners(registry);
        monitoring.open_feeds(registry, placement, effects);
        monitoring.send_links(registry, placement, effects);
        monitoring.send_scans(registry, placement, effects);
        monitoring.find_subscribers(registry, now, &mut changes);
        changes
    }
}

impl Registry {
    /// Whether a room lets participants of other rooms listen to it. One that is not there refuses nobody yet.
    pub(super) fn allows_monitors(&self, name: &RoomName) -> bool {
        let room = self.rooms.get(name);
        room.is_none_or(|room| room.config.allows_monitors())
    }
}

impl Monitoring {
    /// The rooms that are heard elsewhere.
    #[cfg(test)]
    pub(super) fn feeds(&self) -> impl Iterator<Item = &RoomName> {
        self.feeds.keys()
    }

    /// What is said in a room, for those elsewhere.
    #[cfg(test)]
    pub(super) fn feed(&self, room: &RoomName) -> Option<FeedNo> {
        Some(self.feeds.get(room)?.number)
    }

    /// The feeds that a participant with a list is to hear, and those that its mixer was told of.
    #[cfg(test)]
    pub(super) fn planned(
        &self,
        id: ParticipantId,
        registry: &Registry,
    ) -> Option<[Vec<(FeedNo, Strength)>; 2]> {
        let monitored = self.lists.get(&id)?;
        let plan = self.plan(registry.place(id)?, &monitored.list, registry);
        let plans = [plan, monitored.told.clone()];
        Some(plans.map(|plan| plan.channels.into_iter().collect()))
    }

    /// Whether it knows of nobody and nothing.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.listeners.is_empty() && self.feeds.is_empty()
    }

    /// Whether something could not be told because a queue was full.
    pub(super) fn is_to_retry(&self) -> bool {
        self.again
    }

    /// Whether there may be anything to tell. Rooms are asked for only if some have come or gone.
    fn is_due(&mut self, registry: &Registry) -> bool {
        let generation = registry.generation();
        let others = std::mem::replace(&mut self.generation, generation) != generation;
        let is_used = !(self.lists.is_empty() && self.feeds.is_empty() && self.partners.is_empty());
        let is_changed = !self.stale.is_empty() || !self.touched.is_empty();
        is_used && others || is_changed || self.relink || self.again
    }

    /// Links of some room may have changed, or who is in a linked one.
    pub(super) fn mark_links_stale(&mut self) {
        self.relink = true;
    }

    /// A room may allow or refuse monitors now.
    pub(super) fn mark_monitors_stale(&mut self, name: &RoomName) {
        self.touched.insert(name.clone());
        if self.partners.contains_key(name) {
            self.stale.extend(self.lists.keys());
        }
    }

    /// A participant has another name, which the rooms it listens to show.
    pub(super) fn mark_renamed(&mut self, id: ParticipantId) {
        if let Some(monitored) = self.lists.get(&id) {
            let rooms = monitored.list.iter().map(|entry| &entry.room);
            let rooms = rooms.chain(&monitored.told.names);
            self.touched.extend(rooms.cloned());
        }
    }

    /// Stops listening to rooms that refuse it; what the monitors are told.
    fn end_refused(&mut self, registry: &Registry) -> Vec<MonitoringNews> {
        let listened = self.listeners.keys();
        let refusing = listened.filter(|name| !registry.allows_monitors(name));
        let refusing: Vec<RoomName> = refusing.cloned().collect();
        let mut news = Vec::new();
        for room in refusing {
            let monitors = self.listeners.remove(&room).unwrap_or_default();
            for id in &monitors {
                if let Some(monitored) = self.lists.get_mut(id) {
                    monitored.list.retain(|entry| entry.room != room);
                    self.touched.extend(monitored.told.names.iter().cloned());
                }
            }
            self.stale.extend(&monitors);
            self.touched.insert(room.clone());
            let error = CommandError::MonitoringRefused { room: room.clone() };
            news.push(MonitoringNews {
                to: monitors.into_iter().collect(),
                event: refusal(&error, None),
                room,
            });
        }
        news
    }

    /// Replaces what a participant listens to, who is in `home`.
    pub(super) fn set(&mut self, id: ParticipantId, home: &RoomName, list: Vec<MonitorEntry>) {
        self.unsubscribe(id);
        for entry in list.iter().filter(|entry| entry.room != *home) {
            let listeners = self.listeners.entry(entry.room.clone()).or_default();
            listeners.insert(id);
            self.touched.insert(entry.room.clone());
        }
        self.lists.entry(id).or_default().list = list;
        self.stale.insert(id);
    }

    /// A participant is gone.
    pub(super) fn forget(&mut self, id: ParticipantId) {
        self.unsubscribe(id);
        self.lists.remove(&id);
        self.stale.remove(&id);
    }

    fn unsubscribe(&mut self, id: ParticipantId) {
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
            self.touched.insert(entry.room.clone());
        }
        // Whatever is linked with them was heard too.
        self.touched.extend(monitored.told.names.iter().cloned());
    }

    /// The rooms that a participant in `home` hears beside it.
    pub(super) fn heard_by(
        &self,
        id: ParticipantId,
        home: Option<&RoomName>,
    ) -> impl Iterator<Item = &RoomName> {
        let monitored = self.lists.get(&id).into_iter();
        let scanned = monitored.flat_map(|monitored| &monitored.told.names);
        let linked = home.and_then(|home| self.partners.get(home));
        scanned.chain(linked.into_iter().flatten())
    }

    /// Works out which rooms hear each other.
    fn find_partners(&mut self, registry: &Registry) {
        if !self.relink {
            return;
        }
        let partners = registry.partners(MAX_MONITORED_ROOMS);
        let before = std::mem::replace(&mut self.partners, partners);
        self.touched.extend(before.into_keys());
        self.touched.extend(self.partners.keys().cloned());
        self.stale.extend(self.lists.keys());
    }

    /// Gives every room that is there and heard elsewhere a feed, and takes it from every other.
    fn open_feeds(&mut self, registry: &Registry, placement: &Placement, effects: &mut Effects) {
        self.again = false;
        let wanted = self.listeners.keys().chain(self.partners.keys());
        let partners = self
            .listeners
            .keys()
            .filter_map(|name| self.partners.get(name));
        let wanted = wanted.chain(partners.flatten());
        let mut wanted: BTreeMap<&RoomName, &Room> = wanted
            .filter_map(|name| Some((name, registry.rooms.get(name)?)))
            .collect();
        let mut changed = Vec::new();
        for (name, outlet) in &self.feeds {
            let is_same = wanted.get(name).is_some_and(|room| room.id == outlet.room);
            if is_same {
                wanted.remove(name);
            } else {
                changed.push((name.clone(), None));
            }
        }
        for (name, room) in wanted {
            let number = FeedNo(self.made + 1);
            let opened = placement.open_feed(effects, room.id, &room.config, number);
            if opened.is_ok() {
                self.made += 1;
                let outlet = RoomFeed {
                    room: room.id,
                    number,
                };
                changed.push((name.clone(), Some(outlet)));
            } else {
                self.again = true;
            }
        }
        for (name, outlet) in changed {
            self.replace(registry, placement, effects, name, outlet);
        }
    }

    fn replace(
        &mut self,
        registry: &Registry,
        placement: &Placement,
        effects: &mut Effects,
        name: RoomName,
        outlet: Option<RoomFeed>,
    ) {
        let has_come = outlet.is_some();
        if outlet.is_none()
            && let Some(before) = self.feeds.get(&name)
            && registry
                .rooms
                .get(&name)
                .is_some_and(|room| room.id == before.room)
            && placement.close_feed(effects, before.room).is_err()
        {
            self.again = true;
            return;
        }
        let before = match outlet {
            Some(outlet) => self.feeds.insert(name.clone(), outlet),
            None => self.feeds.remove(&name),
        };
        if let Some(before) = before {
            effects.push(Effect::ForgetFeed(before.number));
        }
        let is_linked = self.partners.contains_key(&name);
        let listeners = self.listeners.get(&name).into_iter().flatten();
        self.stale.extend(listeners);
        if is_linked {
            self.stale.extend(self.lists.keys());
            self.relink = true;
        }
        if has_come || registry.rooms.contains_key(&name) {
            self.touched.insert(name);
        }
    }

    /// Tells the mixers which rooms hear which.
    fn send_links(&mut self, registry: &Registry, placement: &Placement, effects: &mut Effects) {
        if !std::mem::take(&mut self.relink) {
            return;
        }
        let mut told = HashMap::new();
        for (name, room) in &registry.rooms {
            let before = self.linked.remove(&room.id).unwrap_or_default();
            let outlets = self.partners.get(name).into_iter().flatten();
            let outlets = outlets.filter_map(|it| self.feeds.get(it));
            let feeds: Vec<FeedNo> = outlets.map(|outlet| outlet.number).collect();
            if feeds != before {
                let channels = feeds.iter().map(|number| (*number, Strength::default()));
                let plan = scan_for(room, Strength::default(), channels);
                let plan = (!feeds.is_empty()).then_some(plan);
                if placement.set_links(effects, room.id, plan).is_err() {
                    self.relink = true;
                    told.insert(room.id, before);
                    continue;
                }
            }
            if !feeds.is_empty() {
                told.insert(room.id, feeds);
            }
        }
        self.linked = told;
    }

    /// Tells the mixers who hears which rooms.
    fn send_scans(
        &mut self,
        registry: &mut Registry,
        placement: &Placement,
        effects: &mut Effects,
    ) {
        for _ in 0..MOST_SCANS {
            let Some(id) = self.stale.pop_first() else {
                return;
            };
            if self.tell_scan(id, registry, placement, effects).is_err() {
                self.stale.insert(id);
                return;
            }
        }
    }

    fn tell_scan(
        &mut self,
        id: ParticipantId,
        registry: &mut Registry,
        placement: &Placement,
        effects: &mut Effects,
    ) -> Result<(), QueueFull> {
        let Some(home) = registry.place(id).cloned() else {
            return Ok(());
        };
        let Some((_, member)) = registry.member_mut(id) else {
            return Ok(());
        };
        let (listens, ear) = (member.listens, member.ear);
        let Some(monitored) = self.lists.get(&id) else {
            return Ok(());
        };
        let plan = self.plan(&home, &monitored.list, registry);
        let is_over = monitored.list.is_empty();
        if let Some(room) = registry.rooms.get(&home)
            && listens
            && plan != monitored.told
        {
            let outlets = self.feeds.values();
            let channels = outlets.filter_map(|outlet| {
                let strength = *plan.channels.get(&outlet.number)?;
                Some((outlet.number, strength))
            });
            let scan = scan_for(room, plan.home, channels);
            let is_plain = plan.channels.is_empty() && plan.home == Strength::default();
            placement.set_scan(effects, id, (!is_plain).then_some(scan), ear)?;
        }
        if is_over {
            self.lists.remove(&id);
        } else if let Some(monitored) = self.lists.get_mut(&id) {
            let before = std::mem::replace(&mut monitored.told, plan);
            let now = &monitored.told.names;
            self.touched.extend(before.names.difference(now).cloned());
            self.touched.extend(now.iter().cloned());
        }
        Ok(())
    }

    /// What somebody in `home` hears of the rooms that are there: those on his list, and what is linked with them, as
    /// loud as they are, unless they refuse monitors. What is linked with his own he hears already.
    fn plan(&self, home: &RoomName, list: &[MonitorEntry], registry: &Registry) -> MonitorPlan {
        let mut plan = MonitorPlan::default();
        let at_home = self.partners.get(home).into_iter().flatten();
        let at_home: BTreeSet<&RoomName> = at_home.chain([home]).collect();
        let own = list.iter().find(|entry| entry.room == *home);
        plan.home = own.map_or(Strength::default(), strength);
        let direct = list.iter().map(|entry| (&entry.room, entry));
        let linked = list.iter().flat_map(|entry| {
            let partners = self.partners.get(&entry.room).into_iter().flatten();
            let partners = partners.filter(|name| registry.allows_monitors(name));
            partners.map(move |partner| (partner, entry))
        });
        for (name, entry) in direct.chain(linked) {
            let outlet = self.feeds.get(name);
            let Some(outlet) = outlet.filter(|_| !at_home.contains(name)) else {
                continue;
            };
            if plan.channels.len() < MOST_FEEDS {
                let number = outlet.number;
                plan.channels.entry(number).or_insert(strength(entry));
                plan.names.insert(name.clone());
            }
        }
        plan
    }

    /// Enters in each room who listens to it and who is to be told what happens in it; what those are to be told who are
    /// new to it.
    fn find_subscribers(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        changes: &mut MonitoringChanges,
    ) {
        for name in std::mem::take(&mut self.touched) {
            let ids = self.monitors(&name, registry);
            let subscribers = self.subscribers_of(&name, &ids, registry);
            let named = ids.iter().take(MAX_MONITORS);
            let monitors = Monitors {
                monitors: named.filter_map(|id| registry.monitor(*id)).collect(),
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
                changes.news.extend(events.map(|event| MonitoringNews {
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

    /// The participants of other rooms who listen to a room, directly or by listening to one it is linked with.
    pub(super) fn monitors(&self, name: &RoomName, registry: &Registry) -> BTreeSet<ParticipantId> {
        if !registry.allows_monitors(name) {
            return BTreeSet::new();
        }
        let partners = self.partners.get(name).into_iter().flatten();
        let heard = [name].into_iter().chain(partners);
        let listeners = heard.clone().filter_map(|name| self.listeners.get(name));
        let is_elsewhere = |id: &&ParticipantId| {
            let place = registry.place(**id);
            place.is_some_and(|place| heard.clone().all(|name| name != place))
        };
        listeners.flatten().filter(is_elsewhere).copied().collect()
    }

    /// Who hears a room from elsewhere, in order: its monitors, and everybody in the rooms that it is linked with.
    fn subscribers_of(
        &self,
        name: &RoomName,
        monitors: &BTreeSet<ParticipantId>,
        registry: &Registry,
    ) -> Vec<ParticipantId> {
        let partners = self.partners.get(name).into_iter().flatten();
        let linked = partners.filter_map(|partner| registry.rooms.get(partner));
        let linked = linked
            .flat_map(|room| &room.members)
            .map(|member| &member.id);
        let subscribers: BTreeSet<ParticipantId> = monitors.iter().chain(linked).copied().collect();
        subscribers.into_iter().collect()
    }
}

fn scan_for(
    room: &Room,
    home: Strength,
    channels: impl Iterator<Item = (FeedNo, Strength)>,
) -> ScanPlan {
    ScanPlan {
        home,
        channels: channels.collect(),
        layout: layout(&room.config),
        tick: room.config.tick,
    }
}

fn strength(entry: &MonitorEntry) -> Strength {
    Strength {
        gain: Gain::from(Decibels(entry.gain_db)),
        priority: entry.priority,
    }
}

/// Scans told in one turn: for who cannot talk, an encoder is built with each.
const MOST_SCANS: usize = 64;

/// Most feeds one participant hears, those of linked rooms included.
const MOST_FEEDS: usize = 4 * MAX_MONITORED_ROOMS;
