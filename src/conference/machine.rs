//! The conference as a machine: its whole state, which changes with one input at a time.
//!
//! It knows neither clock nor socket. The time comes with each input, and what is to be done elsewhere is collected as
//! [effects](super::effect), in order.

use std::time::{Duration, Instant};

use mixer::command::Event as MixerEvent;

use super::Limits;
use super::counters::Counters;
use super::effect::{Effect, Effects};
use super::floor::FloorRounds;
use super::metrics::MachineFigures;
use super::monitoring::Monitoring;
use super::placement::Placement;
use super::registry::Registry;
use super::request::{ReplyTo, Request};
use super::room::Room;
use crate::protocol::{Event, LeaveReason, RoomName};
use crate::rtc::RtcEvent;

/// Something that the conference is told, or asked for.
#[derive(Debug)]
pub(super) enum Input {
    /// Somebody asks for something.
    Request(Request),
    /// Something has happened to a peer.
    Network(RtcEvent),
    /// A mixer reports.
    Mixer(MixerEvent),
    /// How long each mixer has been busy since it began, nanoseconds, by its id: to be told when
    /// [a report is due](Machine::next_report).
    Load(Vec<u64>),
    /// Time has passed; to be told at each [deadline](Machine::deadline).
    Time,
}

/// A request about the server as a whole.
#[derive(Debug)]
pub(super) enum ServerRequest {
    /// What is counted and measured.
    Figures(ReplyTo<MachineFigures>),
    /// Removes everybody, and takes nobody in any more.
    Close(ReplyTo<()>),
}

/// Every room, every participant, and what was asked for.
pub(super) struct Machine {
    pub(super) limits: Limits,
    pub(super) registry: Registry,
    pub(super) placement: Placement,
    /// Which participants hear which rooms besides their own.
    pub(super) monitoring: Monitoring,
    pub(super) counters: Counters,
    /// When the floors were last looked at.
    pub(super) rounds: FloorRounds,
    /// When the governors last looked.
    pub(super) governed: Instant,
    /// When levels and load are told next.
    next_report: Instant,
    pub(super) stopping: bool,
    /// What is still to be performed.
    pub(super) effects: Effects,
}

impl Machine {
    /// A conference without rooms.
    ///
    /// - `mixers`: how many there are.
    /// - `now`: when its floors and its governors begin to count time.
    pub(super) fn new(limits: Limits, mixers: usize, now: Instant) -> Machine {
        Machine {
            limits,
            registry: Registry::default(),
            placement: Placement::new(mixers),
            monitoring: Monitoring::default(),
            counters: Counters::default(),
            rounds: FloorRounds::new(now),
            governed: now,
            next_report: now + REPORT,
            stopping: false,
            effects: Effects::new(mixers),
        }
    }

    /// Takes one input in; what is to be done, in order.
    ///
    /// How much the queues take is to be [said](Effects::set_credit) before.
    pub(super) fn handle(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Request(request) => self.answer(request, now),
            Input::Network(event) => self.on_rtc(event, now),
            Input::Mixer(event) => self.on_mixer(event, now),
            Input::Load(busy_ns) => {
                self.next_report = now + REPORT;
                self.report(now);
                self.observe_load(&busy_ns, now);
            }
            Input::Time => {
                self.observe_floors(now);
                self.sync_monitors(now);
            }
        }
        self.settle_floors();
        self.effects.take()
    }

    /// When [`Input::Load`] is to be told next.
    pub(super) fn next_report(&self) -> Instant {
        self.next_report
    }

    fn answer(&mut self, request: Request, now: Instant) {
        match request {
            Request::Join(request) => self.on_join(request, now),
            Request::Room(request) => self.on_room(request, now),
            Request::Participant(request) => self.on_participant(request, now),
            Request::Session(request) => self.on_session(request, now),
            Request::Floor(request) => self.on_floor(request, now),
            Request::Server(ServerRequest::Figures(reply)) => {
                let figures = self.figures();
                self.effects.reply(reply, figures);
            }
            Request::Server(ServerRequest::Close(reply)) => {
                self.close(now);
                self.effects.reply(reply, ());
            }
        }
    }

    /// Removes everybody and takes nobody in any more.
    fn close(&mut self, now: Instant) {
        self.stopping = true;
        let rooms: Vec<RoomName> = self.registry.rooms.keys().cloned().collect();
        for room in rooms {
            self.remove_all(&room, LeaveReason::ServerStopping, now);
        }
    }

    /// Tells everybody who watches a room or hears it from elsewhere.
    pub(super) fn broadcast(&mut self, name: &RoomName, event: &Event) {
        if let Some(room) = self.registry.rooms.get(name) {
            self.effects.broadcast(room, event);
        }
    }

    /// Ends a room that nothing keeps. While the server goes down rooms stay, so that those who watch them hear of that
    /// and not of a room that ended.
    pub(super) fn end_if_over(&mut self, name: &RoomName) {
        if self.stopping {
            return;
        }
        if self.registry.rooms.get(name).is_some_and(Room::is_over) {
            self.remove_room(name);
        }
    }

    /// Removes a room that nobody is in.
    pub(super) fn remove_room(&mut self, name: &RoomName) {
        // Those who watch it are told how its floor ended.
        self.apply_floor_actions(name);
        if let Some(room) = self.registry.rooms.remove(name) {
            self.placement.remove_room(&mut self.effects, room.id);
            self.effects.push(Effect::Unwatch(room.watch));
        }
    }
}

/// Between two reports of levels and load.
const REPORT: Duration = Duration::from_millis(200);
