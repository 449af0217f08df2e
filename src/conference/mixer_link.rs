//! The link to one mixer: builds the objects that commands carry, so that no mixer thread
//! allocates, and keeps commands that must not be lost until the mixer's queue has a place.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mixer::engine::Command;
use mixer::mix::links::LinkChange;
use mixer::monitor::{Feed, MonitorChange, MonitorMix, MonitoredRoom};
use mixer::output::OutputStream;
use mixer::room::{Members, Participant, Room};

use super::effect::{FeedNo, MixerOrder, MonitorSpec};
use super::member::StreamEncoding;
use crate::audio::MixerControl;

/// The link to one mixer.
///
/// A command that removes a room or a participant must not be lost, so it waits in the link while
/// the mixer's queue is full. Commands never overtake each other: while a command waits, the link
/// reports no free place.
pub(super) struct MixerLink {
    pub(super) mixer: MixerControl,
    waiting: VecDeque<Command>,
}

/// The open feeds by their numbers.
pub(super) type Feeds = HashMap<FeedNo, Arc<Feed>>;

impl MixerLink {
    /// Creates a link with no waiting commands.
    pub(super) fn new(mixer: MixerControl) -> MixerLink {
        MixerLink {
            mixer,
            waiting: VecDeque::new(),
        }
    }

    /// Returns how many commands the mixer accepts now.
    pub(super) fn free_places(&self) -> usize {
        match self.waiting.is_empty() {
            true => self.mixer.free_places(),
            false => 0,
        }
    }

    /// Returns whether removals wait for a place in the mixer's queue.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends the waiting removals, as far as the mixer's queue has places.
    pub(super) fn retry(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            if let Err(command) = self.mixer.send(command) {
                self.waiting.push_front(command);
                break;
            }
        }
    }

    /// Sends a command. A removal waits if the mixer's queue is full; no more removals can wait
    /// than there are rooms and participants. Any other command was given a [free
    /// place](MixerLink::free_places) before, and is lost only if the mixer has ended since.
    pub(super) fn send(&mut self, command: Command) {
        if !matches!(
            command,
            Command::RemoveRoom(_) | Command::RemoveParticipant(_)
        ) {
            let _ = self.mixer.send(command);
            return;
        }
        self.waiting.push_back(command);
        self.retry();
    }
}

/// Builds the command that an order describes; `None` if the order adds a participant and
/// `participant` is `None`.
///
/// - `participant`: the participant that came with the request of a join.
pub(super) fn build(
    order: MixerOrder,
    feeds: &mut Feeds,
    participant: &mut Option<Box<Participant>>,
) -> Option<Command> {
    Some(match order {
        MixerOrder::AddRoom {
            id,
            settings,
            capacity,
            telemetry,
        } => {
            let room = Room::new(id, settings, capacity).with_telemetry(telemetry);
            Command::AddRoom(Box::new(room))
        }
        MixerOrder::Reserve { room, capacity } => Command::Reserve {
            room,
            members: Box::new(Members::with_capacity(capacity)),
        },
        MixerOrder::ConfigureRoom(room, settings) => Command::ConfigureRoom(room, settings),
        MixerOrder::RemoveRoom(room) => Command::RemoveRoom(room),
        MixerOrder::AddParticipant { room } => Command::AddParticipant {
            room,
            participant: participant.take()?,
        },
        MixerOrder::RemoveParticipant(id) => Command::RemoveParticipant(id),
        MixerOrder::SetStream(id, encoding) => Command::SetStream(id, listener(encoding)),
        MixerOrder::OpenFeed {
            room,
            number,
            layout,
            tick,
        } => {
            let feed = Arc::new(Feed::new(layout, tick));
            feeds.insert(number, feed.clone());
            Command::SetFeed(room, Some(feed))
        }
        MixerOrder::CloseFeed(room) => Command::SetFeed(room, None),
        MixerOrder::SetLinks(room, plan) => {
            let links = LinkChange::new(monitored(plan, feeds));
            Command::SetLinks(room, Box::new(links))
        }
        MixerOrder::SetMonitors(id, plan, encoding) => {
            Command::SetMonitors(id, monitor_change(plan, encoding, feeds))
        }
        MixerOrder::Attend(id) => Command::Attend(id),
    })
}

fn monitor_change(
    plan: Option<MonitorSpec>,
    encoding: Option<StreamEncoding>,
    feeds: &Feeds,
) -> Box<MonitorChange> {
    Box::new(MonitorChange {
        monitors: monitored(plan, feeds),
        stream: encoding.map(listener),
    })
}

/// Builds the object with which the mixer mixes the rooms of a plan.
fn monitored(plan: Option<MonitorSpec>, feeds: &Feeds) -> Option<Box<MonitorMix>> {
    let plan = plan?;
    let channels = plan.channels.into_iter().filter_map(|(number, level)| {
        let feed = feeds.get(&number)?.clone();
        Some(MonitoredRoom { feed, level })
    });
    Some(Box::new(MonitorMix::new(
        plan.home,
        channels,
        plan.layout,
        plan.tick,
    )))
}

fn listener(of: StreamEncoding) -> Box<OutputStream> {
    Box::new(OutputStream::new(of.encoding, of.tick))
}
