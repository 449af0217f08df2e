//! The `mixminus` binary: parses the command line and runs the chosen subcommand.

use std::process::ExitCode;

use mixminus::cli::{self, Cli};

/// jemalloc, because it returns the memory of participants that have left to the system; glibc
/// keeps most of it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(Cli::read())
}
