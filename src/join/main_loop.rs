//! The main loop of `mixminus join`, from the first connection to the last: prints events, and talks
//! when it is time to.

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
use super::event_output::{Lines, Outlet};
use super::radio::Desk;
use super::radio::gate::Gate;
use super::radio::monitors::{self, Scan};
use super::radio::ptt_input::{Key, Stroke};
use super::radio::server_events::{self, Told};
use super::radio::state_machine::{Input, Trigger};

/// A client that is in, and what was asked of it.
pub(super) struct Stay<'a> {
    client: &'a mut Client,
    options: &'a JoinOptions,
    lines: Option<Lines>,
    messages: Receiver<Arc<str>>,
    every_second: Interval,
    key: Option<Key>,
    desk: Option<Desk>,
    room: &'a str,
    scans: Scans,
}

/// The rooms to listen to, and whether the server knows all of it.
struct Scans {
    wanted: Vec<Scan>,
    /// The join has said it all: it has the names that the command line gave.
    is_joined: bool,
    is_due: bool,
    is_connected: bool,
    is_open: bool,
}

impl<'a> Stay<'a> {
    /// - `gate`: the uplink's.
    /// - `key`: what presses it, if anything but a voice does.
    pub fn new(
        client: &'a mut Client,
        options: &'a JoinOptions,
        gate: Arc<Gate>,
        key: Option<Key>,
    ) -> Result<Stay<'a>, JoinError> {
        let outlet = match options.record {
            Some(Record::Stdout) => Outlet::Stderr,
            _ => Outlet::Stdout,
        };
        let lines = (options.events || options.stats).then(|| Lines::start(outlet));
        let room = address::room_of(&options.url);
        let desk = options.turns.map(|turns| {
            let trigger = match turns {
                Turns::Key { .. } => Trigger::Key,
                Turns::Voice { .. } => Trigger::Voice,
            };
            Desk::new(room, trigger, gate, client.controls())
        });
        Ok(Stay {
            messages: client.all_messages(),
            lines: lines.transpose().map_err(JoinError::Threads)?,
            every_second: tokio::time::interval(Duration::from_secs(1)),
            key,
            desk,
            room,
            scans: Scans::new(&options.listen),
            client,
            options,
        })
    }

    /// Stays in the room until there is a reason to go.
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
                stroke = stroke(&mut self.key) => self.stroke(stroke).await,
                news = next(&mut self.desk) => self.tell_all(news),
                _ = self.every_second.tick(), if self.options.stats => self.tell_stats().await,
            }
        }
    }

    /// Takes an event of the client's; `true` when it is time to go.
    async fn happened(&mut self, event: ClientEvent) -> Result<bool, JoinError> {
        let options = self.options;
        match event {
            // Nobody would notice that it is deaf. Whoever has started it can start it again.
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
                self.scans.lost();
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
        if let Some(desk) = &mut self.desk {
            let news = desk.connected(own);
            self.tell_all(news);
        }
        self.scans.is_connected = true;
        self.scan().await;
    }

    /// Takes a message of the server's.
    async fn told(&mut self, message: Result<Arc<str>, RecvError>) {
        let message = match message {
            Ok(message) => message,
            Err(RecvError::Lagged(messages)) => {
                if let Some(lines) = &self.lines {
                    lines.miss(messages as usize);
                }
                return;
            }
            // Not while there is a client, which holds the other end.
            Err(RecvError::Closed) => return,
        };
        if self.options.events
            && let (Some(lines), Some(line)) = (&self.lines, server_events::line(&message))
        {
            lines.event(line, server_events::is_passing(&message));
        }
        let Some(told) = Told::read(&message) else {
            return;
        };
        if matches!(&told, Told::Room { name, .. } if name == self.room) {
            self.scans.is_open = true;
            self.scan().await;
        }
        self.radio(Input::Told(told));
    }

    async fn stroke(&mut self, stroke: Stroke) {
        match stroke {
            Stroke::Press => self.radio(Input::Press),
            Stroke::Release => self.radio(Input::Release),
            Stroke::Toggle => self.radio(Input::Toggle),
            Stroke::Listen(scans) => {
                self.scans.want(scans);
                self.scan().await;
            }
        }
    }

    fn radio(&mut self, input: Input) {
        if let Some(desk) = &mut self.desk {
            let news = desk.take(input);
            self.tell_all(news);
        }
    }

    /// Tells the server what it does not know yet of the rooms to listen to, as soon as it can be told.
    async fn scan(&mut self) {
        if !self.scans.can_be_told() {
            return;
        }
        self.scans.is_due = !self
            .client
            .say(&monitors::command(&self.scans.wanted))
            .await;
        if self.scans.is_due {
            warn!("the rooms to listen to could not be told");
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

impl Scans {
    fn new(wanted: &[Scan]) -> Scans {
        let is_joined = wanted.iter().all(Scan::is_plain);
        Scans {
            is_joined,
            is_due: !is_joined,
            wanted: wanted.to_vec(),
            is_connected: false,
            is_open: false,
        }
    }

    fn want(&mut self, wanted: Vec<Scan>) {
        self.wanted = wanted;
        self.is_joined = false;
        self.is_due = true;
    }

    fn lost(&mut self) {
        self.is_connected = false;
        self.is_open = false;
        self.is_due = !self.is_joined;
    }

    /// The data channel is open when the room was told over it.
    fn can_be_told(&self) -> bool {
        self.is_due && self.is_connected && self.is_open
    }
}

async fn stroke(key: &mut Option<Key>) -> Stroke {
    match key {
        Some(key) => key.stroke().await,
        None => pending().await,
    }
}

async fn next(desk: &mut Option<Desk>) -> Vec<Value> {
    match desk {
        Some(desk) => desk.next().await,
        None => pending().await,
    }
}

/// Time for the last packets of a file to be heard before the session is ended.
const DRAIN: Duration = Duration::from_millis(500);
