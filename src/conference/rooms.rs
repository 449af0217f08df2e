//! Creates, configures, lists and ends rooms.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{broadcast, oneshot};

use super::effect::Effect;
use super::handle::Request;
use super::machine::Machine;
use super::placement::{layout, places};
use super::room::Room;
use super::{Conference, ConfigureError, Overloaded};
use crate::protocol::{Event, LeaveReason, RoomChange, RoomConfig, RoomLine, RoomName, RoomState};

/// How new settings apply to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configure {
    /// Omitted settings take the server's defaults. Creates the room if it does not exist, and
    /// makes it permanent.
    Put,
    /// Omitted settings stay unchanged; the room must exist.
    Merge,
}

/// The broadcasts of a room to its watchers, as JSON texts.
pub(crate) type RoomEvents = broadcast::Receiver<Arc<str>>;

/// Lists a summary of every room, sorted by name.
#[derive(Debug)]
pub(crate) struct ListRooms;

/// Reads a room's state with all its participants; the answer is `None` if the room does not
/// exist.
#[derive(Debug)]
pub(crate) struct ReadRoom {
    pub(crate) room: RoomName,
}

/// Creates or configures a room; the answer also says whether the room was created.
///
/// The mixer's objects for each participant are built for one tick length and one number of
/// channels, so these two can change only while the room is empty.
///
/// # Errors
/// [`ConfigureError`]; the room is then unchanged.
#[derive(Debug)]
pub(crate) struct ConfigureRoom {
    pub(crate) room: RoomName,
    pub(crate) change: RoomChange,
    pub(crate) how: Configure,
}

/// Ends a room and removes all its participants.
///
/// # Errors
/// [`ConfigureError::UnknownRoom`] if the room does not exist.
#[derive(Debug)]
pub(crate) struct DeleteRoom {
    pub(crate) room: RoomName,
}

/// Reads a room's state and subscribes to all its later events; the answer is `None` if the room
/// does not exist.
#[derive(Debug)]
pub(super) struct WatchRoom {
    pub(super) room: RoomName,
    pub(super) events: oneshot::Sender<RoomEvents>,
}

impl Conference {
    /// Returns a room's present state, and all later events of the room as JSON texts; `None` if
    /// the room does not exist.
    pub(crate) async fn watch(&self, room: RoomName) -> Option<(RoomState, RoomEvents)> {
        let (events, subscribed) = oneshot::channel();
        let state = self.ask(WatchRoom { room, events }).await?;
        Some((state, subscribed.await.ok()?))
    }
}

impl Request for ListRooms {
    type Answer = Vec<RoomLine>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        let rooms = machine.registry.rooms.iter();
        rooms.map(|(name, room)| room.line(name, now)).collect()
    }
}

impl Request for ReadRoom {
    type Answer = Option<RoomState>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        machine.room(&self.room, now)
    }
}

impl Request for ConfigureRoom {
    type Answer = Result<(RoomState, bool), ConfigureError>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        machine.configure(&self.room, self.change, self.how, now)
    }
}

impl Request for DeleteRoom {
    type Answer = Result<(), ConfigureError>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        machine.delete(&self.room, now)
    }
}

impl Request for WatchRoom {
    type Answer = Option<RoomState>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        if let Some(room) = machine.registry.rooms.get(&self.room) {
            let watch = Effect::Watch(room.watch, self.events);
            machine.effects.push(watch);
        }
        machine.room(&self.room, now)
    }
}

impl Machine {
    /// Returns a room's state with all its participants.
    fn room(&self, name: &RoomName, now: Instant) -> Option<RoomState> {
        Some(self.registry.rooms.get(name)?.state(name, now))
    }

