//! The surroundings of the machine in the random test: mixers and a network thread with short
//! queues, and watchers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mixer::room::{RoomSettings, RoomTelemetry, Shared};
use mixer::{ParticipantId, RoomId};
use serde_json::Value;
use tokio::sync::broadcast;

use crate::conference::Limits;
use crate::conference::effect::{Effect, FeedNo, MixerOrder, MonitorSpec, NetworkOrder, WatchId};
use crate::conference::handle::{PendingRequest, Request};
use crate::conference::machine::{Input, Machine};
use crate::conference::seat::Seat;
use crate::protocol::{RoomConfig, RoomName};
use crate::queues::MixerId;
use crate::rate_limit::Rates;

/// Number of mixers.
const MIXERS: usize = 2;

/// Number of places in the queue to each mixer: few, so that the queue runs full.
const MIXER_PLACES: usize = 12;

/// Number of places in the queue to the network thread.
const NETWORK_PLACES: usize = 4;

/// A queue to a mixer or to the network thread, whose receiver reads only when the test lets it.
#[derive(Debug)]
pub(super) struct Queue {
    places: usize,
    used: usize,
    /// Number of removals that wait for a place.
    waiting: usize,
}

impl Queue {
    fn new(places: usize) -> Queue {
        Queue {
            places,
            used: 0,
            waiting: 0,
        }
    }

    pub(super) fn free(&self) -> usize {
        match self.waiting {
            0 => self.places - self.used,
            _ => 0,
        }
    }

    fn take(&mut self) {
        assert!(self.free() > 0, "more was sent than the queue has places");
        self.used += 1;
    }

    fn take_or_wait(&mut self) {
        match self.free() {
            0 => self.waiting += 1,
            _ => self.used += 1,
        }
    }

    fn drain(&mut self, places: usize) {
        self.used = self.used.saturating_sub(places);
        while self.waiting > 0 && self.used < self.places {
            self.waiting -= 1;
            self.used += 1;
        }
    }
}

/// A room as its mixer knows it.
#[derive(Debug)]
pub(super) struct MixerRoom {
    pub(super) settings: RoomSettings,
    pub(super) capacity: usize,
    telemetry: Arc<RoomTelemetry>,
    pub(super) members: BTreeSet<ParticipantId>,
    pub(super) feed: Option<FeedNo>,
    pub(super) links: Vec<FeedNo>,
}

/// The state of one mixer, as its commands have set it.
#[derive(Debug)]
pub(super) struct MixerModel {
    pub(super) queue: Queue,
    pub(super) rooms: BTreeMap<RoomId, MixerRoom>,
    pub(super) monitors: BTreeMap<ParticipantId, MonitorSpec>,
    /// Rooms and participants that the mixer has dropped without a command.
    lost_rooms: BTreeSet<RoomId>,
    lost_people: BTreeSet<ParticipantId>,
}

impl MixerModel {
    fn new() -> MixerModel {
        MixerModel {
            queue: Queue::new(MIXER_PLACES),
            rooms: BTreeMap::new(),
            monitors: BTreeMap::new(),
            lost_rooms: BTreeSet::new(),
            lost_people: BTreeSet::new(),
        }
    }

    fn room(&mut self, id: RoomId) -> Option<&mut MixerRoom> {
        let room = self.rooms.get_mut(&id);
        assert!(
            room.is_some() || self.lost_rooms.contains(&id),
            "{id:?} is not there"
        );
        room
    }

    fn check_participant(&self, id: ParticipantId) {
        let is_there = self.rooms.values().any(|room| room.members.contains(&id));
        assert!(
            is_there || self.lost_people.contains(&id),
            "{id:?} is not there"
        );
    }

    fn remove(&mut self, id: ParticipantId) {
        for room in self.rooms.values_mut() {
            room.members.remove(&id);
        }
        self.monitors.remove(&id);
    }

    /// Drops a room with all its participants, without a command.
    fn lose_room(&mut self, id: RoomId) -> bool {
        let Some(room) = self.rooms.remove(&id) else {
            return false;
        };
        room.telemetry.failed.store(true, Relaxed);
        self.monitors.retain(|id, _| !room.members.contains(id));
        self.lost_people.extend(room.members);
        self.lost_rooms.insert(id);
        true
    }
}

/// The state of the network thread, as its commands have set it.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) queue: Queue,
    pub(super) peers: BTreeSet<ParticipantId>,
}

/// A WebSocket watcher of a room, and the room's state as the watcher knows it.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) room: RoomName,
    pub(super) watch: WatchId,
    pub(super) participants: Vec<Value>,
    pub(super) monitors: Value,
    events: broadcast::Receiver<Arc<str>>,
}

/// A session that has joined, and may have left since.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) id: ParticipantId,
    pub(super) secret: String,
    pub(super) room: RoomName,
    pub(super) shared: Arc<Shared>,
}

