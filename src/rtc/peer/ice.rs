//! The peer's ICE: connectivity checks, nominations, candidates, consent (RFC 8445, RFC 7675).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc::peer_connection::state::RTCIceConnectionState;
use rtc::peer_connection::transport::RTCIceCandidateInit;

use super::super::demux::{StunClass, StunHead};
use super::super::handle::{Reason, RtcEvent};
use super::super::metrics::Dropped;
use super::super::sdp::{MAX_CANDIDATES, RemoteCandidate};
use super::super::stun;
use super::{CoreInput, Peer, Stage, Turn};

/// The result of authenticating a connectivity check or the answer to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rtc) enum Check {
    /// The message is not from the client.
    Refused,
    /// The message is from the client, at an address from which the client has authenticated
    /// before.
    Known,
    /// The message is from the client, at a new address, which has to be added to the routes.
    NewAddress,
    /// The message is a check of the client in the former ICE session, from a known address; see
    /// [`FormerSession`](super::restart::FormerSession).
    FormerSession,
}

impl Peer {
    /// Authenticates a connectivity check, or the answer to one, before it is processed.
    pub(in crate::rtc) fn authenticate(
        &self,
        head: &StunHead<'_>,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Check {
        let password = match head.class {
            StunClass::Request => {
                let ours = self.parts.local.ufrag.as_bytes();
                if head.username != Some((ours, self.remote.ufrag.as_bytes())) {
                    return match self.is_of_former_session(head, from, datagram) {
                        true => Check::FormerSession,
                        false => Check::Refused,
                    };
                }
                &self.parts.local.pwd
            }
            StunClass::Success => &self.remote.pwd,
            StunClass::Error => return Check::Refused,
        };
        if !stun::is_authentic(datagram, password, self.parts.crypto.crypto()) {
            Check::Refused
        } else if self.addresses.contains(&from) {
            Check::Known
        } else {
            Check::NewAddress
        }
    }

    /// Adds a new address of the client; returns false if the limit on addresses does not allow it.
    pub(in crate::rtc) fn add_address(&mut self, address: SocketAddr, now: Instant) -> bool {
        let allowed = self.claim(address, now);
        if allowed {
            self.claims.retain(|claimed| *claimed != address);
            self.addresses.push(address);
        }
        allowed
    }

    /// Notes that a check of this client came from an address that another client uses; returns
    /// false if the limit on addresses does not allow it.
    pub(in crate::rtc) fn claim(&mut self, address: SocketAddr, now: Instant) -> bool {
        if self.claims.contains(&address) {
            return true;
        }
        let allowed = self.moves.passes(now);
        if allowed {
            if self.claims.len() == MAX_ADDRESSES as usize {
                self.claims.remove(0);
            }
            self.claims.push(address);
        }
        allowed
    }

    /// Whether this peer sends its media to `address` and the client has recently consented to
    /// that.
    pub(in crate::rtc) fn holds(&self, address: SocketAddr, now: Instant) -> bool {
        !matches!(self.stage, Stage::Connecting(_))
            && self.path.address() == Some(address)
            && now < self.consent + self.parts.disconnected_after
    }

    /// Removes and returns the oldest address of the client, if the client has more than
    /// [`MAX_ADDRESSES`]: a moving client has long left it. Never removes the address that media
    /// goes to.
    pub(in crate::rtc) fn drop_oldest_address(&mut self) -> Option<SocketAddr> {
        if self.addresses.len() <= MAX_ADDRESSES as usize {
            return None;
        }
        let path = self.path.address();
        let oldest = self.addresses.iter().position(|at| path != Some(*at))?;
        Some(self.addresses.remove(oldest))
    }

    /// Removes an address, because another peer has authenticated from it since.
    pub(in crate::rtc) fn remove_address(&mut self, address: SocketAddr) {
        self.addresses.retain(|known| *known != address);
    }

    /// Processes an authenticated check of the client, or its authenticated answer to a check of
    /// ours.
    pub(in crate::rtc) fn check(
        &mut self,
        head: &StunHead<'_>,
        from: SocketAddr,
        datagram: &[u8],
        turn: &mut Turn<'_>,
    ) {
        if head.class == StunClass::Request && !self.checks.passes(turn.now) {
            return self.dropped(Dropped::Checks);
        }
        if self.parts.core.is_away() {
            return self.check_without_core(head, from, turn);
        }
        self.answered = None;
        let is_back = head.class == StunClass::Request && self.path.asked_from(from);
        if head.class == StunClass::Success {
            let silent = turn.now.saturating_duration_since(self.consent);
            if self.stage == Stage::Up && self.ice && self.path.answered(from, silent) {
                tracing::debug!(
                    participant = %format_args!("{:08x}", self.parts.participant.0),
                    address = %from,
                    "the client is reached at another address"
                );
            }
            // The core answers the checks that it gets at the address they came from.
            self.read(self.path.inward(from), datagram, turn.now);
        } else if is_back && head.nominates {
            // The core would answer the repeated nomination of the selected pair, but not check the
            // address again.
            let plain = self.without_nomination(datagram);
            self.read(from, plain.as_deref().unwrap_or(datagram), turn.now);
        } else {
            self.read(from, datagram, turn.now);
        }
        self.drain(turn);
        self.path.was_called_back();
        match head.class {
            StunClass::Request if head.nominates && self.answered != Some(head.transaction) => {
                // The core did not answer: it has not checked this pair itself, or it is
                // controlling.
                if let Some(plain) = self.without_nomination(datagram) {
                    self.read(from, &plain, turn.now);
                }
                self.nomination = Some((from, datagram.to_vec()));
                self.drain(turn);
            }
            StunClass::Success => {
                // Only an answer from the address that media goes to is consent to getting media.
                if self.path.address().is_none_or(|path| path == from) {
                    self.consent = turn.now;
                }
                if let Some((_, nomination)) =
                    self.nomination.take_if(|(nominated, _)| *nominated == from)
                {
                    self.read(from, &nomination, turn.now);
                    self.drain(turn);
                }
            }
            _ => {}
        }
        self.note_path();
    }

