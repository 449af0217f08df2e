//! Writes the offer that the WebRTC core gets: always of one shape, whatever offer the client
//! wrote.

use std::fmt::Write;

use super::{Credentials, Offer, RemoteCandidate, Setup};

/// Payload type of the audio in the core's offer. RTP bypasses the core, so any codec and number
/// will do.
pub(in crate::rtc) const PLAIN_TYPE: u8 = 111;

/// Placeholder fingerprint in the core's offer. The core supports only one fingerprint, so its
/// check is disabled; [`Peer`](crate::rtc::Peer) compares the certificate with all fingerprints of
/// the client's offer before it uses the connection.
const NO_FINGERPRINT: &str = "sha-256 00";

/// Writes the offer for the core: one audio section, and data channels if the client has them, all
/// on one transport.
///
/// `credentials` and `candidates` are the client's present ones, which after a restart differ from
/// those in `offer`. The direction of the audio does not matter, because RTP bypasses the core's
/// transceivers.
pub(in crate::rtc) fn plain_offer(
    offer: &Offer,
    credentials: &Credentials,
    candidates: &[RemoteCandidate],
    version: u32,
) -> String {
    let setup = match offer.setup {
        Setup::ActPass => "actpass",
        Setup::Active => "active",
        Setup::Passive => "passive",
    };
    let mut transport = format!(
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{NO_FINGERPRINT}\r\na=setup:{setup}\r\n",
        credentials.ufrag, credentials.pwd
    );
    let mut sdp = format!("v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    sdp.push_str(if offer.has_data() {
        "a=group:BUNDLE 0 1\r\n"
    } else {
        "a=group:BUNDLE 0\r\n"
    });
    if offer.ice_lite {
        sdp.push_str("a=ice-lite\r\n");
    }
    let _ = write!(
        sdp,
        "m=audio 9 UDP/TLS/RTP/SAVPF {pt}\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
         a=rtpmap:{pt} opus/48000/2\r\n{transport}",
        pt = PLAIN_TYPE,
    );
    for candidate in candidates {
        let _ = write!(sdp, "a=candidate:{candidate}\r\n");
    }
    if offer.has_data() {
        let _ = write!(
            transport,
            "a=sctp-port:5000\r\na=max-message-size:{}\r\n",
            offer.max_message_bytes
        );
        let _ = write!(
            sdp,
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n{transport}"
        );
    }
    sdp
}
