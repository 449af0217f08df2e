//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use mixminus::cli::{self, Cli};

/// What a crowd used goes back to the system once it has left.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(Cli::read())
}
