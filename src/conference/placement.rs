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

/// Which mixer each room and participant is on.
///
/// A room is on the mixer that had least to do when it was made, and stays there: its participants' packets go there.
pub(super) struct Placement {
    mixers: Vec<MixerLink>,
    rooms: HashMap<RoomId, PlacedRoom>,
    participants: HashMap<ParticipantId, usize>,
}

/// A room on a mixer.
struct PlacedRoom {
    mixer: usize,
    telemetry: Arc<RoomTelemetry>,
}

/// The link to one mixer.
///
/// A command that adds something may be refused: its box comes back and the join fails. A command that takes something
/// away may not be lost, so it waits here for room on the link. Commands never overtake each other: while something
/// waits, whatever may be refused is.
pub(super) struct MixerLink {
    pub(super) mixer: MixerControl,
    pub(super) governor: Governor,
    /// Busy time of the mixer when the governor last looked.
    pub(super) busy_ns: u64,
    waiting: VecDeque<Command>,
    rooms: usize,
    participants: usize,
}

impl Placement {
    /// A placement over these mixers, with no rooms yet.
    pub(super) fn new(mixers: Vec<MixerControl>) -> Placement {
        Placement {
            mixers: mixers.into_iter().map(MixerLink::new).collect(),
            rooms: HashMap::new(),
            participants: HashMap::new(),
        }
    }

    /// Each mixer's link.
    pub(super) fn mixers(&self) -> &[MixerLink] {
        &self.mixers
    }

    /// The links to the mixers, for the governors.
    pub(super) fn mixers_mut(&mut self) -> &mut [MixerLink] {
        &mut self.mixers
    }

    /// Where a room is.
    pub(super) fn mixer_of(&self, room: RoomId) -> Option<MixerId> {
        let link = self.link_of(room).ok()?;
        Some(link.mixer.handle().id())
    }

    /// Whether somebody may join a room; with `None`, a new one.
    pub(super) fn admits(&self, room: Option<RoomId>) -> bool {
        let link = match room {
            Some(room) => self.link_of(room).ok(),
            None => self.least_loaded().map(|at| &self.mixers[at]),
        };
        link.is_some_and(|link| !link.governor.refuses_joins())
    }

