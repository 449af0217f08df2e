//! Why a client fails.

use std::time::Duration;

use thiserror::Error;

use super::args::ArgsError;
use super::connection::ConnectionError;
use super::pcm::PcmError;
use super::whip_client::WhipError;

/// Why a client fails.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The arguments make no sense.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The server gave no session.
    #[error(transparent)]
    Session(#[from] WhipError),
    /// The session has no connection.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// What is to be played or recorded fails.
    #[error(transparent)]
    Pcm(#[from] PcmError),
    /// The recording cannot be written on; ending it tells why.
    #[error("cannot write the recording")]
    Recording,
    /// What a radio is to say has come to an end, which a microphone does not.
    #[error("the audio source has ended, so there is nothing left to send")]
    SourceEnded,
    /// The connection is lost, and is not to be made again.
    #[error("the connection to the server was lost")]
    Lost,
    /// The server has put the client out.
    #[error("the server removed this client: {reason}")]
    Removed {
        /// `kicked` or `room closed`.
        reason: String,
    },
    /// The process cannot be told to stop, or to talk.
    #[error("cannot set up signals or standard input: {0}")]
    Signals(#[source] std::io::Error),
    /// There is no thread to print lines.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] std::io::Error),
}

impl JoinError {
    /// The exit status: 2 for unusable arguments, otherwise 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            JoinError::Args(_) => 2,
            _ => 1,
        }
    }

    /// Whether trying again is of no use.
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

    /// When the server wants to be asked again, if it says.
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
    fn a_lost_network_is_waited_for_and_a_wrong_server_is_not() {
        assert!(!JoinError::from(ConnectionError::NoPath).is_permanent());
        assert!(!JoinError::from(ConnectionError::NoAddress).is_permanent());
        assert!(JoinError::from(ConnectionError::Certificate).is_permanent());
        assert_eq!(JoinError::Lost.exit_status(), 1);
    }
}
