//! Hands what the mixers and the network report to the machine, and the time.
//!
//! The network thread rings when it has something. The mixers are polled, since what they report is only shown: a turn
//! every 20 ms is finer than anybody can see a light go on. Where there is a floor a turn comes every 3 ms, so that its
//! timers, looked at every 20 ms, are not late.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::Conference;
use super::machine::Input;

/// How often the links are emptied at least: each time costs as much as the room of a few listeners.
const TURN: Duration = Duration::from_millis(20);

/// How often the links are emptied at least while anybody is in a room with a floor.
const FLOOR_TURN: Duration = Duration::from_millis(3);

/// How long the lock is left to others at least, however often the network thread rings.
const LEAST_TURN: Duration = Duration::from_millis(1);

/// Events of all mixers taken in one turn, and of the network, so that a flood cannot hold the lock.
const MOST_EVENTS: usize = 4_096;

/// Runs until `stop` changes or its sender is gone, or until [`Conference::lost`].
pub async fn pump(conference: Conference, mut stop: watch::Receiver<bool>) {
    let bell = conference.lock().performer().network.something_happened();
    // Not a pipe, but read in the same way, and the network thread never waits in the kernel for who reads it.
    let bell = match bell.and_then(pipe::Receiver::from_owned_fd_unchecked) {
        Ok(bell) => Some(bell),
        Err(error) => {
            tracing::warn!(%error, "the network thread's events are polled");
            None
        }
    };
    loop {
        let ended = Instant::now();
        let turn = match conference.lock().next_round() {
            Some(_) => FLOOR_TURN,
            None => TURN,
        };
        tokio::select! {
            () = tokio::time::sleep(turn) => {}
            () = rung(bell.as_ref()) => {
                tokio::time::sleep_until((ended + LEAST_TURN).into()).await;
            }
            _ = stop.changed() => return conference.close_peers().await,
        }
        let now = Instant::now();
        if !conference.turn(now) {
            tracing::error!(
                "a mixer or the network thread has ended: nobody can be heard any more"
            );
            conference.inner.lost.send_replace(true);
            return;
        }
        if now >= conference.lock().next_report() {
            conference.report(now);
        }
    }
}

/// Waits until the network thread has rung since this was last awaited; for ever without a bell.
async fn rung(bell: Option<&pipe::Receiver>) {
    let Some(bell) = bell else {
        return std::future::pending().await;
    };
    loop {
        // Fails only when the runtime ends.
        if bell.readable().await.is_err() {
            return std::future::pending().await;
        }
        match bell.try_read(&mut [0; 8]) {
            Ok(1..) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return std::future::pending().await,
        }
    }
}

impl Conference {
    /// Takes in what the mixers and the network have to say; whether both are there to say anything.
    pub(super) fn turn(&self, now: Instant) -> bool {
        let mut core = self.lock();
        let is_whole = core.performer().is_whole();
        for _ in 0..MOST_EVENTS {
            let Some(event) = core.performer().next_mixer_event() else {
                break;
            };
            core.handle(Input::Mixer(event), now);
        }
        for _ in 0..MOST_EVENTS {
            let Some(event) = core.performer().network.next_event() else {
                break;
            };
            core.handle(Input::Network(event), now);
        }
        core.handle(Input::Time, now);
        is_whole
    }

    /// Tells levels, and shows the governors how busy the mixers are.
    pub(super) fn report(&self, now: Instant) {
        let mut core = self.lock();
        let busy_ns = core.performer().busy_ns();
        core.handle(Input::Load(busy_ns), now);
    }

    /// Waits until the network thread has been told to close every peer, but not for ever.
    async fn close_peers(&self) {
        for _ in 0..MOST_CLOSING_TURNS {
            if self.lock().performer().network.retry() {
                return;
            }
            tokio::time::sleep(CLOSING_TURN).await;
        }
    }
}

/// How often the link to the network thread is tried at the end of the server, and how many times.
const CLOSING_TURN: Duration = Duration::from_millis(5);
const MOST_CLOSING_TURNS: u32 = 200;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[tokio::test]
    async fn bell_is_heard_once_however_often_it_was_rung() {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK).expect("a descriptor");
        let other_end = descriptor.try_clone().expect("another");
        let bell = pipe::Receiver::from_owned_fd_unchecked(descriptor).expect("it can be awaited");
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            for _ in 0..5 {
                rustix::io::write(&other_end, &1u64.to_ne_bytes()).expect("rung");
            }
            rung(Some(&bell)).await;
            let mut again = pin!(rung(Some(&bell)));
            assert_eq!(again.as_mut().poll(&mut context), Poll::Pending);
        }
        let mut never = pin!(rung(None));
        assert_eq!(never.as_mut().poll(&mut context), Poll::Pending);
    }
}
