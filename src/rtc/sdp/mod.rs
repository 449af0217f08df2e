//! SDP: reads clients' offers of any shape, writes answers, and writes the plain offer that the
//! core gets.
//!
//! The client's text is used nowhere else. [`Offer::read`] extracts what is needed, within limits.
//! The core gets an offer that is written from the extracted values and always has one shape; the
//! answer is written from these values and from the core's. So the core's SDP code sees no hostile
//! input, and no client depends on how the core writes an answer. The headless client treats
//! servers' answers alike (`RemoteAnswer`).
//!
//! RFC 8866 (SDP), RFC 9429 (JSEP), RFC 8839 (ICE), RFC 8842 (DTLS), RFC 9143 (BUNDLE), RFC 5761
//! (rtcp-mux), RFC 8122 (fingerprints), RFC 8841 (data channels), RFC 7587 (Opus), RFC 3551
//! (G.711).

mod answer;
mod candidate;
mod codec;
mod core_offer;
mod error;
mod fingerprint;
mod lexer;
mod offer;
mod opus;
#[cfg(feature = "join")]
mod remote_answer;

pub use candidate::{MAX_CANDIDATES, RemoteCandidate, remote_candidates};
pub use error::OfferError;
pub use fingerprint::Fingerprints;
pub use lexer::MAX_OFFER_BYTES;
pub use offer::{Direction, Extensions, Offer, Setup};
#[cfg(feature = "join")]
pub use remote_answer::{AnswerError, RemoteAnswer};

pub(super) use answer::Answer;
pub(super) use core_offer::{PLAIN_TYPE, plain_offer};
pub(super) use lexer::attribute;

/// ICE credentials of one side (RFC 8839, section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User fragment, 4..=256 characters.
    pub ufrag: String,
    /// Password, 22..=256 characters.
    pub pwd: String,
}

impl Credentials {
    /// Accepts credentials of the lengths and characters that RFC 8839 allows; `None` for others.
    pub fn new(ufrag: &str, pwd: &str) -> Option<Credentials> {
        // Some clients use '-' or '_' besides the characters that ICE allows. A ':' would break
        // routing by user name.
        let tolerated = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':')
        };
        let lengths = (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len());
        (lengths && tolerated(ufrag) && tolerated(pwd)).then(|| Credentials {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        })
    }
}

/// Formats the user fragment only, so that no password is ever logged.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.ufrag)
    }
}

/// A client's new ICE candidates, or its request for a restart, from a trickle fragment (RFC 8840).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceUpdate {
    /// The user name fragment that the candidates belong to.
    pub ufrag: Option<String>,
    /// The password of `ufrag`; needed for a restart.
    pub pwd: Option<String>,
    /// Lines with the client's candidates, without `a=`.
    pub candidates: Vec<String>,
}

/// A client's request to restart ICE (RFC 8445, section 9; RFC 9725, section 4.3.3).
#[derive(Debug, Clone)]
pub struct Restart {
    /// The client's new user fragment.
    pub ufrag: String,
    /// The client's new password.
    pub pwd: String,
    /// Candidate lines of the request, with or without `a=`.
    pub candidates: Vec<String>,
}

/// The server's answer to an ICE restart.
#[derive(Debug, Clone)]
pub struct RestartAnswer {
    /// The server's new user fragment.
    pub ufrag: String,
    /// The server's new password.
    pub pwd: String,
    /// Values of the server's `a=candidate` lines, without `a=`.
    pub candidates: Vec<String>,
}
