//! Effects: an ordered list of what the conference wants done by mixers, the network thread and
//! callers. No effect overtakes an earlier one.

use std::sync::Arc;

use mixer::format::{Layout, TickLength};
use mixer::monitor::MonitorLevel;
use mixer::room::{RoomSettings, RoomTelemetry};
use mixer::{ParticipantId, RoomId};
use tokio::sync::{broadcast, oneshot};

use super::handle::Reply;
use super::member::StreamEncoding;
use super::room::Room;
use crate::protocol::Event;
use crate::queues::MixerId;
use crate::rtc::{Closing, Restart, RestartResult};

/// An operation to be performed outside the conference.
#[derive(Debug)]
pub(super) enum Effect {
    /// Sends a text to all WebSockets that watch a room.
    Broadcast(WatchId, Arc<str>),
    /// Closes the WebSockets of a room that has ended, once they have read all earlier broadcasts.
    Unwatch(WatchId),
    /// Sends an order to a mixer.
    Mixer(MixerId, MixerOrder),
    /// Caps the libopus complexity of all encoders of a mixer.
    CapComplexity(MixerId, u8),
    /// Sends an order to the network thread.
    Network(NetworkOrder),
    /// Answers a request.
    Reply(Reply),
    /// Subscribes a watcher to the broadcasts of a room.
    Watch(WatchId, oneshot::Sender<broadcast::Receiver<Arc<str>>>),
    /// Drops the feed of a room that no participant elsewhere hears any more.
    ForgetFeed(FeedNo),
}

/// An order to a mixer, as a description; the heavy objects are built where the order is performed.
#[derive(Debug)]
pub(super) enum MixerOrder {
    AddRoom {
        id: RoomId,
        settings: RoomSettings,
        /// Members that the room has memory for.
        capacity: usize,
        telemetry: Arc<RoomTelemetry>,
    },
    /// Enlarges the capacity of a room.
    Reserve {
        room: RoomId,
        capacity: usize,
    },
    ConfigureRoom(RoomId, RoomSettings),
    /// Never lost: waits if the queue to the mixer is full.
    RemoveRoom(RoomId),
    /// Adds the participant that comes boxed with the request.
    AddParticipant {
        room: RoomId,
    },
    /// Never lost: waits if the queue to the mixer is full.
    RemoveParticipant(ParticipantId),
    /// Gives a listen-only participant a stream of this recipe.
    SetStream(ParticipantId, StreamEncoding),
    /// Opens the feed of a room, so that participants elsewhere can hear the room.
    OpenFeed {
        room: RoomId,
        number: FeedNo,
        layout: Layout,
        tick: TickLength,
    },
    /// Closes the feed of a room.
    CloseFeed(RoomId),
    /// Lets all members of a room hear linked rooms; `None` ends the links.
    SetLinks(RoomId, Option<MonitorPlan>),
    /// Lets a participant hear other rooms, over a stream of this recipe if the participant is
    /// listen-only.
    SetMonitors(ParticipantId, Option<MonitorPlan>, Option<StreamEncoding>),
    /// Makes the mixer apply a participant's settings at the next tick.
    Attend(ParticipantId),
}

/// The rooms that a participant hears, in a room of this layout and tick.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MonitorPlan {
    /// How the participant's own room is heard.
    pub(super) home: MonitorLevel,
    /// The other rooms' feeds, without duplicates and in a fixed order.
    pub(super) channels: Vec<(FeedNo, MonitorLevel)>,
    pub(super) layout: Layout,
    pub(super) tick: TickLength,
}

/// The number of a room's feed, unique even among successive feeds of one room: a listener that was
/// given a closed feed hears nothing of the feed that replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FeedNo(pub(super) u64);

/// An order to the network thread.
#[derive(Debug)]
pub(super) enum NetworkOrder {
    /// Adds the peer that comes with the request.
    Start,
    /// Sends a text over the open data channels of several participants. Dropped and counted when
    /// the network thread accepts no text.
    Text(Vec<ParticipantId>, Arc<str>),
    /// Closes a peer. Never lost: waits if the queue to the network thread is full.
    Close(Closing),
    /// Adds ICE candidates of a client.
    Trickle(ParticipantId, Vec<String>),
    /// Restarts the ICE session of a client.
    Restart(ParticipantId, Restart, oneshot::Sender<RestartResult>),
}

/// Identifies a room to its watchers for the room's lifetime: the id that the room was created
/// with.
///
/// The mixer's id of a room changes when its mixer restarts it, which watchers do not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WatchId(pub(super) RoomId);