/// The machine and its surroundings.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Instant,
    pub(super) mixers: Vec<MixerModel>,
    pub(super) network: Network,
    pub(super) feeds: BTreeSet<FeedNo>,
    senders: HashMap<WatchId, broadcast::Sender<Arc<str>>>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) seats: Vec<Seat>,
    pub(super) sessions: Vec<Session>,
    /// The participants that the present request carries for a mixer, and whose peer it carries for
    /// the network thread.
    pub(super) luggage: (Option<ParticipantId>, Option<ParticipantId>),
    pub(super) closed: bool,
    pub(super) joins: u32,
    busy_ns: u64,
}

impl World {
    pub(super) fn new() -> World {
        let limits = Limits {
            max_rooms: 5,
            max_sessions: 8,
            open_rooms: true,
            hangovers: mixer::codec::Hangovers::default(),
            room: RoomConfig {
                max_participants: 5,
                ..RoomConfig::default()
            },
            rates: Rates::default(),
        };
        let now = Instant::now();
        World {
            machine: Machine::new(limits, MIXERS, now),
            now,
            mixers: (0..MIXERS).map(|_| MixerModel::new()).collect(),
            network: Network {
                queue: Queue::new(NETWORK_PLACES),
                peers: BTreeSet::new(),
            },
            feeds: BTreeSet::new(),
            senders: HashMap::new(),
            watchers: Vec::new(),
            seats: Vec::new(),
            sessions: Vec::new(),
            luggage: (None, None),
            closed: false,
            joins: 0,
            busy_ns: 0,
        }
    }

    /// Lets the machine handle an input, and performs the resulting effects.
    pub(super) fn handle(&mut self, input: Input) {
        let effects = self.effects_of(input);
        self.perform(effects);
    }

    /// Lets the machine handle an input; returns the resulting effects.
    pub(super) fn effects_of(&mut self, input: Input) -> Vec<Effect> {
        let mixers = self.mixers.iter().map(|mixer| mixer.queue.free());
        let effects = &mut self.machine.effects;
        effects.set_credit(mixers, self.network.queue.free());
        self.machine.handle(input, self.now)
    }

    /// Sends a request; returns the answer.
    pub(super) fn ask<R: Request>(&mut self, request: R) -> R::Answer {
        let (request, mut answer) = PendingRequest::new(request);
        self.handle(Input::Request(request));
        answer.try_recv().expect("the one answer")
    }

