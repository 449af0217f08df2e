//! The report of the floor requests.

use std::time::Duration;

use crate::bench::report::{Plot, PlotKind, Report, Series, Table, quantile, quantile_points};

/// The outcome of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The floor was granted at once.
    Granted,
    /// The request was queued, and the floor granted later.
    Queued,
    /// The request was denied.
    Denied,
    /// There was no valid response.
    Failed,
    /// The floor was not granted in time, and the request was withdrawn.
    Abandoned,
}

impl Fate {
    const ALL: [Fate; 5] = [
        Fate::Granted,
        Fate::Queued,
        Fate::Denied,
        Fate::Failed,
        Fate::Abandoned,
    ];

    fn name(self) -> &'static str {
        match self {
            Fate::Granted => "granted",
            Fate::Queued => "queued",
            Fate::Denied => "denied",
            Fate::Failed => "failed",
            Fate::Abandoned => "abandoned",
        }
    }
}

/// The outcome of one floor request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    pub fate: Fate,
    /// The time from the press of the key to the outcome.
    pub took: Duration,
}

/// The report of all floor requests, separately for requests over the data channel and over HTTP.
pub(super) struct FloorReport {
    conditions: String,
    ways: Vec<(&'static str, Vec<Seen>)>,
}

impl FloorReport {
    pub fn new(conditions: String) -> FloorReport {
        FloorReport {
            conditions,
            ways: Vec::new(),
        }
    }

    /// Adds the outcomes of all requests over the data channel or over HTTP; `way` names which.
    pub fn add(&mut self, way: &'static str, seen: Vec<Seen>) {
        self.ways.push((way, seen));
    }

    pub fn report(&self) -> Report {
        let mut report = Report::new(format!("Access to the floor: {}", self.conditions));
        report.notes = NOTES.map(str::to_owned).to_vec();
        report.tables = vec![self.counts(), self.times()];
        report.plots = vec![self.plot()];
        for (way, seen) in &self.ways {
            report.value(format!("floor_{way}_requests"), seen.len() as f64);
            for fate in Fate::ALL {
                let count = times_ms(seen, &[fate]).len();
                report.value(format!("floor_{way}_{}", fate.name()), count as f64);
            }
            for (name, fates) in TIMED {
                let times_ms = times_ms(seen, fates);
                for (mark, q) in MARKS {
                    let value = quantile(&times_ms, q);
                    report.value(format!("floor_{way}_{name}_{mark}_ms"), value);
                }
            }
        }
        report.values.retain(|(_, value)| value.is_finite());
        report
    }

    fn counts(&self) -> Table {
        let mut columns = vec!["way".to_owned(), "requests".to_owned()];
        columns.extend(Fate::ALL.map(|fate| fate.name().to_owned()));
        let row = |(way, seen): &(&str, Vec<Seen>)| {
            let mut row = vec![(*way).to_owned(), seen.len().to_string()];
            row.extend(Fate::ALL.map(|fate| times_ms(seen, &[fate]).len().to_string()));
            row
        };
        Table {
            title: "What became of the requests".to_owned(),
            columns,
            rows: self.ways.iter().map(row).collect(),
        }
    }

    fn times(&self) -> Table {
        let mut columns = vec!["way".to_owned(), "which".to_owned(), "requests".to_owned()];
        columns.extend(MARKS.map(|(mark, _)| format!("{mark} ms")));
        let row = |way: &str, name: &str, seen: &[Seen], fates: &[Fate]| {
            let times_ms = times_ms(seen, fates);
            let mut row = vec![way.to_owned(), name.to_owned(), times_ms.len().to_string()];
            row.extend(MARKS.map(|(_, q)| ms(quantile(&times_ms, q))));
            row
        };
        let rows = self.ways.iter().flat_map(|(way, seen)| {
            TIMED.map(|(name, fates)| row(way, &name.replace('_', " "), seen, fates))
        });
        Table {
            title: "From the press to the floor".to_owned(),
            columns,
            rows: rows.collect(),
        }
    }

    fn plot(&self) -> Plot {
        let series = self.ways.iter().flat_map(|(way, seen)| {
            [("granted", Fate::Granted), ("queued", Fate::Queued)].map(|(name, fate)| Series {
                name: format!("{way}, {name}"),
                points: quantile_points(&times_ms(seen, &[fate])),
            })
        });
        Plot {
            title: "Time to the floor by percentile".to_owned(),
            x: "percentile".to_owned(),
            y: "ms from the press to the floor".to_owned(),
            kind: PlotKind::Percentiles,
            log_x: true,
            series: series
                .filter(|series: &Series| !series.points.is_empty())
                .collect(),
        }
    }
}

fn times_ms(seen: &[Seen], fates: &[Fate]) -> Vec<f64> {
    let those = seen.iter().filter(|seen| fates.contains(&seen.fate));
    those.map(|seen| seen.took.as_secs_f64() * 1e3).collect()
}

fn ms(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.1}"),
        false => "-".to_owned(),
    }
}

/// The kinds of outcome for which percentiles of the access time are reported: granted at once,
/// granted after queueing, and both together.
const TIMED: [(&str, &[Fate]); 3] = [
    ("granted", &[Fate::Granted]),
    ("queued", &[Fate::Queued]),
    ("granted_or_queued", &[Fate::Granted, Fate::Queued]),
];

const MARKS: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

const NOTES: [&str; 2] = [
    "From the press, at the client, before anything is sent, to the arrival of the permission there; the clients are \
     real WebRTC clients, which talk from the press on. Granted is who got the floor with the answer to the request; \
     queued, who had to wait for others: that time is theirs, not the server's.",
    "Over HTTP the request is a PUT on a connection that is kept open; a place in the queue is its answer, and the turn is \
     told over the data channel, as it is to all.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_report_counts_each_outcome_and_times_only_grants() {
        let mut outcome = FloorReport::new("quiet".to_owned());
        let seen = |fate, ms| Seen {
            fate,
            took: Duration::from_millis(ms),
        };
        outcome.add(
            "data",
            vec![
                seen(Fate::Granted, 4),
                seen(Fate::Granted, 6),
                seen(Fate::Granted, 5),
                seen(Fate::Queued, 200),
                seen(Fate::Denied, 1),
                seen(Fate::Abandoned, 2_000),
            ],
        );
        let report = outcome.report();
        let value = |name: &str| {
            let found = report.values.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| *value)
        };
        assert_eq!(value("floor_data_requests"), Some(6.0));
        assert_eq!(value("floor_data_granted"), Some(3.0));
        assert_eq!(value("floor_data_failed"), Some(0.0));
        assert_eq!(value("floor_data_granted_p50_ms"), Some(5.0));
        assert_eq!(value("floor_data_granted_max_ms"), Some(6.0));
        assert_eq!(value("floor_data_queued_p50_ms"), Some(200.0));
        assert_eq!(value("floor_data_granted_or_queued_max_ms"), Some(200.0));
        assert!(report.tables.iter().all(|table| {
            let width = table.columns.len();
            table.rows.iter().all(|row| row.len() == width)
        }));
    }
}