    /// Processes a check or an answer while the negotiator has the core: keeps the present ICE
    /// session's pair alive.
    fn check_without_core(&mut self, head: &StunHead<'_>, from: SocketAddr, turn: &mut Turn<'_>) {
        match head.class {
            // A nomination of another address has to wait for the core; the client repeats it.
            StunClass::Request
                if self.ice && (!head.nominates || self.path.address() == Some(from)) =>
            {
                self.answer_check(head, from, &self.parts.local.pwd, turn);
            }
            StunClass::Success if self.path.address() == Some(from) => self.consent = turn.now,
            _ => self.dropped(Dropped::Core),
        }
    }

    /// Answers a check that the core does not get to see, signed with the password `pwd`.
    pub(super) fn answer_check(
        &self,
        head: &StunHead<'_>,
        from: SocketAddr,
        pwd: &str,
        turn: &mut Turn<'_>,
    ) {
        let crypto = self.parts.crypto.crypto();
        match stun::success(head.transaction, from, pwd, crypto) {
            Some(answer) => turn.out.datagrams.push(from, &answer),
            None => self.dropped(Dropped::Core),
        }
    }

    fn without_nomination(&self, check: &[u8]) -> Option<Vec<u8>> {
        stun::without_nomination(check, &self.parts.local.pwd, self.parts.crypto.crypto())
    }

    pub(super) fn on_ice(&mut self, state: RTCIceConnectionState, turn: &mut Turn<'_>) {
        let participant = self.parts.participant;
        match state {
            RTCIceConnectionState::Connected | RTCIceConnectionState::Completed => {
                self.ice = true;
                self.end_former_session(turn.now);
                // Send our answer to the nomination first: the client accepts no DTLS before it.
                self.flush(turn);
                if std::mem::take(&mut self.silent) {
                    turn.out.events.push_back(RtcEvent::Connected(participant));
                }
                match self.stage {
                    Stage::Connecting(since) => {
                        self.stage = Stage::Handshaking(since);
                        // As DTLS client the core has its first flight ready, but sends it only at
                        // the next deadline.
                        self.timeout(turn);
                    }
                    Stage::Handshaking(_) => self.handshake.resume(turn.now),
                    Stage::Up => {}
                }
                self.read_early(turn);
            }
            RTCIceConnectionState::Disconnected if self.stage == Stage::Up && !self.silent => {
                self.silent = true;
                turn.out
                    .events
                    .push_back(RtcEvent::Disconnected(participant));
            }
            RTCIceConnectionState::Failed if self.stage == Stage::Up => {
                self.end(Reason::ConsentLost)
            }
            RTCIceConnectionState::Failed => self.end(Reason::NeverConnected),
            _ => {}
        }
    }

    /// Gives the core the DTLS datagrams that came before a pair was selected or while the core was
    /// away.
    pub(super) fn read_early(&mut self, turn: &mut Turn<'_>) {
        for (from, datagram) in std::mem::take(&mut self.early) {
            self.read_dtls(self.path.inward(from), &datagram, turn.now);
            // The core must send its answer first: only then can a second copy of a flight be
            // recognised.
            self.flush(turn);
        }
    }

    /// Adds candidates that the client sent after its offer.
    pub(in crate::rtc) fn trickle(&mut self, candidates: &[RemoteCandidate], turn: &mut Turn<'_>) {
        if let Some((session, _)) = self.restarts_to_come.back_mut() {
            let room = MAX_CANDIDATES.saturating_sub(session.candidates.len());
            return session.candidates.extend(candidates.iter().take(room));
        }
        let allowed = self.within_budget(candidates, turn.now);
        if allowed.is_empty() {
            return;
        }
        for candidate in allowed {
            let candidate = RTCIceCandidateInit {
                candidate: candidate.to_string(),
                ..RTCIceCandidateInit::default()
            };
            self.give(CoreInput::Candidate(candidate));
        }
        // Checks of the new candidates are sent at once, except during a DTLS handshake, whose
        // timer must not be disturbed.
        match self.stage {
            Stage::Handshaking(_) => self.drain(turn),
            _ => self.timeout(turn),
        }
    }
}

/// Most addresses of a client at one time, counting interfaces, address families and NAT
/// rebindings.
pub(super) const MAX_ADDRESSES: u32 = 32;

/// Shortest time between new addresses of a client once the first [`MAX_ADDRESSES`] are used up. A
/// client on a train changes its address every few minutes. Only an attacker changes it more often:
/// it forges the addresses of other clients to have them cut off.
pub(super) const MOVE_INTERVAL: Duration = Duration::from_secs(10);
