//! Talking by turns: push-to-talk and voice-operated, where a room has a floor.
//!
//! ```text
//! ptt_input ─────┐                           ┌─► gate ─► uplink ─► what it sends, and when it stops ─┐
//! voice ─────────┼─► state_machine ─► orders ┤                                                       │
//! server_events ─┘        ▲                  └─► clerk ─► the server: data channel, or else HTTP     │
//!                         └───────────────────────────────────── answers ◄───────────────────────────┘
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
use server_events::Told;
use state_machine::{Input, Order, Radio, Trigger};

/// The radio of one client.
pub struct Desk {
    machine: Radio,
    gate: Arc<Gate>,
    errands: UnboundedSender<Errand>,
    answers: UnboundedReceiver<Value>,
}

/// What the clerk is to tell the server.
#[derive(Debug)]
enum Errand {
    Request(u64),
    Release,
}

impl Desk {
    /// For a participant of `room`; a task of its own runs the errands as long as this lives.
    ///
    /// - `gate`: the uplink's.
    pub fn new(room: &str, trigger: Trigger, gate: Arc<Gate>, controls: Controls) -> Desk {
        if trigger == Trigger::Voice {
            gate.open();
        }
        let (errands, to_run) = mpsc::unbounded_channel();
        let (answers_in, answers) = mpsc::unbounded_channel();
        let clerk = Clerk {
            controls,
            errands: to_run,
            answers: answers_in,
        };
        tokio::spawn(clerk.run());
        Desk {
            machine: Radio::new(room.to_owned(), trigger),
            gate,
            errands,
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
        for order in self.machine.take(input, Instant::now()) {
            debug!(?order);
            match order {
                Order::Open => self.gate.open(),
                Order::Shut => self.gate.shut(),
                Order::Request(id) => self.errand(Errand::Request(id)),
                Order::Release => self.errand(Errand::Release),
                Order::Fail(reason) => {
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
                let told = Told::read(&answer.to_string());
                let mut news = vec![answer];
                if let Some(told) = told {
                    news.extend(self.take(Input::Told(told)));
                }
                news
            }
            () = due => self.take(Input::Time),
        }
    }

    fn errand(&self, errand: Errand) {
        // The clerk is gone only with the runtime.
        let _ = self.errands.send(errand);
    }
}

/// Runs errands, one after the other: a request that is given up must not overtake its release.
struct Clerk {
    controls: Controls,
    errands: UnboundedReceiver<Errand>,
    answers: UnboundedSender<Value>,
}

impl Clerk {
    async fn run(mut self) {
        while let Some(errand) = self.errands.recv().await {
            match errand {
                Errand::Request(id) => self.request(id).await,
                Errand::Release => self.release().await,
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
            None => server_events::failed(id, "The connection is lost."),
        };
        // Nobody may be interested any more.
        let _ = self.answers.send(answer);
    }

    async fn release(&self) {
        if self.say(&json!({ "command": "floor_release" })).await {
            return;
        }
        if let Some(Err(error)) = self.controls.release_floor().await {
            warn!("the floor is not given back, and will be taken: {error}");
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
