//! The owner of the conference: one task that hands every input to the machine, one at a time, and
//! performs the resulting effects.
//!
//! The task wakes when a request arrives, when the network thread or a mixer signals an event, and
//! when the machine's next input or report is due.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::handle::PendingRequest;
use super::machine::{Input, Machine, RETRY};
use super::performer::{Luggage, Performer};
use super::rooms::{Configure, ConfigureRoom};
use super::{ConfigureError, Limits};
use crate::audio::MixerControl;
use crate::protocol::{RoomChange, RoomName, RoomState};
use crate::rtc::NetworkControl;

/// Interval at which the owner polls for events if it has no descriptor to wait on.
const TURN_WITHOUT_BELL: Duration = Duration::from_millis(20);

/// Maximum number of mixer events, and of network events, handled in one turn, so that a flood of
/// one kind does not hold up the other.
const MOST_EVENTS: usize = 256;

/// Maximum number of requests handled in one turn.
const MOST_REQUESTS: usize = 64;

/// The machine and the performer of its effects, run as one task per conference.
pub struct Owner {
    pub(super) machine: Machine,
    pub(super) performer: Performer,
    requests: mpsc::Receiver<Envelope>,
    lost: watch::Sender<bool>,
    turned: Instant,
}

/// A request on its way to the owner, with the participant and the peer of a join.
pub(super) struct Envelope {
    pub(super) request: PendingRequest,
    pub(super) luggage: Luggage,
}

impl Owner {
    /// Creates the owner of an empty conference.
    ///
    /// - `lost`: becomes true when a mixer or the network thread has ended while it was needed.
    pub(super) fn new(
        limits: Limits,
        (mixers, network): (Vec<MixerControl>, NetworkControl),
        requests: mpsc::Receiver<Envelope>,
        lost: watch::Sender<bool>,
        now: Instant,
    ) -> Owner {
        Owner {
            machine: Machine::new(limits, mixers.len(), now),
            performer: Performer::new(mixers, network),
            requests,
            lost,
            turned: now,
        }
    }

    /// Creates or configures a room before the conference [runs](Owner::run); returns whether the
    /// room was created.
    ///
    /// # Errors
    /// [`ConfigureError`]; the room is then unchanged.
    pub fn configure(
        &mut self,
        name: &RoomName,
        change: RoomChange,
        how: Configure,
    ) -> Result<(RoomState, bool), ConfigureError> {
        let (request, mut answer) = PendingRequest::new(ConfigureRoom {
            room: name.clone(),
            change,
            how,
        });
        self.handle(Input::Request(request), Instant::now());
        answer
            .try_recv()
            .expect("each request is answered in the step that it is handled in")
    }

