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

/// Prints lines from a thread of its own: a slow reader must not delay a radio.
///
/// The newest line is dropped when the queue is full. Lines without lasting content, such as
/// levels, are dropped already when half of the queue is taken. The next event that finds space is
/// preceded by a line with the number of dropped events.
pub struct EventOutput {
    lines: Option<Sender<String>>,
    done: Receiver<()>,
    missed: AtomicUsize,
}

impl EventOutput {
    /// Starts the thread that prints.
    ///
    /// # Errors
    /// The system's error if it starts no thread.
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
                    // Writing fails if the reader has closed its end.
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

    /// Prints a line that is not an event, such as statistics. It is dropped if the queue is full.
    pub fn print(&self, line: String) {
        if let Some(lines) = &self.lines {
            // The queue is full because the reader is slow, or closed because the reader has gone.
            let _ = lines.try_send(line);
        }
    }

    /// Prints an event. It is dropped and counted if the queue is full.
    ///
    /// - `passing`: the event has no lasting content, and a newer one follows soon.
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

    /// Adds `events` to the number of dropped events: the caller has missed them.
    pub fn miss(&self, events: usize) {
        self.missed.fetch_add(events, Ordering::Relaxed);
    }

    /// Returns the number of lines that the queue still accepts. Only the caller's thread adds
    /// lines, so the number does not fall meanwhile.
    fn room(&self) -> usize {
        self.lines.as_ref().map_or(0, |lines| WAITING - lines.len())
    }
}

impl Drop for EventOutput {
    /// Waits for the last lines to be printed, at most half a second: the reader may have stopped
    /// reading.
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.done.recv_timeout(LAST_LINES);
    }
}

/// Bound of the queue to the thread; when it is full the newest line is dropped and counted.
const WAITING: usize = 256;

/// The longest wait for the last lines at the end of the program.
const LAST_LINES: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes the place of the standard stream: accepts one line each time the test permits it.
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
    fn event_output_reports_dropped_events_before_the_next_event() {
        let (lines, reader) = Reader::of();
        // The printing thread itself holds at most one of the lines.
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
        // The number of dropped events is reported once.
        lines.event("more".to_owned(), false);
        assert_eq!(reader.next(), "more");
    }

    #[test]
    fn event_output_drops_transient_events_before_state_events() {
        let (lines, reader) = Reader::of();
        for _ in 0..WAITING {
            lines.event("level".to_owned(), true);
        }
        lines.event("state".to_owned(), false);
        let passing = (0..WAITING)
            .take_while(|_| reader.next() == "level")
            .count();
        // The printing thread itself holds at most one of the lines.
        assert!((0..=1).contains(&(passing - WAITING / 2)), "{passing}");
        // The event in between was the report of dropped events.
        assert_eq!(reader.next(), "state");
    }
}