    /// Advances the virtual time.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.handle(Input::Time);
        if self.now >= self.machine.next_report() {
            self.busy_ns += time.as_nanos() as u64 / 10;
            self.handle(Input::Load(vec![self.busy_ns; MIXERS]));
        }
    }

    /// Lets the receivers of all queues take this many commands from each queue.
    pub(super) fn drain(&mut self, places: usize) {
        for mixer in &mut self.mixers {
            mixer.queue.drain(places);
        }
        self.network.queue.drain(places);
    }

    /// Lets the receivers take all commands, until no effect is left.
    pub(super) fn settle(&mut self) {
        for _ in 0..6 {
            self.drain(usize::MAX);
            self.pass(Duration::from_millis(1));
        }
        self.drain(usize::MAX);
    }

    /// Lets a mixer drop a room without a command, if the mixer has the room.
    pub(super) fn lose_room(&mut self, id: RoomId) -> bool {
        self.mixers.iter_mut().any(|mixer| mixer.lose_room(id))
    }

    /// Lets a mixer drop a participant, as if the mixer had no capacity for it.
    pub(super) fn lose_participant(&mut self, session: &Session) {
        session.shared.telemetry.refused.store(true, Relaxed);
        for mixer in &mut self.mixers {
            mixer.remove(session.id);
            mixer.lost_people.insert(session.id);
        }
    }

    /// Starts to watch a room.
    pub(super) fn watch(&mut self, room: &RoomName, state: &Value, events: Events) {
        let entry = &self.machine.registry.rooms[room];
        let mut watcher = Watcher {
            room: room.clone(),
            watch: entry.watch,
            participants: Vec::new(),
            monitors: Value::Null,
            events,
        };
        watcher.see_room(state);
        self.watchers.push(watcher);
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(reply) => reply.give(),
                Effect::Watch(watch, events) => {
                    let sender = self.senders.entry(watch);
                    let sender = sender.or_insert_with(|| broadcast::Sender::new(256));
                    events.send(sender.subscribe()).expect("it is waited for");
                }
                Effect::Broadcast(watch, text) => {
                    if let Some(sender) = self.senders.get(&watch) {
                        let _ = sender.send(text);
                    }
                }
                Effect::Unwatch(watch) => {
                    self.senders.remove(&watch);
                }
                Effect::Mixer(mixer, order) => self.tell_mixer(mixer, order),
                Effect::CapComplexity(mixer, _) => assert!(mixer.0 < MIXERS),
                Effect::Network(order) => self.tell_network(order),
                Effect::ForgetFeed(number) => {
                    assert!(self.feeds.remove(&number), "{number:?} is not there");
                }
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each order")]
    fn tell_mixer(&mut self, at: MixerId, order: MixerOrder) {
        let mixer = &mut self.mixers[at.0];
        match order {
            MixerOrder::RemoveRoom(_) | MixerOrder::RemoveParticipant(_) => {
                mixer.queue.take_or_wait();
            }
            _ => mixer.queue.take(),
        }
        let known = |plan: &MonitorSpec| {
            let mut feeds = plan.channels.iter();
            assert!(feeds.all(|(number, _)| self.feeds.contains(number)));
        };
        match order {
            MixerOrder::AddRoom {
                id,
                settings,
                capacity,
                telemetry,
            } => {
                let room = MixerRoom {
                    settings,
                    capacity,
                    telemetry,
                    members: BTreeSet::new(),
                    feed: None,
                    links: Vec::new(),
                };
                assert!(mixer.rooms.insert(id, room).is_none(), "{id:?} twice");
            }
            MixerOrder::Reserve { room, capacity } => {
                if let Some(room) = mixer.room(room) {
                    room.capacity = capacity;
                }
            }
            MixerOrder::ConfigureRoom(room, settings) => {
                if let Some(room) = mixer.room(room) {
                    room.settings = settings;
                }
            }
            MixerOrder::RemoveRoom(id) => {
                if mixer.room(id).is_some_and(|room| room.members.is_empty()) {
                    mixer.rooms.remove(&id);
                }
            }
            MixerOrder::AddParticipant { room } => {
                let id = self.luggage.0.take().expect("a box came with the request");
                match mixer.room(room) {
                    Some(room) => assert!(room.members.insert(id), "{id:?} twice"),
                    None => {
                        mixer.lost_people.insert(id);
                    }
                }
            }
            MixerOrder::RemoveParticipant(id) => {
                mixer.check_participant(id);
                mixer.remove(id);
            }
            MixerOrder::SetStream(id, _) | MixerOrder::Attend(id) => mixer.check_participant(id),
            MixerOrder::OpenFeed { room, number, .. } => {
                if let Some(room) = mixer.room(room) {
                    room.feed = Some(number);
                }
                assert!(self.feeds.insert(number), "{number:?} twice");
            }
            MixerOrder::CloseFeed(room) => {
                if let Some(room) = mixer.room(room) {
                    room.feed = None;
                }
            }
            MixerOrder::SetLinks(room, plan) => {
                plan.iter().for_each(known);
                let channels = plan.into_iter().flat_map(|plan| plan.channels);
                if let Some(room) = mixer.room(room) {
                    room.links = channels.map(|(number, _)| number).collect();
                }
            }
            MixerOrder::SetMonitors(id, plan, _) => {
                mixer.check_participant(id);
                plan.iter().for_each(known);
                mixer.monitors.remove(&id);
                if !mixer.lost_people.contains(&id) {
                    mixer.monitors.extend(plan.map(|plan| (id, plan)));
                }
            }
        }
    }

    fn tell_network(&mut self, order: NetworkOrder) {
        let Network { queue, peers } = &mut self.network;
        match order {
            NetworkOrder::Start => {
                queue.take();
                let id = self.luggage.1.take().expect("a peer came with the request");
                assert!(peers.insert(id), "{id:?} twice");
            }
            NetworkOrder::Close(closing) => {
                queue.take_or_wait();
                peers.remove(&closing.participant);
            }
            // A text is dropped if the queue has no place.
            NetworkOrder::Text(..) if queue.free() == 0 => {}
            NetworkOrder::Text(..) => queue.take(),
            NetworkOrder::Trickle(..) | NetworkOrder::Restart(..) => queue.take(),
        }
    }
}

type Events = broadcast::Receiver<Arc<str>>;

impl Watcher {
    /// Reads the watcher's events; returns whether the room still exists.
    pub(super) fn read(&mut self) -> bool {
        loop {
            match self.events.try_recv() {
                Ok(text) => self.fold(&serde_json::from_str(&text).expect("JSON")),
                Err(broadcast::error::TryRecvError::Empty) => return true,
                Err(broadcast::error::TryRecvError::Closed) => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn see_room(&mut self, room: &Value) {
        let people = room["participants"].as_array();
        self.participants = people.expect("a list").clone();
        self.monitors = monitors(room);
    }

    fn fold(&mut self, event: &Value) {
        let who = &event["participant"];
        let id = who.get("id").unwrap_or(who);
        let known = self.participants.iter().position(|one| one["id"] == *id);
        match (event["event"].as_str().expect("a word"), known) {
            ("room", _) => self.see_room(&event["room"]),
            ("monitors", _) => self.monitors = monitors(event),
            ("joined", None) => self.participants.push(who.clone()),
            ("left", Some(at)) => {
                self.participants.remove(at);
            }
            ("changed", Some(at)) => self.participants[at] = who.clone(),
            ("muted", Some(at)) => self.participants[at]["muted"] = event["muted"].clone(),
            ("talking", Some(at)) => self.participants[at]["talking"] = true.into(),
            ("stopped", Some(at)) => self.participants[at]["talking"] = false.into(),
            ("joined" | "left" | "changed" | "muted" | "talking" | "stopped", _) => {
                panic!("{event} of somebody else than {:?}", self.participants)
            }
            _ => {}
        }
    }
}

/// Returns the monitors named in an event or in a room's state.
pub(super) fn monitors(of: &Value) -> Value {
    serde_json::json!([of["monitors"], of["monitors_total"]])
}
