//! What the conference wants done by others: an ordered list, so that nothing overtakes what was wanted before it.

use std::sync::Arc;

use mixer::command::RoomTelemetry;
use mixer::format::{Layout, TickLength};
use mixer::room::RoomSettings;
use mixer::scan::Strength;
use mixer::{ParticipantId, RoomId};
use tokio::sync::{broadcast, oneshot};

use super::member::StreamRecipe;
use super::request::Reply;
use super::room::Room;
use crate::protocol::Event;
use crate::queues::MixerId;
use crate::rtc::{Closing, Restart, RestartResult};

/// Something to be done outside the conference.
#[derive(Debug)]
pub(super) enum Effect {
    /// Sends a text to everybody who watches a room over a WebSocket.
    Broadcast(WatchId, Arc<str>),
    /// Closes the WebSockets of a room that is over, once they have read what was broadcast before.
    Unwatch(WatchId),
    /// Commands a mixer.
    Mixer(MixerId, MixerOrder),
    /// Lets no encoder of a mixer take more care than this, libopus complexity.
    CapComplexity(MixerId, u8),
    /// Commands the network thread.
    Network(NetworkOrder),
    /// Answers a request.
    Reply(Reply),
    /// Subscribes somebody to what is broadcast to those who watch a room.
    Watch(WatchId, oneshot::Sender<broadcast::Receiver<Arc<str>>>),
    /// Lets go of the feed of a room that is heard elsewhere no more.
    ForgetFeed(FeedNo),
}

/// What a mixer is told, in descriptions: what is heavy is built where the order is performed.
#[derive(Debug)]
pub(super) enum MixerOrder {
    AddRoom {
        id: RoomId,
        settings: RoomSettings,
        /// Members it has memory for.
        capacity: usize,
        telemetry: Arc<RoomTelemetry>,
    },
    /// Gives a room more places.
    Reserve {
        room: RoomId,
        capacity: usize,
    },
    ConfigureRoom(RoomId, RoomSettings),
    /// Always arrives.
    RemoveRoom(RoomId),
    /// Takes in the participant whose box comes with the request.
    AddParticipant {
        room: RoomId,
    },
    /// Always arrives.
    RemoveParticipant(ParticipantId),
    /// Gives a participant who only listens a stream of this recipe.
    SetListener(ParticipantId, StreamRecipe),
    /// Lets others hear a room.
    OpenFeed {
        room: RoomId,
        number: FeedNo,
        layout: Layout,
        tick: TickLength,
    },
    /// Lets others hear a room no longer.
    CloseFeed(RoomId),
    /// Lets everybody in a room hear others; `None`: no others.
    SetLinks(RoomId, Option<ScanPlan>),
    /// Lets a participant hear other rooms, over a stream of this recipe if it only listens.
    SetScan(ParticipantId, Option<ScanPlan>, Option<StreamRecipe>),
    /// Acts on a participant's settings at the next tick.
    Attend(ParticipantId),
}

/// What somebody in a room of this layout and tick hears.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScanPlan {
    /// How the room itself is heard.
    pub(super) home: Strength,
    /// The others, none of them twice and in a fixed order.
    pub(super) channels: Vec<(FeedNo, Strength)>,
    pub(super) layout: Layout,
    pub(super) tick: TickLength,
}

/// Tells one feed from another, though the room be the same: who was told of one that has been taken away since hears
/// nothing of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FeedNo(pub(super) u64);

/// What the network thread is told.
#[derive(Debug)]
pub(super) enum NetworkOrder {
    /// Takes in the peer that comes with the request.
    Start,
    /// Sends a text over the data channels of these participants, as far as they are open. Dropped and counted when
    /// the network thread takes nothing.
    Text(Vec<ParticipantId>, Arc<str>),
    /// Ends a peer. Always arrives.
    Close(Closing),
    /// Adds candidates of a client.
    Trickle(ParticipantId, Vec<String>),
    /// Restarts the ICE session of a client.
    Restart(ParticipantId, Restart, oneshot::Sender<RestartResult>),
}

