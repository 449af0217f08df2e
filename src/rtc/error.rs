//! Errors of trickled candidates, ICE restarts, data-channel messages and the start of the network
//! thread.
//!
//! No variant carries an error text of the WebRTC core: those contain memory addresses and are not
//! meant for clients.

use std::io;
use std::time::Duration;

/// Why trickled candidates were not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrickleError {
    /// The network thread's command ring is full.
    #[error("the command queue of the network thread is full, so the candidates were dropped")]
    Busy,
}

/// Why an ICE restart was refused; the old ICE session continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// The user fragment or password violates RFC 8839, section 5.4, or is the one in use.
    #[error("the new ice-ufrag or ice-pwd is invalid or already in use")]
    Credentials,
    /// The client has restarted ICE too often.
    #[error("too many ICE restarts of this session; try again in {retry_after:?}")]
    TooOften {
        /// Time until the next restart is allowed.
        retry_after: Duration,
    },
    /// The participant does not exist or has left.
    #[error("the participant does not exist or has left")]
    Unknown,
    /// The WebRTC core refused the restart.
    #[error("the WebRTC stack rejected the ICE restart")]
    Refused,
    /// The network thread's command ring is full, or too many restarts are in progress.
    #[error(
        "ICE was not restarted: the network thread's command queue is full, or too many restarts are in progress"
    )]
    Busy,
}

/// Why a message on the data channel `control` was refused. Sent to the client as a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The message is longer than the server accepts.
    #[error("a message may have at most {limit_bytes} bytes")]
    TooLong {
        /// Longest accepted message, in bytes.
        limit_bytes: usize,
    },
    /// The message is binary, or text that is not UTF-8.
    #[error("a message must be UTF-8 text, not binary")]
    NotText,
}

/// Why the network thread did not start.
#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    /// The media socket could not be bound.
    #[error("cannot bind the media socket to {address}: {source}")]
    Bind {
        /// The address that was to be bound.
        address: std::net::SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused a thread, an eventfd or another resource that the network thread needs.
    #[error("cannot start the network thread: {0}")]
    System(#[from] io::Error),
    /// The DTLS certificate could not be generated.
    #[error("cannot generate the DTLS certificate")]
    Certificate,
}
