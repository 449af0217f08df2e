//! The report of a latency measurement: tables, plots and values for scripts.

use super::call::Findings;
use crate::bench::libwebrtc::{ClientKind, Inbound};
use crate::bench::report::{Plot, PlotKind, Report, Series, Table, quantile, quantile_points};

/// The report of all calls: through every target, and directly between two clients.
pub(super) struct LatencyReport {
    conditions: String,
    client: ClientKind,
    pub direct: Findings,
    pub targets: Vec<Found>,
}

/// All calls through one target.
pub(super) struct Found {
    name: String,
    pub findings: Findings,
}

impl LatencyReport {
    pub fn new(
        conditions: String,
        client: ClientKind,
        names: impl Iterator<Item = String>,
    ) -> LatencyReport {
        let found = |name| Found {
            name,
            findings: Findings::default(),
        };
        LatencyReport {
            conditions,
            client,
            direct: Findings::default(),
            targets: names.map(found).collect(),
        }
    }

    pub fn report(&self) -> Report {
        let mut report = Report::new(format!("Delay from mouth to ear: {}", self.conditions));
        let notes = match self.client {
            ClientKind::Own => OWN_NOTES,
            ClientKind::Libwebrtc => LIBWEBRTC_NOTES,
        };
        let notes = notes.iter().chain(&NOTES);
        report.notes = notes.map(|note| (*note).to_owned()).collect();
        report.tables = vec![self.added(), self.absolute()];
        report.tables.extend(self.receivers());
        report.plots = vec![self.distribution(), self.frequencies(), self.compromise()];
        let base_ms = self.base_ms();
        report.value("latency_direct_p50_ms", base_ms);
        let direct = self.direct.verdict.all_ms();
        report.value("latency_direct_p95_ms", quantile(&direct, 0.95));
        report.value(
            "latency_direct_damaged_percent",
            self.direct.verdict.damaged_percent(),
        );
        for found in &self.targets {
            for (name, value) in found.values(base_ms) {
                report.value(format!("latency_{}_{name}", found.slug()), value);
            }
        }
        report
    }

    /// Returns the median delay of the same clients without a server.
    fn base_ms(&self) -> f64 {
        quantile(&self.direct.verdict.all_ms(), 0.5)
    }

    fn added(&self) -> Table {
        let base_ms = self.base_ms();
        let row = |found: &Found| {
            let verdict = &found.findings.verdict;
            let mut row = vec![found.name.clone()];
            let all = verdict.all_ms();
            row.extend([0.5, 0.95, 0.99].map(|q| ms(quantile(&all, q) - base_ms)));
            row.extend([0.5, 0.95].map(|q| ms(quantile(&verdict.starts_ms, q) - base_ms)));
            row.extend([0.5, 0.95].map(|q| ms(quantile(&verdict.within_ms, q) - base_ms)));
            row.push(format!("{:.2}", verdict.damaged_percent()));
            row.extend([0.5, 0.95].map(|q| ms(quantile(&found.findings.first_audio_ms, q))));
            row
        };
        table(
            "Added by the server, and damaged",
            &[
                "target",
                "added p50 ms",
                "p95",
                "p99",
                "at spurt starts p50",
                "p95",
                "within p50",
                "p95",
                "damaged %",
                "first audio p50 ms",
                "p95",
            ],
            self.targets.iter().map(row).collect(),
        )
    }

    fn absolute(&self) -> Table {
        let row = |name: &str, findings: &Findings| {
            let verdict = &findings.verdict;
            let all = verdict.all_ms();
            let spoken = all.len() + verdict.missed;
            let mut row = vec![name.to_owned(), format!("{} of {spoken}", all.len())];
            row.extend([0.05, 0.5, 0.95, 0.99, 1.0].map(|q| ms(quantile(&all, q))));
            row.push(verdict.hops.to_string());
            row.push(verdict.damaged.to_string());
            row
        };
        let mut rows = vec![row("direct", &self.direct)];
        let targets = self.targets.iter();
        rows.extend(targets.map(|found| row(&found.name, &found.findings)));
        table(
            "From mouth to ear",
            &[
                "through",
                "chirps found",
                "p5 ms",
                "p50",
                "p95",
                "p99",
                "max",
                "hops",
                "damaged",
            ],
            rows,
        )
    }

    /// Returns the delays of the direct connections, then those of each target, with the name of
    /// each.
    fn curves(&self) -> impl Iterator<Item = (&str, Vec<f64>)> {
        let direct = ("direct", self.direct.verdict.all_ms());
        let targets = self.targets.iter();
        std::iter::once(direct)
            .chain(targets.map(|found| (found.name.as_str(), found.findings.verdict.all_ms())))
    }

