//! The report of a run: its steps as tables, plots and lines for scripts.

use std::collections::BTreeSet;

use crate::bench::harness::Figures;
use crate::bench::prometheus::is_about_mixing;
use crate::bench::report::{Plot, PlotKind, Report, Series, Table, percentile_points};
use crate::bench::target::TargetSpec;

/// The measurement of one step: a number of talkers and listeners.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) talkers: usize,
    pub(super) listeners: usize,
    pub(super) figures: Figures,
    /// Why the objective is missed; empty if it is met.
    pub(super) broken: Vec<String>,
}

/// The report of a run, to which each step is added as it is measured.
#[derive(Debug)]
pub(super) struct LoadReport {
    target: String,
    what: String,
    base: Option<Figures>,
    rooms: Option<(usize, Figures)>,
    talkers_alone: Option<(usize, Figures)>,
    rows: Vec<Row>,
    most: Option<(usize, Option<usize>)>,
}

impl LoadReport {
    pub(super) fn new(target: &TargetSpec, what: String) -> LoadReport {
        LoadReport {
            target: target.to_string(),
            what,
            base: None,
            rooms: None,
            talkers_alone: None,
            rows: Vec::new(),
            most: None,
        }
    }

    /// Sets the measurement of the empty server.
    pub(super) fn base(&mut self, figures: Figures) {
        self.base = Some(figures);
    }

    /// Sets the measurement of the server with empty rooms.
    pub(super) fn rooms(&mut self, count: usize, figures: Figures) {
        self.rooms = Some((count, figures));
    }

