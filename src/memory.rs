//! Locks the process's memory, so that page faults do not delay audio.
//!
//! A thread that touches an absent page waits for the kernel: for a lock that all threads of the
//! process share, and at worst for a disk. Memory that the mixer threads write is touched when it
//! is allocated, on other threads. Locking keeps the kernel from evicting the program, the stacks
//! and the tables that exist when the server has started. Memory that is allocated later, by joins
//! and rooms, is not locked: the allocator cannot return locked memory while parts of it are in
//! use, so an empty server would keep the memory of its largest crowd.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

/// Why the memory of the process was not locked.
#[derive(Debug, Error)]
pub enum NotLocked {
    /// A limit on locked memory applies to the process. Nothing is locked then, because an
    /// allocation that extends locked memory beyond the limit fails.
    #[error("the system allows only {limit_bytes} bytes to be locked (RLIMIT_MEMLOCK)")]
    Limited {
        /// The limit, `RLIMIT_MEMLOCK`.
        limit_bytes: u64,
    },
    /// The system call `mlockall` failed.
    #[error("the system refused to lock memory: {0}")]
    Refused(#[from] io::Error),
}

/// Locks all present mappings of the process in memory, if no limit on locked memory applies to it.
/// Each page is locked when it is first touched.
///
/// # Errors
/// [`NotLocked`]; nothing is locked then, and the process runs on as before.
pub fn lock() -> Result<(), NotLocked> {
    if let Some(limit_bytes) = getrlimit(Resource::Memlock).current
        && !is_exempt()
    {
        return Err(NotLocked::Limited { limit_bytes });
    }
    // Lock pages only when they are touched: stacks and arenas are mostly untouched, and locking
    // all of them would fill them with memory.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(io::Error::from)?;
    Ok(())
}

/// Returns whether the process may lock memory without limit: it has CAP_IPC_LOCK in the initial
/// user namespace.
fn is_exempt() -> bool {
    let has_capability =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    has_capability && ids.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether the mapping at an address is locked (proc(5), `VmFlags` of
    /// `/proc/pid/smaps`).
    fn is_locked(address: usize) -> bool {
        let mappings = std::fs::read_to_string("/proc/self/smaps").expect("Linux");
        let starts_at = |line: &str| {
            let (from, rest) = line.split_once('-')?;
            let (to, _) = rest.split_once(' ')?;
            let from = usize::from_str_radix(from, 16).ok()?;
            Some(from..usize::from_str_radix(to, 16).ok()?)
        };
        let mut lines = mappings.lines();
        lines.find(|line| starts_at(line).is_some_and(|range| range.contains(&address)));
        let flags = lines.find_map(|line| line.strip_prefix("VmFlags:"));
        let flags = flags.expect("each mapping has some");
        flags.split_whitespace().any(|flag| flag == "lo")
    }

    #[test]
    fn memory_is_locked_or_the_limit_is_named() {
        match lock() {
            Ok(()) => {
                let code = lock as fn() -> Result<(), NotLocked>;
                assert!(is_locked(code as usize));
                // Larger than any freed memory that an allocator would reuse.
                let later = std::hint::black_box(vec![1u8; 128 << 20]);
                assert!(!is_locked(later.as_ptr() as usize), "it can be given back");
            }
            Err(NotLocked::Limited { limit_bytes }) => {
                assert_eq!(getrlimit(Resource::Memlock).current, Some(limit_bytes));
            }
            Err(NotLocked::Refused(error)) => panic!("{error}"),
        }
    }
}
