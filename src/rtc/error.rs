//! What can be wrong with an offer, a candidate, a restart or the start of the thread.
//!
//! No variant carries a message of the WebRTC core: those contain addresses of memory and are not for clients.

use std::io;
use std::time::Duration;

/// Why an offer got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP at all.
    #[error("the offer is not SDP")]
    Unparsable,
    /// No audio section, or only rejected ones.
    #[error("the offer has no audio section that could be answered")]
    NoAudio,
    /// Audio, but neither as Opus nor as G.711.
    #[error("the offer's audio section offers neither opus/48000 nor PCMU/8000 or PCMA/8000")]
    NoCodec,
    /// Well-formed, but not something this server can serve.
    #[error("the offer cannot be served: {what}")]
    Unsupported {
        /// What exactly, as half a sentence for a person.
        what: &'static str,
    },
}

/// Why trickled candidates were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrickleError {
    /// The network thread's command link is full.
    #[error("the network thread is busy")]
    Busy,
}

/// Why ICE was not restarted; the old session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// The user fragment or the password breaks RFC 8839, 5.4, or is the one in use.
    #[error("the new ice-ufrag or ice-pwd is unusable")]
    Credentials,
    /// The client has restarted ICE more often than it may.
    #[error("ICE was restarted too often; try again in {retry_after:?}")]
    TooOften {
        /// When it may do so again.
        retry_after: Duration,
    },
    /// No such participant, or gone meanwhile.
    #[error("no such peer")]
    Unknown,
    /// The core refused the restart.
    #[error("the restart was refused")]
    Refused,
    /// The network thread's command link is full, or more restarts are under way than may be.
    #[error("the network thread is busy")]
    Busy,
}

/// Why a message on the data channel `control` was not taken. Displayed as a sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than any command.
    #[error("A message may have at most {limit_bytes} bytes.")]
    TooLong {
        /// The most that is taken.
        limit_bytes: usize,
    },
    /// Binary, or text that is not UTF-8.
    #[error("A message must be text in UTF-8, not binary.")]
    NotText,
}

/// Why the network thread did not start.
#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    /// The media socket could not be bound.
    #[error("cannot bind the media socket to {address}: {source}")]
    Bind {
        /// Where to.
        address: std::net::SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The system refused something else the thread needs.
    #[error("cannot start the network thread: {0}")]
    System(#[from] io::Error),
    /// The DTLS certificate could not be made.
    #[error("cannot make the DTLS certificate")]
    Certificate,
}
