//! Push-to-talk and voice-operated talking, in rooms with floor control.
//!
//! ```text
//! ptt_input ─────┐                            ┌─► gate ─► uplink ─► start and end of sending ─┐
//! voice ─────────┼─► state_machine ─► actions ┤                                               │
//! server_events ─┘        ▲                   └─► requests ─► server (data channel or HTTP)   │
//!                         └────────────────────────────────── answers ◄───────────────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `ptt_input.rs` | the key: lines on standard input, signals |
//! | `gate.rs` | the gate, the detection of a voice, the start of its first word |
//! | `state_machine.rs` | when to request the floor, when to send, when to release |
//! | `server_events.rs` | the server's events |
//! | `monitors.rs` | the list of monitored rooms |

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;
use tracing::{debug, warn};

pub mod gate;
pub mod monitors;
pub mod ptt_input;
pub mod server_events;
pub mod state_machine;

use super::client::Controls;
use gate::Gate;
use server_events::ServerEvent;
use state_machine::{Input, RadioAction, RadioMachine, Trigger};

/// Push-to-talk of one client: connects the state machine to its gate and sends its requests to the
/// server.
pub struct PttController {
    machine: RadioMachine,
    gate: Arc<Gate>,
    floor_orders: UnboundedSender<FloorOrder>,
    answers: UnboundedReceiver<Value>,
}

/// A request that the [`FloorRequester`] is to send to the server.
#[derive(Debug)]
enum FloorOrder {
    Request(u64),
    Release,
}

impl PttController {
    /// Creates the controller for a participant of `room`. A task of its own sends its requests, as
    /// long as the controller lives.
    ///
    /// - `gate`: the gate of the uplink.
    pub fn new(room: &str, trigger: Trigger, gate: Arc<Gate>, controls: Controls) -> PttController {
        if trigger == Trigger::Voice {
            gate.open();
        }
        let (floor_orders, to_run) = mpsc::unbounded_channel();
        let (answers_in, answers) = mpsc::unbounded_channel();
        let requester = FloorRequester {
            controls,
            floor_orders: to_run,
            answers: answers_in,
        };
        tokio::spawn(requester.run());
        PttController {
            machine: RadioMachine::new(room.to_owned(), trigger),
            gate,
            floor_orders,
            answers,
        }
    }

    /// Tells the state machine that a connection exists, in which the participant has this id;
    /// returns the events to print.
    pub fn connected(&mut self, own: Option<String>) -> Vec<Value> {
        self.machine.call(own);
        self.take(Input::Connected)
    }

    /// Handles one input; returns the events to print.
    pub fn take(&mut self, input: Input) -> Vec<Value> {
        let mut news = Vec::new();
        for action in self.machine.take(input, Instant::now()) {
            debug!(?action, "the radio acts");
            match action {
                RadioAction::Open => self.gate.open(),
                RadioAction::Shut => self.gate.shut(),
                RadioAction::Request(id) => self.floor_order(FloorOrder::Request(id)),
                RadioAction::Release => self.floor_order(FloorOrder::Release),
                RadioAction::Fail(reason) => {
                    news.push(json!({ "event": "floor_failed", "reason": reason }));
                }
            }
        }
        news
    }

    /// Waits for a response to a request over HTTP, or for a deadline; returns the events to print.
    /// Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Vec<Value> {
        let deadline = self.machine.deadline();
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(answer) = self.answers.recv() => {
                let told = ServerEvent::read(&answer.to_string());
                let mut news = vec![answer];
                if let Some(told) = told {
                    news.extend(self.take(Input::ServerEvent(told)));
                }
                news
            }
            () = due => self.take(Input::Time),
        }
    }

    fn floor_order(&self, order: FloorOrder) {
        // Sending the request fails only after the runtime has stopped the task.
        let _ = self.floor_orders.send(order);
    }
}

/// Sends floor requests and releases one after the other: a release must not overtake the request
/// that it withdraws.
struct FloorRequester {
    controls: Controls,
    floor_orders: UnboundedReceiver<FloorOrder>,
    answers: UnboundedSender<Value>,
}

impl FloorRequester {
    async fn run(mut self) {
        while let Some(order) = self.floor_orders.recv().await {
            match order {
                FloorOrder::Request(id) => self.request(id).await,
                FloorOrder::Release => self.release().await,
            }
        }
    }

    async fn request(&self, id: u64) {
        if self
            .say(&json!({ "command": "floor_request", "id": id }))
            .await
        {
            return;
        }
        let answer = match self.controls.request_floor().await {
            Some(Ok(reply)) => server_events::of_http(id, &reply),
            Some(Err(error)) => server_events::failed(id, &error.to_string()),
            None => server_events::failed(id, "The connection to the server was lost."),
        };
        // Sending the answer fails only if its receiver has been dropped.
        let _ = self.answers.send(answer);
    }

    async fn release(&self) {
        if self.say(&json!({ "command": "floor_release" })).await {
            return;
        }
        if let Some(Err(error)) = self.controls.release_floor().await {
            warn!(%error, "cannot release the floor; the server will revoke it");
        }
    }

    /// Sends a command over the data channel; returns `false` if the channel does not accept it.
    async fn say(&self, command: &Value) -> bool {
        let command = command.to_string();
        let said = timeout(SAY_TIMEOUT, self.controls.say(&command)).await;
        said.unwrap_or(false)
    }
}

/// The time limit for sending a command: an open data channel accepts a message at once.
const SAY_TIMEOUT: Duration = Duration::from_millis(500);
