//! The main loop of `mixminus join`, from the first connection to the last: it prints events, and
//! drives push-to-talk and monitoring.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Interval;
use tracing::warn;

use super::address;
use super::args::{JoinOptions, Record, Turns};
use super::client::{Client, ClientEvent};
use super::error::JoinError;
use super::event_output::{EventOutput, OutputStream};
use super::radio::PttController;
use super::radio::gate::Gate;
use super::radio::monitors::{self, MonitoredRoom};
use super::radio::ptt_input::{KeyEvent, PttInput};
use super::radio::server_events::{self, ServerEvent};
use super::radio::state_machine::{Input, Trigger};

/// The main loop of a connected client.
pub(super) struct MainLoop<'a> {
    client: &'a mut Client,
    options: &'a JoinOptions,
    lines: Option<EventOutput>,
    messages: Receiver<Arc<str>>,
    every_second: Interval,
    key: Option<PttInput>,
    ptt: Option<PttController>,
    room: &'a str,
    monitors: MonitorSync,
}

/// The rooms to monitor, and whether their list has to be sent to the server.
struct MonitorSync {
    wanted: Vec<MonitoredRoom>,
    /// The join request already named all rooms, and none of them has a gain or a priority.
    is_joined: bool,
    is_due: bool,
    is_connected: bool,
    is_open: bool,
}

