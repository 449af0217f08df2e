//! The report of a comparison: pairs as tables, plots and lines for scripts.

use super::{Case, Seen};
use crate::bench::load::{number, table};
use crate::bench::report::{Plot, PlotKind, Report, Series, Table, quantile};
use crate::bench::target::TargetSpec;

/// The report of a comparison; [`CompareReport::add`] adds each pair of measurements.
#[derive(Debug)]
pub(super) struct CompareReport {
    targets: [String; 2],
    cases: Vec<(Case, Vec<[Seen; 2]>)>,
}

impl CompareReport {
    pub(super) fn new(targets: [&TargetSpec; 2], cases: &[Case]) -> CompareReport {
        CompareReport {
            targets: targets.map(TargetSpec::to_string),
            cases: cases.iter().map(|case| (*case, Vec::new())).collect(),
        }
    }

    /// Adds the measurements of both servers to case number `case`; ignores `seen` unless it holds
    /// exactly two measurements.
    pub(super) fn add(&mut self, case: usize, seen: Vec<Seen>) {
        if let Ok(pair) = <[Seen; 2]>::try_from(seen) {
            self.cases[case].1.push(pair);
        }
    }

    pub(super) fn report(self) -> Report {
        let [first, second] = &self.targets;
        let mut report = Report::new(format!("{first} against {second}"));
        report.notes = NOTES.map(str::to_owned).to_vec();
        report.notes.extend(self.strugglers());
        report.tables = vec![self.ratios(), self.details()];
        report.plots = vec![self.plot()];
        for (case, pairs) in &self.cases {
            let key = case.key();
            for (target, name) in ["first", "second"].into_iter().enumerate() {
                let of =
                    |figure: fn(Case, &Seen) -> f64| median(&one(pairs, target, *case, figure));
                for (what, figure) in FIGURES {
                    report.value(format!("{key}_{name}_{what}"), of(figure));
                }
            }
            let ratios = ratios(*case, pairs);
            report.value(format!("{key}_ratio_median"), median(&ratios));
            report.value(format!("{key}_ratio_min"), quantile(&ratios, 0.0));
            report.value(format!("{key}_ratio_max"), quantile(&ratios, 1.0));
        }
        report.values.retain(|(_, value)| value.is_finite());
        report
    }

    fn ratios(&self) -> Table {
        let [first, second] = &self.targets;
        let row = |(case, pairs): &(Case, Vec<[Seen; 2]>)| {
            let ratios = ratios(*case, pairs);
            let cost = |target| median(&one(pairs, target, *case, |case, seen| seen.cost(case)));
            vec![
                case.to_string(),
                number(cost(0), 4),
                number(cost(1), 4),
                number(median(&ratios), 2),
                number(quantile(&ratios, 0.0), 2),
                number(quantile(&ratios, 1.0), 2),
                pairs.len().to_string(),
            ]
        };
        let first = format!("{first}: CPU %");
        let second = format!("{second}: CPU %");
        table(
            "What the second costs over what the first costs",
            &["case", &first, &second, "ratio", "least", "most", "pairs"],
            self.cases.iter().map(row).collect(),
        )
    }

    /// Returns a table with every single run.
    fn details(&self) -> Table {
        let mut rows = Vec::new();
        for (case, pairs) in &self.cases {
            for (pair, seen) in pairs.iter().enumerate() {
                for (target, seen) in self.targets.iter().zip(seen) {
                    let mut row = vec![case.to_string(), (pair + 1).to_string(), target.clone()];
                    row.extend(
                        FIGURES
                            .iter()
                            .map(|(_, figure)| number(figure(*case, seen), 3)),
                    );
                    rows.push(row);
                }
            }
        }
        let mut columns = vec!["case", "pair", "server"];
        columns.extend(FIGURES.iter().map(|(what, _)| *what));
        table("Every run", &columns, rows)
    }

