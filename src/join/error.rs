//! Errors of a client.

use std::time::Duration;

use thiserror::Error;

use super::args::ArgsError;
use super::connection::ConnectionError;
use super::pcm::PcmError;
use super::whip_client::WhipError;

/// Why `mixminus join` or a client fails.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The command line is invalid.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The server created no session.
    #[error(transparent)]
    Session(#[from] WhipError),
    /// The connection of the session could not be established.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Playing or recording failed.
    #[error(transparent)]
    Pcm(#[from] PcmError),
    /// The recording failed; [`Client::leave`](super::client::Client::leave) returns the reason.
    #[error("cannot write the recording")]
    Recording,
    /// The audio input of a push-to-talk client ended, so that the client could only be silent.
    #[error("the audio source has ended, so there is nothing left to send")]
    SourceEnded,
    /// The connection is lost and reconnecting is off.
    #[error("the connection to the server was lost")]
    Lost,
    /// The server has removed the client.
    #[error("the server removed this client: {reason}")]
    Removed {
        /// Why the client was removed: `kicked` or `room closed`.
        reason: String,
    },
    /// The handlers of Ctrl-C, SIGTERM or the push-to-talk signals cannot be installed.
    #[error("cannot set up signals or standard input: {0}")]
    Signals(#[source] std::io::Error),
    /// The thread that prints events and statistics cannot be started.
    #[error("cannot start the thread that prints events: {0}")]
    Threads(#[source] std::io::Error),
}

impl JoinError {
    /// Returns the exit status of the process: 2 for invalid arguments, otherwise 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            JoinError::Args(_) => 2,
            _ => 1,
        }
    }

    /// Whether another attempt to connect would fail for the same reason.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            JoinError::Session(error) => error.is_permanent(),
            JoinError::Connection(error) => !matches!(
                error,
                ConnectionError::NoPath | ConnectionError::NoAddress | ConnectionError::Gathering
            ),
            _ => true,
        }
    }

    /// Returns the wait before the next attempt that the server asks for, if any.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            JoinError::Session(error) => error.retry_after(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_retries_after_network_errors_but_not_after_permanent_refusals() {
        assert!(!JoinError::from(ConnectionError::NoPath).is_permanent());
        assert!(!JoinError::from(ConnectionError::NoAddress).is_permanent());
        assert!(JoinError::from(ConnectionError::Certificate).is_permanent());
        assert_eq!(JoinError::Lost.exit_status(), 1);
    }
}
