//! Input of the push-to-talk key: lines on standard input, and signals.
//!
//! | line | does |
//! |---|---|
//! | `press`, `p`, `1` | presses the key |
//! | `release`, `r`, `0` | releases the key |
//! | empty (Enter alone) | toggles the key |
//! | `monitor a,b=-6` | makes these the only monitored rooms; `monitor` alone monitors none |
//! | `listen` | the former name of `monitor` |
//!
//! The end of standard input releases the key. SIGUSR1 presses and SIGUSR2 releases it, at all
//! times.

use std::future::pending;
use std::io::BufRead;
use std::str::FromStr;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver};
use tracing::warn;

use super::monitors::{MonitoredRoom, MonitoredRoomError};

/// An event of the push-to-talk key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyEvent {
    /// The key was pressed.
    Press,
    /// The key was released.
    Release,
    /// The key was toggled: pressed if it was released, and released if it was pressed.
    Toggle,
    /// The list of monitored rooms was replaced.
    Monitor(Vec<MonitoredRoom>),
}

/// Why a line on standard input is not a valid command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyEventError {
    /// The line has an unknown command.
    #[error(
        "unknown command {given:?}: use press, release, monitor ROOM[,ROOM...], or an empty line to toggle the key"
    )]
    Unknown {
        /// The line that was given.
        given: String,
    },
    /// The list of rooms is invalid.
    #[error(transparent)]
    MonitoredRoom(#[from] MonitoredRoomError),
}

impl FromStr for KeyEvent {
    type Err = KeyEventError;

    fn from_str(line: &str) -> Result<KeyEvent, KeyEventError> {
        let line = line.trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest.trim()) {
            ("", "") => Ok(KeyEvent::Toggle),
            ("press" | "p" | "1", "") => Ok(KeyEvent::Press),
            ("release" | "r" | "0", "") => Ok(KeyEvent::Release),
            ("monitor" | "listen", "") => Ok(KeyEvent::Monitor(Vec::new())),
            ("monitor" | "listen", rooms) => {
                let rooms = rooms.split(',').map(|room| room.trim().parse());
                Ok(KeyEvent::Monitor(rooms.collect::<Result<_, _>>()?))
            }
            _ => Err(KeyEventError::Unknown {
                given: line.chars().take(40).collect(),
            }),
        }
    }
}

/// Reads the events of the push-to-talk key from signals and standard input.
pub struct PttInput {
    lines: Option<Receiver<String>>,
    press: Signal,
    release: Signal,
}

impl PttInput {
    /// Installs the signal handlers at once, because without them the signals would end the
    /// process, and starts to read standard input.
    ///
    /// - `stdin`: whether standard input carries commands of the key. Otherwise it carries audio
    ///   and is not read.
    ///
    /// # Errors
    /// The system's error if it installs no handler or starts no thread.
    pub fn new(stdin: bool) -> std::io::Result<PttInput> {
        Ok(PttInput {
            lines: stdin.then(read_stdin).transpose()?,
            press: signal(SignalKind::user_defined1())?,
            release: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next event. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> KeyEvent {
        loop {
            tokio::select! {
                // Signals of one kind are merged and their order is lost: when both kinds have
                // arrived, the key counts as released, because a stuck key does more harm.
                biased;
                Some(()) = self.press.recv() => return KeyEvent::Press,
                Some(()) = self.release.recv() => return KeyEvent::Release,
                line = next(&mut self.lines) => match line.as_deref().map(str::parse) {
                    Some(Ok(event)) => return event,
                    Some(Err(error)) => warn!(%error, "invalid push-to-talk command"),
                    None => {
                        self.lines = None;
                        return KeyEvent::Release;
                    }
                },
            }
        }
    }
}

/// Waits for the next line of standard input; `None` at its end. Never returns if standard input is
/// not read.
async fn next(lines: &mut Option<Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => pending().await,
    }
}

/// Reads standard input on a thread of its own, which does not delay the end of the process while
/// it waits for input.
fn read_stdin() -> std::io::Result<Receiver<String>> {
    let (read, lines) = mpsc::channel(LINES);
    thread::Builder::new()
        .name("join-key".to_owned())
        .spawn(move || {
            // Input that is not UTF-8 ends the reading as well.
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if read.blocking_send(line).is_err() {
                    return;
                }
            }
        })?;
    Ok(lines)
}

/// Bound of the queue of lines that were read; when it is full, the writer of standard input has to
/// wait.
const LINES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_to_talk_input_lines_are_parsed_as_commands() {
        for (line, event) in [
            ("press", KeyEvent::Press),
            (" p \r", KeyEvent::Press),
            ("1", KeyEvent::Press),
            ("release", KeyEvent::Release),
            ("r", KeyEvent::Release),
            ("0", KeyEvent::Release),
            ("", KeyEvent::Toggle),
            ("monitor", KeyEvent::Monitor(Vec::new())),
            ("listen", KeyEvent::Monitor(Vec::new())),
        ] {
            assert_eq!(line.parse(), Ok(event), "{line:?}");
        }
        let monitor: KeyEvent = "monitor a, b=-6".parse().unwrap();
        let KeyEvent::Monitor(rooms) = monitor else {
            panic!("{monitor:?}");
        };
        assert_eq!(rooms.len(), 2);
        for line in ["talk", "press now", "monitor a b"] {
            assert!(line.parse::<KeyEvent>().is_err(), "{line}");
        }
    }
}
