//! Feeds: which rooms are heard in other rooms, and which feeds linked rooms hear.
//!
//! A feed carries the mix of a room to other mixers and rooms. A room has a feed as long as the
//! room exists and is heard in other rooms.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mixer::RoomId;
use mixer::monitor::MonitorLevel;

use super::RoomMixers;
use crate::conference::effect::{Effect, FeedNo, MonitorSpec};
use crate::conference::placement::layout;
use crate::conference::registry::Registry;
use crate::conference::room::Room;
use crate::protocol::{MAX_MONITORED_ROOMS, RoomName};

/// The feeds of all rooms, and the feeds that the mixers were last told to play in linked rooms.
#[derive(Debug, Default)]
pub(super) struct RoomFeeds {
    /// The open feeds, by the name of their room.
    feeds: BTreeMap<RoomName, RoomFeed>,
    /// For each existing room with links, the other rooms that it hears and that hear it.
    partners: BTreeMap<RoomName, Vec<RoomName>>,
    /// The feeds that each room's mixer was last told to play in the room because of its links.
    linked: HashMap<RoomId, Vec<FeedNo>>,
    /// Number of feeds opened since the start.
    opened_total: u64,
    /// Whether links, or the members of linked rooms, may have changed.
    links_are_stale: bool,
    /// Whether a mixer's queue was too full to open or close a feed.
    is_to_retry: bool,
}

/// The feed of a room.
#[derive(Debug)]
struct RoomFeed {
    room: RoomId,
    number: FeedNo,
}

impl RoomFeeds {
    /// Returns whether any room has a feed or is linked.
    pub(super) fn is_used(&self) -> bool {
        !(self.feeds.is_empty() && self.partners.is_empty())
    }

    /// Returns whether a mixer may have to be told of feeds or links.
    pub(super) fn is_stale(&self) -> bool {
        self.links_are_stale || self.is_to_retry
    }

    /// Returns whether a mixer's queue was too full to open or close a feed.
    pub(super) fn is_to_retry(&self) -> bool {
        self.is_to_retry
    }

    /// Marks the links between rooms as possibly changed.
    pub(super) fn mark_links_stale(&mut self) {
        self.links_are_stale = true;
    }

    /// Returns whether a room hears other rooms over links.
    pub(super) fn is_linked(&self, room: &RoomName) -> bool {
        self.partners.contains_key(room)
    }

    /// Returns the rooms that a room hears over links.
    pub(super) fn partners(&self, room: &RoomName) -> impl Iterator<Item = &RoomName> + Clone {
        self.partners.get(room).into_iter().flatten()
    }

    /// Returns the number of a room's feed.
    pub(super) fn number(&self, room: &RoomName) -> Option<FeedNo> {
        Some(self.feeds.get(room)?.number)
    }

    /// Returns the numbers of all feeds, in the order of their rooms' names.
    pub(super) fn numbers(&self) -> impl Iterator<Item = FeedNo> {
        self.feeds.values().map(|feed| feed.number)
    }