    /// Creates or configures a room; returns whether the room was created.
    ///
    /// # Errors
    /// [`ConfigureError`]; the room is then unchanged.
    fn configure(
        &mut self,
        name: &RoomName,
        change: RoomChange,
        how: Configure,
        now: Instant,
    ) -> Result<(RoomState, bool), ConfigureError> {
        let Some(room) = self.registry.rooms.get(name) else {
            if how == Configure::Merge {
                return Err(ConfigureError::UnknownRoom);
            }
            let made = self.make_as(name, change, now)?;
            return Ok((made, true));
        };
        let (config, links) = match how {
            Configure::Put => (
                change.over(self.limits.room),
                Some(change.links.unwrap_or_default()),
            ),
            Configure::Merge => (change.over(room.config), change.links),
        };
        let before = (room.config, room.permanent, room.links.clone());
        if let Some(links) = links {
            self.link(name, links, now)?;
        }
        if let Err(error) = self.reconfigure(name, config) {
            let links = before.2.into_iter().collect();
            self.link(name, links, now)?;
            return Err(error);
        }
        self.registry.note_floor(name, &config);
        let room = self.registry.change_floor(name);
        let room = room.ok_or(ConfigureError::UnknownRoom)?;
        if !room.config.floor.mode.has_floor() {
            room.forget_sent();
        }
        room.config = config;
        room.floor.set(config.floor, now);
        room.permanent |= how == Configure::Put;
        let configured = room.state(name, now);
        let after = (room.config, room.permanent, room.links.clone());
        // The event goes to everyone in the room, which is expensive for a large room: a request
        // that changes nothing sends none.
        if after != before {
            let event = Event::Room {
                room: Box::new(configured.clone()),
            };
            self.effects.broadcast(room, &event);
        }
        // The floor's pending actions go first, because new monitors receive the floor's present
        // state next.
        self.apply_floor_actions(name);
        self.monitoring.mark_monitors_stale(name);
        self.sync_monitors(now);
        Ok((configured, false))
    }

    /// Creates a permanent room with the settings and links of a change.
    fn make_as(
        &mut self,
        name: &RoomName,
        change: RoomChange,
        now: Instant,
    ) -> Result<RoomState, ConfigureError> {
        let config = change.over(self.limits.room);
        let waiting = self.make_room(name, config, true)?.links.clone();
        if let Some(links) = change.links {
            // Rooms that already name the new room as a link keep that link.
            let links = links.into_iter().chain(waiting).collect();
            if let Err(error) = self.link(name, links, now) {
                self.remove_room(name);
                return Err(error);
            }
        }
        let room = self.registry.rooms.get(name);
        Ok(room.ok_or(ConfigureError::UnknownRoom)?.state(name, now))
    }

    /// Ends a room and removes all its participants.
    ///
    /// # Errors
    /// [`ConfigureError::UnknownRoom`] if the room does not exist.
    fn delete(&mut self, name: &RoomName, now: Instant) -> Result<(), ConfigureError> {
        let room = self.registry.rooms.get_mut(name);
        let room = room.ok_or(ConfigureError::UnknownRoom)?;
        room.permanent = false;
        self.remove_all(name, LeaveReason::RoomClosed, now);
        // A join that is under way fails, because its room no longer exists.
        self.remove_room(name);
        Ok(())
    }

    /// Creates a room that does not exist yet.
    pub(super) fn make_room(
        &mut self,
        name: &RoomName,
        config: RoomConfig,
        permanent: bool,
    ) -> Result<&mut Room, Overloaded> {
        let limit = self.limits.max_rooms;
        if self.registry.rooms.len() >= limit {
            return Err(Overloaded::Rooms { limit });
        }
        let mut room = self.registry.new_room(config, permanent);
        room.links = self.registry.links_of(name);
        if !room.links.is_empty() {
            self.monitoring.mark_links_stale();
        }
        let added = self
            .placement
            .add_room(&mut self.effects, room.id, &config, room.capacity);
        added.map_err(|_| Overloaded::Link)?;
        self.registry.note_floor(name, &config);
        Ok(self.registry.rooms.entry(name.clone()).or_insert(room))
    }

    /// Applies `config` to the room on its mixer; builds the room there anew if the tick or the
    /// layout changes.
    fn reconfigure(&mut self, name: &RoomName, config: RoomConfig) -> Result<(), ConfigureError> {
        let fresh_id = self.registry.new_room_id();
        let Machine {
            registry,
            placement,
            effects,
            ..
        } = self;
        let Some(room) = registry.rooms.get_mut(name) else {
            return Err(ConfigureError::UnknownRoom);
        };
        let rebuilt = room.config.tick != config.tick || layout(&room.config) != layout(&config);
        if !rebuilt {
            let capacity = places(&config);
            if capacity > room.capacity {
                let enlarged = placement.enlarge(effects, room.id, capacity);
                enlarged.map_err(|_| Overloaded::Link)?;
                room.capacity = capacity;
            }
            let configured = placement.configure(effects, room.id, &config);
            return configured.map_err(|_| Overloaded::Link.into());
        }
        if !room.members.is_empty() || room.seats > 0 {
            return Err(ConfigureError::Occupied);
        }
        let capacity = places(&config);
        let added = placement.add_room(effects, fresh_id, &config, capacity);
        added.map_err(|_| Overloaded::Link)?;
        placement.remove_room(effects, room.id);
        room.id = fresh_id;
        room.capacity = capacity;
        Ok(())
    }
}
