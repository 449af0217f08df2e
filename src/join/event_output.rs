//! Prints the lines of `--events` and `--stats`, on standard output or standard error.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::json;

/// The standard stream that lines go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error, where standard output carries audio.
    Stderr,
}

/// Prints lines from a thread of its own: who reads them slowly must not hold up a radio.
///
/// The newest are dropped when there is no room, those that state nothing lasting already when half of it is taken.
/// Of events, how many is told with the next one that there is room for.
pub struct EventOutput {
    lines: Option<Sender<String>>,
    done: Receiver<()>,
    missed: AtomicUsize,
}

impl EventOutput {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn start(outlet: OutputStream) -> std::io::Result<EventOutput> {
        EventOutput::through(move |line| match outlet {
            OutputStream::Stdout => writeln!(std::io::stdout(), "{line}"),
            OutputStream::Stderr => writeln!(std::io::stderr(), "{line}"),
        })
    }

    fn through(
        mut write: impl FnMut(String) -> std::io::Result<()> + Send + 'static,
    ) -> std::io::Result<EventOutput> {
        let (lines, to_print) = bounded::<String>(WAITING);
        let (done_in, done) = bounded(1);
        thread::Builder::new()
            .name("join-lines".to_owned())
            .spawn(move || {
                for line in to_print {
                    // Nobody reads them any more.
                    if write(line).is_err() {
                        break;
                    }
                }
                drop(done_in);
            })?;
        Ok(EventOutput {
            lines: Some(lines),
            done,
            missed: AtomicUsize::new(0),
        })
    }

    /// Prints a line that is no event; who does not read it in time misses it.
    pub fn print(&self, line: String) {
        if let Some(lines) = &self.lines {
            // Full because nobody reads, or closed because nobody will.
            let _ = lines.try_send(line);
        }
    }

    /// Prints an event; who does not read it in time misses it, and is told so.
    ///
    /// - `passing`: states nothing that lasts, and soon comes again.
    pub fn event(&self, line: String, passing: bool) {
        let missed = self.missed.load(Ordering::Relaxed);
        let free = if passing { WAITING / 2 } else { 0 };
        if self.room() <= free + usize::from(missed > 0) {
            return self.miss(1);
        }
        if missed > 0 {
            let told = json!({ "event": "missed", "messages": missed });
            self.print(told.to_string());
            self.missed.store(0, Ordering::Relaxed);
        }
        self.print(line);
    }

    /// So many of what was to be printed is lost before it came here.
    pub fn miss(&self, events: usize) {
        self.missed.fetch_add(events, Ordering::Relaxed);
    }

    /// Nobody else puts anything in: what is free stays free.
    fn room(&self) -> usize {
        self.lines.as_ref().map_or(0, |lines| WAITING - lines.len())
    }
}

impl Drop for EventOutput {
    /// Waits for the last lines, but not for a reader that does not read.
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.done.recv_timeout(LAST_LINES);
    }
}

/// Bound of the link to the thread; the newest is dropped, and counted, when it is full.
const WAITING: usize = 256;

/// Nobody waits longer for a program to end.
const LAST_LINES: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes a line when it is let.
    struct Reader {
        turns: mpsc::Sender<()>,
        read: mpsc::Receiver<String>,
    }

    impl Reader {
        fn of() -> (EventOutput, Reader) {
            let (turns, turn) = mpsc::channel::<()>();
            let (read_in, read) = mpsc::channel();
            let write = move |line| {
                let is_there = turn.recv().is_ok() && read_in.send(line).is_ok();
                is_there
                    .then_some(())
                    .ok_or(std::io::ErrorKind::BrokenPipe.into())
            };
            (EventOutput::through(write).unwrap(), Reader { turns, read })
        }

        fn next(&self) -> String {
            self.turns.send(()).unwrap();
            self.read.recv().unwrap()
        }
    }

    #[test]
    fn what_is_missed_is_told_before_what_is_not() {
        let (lines, reader) = Reader::of();
        // The thread holds one or none of them.
        for number in 0..WAITING + 10 {
            lines.event(number.to_string(), false);
        }
        lines.miss(1_000);
        let mut read: Vec<String> = (0..8).map(|_| reader.next()).collect();
        lines.event("last".to_owned(), false);
        while read.last().is_none_or(|line| line != "last") {
            read.push(reader.next());
        }
        let told: serde_json::Value = serde_json::from_str(&read[read.len() - 2]).unwrap();
        let printed = read.len() - 2;
        assert_eq!(
            told,
            json!({"event": "missed", "messages": WAITING + 10 - printed + 1_000})
        );
        // Told once.
        lines.event("more".to_owned(), false);
        assert_eq!(reader.next(), "more");
    }

    #[test]
    fn what_passes_leaves_room_for_what_lasts() {
        let (lines, reader) = Reader::of();
        for _ in 0..WAITING {
            lines.event("level".to_owned(), true);
        }
        lines.event("state".to_owned(), false);
        let passing = (0..WAITING)
            .take_while(|_| reader.next() == "level")
            .count();
        // The thread holds one or none of them.
        assert!((0..=1).contains(&(passing - WAITING / 2)), "{passing}");
        // What came in between told that some were missed.
        assert_eq!(reader.next(), "state");
    }
}