    /// Returns the names of the rooms that have a feed.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &RoomName> {
        self.feeds.keys()
    }

    /// Computes which linked rooms hear each other, if links may have changed; returns the rooms
    /// that were linked and those that are linked now, some of them twice.
    pub(super) fn sync_partners(&mut self, registry: &Registry) -> Option<Vec<RoomName>> {
        if !self.links_are_stale {
            return None;
        }
        let partners = registry.partners(MAX_MONITORED_ROOMS);
        let before = std::mem::replace(&mut self.partners, partners);
        let now = self.partners.keys().cloned();
        Some(before.into_keys().chain(now).collect())
    }

    /// Opens a feed for each existing room that is heard in other rooms, and closes all other
    /// feeds; returns the rooms whose feed was opened, closed or replaced.
    ///
    /// - `monitored`: the rooms that monitor lists name.
    pub(super) fn sync<'a>(
        &mut self,
        monitored: impl Iterator<Item = &'a RoomName> + Clone,
        mixers: &mut RoomMixers<'_>,
    ) -> Vec<RoomName> {
        self.is_to_retry = false;
        let mut missing = self.wanted(monitored, mixers.registry);
        let mut unwanted = BTreeSet::new();
        for (name, feed) in &self.feeds {
            if missing.get(name).is_some_and(|room| room.id == feed.room) {
                missing.remove(name);
            } else {
                unwanted.insert(name.clone());
            }
        }
        let mut replaced = self.open(missing, mixers);
        for name in &replaced {
            unwanted.remove(name);
        }
        replaced.extend(self.close(unwanted, mixers));
        replaced
    }

    /// Sends the mixers the feeds that each room hears because of its links, if links may have
    /// changed.
    pub(super) fn send_links(&mut self, mixers: &mut RoomMixers<'_>) {
        if !std::mem::take(&mut self.links_are_stale) {
            return;
        }
        let mut told = HashMap::new();
        for (name, room) in &mixers.registry.rooms {
            let before = self.linked.remove(&room.id).unwrap_or_default();
            let feeds = self.partners(name).filter_map(|it| self.number(it));
            let feeds: Vec<FeedNo> = feeds.collect();
            if feeds != before {
                let channels = feeds
                    .iter()
                    .map(|number| (*number, MonitorLevel::default()));
                let plan = monitor_plan(room, MonitorLevel::default(), channels);
                let plan = (!feeds.is_empty()).then_some(plan);
                let sent = mixers.placement.set_links(mixers.effects, room.id, plan);
                if sent.is_err() {
                    self.links_are_stale = true;
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

    /// Returns the existing rooms that are heard in other rooms: monitored rooms, linked rooms, and
    /// rooms linked with a monitored room.
    fn wanted<'m, 'r>(
        &self,
        monitored: impl Iterator<Item = &'m RoomName> + Clone,
        registry: &'r Registry,
    ) -> BTreeMap<&'r RoomName, &'r Room> {
        let existing = |name: &RoomName| registry.rooms.get_key_value(name);
        let linked = self.partners.keys().filter_map(existing);
        let beside = monitored.clone().flat_map(|name| self.partners(name));
        let beside = beside.filter_map(existing);
        let monitored = monitored.filter_map(existing);
        linked.chain(beside).chain(monitored).collect()
    }

    /// Opens the feeds of rooms, as far as the mixers' queues have room; returns the rooms whose
    /// feed was opened.
    fn open(
        &mut self,
        rooms: BTreeMap<&RoomName, &Room>,
        mixers: &mut RoomMixers<'_>,
    ) -> Vec<RoomName> {
        let mut opened = Vec::new();
        for (name, room) in rooms {
            let number = FeedNo(self.opened_total + 1);
            let placement = mixers.placement;
            let sent = placement.open_feed(mixers.effects, room.id, &room.config, number);
            if sent.is_err() {
                self.is_to_retry = true;
                continue;
            }
            self.opened_total += 1;
            let feed = RoomFeed {
                room: room.id,
                number,
            };
            if let Some(before) = self.feeds.insert(name.clone(), feed) {
                mixers.effects.push(Effect::ForgetFeed(before.number));
            }
            opened.push(name.clone());
        }
        opened
    }

    /// Closes the feeds of rooms, as far as the mixers' queues have room; returns the rooms whose
    /// feed was closed.
    fn close(&mut self, rooms: BTreeSet<RoomName>, mixers: &mut RoomMixers<'_>) -> Vec<RoomName> {
        let mut closed = Vec::new();
        for name in rooms {
            let Some(feed) = self.feeds.get(&name) else {
                continue;
            };
            let (room, number) = (feed.room, feed.number);
            // When a room ended, its mixer closed the room's feed.
            let exists = (mixers.registry.rooms.get(&name)).is_some_and(|it| it.id == room);
            if exists && mixers.placement.close_feed(mixers.effects, room).is_err() {
                self.is_to_retry = true;
                continue;
            }
            self.feeds.remove(&name);
            mixers.effects.push(Effect::ForgetFeed(number));
            closed.push(name);
        }
        closed
    }
}

/// Describes the feeds that are played in a room, or to a participant of the room.
///
/// - `home`: gain and priority of the room's own mix.
pub(super) fn monitor_plan(
    room: &Room,
    home: MonitorLevel,
    channels: impl Iterator<Item = (FeedNo, MonitorLevel)>,
) -> MonitorSpec {
    MonitorSpec {
        home,
        channels: channels.collect(),
        layout: layout(&room.config),
        tick: room.config.tick,
    }
}
