//! Memory that stays in memory.
//!
//! A thread that touches a page that is not there waits for the system: for a lock that all threads of the process share,
//! and at worst for a disk. What mixers write for the first time has been touched when it was built. The lock keeps the
//! program, the stacks and the tables that are there when the server has started from being taken away again. Memory that
//! joins and rooms allocate later is not locked: locked memory cannot be given back while its neighbours are in use, and an
//! empty server would keep what its largest crowd needed.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

/// The memory of the process is not locked.
#[derive(Debug, Error)]
pub enum NotLocked {
    /// The system sets a limit. Below a limit memory is left alone: once it is reached, nothing could be allocated any
    /// more.
    #[error("the system allows only {limit_bytes} bytes to be locked (RLIMIT_MEMLOCK)")]
    Limited {
        /// `RLIMIT_MEMLOCK`.
        limit_bytes: u64,
    },
    /// The system refuses.
    #[error("the system refused to lock memory: {0}")]
    Refused(#[from] io::Error),
}

/// Keeps in memory what the process has by now, each page from when it is first touched, where there is no limit to it.
///
/// # Errors
/// [`NotLocked`]; everything works as before.
pub fn lock() -> Result<(), NotLocked> {
    if let Some(limit_bytes) = getrlimit(Resource::Memlock).current
        && !is_exempt()
    {
        return Err(NotLocked::Limited { limit_bytes });
    }
    // Each page when it is first touched: stacks and arenas are mostly air, which would all be filled otherwise.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(io::Error::from)?;
    Ok(())
}

/// Whether no limit applies to this process: it has CAP_IPC_LOCK, and not just within a user namespace of its own.
fn is_exempt() -> bool {
    let has_capability =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    has_capability && ids.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the mapping at an address is locked (proc(5), `VmFlags` of `/proc/pid/smaps`).
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
                // More than any allocator keeps of what was freed before.
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
