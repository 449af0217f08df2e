//! A report for terminals and for scripts.

use super::{Report, Table};

/// Returns title, notes and tables, with aligned columns.
pub(super) fn tables(report: &Report) -> String {
    let mut text = format!("{}\n", report.title);
    for note in &report.notes {
        text.push_str(&format!("  {note}\n"));
    }
    for table in &report.tables {
        text.push('\n');
        text.push_str(&aligned(table));
    }
    text.push('\n');
    text
}

/// Returns one `name,value` line for each value.
pub(super) fn values(report: &Report) -> String {
    report
        .values
        .iter()
        .map(|(name, value)| format!("{name},{}\n", plain(*value)))
        .collect()
}

/// Formats a number for scripts: at most four decimals, no trailing zeros, no exponent.
pub(super) fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if short == "-0" {
        "0".to_owned()
    } else {
        short.to_owned()
    }
}

/// Whether a column is numeric and aligned to the right: all its cells are empty or start like
/// numbers.
pub(super) fn is_numeric(table: &Table, column: usize) -> bool {
    let mut cells = table.rows.iter().filter_map(|row| row.get(column));
    cells.all(|cell| {
        let bare = cell.trim_start_matches(['+', '-', '<', '>', '\u{2212}']);
        bare.is_empty() || bare.starts_with(|first: char| first.is_ascii_digit())
    })
}

fn aligned(table: &Table) -> String {
    let width_of = |column: usize| {
        let cells = table.rows.iter().filter_map(|row| row.get(column));
        cells
            .chain(table.columns.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width_of).collect();
    let line = |cells: &[String]| {
        let padded = widths.iter().enumerate().map(|(column, &width)| {
            let cell = cells.get(column).map_or("", String::as_str);
            if column > 0 && is_numeric(table, column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let joined = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", joined.trim_end())
    };
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
    let mut text = format!("{}\n{}{rule}\n", table.title, line(&table.columns));
    table.rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn numeric_columns_are_aligned() {
        let table = Table {
            title: "Cost".to_owned(),
            columns: cells(&["who", "us", "note"]),
            rows: vec![
                cells(&["self", "3.5", "fine"]),
                cells(&["the other", "120.0"]),
            ],
        };
        let expected = "Cost\n\
                        who           us  note\n\
                        ----------------------\n\
                        self         3.5  fine\n\
                        the other  120.0\n";
        assert_eq!(aligned(&table), expected);
    }

    #[test]
    fn report_values_are_printed_as_lines_of_name_and_number() {
        let report = Report {
            values: vec![
                ("a_ms".to_owned(), 2.0),
                ("b".to_owned(), 0.123_456),
                ("c".to_owned(), 1e7),
                ("d".to_owned(), -0.000_01),
                ("e".to_owned(), f64::NAN),
            ],
            ..Report::default()
        };
        assert_eq!(
            values(&report),
            "a_ms,2\nb,0.1235\nc,10000000\nd,0\ne,NaN\n"
        );
    }
}
