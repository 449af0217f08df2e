//! The thread on which peers' cores negotiate ICE restarts.
//!
//! A negotiation takes over a millisecond of a processor: SDP is written and read several times. When an office changes
//! its network, hundreds of clients restart at once, and everybody's packets would wait for them. So a peer lets its
//! core go, which comes back negotiated; the two threads share nothing but a ring each way.

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

/// Where the outcome of a restart goes.
pub(super) type Reply = oneshot::Sender<Result<RestartAnswer, RestartError>>;

/// Tells the caller why there is no restart.
pub(super) fn refuse(reply: Reply, error: RestartError) {
    // The caller may have gone.
    let _ = reply.send(Err(error));
}

/// A core that is to negotiate, and what.
pub(super) struct Negotiation {
    pub(super) participant: ParticipantId,
    /// Our user fragment in the present session: it tells two peers of one participant apart.
    pub(super) ufrag: String,
    /// The client's credentials in the new one.
    pub(super) remote: Credentials,
    pub(super) offer: String,
    pub(super) now: Instant,
    pub(super) connection: Box<RTCPeerConnection>,
}

/// A core that has negotiated.
pub(super) struct Negotiated {
    pub(super) participant: ParticipantId,
    pub(super) ufrag: String,
    pub(super) remote: Credentials,
    /// Our credentials in the new session; `None` if the core has refused it.
    pub(super) local: Option<Credentials>,
    /// `None` if the core has panicked.
    pub(super) connection: Option<Box<RTCPeerConnection>>,
}

impl Negotiation {
    /// Negotiates.
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

/// The network thread's end of that thread, which ends with it.
pub(super) struct Negotiator {
    /// `None` once the thread is to end.
    to_do: Option<Producer<(Negotiation, Reply)>>,
    done: Consumer<(Negotiated, Reply)>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl Negotiator {
    /// Starts the thread.
    ///
    /// - `wake`: is written to when a core is back.
    ///
    /// # Errors
    ///
    /// The system's, when it gives no thread.
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

    /// Whether it takes one more.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < NEGOTIATIONS
    }

    /// Has a core negotiate; only while there is room. The network thread does not wait for it.
    pub(super) fn begin(&mut self, negotiation: Negotiation, reply: Reply) {
        let Some(to_do) = &mut self.to_do else {
            return;
        };
        // The ring holds as many as may be under way. A reply that is dropped says that the peer is gone.
        let is_pushed = to_do.push((negotiation, reply)).is_ok();
        self.under_way += usize::from(is_pushed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Whether a core is back.
    pub(super) fn has_next(&self) -> bool {
        !self.done.is_empty()
    }

    /// The next core that is back.
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
            // Its panics are caught, one negotiation at a time.
            let _ = thread.join();
        }
    }
}

fn work(
    mut jobs: Consumer<(Negotiation, Reply)>,
    mut results: Producer<(Negotiated, Reply)>,
    wake: &OwnedFd,
) {
    // The network thread wakes this one after it has dropped its end; nobody waits then for what is left.
    while !jobs.is_abandoned() {
        let Ok((negotiation, reply)) = jobs.pop() else {
            thread::park();
            continue;
        };
        // There is a place for each that is under way, unless nobody takes them any more.
        let _ = results.push((negotiation.run(), reply));
        // Only fails when the counter is full, and then the network thread is awake.
        let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
    }
}
