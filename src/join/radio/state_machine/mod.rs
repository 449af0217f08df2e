//! The state machine of a radio: from the key, the voice, the network and the server it decides
//! whether the client may talk, when audio is sent, and what to ask of the server.
//!
//! Pure: inputs and the time go in, actions come out. It is the client's side of floor control
//! (3GPP TS 24.380, 6.2.4), with the timers that a reliable channel still needs.

use std::time::{Duration, Instant};

use super::server_events::ServerEvent;

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The key was pressed, or a voice was heard.
    Press,
    /// The key was released, or the voice has ended.
    Release,
    /// Acts as a release if the user wants to talk at the moment, otherwise as a press.
    Toggle,
    /// The uplink has started to send (`true`), or has sent its last packet.
    Sending(bool),
    /// An event of the server arrived.
    ServerEvent(ServerEvent),
    /// A connection is established.
    Connected,
    /// The connection is lost, and with it everything that the server had granted.
    Lost,
    /// The time of [`RadioMachine::deadline`] has come.
    Time,
}

/// What the client is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RadioAction {
    /// Let the uplink send.
    Open,
    /// Let the uplink send only what was said up to now.
    Shut,
    /// Request the floor; the response carries this number.
    Request(u64),
    /// Release the floor, or withdraw the request.
    Release,
    /// Report that the request failed, and why.
    Fail(&'static str),
}

/// What the client's requests for the floor depend on: a key or a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A key.
    Key,
    /// A voice that is loud enough. The uplink detects it. Its gate stays open, except while its
    /// audio must not be sent.
    Voice,
}

/// The state machine of one participant in a room with floor control.
#[derive(Debug)]
pub struct RadioMachine {
    room: String,
    trigger: Trigger,
    /// The participant id of this client, if known.
    own: Option<String>,
    has_floor: bool,
    is_connected: bool,
    is_pressed: bool,
    is_open: bool,
    floor: Floor,
    /// Set while the uplink still has to send its last packet: the latest instant at which it has
    /// done so.
    ending: Option<Instant>,
    requests: u64,
}

/// The state of this client's floor request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// There is no request.
    None,
    /// The request has not been answered yet.
    Asked { id: u64, until: Instant },
    /// The request waits in the queue.
    Queued { id: u64 },
    /// The floor is granted; if it is revoked, it ends at `until`.
    Held { until: Option<Instant> },
}

impl RadioMachine {
    /// Creates the state machine of a participant of `room` that is not connected yet.
    pub fn new(room: String, trigger: Trigger) -> RadioMachine {
        RadioMachine {
            room,
            trigger,
            own: None,
            has_floor: true,
            is_connected: false,
            is_pressed: false,
            is_open: trigger == Trigger::Voice,
            floor: Floor::None,
            ending: None,
            requests: 0,
        }
    }

    /// Sets this client's participant id.
    pub fn call(&mut self, own: Option<String>) {
        self.own = own;
    }

    /// Returns when [`Input::Time`] is due; `None` if there is nothing to wait for.
    pub fn deadline(&self) -> Option<Instant> {
        let floor = match self.floor {
            Floor::Asked { until, .. } => Some(until),
            // The end of the grace period does not matter while the floor is being released.
            Floor::Held { until } => until.filter(|_| self.ending.is_none()),
            Floor::None | Floor::Queued { .. } => None,
        };
        [floor, self.ending].into_iter().flatten().min()
    }

    /// Handles one input; returns the actions, to be carried out in their order.
    pub fn take(&mut self, input: Input, now: Instant) -> Vec<RadioAction> {
        let mut actions = Vec::new();
        match input {
            Input::Press => self.press(now, &mut actions),
            Input::Release => self.release(now, &mut actions),
            Input::Toggle if self.wants_to_talk() => self.release(now, &mut actions),
            Input::Toggle => {
                // The key is still pressed, but the request was denied or revoked meanwhile: press
                // anew.
                self.release(now, &mut actions);
                self.press(now, &mut actions);
            }
            Input::Sending(true) => {}
            Input::Sending(false) => {
                if self.ending.take().is_some() {
                    self.let_go(&mut actions);
                }
            }
            Input::ServerEvent(told) => self.told(told, now, &mut actions),
            Input::Connected => self.is_connected = true,
            Input::Lost => self.lose(&mut actions),
            Input::Time => self.time(now, &mut actions),
        }
        actions
    }

    /// Whether the key is pressed and its request has not been denied, revoked or lost.
    fn wants_to_talk(&self) -> bool {
        let waits = matches!(self.floor, Floor::Asked { .. } | Floor::Queued { .. });
        self.is_pressed && (self.is_open || waits)
    }

    fn press(&mut self, now: Instant, actions: &mut Vec<RadioAction>) {
        if std::mem::replace(&mut self.is_pressed, true) {
            return;
        }
        if !self.is_connected {
            self.shut(actions);
            return actions.push(RadioAction::Fail("not connected"));
        }
        self.ending = None;
        self.open(actions);
        // If the key is pressed again while the last words are still being sent, the floor is kept
        // and not requested again.
        if self.has_floor && self.floor == Floor::None {
            self.request(now, actions);
        }
    }

