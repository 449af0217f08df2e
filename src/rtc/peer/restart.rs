//! ICE restarts (RFC 8445, section 9): the former session carries media until the new one has a
//! pair.
//!
//! At a restart the WebRTC core forgets the former session at once, and with it the path for DTLS
//! and RTCP; both protocols repeat their datagrams. RTP bypasses the core and continues: it is sent
//! to the address of the former pair, and accepted from every address from which the client has
//! authenticated. This module answers checks of the former session, so that the client keeps its
//! pair as well. The former session ends when the new one has selected a pair, or with the peer
//! when the client's consent has expired.
//!
//! The core negotiates the new session on another thread
//! ([`Negotiator`](super::super::negotiator::Negotiator)).

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::control::NewSession;
use super::super::demux::StunHead;
use super::super::error::RestartError;
use super::super::handle::Reason;
use super::super::metrics::Dropped;
use super::super::negotiator::{Negotiated, Negotiation, Reply, refuse};
use super::super::sdp::{Credentials, RemoteCandidate, plain_offer};
use super::super::stun;
use super::{BRISK, Peer, Turn};
use crate::rate_limit::RetryAfter;

/// An ICE session that was restarted; its pair carries media until the new session has a pair.
#[derive(Debug)]
pub(super) struct FormerSession {
    local: Credentials,
    remote: Credentials,
}

impl FormerSession {
    /// Our user fragment in the former session.
    pub(super) fn ufrag(&self) -> &str {
        &self.local.ufrag
    }

    /// Whether a check with this user name belongs to the former session.
    pub(super) fn is_asked(&self, username: (&[u8], &[u8])) -> bool {
        username == (self.local.ufrag.as_bytes(), self.remote.ufrag.as_bytes())
    }
}

impl Peer {
    /// Begins an ICE restart; returns the core, for the negotiator to negotiate the new session.
    ///
    /// The core comes back with [`Peer::end_restart`]; until then the present session continues.
    /// Returns `None` if the restart is refused, in which case `reply` gets the reason, or if it
    /// has to wait for an earlier restart.
    pub(in crate::rtc) fn begin_restart(
        &mut self,
        session: NewSession,
        reply: Reply,
        turn: &Turn<'_>,
    ) -> Option<(Negotiation, Reply)> {
        if session.remote == self.remote {
            refuse(reply, RestartError::Credentials);
            return None;
        }
        if let Err(RetryAfter(retry_after)) = self.restarts.take(turn.now) {
            refuse(reply, RestartError::TooOften { retry_after });
            return None;
        }
        self.restarts_to_come.push_back((session, reply));
        self.next_restart(turn)
    }

    /// Begins the next waiting restart; `None` if none waits or the negotiator still has the core.
    pub(in crate::rtc) fn next_restart(&mut self, turn: &Turn<'_>) -> Option<(Negotiation, Reply)> {
        if self.parts.core.is_away() {
            return None;
        }
        let (session, reply) = loop {
            let (session, reply) = self.restarts_to_come.pop_front()?;
            if session.remote != self.remote {
                break (session, reply);
            }
            // The previous restart had the same credentials.
            refuse(reply, RestartError::Credentials);
        };
        let candidates = self.within_budget(&session.candidates, turn.now);
        self.versions += 1;
        let offer = plain_offer(
            &self.parts.offer,
            &session.remote,
            &candidates,
            self.versions,
        );
        let negotiation = Negotiation {
            participant: self.parts.participant,
            ufrag: self.parts.local.ufrag.clone(),
            remote: session.remote,
            offer,
            now: turn.now,
            connection: self.parts.core.take()?,
        };
        Some((negotiation, reply))
    }

    /// Whether this peer has lent the core in `negotiated`.
    pub(in crate::rtc) fn awaits(&self, negotiated: &Negotiated) -> bool {
        self.parts.core.is_away() && self.parts.local.ufrag == negotiated.ufrag
    }

    /// Takes the core back from the negotiator and begins the new session; returns our new
    /// credentials, whose user fragment is [`Peer::ufrag`] from now on.
    ///
    /// # Errors
    ///
    /// [`RestartError::Refused`]; the present session then continues, unless the core has panicked.
    pub(in crate::rtc) fn end_restart(
        &mut self,
        negotiated: Negotiated,
        turn: &mut Turn<'_>,
    ) -> Result<Credentials, RestartError> {
        let Some(connection) = negotiated.connection else {
            let faults = &self.parts.metrics.faults_total;
            faults.fetch_add(1, Ordering::Relaxed);
            self.end(Reason::Fault);
            return Err(RestartError::Refused);
        };
        let waited = self.parts.core.put_back(connection);
        if let Some(local) = &negotiated.local {
            self.begin_session(local.clone(), negotiated.remote, turn.now);
        }
        for given in waited {
            self.give(given);
        }
        match &negotiated.local {
            Some(_) => self.timeout(turn),
            None => self.go_on(turn),
        }
        negotiated.local.ok_or(RestartError::Refused)
    }