/// The list of pending effects, and the free places in the queues that take them.
#[derive(Debug)]
pub(super) struct Effects {
    list: Vec<Effect>,
    /// Free places in the queue to each mixer.
    mixers: Vec<usize>,
    /// Free places in the queue to the network thread.
    network: usize,
}

/// The queue to a mixer or to the network thread is full, its receiver has ended, or the room has
/// no mixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Effects {
    /// Creates an empty list with no free place in any queue.
    ///
    /// - `mixers`: number of mixers.
    pub(super) fn new(mixers: usize) -> Effects {
        Effects {
            list: Vec::new(),
            mixers: vec![0; mixers],
            network: 0,
        }
    }

    /// Sets how many places are free in the queue to each mixer and to the network thread: none
    /// while a command that must not be lost is waiting.
    pub(super) fn set_credit(&mut self, mixers: impl IntoIterator<Item = usize>, network: usize) {
        for (credit, free) in self.mixers.iter_mut().zip(mixers) {
            *credit = free;
        }
        self.network = network;
    }

    /// Appends an effect.
    pub(super) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Takes all pending effects out of the list.
    pub(super) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.list)
    }

    /// Iterates over the pending effects.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.list.iter()
    }

    /// Checks that a mixer's queue has a free place.
    ///
    /// # Errors
    /// [`QueueFull`] if the queue has none.
    pub(super) fn check_mixer(&self, mixer: MixerId) -> Result<(), QueueFull> {
        match self.mixers.get(mixer.0) {
            Some(1..) => Ok(()),
            _ => Err(QueueFull),
        }
    }

    /// Appends an order to a mixer, if the mixer's queue has a free place.
    ///
    /// # Errors
    /// [`QueueFull`]; no order is appended then.
    pub(super) fn command(&mut self, mixer: MixerId, order: MixerOrder) -> Result<(), QueueFull> {
        self.check_mixer(mixer)?;
        self.ensure(mixer, order);
        Ok(())
    }

    /// Appends an order that removes something from a mixer; the order waits if the mixer's queue
    /// is full.
    pub(super) fn ensure(&mut self, mixer: MixerId, order: MixerOrder) {
        if let Some(credit) = self.mixers.get_mut(mixer.0) {
            *credit = credit.saturating_sub(1);
        }
        self.push(Effect::Mixer(mixer, order));
    }

    /// Checks that the network thread's queue has a free place.
    ///
    /// # Errors
    /// [`QueueFull`] if the queue has none.
    pub(super) fn check_network(&self) -> Result<(), QueueFull> {
        match self.network {
            0 => Err(QueueFull),
            _ => Ok(()),
        }
    }

    /// Appends an order to the network thread. An order that may be refused needs [a free
    /// place](Effects::check_network).
    pub(super) fn tell_network(&mut self, order: NetworkOrder) {
        self.network = self.network.saturating_sub(1);
        self.push(Effect::Network(order));
    }

    /// Sends an event to all watchers of a room, over WebSocket and data channel, and to
    /// participants who hear the room from elsewhere.
    pub(super) fn broadcast(&mut self, room: &Room, event: &Event) {
        let text: Arc<str> = event.to_json().into();
        let channels = room.members.iter().filter(|member| member.channel);
        let channels: Vec<ParticipantId> = channels.map(|member| member.id).collect();
        if !channels.is_empty() {
            self.text(channels, room.fitting_text(event, text.clone(), None));
        }
        self.push(Effect::Broadcast(room.watch, text));
        self.broadcast_to_subscribers(room, event);
    }

    /// Sends an event of a room to the participants who hear the room from elsewhere, if the event
    /// concerns them.
    pub(super) fn broadcast_to_subscribers(&mut self, room: &Room, event: &Event) {
        if let Some(subscribers) = room.subscribers.as_ref().filter(|_| event.travels()) {
            let text = event.to_json_from(&subscribers.room).into();
            self.text(subscribers.ids.clone(), text);
        }
    }

    /// Sends an event to one participant, if its data channel is open.
    pub(super) fn send_to(&mut self, room: &Room, id: ParticipantId, event: &Event) {
        if room.member(id).is_some_and(|member| member.channel) {
            self.text(vec![id], event.to_json().into());
        }
    }

    /// Sends a text over the data channels of several participants.
    pub(super) fn text(&mut self, to: Vec<ParticipantId>, text: Arc<str>) {
        self.tell_network(NetworkOrder::Text(to, text));
    }
}
