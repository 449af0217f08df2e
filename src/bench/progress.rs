//! The progress of a benchmark, on standard error: a bar on a terminal, otherwise a line every few
//! seconds.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A progress display on standard error: a bar on a terminal, otherwise log lines.
///
/// Any thread may update it, as often as convenient.
#[derive(Debug)]
pub struct Progress(Shown);

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

impl Progress {
    /// Shows a display for `total` steps, labelled `what`.
    pub fn new(what: &str, total: u64) -> Progress {
        if !stderr().is_terminal() {
            return Progress(Shown::Lines(Mutex::new(Lines::new(what, total))));
        }
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is sound");
        let bar = ProgressBar::new(total)
            .with_style(style)
            .with_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress(Shown::Bar(bar))
    }

    /// Returns a progress display that shows nothing.
    pub fn hidden() -> Progress {
        Progress(Shown::Nothing)
    }

    /// Sets the number of steps done.
    pub fn set(&self, done: u64) -> &Progress {
        match &self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_position(done),
            Shown::Lines(lines) => say(lines, |lines| lines.done = done),
        }
        self
    }

    /// Sets the text about the current step that is shown beside the count.
    pub fn note(&self, note: impl Into<String>) -> &Progress {
        match &self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_message(note.into()),
            Shown::Lines(lines) => say(lines, |lines| lines.note = note.into()),
        }
        self
    }

    /// Removes the bar, because the result follows.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn say(lines: &Mutex<Lines>, change: impl FnOnce(&mut Lines)) {
    // A thread that panicked while it reported progress leaves no invalid state.
    let mut lines = lines
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    change(&mut lines);
    if let Some(line) = lines.line(Instant::now()) {
        eprintln!("{line}");
    }
}

#[derive(Debug)]
struct Lines {
    what: String,
    total: u64,
    done: u64,
    note: String,
    said: Option<Instant>,
}

impl Lines {
    fn new(what: &str, total: u64) -> Lines {
        Lines {
            what: what.to_owned(),
            total,
            done: 0,
            note: String::new(),
            said: None,
        }
    }

    /// Returns the line to print, unless the previous line was printed less than five seconds ago.
    fn line(&mut self, now: Instant) -> Option<String> {
        let due = self.said.is_none_or(|said| now - said >= EVERY);
        if !due {
            return None;
        }
        self.said = Some(now);
        let Lines {
            what,
            total,
            done,
            note,
            ..
        } = self;
        let line = format!("{what}: {done} of {total} {note}");
        Some(line.trim_end().to_owned())
    }
}

const TEMPLATE: &str = "{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}";

/// The time between two lines if standard error is not a terminal.
const EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_come_at_most_every_five_seconds() {
        let start = Instant::now();
        let mut lines = Lines::new("rooms", 10);
        assert_eq!(lines.line(start).as_deref(), Some("rooms: 0 of 10"));
        lines.done = 4;
        lines.note = "talking".to_owned();
        assert_eq!(lines.line(start + Duration::from_secs(4)), None);
        assert_eq!(
            lines.line(start + Duration::from_secs(5)).as_deref(),
            Some("rooms: 4 of 10 talking")
        );
    }

    #[test]
    fn hidden_progress_display_stores_and_prints_nothing() {
        let hidden = Progress::hidden();
        hidden.set(3).note("n").finish();
        assert!(matches!(hidden.0, Shown::Nothing));
    }

    #[test]
    fn progress_line_in_a_log_shows_the_latest_count_and_note() {
        let progress = Progress(Shown::Lines(Mutex::new(Lines::new("rooms", 10))));
        progress.set(3).note("talking").set(4).finish();
        let Shown::Lines(lines) = &progress.0 else {
            panic!("made as lines");
        };
        let mut lines = lines.lock().expect("no panic while held");
        assert_eq!(
            lines.line(Instant::now() + EVERY).as_deref(),
            Some("rooms: 4 of 10 talking")
        );
    }
}
