//! Child processes that do not outlive the benchmark, and their temporary directories.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::TargetError;

/// A running process with a directory of its own. Dropping it removes both.
pub(in crate::bench) struct Process {
    program: String,
    child: Child,
    directory: Directory,
}

impl Process {
    /// Starts `command` and returns its process with the lines of its standard output; its standard
    /// error goes to a file in `directory`.
    pub(in crate::bench) fn start(
        program: &str,
        mut command: Command,
        directory: Directory,
    ) -> Result<(Process, mpsc::Receiver<String>), TargetError> {
        let log = directory.create(LOG)?;
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        let mut child = spawned.map_err(|source| TargetError::Spawn {
            program: program.to_owned(),
            source,
        })?;
        let lines = child.stdout.take().map(lines_of);
        let process = Process {
            program: program.to_owned(),
            child,
            directory,
        };
        let lines = lines.ok_or_else(|| process.not_ready())?;
        Ok((process, lines))
    }

    /// Returns the process id.
    pub(in crate::bench) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended by itself.
    pub(in crate::bench) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the error for a process that did not become ready, with the end of its log.
    pub(in crate::bench) fn not_ready(&self) -> TargetError {
        let said = fs::read(self.directory.path().join(LOG)).unwrap_or_default();
        TargetError::NotReady {
            program: self.program.clone(),
            said: end_of(&said),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        if !self.has_ended() && kill_process(pid, Signal::TERM).is_ok() {
            let asked = Instant::now();
            while !self.has_ended() && asked.elapsed() < END_TIME {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary directory. Dropping it removes it.
pub(in crate::bench) struct Directory(PathBuf);

impl Directory {
    /// Creates a directory with a random name.
    pub(in crate::bench) fn new() -> Result<Directory, TargetError> {
        let name = format!(
            "mixminus-bench-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|source| TargetError::Prepare {
            what: "a temporary directory",
            source,
        })?;
        Ok(Directory(path))
    }

    /// Returns the path of the directory.
    pub(in crate::bench) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file to the directory.
    pub(in crate::bench) fn write(&self, name: &str, text: &str) -> Result<(), TargetError> {
        fs::write(self.0.join(name), text).map_err(|source| TargetError::Prepare {
            what: "a temporary file",
            source,
        })
    }

    fn create(&self, name: &str) -> Result<File, TargetError> {
        File::create(self.0.join(name)).map_err(|source| TargetError::Prepare {
            what: "a log file",
            source,
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, directory = %self.0.display(), "cannot remove a temporary directory");
        }
    }
}

/// Returns the last bytes of a program's output as text, for an error.
pub(in crate::bench) fn end_of(said: &[u8]) -> String {
    let said = &said[said.len().saturating_sub(SHOWN_BYTES)..];
    String::from_utf8_lossy(said).trim().to_owned()
}

/// Reads all lines of a process on a thread of its own, so that the process never blocks on its
/// output. Lines that nobody takes are dropped.
fn lines_of(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (lines_in, lines) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = lines_in.try_send(line);
        }
    });
    lines
}

/// Name of the file that receives the standard error of a process.
const LOG: &str = "log";

/// How long a process may take to end after it is asked to.
const END_TIME: Duration = Duration::from_secs(5);

/// How much of a log is shown.
const SHOWN_BYTES: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_a_process_ends_it_and_removes_its_directory() {
        let directory = Directory::new().expect("a directory");
        let path = directory.path().to_owned();
        let mut command = Command::new("sh");
        command.args(["-c", "echo ready; echo so it is >&2; exec sleep 60"]);
        let (process, mut lines) = Process::start("sh", command, directory).expect("a shell");
        assert_eq!(lines.blocking_recv().as_deref(), Some("ready"));
        let pid = process.pid();
        while !process.not_ready().to_string().contains("so it is") {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(process);
        assert!(!path.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn target_error_shows_only_the_end_of_a_long_log() {
        assert_eq!(end_of(b" short \n"), "short");
        assert_eq!(end_of(&[b'x'; 10_000]).len(), SHOWN_BYTES);
    }
}
