//! The conference's side of the mixers: which room is on which, settings in the engine's words, boxes built here so that
//! no mixer thread allocates anything, and a queue for what must arrive even when a ring is full.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mixer::command::{Command, Event, RoomTelemetry};
use mixer::feed::Feed;
use mixer::format::{Layout, TickLength};
use mixer::governor::Governor;
use mixer::listener::Listener;
use mixer::members::Members;
use mixer::participant::Participant;
use mixer::profile::{Profile, Recipe};
use mixer::room::{Room, RoomSettings};
use mixer::scan::Rescan;
use mixer::{Decibels, ParticipantId, RoomId};

use crate::audio::MixerControl;
use crate::protocol::RoomConfig;
use crate::queues::MixerId;

/// The ways to the mixers.
///
/// A room is on the mixer that had least to do when it was made, and stays there: its participants' packets go there.
pub(super) struct Mixing {
    ways: Vec<Way>,
    rooms: HashMap<RoomId, Placed>,
    participants: HashMap<ParticipantId, usize>,
}

/// A room that a mixer was given.
struct Placed {
    way: usize,
    telemetry: Arc<RoomTelemetry>,
}

/// The way to one mixer.
///
/// A command that adds something may be refused: its box comes back and the join fails. A command that takes something
/// away may not be lost, so it waits here for room on the link. Commands never overtake each other: while something
/// waits, whatever may be refused is.
pub(super) struct Way {
    pub(super) mixer: MixerControl,
    pub(super) governor: Governor,
    /// Busy time of the mixer when the governor last looked.
    pub(super) busy_ns: u64,
    waiting: VecDeque<Command>,
    rooms: usize,
    participants: usize,
}

impl Mixing {
    /// The ways to all these mixers.
    pub(super) fn new(mixers: Vec<MixerControl>) -> Mixing {
        Mixing {
            ways: mixers.into_iter().map(Way::new).collect(),
            rooms: HashMap::new(),
            participants: HashMap::new(),
        }
    }

    /// Each mixer's way.
    pub(super) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// Each mixer's way, for the governors.
    pub(super) fn ways_mut(&mut self) -> &mut [Way] {
        &mut self.ways
    }

    /// Where a room is.
    pub(super) fn mixer_of(&self, room: RoomId) -> Option<MixerId> {
        let way = self.way_of(room).ok()?;
        Some(way.mixer.handle().id())
    }

    /// Whether somebody may join a room; with `None`, a new one.
    pub(super) fn admits(&self, room: Option<RoomId>) -> bool {
        let way = match room {
            Some(room) => self.way_of(room).ok(),
            None => self.least_loaded().map(|way| &self.ways[way]),
        };
        way.is_some_and(|way| !way.governor.refuses_joins())
    }