    /// Sets the measurement of the server with talkers and no listeners.
    pub(super) fn talkers_alone(&mut self, count: usize, figures: Figures) {
        self.talkers_alone = Some((count, figures));
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Sets the largest number of listeners that the server held, and the smallest that it did not
    /// hold.
    pub(super) fn most(&mut self, most: (usize, Option<usize>)) {
        self.most = Some(most);
    }

    pub(super) fn report(mut self) -> Report {
        // A search also tries smaller numbers after larger ones.
        self.rows.sort_by_key(|row| (row.talkers, row.listeners));
        let mut report = Report::new(format!("Load on {}: {}", self.target, self.what));
        report.notes = NOTES.map(str::to_owned).to_vec();
        report.tables.push(self.costs());
        if !self.rows.is_empty() {
            report.tables.push(self.promises());
        }
        report.tables.extend(self.says());
        report.plots = self.plots();
        self.values(&mut report);
        // For a server that was not started here some values are unknown.
        report.values.retain(|(_, value)| value.is_finite());
        report
    }

    /// Returns the CPU time, in percent of a core, and the memory, in kB, that each listener adds
    /// to the talkers alone, or each talker to the empty server.
    fn each(&self, row: &Row) -> (f64, f64) {
        let (before, others) = match (&self.talkers_alone, &self.base) {
            (Some((talkers, alone)), _) => (alone, *talkers),
            (None, Some(base)) => (base, 0),
            (None, None) => return (f64::NAN, f64::NAN),
        };
        // Only clients that joined count; they may be fewer than intended.
        let heads = row.figures.tally.clients.saturating_sub(others).max(1) as f64;
        let cpu = (row.figures.cpu_percent() - before.cpu_percent()) / heads;
        let memory = (row.figures.rss_bytes() - before.rss_bytes()) / heads / 1e3;
        (cpu, memory)
    }

    fn costs(&self) -> Table {
        let mut rows = Vec::new();
        let mut add = |who: String, figures: &Figures, each: Option<(f64, f64)>| {
            let server = figures.server.unwrap_or_default();
            let (cpu, memory) = each.unwrap_or((f64::NAN, f64::NAN));
            rows.push(vec![
                who,
                number(figures.cpu_percent(), 2),
                number(cpu, 4),
                number(figures.rss_bytes() / 1e6, 1),
                number(memory, 1),
                server.threads.to_string(),
                number(server.switches_per_second, 0),
                number(figures.own.cpu_percent, 1),
            ]);
        };
        if let Some(base) = &self.base {
            add("nobody".to_owned(), base, None);
        }
        if let Some((count, figures)) = &self.rooms {
            add(format!("{count} empty rooms"), figures, None);
        }
        if let Some((count, figures)) = &self.talkers_alone {
            add(format!("{count} talkers alone"), figures, None);
        }
        for row in &self.rows {
            add(row.who(), &row.figures, Some(self.each(row)));
        }
        table(
            "What it costs",
            &[
                "who is there",
                "CPU %",
                "CPU % each",
                "memory MB",
                "kB each",
                "threads",
                "switches/s",
                "generator CPU %",
            ],
            rows,
        )
    }

    fn promises(&self) -> Table {
        let row = |row: &Row| {
            let tally = &row.figures.tally;
            vec![
                row.who(),
                number(tally.payload_kbps(), 1),
                number(tally.lost_percent(), 3),
                number(tally.skipped_percent(), 3),
                number(tally.off_beat_ms(50.0), 2),
                number(tally.off_beat_ms(99.0), 2),
                number(tally.off_beat_ms(99.9), 2),
                number(row.figures.misses(), 0),
                number(tally.send_late_ms(99.0), 2),
                match row.broken.is_empty() {
                    true => "kept".to_owned(),
                    false => row.broken.join("; "),
                },
            ]
        };
        table(
            "What clients see",
            &[
                "who is there",
                "kbit/s",
                "lost %",
                "left out %",
                "off beat p50 ms",
                "p99",
                "p99.9",
                "misses",
                "sent late p99 ms",
                "promise",
            ],
            self.rows.iter().map(row).collect(),
        )
    }

    /// Returns the table of the server's own metrics about mixing: one row for each metric that was
    /// ever other than zero.
    fn says(&self) -> Option<Table> {
        let names: BTreeSet<&String> = self
            .rows
            .iter()
            .flat_map(|row| &row.figures.says)
            .filter(|(name, value)| **value != 0.0 && is_about_mixing(name))
            .map(|(name, _)| name)
            .collect();
        let mut columns = vec!["figure".to_owned()];
        columns.extend(self.rows.iter().map(Row::who));
        let rows = names.iter().map(|name| {
            let values = self.rows.iter().map(|row| row.figures.says.get(*name));
            let mut cells = vec![(*name).clone()];
            cells.extend(values.map(|value| said(value.copied().unwrap_or(f64::NAN))));
            cells
        });
        (!names.is_empty()).then(|| Table {
            title: "What the server says of itself, over each measurement".to_owned(),
            columns,
            rows: rows.collect(),
        })
    }

    fn plots(&self) -> Vec<Plot> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let over = |y: fn(&Figures) -> f64| -> Vec<(f64, f64)> {
            let heads = |row: &Row| (row.talkers + row.listeners) as f64;
            self.rows
                .iter()
                .map(|row| (heads(row), y(&row.figures)))
                .collect()
        };
        let cpu = Plot {
            title: "CPU over clients".to_owned(),
            x: "clients".to_owned(),
            y: "% of one core".to_owned(),
            kind: PlotKind::Line,
            log_x: false,
            series: vec![
                Series {
                    name: "server".to_owned(),
                    points: over(Figures::cpu_percent),
                },
                Series {
                    name: "generator".to_owned(),
                    points: over(|figures| figures.own.cpu_percent),
                },
            ],
        };
        let curve = |row: &Row| Series {
            name: row.who(),
            points: percentile_points(&row.figures.tally.off_beat_us)
                .into_iter()
                .map(|(at, us)| (at, us / 1e3))
                .collect(),
        };
        let beat = Plot {
            title: "Off the beat".to_owned(),
            x: "percentile of packets".to_owned(),
            y: "ms".to_owned(),
            kind: PlotKind::Percentiles,
            log_x: true,
            series: self.rows.iter().map(curve).collect(),
        };
        vec![cpu, beat]
    }

