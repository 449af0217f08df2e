//! Which mixer each room and participant is on, and what the mixers are told of them.

use std::collections::HashMap;
use std::sync::Arc;

use mixer::command::RoomTelemetry;
use mixer::format::Layout;
use mixer::governor::Governor;
use mixer::profile::Profile;
use mixer::room::RoomSettings;
use mixer::{Decibels, ParticipantId, RoomId};

use super::effect::{Effects, FeedNo, MixerOrder, QueueFull, ScanPlan};
use super::member::StreamRecipe;
use crate::protocol::RoomConfig;
use crate::queues::MixerId;

/// Which mixer each room and participant is on.
///
/// A room is on the mixer that had least to do when it was made, and stays there: its participants' packets go there.
/// What takes something away always arrives, so it cannot be refused; anything else can.
pub(super) struct Placement {
    /// By the mixers' ids.
    mixers: Vec<MixerLoad>,
    rooms: HashMap<RoomId, PlacedRoom>,
    participants: HashMap<ParticipantId, MixerId>,
}

/// A room on a mixer.
struct PlacedRoom {
    mixer: MixerId,
    telemetry: Arc<RoomTelemetry>,
}

/// What a mixer has to do.
pub(super) struct MixerLoad {
    pub(super) governor: Governor,
    /// Busy time of the mixer when the governor last looked.
    pub(super) busy_ns: u64,
    rooms: usize,
    participants: usize,
}

impl Placement {
    /// A placement over so many mixers, with no rooms yet.
    pub(super) fn new(mixers: usize) -> Placement {
        let idle = || MixerLoad {
            governor: Governor::new(),
            busy_ns: 0,
            rooms: 0,
            participants: 0,
        };
        Placement {
            mixers: (0..mixers).map(|_| idle()).collect(),
            rooms: HashMap::new(),
            participants: HashMap::new(),
        }
    }

    /// What each mixer has to do, by its id.
    pub(super) fn mixers(&self) -> &[MixerLoad] {
        &self.mixers
    }

    /// What each mixer has to do, for the governors.
    pub(super) fn mixers_mut(&mut self) -> &mut [MixerLoad] {
        &mut self.mixers
    }

    /// Where a room is.
    pub(super) fn mixer_of(&self, room: RoomId) -> Option<MixerId> {
        Some(self.rooms.get(&room)?.mixer)
    }

    /// Whether somebody may join a room; with `None`, a new one.
    pub(super) fn admits(&self, room: Option<RoomId>) -> bool {
        let mixer = match room {
            Some(room) => self.mixer_of(room),
            None => self.least_loaded(),
        };
        mixer.is_some_and(|mixer| !self.mixers[mixer.0].governor.refuses_joins())
    }

    /// Whether a room was given to a mixer that does not have it any more.
    pub(super) fn has_failed(&self, room: RoomId) -> bool {
        let placed = self.rooms.get(&room);
        placed.is_some_and(|placed| placed.telemetry.has_failed())
    }

