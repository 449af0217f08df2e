//! A client that requests the floor: presses, talks, releases and waits, until all requests have
//! been made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::time::{sleep, timeout};

use super::Way;
use super::report::{Fate, Seen};
use crate::bench::progress::Progress;
use crate::join::client::Client;
use crate::join::media::MediaOptions;
use crate::join::pcm::{PcmError, Source};
use crate::join::radio::gate::{Gate, UplinkGate};
use crate::join::radio::server_events::{self, ServerEvent};

/// How a client requests the floor, and how long it talks, pauses and waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    pub way: Way,
    pub hold: Duration,
    pub pause: Duration,
    pub patience: Duration,
}

/// Counts the requests that all clients together have made and still have to make.
pub(super) struct Budget {
    pub left: AtomicU64,
    pub done: AtomicU64,
    pub progress: Progress,
}

impl Budget {
    /// Sets the number of requests that all clients together still have to make.
    pub fn allow(&self, requests: u64) {
        self.left.store(requests, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        taken.is_ok()
    }
}

/// A client that requests the floor again and again.
pub(super) struct Requester {
    pub client: Client,
    gate: Arc<Gate>,
    messages: Receiver<Arc<str>>,
    budget: Arc<Budget>,
    requests: u64,
}

/// Returns the media of a client that sends a tone while the gate is open.
pub(super) fn media() -> (MediaOptions, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let media = MediaOptions {
        source: Some(Box::new(Hum { at: 0 })),
        switch: Some(UplinkGate::key(Arc::clone(&gate))),
        ..MediaOptions::default()
    };
    (media, gate)
}

impl Requester {
    /// Creates a requester for a client that has joined; waits until its data channel is open.
    pub async fn new(mut client: Client, gate: Arc<Gate>, budget: Arc<Budget>) -> Requester {
        let mut messages = client.all_messages();
        // The first message is the event `room`; without it each request will count as failed.
        let _ = timeout(ANSWER, messages.recv()).await;
        Requester {
            client,
            gate,
            messages,
            budget,
            requests: 0,
        }
    }

    /// Requests the floor again and again; returns the outcome of each request.
    pub async fn contend(mut self, habits: Habits) -> (Requester, Vec<Seen>) {
        let mut seen = Vec::new();
        loop {
            // A random time up to twice the mean, so that clients meet by chance.
            sleep(habits.pause.mul_f64(2.0 * rand::random::<f64>())).await;
            if !self.budget.take() {
                return (self, seen);
            }
            self.messages = self.messages.resubscribe();
            self.requests += 1;
            let pressed = Instant::now();
            self.gate.open();
            let fate = self.ask(habits).await;
            let took = pressed.elapsed();
            if matches!(fate, Fate::Granted | Fate::Queued) {
                sleep(habits.hold).await;
            }
            self.gate.shut();
            self.release(habits.way).await;
            seen.push(Seen { fate, took });
            let done = self.budget.done.fetch_add(1, Ordering::Relaxed) + 1;
            self.budget.progress.set(done);
        }
    }

    /// Makes a request and waits for its outcome.
    async fn ask(&mut self, habits: Habits) -> Fate {
        let first = match habits.way {
            Way::Data => self.ask_by_message().await,
            Way::Http => self.ask_by_http().await,
        };
        match first {
            Some(ServerEvent::Granted { .. }) => Fate::Granted,
            Some(ServerEvent::Denied { .. }) => Fate::Denied,
            Some(ServerEvent::Queued { .. }) => {
                // A queued client is silent, like a radio.
                self.gate.shut();
                let promoted = self.hear(|told| matches!(told, ServerEvent::Granted { .. }));
                let promoted = timeout(habits.patience, promoted).await;
                self.gate.open();
                match promoted {
                    Ok(Some(_)) => Fate::Queued,
                    Ok(None) => Fate::Failed,
                    Err(_) => Fate::Abandoned,
                }
            }
            _ => Fate::Failed,
        }
    }

    async fn ask_by_message(&mut self) -> Option<ServerEvent> {
        let number = Some(self.requests);
        let request = json!({ "command": "floor_request", "id": number });
        if !self.client.say(&request.to_string()).await {
            return None;
        }
        let answer = self.hear(|told| match told {
            ServerEvent::Granted { id }
            | ServerEvent::Queued { id }
            | ServerEvent::Denied { id }
            | ServerEvent::NoFloor { id }
            | ServerEvent::Failed { id, .. } => *id == number,
            _ => false,
        });
        timeout(ANSWER, answer).await.ok().flatten()
    }

    async fn ask_by_http(&mut self) -> Option<ServerEvent> {
        let reply = self.client.controls().request_floor().await?.ok()?;
        ServerEvent::read(&server_events::of_http(self.requests, &reply).to_string())
    }

    /// Waits for the first server event that meets the condition `wish`; returns `None` once the
    /// client can receive no more messages.
    async fn hear(&mut self, wish: impl Fn(&ServerEvent) -> bool) -> Option<ServerEvent> {
        use tokio::sync::broadcast::error::RecvError;
        loop {
            match self.messages.recv().await {
                Ok(message) => match ServerEvent::read(&message) {
                    Some(told) if wish(&told) => return Some(told),
                    _ => {}
                },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn release(&self, way: Way) {
        // If the release is lost, the server takes the floor back when the media stops.
        match way {
            Way::Data => {
                let release = json!({ "command": "floor_release" });
                let _ = self.client.say(&release.to_string()).await;
            }
            Way::Http => {
                let _ = self.client.controls().release_floor().await;
            }
        }
    }
}

/// A source that plays an endless tone of 200 Hz.
struct Hum {
    at: usize,
}

impl Source for Hum {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        for sample in pcm.iter_mut() {
            // A period of 200 Hz has 240 samples.
            *sample = 0.1 * (std::f32::consts::TAU * self.at as f32 / 240.0).sin();
            self.at = (self.at + 1) % 240;
        }
        Ok(pcm.len())
    }
}

/// A request without a response for this long has failed.
const ANSWER: Duration = Duration::from_secs(3);
