//! Reads all metrics that a server exports in the Prometheus text format. No metric needs to be
//! known by name.

use std::collections::BTreeMap;

/// All values of one response to `GET /metrics`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters {
    values: BTreeMap<String, f64>,
    counters: Vec<String>,
}

impl Counters {
    /// Parses a page in the text format; ignores lines that hold no value.
    pub(super) fn read(page: &str) -> Counters {
        let mut read = Counters::default();
        for line in page.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                match declared.split_once(' ') {
                    Some((name, "counter")) => read.counters.push(name.to_owned()),
                    Some((name, "histogram")) => read
                        .counters
                        .extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"))),
                    _ => {}
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

    /// Returns the increase of counters since `before`, and the current values of gauges. Each
    /// histogram is replaced by its percentiles 50, 99 and 99.9, each the upper bound of a bucket.
    pub(super) fn since(&self, before: &Counters) -> BTreeMap<String, f64> {
        let grown = |(name, value): (&String, &f64)| {
            let family = name.split('{').next().unwrap_or(name);
            let is_counter = self.counters.iter().any(|counter| counter == family);
            let then = before.values.get(name).copied().unwrap_or(0.0);
            (name.clone(), if is_counter { value - then } else { *value })
        };
        let (parts, mut changes): (BTreeMap<_, _>, BTreeMap<_, _>) = self
            .values
            .iter()
            .map(grown)
            .partition(|(name, _)| name.contains("_bucket{"));
        for (name, mut buckets) in histograms(&parts) {
            buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            for (percentile, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                if let Some(bound) = bound_of(&buckets, share) {
                    changes.insert(format!("{name} {percentile}"), bound);
                }
            }
        }
        changes
    }
}

/// Returns the buckets of each histogram as (upper bound, count of values below it), by the
/// histogram's name and its other labels.
fn histograms(parts: &BTreeMap<String, f64>) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut histograms: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (part, count) in parts {
        let Some((family, labels)) = part.trim_end_matches('}').split_once("_bucket{") else {
            continue;
        };
        let (bound, others): (Vec<&str>, Vec<&str>) = labels
            .split(',')
            .partition(|label| label.starts_with("le=\""));
        let bound = bound
            .first()
            .and_then(|label| label.strip_prefix("le=\""))
            .and_then(|bound| bound.trim_end_matches('"').parse().ok());
        if let Some(bound) = bound {
            let name = match others.is_empty() {
                true => family.to_owned(),
                false => format!("{family}{{{}}}", others.join(",")),
            };
            histograms.entry(name).or_default().push((bound, *count));
        }
    }
    histograms
}

/// Returns the least upper bound below which this share of the values lies; `None` if nothing was
/// counted.
fn bound_of(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let (_, all) = buckets.last().filter(|(_, all)| *all > 0.0)?;
    let enough = buckets.iter().find(|(_, count)| *count >= share * all)?;
    Some(enough.0)
}

/// Returns the number of missed deadlines: the sum of all counters with one of the words [`MISSES`]
/// in their names.
pub(super) fn misses(changes: &BTreeMap<String, f64>) -> f64 {
    changes
        .iter()
        .filter(|(name, _)| name.contains("_total") && MISSES.iter().any(|it| name.contains(it)))
        .fold(0.0, |sum, (_, change)| sum + change)
}

/// Whether a metric's name shows that it is about mixing, so that it belongs in a report.
pub(super) fn is_about_mixing(name: &str) -> bool {
    ["mixer", "slot", "governor", "tick", "encode", "refused"]
        .iter()
        .any(|it| name.contains(it))
}

/// Words in the names of counters of missed deadlines.
const MISSES: [&str; 4] = ["missed", "skipped", "unfinished", "overdue"];

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "# HELP a_total A.\n# TYPE a_total counter\na_total 3\n# TYPE load gauge\nload 0.5\n";
    const AFTER: &str = "# TYPE a_total counter\na_total 10\n# TYPE load gauge\nload 0.25\n\
        # TYPE x_skipped_slots_total counter\nx_skipped_slots_total{mixer=\"0\"} 2\nx_skipped_slots_total{mixer=\"1\"} 1\nodd\n";

    #[test]
    fn prometheus_histograms_become_percentiles() {
        let page = |low: u32, high: u32, all: u32| {
            format!(
                "# TYPE late_seconds histogram\nlate_seconds_bucket{{mixer=\"0\",le=\"0.001\"}} {low}\n\
                 late_seconds_bucket{{mixer=\"0\",le=\"0.01\"}} {high}\n\
                 late_seconds_bucket{{mixer=\"0\",le=\"+Inf\"}} {all}\n"
            )
        };
        let before = Counters::read(&page(5, 9, 100));
        let changes = Counters::read(&page(905, 1_008, 1_100)).since(&before);
        let bound = |name: &str| changes[&format!("late_seconds{{mixer=\"0\"}} {name}")];
        assert_eq!((bound("p50"), bound("p99")), (0.001, 0.01));
        assert_eq!(bound("p99.9"), 0.01);
        assert_eq!(changes.len(), 3);
        assert!(before.since(&before).is_empty(), "nothing was counted");
    }

    #[test]
    fn prometheus_counters_are_distinguished_from_gauges() {
        let changes = Counters::read(AFTER).since(&Counters::read(BEFORE));
        assert_eq!(changes["a_total"], 7.0);
        assert_eq!(changes["load"], 0.25);
        assert_eq!(changes.len(), 4);
        assert_eq!(misses(&changes), 3.0);
        assert_eq!(misses(&BTreeMap::new()).to_string(), "0");
    }
}
