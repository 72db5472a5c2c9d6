//! The table.

use std::fmt::Write as _;
use std::time::Duration;

use crate::run::{Row, Sample};
use crate::statistics::median;

/// The rows as text; the first two are the empty servers that the others are compared with.
///
/// Everything is the median over the rounds; ratios are taken within each round, because what happens on the machine during a
/// round happens to both sides of the ratio.
pub(crate) fn table(rows: &[Row]) -> String {
    let titles = [
        "scenario",
        "CPU µs",
        "(min-max)",
        "x stock",
        "x listener",
        "checks/s",
        "p50 µs",
        "p99 µs",
        "client µs",
        "others %",
    ];
    let mut lines = vec![titles.map(str::to_owned)];
    let (stock, listener) = (rows.first(), rows.get(1));
    for row in rows {
        let cpu: Vec<f64> = row.samples.iter().flatten().filter_map(server).collect();
        let range = cpu.iter().copied().reduce(f64::min).zip(cpu.iter().copied().reduce(f64::max));
        lines.push([
            row.name.clone(),
            number(median(cpu), 2),
            range.map(|(low, high)| format!("{low:.2}-{high:.2}")).unwrap_or_else(|| "-".to_owned()),
            number(ratio(row, stock), 2),
            number(ratio(row, listener), 2),
            number(of(row, |sample| sample.checks_per_second), 0),
            number(of(row, |sample| microseconds(sample.median_latency)), 0),
            number(of(row, |sample| microseconds(sample.high_latency)), 0),
            number(of(row, |sample| microseconds(sample.client)), 2),
            number(of(row, |sample| sample.others * 100.0), 0),
        ]);
    }
    aligned(&lines)
}

fn ratio(row: &Row, floor: Option<&Row>) -> Option<f64> {
    let pairs = row.samples.iter().zip(&floor?.samples);
    let ratios = pairs.filter_map(|(sample, floor)| Some(server(sample.as_ref()?)? / server(floor.as_ref()?)?));
    median(ratios.filter(|ratio| ratio.is_finite()))
}

fn of(row: &Row, value: impl Fn(&Sample) -> f64) -> Option<f64> {
    median(row.samples.iter().flatten().map(value))
}

fn server(sample: &Sample) -> Option<f64> {
    sample.server.map(microseconds)
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// The first column to the left, the others to the right.
pub(crate) fn aligned<const COLUMNS: usize>(lines: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // Writing to a string does not fail.
            let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, microseconds: &[u64]) -> Row {
        let sample = |time: &u64| Sample {
            server: (*time > 0).then(|| Duration::from_micros(*time)),
            client: Duration::from_micros(4),
            others: 0.25,
            checks_per_second: 1000.4,
            median_latency: Duration::from_micros(500),
            high_latency: Duration::from_micros(900),
        };
        Row { name: name.to_owned(), samples: microseconds.iter().map(|time| Some(sample(time))).collect() }
    }

    #[test]
    fn rounds_that_failed_are_left_out_on_both_sides() {
        let mut rows = [row("stock", &[20, 40, 30]), row("listener", &[10, 20, 10]), row("one", &[40, 40, 90])];
        rows[0].samples[0] = None;
        rows[2].samples[2] = None;
        let table = table(&rows);
        let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[3][..5], ["one", "40.00", "40.00-40.00", "1.00", "3.00"]);
        rows[2].samples.fill(None);
        let cells = super::table(&rows);
        assert!(cells.lines().last().unwrap().split_whitespace().skip(1).all(|cell| cell == "-"), "{cells}");
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let rows = [
            row("stock", &[20, 40, 30]),
            row("listener", &[10, 20, 10]),
            row("slow", &[40, 40, 90]),
            row("peer", &[0, 0, 0]),
        ];
        let table = table(&rows);
        let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1][..5], ["stock", "30.00", "20.00-40.00", "1.00", "2.00"]);
        assert_eq!(cells[3], ["slow", "40.00", "40.00-90.00", "2.00", "4.00", "1000", "500", "900", "4.00", "25"]);
        assert_eq!(cells[4], ["peer", "-", "-", "-", "-", "1000", "500", "900", "4.00", "25"]);
        let widths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
    }
}