    /// Returns what the receivers' jitter buffers changed, if the clients report it.
    fn receivers(&self) -> Option<Table> {
        let direct = ("direct", &self.direct);
        let targets = self.targets.iter();
        let targets = targets.map(|found| (found.name.as_str(), &found.findings));
        let rows: Vec<Vec<String>> = std::iter::once(direct)
            .chain(targets)
            .filter_map(|(name, findings)| {
                let shares = receiver_values(findings.receiver.as_ref()?);
                let shares = shares.map(|(_, share)| format!("{share:.3}"));
                Some([name.to_owned()].into_iter().chain(shares).collect())
            })
            .collect();
        let columns = ["through", "inserted %", "removed %", "concealed %"];
        (!rows.is_empty())
            .then(|| table("Changed by the receivers' jitter buffers", &columns, rows))
    }

    fn distribution(&self) -> Plot {
        let curve = |(name, all): (&str, Vec<f64>)| Series {
            name: name.to_owned(),
            points: quantile_points(&all),
        };
        Plot {
            title: "Delay by percentile".to_owned(),
            x: "percentile".to_owned(),
            y: "ms from mouth to ear".to_owned(),
            kind: PlotKind::Percentiles,
            log_x: true,
            series: self.curves().map(curve).collect(),
        }
    }

    fn frequencies(&self) -> Plot {
        let curve = |(name, all): (&str, Vec<f64>)| Series {
            name: name.to_owned(),
            points: shares(&all),
        };
        Plot {
            title: "How often a chirp took how long".to_owned(),
            x: "ms from mouth to ear".to_owned(),
            y: "% of chirps".to_owned(),
            kind: PlotKind::Steps,
            log_x: false,
            series: self.curves().map(curve).collect(),
        }
    }

    /// Returns a plot of damage over delay. A server with more delay conceals less; a server
    /// towards the lower left is better at both.
    fn compromise(&self) -> Plot {
        let base_ms = self.base_ms();
        let point = |found: &Found| {
            let verdict = &found.findings.verdict;
            let added_ms = quantile(&verdict.all_ms(), 0.5) - base_ms;
            Series {
                name: found.name.clone(),
                points: vec![(verdict.damaged_percent(), added_ms)],
            }
        };
        // The direct connections come first, as in the other plots, which keeps the colours; their
        // point lets the axis start at zero damage.
        let mut series = vec![Series {
            name: "direct, without loss and jitter".to_owned(),
            points: vec![(self.direct.verdict.damaged_percent(), 0.0)],
        }];
        series.extend(self.targets.iter().map(point));
        Plot {
            title: "Delay against damage".to_owned(),
            x: "% damaged".to_owned(),
            y: "ms added, median".to_owned(),
            kind: PlotKind::Line,
            log_x: false,
            series,
        }
    }
}

impl Found {
    /// Returns the target's name with `_` for each character that names of values cannot contain.
    fn slug(&self) -> String {
        let name = self.name.chars();
        let plain = name.map(|each| {
            if each.is_ascii_alphanumeric() {
                each
            } else {
                '_'
            }
        });
        plain.collect()
    }

    fn values(&self, base_ms: f64) -> Vec<(&'static str, f64)> {
        let verdict = &self.findings.verdict;
        let all = verdict.all_ms();
        let added = |values: &[f64], q| quantile(values, q) - base_ms;
        let receiver = self.findings.receiver.iter().flat_map(receiver_values);
        let mut values = vec![
            ("added_p50_ms", added(&all, 0.5)),
            ("added_p95_ms", added(&all, 0.95)),
            ("added_p99_ms", added(&all, 0.99)),
            ("start_added_p50_ms", added(&verdict.starts_ms, 0.5)),
            ("start_added_p95_ms", added(&verdict.starts_ms, 0.95)),
            ("within_added_p50_ms", added(&verdict.within_ms, 0.5)),
            ("within_added_p95_ms", added(&verdict.within_ms, 0.95)),
            ("through_p50_ms", quantile(&all, 0.5)),
            ("through_p95_ms", quantile(&all, 0.95)),
            ("chirps", all.len() as f64),
            ("missed", verdict.missed as f64),
            ("damaged_percent", verdict.damaged_percent()),
            (
                "first_audio_p50_ms",
                quantile(&self.findings.first_audio_ms, 0.5),
            ),
            (
                "first_audio_p95_ms",
                quantile(&self.findings.first_audio_ms, 0.95),
            ),
            ("joins", self.findings.first_audio_ms.len() as f64),
        ];
        values.extend(receiver);
        values
    }
}

/// Returns what a receiver changed, in percent of what it played. Concealed samples are those made
/// up for missing packets; the silence that a receiver plays during a pause of the stream is not
/// counted.
fn receiver_values(inbound: &Inbound) -> [(&'static str, f64); 3] {
    let percent = |samples: f64| 100.0 * samples / inbound.total_samples_received;
    let concealed = inbound.concealed_samples - inbound.silent_concealed_samples;
    [
        (
            "receiver_inserted_percent",
            percent(inbound.inserted_samples_for_deceleration),
        ),
        (
            "receiver_removed_percent",
            percent(inbound.removed_samples_for_acceleration),
        ),
        ("receiver_concealed_percent", percent(concealed)),
    ]
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table {
        title: title.to_owned(),
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        rows,
    }
}

fn ms(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.1}")
    } else {
        "-".to_owned()
    }
}

