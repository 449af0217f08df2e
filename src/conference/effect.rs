//! What the conference wants done by others: an ordered list, so that nothing overtakes what was wanted before it.

use std::sync::Arc;

use mixer::{ParticipantId, RoomId};

use super::room::Room;
use crate::protocol::Event;
use crate::rtc::Closing;

/// Something to be done outside the conference.
#[derive(Debug)]
pub(super) enum Effect {
    /// Sends a text to everybody who watches a room over a WebSocket.
    Broadcast(WatchId, Arc<str>),
    /// Closes the WebSockets of a room that is over, once they have read what was broadcast before.
    Unwatch(WatchId),
    /// Sends a text over the data channels of these participants, as far as they are open.
    Text(Vec<ParticipantId>, Arc<str>),
    /// Ends a peer. Never lost.
    Close(Closing),
}

/// Names a room to those who watch it, for as long as it is there: the id it was made with.
///
/// The mixer's id of a room changes when its mixer begins it anew, which those who watch it do not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WatchId(pub(super) RoomId);

/// Effects in the order in which they are to be performed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    list: Vec<Effect>,
}

impl Effects {
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
        self.push(Effect::Text(to, text));
    }
}
