//! `mixminus join` as a process of its own.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::ffi::OsStr;
use std::process::{Child, Command};

/// A `mixminus join` process, killed at the latest when it is dropped.
pub struct Process(Child);

impl Process {
    /// Runs `mixminus join` with these arguments.
    pub fn join<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixminus"));
        command.arg("join").args(arguments);
        Process(command.spawn().expect("the binary was built with the test"))
    }

    /// Kills the process with `SIGKILL`, so that it cannot leave the room first.
    pub fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it is our own child");
    }

    /// Sends `SIGTERM` and panics unless the process exits successfully, which means that it has
    /// left and completed its recording. Blocks.
    pub fn stop(&mut self) {
        let id = self.0.id().to_string();
        let asked = Command::new("sh")
            .args(["-c", "kill -TERM $0", &id])
            .status();
        assert!(asked.is_ok_and(|status| status.success()), "it runs");
        let status = self.0.wait().expect("it is our own child");
        assert!(status.success(), "it ended with {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killing fails if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
