//! The negotiator: a thread on which the WebRTC core negotiates ICE restarts.
//!
//! A negotiation takes over a millisecond of CPU, because SDP is written and read several times.
//! When an office changes its network, hundreds of clients restart ICE at once, which would delay
//! all packets. So a peer lends its peer connection to this thread and gets it back negotiated. The
//! two threads share only one ring in each direction.

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

/// Sends the reason why a restart was refused to the caller who asked for it.
pub(super) fn refuse(reply: Reply, error: RestartError) {
    // The caller may no longer wait for the answer.
    let _ = reply.send(Err(error));
}

/// A peer connection that is to negotiate an ICE restart, with the new session's parameters.
pub(super) struct Negotiation {
    pub(super) participant: ParticipantId,
    /// Our user fragment in the present session, which tells successive peers of one participant
    /// apart.
    pub(super) ufrag: String,
    /// The client's credentials in the new session.
    pub(super) remote: Credentials,
    pub(super) offer: String,
    pub(super) now: Instant,
    pub(super) connection: Box<RTCPeerConnection>,
}

/// A peer connection on its way back, after the negotiation of an ICE restart.
pub(super) struct Negotiated {
    pub(super) participant: ParticipantId,
    pub(super) ufrag: String,
    pub(super) remote: Credentials,
    /// Our credentials in the new session; `None` if the WebRTC core refused the restart.
    pub(super) local: Option<Credentials>,
    /// The peer connection; `None` if the WebRTC core has panicked.
    pub(super) connection: Option<Box<RTCPeerConnection>>,
}

impl Negotiation {
    /// Negotiates the restart. A panic of the WebRTC core is caught.
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

/// The network thread's handle to the negotiator thread, which ends when the handle is dropped.
pub(super) struct Negotiator {
    /// Negotiations for the thread; `None` once the thread is to end.
    to_do: Option<Producer<(Negotiation, Reply)>>,
    done: Consumer<(Negotiated, Reply)>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl Negotiator {
    /// Starts the negotiator thread.
    ///
    /// - `wake`: eventfd that is written when a negotiated peer connection is ready to be taken
    ///   back.
    ///
    /// # Errors
    ///
    /// Returns an error if the system refuses a thread.
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

    /// Whether one more negotiation can be started.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < NEGOTIATIONS
    }

    /// Starts a negotiation, if there is room. The network thread does not wait for it.
    pub(super) fn begin(&mut self, negotiation: Negotiation, reply: Reply) {
        let Some(to_do) = &mut self.to_do else {
            return;
        };
        // The ring has a place for every negotiation that may be in progress. If it were full,
        // dropping `reply` would tell the caller that the peer is gone.
        let is_pushed = to_do.push((negotiation, reply)).is_ok();
        self.under_way += usize::from(is_pushed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Whether a negotiated peer connection is ready to be taken back.
    pub(super) fn has_next(&self) -> bool {
        !self.done.is_empty()
    }

    /// Takes the next negotiated peer connection, if one is ready.
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
    // To end this thread, the network thread drops its end of the ring and then unparks it;
    // unfinished negotiations are not needed then.
    while !jobs.is_abandoned() {
        let Ok((negotiation, reply)) = jobs.pop() else {
            thread::park();
            continue;
        };
        // The ring has a place for every negotiation in progress; the push fails only if the
        // network thread has ended.
        let _ = results.push((negotiation.run(), reply));
        // The write fails only if the eventfd's counter is full, and then the network thread is
        // awake.
        let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
    }
}
