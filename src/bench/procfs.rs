//! The resource use of a process, read from procfs (`proc(5)`).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The counters of a process at one instant.
#[derive(Debug, Clone)]
pub struct Sample {
    at: Instant,
    /// The counters of each thread by its id. The kernel drops those of a thread when it ends.
    threads: HashMap<u32, Thread>,
    rss_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Thread {
    on_cpu: Duration,
    switches: u64,
}

/// The resource use of a process between two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time in percent of one processor.
    pub cpu_percent: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
    /// Number of threads at the end.
    pub threads: usize,
    /// Context switches per second, voluntary and involuntary.
    pub switches_per_second: f64,
}

impl Sample {
    /// Samples a process; `None` if there is no such process.
    pub fn of(pid: u32) -> Option<Sample> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(process.join("status")).ok()?;
        let mut threads = HashMap::new();
        for entry in fs::read_dir(process.join("task")).ok()?.flatten() {
            let id = entry.file_name().to_str().and_then(|id| id.parse().ok());
            // A thread may end while it is read.
            if let (Some(id), Some(thread)) = (id, thread(&entry.path())) {
                threads.insert(id, thread);
            }
        }
        Some(Sample {
            at: Instant::now(),
            threads,
            rss_bytes: field(&status, "VmRSS:")? * 1_024,
        })
    }

    /// Returns the resident memory in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.rss_bytes
    }

    /// Returns the resource use since `before`.
    ///
    /// What a thread consumed between `before` and its end, if it ended meanwhile, is not counted.
    pub fn since(&self, before: &Sample) -> Usage {
        let seconds = (self.at - before.at).as_secs_f64().max(1e-9);
        let mut on_cpu = Duration::ZERO;
        let mut switches = 0;
        for (id, thread) in &self.threads {
            let then = before.threads.get(id).copied().unwrap_or_default();
            on_cpu += thread.on_cpu.saturating_sub(then.on_cpu);
            switches += thread.switches.saturating_sub(then.switches);
        }
        Usage {
            cpu_percent: 100.0 * on_cpu.as_secs_f64() / seconds,
            rss_bytes: self.rss_bytes,
            threads: self.threads.len(),
            switches_per_second: switches as f64 / seconds,
        }
    }
}

fn thread(task: &Path) -> Option<Thread> {
    let on_cpu = fs::read_to_string(task.join("schedstat")).ok()?;
    let status = fs::read_to_string(task.join("status")).ok()?;
    let switches = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
    Some(Thread {
        on_cpu: Duration::from_nanos(on_cpu.split(' ').next()?.parse().ok()?),
        switches: switches
            .iter()
            .filter_map(|name| field(&status, name))
            .sum(),
    })
}

/// Returns the number that follows `name` at the start of a line of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procfs_numbers_are_found_at_the_start_of_lines() {
        let status = "Name:\tVmRSS:\nVmRSS:\t  2048 kB\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(status, "VmRSS:"), Some(2_048));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(9));
        assert_eq!(field(status, "Threads:"), None);
    }

    #[test]
    fn procfs_usage_shows_cpu_time() {
        let before = Sample::of(std::process::id()).expect("this process");
        let began = Instant::now();
        let mut sum = 0u64;
        while began.elapsed() < Duration::from_millis(30) {
            sum = sum.wrapping_add(rand::random::<u64>());
        }
        let usage = Sample::of(std::process::id())
            .expect("this process")
            .since(&before);
        assert!(usage.cpu_percent > 0.0, "{usage:?} {sum}");
        assert!(usage.rss_bytes > 1_000_000 && usage.threads > 0);
        assert!(Sample::of(u32::MAX).is_none());
    }

    #[test]
    fn procfs_usage_survives_threads_that_come_and_go() {
        let thread = |ms, switches| Thread {
            on_cpu: Duration::from_millis(ms),
            switches,
        };
        let at = Instant::now();
        let before = Sample {
            at,
            threads: HashMap::from([(1, thread(500, 5)), (2, thread(900, 9))]),
            rss_bytes: 1,
        };
        let after = Sample {
            at: at + Duration::from_secs(2),
            threads: HashMap::from([(1, thread(700, 15)), (3, thread(100, 10))]),
            rss_bytes: 2,
        };
        let usage = after.since(&before);
        assert!((usage.cpu_percent - 15.0).abs() < 1e-6);
        assert!((usage.switches_per_second - 10.0).abs() < 1e-6);
        assert_eq!((usage.threads, usage.rss_bytes), (2, 2));
    }
}
