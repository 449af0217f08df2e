//! The conference's side of the mixer: settings in the engine's words, boxes built here so that the mixer thread
//! allocates nothing, and a queue for what must arrive even when the link is full.

use std::collections::VecDeque;

use mixer::command::Command;
use mixer::format::Layout;
use mixer::members::Members;
use mixer::profile::Profile;
use mixer::room::{Room, RoomSettings};
use mixer::{Decibels, ParticipantId, RoomId};

use crate::audio::AudioHandle;
use crate::control::RoomConfig;

/// The way to the mixer.
///
/// A command that adds something may be refused: its box comes back and the join fails. A command that takes something
/// away may not be lost, so it waits here for room on the link. Commands never overtake each other: while something
/// waits, whatever may be refused is.
pub(super) struct Mixing {
    audio: AudioHandle,
    waiting: VecDeque<Command>,
}

impl Mixing {
    /// The way to this mixer.
    pub(super) fn new(audio: AudioHandle) -> Mixing {
        Mixing {
            audio,
            waiting: VecDeque::new(),
        }
    }

    /// Sends a command, or says that the link has no room.
    ///
    /// # Errors
    /// [`Full`]; what the command carried is dropped here, on the control side.
    pub(super) fn send(&mut self, command: Command) -> Result<(), Full> {
        self.retry();
        if !self.waiting.is_empty() {
            return Err(Full);
        }
        self.audio.send(command).map_err(|_| Full)
    }

    /// Sends a command that takes something away, now or later. What waits is bounded by what there is to take away.
    pub(super) fn ensure(&mut self, command: Command) {
        self.waiting.push_back(command);
        self.retry();
    }

    /// Sends what waits, as far as the link has room.
    pub(super) fn retry(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            if let Err(command) = self.audio.send(command) {
                self.waiting.push_front(command);
                break;
            }
        }
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
        let room = Room::new(id, settings(config), capacity);
        self.send(Command::AddRoom(Box::new(room)))
    }

    /// Gives a room more places.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn enlarge(&mut self, room: RoomId, capacity: usize) -> Result<(), Full> {
        let members = Members::with_capacity(capacity);
        self.send(Command::Reserve { room, members })
    }

    /// Takes a room away.
    pub(super) fn remove_room(&mut self, id: RoomId) {
        self.ensure(Command::RemoveRoom(id));
    }

    /// Takes a participant away.
    pub(super) fn remove(&mut self, id: ParticipantId) {
        self.ensure(Command::RemoveParticipant(id));
    }
}

/// The link to the mixer is full, or the mixer is gone.
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
        Profile::Voice | Profile::LowDelay | Profile::Thin => Layout::Mono,
    }
}