    /// Runs the conference until `end` changes or its sender is dropped. All tasks that use a
    /// handle must end before, because later requests are never answered.
    pub async fn run(mut self, mut end: watch::Receiver<bool>) {
        let wake_up = self.performer.network.something_happened();
        // An eventfd is not a pipe, but is read in the same way. A thread that writes to it never
        // waits for the reader.
        let wake_up = match wake_up.and_then(pipe::Receiver::from_owned_fd_unchecked) {
            Ok(wake_up) => Some(wake_up),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "cannot wait for events of the mixer threads and the network thread; polling for them"
                );
                None
            }
        };
        loop {
            let deadline = self.deadline(wake_up.is_some());
            tokio::select! {
                biased;
                _ = end.changed() => return self.close_peers().await,
                () = woken(wake_up.as_ref()) => {}
                Some(envelope) = self.requests.recv() => self.serve(envelope, Instant::now()),
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            // Inputs beyond the limits of one turn are handled in the next turn, after other tasks
            // of the runtime's thread have run.
            while self.turn(Instant::now()) {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Handles a limited number of mixer events, network events and requests; returns whether a
    /// limit was reached.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        self.turned = now;
        if !self.performer.is_whole() && !self.lost.send_replace(true) {
            tracing::error!(
                "a mixer thread or the network thread has ended; no participant can be heard any more"
            );
        }
        let (mut mixers, mut network, mut requests) = (0, 0, 0);
        while mixers < MOST_EVENTS
            && let Some(event) = self.performer.next_mixer_event()
        {
            self.handle(Input::Mixer(event), now);
            mixers += 1;
        }
        while network < MOST_EVENTS
            && let Some(event) = self.performer.network.next_event()
        {
            self.handle(Input::Network(event), now);
            network += 1;
        }
        while requests < MOST_REQUESTS
            && let Ok(envelope) = self.requests.try_recv()
        {
            self.serve(envelope, now);
            requests += 1;
        }
        self.handle(Input::Time, now);
        if now >= self.machine.next_report() {
            self.report(now);
        }
        mixers == MOST_EVENTS || network == MOST_EVENTS || requests == MOST_REQUESTS
    }

    /// Reports levels, and passes the mixers' busy time to the load governors.
    pub(super) fn report(&mut self, now: Instant) {
        let busy_ns = self.performer.busy_ns();
        self.handle(Input::Load(busy_ns), now);
    }

    /// Lets the machine handle an input, and performs the resulting effects.
    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        self.set_credit();
        let Owner {
            machine, performer, ..
        } = self;
        // A panic costs only the input that caused it: effects listed before the panic are
        // performed, and the request gets no answer.
        let handled = catch_unwind(AssertUnwindSafe(|| machine.handle(input, now)));
        performer.perform(handled.unwrap_or_else(|_| machine.effects.take()));
    }

    /// Handles a request.
    pub(super) fn serve(&mut self, envelope: Envelope, now: Instant) {
        self.performer.luggage = envelope.luggage;
        self.handle(Input::Request(envelope.request), now);
        // A participant or a peer that the machine has not sent on, because the join failed, is
        // freed here.
        self.performer.luggage = Luggage::default();
    }

    /// Returns the next request, once one has arrived.
    #[cfg(test)]
    pub(super) async fn next_request(&mut self) -> Option<Envelope> {
        self.requests.recv().await
    }

    /// Sends waiting commands, and tells the machine how many further commands the queues accept.
    pub(super) fn set_credit(&mut self) {
        self.performer.retry();
        let performer = &self.performer;
        let effects = &mut self.machine.effects;
        effects.set_credit(performer.mixer_credit(), performer.network.free_places());
    }

    /// Returns when the next turn is due if neither a request nor a signal arrives before.
    fn deadline(&self, has_bell: bool) -> Instant {
        let others = [
            self.machine.next_time(self.turned),
            (self.performer.is_waiting()).then(|| self.turned + RETRY),
            (!has_bell).then(|| self.turned + TURN_WITHOUT_BELL),
        ];
        let report = self.machine.next_report();
        others.into_iter().flatten().fold(report, Instant::min)
    }

    /// Waits until the network thread has been told to close every peer, for one second at most.
    async fn close_peers(&mut self) {
        for _ in 0..MOST_CLOSING_TURNS {
            if self.performer.network.retry() {
                return;
            }
            tokio::time::sleep(CLOSING_TURN).await;
        }
    }
}

/// Waits until the network thread or a mixer signals its descriptor; never completes without one.
async fn woken(wake_up: Option<&pipe::Receiver>) {
    let Some(wake_up) = wake_up else {
        return std::future::pending().await;
    };
    loop {
        // Fails only when the runtime ends.
        if wake_up.readable().await.is_err() {
            return std::future::pending().await;
        }
        match wake_up.try_read(&mut [0; 8]) {
            Ok(1..) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return std::future::pending().await,
        }
    }
}

/// Interval between two attempts to send the closing commands when the server ends.
const CLOSING_TURN: Duration = Duration::from_millis(5);
/// Maximum number of attempts to send the closing commands when the server ends.
const MOST_CLOSING_TURNS: u32 = 200;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[tokio::test]
    async fn several_signals_of_the_network_thread_wake_the_conference_owner_once() {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK).expect("a descriptor");
        let other_end = descriptor.try_clone().expect("another");
        let wake_up =
            pipe::Receiver::from_owned_fd_unchecked(descriptor).expect("it can be awaited");
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            for _ in 0..5 {
                rustix::io::write(&other_end, &1u64.to_ne_bytes()).expect("rung");
            }
            woken(Some(&wake_up)).await;
            let mut again = pin!(woken(Some(&wake_up)));
            assert_eq!(again.as_mut().poll(&mut context), Poll::Pending);
        }
        let mut never = pin!(woken(None));
        assert_eq!(never.as_mut().poll(&mut context), Poll::Pending);
    }
}
