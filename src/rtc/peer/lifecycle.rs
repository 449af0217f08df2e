//! The peer's lifecycle: start, deadlines, end.

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
    /// Starts the peer on the network thread.
    pub(in crate::rtc) fn start(&mut self, turn: &mut Turn<'_>) {
        self.stage = Stage::Connecting(turn.now);
        self.consent = turn.now;
        self.timeout(turn);
    }

    /// Serves the peer's deadline.
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

    /// Next deadline of a settled peer (connected, with no recent activity): a path check, a
    /// report, or noticing the client's silence. The core itself asks for five calls a second.
    fn settled_deadline(&self, now: Instant) -> Instant {
        let silent_from = self.consent + self.parts.disconnected_after;
        let watch = match now < silent_from {
            true => silent_from,
            false => self.last_timeout + SETTLED_INTERVAL,
        };
        // An overdue check is not retried at once, because the core decides by its own clock.
        let check = self.check_due.max(self.last_timeout + SETTLED_INTERVAL);
        let report = self
            .reports
            .next()
            .map(|at| at.max(self.last_timeout + MIN_INTERVAL));
        report.map_or(check, |report| report.min(check)).min(watch)
    }

    /// Closes the connection: RTCP BYE, SCTP ABORT, DTLS close.
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

/// Interval at which a settled peer is served while its client is silent or a check is due.
const SETTLED_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest time to the next deadline: the core may name one in the past, on which the thread must
/// not spin.
const MIN_INTERVAL: Duration = Duration::from_millis(5);

/// Grace beyond the consent time-out: the client's own requests keep ICE alive without its consent
/// for this much longer.
const CONSENT_GRACE: Duration = Duration::from_secs(4);
