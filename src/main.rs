//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use mixminus::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::read())
}