    /// Returns a note for each server that did not keep up: its lower cost only shows that it did
    /// less work.
    fn strugglers(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (case, pairs) in &self.cases {
            for (number, target) in self.targets.iter().enumerate() {
                let worst = |figure: fn(Case, &Seen) -> f64| {
                    quantile(&one(pairs, number, *case, figure), 1.0)
                };
                let lost = worst(|_, seen| seen.after.tally.lost_percent());
                let off = worst(|_, seen| seen.after.tally.off_beat_ms(99.0));
                if lost > STRUGGLES_LOST_PERCENT || off > STRUGGLES_OFF_BEAT_MS {
                    notes.push(format!(
                        "{target} did not keep up ({case}: {lost:.2} % lost, p99 {off:.0} ms off the beat). What it cost \
                         is what it cost to do less than it should."
                    ));
                }
            }
        }
        notes
    }

    fn plot(&self) -> Plot {
        let series = |(case, pairs): &(Case, Vec<[Seen; 2]>)| Series {
            name: case.to_string(),
            points: ratios(*case, pairs)
                .into_iter()
                .enumerate()
                .map(|(pair, ratio)| ((pair + 1) as f64, ratio))
                .collect(),
        };
        Plot {
            title: "Ratios".to_owned(),
            x: "pair".to_owned(),
            y: "second over first".to_owned(),
            kind: PlotKind::Bars,
            log_x: false,
            series: self.cases.iter().map(series).collect(),
        }
    }
}

/// The name of a value, and the function that computes it for one server in one case.
type Figure = (&'static str, fn(Case, &Seen) -> f64);

const FIGURES: [Figure; 12] = [
    ("cost_percent", |case, seen| seen.cost(case)),
    ("cpu_percent_before", |_, seen| seen.before.cpu_percent()),
    ("cpu_percent", |_, seen| seen.after.cpu_percent()),
    ("kb_each", |_, seen| {
        (seen.after.rss_bytes() - seen.before.rss_bytes()) / seen.heads as f64 / 1e3
    }),
    ("threads", |_, seen| {
        seen.after
            .server
            .map_or(f64::NAN, |usage| usage.threads as f64)
    }),
    ("threads_more", |_, seen| {
        let threads = |server: Option<crate::bench::procfs::Usage>| {
            server.map_or(f64::NAN, |usage| usage.threads as f64)
        };
        threads(seen.after.server) - threads(seen.before.server)
    }),
    ("kbps", |_, seen| seen.after.tally.payload_kbps()),
    ("lost_percent", |_, seen| seen.after.tally.lost_percent()),
    ("left_out_percent", |_, seen| {
        seen.after.tally.skipped_percent()
    }),
    ("off_beat_ms_p50", |_, seen| {
        seen.after.tally.off_beat_ms(50.0)
    }),
    ("off_beat_ms_p99", |_, seen| {
        seen.after.tally.off_beat_ms(99.0)
    }),
    ("misses", |_, seen| seen.after.misses()),
];

fn one(pairs: &[[Seen; 2]], target: usize, case: Case, figure: fn(Case, &Seen) -> f64) -> Vec<f64> {
    pairs
        .iter()
        .map(|pair| figure(case, &pair[target]))
        .collect()
}

fn ratios(case: Case, pairs: &[[Seen; 2]]) -> Vec<f64> {
    let ratio = |[first, second]: &[Seen; 2]| second.cost(case) / first.cost(case);
    pairs.iter().map(ratio).collect()
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The limits beyond which a server did not keep up, whatever the load of the machine: packets lost
/// in percent, and the time off the beat in ms. At 60 ms a packet is three frames late.
const STRUGGLES_LOST_PERCENT: f64 = 0.1;
const STRUGGLES_OFF_BEAT_MS: f64 = 60.0;

const NOTES: [&str; 4] = [
    "CPU is of one core, user and system time of the server's process. A listener's share is what the server costs more \
     with the listeners than with the talkers alone, in the same run, divided by their number.",
    "Every run starts its server anew. The two runs of a pair follow each other; a ratio is taken within its pair.",
    "Listeners with DTX send as they would to a server whose answer says usedtx=1, also to one whose answer does not.",
    "A server that is not started here has no CPU figures.",
];
