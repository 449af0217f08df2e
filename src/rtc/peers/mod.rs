//! The table of all peers of the media socket, with the indices by which peers are found.

mod fanout;
mod participant_map;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use participant_map::ParticipantMap;
use slab::Slab;

use super::control::NewSession;
use super::demux::{Protocol, StunClass, StunHead, classify};
use super::error::RestartError;
use super::handle::{Reason, RtcEvent};
use super::metrics::{Dropped, RtcMetrics};
use super::negotiator::{Negotiated, Negotiation, Reply};
use super::peer::{Check, Peer, Turn};
use super::routes::Routes;
use super::sdp::Credentials;
use super::timers::Timers;
use super::turn_output::TurnOutput;

/// All peers, found by participant, by user fragment, by address or by a check in flight.
pub(super) struct Peers {
    entries: Slab<Entry>,
    keys: ParticipantMap,
    routes: Routes,
    timers: Timers,
    metrics: Arc<RtcMetrics>,
    /// Output of the peers that the network thread has not sent or passed on yet.
    pub(super) out: TurnOutput,
}

/// One peer, and the time of its earliest entry in the queue of deadlines.
struct Entry {
    peer: Box<Peer>,
    queued: Instant,
}

impl Peers {
    /// Creates an empty table.
    pub(super) fn new(metrics: Arc<RtcMetrics>) -> Peers {
        Peers {
            entries: Slab::new(),
            keys: ParticipantMap::default(),
            routes: Routes::default(),
            timers: Timers::default(),
            metrics,
            out: TurnOutput::default(),
        }
    }

    /// The participants that have a peer.
    pub(super) fn participants(&self) -> Vec<ParticipantId> {
        self.keys.keys().copied().collect()
    }

    /// When [`Peers::serve_deadlines`] should be called next; `None` if there is no peer.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Adds and starts a peer; replaces an earlier peer of the same participant.
    pub(super) fn start(&mut self, peer: Box<Peer>, now: Instant) {
        if let Some(&key) = self.keys.get(&peer.participant()) {
            self.remove(key, now);
        }
        let entry = self.entries.vacant_entry();
        let key = entry.key();
        self.keys.insert(peer.participant(), key);
        self.routes.add_ufrag(peer.ufrag(), key);
        entry.insert(Entry { peer, queued: now });
        self.timers.add(now, key);
        self.metrics
            .peers
            .store(self.entries.len() as u64, Ordering::Relaxed);
        self.with(key, now, |peer, turn| peer.start(turn));
    }

    /// Closes and removes a participant's peer, if there is one, without reporting an event.
    pub(super) fn close(&mut self, participant: ParticipantId, now: Instant) {
        if let Some(&key) = self.keys.get(&participant) {
            self.remove(key, now);
        }
    }

    /// Begins an ICE restart of a participant's peer; returns the peer's core, for the negotiator.
    pub(super) fn begin_restart(
        &mut self,
        participant: ParticipantId,
        session: NewSession,
        reply: Reply,
        now: Instant,
    ) -> Option<(Negotiation, Reply)> {
        // If there is no such peer, `reply` is dropped, which tells the caller.
        let begun = self.with_participant(participant, now, |peer, turn| {
            peer.begin_restart(session, reply, turn)
        });
        begun.flatten()
    }

    /// Begins the next waiting restart of a participant's peer; returns the peer's core, for the
    /// negotiator.
    pub(super) fn next_restart(
        &mut self,
        participant: ParticipantId,
        now: Instant,
    ) -> Option<(Negotiation, Reply)> {
        self.with_participant(participant, now, |peer, turn| peer.next_restart(turn))?
    }

    /// Gives a negotiated core back to its peer; returns our new credentials.
    pub(super) fn end_restart(
        &mut self,
        negotiated: Negotiated,
        now: Instant,
    ) -> Result<Credentials, RestartError> {
        let key = *self
            .keys
            .get(&negotiated.participant)
            .filter(|&&key| self.entries[key].peer.awaits(&negotiated))
            .ok_or(RestartError::Unknown)?;
        let before: Vec<String> = self.entries[key].peer.ufrags().map(str::to_owned).collect();
        let restarted = self.with(key, now, |peer, turn| peer.end_restart(negotiated, turn));
        let local = restarted.unwrap_or(Err(RestartError::Refused));
        if self.entries.contains(key) {
            let local = local?;
            self.routes.add_ufrag(&local.ufrag, key);
            return Ok(local);
        }
        // The peer has ended during the restart; it may have been in either session at that moment.
        for ufrag in before {
            self.routes.remove_ufrag(&ufrag);
        }
        local
    }

    /// Passes a datagram to the peer it belongs to; drops it if there is none.
    pub(super) fn dispatch(&mut self, from: SocketAddr, datagram: &mut [u8], now: Instant) {
        match classify(datagram) {
            None => self.metrics.count(Dropped::Malformed),
            Some(Protocol::Stun(head)) => self.dispatch_check(&head, from, datagram, now),
            Some(Protocol::Dtls) => {
                self.with_address(from, now, |peer, turn| peer.dtls(from, datagram, turn));
            }
            Some(Protocol::Rtp { .. }) => {
                self.with_address(from, now, |peer, turn| peer.rtp(datagram, turn));
            }
            Some(Protocol::Rtcp { ssrc }) => {
                self.with_address(from, now, |peer, turn| {
                    peer.rtcp(from, ssrc, datagram, turn)
                });
            }
        }
    }

