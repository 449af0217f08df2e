//! Effects: the operations that the conference asks of the mixers, the network thread and the
//! WebSockets, and its answers to requests. Effects are performed in the order of their list.

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

/// An operation that the [performer](super::performer) carries out for the machine.
#[derive(Debug)]
pub(super) enum Effect {
    /// Sends a text to all WebSockets that watch a room.
    Broadcast(WatchId, Arc<str>),
    /// Closes the WebSockets of a room that has ended, after all earlier broadcasts were sent over
    /// them.
    Unwatch(WatchId),
    /// Sends an order to a mixer.
    Mixer(MixerId, MixerOrder),
    /// Caps the libopus complexity of all encoders of a mixer.
    CapComplexity(MixerId, u8),
    /// Sends an order to the network thread.
    Network(NetworkOrder),
    /// Answers a request.
    Reply(Reply),
    /// Subscribes a WebSocket to the broadcasts of a room.
    Watch(WatchId, oneshot::Sender<broadcast::Receiver<Arc<str>>>),
    /// Drops the conference's copy of a feed that was closed or replaced.
    ForgetFeed(FeedNo),
}

/// An order to a mixer, as plain values. The performer builds the objects that the mixer needs for
/// the order, such as encoders.
#[derive(Debug)]
pub(super) enum MixerOrder {
    AddRoom {
        id: RoomId,
        settings: RoomSettings,
        /// Number of members that the room has memory for.
        capacity: usize,
        telemetry: Arc<RoomTelemetry>,
    },
    /// Gives a room memory for more members.
    Reserve {
        room: RoomId,
        capacity: usize,
    },
    ConfigureRoom(RoomId, RoomSettings),
    /// Never lost: waits if the queue to the mixer is full.
    RemoveRoom(RoomId),
    /// Adds to a room the participant that was built for a join and comes with its request (see
    /// [`Luggage`](super::performer::Luggage)).
    AddParticipant {
        room: RoomId,
    },
    /// Never lost: waits if the queue to the mixer is full.
    RemoveParticipant(ParticipantId),
    /// Gives a listen-only participant a new stream of this encoding.
    SetStream(ParticipantId, StreamEncoding),
    /// Opens the feed of a room, so that participants of other rooms can hear the room.
    OpenFeed {
        room: RoomId,
        number: FeedNo,
        layout: Layout,
        tick: TickLength,
    },
    /// Closes the feed of a room.
    CloseFeed(RoomId),
    /// Sets which linked rooms all members of a room hear; `None` means no rooms.
    SetLinks(RoomId, Option<MonitorSpec>),
    /// Sets which other rooms a participant hears; `None` means no rooms. A listen-only participant
    /// gets a new stream of this encoding.
    SetMonitors(ParticipantId, Option<MonitorSpec>, Option<StreamEncoding>),
    /// Makes the mixer apply a participant's settings at the next tick, even if the room sleeps.
    Attend(ParticipantId),
}

/// The rooms that are mixed for a participant, or for all members of a room with links.
///
/// The layout and the tick are those of the room in which the mix is heard, the own room.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MonitorSpec {
    /// Gain and priority of the own room.
    pub(super) home: MonitorLevel,
    /// The other rooms' feeds, without duplicates and in a fixed order.
    pub(super) channels: Vec<(FeedNo, MonitorLevel)>,
    pub(super) layout: Layout,
    pub(super) tick: TickLength,
}

/// The number of a feed, unique among all feeds that were ever opened.
///
/// A feed that replaces a closed feed of the same room has a new number, because listeners of the
/// closed feed do not hear the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FeedNo(pub(super) u64);

/// An order to the network thread.
#[derive(Debug)]
pub(super) enum NetworkOrder {
    /// Adds the peer that was built for a join and comes with its request (see
    /// [`Luggage`](super::performer::Luggage)).
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

/// Identifies a room to the WebSockets that watch it: the id that the room was created with.
///
/// The id of a room on its mixer changes when the room is rebuilt there; its WebSockets stay
/// subscribed.
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

    /// Sets how many places are free in the queue to each mixer and to the network thread. The
    /// number is 0 while an earlier order waits for a place.
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

    /// Appends an order to the network thread. For an order that can be refused, the caller must
    /// [check](Effects::check_network) first that the queue has a free place.
    pub(super) fn tell_network(&mut self, order: NetworkOrder) {
        self.network = self.network.saturating_sub(1);
        self.push(Effect::Network(order));
    }

    /// Sends an event of a room to the room's WebSockets and data channels, and to the participants
    /// of other rooms who hear the room.
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

    /// Sends an event of a room to the participants of other rooms who hear the room, if it is an
    /// event for them.
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
