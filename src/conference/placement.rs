//! Placement: the mixer of each room and participant, and the orders to that mixer.

use std::collections::HashMap;
use std::sync::Arc;

use mixer::codec::Profile;
use mixer::format::Layout;
use mixer::room::{RoomSettings, RoomTelemetry};
use mixer::schedule::LoadGovernor;
use mixer::{Decibels, ParticipantId, RoomId};

use super::effect::{Effects, FeedNo, MixerOrder, MonitorSpec, QueueFull};
use super::member::StreamEncoding;
use crate::protocol::RoomConfig;
use crate::queues::MixerId;

/// The mixer of each room and participant.
///
/// A new room goes to the mixer with the least load and stays there, because its participants'
/// packets are sent there. A removal is never refused: it waits if the mixer's queue is full. All
/// other orders are then refused.
pub(super) struct Placement {
    /// Load of each mixer, indexed by mixer id.
    mixers: Vec<MixerLoad>,
    rooms: HashMap<RoomId, PlacedRoom>,
    participants: HashMap<ParticipantId, MixerId>,
}

/// A room's mixer and the telemetry that the mixer writes.
struct PlacedRoom {
    mixer: MixerId,
    telemetry: Arc<RoomTelemetry>,
}

/// The load of one mixer: how busy it is, and its numbers of rooms and participants.
pub(super) struct MixerLoad {
    pub(super) governor: LoadGovernor,
    /// Busy time of the mixer when its governor last observed the load, in nanoseconds.
    pub(super) busy_ns: u64,
    rooms: usize,
    participants: usize,
}

impl Placement {
    /// Creates a placement without rooms.
    pub(super) fn new(mixers: usize) -> Placement {
        let idle = || MixerLoad {
            governor: LoadGovernor::new(),
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

    /// Returns the load of each mixer, indexed by mixer id.
    pub(super) fn mixers(&self) -> &[MixerLoad] {
        &self.mixers
    }

    /// Returns the load of each mixer, to be updated by load control.
    pub(super) fn mixers_mut(&mut self) -> &mut [MixerLoad] {
        &mut self.mixers
    }

    /// Returns the mixer of a room.
    pub(super) fn mixer_of(&self, room: RoomId) -> Option<MixerId> {
        Some(self.rooms.get(&room)?.mixer)
    }

    /// Returns whether a participant may join a room, or with `None` a new room.
    pub(super) fn admits(&self, room: Option<RoomId>) -> bool {
        let mixer = match room {
            Some(room) => self.mixer_of(room),
            None => self.least_loaded(),
        };
        mixer.is_some_and(|mixer| !self.mixers[mixer.0].governor.refuses_joins())
    }

    /// Returns whether the mixer has dropped a room, after a panic or for lack of capacity.
    pub(super) fn has_failed(&self, room: RoomId) -> bool {
        let placed = self.rooms.get(&room);
        placed.is_some_and(|placed| placed.telemetry.has_failed())
    }

    /// Places a new room on the least loaded mixer.
    ///
    /// # Errors
    /// [`QueueFull`]; the room is then not placed.
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

    /// Gives a room memory for `capacity` members.
    ///
    /// # Errors
    /// [`QueueFull`]; the capacity is then unchanged.
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
    /// [`QueueFull`]; the settings are then unchanged.
    pub(super) fn configure(
        &self,
        effects: &mut Effects,
        room: RoomId,
        config: &RoomConfig,
    ) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::ConfigureRoom(room, settings(config)))
    }

    /// Adds to a room the participant that was built for a join and comes with its request (see
    /// [`Luggage`](super::performer::Luggage)).
    ///
    /// # Errors
    /// [`QueueFull`]; the participant is then not added.
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

    /// Removes a room from its mixer.
    pub(super) fn remove_room(&mut self, effects: &mut Effects, id: RoomId) {
        if let Some(mixer) = self.forget_room(id) {
            effects.ensure(mixer, MixerOrder::RemoveRoom(id));
        }
    }

    /// Forgets a room that its mixer has already dropped; returns the mixer.
    pub(super) fn forget_room(&mut self, id: RoomId) -> Option<MixerId> {
        let mixer = self.rooms.remove(&id)?.mixer;
        self.mixers[mixer.0].rooms -= 1;
        Some(mixer)
    }

