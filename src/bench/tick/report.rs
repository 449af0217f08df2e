//! The report of a tick measurement: tables, plots and values for scripts.

use std::time::Duration;

use hdrhistogram::Histogram;
use mixer::format::TickLength;

use super::scene::{Cast, Totals, Turn};
use crate::bench::report::{Plot, PlotKind, Report, Series, Table, histogram, percentile_points};

/// The measurements of one combination of the flags.
pub(super) struct Measured {
    cast: Cast,
    run_ns: Histogram<u64>,
    push_ns: Histogram<u64>,
    slot_ns: Histogram<u64>,
    busy: Duration,
    before: Totals,
    after: Totals,
}

impl Measured {
    pub fn new(cast: Cast, before: Totals) -> Measured {
        Measured {
            cast,
            run_ns: histogram(),
            push_ns: histogram(),
            slot_ns: histogram(),
            busy: Duration::ZERO,
            before,
            after: before,
        }
    }

    pub fn add(&mut self, turn: Turn) {
        record(&mut self.run_ns, turn.run);
        record(&mut self.push_ns, turn.push);
        record(&mut self.slot_ns, turn.longest_slot);
        self.busy += turn.run + turn.push;
    }

    pub fn end(&mut self, after: Totals) {
        self.after = after;
    }

    fn ticks(&self) -> f64 {
        self.run_ns.len() as f64
    }

    fn per_tick(&self, total: impl Fn(Totals) -> u64) -> f64 {
        (total(self.after) - total(self.before)) as f64 / self.ticks()
    }

    /// Returns the CPU time of an average tick, in percent of the tick's length.
    fn percent_of(&self, tick: TickLength) -> f64 {
        100.0 * self.busy.as_secs_f64() / self.ticks() / tick.duration().as_secs_f64()
    }

    /// Returns a quantile of the time per tick; `None` if there were too few ticks for it.
    fn quantile_us(&self, q: f64) -> Option<f64> {
        let is_known = q == 1.0 || self.ticks() * (1.0 - q) >= 0.99;
        is_known.then(|| us(self.run_ns.value_at_quantile(q)))
    }

    /// Returns the prefix for the names of this combination's values, which tells it from all
    /// others.
    fn name(&self) -> String {
        let Cast {
            profile,
            rooms,
            people,
            talkers,
            personal,
            ..
        } = self.cast;
        let profile = profile.name().replace('-', "_");
        let rooms = match rooms {
            1 => String::new(),
            rooms => format!("{rooms}_rooms_"),
        };
        let personal = match personal {
            0 => String::new(),
            personal => format!("_{personal}_personal"),
        };
        format!("tick_{profile}_{rooms}{people}_people_{talkers}_talking{personal}")
    }
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram
        .record(time.as_nanos() as u64)
        .expect("a histogram that grows takes whatever there is");
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// The report of all measured combinations of the flags.
pub(super) struct TickReport {
    tick: TickLength,
    measured: Vec<Measured>,
}

impl TickReport {
    pub fn new(tick: TickLength) -> TickReport {
        TickReport {
            tick,
            measured: Vec::new(),
        }
    }

    pub fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    pub fn report(&self) -> Report {
        let mut report = Report::new(format!("Time per tick of {} ms", self.tick.ms()));
        report.notes = NOTES.iter().map(|note| (*note).to_owned()).collect();
        report.tables = vec![self.table()];
        report.plots = vec![self.distribution(), self.frequencies()];
        let growth = self.growth();
        // A single point shows no growth.
        if growth.series.iter().any(|series| series.points.len() > 1) {
            report.plots.insert(0, growth);
        }
        for measured in &self.measured {
            let name = measured.name();
            for (part, value) in self.values(measured) {
                report.value(format!("{name}_{part}"), value);
            }
        }
        report
    }

    fn table(&self) -> Table {
        let columns = [
            "profile",
            "rooms",
            "people",
            "talking",
            "personal gains",
            "ticks",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "% of a core",
            "longest slot, p99 µs",
            "push, p50 µs",
            "encodes",
            "packets",
        ];
        let row = |measured: &Measured| {
            let Cast {
                profile,
                rooms,
                people,
                talkers,
                personal,
                ..
            } = measured.cast;
            let mut row = vec![profile.to_string()];
            row.extend([rooms as usize, people, talkers, personal].map(|count| count.to_string()));
            row.push(measured.run_ns.len().to_string());
            let quantiles = [0.5, 0.99, 0.999, 1.0];
            row.extend(quantiles.map(|q| match measured.quantile_us(q) {
                Some(us) => format!("{us:.1}"),
                None => "-".to_owned(),
            }));
            row.push(format!("{:.2}", measured.percent_of(self.tick)));
            let slot_us = us(measured.slot_ns.value_at_quantile(0.99));
            let push_us = us(measured.push_ns.value_at_quantile(0.5));
            let encodes = measured.per_tick(|totals| totals.encodes);
            let packets = measured.per_tick(|totals| totals.packets);
            row.extend([slot_us, push_us, encodes, packets].map(|value| format!("{value:.1}")));
            row
        };
        Table {
            title: "Ticks".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: self.measured.iter().map(row).collect(),
        }
    }

