//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use mixminus::cli::{self, Cli};

/// jemalloc gives the memory of participants back to the system once they have left; glibc keeps most of it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(Cli::read())
}
