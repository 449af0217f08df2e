//! ICE restarts (RFC 8445, 9): the former session carries the media until the new one has a pair.
//!
//! The core forgets the former session at once, and with it the way for DTLS and RTCP; both repeat themselves. RTP goes
//! around the core, so it goes on as before: to the former pair's address, and from every address that has
//! authenticated. Checks of the former session are answered here, so that the client keeps its pair as well. It all ends
//! when the new session has selected a pair, or when the consent that the client gave to the former one has expired.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc::peer_connection::sdp::RTCSessionDescription;

use super::super::accept::credentials;
use super::super::demux::StunHead;
use super::super::error::RestartError;
use super::super::handle::NewSession;
use super::super::metrics::Dropped;
use super::super::sdp::{Credentials, RemoteCandidate, plain_offer};
use super::super::stun;
use super::{BRISK, Peer, Turn};
use crate::rate_limit::RetryAfter;

/// The ICE session whose pair carries the media while the session that follows it has none.
#[derive(Debug)]
pub(super) struct FormerSession {
    local: Credentials,
    remote: Credentials,
}

impl FormerSession {
    /// Our user fragment in it.
    pub(super) fn ufrag(&self) -> &str {
        &self.local.ufrag
    }

    /// Whether a check belongs to it.
    pub(super) fn is_asked(&self, username: (&[u8], &[u8])) -> bool {
        username == (self.local.ufrag.as_bytes(), self.remote.ufrag.as_bytes())
    }
}

impl Peer {
    /// Restarts ICE; says our new credentials, which are [`Peer::ufrag`] from now on.
    ///
    /// # Errors
    ///
    /// See [`RestartError`]; the present session is then untouched.
    pub(in crate::rtc) fn restart(
        &mut self,
        session: &NewSession,
        turn: &mut Turn<'_>,
    ) -> Result<Credentials, RestartError> {
        if session.remote == self.remote {
            return Err(RestartError::Credentials);
        }
        self.restarts
            .take(turn.now)
            .map_err(|RetryAfter(retry_after)| RestartError::TooOften { retry_after })?;
        let candidates = self.within_budget(&session.candidates, turn.now);
        self.versions += 1;
        let offer = plain_offer(
            &self.parts.offer,
            &session.remote,
            &candidates,
            self.versions,
        );
        let local = self
            .renegotiate(turn.now, offer)
            .ok_or(RestartError::Refused)?;
        let replaced = FormerSession {
            local: std::mem::replace(&mut self.parts.local, local.clone()),
            remote: std::mem::replace(&mut self.remote, session.remote.clone()),
        };
        if self.ice {
            self.former = Some(replaced);
        } else {
            // It never had a pair: what there is belongs to the session before it.
            self.retired.push(replaced.local.ufrag);
        }
        self.ice = false;
        self.path.restart();
        self.nomination = None;
        self.brisk_until = turn.now + BRISK;
        self.timeout(turn);
        Ok(local)
    }

    fn renegotiate(&mut self, now: Instant, offer: String) -> Option<Credentials> {
        let pc = &mut self.parts.pc;
        let offer = RTCSessionDescription::offer(offer).ok()?;
        pc.set_remote_description(now, offer).ok()?;
        let answer = pc.create_answer(None).ok()?;
        pc.set_local_description(now, answer).ok()?;
        credentials(&pc.local_description()?.sdp)
    }

    /// The candidates that may be checked. Those where the client has been seen cost nothing: nobody else is asked there.
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

    /// The new session has a pair: the former one is over.
    ///
    /// The pair was checked just now, so the client consents to what it is sent there.
    pub(super) fn end_former_session(&mut self, now: Instant) {
        if let Some(former) = self.former.take() {
            self.retired.push(former.local.ufrag);
            self.consent = now;
        }
    }

    /// Whether a check of the former session is authentic and comes from an address that is known.
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

    /// Answers a check of the former session, whose pair the client thereby keeps.
    pub(in crate::rtc) fn answer_former_session(
        &mut self,
        head: &StunHead<'_>,
        from: SocketAddr,
        turn: &mut Turn<'_>,
    ) {
        if !self.checks.passes(turn.now) {
            return self.dropped(Dropped::Checks);
        }
        let crypto = self.parts.crypto.crypto();
        let answer = self
            .former
            .as_ref()
            .and_then(|former| stun::success(head.transaction, from, &former.local.pwd, crypto));
        match answer {
            Some(answer) => turn.out.datagrams.push(from, &answer),
            None => self.dropped(Dropped::Core),
        }
    }

    /// User fragments that no longer lead here, since this was last asked.
    pub(in crate::rtc) fn take_retired(&mut self) -> Option<String> {
        self.retired.pop()
    }

    /// Our user fragments that still lead here.
    pub(in crate::rtc) fn ufrags(&self) -> impl Iterator<Item = &str> {
        let former = self.former.as_ref().map(FormerSession::ufrag);
        let retired = self.retired.iter().map(String::as_str);
        std::iter::once(self.ufrag()).chain(former).chain(retired)
    }
}

/// Restarts at once, and how often one more. A client in trouble tries again every few seconds. Each costs this thread
/// as much as some hundred packets.
pub(super) const RESTARTS_AT_ONCE: u32 = 5;
pub(super) const RESTART_INTERVAL: Duration = Duration::from_secs(5);

/// Candidates of a session that are checked at once, over all restarts, and how often one more. Each costs up to seven
/// checks to an address that the client may have made up. A client on the move has a few new ones every minute.
pub(super) const CANDIDATES_AT_ONCE: u32 = 60;
pub(super) const CANDIDATE_INTERVAL: Duration = Duration::from_secs(3);
