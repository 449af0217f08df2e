//! Performs the conference's effects: the ends of everything that is told about rooms and participants.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::effect::{Effect, WatchId};
use crate::rtc::{Closing, NetworkControl};

/// Where effects go.
pub(super) struct Performer {
    pub(super) network: NetworkControl,
    /// The rooms that somebody watches.
    watchers: HashMap<WatchId, broadcast::Sender<Arc<str>>>,
}

impl Performer {
    /// A performer for these ends.
    pub(super) fn new(network: NetworkControl) -> Performer {
        Performer {
            network,
            watchers: HashMap::new(),
        }
    }

    /// Performs effects, in their order.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        // Peers that end with no text in between are ended together.
        let mut closing = Vec::new();
        for effect in effects {
            if matches!(effect, Effect::Text(..)) {
                self.close(&mut closing);
            }
            match effect {
                Effect::Broadcast(room, text) => self.broadcast(room, text),
                Effect::Unwatch(room) => {
                    self.watchers.remove(&room);
                }
                Effect::Text(to, text) => self.network.send_text(to, text),
                Effect::Close(one) => closing.push(one),
            }
        }
        self.close(&mut closing);
    }

    /// What is broadcast to those who watch a room from now on.
    pub(super) fn watch(&mut self, room: WatchId) -> broadcast::Receiver<Arc<str>> {
        let watchers = self.watchers.entry(room);
        let watchers = watchers.or_insert_with(|| broadcast::Sender::new(BACKLOG_EVENTS));
        watchers.subscribe()
    }

    fn close(&mut self, closing: &mut Vec<Closing>) {
        if !closing.is_empty() {
            self.network.close_all(closing.drain(..));
        }
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
