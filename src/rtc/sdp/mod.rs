//! SDP: reading offers of every shape, writing the answer, and the one plain offer the core ever sees.
//!
//! The client's text stops here. [`Offer::read`] takes from it what is needed, within limits; the core is given an
//! offer written from that, always of the same shape; the answer is written from both. So the core's SDP code meets
//! no hostile input, and no client depends on how the core phrases an answer. The client side does the same with the
//! answers of servers (`RemoteAnswer`).
//!
//! RFC 8866 (SDP), RFC 9429 (JSEP), RFC 8839 (ICE), RFC 8842 (DTLS), RFC 9143 (BUNDLE), RFC 5761
//! (rtcp-mux), RFC 8122 (fingerprints), RFC 8841 (data channels), RFC 7587 (Opus), RFC 3551 (G.711).

mod answer;
mod candidate;
mod codec;
mod core_offer;
mod fingerprint;
mod lexer;
mod offer;
mod opus;
#[cfg(feature = "join")]
mod remote_answer;

pub use candidate::{MAX_CANDIDATES, RemoteCandidate, remote_candidates};
pub use fingerprint::Fingerprints;
pub use lexer::MAX_OFFER_BYTES;
pub use offer::{Direction, Extensions, Offer, Setup};
#[cfg(feature = "join")]
pub use remote_answer::{AnswerError, RemoteAnswer};

pub(super) use answer::Answer;
pub(super) use core_offer::{PLAIN_TYPE, plain_offer};
pub(super) use lexer::attribute;

/// ICE credentials of one side (RFC 8839, 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User fragment, 4..=256 characters.
    pub ufrag: String,
    /// Password, 22..=256 characters.
    pub pwd: String,
}

impl Credentials {
    /// Takes them if RFC 8839 allows them.
    pub fn new(ufrag: &str, pwd: &str) -> Option<Credentials> {
        // Some clients use '-' or '_' beside the ICE characters; a ':' would break the routing by user name.
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

/// Passwords are for nobody's log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.ufrag)
    }
}

/// A client's wish to restart ICE (RFC 8445, 9; RFC 9725, 4.3.3).
#[derive(Debug, Clone)]
pub struct Restart {
    /// The client's new user fragment.
    pub ufrag: String,
    /// The client's new password.
    pub pwd: String,
    /// Candidate lines that came with it, with or without `a=`.
    pub candidates: Vec<String>,
}

/// What the server says to a restart.
#[derive(Debug, Clone)]
pub struct RestartAnswer {
    /// The server's new user fragment.
    pub ufrag: String,
    /// The server's new password.
    pub pwd: String,
    /// Values of the server's `a=candidate` lines, without `a=`.
    pub candidates: Vec<String>,
}