    fn values(&self, report: &mut Report) {
        let mut cost = |name: &str, figures: &Figures| {
            let server = figures.server.unwrap_or_default();
            report.value(format!("{name}_cpu_percent"), figures.cpu_percent());
            report.value(format!("{name}_rss_mb"), figures.rss_bytes() / 1e6);
            report.value(format!("{name}_threads"), server.threads as f64);
        };
        if let Some(base) = &self.base {
            cost("nobody", base);
        }
        if let Some((count, figures)) = &self.rooms {
            cost(&format!("rooms_{count}"), figures);
        }
        if let Some((count, figures)) = &self.talkers_alone {
            cost(&format!("talkers_{count}"), figures);
        }
        for row in &self.rows {
            let name = format!("clients_{}", row.talkers + row.listeners);
            cost(&name, &row.figures);
        }
        for row in &self.rows {
            let name = format!("clients_{}", row.talkers + row.listeners);
            let tally = &row.figures.tally;
            let (cpu, memory) = self.each(row);
            for (what, value) in [
                ("cpu_percent_each", cpu),
                ("kb_each", memory),
                ("kbps", tally.payload_kbps()),
                ("lost_percent", tally.lost_percent()),
                ("left_out_percent", tally.skipped_percent()),
                ("off_beat_ms_p50", tally.off_beat_ms(50.0)),
                ("off_beat_ms_p99", tally.off_beat_ms(99.0)),
                ("off_beat_ms_p999", tally.off_beat_ms(99.9)),
                ("misses", row.figures.misses()),
                ("received", tally.received as f64),
                ("expected", tally.expected as f64),
                ("generator_cpu_percent", row.figures.own.cpu_percent),
                ("promise_kept", f64::from(u8::from(row.broken.is_empty()))),
            ] {
                report.value(format!("{name}_{what}"), value);
            }
            for (said, value) in &row.figures.says {
                if is_about_mixing(said) {
                    report.value(format!("{name}_says_{}", plain(said)), *value);
                }
            }
            for (ear, heard) in tally.heard.iter().enumerate() {
                report.value(format!("{name}_ear_{ear}_dbfs"), heard.level_dbfs);
                report.value(format!("{name}_ear_{ear}_packets"), heard.packets as f64);
                for (hz, dbfs) in &heard.tones_dbfs {
                    report.value(format!("{name}_ear_{ear}_{hz}_hz_dbfs"), *dbfs);
                }
            }
        }
        if let Some((holds, fails)) = self.most {
            report.value("most_listeners", holds as f64);
            if let Some(fails) = fails {
                report.value("fails_at_listeners", fails as f64);
            }
        }
    }
}

impl Row {
    fn who(&self) -> String {
        match self.listeners {
            0 => format!("{} talk", self.talkers),
            listeners => format!("{} + {listeners}", self.talkers),
        }
    }
}

/// Returns a table with these columns.
pub(in crate::bench) fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table {
        title: title.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    }
}

/// Returns a number for a table; empty if it is not finite.
pub(in crate::bench) fn number(value: f64, decimals: usize) -> String {
    match value.is_finite() {
        true => format!("{value:.decimals$}"),
        false => "-".to_owned(),
    }
}

/// Returns a number of any size without trailing zeros.
fn said(value: f64) -> String {
    let text = number(value, 5);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Returns a metric's name without the characters that lines for scripts cannot contain.
fn plain(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

const NOTES: [&str; 4] = [
    "CPU is of one core, user and system time of the server's process; each listener's share is what the server costs \
     more than with the talkers alone, in the same run.",
    "Off the beat: how much later a packet came, by the kernel's clock, than the line of the stream's own RTP time \
     through the least late of the last seconds.",
    "Left out: frames that a stream should have had between two packets without a talk-spurt beginning.",
    "Sent late: how late the generator's own packets were, which no server is to blame for.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_report_omits_values_that_are_not_finite() {
        assert_eq!(number(f64::NAN, 2), "-");
        assert_eq!(number(1.005, 1), "1.0");
        assert_eq!(
            (said(0.0005), said(1_200.0)),
            ("0.0005".into(), "1200".into())
        );
        assert_eq!(plain("a_s{mixer=\"0\"} p99.9"), "a_s_mixer_0_p99.9");
        let outcome = LoadReport::new(&TargetSpec::Own, "x".to_owned());
        let report = outcome.report();
        assert_eq!((report.tables.len(), report.plots.len()), (1, 0));
    }
}
