//! The results of a benchmark and their output: tables and `name,value` lines on standard output,
//! everything as JSON, and one page with plots.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use thiserror::Error;

use super::progress::Progress;
use machine::Machine;

mod axis;
mod html;
mod machine;
mod svg;
mod text;

/// The results of a benchmark.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// What was measured.
    pub title: String,
    /// The command line that repeats the measurement.
    pub command: String,
    /// What a reader must know to judge the values, one paragraph each.
    pub notes: Vec<String>,
    /// The values for people.
    pub tables: Vec<Table>,
    /// The values as pictures, only for the page.
    pub plots: Vec<Plot>,
    /// The values for scripts. A name carries its unit and no comma.
    pub values: Vec<(String, f64)>,
}

/// A table of a report: rows under named columns.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// The title above the table.
    pub title: String,
    /// The columns' names, units included.
    pub columns: Vec<String>,
    /// Rows with at most as many cells as there are columns; missing cells are empty.
    pub rows: Vec<Vec<String>>,
}

/// Curves over one pair of axes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plot {
    /// The title above the plot.
    pub title: String,
    /// The quantity on the x axis, with its unit.
    pub x: String,
    /// The quantity on the y axis, with its unit.
    pub y: String,
    /// How the curves are drawn.
    pub kind: PlotKind,
    /// Whether the x axis is logarithmic; points at or below zero are omitted.
    pub log_x: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// How a plot is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlotKind {
    /// Points joined by lines.
    Line,
    /// A level that holds until the next point.
    Steps,
    /// A bar for each point; the bars of several series are side by side.
    Bars,
    /// Values over percentiles, from [`percentile_points`]; the x axis shows 1/(1-q) in decades, as
    /// HDR plots do, labelled 50 %, 90 %, 99 % and so on.
    Percentiles,
}

/// One curve, or one set of bars, of a plot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Series {
    /// The name in the legend.
    pub name: String,
    /// (x, y) in the order of x. Values that are not finite are omitted.
    pub points: Vec<(f64, f64)>,
}

/// Where a report goes.
#[derive(Debug, Clone, Default, Args)]
pub struct Outputs {
    /// Also write the report, plots included, to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write the report to this file as a self-contained HTML page with plots
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Print no progress and no tables, only the lines for scripts
    #[arg(long)]
    pub quiet: bool,
}

/// Why a report cannot be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Stdout(std::io::Error),
    /// A file cannot be written.
    #[error("cannot write the file {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The report cannot be converted to JSON.
    #[error("cannot convert the report to JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Report {
    /// Creates a report without values; its command is that of this process.
    pub fn new(title: impl Into<String>) -> Report {
        Report {
            title: title.into(),
            command: own_command(),
            ..Report::default()
        }
    }

    /// Adds a value for scripts.
    pub fn value(&mut self, name: impl Into<String>, value: f64) {
        self.values.push((name.into(), value));
    }

    /// Prints the report and writes the requested files.
    ///
    /// # Errors
    /// [`ReportError`]; what was printed before stays printed.
    pub fn deliver(&self, outputs: &Outputs) -> Result<(), ReportError> {
        let mut text = String::new();
        if !outputs.quiet {
            text.push_str(&text::tables(self));
        }
        text.push_str(&text::values(self));
        std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(ReportError::Stdout)?;
        let machine = Machine::here(SystemTime::now());
        if let Some(path) = &outputs.json {
            write(path, &json(self, &machine)?)?;
        }
        if let Some(path) = &outputs.report {
            write(path, &html::page(self, &machine))?;
        }
        Ok(())
    }
}

impl Outputs {
    /// Returns the progress of `what` over `total` steps, hidden if `--quiet` is given.
    pub fn progress(&self, what: &str, total: u64) -> Progress {
        if self.quiet {
            Progress::hidden()
        } else {
            Progress::new(what, total)
        }
    }
}

/// Returns a histogram with a precision of three digits, for microseconds or any other count.
///
/// Recording a larger value than before allocates, so it is not for the mixer thread.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are among the 0 to 5 there are")
}