    /// The next event of any mixer.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.ways.iter_mut().find_map(|way| way.mixer.next_event())
    }

    /// Whether every mixer runs.
    pub(super) fn is_whole(&self) -> bool {
        !self.ways.iter().any(|way| way.mixer.has_ended())
    }

    /// Whether a room was given to a mixer that does not have it any more.
    pub(super) fn has_failed(&self, room: RoomId) -> bool {
        let placed = self.rooms.get(&room);
        placed.is_some_and(|placed| placed.telemetry.has_failed())
    }

    /// Sends what waits, as far as the rings have room.
    pub(super) fn retry(&mut self) {
        self.ways.iter_mut().for_each(Way::retry);
    }

    /// Makes a room.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn add_room(
        &mut self,
        id: RoomId,
        config: &RoomConfig,
        capacity: usize,
    ) -> Result<(), Full> {
        let at = self.least_loaded().ok_or(Full)?;
        let way = &mut self.ways[at];
        let room = Room::new(id, settings(config), capacity);
        let telemetry = room.telemetry().clone();
        way.send(Command::AddRoom(Box::new(room)))?;
        way.rooms += 1;
        self.rooms.insert(id, Placed { way: at, telemetry });
        Ok(())
    }

    /// Gives a room more places.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn enlarge(&mut self, room: RoomId, capacity: usize) -> Result<(), Full> {
        let members = Members::with_capacity(capacity);
        self.way_of_mut(room)?
            .send(Command::Reserve { room, members })
    }

    /// Changes a room's settings.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn configure(&mut self, room: RoomId, config: &RoomConfig) -> Result<(), Full> {
        self.way_of_mut(room)?
            .send(Command::ConfigureRoom(room, settings(config)))
    }

    /// Puts a participant into a room.
    ///
    /// # Errors
    /// [`Full`]; what was built for it is dropped here, on the control side.
    pub(super) fn add(&mut self, room: RoomId, participant: Box<Participant>) -> Result<(), Full> {
        let at = self.rooms.get(&room).ok_or(Full)?.way;
        let id = participant.id();
        self.ways[at].send(Command::AddParticipant { room, participant })?;
        self.ways[at].participants += 1;
        self.participants.insert(id, at);
        Ok(())
    }

    /// Takes a room away.
    pub(super) fn remove_room(&mut self, id: RoomId) {
        if let Some(way) = self.forget_room(id) {
            way.ensure(Command::RemoveRoom(id));
        }
    }

    /// A room is gone by itself.
    pub(super) fn forget_room(&mut self, id: RoomId) -> Option<&mut Way> {
        let way = &mut self.ways[self.rooms.remove(&id)?.way];
        way.rooms -= 1;
        Some(way)
    }

    /// Gives a participant another stream.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn set_listener(
        &mut self,
        id: ParticipantId,
        recipe: Recipe,
        tick: TickLength,
    ) -> Result<(), Full> {
        let at = *self.participants.get(&id).ok_or(Full)?;
        let listener = Box::new(Listener::new(recipe, tick));
        self.ways[at].send(Command::SetListener(id, listener))
    }

    /// Lets others hear a room, or no longer.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn set_feed(&mut self, room: RoomId, feed: Option<Arc<Feed>>) -> Result<(), Full> {
        self.way_of_mut(room)?.send(Command::SetFeed(room, feed))
    }

    /// Lets everybody in a room hear others.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn set_links(&mut self, room: RoomId, links: Box<Rescan>) -> Result<(), Full> {
        self.way_of_mut(room)?.send(Command::SetLinks(room, links))
    }

    /// Lets a participant hear other rooms.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn set_scan(&mut self, id: ParticipantId, scan: Box<Rescan>) -> Result<(), Full> {
        let at = *self.participants.get(&id).ok_or(Full)?;
        self.ways[at].send(Command::SetScan(id, scan))
    }

    /// Has the mixer act on a participant's settings though its room be asleep. A link that is full will wake the room
    /// with something else, and the participant's next packet does in any case.
    pub(super) fn attend(&mut self, id: ParticipantId) {
        if let Some(at) = self.participants.get(&id) {
            let _ = self.ways[*at].send(Command::Attend(id));
        }
    }

    /// Takes a participant away.
    pub(super) fn remove(&mut self, id: ParticipantId) {
        if let Some(at) = self.participants.remove(&id) {
            self.ways[at].participants -= 1;
            self.ways[at].ensure(Command::RemoveParticipant(id));
        }
    }

    /// Sends a mixer what a test wants, past all that is known here.
    #[cfg(test)]
    pub(super) fn command(&mut self, room: RoomId, command: Command) {
        let way = self.way_of_mut(room).expect("it is on one");
        way.send(command).expect("there is room");
    }

    /// Whether it knows of nobody and nothing.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let idle = |way: &Way| way.rooms == 0 && way.participants == 0;
        self.rooms.is_empty() && self.participants.is_empty() && self.ways.iter().all(idle)
    }

    /// The mixer a new room goes to: one that takes people in, with the least load as far as it can be told, then with
    /// the fewest participants, then with the fewest rooms.
    fn least_loaded(&self) -> Option<usize> {
        let key = |way: &Way| {
            let load = (way.governor.load() * LOAD_STEPS) as u32;
            let refuses = way.governor.refuses_joins();
            (refuses, load, way.participants, way.rooms)
        };
        (0..self.ways.len()).min_by_key(|&at| key(&self.ways[at]))
    }

    fn way_of(&self, room: RoomId) -> Result<&Way, Full> {
        let placed = self.rooms.get(&room).ok_or(Full)?;
        Ok(&self.ways[placed.way])
    }

    fn way_of_mut(&mut self, room: RoomId) -> Result<&mut Way, Full> {
        let placed = self.rooms.get(&room).ok_or(Full)?;
        Ok(&mut self.ways[placed.way])
    }
}

/// Loads less than 5 % apart are the same: which of two idle mixers measured less says nothing about them.
const LOAD_STEPS: f32 = 20.0;

impl Way {
    fn new(mixer: MixerControl) -> Way {
        Way {
            mixer,
            governor: Governor::new(),
            busy_ns: 0,
            waiting: VecDeque::new(),
            rooms: 0,
            participants: 0,
        }
    }

    /// Sends a command, or says that the link has no room.
    fn send(&mut self, command: Command) -> Result<(), Full> {
        self.retry();
        if !self.waiting.is_empty() {
            return Err(Full);
        }
        self.mixer.send(command).map_err(|_| Full)
    }

    /// Sends a command that takes something away, now or later. What waits is bounded by what there is to take away.
    fn ensure(&mut self, command: Command) {
        self.waiting.push_back(command);
        self.retry();
    }

    fn retry(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            if let Err(command) = self.mixer.send(command) {
                self.waiting.push_front(command);
                break;
            }
        }
    }
}

/// The link to a mixer is full, or the mixer or the room is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// A room's settings in the engine's words.
pub(super) fn settings(config: &RoomConfig) -> RoomSettings {
    RoomSettings {
        tick: config.tick,
        layout: layout(config),
        gate_db: config.gate_db.map(Decibels),
        max_contributors: config.max_contributors,
    }
}

/// Members the mixer's room needs memory for: those who may be in, and those who have just left and fade out.
pub(super) fn places(config: &RoomConfig) -> usize {
    let most = config.max_participants as usize;
    most + most.min(MOST_FADING)
}

/// Members who may fade out of one room at one time; as many as the server has place for beyond its own limit.
const MOST_FADING: usize = 256;

/// Channels of a room's bus: two where music is asked for, since a stereo bus costs every mix twice the work.
pub(super) fn layout(config: &RoomConfig) -> Layout {
    match config.profile {
        Profile::Music => Layout::Stereo,
        Profile::Voice | Profile::Radio | Profile::LowDelay | Profile::Thin => Layout::Mono,
    }
}
