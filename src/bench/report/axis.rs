//! The axes of a plot: maps values to positions, and places the ticks.

/// How an axis maps values to positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Linear.
    Linear,
    /// Logarithmic, in decades.
    Log,
    /// Percentiles, spaced as decades of 1/(1-q): 90 %, 99 %, 99.9 % and so on at even distances.
    Percentile,
}

/// An axis of a plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// The values at which the axis has a label, in rising order, with their labels.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Returns an axis that shows all `values`, with about `ticks` labels.
    pub fn over(values: impl Iterator<Item = f64>, scale: Scale, ticks: usize) -> Axis {
        let usable = values.filter(|value| is_usable(*value, scale));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let range = if low <= high { (low, high) } else { (1.0, 1.0) };
        match scale {
            Scale::Linear => Axis::linear(range, ticks),
            Scale::Log => Axis::log(range, ticks),
            Scale::Percentile => Axis::percentile(range.1),
        }
    }

    /// Returns an axis from zero, or from the lowest value if that is negative, over all `values`.
    pub fn from_zero(values: impl Iterator<Item = f64>, ticks: usize) -> Axis {
        Axis::over(values.chain([0.0]), Scale::Linear, ticks)
    }

    /// Returns the position of a value on the axis, `0.0..=1.0`; `None` if the axis cannot show the
    /// value.
    pub fn place(&self, value: f64) -> Option<f64> {
        let (low, high, value) = match self.scale {
            Scale::Linear => (self.low, self.high, value),
            Scale::Log | Scale::Percentile => (self.low.ln(), self.high.ln(), value.ln()),
        };
        let place = (value - low) / (high - low);
        place.is_finite().then(|| place.clamp(0.0, 1.0))
    }

    fn linear((low, high): (f64, f64), ticks: usize) -> Axis {
        let spread = if high > low {
            high - low
        } else {
            high.abs().max(1.0)
        };
        let step = nice_step(spread / ticks.max(1) as f64);
        let first = (low / step).floor();
        let last = (high / step).ceil().max(first + 1.0);
        let values = (0..=(last - first) as usize).map(|at| (first + at as f64) * step);
        Axis {
            scale: Scale::Linear,
            low: first * step,
            high: last * step,
            ticks: values.map(|value| (value, label(value, step))).collect(),
        }
    }

    fn log((low, high): (f64, f64), ticks: usize) -> Axis {
        let high = if high > low { high } else { low * 10.0 };
        let decades = (high / low).log10();
        // If there are few decades, values between them get labels too.
        let between: &[f64] = match decades {
            few if few <= 1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            some if some * 3.0 <= ticks as f64 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let first = low.log10().floor() as i32;
        let last = high.log10().ceil() as i32;
        let values = (first..=last)
            .flat_map(|power| between.iter().map(move |factor| factor * 10f64.powi(power)))
            .filter(|value| (low * 0.999..=high * 1.001).contains(value));
        Axis {
            scale: Scale::Log,
            low,
            high,
            ticks: values.map(|value| (value, label(value, value))).collect(),
        }
    }

    fn percentile(high: f64) -> Axis {
        let high = high.max(10.0);
        let named = [(1.0, "0 %"), (2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %")];
        let nines = (3..=9).map(|nines| {
            let label = format!("99.{} %", "9".repeat(nines - 2));
            (10f64.powi(nines as i32), label)
        });
        let named = named
            .into_iter()
            .map(|(value, label)| (value, label.to_owned()));
        Axis {
            scale: Scale::Percentile,
            low: 1.0,
            high,
            ticks: named
                .chain(nines)
                .filter(|(value, _)| *value <= high * 1.001)
                .collect(),
        }
    }
}

/// Whether an axis can show a value.
fn is_usable(value: f64, scale: Scale) -> bool {
    value.is_finite() && (scale == Scale::Linear || value > 0.0)
}

/// Returns the least of the numbers 1, 2, 5, 10, 20 and so on that is at least `at_least`.
fn nice_step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.log10().floor());
    let factor = at_least / power;
    let nice = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|nice| factor <= nice * 1.000_1)
        .unwrap_or(10.0);
    nice * power
}

/// Formats a value with the decimals that a step of `step` needs; thousands as k, millions as M.
fn label(value: f64, step: f64) -> String {
    let (value, step, unit) = match value.abs() {
        abs if abs >= 1e6 => (value / 1e6, step / 1e6, " M"),
        abs if abs >= 1e4 => (value / 1e3, step / 1e3, " k"),
        _ => (value, step, ""),
    };
    let places = (-step.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.places$}");
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{}{unit}", if short == "-0" { "0" } else { short })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_enclose_the_values() {
        let axis = Axis::over([0.13, 0.97].into_iter(), Scale::Linear, 5);
        assert_eq!(labels(&axis), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(axis.place(0.5), Some(0.5));
        let axis = Axis::from_zero([17_000.0].into_iter(), 4);
        assert_eq!(labels(&axis), ["0", "5000", "10 k", "15 k", "20 k"]);
    }

    #[test]
    fn log_axis_with_few_decades_labels_values_between_them() {
        let axis = Axis::over([2.0, 200.0].into_iter(), Scale::Log, 8);
        assert_eq!(labels(&axis), ["2", "5", "10", "20", "50", "100", "200"]);
        assert_eq!(axis.place(20.0), Some(0.5));
        let axis = Axis::over([0.0, 0.01, 1e6].into_iter(), Scale::Log, 8);
        assert_eq!(labels(&axis)[0], "0.01");
        assert_eq!(axis.place(0.0), None);
    }

    #[test]
    fn percentile_axis_labels_percentiles() {
        let axis = Axis::over([1.0, 2_000.0].into_iter(), Scale::Percentile, 6);
        assert_eq!(labels(&axis), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(axis.place(1.0), Some(0.0));
    }

    #[test]
    fn axis_survives_values_that_cannot_be_shown() {
        for scale in [Scale::Linear, Scale::Log, Scale::Percentile] {
            for values in [vec![], vec![f64::NAN], vec![0.0], vec![5.0], vec![-3.0]] {
                let axis = Axis::over(values.iter().copied(), scale, 5);
                assert!(axis.low < axis.high && axis.low.is_finite(), "{axis:?}");
                assert!(!axis.ticks.is_empty() && axis.ticks.len() < 40, "{axis:?}");
            }
        }
    }
}
