//! The negotiator: a thread on which peers' WebRTC cores negotiate ICE restarts.
//!
//! A negotiation takes over a millisecond of CPU, because SDP is written and read several times.
//! When an office changes its network, hundreds of clients restart at once, and all packets would
//! be delayed. So a peer hands its core to this thread and gets it back negotiated; the two threads
//! share only a ring each way.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mixer::ParticipantId;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::sdp::RTCSessionDescription;
use tokio::sync::oneshot;

use super::accept::credentials;
use super::error::RestartError;
use super::sdp::{Credentials, RestartAnswer};
use crate::queues::{Consumer, NEGOTIATIONS, Producer, ring};

/// Where the outcome of a restart is sent.
pub(super) type Reply = oneshot::Sender<Result<RestartAnswer, RestartError>>;

/// Sends the caller the reason why a restart was refused.
pub(super) fn refuse(reply: Reply, error: RestartError) {
    // The caller may have given up.
    let _ = reply.send(Err(error));
}

/// A core that is to negotiate a restart, with the new session's parameters.
pub(super) struct Negotiation {
    pub(super) participant: ParticipantId,
    /// Our user fragment in the present session, which tells two peers of one participant apart.
    pub(super) ufrag: String,
    /// The client's credentials in the new session.
    pub(super) remote: Credentials,
    pub(super) offer: String,
    pub(super) now: Instant,
    pub(super) connection: Box<RTCPeerConnection>,
}

/// A core that has negotiated a restart.
pub(super) struct Negotiated {
    pub(super) participant: ParticipantId,
    pub(super) ufrag: String,
    pub(super) remote: Credentials,
    /// Our credentials in the new session; `None` if the core refused it.
    pub(super) local: Option<Credentials>,
    /// `None` if the core has panicked.
    pub(super) connection: Option<Box<RTCPeerConnection>>,
}

impl Negotiation {
    /// Negotiates the restart.
    pub(super) fn run(self) -> Negotiated {
        let (now, mut connection) = (self.now, self.connection);
        let negotiated = catch_unwind(AssertUnwindSafe(move || {
            let local = negotiate(&mut connection, self.offer, now);
            (local, connection)
        }));
        let (local, connection) = negotiated.map_or((None, None), |(local, it)| (local, Some(it)));
        Negotiated {
            participant: self.participant,
            ufrag: self.ufrag,
            remote: self.remote,
            local,
            connection,
        }
    }
}

fn negotiate(
    connection: &mut RTCPeerConnection,
    offer: String,
    now: Instant,
) -> Option<Credentials> {
    let offer = RTCSessionDescription::offer(offer).ok()?;
    connection.set_remote_description(now, offer).ok()?;
    let answer = connection.create_answer(None).ok()?;
    connection.set_local_description(now, answer).ok()?;
    credentials(&connection.local_description()?.sdp)
}

/// The network thread's handle of the negotiator thread, which ends when the handle is dropped.
pub(super) struct Negotiator {
    /// `None` once the negotiator thread is to end.
    to_do: Option<Producer<(Negotiation, Reply)>>,
    done: Consumer<(Negotiated, Reply)>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl Negotiator {
    /// Starts the negotiator thread.
    ///
    /// - `wake`: eventfd that is written when a core is back.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    pub(super) fn start(wake: Arc<OwnedFd>) -> io::Result<Negotiator> {
        let (to_do, jobs) = ring(NEGOTIATIONS);
        let (results, done) = ring(NEGOTIATIONS);
        let thread = thread::Builder::new()
            .name("negotiator".to_owned())
            .spawn(move || work(jobs, results, &wake))?;
        Ok(Negotiator {
            to_do: Some(to_do),
            done,
            under_way: 0,
            thread: Some(thread),
        })
    }

    /// Whether one more negotiation can begin.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < NEGOTIATIONS
    }

    /// Starts a negotiation, if there is room. The network thread does not wait for it.
    pub(super) fn begin(&mut self, negotiation: Negotiation, reply: Reply) {
        let Some(to_do) = &mut self.to_do else {
            return;
        };
        // The ring holds as many as may be in progress. A dropped reply tells the caller that the
        // peer is gone.
        let is_pushed = to_do.push((negotiation, reply)).is_ok();
        self.under_way += usize::from(is_pushed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Whether a negotiated core is back.
    pub(super) fn has_next(&self) -> bool {
        !self.done.is_empty()
    }

    /// Takes the next negotiated core.
    pub(super) fn next(&mut self) -> Option<(Negotiated, Reply)> {
        let next = self.done.pop().ok()?;
        self.under_way -= 1;
        Some(next)
    }
}

impl Drop for Negotiator {
    fn drop(&mut self) {
        self.to_do = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Panics of single negotiations are caught on the thread.
            let _ = thread.join();
        }
    }
}

fn work(
    mut jobs: Consumer<(Negotiation, Reply)>,
    mut results: Producer<(Negotiated, Reply)>,
    wake: &OwnedFd,
) {
    // The network thread wakes this one after dropping its end; unfinished negotiations are then
    // not needed.
    while !jobs.is_abandoned() {
        let Ok((negotiation, reply)) = jobs.pop() else {
            thread::park();
            continue;
        };
        // The ring has a place for each negotiation in progress, unless its other end is gone.
        let _ = results.push((negotiation.run(), reply));
        // The write fails only if the counter is full, and then the network thread is awake.
        let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
    }
}