    /// Runs `act` on the peer that the address `from` belongs to; counts a drop if there is none.
    fn with_address(
        &mut self,
        from: SocketAddr,
        now: Instant,
        act: impl FnOnce(&mut Peer, &mut Turn<'_>),
    ) {
        match self.routes.peer_at(from) {
            Some(key) => self.with(key, now, act).unwrap_or(()),
            None => self.metrics.count(Dropped::Stranger),
        }
    }

    /// Passes a check or an answer to its peer. A check is routed by our user fragment in it, from
    /// any address; an answer by our transaction id and the address that was checked.
    fn dispatch_check(
        &mut self,
        head: &StunHead<'_>,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        let key = match head.class {
            StunClass::Request => head
                .username
                .and_then(|(ours, _)| self.routes.peer_of_ufrag(ours)),
            StunClass::Success => self.routes.take_check(&head.transaction, from),
            StunClass::Error => None,
        };
        let holder = self
            .routes
            .peer_at(from)
            .filter(|&holder| Some(holder) != key);
        let is_held = holder
            .and_then(|holder| self.entries.get(holder))
            .is_some_and(|holder| holder.peer.holds(from, now));
        let known = key.and_then(|key| Some((key, self.entries.get_mut(key)?)));
        let Some((key, entry)) = known else {
            return self.metrics.count(Dropped::Unauthenticated);
        };
        match entry.peer.authenticate(head, from, datagram) {
            Check::Refused => return self.metrics.count(Dropped::Unauthenticated),
            Check::Known => {}
            Check::FormerSession => {
                self.with(key, now, |peer, turn| {
                    peer.answer_former_session(head, from, turn);
                });
                return;
            }
            // The source address of a check can be forged, and media of another client goes to this
            // address. The source of an answer cannot: the answer contains a transaction id that
            // only the owner of the address has seen. So the check is answered and the address is
            // checked in turn; the address changes owners when the client answers from there.
            Check::NewAddress if head.class == StunClass::Request && is_held => {
                if !entry.peer.claim(from, now) {
                    return self.metrics.count(Dropped::Addresses);
                }
            }
            Check::NewAddress => {
                if !entry.peer.add_address(from, now) {
                    return self.metrics.count(Dropped::Addresses);
                }
                if let Some(oldest) = entry.peer.drop_oldest_address() {
                    self.routes.remove_address(oldest, key);
                }
                let before = self.routes.peer_at(from).filter(|&before| before != key);
                if let Some(before) = before.and_then(|before| self.entries.get_mut(before)) {
                    before.peer.remove_address(from);
                }
                self.routes.add_address(from, key);
            }
        }
        self.with(key, now, |peer, turn| {
            peer.check(head, from, datagram, turn)
        });
    }

    /// Calls the peers whose deadline has come.
    pub(super) fn serve_deadlines(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.pop_due(now) {
            let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.queued == at) else {
                continue;
            };
            let deadline = entry.peer.deadline();
            // Later than any deadline in the queue, so that one of the two branches queues the peer
            // again.
            entry.queued = now + NEVER;
            if deadline <= now {
                self.with(key, now, |peer, turn| peer.timeout(turn));
            } else {
                self.queue_deadline(key);
            }
        }
    }

    /// Runs `act` on a participant's peer, if there is one.
    pub(super) fn with_participant<R>(
        &mut self,
        participant: ParticipantId,
        now: Instant,
        act: impl FnOnce(&mut Peer, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let key = *self.keys.get(&participant)?;
        self.with(key, now, act)
    }

    /// Runs `act` on a peer, then handles the results: routes for the sent checks, the next
    /// deadline, and the removal of a peer that has ended.
    ///
    /// A panic of the core on one peer's input ends only that peer.
    fn with<R>(
        &mut self,
        key: usize,
        now: Instant,
        act: impl FnOnce(&mut Peer, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let peer = &mut self.entries.get_mut(key)?.peer;
        let out = &mut self.out;
        let result = catch_unwind(AssertUnwindSafe(|| act(peer, &mut Turn { now, key, out })));
        for (transaction, asked) in self.out.checks.drain(..) {
            self.routes.add_check(transaction, asked, now);
        }
        while let Some(ufrag) = self.entries[key].peer.take_retired() {
            self.routes.remove_ufrag(&ufrag);
        }
        let fate = if result.is_ok() {
            self.entries[key].peer.fate()
        } else {
            self.metrics.faults_total.fetch_add(1, Ordering::Relaxed);
            Some(Reason::Fault)
        };
        match fate {
            None => self.queue_deadline(key),
            Some(reason) => {
                let participant = self.entries[key].peer.participant();
                self.remove(key, now);
                self.out
                    .events
                    .push_back(RtcEvent::Gone(participant, reason));
            }
        }
        result.ok()
    }

    fn queue_deadline(&mut self, key: usize) {
        let entry = &mut self.entries[key];
        let deadline = entry.peer.deadline();
        if deadline < entry.queued {
            entry.queued = deadline;
            self.timers.add(deadline, key);
        }
    }

    fn remove(&mut self, key: usize, now: Instant) {
        let Entry { mut peer, .. } = self.entries.remove(key);
        self.keys.remove(&peer.participant());
        for ufrag in peer.ufrags() {
            self.routes.remove_ufrag(ufrag);
        }
        for &address in peer.addresses() {
            self.routes.remove_address(address, key);
        }
        self.metrics
            .peers
            .store(self.entries.len() as u64, Ordering::Relaxed);
        let out = &mut self.out;
        // Closing calls the core, which may have just panicked on this peer.
        let closed = catch_unwind(AssertUnwindSafe(move || {
            peer.close(&mut Turn { now, key, out })
        }));
        if closed.is_err() {
            self.metrics.faults_total.fetch_add(1, Ordering::Relaxed);
        }
        self.out.checks.clear();
    }
}

/// Added to the present time, gives a time beyond every deadline.
const NEVER: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
