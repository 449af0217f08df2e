//! Performs the conference's effects: the ends of everything that is told about rooms and participants.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mixer::command::Event;
use mixer::participant::Participant;
use tokio::sync::broadcast;

use super::effect::{Effect, MixerOrder, NetworkOrder, WatchId};
use super::mixer_link::{Feeds, MixerLink, build};
use crate::audio::MixerControl;
use crate::queues::MixerId;
use crate::rtc::{NetworkControl, Peer};

/// Where effects go.
pub(super) struct Performer {
    /// The links to the mixers, by the mixers' ids.
    mixers: Vec<MixerLink>,
    pub(super) network: NetworkControl,
    feeds: Feeds,
    /// The rooms that somebody watches.
    watchers: HashMap<WatchId, broadcast::Sender<Arc<str>>>,
    /// What came with the request whose effects are performed now.
    pub(super) luggage: Luggage,
}

/// What is too heavy for the machine, and goes past it to a mixer and to the network thread.
#[derive(Default)]
pub(super) struct Luggage {
    pub(super) participant: Option<Box<Participant>>,
    pub(super) peer: Option<Box<Peer>>,
}

impl Performer {
    /// A performer for these ends.
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
        // Peers that end with nothing in between are ended together.
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
                    // Nobody waits for it any more if this fails.
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

    /// Sends the mixers and the network thread what waits, as far as they take it.
    pub(super) fn retry(&mut self) {
        self.mixers.iter_mut().for_each(MixerLink::retry);
        self.network.retry();
    }

    /// How many commands each mixer takes now, by its id.
    pub(super) fn mixer_credit(&self) -> impl Iterator<Item = usize> {
        self.mixers.iter().map(MixerLink::free_places)
    }

    /// The next event of any mixer.
    pub(super) fn next_mixer_event(&mut self) -> Option<Event> {
        self.mixers
            .iter_mut()
            .find_map(|link| link.mixer.next_event())
    }

    /// How long each mixer has been busy since it began, nanoseconds.
    pub(super) fn busy_ns(&self) -> Vec<u64> {
        let handles = self.mixers.iter().map(|link| link.mixer.handle());
        let busy = handles.map(|mixer| mixer.metrics().busy_ns.load(Relaxed));
        busy.collect()
    }

    /// Whether every mixer and the network thread run.
    pub(super) fn is_whole(&self) -> bool {
        !self.network.has_ended() && !self.mixers.iter().any(|link| link.mixer.has_ended())
    }

    /// A mixer's link, to be broken.
    #[cfg(test)]
    pub(super) fn mixer_mut(&mut self, mixer: MixerId) -> &mut MixerLink {
        &mut self.mixers[mixer.0]
    }

    /// A feed, to be looked at.
    #[cfg(test)]
    pub(super) fn feed(&self, number: super::effect::FeedNo) -> Option<&Arc<mixer::feed::Feed>> {
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
                // A place was kept for it: it is lost only when the thread has ended since.
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

    /// What is broadcast to those who watch a room from now on.
    fn watch(&mut self, room: WatchId) -> broadcast::Receiver<Arc<str>> {
        let watchers = self.watchers.entry(room);
        let watchers = watchers.or_insert_with(|| broadcast::Sender::new(BACKLOG_EVENTS));
        watchers.subscribe()
    }

    fn broadcast(&mut self, room: WatchId, text: Arc<str>) {
        if let Some(watchers) = self.watchers.get(&room)
            && watchers.send(text).is_err()
        {
            // Nobody watches any more.
            self.watchers.remove(&room);
        }
    }
}

/// Events a slow WebSocket may be behind before it is cut off.
const BACKLOG_EVENTS: usize = 256;
