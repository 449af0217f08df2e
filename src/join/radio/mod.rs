//! Talking by turns: push-to-talk and voice-operated, where a room has a floor.
//!
//! ```text
//! ptt_input ─────┐                            ┌─► gate ─► uplink ─► what it sends, and when it stops ─┐
//! voice ─────────┼─► state_machine ─► actions ┤                                                       │
//! server_events ─┘        ▲                   └─► clerk ─► the server: data channel, or else HTTP     │
//!                         └────────────────────────────────────── answers ◄───────────────────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `ptt_input.rs` | lines on standard input, signals |
//! | `gate.rs` | the gate, the voice that is loud enough, the beginning of its first word |
//! | `state_machine.rs` | when to ask, when to send, when to give back |
//! | `server_events.rs` | what the server says |
//! | `monitors.rs` | the rooms that are monitored |

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

/// Push-to-talk of one client: the state machine, its gate and its requests to the server.
pub struct PttController {
    machine: RadioMachine,
    gate: Arc<Gate>,
    floor_orders: UnboundedSender<FloorOrder>,
    answers: UnboundedReceiver<Value>,
}

/// A request that the clerk is to make of the server.
#[derive(Debug)]
enum FloorOrder {
    Request(u64),
    Release,
}

impl PttController {
    /// For a participant of `room`; a task of its own runs the floor_orders as long as this lives.
    ///
    /// - `gate`: the uplink's.
    pub fn new(room: &str, trigger: Trigger, gate: Arc<Gate>, controls: Controls) -> PttController {
        if trigger == Trigger::Voice {
            gate.open();
        }
        let (floor_orders, to_run) = mpsc::unbounded_channel();
        let (answers_in, answers) = mpsc::unbounded_channel();
        let clerk = Clerk {
            controls,
            floor_orders: to_run,
            answers: answers_in,
        };
        tokio::spawn(clerk.run());
        PttController {
            machine: RadioMachine::new(room.to_owned(), trigger),
            gate,
            floor_orders,
            answers,
        }
    }

    /// A connection is there, under this public name.
    pub fn connected(&mut self, own: Option<String>) -> Vec<Value> {
        self.machine.call(own);
        self.take(Input::Connected)
    }

    /// Takes one input; gives what there is to tell about it.
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

    /// Waits for an answer over HTTP or for a deadline; gives what there is to tell about it. Nothing
    /// is lost when it is not waited for any longer.
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
        // The clerk is gone only with the runtime.
        let _ = self.floor_orders.send(order);
    }
}

/// Runs floor_orders, one after the other: a request that is given up must not overtake its release.
struct Clerk {
    controls: Controls,
    floor_orders: UnboundedReceiver<FloorOrder>,
    answers: UnboundedSender<Value>,
}

impl Clerk {
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
        // Nobody may be interested any more.
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

    /// Over the data channel; `false` if that does not take it.
    async fn say(&self, command: &Value) -> bool {
        let command = command.to_string();
        let said = timeout(SAY_TIMEOUT, self.controls.say(&command)).await;
        said.unwrap_or(false)
    }
}

/// A data channel that is open takes a message at once.
const SAY_TIMEOUT: Duration = Duration::from_millis(500);
