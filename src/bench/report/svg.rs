//! A plot as inline SVG: axes, grid and curves. The legend belongs to the page, which can break
//! lines.

use std::fmt::Write;

use super::axis::{Axis, Scale};
use super::html::escaped;
use super::text::plain;
use super::{Plot, PlotKind, Series};

/// The size of a picture in its own units, which are pixels if the page is wide enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub width: f64,
    pub height: f64,
    /// The CSS class that decides on which screens the picture is shown.
    pub class: &'static str,
}

/// The size of pictures for a wide screen.
pub(super) const WIDE: Size = Size {
    width: 860.0,
    height: 340.0,
    class: "wide",
};

/// The size of pictures for a phone, on which the labels of the wide picture would be illegible.
pub(super) const NARROW: Size = Size {
    width: 340.0,
    height: 260.0,
    class: "narrow",
};

/// Returns a plot as an SVG element of this size.
pub(super) fn draw(plot: &Plot, size: Size) -> String {
    let frame = Frame::new(plot, size);
    let mut svg = format!(
        "<svg class=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
        size.class,
        size.width,
        size.height,
        escaped(&format!("{}: {} over {}", plot.title, plot.y, plot.x))
    );
    frame.draw_axes(plot, &mut svg);
    for (index, series) in plot.series.iter().enumerate() {
        match plot.kind {
            PlotKind::Bars => frame.draw_bars(plot, index, &mut svg),
            kind => frame.draw_curve(series, index, kind, &mut svg),
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns the CSS class for the colour of series number `index`; after the last colour the colours
/// repeat, dashed.
pub(super) fn colour(index: usize) -> String {
    let dashed = if index >= COLOURS { " dashed" } else { "" };
    format!("c{}{dashed}", index % COLOURS)
}

/// The layout of a picture.
struct Frame {
    size: Size,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn new(plot: &Plot, size: Size) -> Frame {
        let scale = match (plot.kind, plot.log_x) {
            (PlotKind::Percentiles, _) => Scale::Percentile,
            (_, true) => Scale::Log,
            (_, false) => Scale::Linear,
        };
        let points = || plot.series.iter().flat_map(|series| &series.points);
        let shown = points().filter(|(x, y)| x.is_finite() && y.is_finite());
        let xs = points().map(|point| point.0);
        let half_bar = match (plot.kind, scale) {
            (PlotKind::Bars, Scale::Linear) => spacing(plot) / 2.0,
            _ => 0.0,
        };
        let xs = xs.flat_map(|x| [x - half_bar, x + half_bar]);
        let labels = (size.width / LABEL_EVERY) as usize;
        Frame {
            size,
            x: Axis::over(xs, scale, labels),
            y: Axis::from_zero(shown.map(|point| point.1), (size.height / 60.0) as usize),
        }
    }

    fn width(&self) -> f64 {
        self.size.width - LEFT - RIGHT
    }

    fn floor(&self) -> f64 {
        self.size.height - BOTTOM
    }

    fn at_x(&self, value: f64) -> Option<f64> {
        Some(LEFT + self.x.place(value)? * self.width())
    }

    fn at_y(&self, value: f64) -> Option<f64> {
        Some(self.floor() - self.y.place(value)? * (self.floor() - TOP))
    }

    fn draw_axes(&self, plot: &Plot, svg: &mut String) {
        let (floor, right) = (self.floor(), self.size.width - RIGHT);
        let mut line = |text: String| {
            svg.push_str(&text);
            svg.push('\n');
        };
        for (value, label) in &self.y.ticks {
            let Some(y) = self.at_y(*value) else { continue };
            line(format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                LEFT - 6.0,
                y + 4.0
            ));
        }
        for (value, label) in &self.x.ticks {
            let Some(x) = self.at_x(*value) else { continue };
            line(format!(
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{floor}\"/><text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>",
                floor + 16.0
            ));
        }
        line(format!(
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{floor}H{right}\"/>"
        ));
        line(format!(
            "<text class=\"name end\" x=\"{right}\" y=\"{:.1}\">{}</text>",
            floor + 34.0,
            escaped(&plot.x)
        ));
        line(format!(
            "<text class=\"name\" x=\"2\" y=\"14\">{}</text>",
            escaped(&plot.y)
        ));
    }

    fn draw_curve(&self, series: &Series, index: usize, kind: PlotKind, svg: &mut String) {
        let places: Vec<_> = series
            .points
            .iter()
            .filter_map(|&(x, y)| Some((self.at_x(x)?, self.at_y(y)?, (x, y))))
            .collect();
        let mut path = String::new();
        for (at, (x, y, _)) in places.iter().enumerate() {
            let _ = match (at, kind) {
                (0, _) => write!(path, "M{x:.1} {y:.1}"),
                (_, PlotKind::Steps) => write!(path, "H{x:.1}V{y:.1}"),
                _ => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        let colour = colour(index);
        let _ = writeln!(svg, "<path class=\"curve {colour}\" d=\"{path}\"/>");
        // If there are few points, each is a measurement and shows its values when pointed at.
        if places.len() <= MOST_MARKS && kind == PlotKind::Line {
            for (x, y, (value_x, value_y)) in places {
                let told = format!("{}: {} / {}", series.name, plain(value_x), plain(value_y));
                let _ = writeln!(
                    svg,
                    "<circle class=\"{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{}</title></circle>",
                    escaped(&told)
                );
            }
        }
    }

    fn draw_bars(&self, plot: &Plot, index: usize, svg: &mut String) {
        let Some(series) = plot.series.get(index) else {
            return;
        };
        let group = self.bar_width(plot);
        let width = (group / plot.series.len() as f64).max(0.5);
        for (x, y) in &series.points {
            let (Some(middle), Some(top)) = (self.at_x(*x), self.at_y(*y)) else {
                continue;
            };
            let left = middle - group / 2.0 + index as f64 * width;
            let _ = writeln!(
                svg,
                "<rect class=\"{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                colour(index),
                self.floor() - top
            );
        }
    }

    /// Returns the width of all bars of one value: nine tenths of the distance between two values.
    fn bar_width(&self, plot: &Plot) -> f64 {
        let mut places: Vec<f64> = plot
            .series
            .iter()
            .flat_map(|series| &series.points)
            .filter_map(|(x, _)| self.at_x(*x))
            .collect();
        places.sort_by(f64::total_cmp);
        let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
        let least = gaps.filter(|gap| *gap > 0.01).fold(WIDEST_BAR, f64::min);
        0.9 * least
    }
}

/// Returns the least distance between two x values of a plot; 1 if there are fewer than two.
fn spacing(plot: &Plot) -> f64 {
    let points = plot.series.iter().flat_map(|series| &series.points);
    let mut xs: Vec<f64> = points.map(|point| point.0).collect();
    xs.sort_by(f64::total_cmp);
    let gaps = xs.windows(2).map(|pair| pair[1] - pair[0]);
    let least = gaps.filter(|gap| *gap > 0.0).fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 1.0 }
}

/// Colours that the page's style has.
const COLOURS: usize = 7;

/// More points than this are shown as a curve without marks.
const MOST_MARKS: usize = 40;

/// The largest width of a bar.
const WIDEST_BAR: f64 = 60.0;

/// Units between two labels of the x axis.
const LABEL_EVERY: f64 = 70.0;

// Space for the labels around the curves.
const LEFT: f64 = 50.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 42.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(kind: PlotKind, points: &[(f64, f64)]) -> Plot {
        Plot {
            title: "<T>".to_owned(),
            x: "N & M".to_owned(),
            y: "us".to_owned(),
            kind,
            log_x: false,
            series: vec![Series {
                name: "\"s\"".to_owned(),
                points: points.to_vec(),
            }],
        }
    }

    #[test]
    fn svg_draws_every_kind_of_plot_and_escapes_its_text() {
        for kind in [
            PlotKind::Line,
            PlotKind::Steps,
            PlotKind::Bars,
            PlotKind::Percentiles,
        ] {
            for log_x in [false, true] {
                for points in [&[][..], &[(1.0, 2.0)], &[(0.0, f64::NAN), (10.0, 5.0)]] {
                    let mut plot = plot(kind, points);
                    plot.log_x = log_x;
                    let svg = draw(&plot, WIDE);
                    assert!(svg.contains("N &amp; M") && !svg.contains("<T>"), "{svg}");
                    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
                    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
                }
            }
        }
    }

    #[test]
    fn svg_line_goes_from_corner_to_corner() {
        let svg = draw(&plot(PlotKind::Line, &[(0.0, 0.0), (10.0, 10.0)]), WIDE);
        let (left, floor) = (LEFT, WIDE.height - BOTTOM);
        let (right, top) = (WIDE.width - RIGHT, TOP);
        let path = format!("d=\"M{left:.1} {floor:.1}L{right:.1} {top:.1}\"");
        assert!(svg.contains(&path), "{svg}");
    }

    #[test]
    fn svg_bars_do_not_overlap() {
        let svg = draw(
            &plot(PlotKind::Bars, &[(1.0, 3.0), (2.0, 4.0), (3.0, 1.0)]),
            NARROW,
        );
        assert_eq!(svg.matches("<rect").count(), 3);
    }

    #[test]
    fn plot_series_beyond_the_last_colour_repeat_the_colours_with_dashed_lines() {
        assert_eq!(colour(1), "c1");
        assert_eq!(colour(COLOURS + 1), "c1 dashed");
    }
}
