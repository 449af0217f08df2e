//! The machine and the date of a measurement, without which its values mean nothing.

use std::time::SystemTime;

use serde::Serialize;

/// The machine on which a report was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's name.
    pub cpu: String,
    /// The system's name and version.
    pub kernel: String,
    /// Date of the measurement, in UTC.
    pub date: String,
    /// Version of this program.
    pub version: String,
}

impl Machine {
    /// Describes this machine. Whatever the system does not report is "unknown".
    pub fn here(now: SystemTime) -> Machine {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = rustix::system::uname();
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu_of(&cpus),
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            date: httpdate::fmt_http_date(now),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Returns the name of the first processor: "model name" on most machines, "Model" or "Hardware" on
/// boards.
fn cpu_of(cpus: &str) -> String {
    let named = |key: &str| {
        cpus.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    named("model name")
        .or_else(|| named("Model"))
        .or_else(|| named("Hardware"))
        .unwrap_or_else(|| "unknown processor".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_name_is_found_on_pcs_and_boards() {
        let desk = "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\nflags: a b\n";
        assert_eq!(cpu_of(desk), "Fast CPU @ 3 GHz");
        assert_eq!(cpu_of("Model\t\t: Board 4 Rev 1.2\n"), "Board 4 Rev 1.2");
        assert_eq!(cpu_of(""), "unknown processor");
    }

    #[test]
    fn report_shows_the_date_passed_to_it() {
        let machine = Machine::here(SystemTime::UNIX_EPOCH);
        assert_eq!(machine.date, "Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(!machine.kernel.trim().is_empty());
    }
}