    /// The next event of any mixer.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.mixers
            .iter_mut()
            .find_map(|link| link.mixer.next_event())
    }

    /// Whether every mixer runs.
    pub(super) fn is_whole(&self) -> bool {
        !self.mixers.iter().any(|link| link.mixer.has_ended())
    }

    /// Whether a room was given to a mixer that does not have it any more.
    pub(super) fn has_failed(&self, room: RoomId) -> bool {
        let placed = self.rooms.get(&room);
        placed.is_some_and(|placed| placed.telemetry.has_failed())
    }

    /// Sends what waits, as far as the rings have room.
    pub(super) fn retry(&mut self) {
        self.mixers.iter_mut().for_each(MixerLink::retry);
    }

    /// Makes a room.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn add_room(
        &mut self,
        id: RoomId,
        config: &RoomConfig,
        capacity: usize,
    ) -> Result<(), QueueFull> {
        let at = self.least_loaded().ok_or(QueueFull)?;
        let link = &mut self.mixers[at];
        let room = Room::new(id, settings(config), capacity);
        let telemetry = room.telemetry().clone();
        link.send(Command::AddRoom(Box::new(room)))?;
        link.rooms += 1;
        self.rooms.insert(
            id,
            PlacedRoom {
                mixer: at,
                telemetry,
            },
        );
        Ok(())
    }

    /// Gives a room more places.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn enlarge(&mut self, room: RoomId, capacity: usize) -> Result<(), QueueFull> {
        let members = Box::new(Members::with_capacity(capacity));
        self.link_of_mut(room)?
            .send(Command::Reserve { room, members })
    }

    /// Changes a room's settings.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn configure(&mut self, room: RoomId, config: &RoomConfig) -> Result<(), QueueFull> {
        self.link_of_mut(room)?
            .send(Command::ConfigureRoom(room, settings(config)))
    }

    /// Puts a participant into a room.
    ///
    /// # Errors
    /// [`QueueFull`]; what was built for it is dropped here, on the control side.
    pub(super) fn add(
        &mut self,
        room: RoomId,
        participant: Box<Participant>,
    ) -> Result<(), QueueFull> {
        let at = self.rooms.get(&room).ok_or(QueueFull)?.mixer;
        let id = participant.id();
        self.mixers[at].send(Command::AddParticipant { room, participant })?;
        self.mixers[at].participants += 1;
        self.participants.insert(id, at);
        Ok(())
    }

    /// Takes a room away.
    pub(super) fn remove_room(&mut self, id: RoomId) {
        if let Some(link) = self.forget_room(id) {
            link.ensure(Command::RemoveRoom(id));
        }
    }

    /// A room is gone by itself.
    pub(super) fn forget_room(&mut self, id: RoomId) -> Option<&mut MixerLink> {
        let link = &mut self.mixers[self.rooms.remove(&id)?.mixer];
        link.rooms -= 1;
        Some(link)
    }

    /// Gives a participant another stream.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn set_listener(
        &mut self,
        id: ParticipantId,
        recipe: Recipe,
        tick: TickLength,
    ) -> Result<(), QueueFull> {
        let at = *self.participants.get(&id).ok_or(QueueFull)?;
        let listener = Box::new(Listener::new(recipe, tick));
        self.mixers[at].send(Command::SetListener(id, listener))
    }

    /// Lets others hear a room, or no longer.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn set_feed(
        &mut self,
        room: RoomId,
        feed: Option<Arc<Feed>>,
    ) -> Result<(), QueueFull> {
        self.link_of_mut(room)?.send(Command::SetFeed(room, feed))
    }

    /// Lets everybody in a room hear others.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn set_links(&mut self, room: RoomId, links: Box<Rescan>) -> Result<(), QueueFull> {
        self.link_of_mut(room)?.send(Command::SetLinks(room, links))
    }

    /// Lets a participant hear other rooms.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn set_scan(
        &mut self,
        id: ParticipantId,
        scan: Box<Rescan>,
    ) -> Result<(), QueueFull> {
        let at = *self.participants.get(&id).ok_or(QueueFull)?;
        self.mixers[at].send(Command::SetScan(id, scan))
    }

    /// Has the mixer act on a participant's settings though its room be asleep. A link that is full will wake the room
    /// with something else, and the participant's next packet does in any case.
    pub(super) fn attend(&mut self, id: ParticipantId) {
        if let Some(at) = self.participants.get(&id) {
            let _ = self.mixers[*at].send(Command::Attend(id));
        }
    }

    /// Takes a participant away.
    pub(super) fn remove(&mut self, id: ParticipantId) {
        if let Some(at) = self.participants.remove(&id) {
            self.mixers[at].participants -= 1;
            self.mixers[at].ensure(Command::RemoveParticipant(id));
        }
    }

    /// Sends a mixer what a test wants, past all that is known here.
    #[cfg(test)]
    pub(super) fn command(&mut self, room: RoomId, command: Command) {
        let link = self.link_of_mut(room).expect("it is on one");
        link.send(command).expect("there is room");
    }

    /// Whether it knows of nobody and nothing.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let idle = |link: &MixerLink| link.rooms == 0 && link.participants == 0;
        self.rooms.is_empty() && self.participants.is_empty() && self.mixers.iter().all(idle)
    }

    /// The mixer a new room goes to: one that takes people in, with the least load as far as it can be told, then with
    /// the fewest participants, then with the fewest rooms.
    fn least_loaded(&self) -> Option<usize> {
        let key = |link: &MixerLink| {
            let load = (link.governor.load() * LOAD_STEPS) as u32;
            let refuses = link.governor.refuses_joins();
            (refuses, load, link.participants, link.rooms)
        };
        (0..self.mixers.len()).min_by_key(|&at| key(&self.mixers[at]))
    }

    fn link_of(&self, room: RoomId) -> Result<&MixerLink, QueueFull> {
        let placed = self.rooms.get(&room).ok_or(QueueFull)?;
        Ok(&self.mixers[placed.mixer])
    }

    fn link_of_mut(&mut self, room: RoomId) -> Result<&mut MixerLink, QueueFull> {
        let placed = self.rooms.get(&room).ok_or(QueueFull)?;
        Ok(&mut self.mixers[placed.mixer])
    }
}

/// Loads less than 5 % apart are the same: which of two idle mixers measured less says nothing about them.
const LOAD_STEPS: f32 = 20.0;

impl MixerLink {
    fn new(mixer: MixerControl) -> MixerLink {
        MixerLink {
            mixer,
            governor: Governor::new(),
            busy_ns: 0,
            waiting: VecDeque::new(),
            rooms: 0,
            participants: 0,
        }
    }

    /// Sends a command, or says that the link has no room.
    fn send(&mut self, command: Command) -> Result<(), QueueFull> {
        self.retry();
        if !self.waiting.is_empty() {
            return Err(QueueFull);
        }
        self.mixer.send(command).map_err(|_| QueueFull)
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

/// The command queue of a mixer is full, or the mixer or the room is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

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
