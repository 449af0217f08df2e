//! What a server counts of itself, in the Prometheus text format: shown by name, whatever it is.

use std::collections::BTreeMap;

/// All figures of a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters {
    values: BTreeMap<String, f64>,
    counters: Vec<String>,
}

impl Counters {
    /// Reads a page; what is no figure is left out.
    pub(super) fn read(page: &str) -> Counters {
        let mut read = Counters::default();
        for line in page.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                if let Some((name, "counter")) = declared.split_once(' ') {
                    read.counters.push(name.to_owned());
                }
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            if let Some((name, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse()
            {
                read.values.insert(name.to_owned(), value);
            }
        }
        read
    }

    /// How far counters have gone on since `before`, and what else stands at.
    pub(super) fn since(&self, before: &Counters) -> BTreeMap<String, f64> {
        let grown = |(name, value): (&String, &f64)| {
            let family = name.split('{').next().unwrap_or(name);
            let is_counter = self.counters.iter().any(|counter| counter == family);
            let then = before.values.get(name).copied().unwrap_or(0.0);
            (name.clone(), if is_counter { value - then } else { *value })
        };
        self.values.iter().map(grown).collect()
    }
}

/// How many deadlines were missed, by what the names say.
pub(super) fn misses(changes: &BTreeMap<String, f64>) -> f64 {
    changes
        .iter()
        .filter(|(name, _)| name.contains("_total") && MISSES.iter().any(|it| name.contains(it)))
        .fold(0.0, |sum, (_, change)| sum + change)
}

/// Whether a figure is about mixing, and so of interest beside a measurement of it.
pub(super) fn is_about_mixing(name: &str) -> bool {
    ["mixer", "governor", "tick", "encode", "refused"]
        .iter()
        .any(|it| name.contains(it))
}

/// Words for a deadline that was not met.
const MISSES: [&str; 4] = ["missed", "skipped", "unfinished", "overdue"];

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "# HELP a_total A.\n# TYPE a_total counter\na_total 3\n# TYPE load gauge\nload 0.5\n";
    const AFTER: &str = "# TYPE a_total counter\na_total 10\n# TYPE load gauge\nload 0.25\n\
        # TYPE x_skipped_slots_total counter\nx_skipped_slots_total{mixer=\"0\"} 2\nx_skipped_slots_total{mixer=\"1\"} 1\nodd\n";

    #[test]
    fn counters_are_told_from_levels() {
        let changes = Counters::read(AFTER).since(&Counters::read(BEFORE));
        assert_eq!(changes["a_total"], 7.0);
        assert_eq!(changes["load"], 0.25);
        assert_eq!(changes.len(), 4);
        assert_eq!(misses(&changes), 3.0);
        assert_eq!(misses(&BTreeMap::new()).to_string(), "0");
    }
}