    /// Gives a listen-only participant a new stream.
    ///
    /// # Errors
    /// [`QueueFull`]; the stream is then unchanged.
    pub(super) fn set_stream(
        &self,
        effects: &mut Effects,
        id: ParticipantId,
        encoding: StreamEncoding,
    ) -> Result<(), QueueFull> {
        let mixer = *self.participants.get(&id).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::SetStream(id, encoding))
    }

    /// Opens the feed of a room, so that participants of other rooms can hear the room.
    ///
    /// # Errors
    /// [`QueueFull`]; the feed is then not opened.
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

    /// Closes the feed of a room.
    ///
    /// # Errors
    /// [`QueueFull`]; the feed then stays open.
    pub(super) fn close_feed(&self, effects: &mut Effects, room: RoomId) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::CloseFeed(room))
    }

    /// Sets which linked rooms all members of a room hear; `None` means no rooms.
    ///
    /// # Errors
    /// [`QueueFull`]; the links are then unchanged.
    pub(super) fn set_links(
        &self,
        effects: &mut Effects,
        room: RoomId,
        plan: Option<MonitorSpec>,
    ) -> Result<(), QueueFull> {
        let mixer = self.mixer_of(room).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::SetLinks(room, plan))
    }

    /// Sets which other rooms a participant hears; `None` means no rooms.
    ///
    /// - `encoding`: how the participant's stream is encoded, if the participant is listen-only.
    ///
    /// # Errors
    /// [`QueueFull`]; the participant then hears the same rooms as before.
    pub(super) fn set_monitors(
        &self,
        effects: &mut Effects,
        id: ParticipantId,
        plan: Option<MonitorSpec>,
        encoding: Option<StreamEncoding>,
    ) -> Result<(), QueueFull> {
        let mixer = *self.participants.get(&id).ok_or(QueueFull)?;
        effects.command(mixer, MixerOrder::SetMonitors(id, plan, encoding))
    }

    /// Makes the mixer apply a participant's settings even while the room sleeps. If the mixer's
    /// queue is full, no order is sent: the commands in the queue or the participant's next packet
    /// wake the room.
    pub(super) fn attend(&self, effects: &mut Effects, id: ParticipantId) {
        if let Some(mixer) = self.participants.get(&id) {
            let _ = effects.command(*mixer, MixerOrder::Attend(id));
        }
    }

    /// Removes a participant from its mixer.
    pub(super) fn remove(&mut self, effects: &mut Effects, id: ParticipantId) {
        if let Some(mixer) = self.participants.remove(&id) {
            self.mixers[mixer.0].participants -= 1;
            effects.ensure(mixer, MixerOrder::RemoveParticipant(id));
        }
    }

    /// Returns how many rooms and participants are placed.
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

    /// Returns the mixer for a new room: one that accepts joins, with the lowest load in steps of
    /// [`LOAD_STEPS`], then with the fewest participants, then with the fewest rooms.
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

/// Number of steps from no load to full load. Loads within one step of 5 % count as equal, because
/// differences between two idle mixers are measurement noise.
const LOAD_STEPS: f32 = 20.0;

/// Translates a room's configuration into settings of the mixer.
pub(super) fn settings(config: &RoomConfig) -> RoomSettings {
    RoomSettings {
        tick: config.tick,
        layout: layout(config),
        gate_db: config.gate_db.map(Decibels),
        max_contributors: config.max_contributors,
    }
}

/// Returns the number of members that a room on its mixer needs memory for: present participants,
/// and departed participants whose sound still fades out.
pub(super) fn places(config: &RoomConfig) -> usize {
    let most = config.max_participants as usize;
    most + most.min(MOST_FADING)
}

/// Maximum number of members that fade out of one room at a time, equal to the places that the
/// server has beyond its own session limit.
const MOST_FADING: usize = 256;

/// Returns the channel layout of a room's bus: stereo for the music profile only, because a stereo
/// bus doubles the work of every mix.
pub(super) fn layout(config: &RoomConfig) -> Layout {
    match config.profile {
        Profile::Music => Layout::Stereo,
        Profile::Voice | Profile::Radio | Profile::LowDelay | Profile::Thin => Layout::Mono,
    }
}
