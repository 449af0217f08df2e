//! The peer's lifecycle: its start, its deadlines and its end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtc::peer_connection::message::RTCMessage;
use rtc::rtcp;
use rtc::rtcp::goodbye::Goodbye;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::sansio::Protocol;

use super::super::handle::Reason;
use super::super::rtcp_reports::canonical_name;
use super::{Peer, Stage, Turn};

impl Peer {
    /// Starts the peer, on the network thread: the time to find a path begins now.
    pub(in crate::rtc) fn start(&mut self, turn: &mut Turn<'_>) {
        self.stage = Stage::Connecting(turn.now);
        self.consent = turn.now;
        self.timeout(turn);
    }

    /// Does the work that is due at the peer's deadline: core timers, reports, time-outs.
    pub(in crate::rtc) fn timeout(&mut self, turn: &mut Turn<'_>) {
        self.last_timeout = turn.now;
        let looks = matches!(self.stage, Stage::Handshaking(_)) && !self.parts.core.is_away();
        if looks && turn.now >= self.handshake.due() {
            let again = self.handshake.look(turn.now);
            if let Some((again, to)) = again.zip(self.path.address()) {
                turn.out.datagrams.push(to, &again);
            }
        }
        if !self.parts.core.is_away() {
            self.with_core(|core| core.handle_timeout(turn.now));
        }
        self.report(turn);
        let checks = turn.out.checks.len() + self.needless;
        self.drain(turn);
        self.note_path();
        if turn.out.checks.len() + self.needless > checks {
            self.check_due = turn.now + self.parts.check_interval;
            self.deadline = self.next_deadline(turn.now);
        }
        match self.stage {
            Stage::Connecting(since) if turn.now >= since + self.parts.connect_timeout => {
                self.end(Reason::NeverConnected);
            }
            Stage::Handshaking(since) if turn.now >= since + self.parts.handshake_timeout => {
                self.parts
                    .metrics
                    .dtls_failures_total
                    .fetch_add(1, Ordering::Relaxed);
                self.end(Reason::NeverConnected);
            }
            Stage::Up if turn.now >= self.consent + self.parts.consent_timeout + CONSENT_GRACE => {
                self.end(Reason::ConsentLost);
            }
            _ => {}
        }
    }

    pub(super) fn next_deadline(&mut self, now: Instant) -> Instant {
        let core = self
            .poll(Protocol::poll_timeout)
            .unwrap_or(now + SETTLED_INTERVAL);
        let core = core.max(self.last_timeout + MIN_INTERVAL);
        match self.stage {
            Stage::Connecting(since) => core.min(since + self.parts.connect_timeout),
            Stage::Handshaking(since) if self.parts.core.is_away() => {
                core.min(since + self.parts.handshake_timeout)
            }
            Stage::Handshaking(since) => self
                .handshake
                .due()
                .min(since + self.parts.handshake_timeout),
            Stage::Up if !self.ice || self.parts.core.is_away() || now < self.brisk_until => core,
            Stage::Up => self.settled_deadline(now),
        }
    }

    /// Returns the next deadline of a settled peer (connected, with no recent activity): to check
    /// the path, to send a report, or to notice that the client is silent. The core itself would
    /// ask for five calls a second.
    fn settled_deadline(&self, now: Instant) -> Instant {
        let silent_from = self.consent + self.parts.disconnected_after;
        let watch = match now < silent_from {
            true => silent_from,
            false => self.last_timeout + SETTLED_INTERVAL,
        };
        // An overdue check is not retried at once, because the core's own clock decides when it is
        // sent.
        let check = self.check_due.max(self.last_timeout + SETTLED_INTERVAL);
        let report = self
            .reports
            .next()
            .map(|at| at.max(self.last_timeout + MIN_INTERVAL));
        report.map_or(check, |report| report.min(check)).min(watch)
    }

    /// Closes the connection: sends RTCP BYE, SCTP ABORT and a DTLS close.
    pub(in crate::rtc) fn close(&mut self, turn: &mut Turn<'_>) {
        if self.stage == Stage::Up && self.parts.offer.rtcp_mux {
            let ssrc = self.parts.sending.ssrc();
            let report = ReceiverReport {
                ssrc,
                ..ReceiverReport::default()
            };
            let bye = Goodbye {
                sources: vec![ssrc],
                ..Goodbye::default()
            };
            let compound: Vec<Box<dyn rtcp::Packet>> = vec![
                Box::new(report),
                Box::new(canonical_name(ssrc, &self.parts.cname)),
                Box::new(bye),
            ];
            self.write(RTCMessage::RtcpPacket(String::new(), compound), turn.now);
        }
        self.with_core(|core| core.close());
        self.flush(turn);
    }
}

/// Interval at which a settled peer is called while its client is silent or a check is due.
const SETTLED_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest time to the next deadline: the core may name a deadline in the past, which would make
/// the thread spin.
const MIN_INTERVAL: Duration = Duration::from_millis(5);

/// Time added to the consent time-out: the client's own checks keep ICE in the core alive for this
/// much longer without the client's consent.
const CONSENT_GRACE: Duration = Duration::from_secs(4);
