//! Checks that the other side of a connection presents a certificate that signalling announced (RFC
//! 8122, 6.2; RFC 8827, 6.5).
//!
//! The stack itself accepts any certificate. Nothing that arrives over a connection is used, and
//! nothing is sent, until the certificate has been found among the fingerprints of the other side's
//! description.

use std::sync::{Arc, Weak};
use std::time::Instant;

use rtc::statistics::StatsSelector;
use rtc::statistics::report::RTCStatsReportEntry;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use webrtc::peer_connection::PeerConnection;

use super::Link;
use crate::rtc::sdp::Fingerprints;

/// Whether the other side of a connection has proved its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The certificate has not been checked yet.
    Pending,
    /// The certificate matches an announced fingerprint.
    Given,
    /// The certificate matches no announced fingerprint.
    Refused,
}

/// Withholds the stack's connection states from the client until the other side is trusted, and
/// passes them on afterwards.
pub(super) struct Guard {
    /// The connection's state as the stack reports it.
    pub(super) state: watch::Receiver<Link>,
    /// The connection's state as the client sees it.
    pub(super) link: watch::Sender<Link>,
    /// The result of the check, watched by everything that takes data from the connection.
    pub(super) trust: watch::Sender<Trust>,
}

impl Guard {
    /// Checks the certificate when the connection is up, and passes on states until the stack is
    /// dropped. Closes the connection if the check fails.
    pub(super) async fn watch(
        mut self,
        peer: Weak<dyn PeerConnection>,
        fingerprints: Fingerprints,
    ) {
        loop {
            let state = *self.state.borrow_and_update();
            if state == Link::Up && *self.trust.borrow() == Trust::Pending {
                let Some(peer) = peer.upgrade() else { return };
                let certificate = shown_certificate_of(&peer).await;
                if !certificate.is_some_and(|it| fingerprints.matches(&it)) {
                    self.trust.send_replace(Trust::Refused);
                    self.link.send_replace(Link::Down);
                    // If closing in order fails, the connection is dropped.
                    let _ = peer.close().await;
                    return;
                }
                self.trust.send_replace(Trust::Given);
            }
            self.link.send_replace(state);
            if self.state.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Waits until the certificate has been checked; returns whether the other side is trusted.
pub(super) async fn given(trust: &mut watch::Receiver<Trust>) -> bool {
    let settled = trust.wait_for(|trust| *trust != Trust::Pending).await;
    settled.is_ok_and(|trust| *trust == Trust::Given)
}

/// Returns the certificate that the other side has presented, as DER. If the other side started the
/// handshake, the stack reports the connection as up before the certificate can be read, so this
/// tries repeatedly.
async fn shown_certificate_of(peer: &Arc<dyn PeerConnection>) -> Option<Vec<u8>> {
    for _ in 0..CERTIFICATE_TRIES {
        let certificate = certificate_of(peer).await;
        if certificate.is_some() {
            return certificate;
        }
        sleep(CERTIFICATE_PAUSE).await;
    }
    None
}

/// How often the certificate is read, two seconds in all: more than any machine needs between these
/// two steps of the stack.
const CERTIFICATE_TRIES: u32 = 400;
const CERTIFICATE_PAUSE: Duration = Duration::from_millis(5);

/// Returns the other side's certificate as DER, or `None` if the stack does not have it yet.
async fn certificate_of(peer: &Arc<dyn PeerConnection>) -> Option<Vec<u8>> {
    if let Some(sctp) = peer.sctp().await {
        let chain = sctp.transport().get_remote_certificates().await.ok()?;
        return chain.into_iter().next();
    }
    // Without data channels a client that only listens has no sender, and before the first packet
    // no receiver, that knows the certificate.
    let report = peer.get_stats(Instant::now(), StatsSelector::None).await;
    let id = &report.transport()?.remote_certificate_id;
    match report.get(id)? {
        // The stack writes the certificate in hexadecimal, despite the name of the field.
        RTCStatsReportEntry::Certificate(shown) => bytes_of_hex(&shown.base64_certificate),
        _ => None,
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}