impl<'a> MainLoop<'a> {
    /// Creates the main loop.
    ///
    /// - `gate`: the gate of the uplink.
    /// - `key`: the push-to-talk key, if the client has one.
    pub fn new(
        client: &'a mut Client,
        options: &'a JoinOptions,
        gate: Arc<Gate>,
        key: Option<PttInput>,
    ) -> Result<MainLoop<'a>, JoinError> {
        let outlet = match options.record {
            Some(Record::Stdout) => OutputStream::Stderr,
            _ => OutputStream::Stdout,
        };
        let lines = (options.events || options.stats).then(|| EventOutput::start(outlet));
        let room = address::room_of(&options.url);
        let ptt = options.turns.map(|turns| {
            let trigger = match turns {
                Turns::Key { .. } => Trigger::Key,
                Turns::Voice { .. } => Trigger::Voice,
            };
            PttController::new(room, trigger, gate, client.controls())
        });
        Ok(MainLoop {
            messages: client.all_messages(),
            lines: lines.transpose().map_err(JoinError::Threads)?,
            every_second: tokio::time::interval(Duration::from_secs(1)),
            key,
            ptt,
            room,
            monitors: MonitorSync::new(&options.monitor),
            client,
            options,
        })
    }

    /// Runs until the client leaves or fails.
    pub async fn until_the_end(mut self) -> Result<(), JoinError> {
        let limit = async {
            match self.options.limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => pending().await,
            }
        };
        let mut limit = std::pin::pin!(limit);
        self.every_second.tick().await;
        self.connected().await;
        loop {
            tokio::select! {
                () = &mut limit => return Ok(()),
                event = self.client.event() => {
                    if self.happened(event).await? {
                        return Ok(());
                    }
                }
                message = self.messages.recv() => self.told(message).await,
                event = key_event(&mut self.key) => self.on_key(event).await,
                news = next(&mut self.ptt) => self.tell_all(news),
                _ = self.every_second.tick(), if self.options.stats => self.tell_stats().await,
            }
        }
    }

    /// Handles an event of the client; returns `true` if the client should leave.
    async fn happened(&mut self, event: ClientEvent) -> Result<bool, JoinError> {
        let options = self.options;
        match event {
            // Without an error, a push-to-talk client whose microphone has ended would stay silent
            // unnoticed. Its supervisor can restart it.
            ClientEvent::Played if options.is_radio() => return Err(JoinError::SourceEnded),
            ClientEvent::Played if options.record.is_none() && options.limit.is_none() => {
                tokio::time::sleep(DRAIN).await;
                return Ok(true);
            }
            ClientEvent::Played => self.tell(json!({ "event": "played" })),
            ClientEvent::Voice(heard) => {
                self.tell(json!({ "event": "voice", "voice": heard }));
                self.radio(match heard {
                    true => Input::Press,
                    false => Input::Release,
                });
            }
            ClientEvent::Sending(sends) => {
                self.tell(json!({ "event": "sending", "sending": sends }));
                self.radio(Input::Sending(sends));
            }
            ClientEvent::Lost => {
                self.tell(json!({ "event": "reconnecting" }));
                self.monitors.lost();
                self.radio(Input::Lost);
            }
            ClientEvent::Reconnected => self.connected().await,
            ClientEvent::Failed(error) => return Err(error),
        }
        Ok(false)
    }

    async fn connected(&mut self) {
        let own = self.client.participant();
        self.tell(json!({ "event": "connected", "room": self.room, "participant": own }));
        if let Some(ptt) = &mut self.ptt {
            let news = ptt.connected(own);
            self.tell_all(news);
        }
        self.monitors.is_connected = true;
        self.send_monitors().await;
    }

    /// Prints a message of the server and passes it to push-to-talk and monitoring.
    async fn told(&mut self, message: Result<Arc<str>, RecvError>) {
        let message = match message {
            Ok(message) => message,
            Err(RecvError::Lagged(messages)) => {
                if let Some(lines) = &self.lines {
                    lines.miss(messages as usize);
                }
                return;
            }
            // Impossible here: the client holds a sender.
            Err(RecvError::Closed) => return,
        };
        if self.options.events
            && let (Some(lines), Some(line)) = (&self.lines, server_events::line(&message))
        {
            lines.event(line, server_events::is_passing(&message));
        }
        let Some(told) = ServerEvent::read(&message) else {
            return;
        };
        if matches!(&told, ServerEvent::Room { name, .. } if name == self.room) {
            self.monitors.is_open = true;
            self.send_monitors().await;
        }
        self.radio(Input::ServerEvent(told));
    }

    async fn on_key(&mut self, event: KeyEvent) {
        match event {
            KeyEvent::Press => self.radio(Input::Press),
            KeyEvent::Release => self.radio(Input::Release),
            KeyEvent::Toggle => self.radio(Input::Toggle),
            KeyEvent::Monitor(rooms) => {
                self.monitors.want(rooms);
                self.send_monitors().await;
            }
        }
    }

    fn radio(&mut self, input: Input) {
        if let Some(ptt) = &mut self.ptt {
            let news = ptt.take(input);
            self.tell_all(news);
        }
    }

    /// Sends the list of monitored rooms to the server if it has changed and the data channel is
    /// open.
    async fn send_monitors(&mut self) {
        if !self.monitors.can_be_told() {
            return;
        }
        self.monitors.is_due = !self
            .client
            .say(&monitors::command(&self.monitors.wanted))
            .await;
        if self.monitors.is_due {
            warn!("cannot send the list of rooms to monitor; trying again later");
        }
    }

    async fn tell_stats(&mut self) {
        let stats = self.client.stats().await;
        let Some(lines) = &self.lines else {
            return;
        };
        if !self.options.events {
            return lines.print(stats.to_json());
        }
        let mut line = json!({ "event": "stats" });
        if let (Some(line), Ok(Value::Object(stats))) =
            (line.as_object_mut(), serde_json::to_value(&stats))
        {
            line.extend(stats);
        }
        lines.event(line.to_string(), true);
    }

    fn tell_all(&self, news: Vec<Value>) {
        for event in news {
            self.tell(event);
        }
    }

    fn tell(&self, event: Value) {
        if self.options.events
            && let Some(lines) = &self.lines
        {
            lines.event(event.to_string(), false);
        }
    }
}

impl MonitorSync {
    fn new(wanted: &[MonitoredRoom]) -> MonitorSync {
        let is_joined = wanted.iter().all(MonitoredRoom::is_plain);
        MonitorSync {
            is_joined,
            is_due: !is_joined,
            wanted: wanted.to_vec(),
            is_connected: false,
            is_open: false,
        }
    }

    fn want(&mut self, wanted: Vec<MonitoredRoom>) {
        self.wanted = wanted;
        self.is_joined = false;
        self.is_due = true;
    }

    fn lost(&mut self) {
        self.is_connected = false;
        self.is_open = false;
        self.is_due = !self.is_joined;
    }

    /// Whether the list is to be sent and the data channel is open, which the event `room` on it
    /// shows.
    fn can_be_told(&self) -> bool {
        self.is_due && self.is_connected && self.is_open
    }
}

async fn key_event(key: &mut Option<PttInput>) -> KeyEvent {
    match key {
        Some(key) => key.next().await,
        None => pending().await,
    }
}

async fn next(ptt: &mut Option<PttController>) -> Vec<Value> {
    match ptt {
        Some(ptt) => ptt.next().await,
        None => pending().await,
    }
}

/// Time for the last packets of a file to be played by the listeners before the session ends.
const DRAIN: Duration = Duration::from_millis(500);