/// Names a room to those who watch it, for as long as it is there: the id it was made with.
///
/// The mixer's id of a room changes when its mixer begins it anew, which those who watch it do not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WatchId(pub(super) RoomId);

/// Effects in the order in which they are to be performed, and how many more the queues have places for.
#[derive(Debug)]
pub(super) struct Effects {
    list: Vec<Effect>,
    /// Places that are free in the queue to each mixer.
    mixers: Vec<usize>,
    /// Places that are free in the queue to the network thread.
    network: usize,
}

/// The queue to a mixer or to the network thread is full, or its other end or the room is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Effects {
    /// No effects yet, and no place for any that needs one.
    ///
    /// - `mixers`: how many there are.
    pub(super) fn new(mixers: usize) -> Effects {
        Effects {
            list: Vec::new(),
            mixers: vec![0; mixers],
            network: 0,
        }
    }

    /// Says how many places are free now in the queue to each mixer and in that to the network thread: none while
    /// something waits that must arrive.
    pub(super) fn set_credit(&mut self, mixers: impl IntoIterator<Item = usize>, network: usize) {
        for (credit, free) in self.mixers.iter_mut().zip(mixers) {
            *credit = free;
        }
        self.network = network;
    }

    /// Adds one at the end.
    pub(super) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Gives all of them out.
    pub(super) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.list)
    }

    /// Those that have not been given out.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.list.iter()
    }

    /// Whether a mixer takes another command.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn check_mixer(&self, mixer: MixerId) -> Result<(), QueueFull> {
        match self.mixers.get(mixer.0) {
            Some(1..) => Ok(()),
            _ => Err(QueueFull),
        }
    }

    /// Commands a mixer.
    ///
    /// # Errors
    /// [`QueueFull`]; nothing is commanded then.
    pub(super) fn command(&mut self, mixer: MixerId, order: MixerOrder) -> Result<(), QueueFull> {
        self.check_mixer(mixer)?;
        self.ensure(mixer, order);
        Ok(())
    }

    /// Gives a mixer a command that takes something away, and that waits if the mixer takes nothing now.
    pub(super) fn ensure(&mut self, mixer: MixerId, order: MixerOrder) {
        if let Some(credit) = self.mixers.get_mut(mixer.0) {
            *credit = credit.saturating_sub(1);
        }
        self.push(Effect::Mixer(mixer, order));
    }

    /// Whether the network thread takes another command.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(super) fn check_network(&self) -> Result<(), QueueFull> {
        match self.network {
            0 => Err(QueueFull),
            _ => Ok(()),
        }
    }

    /// Commands the network thread. A command that may be refused needs [a place](Effects::check_network).
    pub(super) fn tell_network(&mut self, order: NetworkOrder) {
        self.network = self.network.saturating_sub(1);
        self.push(Effect::Network(order));
    }

    /// Tells everybody who watches a room, over WebSocket and data channel, and those who hear it from elsewhere.
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

    /// Tells those who hear a room from elsewhere what happens in it, as far as it concerns them.
    pub(super) fn broadcast_to_subscribers(&mut self, room: &Room, event: &Event) {
        if let Some(subscribers) = room.subscribers.as_ref().filter(|_| event.travels()) {
            let text = event.to_json_from(&subscribers.room).into();
            self.text(subscribers.ids.clone(), text);
        }
    }

    /// Tells one participant, if its data channel is open.
    pub(super) fn send_to(&mut self, room: &Room, id: ParticipantId, event: &Event) {
        if room.member(id).is_some_and(|member| member.channel) {
            self.text(vec![id], event.to_json().into());
        }
    }

    /// Sends a text over the data channels of these participants.
    pub(super) fn text(&mut self, to: Vec<ParticipantId>, text: Arc<str>) {
        self.tell_network(NetworkOrder::Text(to, text));
    }
}