    fn release(&mut self, now: Instant, actions: &mut Vec<RadioAction>) {
        if !std::mem::replace(&mut self.is_pressed, false) {
            return;
        }
        if self.trigger == Trigger::Voice {
            // The end of a voice is reported after its last packet.
            self.ending = None;
            self.let_go(actions);
            return self.open(actions);
        }
        let was_open = self.is_open;
        self.shut(actions);
        match self.floor {
            Floor::None => {}
            _ if was_open => self.ending = Some(now + LAST_WORDS),
            _ => self.let_go(actions),
        }
    }

    fn told(&mut self, told: ServerEvent, now: Instant, actions: &mut Vec<RadioAction>) {
        match (told, self.floor) {
            (
                ServerEvent::Granted { id },
                Floor::Asked { id: asked, .. } | Floor::Queued { id: asked },
            ) if id.is_none_or(|id| id == asked) => {
                self.floor = Floor::Held { until: None };
                if self.is_pressed {
                    self.open(actions);
                }
            }
            (ServerEvent::Queued { id }, Floor::Asked { id: asked, .. }) if id == Some(asked) => {
                self.floor = Floor::Queued { id: asked };
                if self.ending.is_none() {
                    self.shut(actions);
                }
            }
            (
                ServerEvent::Denied { id },
                Floor::Asked { id: asked, .. } | Floor::Queued { id: asked },
            ) if id.is_none_or(|id| id == asked) => {
                self.floor = Floor::None;
                self.shut(actions);
            }
            (ServerEvent::Failed { id, reason }, Floor::Asked { id: asked, .. })
                if id == Some(asked) =>
            {
                self.floor = Floor::None;
                self.shut(actions);
                actions.push(RadioAction::Fail(reason));
            }
            (ServerEvent::NoFloor { id }, Floor::Asked { id: asked, .. }) if id == Some(asked) => {
                self.has_floor = false;
                self.floor = Floor::None;
            }
            (ServerEvent::Revoked { room, who, grace }, Floor::Held { until: None })
                if self.is_own(&room, &who) =>
            {
                self.floor = Floor::Held {
                    until: Some(now + grace),
                };
                self.time(now, actions);
            }
            (ServerEvent::Idle { room }, Floor::Held { .. }) if room == self.room => {
                self.end(actions)
            }
            (ServerEvent::Stopped { room, who }, Floor::Held { .. })
                if self.is_own(&room, &who) =>
            {
                self.end(actions);
            }
            (ServerEvent::Room { name, has_floor }, _) if name == self.room => {
                self.mode(has_floor, now, actions);
            }
            _ => {}
        }
    }

    /// Takes note whether the room has floor control; requests or forgets the floor accordingly.
    fn mode(&mut self, has_floor: bool, now: Instant, actions: &mut Vec<RadioAction>) {
        self.has_floor = has_floor;
        match (has_floor, self.floor) {
            (true, Floor::None) if self.is_pressed && self.is_open => self.request(now, actions),
            (false, floor) if floor != Floor::None => {
                self.floor = Floor::None;
                self.ending = None;
                if self.is_pressed {
                    self.open(actions);
                }
            }
            _ => {}
        }
    }

    fn time(&mut self, now: Instant, actions: &mut Vec<RadioAction>) {
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if has_come(self.ending) {
            self.ending = None;
            self.let_go(actions);
        }
        match self.floor {
            Floor::Asked { until, .. } if until <= now => {
                self.shut(actions);
                self.let_go(actions);
                actions.push(RadioAction::Fail("no answer"));
            }
            Floor::Held { until } if has_come(until) && self.ending.is_none() => {
                self.floor = Floor::Held { until: None };
                self.shut(actions);
                self.ending = Some(now + LAST_WORDS);
            }
            _ => {}
        }
    }

    /// Forgets the floor and closes the gate, without a release to the server.
    fn end(&mut self, actions: &mut Vec<RadioAction>) {
        self.floor = Floor::None;
        self.ending = None;
        self.shut(actions);
    }

    fn lose(&mut self, actions: &mut Vec<RadioAction>) {
        self.is_connected = false;
        // The room's mode is unknown until the next event `room`; a request without floor control
        // does no harm.
        self.has_floor = true;
        self.floor = Floor::None;
        self.ending = None;
        if self.trigger == Trigger::Key || self.is_pressed {
            self.shut(actions);
        }
    }

    fn request(&mut self, now: Instant, actions: &mut Vec<RadioAction>) {
        self.requests += 1;
        self.floor = Floor::Asked {
            id: self.requests,
            until: now + ANSWER,
        };
        actions.push(RadioAction::Request(self.requests));
    }

    fn let_go(&mut self, actions: &mut Vec<RadioAction>) {
        if std::mem::replace(&mut self.floor, Floor::None) != Floor::None {
            actions.push(RadioAction::Release);
        }
    }

    fn open(&mut self, actions: &mut Vec<RadioAction>) {
        if !std::mem::replace(&mut self.is_open, true) {
            actions.push(RadioAction::Open);
        }
    }

    fn shut(&mut self, actions: &mut Vec<RadioAction>) {
        if std::mem::replace(&mut self.is_open, false) {
            actions.push(RadioAction::Shut);
        }
    }

    fn is_own(&self, room: &str, who: &str) -> bool {
        room == self.room && self.own.as_deref() == Some(who)
    }
}

/// How long the client waits for the response to a floor request: about as long as it takes to
/// notice a lost connection.
const ANSWER: Duration = Duration::from_secs(3);

/// How long the uplink may take to send what was said before the release.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