    /// Continues the present session with the core, after the core has refused to restart.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        if self.ice {
            self.handshake.resume(turn.now);
            self.read_early(turn);
        }
        self.drain(turn);
        self.note_dtls(turn);
    }

    fn begin_session(&mut self, local: Credentials, remote: Credentials, now: Instant) {
        let replaced = FormerSession {
            local: std::mem::replace(&mut self.parts.local, local),
            remote: std::mem::replace(&mut self.remote, remote),
        };
        if self.ice {
            self.former = Some(replaced);
        } else {
            // The replaced session never had a pair, so media still uses the pair of the session
            // before it.
            self.retired.push(replaced.local.ufrag);
        }
        self.ice = false;
        self.path.restart();
        self.nomination = None;
        self.brisk_until = now + BRISK;
    }

    /// Returns those of `candidates` that the rate limit allows. Known addresses of the client do
    /// not count against it, because no check goes to a stranger there.
    pub(super) fn within_budget(
        &mut self,
        candidates: &[RemoteCandidate],
        now: Instant,
    ) -> Vec<RemoteCandidate> {
        let mut allowed = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if self.addresses.contains(&candidate.address) || self.candidates.passes(now) {
                allowed.push(*candidate);
            } else {
                self.dropped(Dropped::Addresses);
            }
        }
        allowed
    }

    /// Ends the former session, if there is one, because the new session has a pair.
    ///
    /// The new pair was checked just now, so the client consents to media there.
    pub(super) fn end_former_session(&mut self, now: Instant) {
        if let Some(former) = self.former.take() {
            self.retired.push(former.local.ufrag);
            self.consent = now;
        }
    }

    /// Whether a check belongs to the former session, is authentic and comes from a known address
    /// of the client.
    pub(super) fn is_of_former_session(
        &self,
        head: &StunHead<'_>,
        from: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let former = self.former.as_ref().zip(head.username);
        former.is_some_and(|(former, username)| {
            former.is_asked(username)
                && self.addresses.contains(&from)
                && stun::is_authentic(datagram, &former.local.pwd, self.parts.crypto.crypto())
        })
    }

    /// Answers a check of the former session, so that the client keeps the session's pair.
    pub(in crate::rtc) fn answer_former_session(
        &mut self,
        head: &StunHead<'_>,
        from: SocketAddr,
        turn: &mut Turn<'_>,
    ) {
        if !self.checks.passes(turn.now) {
            return self.dropped(Dropped::Checks);
        }
        let pwd = self.former.as_ref().map(|former| former.local.pwd.as_str());
        match pwd {
            Some(pwd) => self.answer_check(head, from, pwd, turn),
            None => self.dropped(Dropped::Core),
        }
    }

    /// Takes a user fragment of an ended session, to be removed from the routes; `None` if none is
    /// left.
    pub(in crate::rtc) fn take_retired(&mut self) -> Option<String> {
        self.retired.pop()
    }

    /// All our user fragments by which the routes may find this peer.
    pub(in crate::rtc) fn ufrags(&self) -> impl Iterator<Item = &str> {
        let former = self.former.as_ref().map(FormerSession::ufrag);
        let retired = self.retired.iter().map(String::as_str);
        std::iter::once(self.ufrag()).chain(former).chain(retired)
    }
}

/// Number of ICE restarts that a client may request at once, and the interval at which one more is
/// allowed. A client in trouble retries every few seconds. Each restart costs as much CPU as some
/// hundred packets, though not on the network thread.
pub(super) const RESTARTS_AT_ONCE: u32 = 5;
pub(super) const RESTART_INTERVAL: Duration = Duration::from_secs(5);

/// Number of candidates that are checked at once, over all restarts of a connection, and the
/// interval at which one more is. Each costs up to seven checks to an address that the client may
/// have forged. A moving client has a few new candidates every minute.
pub(super) const CANDIDATES_AT_ONCE: u32 = 60;
pub(super) const CANDIDATE_INTERVAL: Duration = Duration::from_secs(3);