    /// Makes a room.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn add_room(
        &mut self,
        effects: &mut Effects,
        id: RoomId,
        config: &RoomConfig,
        capacity: usize,
    ) -> Result<(), QueueFull> {
        let mixer = self.least_loaded().ok_or(QueueFull)?;
        let telemetry = Arc::<RoomTelemetry>::default();
        let order = MixerOrder::AddRoom {
            id,
            settings: settings(config),
            capacity,
            telemetry: telemetry.clone(),
        };
        effects.command(mixer, order)?;
        self.mixers[mixer.0].rooms += 1;
        self.rooms.insert(id, PlacedRoom { mixer, telemetry });
        Ok(())
    }

    /// Gives a room more places.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn enlarge(
        &self,
        effects: &mut Effects,
        room: RoomId,
        capacity: usize,
    ) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::Reserve { room, capacity })
    }

    /// Changes a room's settings.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn configure(
        &self,
        effects: &mut Effects,
        room: RoomId,
        config: &RoomConfig,
    ) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::ConfigureRoom(room, settings(config)))
    }

    /// Puts the participant whose box comes with the request into a room.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn add(
        &mut self,
        effects: &mut Effects,
        room: RoomId,
        id: ParticipantId,
    ) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::AddParticipant { room })?;
        self.mixers[mixer.0].participants += 1;
        self.participants.insert(id, mixer);
        Ok(())
    }

    /// Takes a room away.
    pub(super) fn remove_room(&mut self, effects: &mut Effects, id: RoomId) {
        if let Some(mixer) = self.forget_room(id) {
            effects.ensure(mixer, MixerOrder::RemoveRoom(id));
        }
    }

    /// A room is gone by itself; where it was.
    pub(super) fn forget_room(&mut self, id: RoomId) -> Option<MixerId> {
        let mixer = self.rooms.remove(&id)?.mixer;
        self.mixers[mixer.0].rooms -= 1;
        Some(mixer)
    }

    /// Gives a participant another stream.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn set_listener(
        &self,
        effects: &mut Effects,
        id: ParticipantId,
        recipe: StreamRecipe,
    ) -> Result<(), QueueFull> {
        let mixer = *self.participants.get(&id).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::SetListener(id, recipe))
    }

    /// Lets others hear a room.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn open_feed(
        &self,
        effects: &mut Effects,
        room: RoomId,
        config: &RoomConfig,
        number: FeedNo,
    ) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        let order = MixerOrder::OpenFeed {
            room,
            number,
            layout: layout(config),
            tick: config.tick,
        };
        effects.command(mixer, order)
    }

    /// Lets others hear a room no longer.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn close_feed(&self, effects: &mut Effects, room: RoomId) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::CloseFeed(room))
    }

    /// Lets everybody in a room hear others.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn set_links(
        &self,
        effects: &mut Effects,
        room: RoomId,
        plan: Option<ScanPlan>,
    ) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::SetLinks(room, plan))
    }

    /// Lets a participant hear other rooms.
    ///
    /// - `recipe`: of its stream, if it only listens.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn set_scan(
        &self,
        effects: &mut Effects,
        id: ParticipantId,
        plan: Option<ScanPlan>,
        recipe: Option<StreamRecipe>,
    ) -> Result<(), QueueFull> {
        let mixer = *self.participants.get(&id).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::SetScan(id, plan, recipe))
    }

    /// Has the mixer act on a participant's settings though its room be asleep. A queue that is full will wake the room
    /// with something else, and the participant's next packet does in any case.
    pub(super) fn attend(&self, effects: &mut Effects, id: ParticipantId) {
        if let Some(mixer) = self.participants.get(&id) {
            let _ = effects.command(*mixer, MixerOrder::Attend(id));
        }
    }

    /// Takes a participant away.
    pub(super) fn remove(&mut self, effects: &mut Effects, id: ParticipantId) {
        if let Some(mixer) = self.participants.remove(&id) {
            self.mixers[mixer.0].participants -= 1;
            effects.ensure(mixer, MixerOrder::RemoveParticipant(id));
        }
    }

    /// How many rooms and participants it knows of.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let counts = (self.rooms.len(), self.participants.len());
        let mixers = self.mixers.iter();
        let sums = mixers.fold((0, 0), |sums, mixer| {
            (sums.0 + mixer.rooms, sums.1 + mixer.participants)
        });
        assert_eq!(sums, counts, "of all mixers together");
        counts
    }

    /// The mixer a new room goes to: one that takes people in, with the least load as far as it can be told, then with
    /// the fewest participants, then with the fewest rooms.
    fn least_loaded(&self) -> Option<MixerId> {
        let key = |mixer: &MixerLoad| {
            let load = (mixer.governor.load() * LOAD_STEPS) as u32;
            let refuses = mixer.governor.refuses_joins();
            (refuses, load, mixer.participants, mixer.rooms)
        };
        let least = (0..self.mixers.len()).min_by_key(|&at| key(&self.mixers[at]));
        least.map(MixerId)
    }
}

/// Loads less than 5 % apart are the same: which of two idle mixers measured less says nothing about them.
const LOAD_STEPS: f32 = 20.0;

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
