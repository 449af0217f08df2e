//! A report as one self-contained page: no script, font or picture from elsewhere.

use std::fmt::Write;

use super::machine::Machine;
use super::svg::{self, NARROW, WIDE};
use super::text::is_numeric;
use super::{Plot, Report, Table};

/// Returns a report as an HTML page.
pub(super) fn page(report: &Report, machine: &Machine) -> String {
    let title = escaped(&report.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"program\">mixminus bench</p>\n<h1>{title}</h1>\n"
    );
    page.push_str(&about(report, machine));
    page.push_str("</header>\n");
    for note in &report.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(note));
    }
    report
        .tables
        .iter()
        .for_each(|table| page.push_str(&of_table(table)));
    report
        .plots
        .iter()
        .for_each(|plot| page.push_str(&of_plot(plot)));
    page.push_str(&of_values(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Escapes a text for any position in a page.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn about(report: &Report, machine: &Machine) -> String {
    let cores = match machine.cores {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    let facts = [
        ("Command", of_command(&report.command)),
        (
            "Machine",
            escaped(&format!("{cores}, {}, {}", machine.cpu, machine.kernel)),
        ),
        ("Date", escaped(&machine.date)),
        ("Version", escaped(&machine.version)),
    ];
    let mut about = "<dl>\n".to_owned();
    for (name, value) in facts {
        let _ = writeln!(about, "<dt>{name}</dt><dd>{value}</dd>");
    }
    about + "</dl>\n"
}

/// Wraps each word, so that a line breaks between words and not at the dashes of a flag.
fn of_command(command: &str) -> String {
    let word = |word: &str| format!("<span>{}</span>", escaped(word));
    let words: Vec<String> = command.split(' ').map(word).collect();
    format!("<code>{}</code>", words.join(" "))
}

fn of_table(table: &Table) -> String {
    let mut out = format!(
        "<section>\n<h2>{}</h2>\n<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr>",
        escaped(&table.title)
    );
    let class = |column: usize| match column > 0 && is_numeric(table, column) {
        true => " class=\"number\"",
        false => "",
    };
    for (column, name) in table.columns.iter().enumerate() {
        let _ = write!(
            out,
            "<th scope=\"col\"{}>{}</th>",
            class(column),
            escaped(name)
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for column in 0..table.columns.len() {
            let cell = row.get(column).map_or("", String::as_str);
            let _ = write!(out, "<td{}>{}</td>", class(column), escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n</section>\n");
    out
}

fn of_plot(plot: &Plot) -> String {
    let mut out = format!(
        "<section>\n<h2>{}</h2>\n<figure>\n{}{}",
        escaped(&plot.title),
        svg::draw(plot, WIDE),
        svg::draw(plot, NARROW)
    );
    out.push_str("<figcaption>");
    for (index, series) in plot.series.iter().enumerate() {
        let _ = write!(
            out,
            "<span class=\"key\"><svg class=\"swatch\" viewBox=\"0 0 18 10\" aria-hidden=\"true\">\
             <path class=\"curve {}\" d=\"M1 5H17\"/></svg>{}</span>",
            svg::colour(index),
            escaped(&series.name)
        );
    }
    out.push_str("</figcaption>\n</figure>\n</section>\n");
    out
}

/// Returns the values for scripts, folded.
fn of_values(report: &Report) -> String {
    if report.values.is_empty() {
        return String::new();
    }
    format!(
        "<section>\n<details>\n<summary>All values</summary>\n<pre>{}</pre>\n</details>\n</section>\n",
        escaped(&super::text::values(report))
    )
}

const STYLE: &str = include_str!("report.css");

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::{PlotKind, Series};
    use super::*;

    fn nasty() -> Report {
        let nasty = "<script>alert('x')</script>\"&".to_owned();
        Report {
            title: nasty.clone(),
            command: nasty.clone(),
            notes: vec![nasty.clone()],
            tables: vec![Table {
                title: nasty.clone(),
                columns: vec![nasty.clone()],
                rows: vec![vec![nasty.clone()], vec![]],
            }],
            plots: vec![Plot {
                title: nasty.clone(),
                x: nasty.clone(),
                y: nasty.clone(),
                kind: PlotKind::Line,
                log_x: false,
                series: vec![Series {
                    name: nasty.clone(),
                    points: vec![(1.0, 1.0)],
                }],
            }],
            values: vec![(nasty, 1.0)],
        }
    }

    #[test]
    fn html_report_escapes_every_text() {
        let page = page(&nasty(), &Machine::here(SystemTime::UNIX_EPOCH));
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("'x'"), "{page}");
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;";
        // Title and heading, command, note, table (title, column, cell), plot with its two
        // pictures, legend and value.
        assert!(page.matches(escaped).count() >= 12, "{page}");
    }

    #[test]
    fn html_report_loads_no_external_resources() {
        let page = page(&nasty(), &Machine::here(SystemTime::UNIX_EPOCH));
        for asking in ["http://", "https://", "url(", "@import", "src=", "href="] {
            assert!(!page.contains(asking), "{asking}");
        }
    }

    #[test]
    fn html_report_shows_machine_date_and_command() {
        let report = Report {
            command: "mixminus bench tick".to_owned(),
            ..Report::default()
        };
        let page = page(&report, &Machine::here(SystemTime::UNIX_EPOCH));
        assert!(page.contains("<span>mixminus</span> <span>bench</span> <span>tick</span>"));
        assert!(page.contains("Thu, 01 Jan 1970"));
        assert!(page.contains("core"));
    }
}
