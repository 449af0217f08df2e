//! The check that the other side is the one that signalling spoke of (RFC 8122, 6.2; RFC 8827, 6.5).
//!
//! The stack itself takes any certificate. Nothing that comes over a connection is used, and nothing is
//! sent, before the certificate has been found among the fingerprints of the other side's description.

use std::sync::{Arc, Weak};
use std::time::Instant;

use rtc::statistics::StatsSelector;
use rtc::statistics::report::RTCStatsReportEntry;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use webrtc::peer_connection::PeerConnection;

use super::Link;
use crate::rtc::sdp::Fingerprints;

/// Whether the other side has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Not yet.
    Pending,
    /// Its certificate is one of those it announced.
    Given,
    /// It is none of them.
    Refused,
}

/// Passes on what the stack says of a connection, once the other side is trusted.
pub(super) struct Guard {
    /// What the stack says.
    pub(super) state: watch::Receiver<Link>,
    /// What the client goes by.
    pub(super) link: watch::Sender<Link>,
    /// What those go by who take something from the connection.
    pub(super) trust: watch::Sender<Trust>,
}

impl Guard {
    /// Runs until the stack is gone.
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
                    // What does not close in order is dropped with the connection.
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

/// Waits until the other side is trusted; `false` if it never is.
pub(super) async fn given(trust: &mut watch::Receiver<Trust>) -> bool {
    let settled = trust.wait_for(|trust| *trust != Trust::Pending).await;
    settled.is_ok_and(|trust| *trust == Trust::Given)
}

/// The certificate that the other side has shown (DER). The stack says that a connection is up before it has entered
/// the certificate where it can be asked for, if the other side began the handshake.
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

/// Two seconds: more than any machine needs from one step of the stack to the next.
const CERTIFICATE_TRIES: u32 = 400;
const CERTIFICATE_PAUSE: Duration = Duration::from_millis(5);

/// The certificate (DER), or `None` while the stack does not have it yet.
async fn certificate_of(peer: &Arc<dyn PeerConnection>) -> Option<Vec<u8>> {
    if let Some(sctp) = peer.sctp().await {
        let chain = sctp.transport().get_remote_certificates().await.ok()?;
        return chain.into_iter().next();
    }
    // A listener without data channels has neither a sender nor, before the first packet, a receiver to ask.
    let report = peer.get_stats(Instant::now(), StatsSelector::None).await;
    let id = &report.transport()?.remote_certificate_id;
    match report.get(id)? {
        // The stack writes it in hexadecimal, whatever the field is called.
        RTCStatsReportEntry::Certificate(shown) => bytes_of_hex(&shown.base64_certificate),
        _ => None,
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}
