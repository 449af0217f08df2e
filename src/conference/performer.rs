//! Performs the conference's effects: holds the links to the mixers and to the network thread, the
//! feeds and the WebSocket subscriptions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mixer::output::Event;
use mixer::room::Participant;
use tokio::sync::broadcast;

use super::effect::{Effect, MixerOrder, NetworkOrder, WatchId};
use super::mixer_link::{Feeds, MixerLink, build};
use crate::audio::MixerControl;
use crate::queues::MixerId;
use crate::rtc::{NetworkControl, Peer};

/// The destinations of all effects.
pub(super) struct Performer {
    /// The links to the mixers, indexed by mixer id.
    mixers: Vec<MixerLink>,
    pub(super) network: NetworkControl,
    feeds: Feeds,
    /// The broadcast channels of the rooms that WebSockets watch.
    watchers: HashMap<WatchId, broadcast::Sender<Arc<str>>>,
    /// The participant and the peer that came with the present request, if it is a join.
    pub(super) luggage: Luggage,
}

/// The participant and the peer that were built for a join.
///
/// The pure machine does not see them: they accompany the request to the performer, which sends the
/// participant to a mixer and the peer to the network thread when the machine asks for it.
#[derive(Default)]
pub(super) struct Luggage {
    pub(super) participant: Option<Box<Participant>>,
    pub(super) peer: Option<Box<Peer>>,
}

impl Performer {
    /// Creates a performer with these mixers and this network thread.
    pub(super) fn new(mixers: Vec<MixerControl>, network: NetworkControl) -> Performer {
        Performer {
            mixers: mixers.into_iter().map(MixerLink::new).collect(),
            network,
            feeds: Feeds::new(),
            watchers: HashMap::new(),
            luggage: Luggage::default(),
        }
    }

    /// Performs effects, in their order.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        // Peers whose closing orders follow each other directly are closed with one command.
        let mut closing = Vec::new();
        for effect in effects {
            match effect {
                Effect::Network(NetworkOrder::Close(one)) => closing.push(one),
                Effect::Network(order) => {
                    self.network.close_all(closing.drain(..));
                    self.tell_network(order);
                }
                Effect::Mixer(mixer, order) => self.command(mixer, order),
                Effect::CapComplexity(mixer, most) => {
                    if let Some(link) = self.mixers.get(mixer.0) {
                        link.mixer.handle().cap_complexity(most);
                    }
                }
                Effect::Broadcast(room, text) => self.broadcast(room, text),
                Effect::Reply(reply) => reply.give(),
                Effect::Watch(room, events) => {
                    // Sending fails only if the watcher has stopped waiting.
                    let _ = events.send(self.watch(room));
                }
                Effect::Unwatch(room) => {
                    self.watchers.remove(&room);
                }
                Effect::ForgetFeed(number) => {
                    self.feeds.remove(&number);
                }
            }
        }
        self.network.close_all(closing);
    }

    /// Sends the waiting commands to the mixers and to the network thread, as far as their queues
    /// have room.
    pub(super) fn retry(&mut self) {
        self.mixers.iter_mut().for_each(MixerLink::retry);
        self.network.retry();
    }

    /// Returns whether a command waits for a place in the queue to a mixer or to the network
    /// thread.
    pub(super) fn is_waiting(&self) -> bool {
        self.network.is_waiting() || self.mixers.iter().any(MixerLink::is_waiting)
    }

    /// Returns how many commands each mixer accepts now, in the order of the mixer ids.
    pub(super) fn mixer_credit(&self) -> impl Iterator<Item = usize> {
        self.mixers.iter().map(MixerLink::free_places)
    }

    /// Returns the next event of any mixer.
    pub(super) fn next_mixer_event(&mut self) -> Option<Event> {
        self.mixers
            .iter_mut()
            .find_map(|link| link.mixer.next_event())
    }

    /// Returns the busy time of each mixer since its start, in nanoseconds.
    pub(super) fn busy_ns(&self) -> Vec<u64> {
        let handles = self.mixers.iter().map(|link| link.mixer.handle());
        let busy = handles.map(|mixer| mixer.metrics().busy_ns.load(Relaxed));
        busy.collect()
    }

    /// Returns whether every mixer and the network thread are running.
    pub(super) fn is_whole(&self) -> bool {
        !self.network.has_ended() && !self.mixers.iter().any(|link| link.mixer.has_ended())
    }

    /// Returns a mixer's link, for tests that break it.
    #[cfg(test)]
    pub(super) fn mixer_mut(&mut self, mixer: MixerId) -> &mut MixerLink {
        &mut self.mixers[mixer.0]
    }

    /// Returns a feed, for tests that inspect it.
    #[cfg(test)]
    pub(super) fn feed(&self, number: super::effect::FeedNo) -> Option<&Arc<mixer::monitor::Feed>> {
        self.feeds.get(&number)
    }

    fn command(&mut self, mixer: MixerId, order: MixerOrder) {
        let Some(link) = self.mixers.get_mut(mixer.0) else {
            return;
        };
        if let Some(command) = build(order, &mut self.feeds, &mut self.luggage.participant) {
            link.send(command);
        }
    }

    fn tell_network(&mut self, order: NetworkOrder) {
        let network = &mut self.network;
        match order {
            NetworkOrder::Start => {
                // The queue had a free place for the peer: the peer is lost only if the network
                // thread has ended since.
                let peer = self.luggage.peer.take();
                let _ = peer.map(|peer| network.start(peer));
            }
            NetworkOrder::Text(to, text) => network.send_text(to, text),
            NetworkOrder::Close(closing) => network.close_all([closing]),
            NetworkOrder::Trickle(id, candidates) => {
                let _ = network.trickle(id, candidates);
            }
            NetworkOrder::Restart(id, restart, reply) => network.restart(id, restart, reply),
        }
    }

    /// Subscribes to the broadcasts of a room.
    fn watch(&mut self, room: WatchId) -> broadcast::Receiver<Arc<str>> {
        let watchers = self.watchers.entry(room);
        let watchers = watchers.or_insert_with(|| broadcast::Sender::new(BACKLOG_EVENTS));
        watchers.subscribe()
    }

    fn broadcast(&mut self, room: WatchId, text: Arc<str>) {
        if let Some(watchers) = self.watchers.get(&room)
            && watchers.send(text).is_err()
        {
            // No WebSocket watches the room any more.
            self.watchers.remove(&room);
        }
    }
}

/// Number of events that a slow WebSocket may lag behind before it is closed.
const BACKLOG_EVENTS: usize = 256;
