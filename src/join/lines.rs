//! Lines for whoever reads them: `--events` and `--stats`, on standard output or standard error.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlet {
    /// Standard output.
    Stdout,
    /// Standard error, where standard output carries audio.
    Stderr,
}

/// Prints lines from a thread of its own: who reads them slowly must not hold up a radio.
pub struct Lines {
    lines: Option<Sender<String>>,
    done: Receiver<()>,
}

impl Lines {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn start(outlet: Outlet) -> std::io::Result<Lines> {
        let (lines, to_print) = bounded::<String>(WAITING);
        let (done_in, done) = bounded(1);
        thread::Builder::new()
            .name("join-lines".to_owned())
            .spawn(move || {
                for line in to_print {
                    let printed = match outlet {
                        Outlet::Stdout => writeln!(std::io::stdout(), "{line}"),
                        Outlet::Stderr => writeln!(std::io::stderr(), "{line}"),
                    };
                    // Nobody reads them any more.
                    if printed.is_err() {
                        break;
                    }
                }
                drop(done_in);
            })?;
        Ok(Lines {
            lines: Some(lines),
            done,
        })
    }

    /// Prints a line; who does not read it in time misses it.
    pub fn print(&self, line: String) {
        if let Some(lines) = &self.lines {
            // Full because nobody reads, or closed because nobody will.
            let _ = lines.try_send(line);
        }
    }
}

impl Drop for Lines {
    /// Waits for the last lines, but not for a reader that does not read.
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.done.recv_timeout(LAST_LINES);
    }
}

/// Bound of the link to the thread; the newest is dropped when it is full.
const WAITING: usize = 256;

/// Nobody waits longer for a program to end.
const LAST_LINES: Duration = Duration::from_millis(500);
