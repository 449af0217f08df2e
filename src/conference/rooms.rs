//! Making, configuring, listing and ending rooms.

use std::time::Instant;

use super::placement::{layout, places};
use super::room::Room;
use super::{Conference, ConfigureError, Overloaded, State};
use crate::protocol::{Event, LeaveReason, RoomChange, RoomConfig, RoomLine, RoomName, RoomState};

/// How settings meet a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configure {
    /// The room is to be exactly so: what is not said is the default. Makes a room that is not there, and makes it
    /// permanent.
    Put,
    /// What is not said stays as it is.
    Merge,
}

impl Conference {
    /// Every room in one line each, by name.
    pub fn rooms(&self) -> Vec<RoomLine> {
        let now = Instant::now();
        let state = self.lock();
        let rooms = state.registry.rooms.iter();
        rooms.map(|(name, room)| room.line(name, now)).collect()
    }

    /// Whether a join makes a room that is not there.
    pub fn makes_rooms(&self) -> bool {
        self.inner.limits.open_rooms
    }

    /// One room with everybody in it.
    pub fn room(&self, name: &RoomName) -> Option<RoomState> {
        let now = Instant::now();
        let state = self.lock();
        Some(state.registry.rooms.get(name)?.state(name, now))
    }

    /// Makes or configures a room; says whether it was made.
    ///
    /// The tick and the number of channels are what strips and encoders are built for, so they can only change while
    /// nobody is in.
    ///
    /// # Errors
    /// [`ConfigureError`]; the room is then as it was.
    pub fn configure(
        &self,
        name: &RoomName,
        change: RoomChange,
        how: Configure,
    ) -> Result<(RoomState, bool), ConfigureError> {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(room) = state.registry.rooms.get(name) else {
            if how == Configure::Merge {
                return Err(ConfigureError::UnknownRoom);
            }
            let made = self.make_as(&mut state, name, change, now)?;
            return Ok((made, true));
        };
        let (config, links) = match how {
            Configure::Put => (
                change.over(self.inner.limits.room),
                Some(change.links.unwrap_or_default()),
            ),
            Configure::Merge => (change.over(room.config), change.links),
        };
        let before = (room.config, room.permanent, room.links.clone());
        if let Some(links) = links {
            self.link(&mut state, name, links, now)?;
        }
        if let Err(error) = self.reconfigure(&mut state, name, config) {
            let links = before.2.into_iter().collect();
            self.link(&mut state, name, links, now)?;
            return Err(error);
        }
        state.registry.note_floor(name, &config);
        let State {
            registry,
            placement,
            ..
        } = &mut *state;
        let room = registry.rooms.get_mut(name);
        let room = room.ok_or(ConfigureError::UnknownRoom)?;
        if !room.config.floor.mode.has_floor() {
            room.forget_sent();
        }
        room.config = config;
        room.floor.set(config.floor, now);
        room.permanent |= how == Configure::Put;
        let configured = room.state(name, now);
        let after = (room.config, room.permanent, room.links.clone());
        // Everybody is told, which costs a large room much: a request that changes nothing is to cost nothing.
        if after != before {
            let event = Event::Room {
                room: Box::new(configured.clone()),
            };
            self.broadcast(room, &event);
        }
        self.apply_floor_actions(placement, name, room);
        state.monitoring.mark_monitors_stale(name);
        self.sync_monitors(&mut state, now);
        Ok((configured, false))
    }

    /// Makes a room because somebody said so.
    fn make_as(
        &self,
        state: &mut State,
        name: &RoomName,
        change: RoomChange,
        now: Instant,
    ) -> Result<RoomState, ConfigureError> {
        let config = change.over(self.inner.limits.room);
        let waiting = self.make_room(state, name, config, true)?.links.clone();
        if let Some(links) = change.links {
            // Those who waited for it stay linked with it.
            let links = links.into_iter().chain(waiting).collect();
            if let Err(error) = self.link(state, name, links, now) {
                state.remove_room(name);
                return Err(error);
            }
        }
        let room = state.registry.rooms.get(name);
        Ok(room.ok_or(ConfigureError::UnknownRoom)?.state(name, now))
    }

    /// Ends a room and everybody's stay in it.
    ///
    /// # Errors
    /// [`ConfigureError::UnknownRoom`].
    pub fn delete(&self, name: &RoomName) -> Result<(), ConfigureError> {
        let now = Instant::now();
        let mut state = self.lock();
        let room = state.registry.rooms.get_mut(name);
        let room = room.ok_or(ConfigureError::UnknownRoom)?;
        room.permanent = false;
        self.remove_all(&mut state, name, LeaveReason::RoomClosed, now);
        // A join under way finds its room gone and fails.
        state.remove_room(name);
        Ok(())
    }

    /// Makes a room that is not there.
    pub(super) fn make_room<'s>(
        &self,
        state: &'s mut State,
        name: &RoomName,
        config: RoomConfig,
        permanent: bool,
    ) -> Result<&'s mut Room, Overloaded> {
        let limit = self.inner.limits.max_rooms;
        if state.registry.rooms.len() >= limit {
            return Err(Overloaded::Rooms { limit });
        }
        let mut room = state.registry.new_room(config, permanent);
        room.links = state.registry.links_of(name);
        if !room.links.is_empty() {
            state.monitoring.mark_links_stale();
        }
        let added = state.placement.add_room(room.id, &config, room.capacity);
        added.map_err(|_| Overloaded::Link)?;
        state.registry.note_floor(name, &config);
        Ok(state.registry.rooms.entry(name.clone()).or_insert(room))
    }

    /// Brings the mixer's room to `config`.
    fn reconfigure(
        &self,
        state: &mut State,
        name: &RoomName,
        config: RoomConfig,
    ) -> Result<(), ConfigureError> {
        let fresh_id = state.registry.new_room_id();
        let State {
            registry,
            placement,
            ..
        } = state;
        let Some(room) = registry.rooms.get_mut(name) else {
            return Err(ConfigureError::UnknownRoom);
        };
        let rebuilt = room.config.tick != config.tick || layout(&room.config) != layout(&config);
        if !rebuilt {
            let capacity = places(&config);
            if capacity > room.capacity {
                let enlarged = placement.enlarge(room.id, capacity);
                enlarged.map_err(|_| Overloaded::Link)?;
                room.capacity = capacity;
            }
            let configured = placement.configure(room.id, &config);
            return configured.map_err(|_| Overloaded::Link.into());
        }
        if !room.members.is_empty() || room.seats > 0 {
            return Err(ConfigureError::Occupied);
        }
        let capacity = places(&config);
        let added = placement.add_room(fresh_id, &config, capacity);
        added.map_err(|_| Overloaded::Link)?;
        placement.remove_room(room.id);
        room.id = fresh_id;
        room.capacity = capacity;
        Ok(())
    }
}