/// Returns the histogram of delays in steps of a millisecond, as (ms, percent).
fn shares(all: &[f64]) -> Vec<(f64, f64)> {
    let whole = |value: f64| value.floor().max(0.0) as usize;
    let Some(last) = all.iter().copied().map(whole).max() else {
        return Vec::new();
    };
    let first = all.iter().copied().map(whole).min().unwrap_or(0);
    let mut counts = vec![0usize; last - first + 2];
    all.iter()
        .for_each(|value| counts[whole(*value) - first] += 1);
    let percent = |count: usize| 100.0 * count as f64 / all.len() as f64;
    let start = (first as f64, 0.0);
    let bars = counts
        .into_iter()
        .enumerate()
        .map(|(at, count)| ((first + at) as f64, percent(count)));
    std::iter::once(start).chain(bars).collect()
}

const OWN_NOTES: [&str; 1] = [
    "Mouth is the instant a sample was captured, ear the arrival of the packet it comes in, decoded at once: the \
     client's own jitter buffer is not in it. \"Added\" is what a server takes longer than the median of the same two clients \
     connected directly, in turn, in this run; a second encoder's look-ahead (6.5 ms in speech, 2.5 ms at low delay) is part of it.",
];

const LIBWEBRTC_NOTES: [&str; 1] = [
    "Mouth and ear are libwebrtc clients: mouth is the instant a sample is handed to the sender, ear the instant the \
     receiver's jitter buffer plays it out. \"Added\" is what a server takes longer than the median of the same two clients \
     connected directly, in turn, in this run.",
];

const NOTES: [&str; 2] = [
    "Jitter and loss are on the way from the talkers to the server, never on the direct connections: a held packet's \
     time on the way counts as added.",
    "Damaged: between the chirps that are timed, each 20 ms are a tone of a frequency that was not heard for half a \
     second. What does not come out at a third of its level is damaged: concealed, cut out or silent, whatever the server says of itself.",
];

#[cfg(test)]
mod tests {
    use super::super::analysis::Verdict;
    use super::*;

    fn findings(delays_ms: &[f64]) -> Findings {
        Findings {
            verdict: Verdict {
                starts_ms: delays_ms.to_vec(),
                within_ms: vec![],
                missed: 1,
                hops: 200,
                damaged: 3,
            },
            first_audio_ms: vec![70.0],
            receiver: None,
        }
    }

    #[test]
    fn latency_report_gives_the_added_delay_of_each_target() {
        let mut outcome = LatencyReport::new(
            "quiet".to_owned(),
            ClientKind::Own,
            ["self".to_owned(), "a b".to_owned()].into_iter(),
        );
        outcome.direct = findings(&[30.0, 29.0, 31.0]);
        outcome.targets[0].findings = findings(&[42.0, 40.0, 50.0]);
        let report = outcome.report();
        let value = |name: &str| {
            let found = report.values.iter().find(|(known, _)| known == name);
            found.unwrap_or_else(|| panic!("{name}")).1
        };
        assert_eq!(value("latency_direct_p50_ms"), 30.0);
        assert_eq!(value("latency_self_added_p50_ms"), 12.0);
        assert_eq!(value("latency_self_added_p95_ms"), 20.0);
        assert_eq!(value("latency_self_damaged_percent"), 1.5);
        assert!(value("latency_a_b_added_p50_ms").is_nan());
        assert_eq!(report.tables[0].rows[1][1], "-");
        assert_eq!(report.tables[1].rows[1][1], "3 of 4");
        for table in &report.tables {
            assert!(
                table
                    .rows
                    .iter()
                    .all(|row| row.len() == table.columns.len())
            );
        }
    }

    #[test]
    fn latency_report_shows_concealed_and_stretched_audio_if_the_client_reports_it() {
        let names = ["self".to_owned()].into_iter();
        let mut outcome = LatencyReport::new("calm".to_owned(), ClientKind::Libwebrtc, names);
        outcome.direct = findings(&[30.0]);
        assert_eq!(outcome.report().tables.len(), 2);
        let mut heard = findings(&[42.0]);
        heard.receiver = Some(Inbound {
            total_samples_received: 96_000.0,
            concealed_samples: 1_920.0,
            silent_concealed_samples: 960.0,
            inserted_samples_for_deceleration: 480.0,
            removed_samples_for_acceleration: 96.0,
        });
        outcome.targets[0].findings.add(heard);
        let report = outcome.report();
        assert_eq!(report.tables[2].rows, [["self", "0.500", "0.100", "1.000"]]);
        let value = |name: &str| report.values.iter().find(|(known, _)| known == name);
        let inserted = value("latency_self_receiver_inserted_percent");
        assert!(inserted.is_some_and(|(_, percent)| *percent == 0.5));
        assert!(report.notes[0].contains("jitter buffer plays"));
    }

    #[test]
    fn delay_histogram_gives_the_percentage_of_each_millisecond() {
        let shares = shares(&[3.2, 3.9, 7.0, 4.0]);
        assert_eq!(shares[..3], [(3.0, 0.0), (3.0, 50.0), (4.0, 25.0)]);
        assert_eq!(shares.last(), Some(&(8.0, 0.0)));
    }
}
