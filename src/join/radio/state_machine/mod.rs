//! The state machine of a radio: from the key, the voice, the network and the server it decides whether
//! the client may talk, when audio is sent, and what the server is asked.
//!
//! Pure: inputs and the time go in, actions come out. It is the client's side of floor control
//! (3GPP TS 24.380, 6.2.4) with the timers that a reliable channel leaves of it.

use std::time::{Duration, Instant};

use super::server_events::ServerEvent;

/// What happens to a radio.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The key was pressed, or a voice was heard.
    Press,
    /// The key was released, or the voice has ended.
    Release,
    /// The one or the other: what ends the wish to talk if there is one, and otherwise begins it.
    Toggle,
    /// The uplink began to send, or has sent its last packet.
    Sending(bool),
    /// The server said something.
    ServerEvent(ServerEvent),
    /// A connection is there.
    Connected,
    /// It is lost, and with it all that the server had granted.
    Lost,
    /// The deadline has come.
    Time,
}

/// What the client is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RadioAction {
    /// The uplink may send.
    Open,
    /// The uplink must not send, after what was said up to now.
    Shut,
    /// Ask for the floor; the answer carries this number.
    Request(u64),
    /// Give the floor back, or the request.
    Release,
    /// Say that it came to nothing, and why.
    Fail(&'static str),
}

/// What tells that there is something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A key.
    Key,
    /// A voice that is loud enough: the uplink itself sees to the moment, and is open all the time
    /// unless what it would send is not wanted.
    Voice,
}

/// The state machine of one participant in a room with a floor.
#[derive(Debug)]
pub struct RadioMachine {
    room: String,
    trigger: Trigger,
    /// The own public name, as far as it is known.
    own: Option<String>,
    has_floor: bool,
    is_connected: bool,
    is_pressed: bool,
    is_open: bool,
    floor: Floor,
    /// The last packet is on its way to be sent; by then it must have been.
    ending: Option<Instant>,
    requests: u64,
}

/// How the own request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// There is none.
    None,
    /// It is not answered yet.
    Asked { id: u64, until: Instant },
    /// Others come first.
    Queued { id: u64 },
    /// It is granted; revoked, it lasts until then.
    Held { until: Option<Instant> },
}

impl RadioMachine {
    /// Of a participant of `room` who is not connected yet.
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

    /// Who the participant is, from now on.
    pub fn call(&mut self, own: Option<String>) {
        self.own = own;
    }

    /// When [`Input::Time`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let floor = match self.floor {
            Floor::Asked { until, .. } => Some(until),
            // A floor that is being given back anyway is not watched any more.
            Floor::Held { until } => until.filter(|_| self.ending.is_none()),
            Floor::None | Floor::Queued { .. } => None,
        };
        [floor, self.ending].into_iter().flatten().min()
    }

    /// Takes one input; gives the actions, to be carried out in this order.
    pub fn take(&mut self, input: Input, now: Instant) -> Vec<RadioAction> {
        let mut actions = Vec::new();
        match input {
            Input::Press => self.press(now, &mut actions),
            Input::Release => self.release(now, &mut actions),
            Input::Toggle if self.wants_to_talk() => self.release(now, &mut actions),
            Input::Toggle => {
                // Pressed still, but denied or cut off meanwhile: to be pressed anew.
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

    /// Whether a key that is pressed is of any effect.
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
        // Pressed again while the last words are still on their way, it is the same floor.
        if self.has_floor && self.floor == Floor::None {
            self.request(now, actions);
        }
    }

    fn release(&mut self, now: Instant, actions: &mut Vec<RadioAction>) {
        if !std::mem::replace(&mut self.is_pressed, false) {
            return;
        }
        if self.trigger == Trigger::Voice {
            // The end of a voice is told after its last packet.
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

    /// The room has a floor, or has none.
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

    /// The floor is gone without a word of ours.
    fn end(&mut self, actions: &mut Vec<RadioAction>) {
        self.floor = Floor::None;
        self.ending = None;
        self.shut(actions);
    }

    fn lose(&mut self, actions: &mut Vec<RadioAction>) {
        self.is_connected = false;
        // Not known before the room is told again: asking in vain does no harm.
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

/// How long an answer is waited for: a lost connection is noticed by then, or nearly.
const ANSWER: Duration = Duration::from_secs(3);

/// How long the uplink may take to send what was said before the key was released.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