/// Returns the curve of a histogram for [`PlotKind::Percentiles`]: (1/(1-q), value), up to the
/// largest value.
pub fn percentile_points(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    // The largest of n values stands for the share 1 - 1/n, where the curve ends.
    let last = histogram.len() as f64;
    histogram
        .iter_quantiles(STEPS_PER_HALVING)
        .map(|step| {
            let rest = (1.0 - step.quantile()).max(1.0 / last);
            (1.0 / rest, step.value_iterated_to() as f64)
        })
        .collect()
}

/// Returns the value below which the share `q` of `values` lies; NaN if there are none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (q * last as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Returns the points of [`PlotKind::Percentiles`] for single values.
pub fn quantile_points(values: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let at = |(rank, value): (usize, &f64)| (count / (count - rank as f64), *value);
    sorted.iter().enumerate().map(at).collect()
}

fn json(report: &Report, machine: &Machine) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct Whole<'a> {
        machine: &'a Machine,
        #[serde(flatten)]
        report: &'a Report,
    }
    let mut text = serde_json::to_string_pretty(&Whole { machine, report })?;
    text.push('\n');
    Ok(text)
}

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    std::fs::write(path, text).map_err(|source| ReportError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Returns the command line of this process, with the program's name only.
fn own_command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default();
    std::iter::once(name.to_string_lossy().into_owned())
        .chain(words.map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Quotes a word for a shell if needed.
fn quoted(word: String) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=+,.:/@%[]".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Points between 0 and 50 %, between 50 and 75 %, and so on: enough for a smooth curve.
const STEPS_PER_HALVING: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let values = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 0.5), 3.0);
        assert_eq!(quantile(&values, 1.0), 5.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(quantile_points(&[2.0, 1.0]), [(1.0, 1.0), (2.0, 2.0)]);
    }

    #[test]
    fn percentile_points_rise_and_end_at_the_largest_value() {
        let mut histogram = histogram();
        (1..=1_000).for_each(|value| histogram.record(value).unwrap());
        let points = percentile_points(&histogram);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        assert_eq!(points.last(), Some(&(1_000.0, 1_000.0)));
        let (_, median) = points[points.partition_point(|point| point.0 < 2.0)];
        assert!((median - 500.0).abs() < 2.0, "{median}");
        assert!(percentile_points(&super::histogram()).is_empty());
    }

    #[test]
    fn json_report_has_machine_and_plots() {
        let report = Report {
            title: "t".to_owned(),
            values: vec![("nothing".to_owned(), f64::NAN)],
            plots: vec![Plot {
                title: "p".to_owned(),
                x: "N".to_owned(),
                y: "us".to_owned(),
                kind: PlotKind::Percentiles,
                log_x: false,
                series: vec![Series {
                    name: "s".to_owned(),
                    points: vec![(1.0, 2.0)],
                }],
            }],
            ..Report::default()
        };
        let text = json(&report, &Machine::here(SystemTime::UNIX_EPOCH)).unwrap();
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["title"], "t");
        assert_eq!(back["plots"][0]["kind"], "percentiles");
        assert_eq!(back["plots"][0]["series"][0]["points"][0][1], 2.0);
        assert!(back["machine"]["cores"].as_u64().unwrap() >= 1);
        assert!(back["values"][0][1].is_null());
    }

    #[test]
    fn quoted_command_argument_is_one_word_for_a_shell() {
        assert_eq!(quoted("--json".to_owned()), "--json");
        assert_eq!(quoted("a b".to_owned()), "'a b'");
        assert_eq!(quoted("it's".to_owned()), r"'it'\''s'");
        assert_eq!(quoted(String::new()), "''");
    }

    #[test]
    fn report_error_names_the_file_that_cannot_be_written() {
        let outputs = Outputs {
            json: Some(PathBuf::from("/proc/no/such/file")),
            quiet: true,
            ..Outputs::default()
        };
        let error = Report::default().deliver(&outputs).unwrap_err();
        assert!(error.to_string().contains("/proc/no/such/file"), "{error}");
    }
}
