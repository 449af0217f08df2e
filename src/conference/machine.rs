//! The conference as a pure state machine: its whole state, changed by one input at a time.
//!
//! The machine knows neither clocks nor sockets. The time comes with each input, and work for other
//! threads is collected as [effects](super::effect), in order.

use std::time::{Duration, Instant};

use mixer::output::Event as MixerEvent;

use super::Limits;
use super::counters::Counters;
use super::effect::{Effect, Effects};
use super::floor::FloorRounds;
use super::handle::{PendingRequest, Request};
use super::monitoring::Monitoring;
use super::placement::Placement;
use super::registry::Registry;
use super::room::Room;
use crate::protocol::{Event, LeaveReason, RoomName};
use crate::rtc::RtcEvent;

/// An input of the conference: a request, an event or the time.
#[derive(Debug)]
pub(super) enum Input {
    /// A request from a handle of the conference.
    Request(PendingRequest),
    /// An event of a peer, from the network thread.
    Network(RtcEvent),
    /// An event of a mixer.
    Mixer(MixerEvent),
    /// Busy time of each mixer since the mixer's start, in nanoseconds, indexed by mixer id.
    ///
    /// Due at the time that [`Machine::next_report`] returns. Also makes the machine report the
    /// levels of talking participants.
    Load(Vec<u64>),
    /// The passing of time. Due at the time that [`Machine::next_time`] returns, and after each
    /// batch of other inputs.
    Time,
}

/// Removes all participants and refuses further joins.
#[derive(Debug)]
pub(crate) struct Close;

impl Request for Close {
    type Answer = ();

    fn handle(self, machine: &mut Machine, now: Instant) {
        machine.stopping = true;
        let rooms: Vec<RoomName> = machine.registry.rooms.keys().cloned().collect();
        for room in rooms {
            machine.remove_all(&room, LeaveReason::ServerStopping, now);
        }
    }
}

/// The whole state of the conference: every room, every participant, and the pending effects.
pub(crate) struct Machine {
    pub(super) limits: Limits,
    pub(super) registry: Registry,
    pub(super) placement: Placement,
    /// Which participants hear which other rooms.
    pub(super) monitoring: Monitoring,
    pub(super) counters: Counters,
    /// When the floors were last observed.
    pub(super) rounds: FloorRounds,
    /// When the load governors last observed the load.
    pub(super) governed: Instant,
    /// When levels and load are reported next.
    next_report: Instant,
    pub(super) stopping: bool,
    /// Effects that are still to be performed.
    pub(super) effects: Effects,
}

impl Machine {
    /// Creates a conference without rooms.
    ///
    /// - `mixers`: number of mixers.
    /// - `now`: start time of the conference's floors and load governors.
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

    /// Handles one input; returns the resulting effects, in order.
    ///
    /// Before each call, [`Effects::set_credit`] must be told the numbers of free places in the
    /// queues.
    pub(super) fn handle(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Request(request) => request.answer(self, now),
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

    /// Returns when [`Input::Time`] is due if no other input arrives before; `None` if it is due
    /// only after another input.
    ///
    /// - `turned`: when [`Input::Time`] was handled last.
    pub(super) fn next_time(&self, turned: Instant) -> Option<Instant> {
        let retry = self.monitoring.is_to_retry().then(|| turned + RETRY);
        [self.next_round(), retry].into_iter().flatten().min()
    }

    /// Returns when [`Input::Load`] is due next.
    pub(super) fn next_report(&self) -> Instant {
        self.next_report
    }

    /// Sends an event of a room to the room's WebSockets and data channels, and to the participants
    /// of other rooms who hear the room.
    pub(super) fn broadcast(&mut self, name: &RoomName, event: &Event) {
        if let Some(room) = self.registry.rooms.get(name) {
            self.effects.broadcast(room, event);
        }
    }

    /// Ends a room that is not permanent and has neither members nor reserved seats. During
    /// shutdown the room stays, so that its WebSockets report the shutdown and not the end of a
    /// room.
    pub(super) fn end_if_over(&mut self, name: &RoomName) {
        if self.stopping {
            return;
        }
        if self.registry.rooms.get(name).is_some_and(Room::is_over) {
            self.remove_room(name);
        }
    }

    /// Removes an empty room.
    pub(super) fn remove_room(&mut self, name: &RoomName) {
        // The room's clients are told how its floor ended.
        self.apply_floor_actions(name);
        if let Some(room) = self.registry.rooms.remove(name) {
            self.placement.remove_room(&mut self.effects, room.id);
            self.effects.push(Effect::Unwatch(room.watch));
        }
    }
}

/// Time after which an order that found a mixer's queue full is sent again. The mixer empties its
/// queue every 2.5 ms.
pub(super) const RETRY: Duration = Duration::from_millis(3);

/// Interval between two reports of talking participants' levels and of the mixers' load.
const REPORT: Duration = Duration::from_millis(200);