    fn values(&self, measured: &Measured) -> Vec<(&'static str, f64)> {
        let quantiles = [
            ("p50_us", 0.5),
            ("p99_us", 0.99),
            ("p99_9_us", 0.999),
            ("max_us", 1.0),
        ];
        let known = |(name, q)| Some((name, measured.quantile_us(q)?));
        let mut values = vec![("ticks", measured.ticks())];
        values.extend(quantiles.into_iter().filter_map(known));
        values.extend([
            ("push_p50_us", us(measured.push_ns.value_at_quantile(0.5))),
            ("percent_of_core", measured.percent_of(self.tick)),
            ("encodes_mean", measured.per_tick(|totals| totals.encodes)),
            ("packets_mean", measured.per_tick(|totals| totals.packets)),
        ]);
        values
    }

    /// Returns a plot of the median time per tick over the number of participants, with a curve for
    /// each profile and number of talkers.
    fn growth(&self) -> Plot {
        let mut series: Vec<Series> = Vec::new();
        for measured in &self.measured {
            let cast = measured.cast;
            let who = match cast.talkers {
                talkers if talkers == cast.people && talkers > 0 => "all talk".to_owned(),
                1 => "1 talks".to_owned(),
                talkers => format!("{talkers} talk"),
            };
            let personal = match cast.personal {
                0 => String::new(),
                personal => format!(", {personal} with personal gains"),
            };
            let name = format!("{}, {who}{personal}", cast.profile);
            let point = (
                f64::from(cast.rooms) * cast.people as f64,
                us(measured.run_ns.value_at_quantile(0.5)) / 1e3,
            );
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series {
                    name,
                    points: vec![point],
                }),
            }
        }
        Plot {
            title: "Median time per tick over participants".to_owned(),
            x: "participants".to_owned(),
            y: "ms".to_owned(),
            kind: PlotKind::Line,
            log_x: false,
            series,
        }
    }

    fn distribution(&self) -> Plot {
        let curve = |measured: &&Measured| Series {
            name: measured.cast.to_string(),
            points: percentile_points(&measured.run_ns)
                .into_iter()
                .map(|(rest, ns)| (rest, ns / 1e6))
                .collect(),
        };
        Plot {
            title: "Time per tick by percentile".to_owned(),
            x: "percentile".to_owned(),
            y: "ms".to_owned(),
            kind: PlotKind::Percentiles,
            log_x: true,
            series: self.largest().iter().map(curve).collect(),
        }
    }

    fn frequencies(&self) -> Plot {
        let curve = |measured: &&Measured| Series {
            name: measured.cast.to_string(),
            points: shares(&measured.run_ns),
        };
        let largest = self.largest();
        Plot {
            title: "How often a tick took how long".to_owned(),
            x: "ms per tick".to_owned(),
            y: "% of ticks".to_owned(),
            kind: if largest.len() == 1 {
                PlotKind::Bars
            } else {
                PlotKind::Steps
            },
            log_x: true,
            series: largest.iter().map(curve).collect(),
        }
    }

    /// Returns the measurements with the largest number of participants: more curves could not be
    /// told apart.
    fn largest(&self) -> Vec<&Measured> {
        let most = self.measured.iter().map(|measured| measured.cast.people);
        let most = most.max().unwrap_or(0);
        let largest = self.measured.iter();
        largest
            .filter(|measured| measured.cast.people == most)
            .collect()
    }
}

/// Returns the histogram of the time per tick as (ms, percent of ticks), in bars of equal ratio, up
/// to the longest time.
fn shares(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut shares = Vec::new();
    let mut low = histogram.min().max(1) as f64 / STEP;
    let high = histogram.max() as f64;
    let percent = |count: u64| 100.0 * count as f64 / histogram.len() as f64;
    while low <= high {
        let next = low * STEP;
        let count = histogram.count_between(low as u64 + 1, next as u64);
        shares.push((low / 1e6, percent(count)));
        low = next;
    }
    shares.push((low / 1e6, 0.0));
    shares
}

/// Ratio of the bounds of a bar in the histogram.
const STEP: f64 = 1.08;

const NOTES: [&str; 2] = [
    "The engine alone, in one thread: packets in, mixes out, no network. A tick's time is that of its slots \
     together, jitter buffers, decoding, mixing and encoding; \"push\" is taking in the packets that arrive meanwhile. \
     \"% of a core\" is both, over the length of a tick.",
    "Talkers are running speech, its pauses included, at 32 kbit/s in packets of 20 ms that arrive at phases of \
     their own. Wall-clock time: what else the machine does is in it.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_tick_durations_sum_to_a_hundred_percent() {
        let mut histogram = histogram();
        for ns in [100, 1_000, 1_010, 50_000, 2_000_000] {
            histogram.record(ns).unwrap();
        }
        let shares = shares(&histogram);
        let sum: f64 = shares.iter().map(|share| share.1).sum();
        assert!((sum - 100.0).abs() < 0.1, "{sum}");
        assert!(shares.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
