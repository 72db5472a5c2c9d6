//! The tables.

use std::fmt::Write as _;
use std::time::Duration;

use crate::churn;
use crate::memory::Memory;
use crate::run::Row;
use crate::statistics::median;
use crate::visit::{Figures, Sample};

/// The rows as text.
///
/// Everything is the median over the rounds; ratios are taken within each round, because what happens on the machine during a
/// round happens to both sides of the ratio.
pub(crate) fn tables(rows: &[Row]) -> String {
    let has = |figures: fn(&Sample) -> Option<Figures>| {
        rows.iter().flat_map(|row| &row.samples).flatten().any(|sample| figures(sample).is_some())
    };
    let mut text = String::new();
    if has(closed) {
        text.push_str("As many checks as each server answers (closed loop)\n\n");
        text.push_str(&aligned(&closed_loop(rows)));
    }
    if has(open) {
        let between = if text.is_empty() { "" } else { "\n" };
        text.push_str(between);
        text.push_str(
            "A fixed number of checks each second (open loop); latencies from the time that each was due\n\n",
        );
        text.push_str(&aligned(&open_loop(rows)));
    }
    rows.iter().filter_map(churned).for_each(|line| text.push_str(&line));
    text
}

fn closed(sample: &Sample) -> Option<Figures> {
    sample.closed
}

fn open(sample: &Sample) -> Option<Figures> {
    sample.open
}

fn changing(sample: &Sample) -> Option<Figures> {
    sample.changing
}

fn closed_loop(rows: &[Row]) -> Vec<Vec<String>> {
    let titles = [
        "scenario",
        "server",
        "CPU µs",
        "(min-max)",
        "x stock",
        "x listener",
        &first_title(rows),
        "checks/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "MB",
        "peak MB",
        "client µs",
        "others %",
    ];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    for row in rows {
        let of = |value: fn(&Figures) -> f64| number(of(row, closed, |figures| Some(value(figures))), 0);
        let [stock, listener] = floors(rows, row);
        lines.push(vec![
            row.scenario.clone(),
            row.server.clone(),
            number(self::of(row, closed, server), 2),
            range(row, closed),
            number(ratio(row, stock, closed, server), 2),
            number(ratio(row, listener, closed, server), 2),
            number(ratio(row, first(rows, row), closed, server), 2),
            of(|figures| figures.checks_per_second),
            of(|figures| microseconds(figures.latency.median)),
            of(|figures| microseconds(figures.latency.p99)),
            of(|figures| microseconds(figures.latency.p999)),
            memory(row, |memory| memory.resident),
            memory(row, |memory| memory.peak),
            number(self::of(row, closed, |figures| Some(microseconds(figures.client))), 2),
            of(|figures| figures.others * 100.0),
        ]);
    }
    lines
}

fn open_loop(rows: &[Row]) -> Vec<Vec<String>> {
    let titles = [
        "scenario",
        "server",
        "checks/s",
        "CPU µs",
        "x stock",
        "x listener",
        &first_title(rows),
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
        "late µs",
        "MB",
        "peak MB",
        "others %",
    ];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    for row in rows {
        let [stock, listener] = floors(rows, row);
        let mut push = |scenario: String, load: fn(&Sample) -> Option<Figures>| {
            let of = |value: fn(&Figures) -> Option<f64>| number(of(row, load, value), 0);
            let against = |other: Option<&Row>| number(ratio_of(row, load, other, open, server), 2);
            lines.push(vec![
                scenario,
                row.server.clone(),
                of(|figures| Some(figures.checks_per_second)),
                number(self::of(row, load, server), 2),
                against(stock),
                against(listener),
                against(first(rows, row)),
                of(|figures| Some(microseconds(figures.latency.median))),
                of(|figures| Some(microseconds(figures.latency.p99))),
                of(|figures| Some(microseconds(figures.latency.p999))),
                of(|figures| Some(microseconds(figures.latency.max))),
                of(|figures| figures.late.map(microseconds)),
                memory(row, |memory| memory.resident),
                memory(row, |memory| memory.peak),
                of(|figures| Some(figures.others * 100.0)),
            ]);
        };
        push(row.scenario.clone(), open);
        if row.samples.iter().flatten().any(|sample| sample.changing.is_some()) {
            push(format!("{}, changing", row.scenario), changing);
        }
    }
    lines
}

/// How much longer the slowest checks take while the configuration changes; none where it does not.
fn churned(row: &Row) -> Option<String> {
    let p999 = |figures: &Figures| Some(microseconds(figures.latency.p999));
    let (with, without) = (of(row, changing, p999)?, of(row, open, p999)?);
    let ratio = ratio_of(row, changing, Some(row), open, p999)?;
    let (Row { scenario, server, .. }, per_second) = (row, churn::PER_SECOND);
    Some(format!(
        "\n{scenario}, {server}: p99.9 with {per_second} changes a second is {ratio:.2} times that without ({with:.0} µs, {without:.0} µs)\n"
    ))
}

/// The empty servers that a row is compared with.
fn floors<'a>(rows: &'a [Row], row: &Row) -> [Option<&'a Row>; 2] {
    [rows.get(row.floor), rows.get(row.floor + 1)]
}

/// The first row of the same scenario.
fn first<'a>(rows: &'a [Row], row: &Row) -> Option<&'a Row> {
    rows.iter().find(|first| first.scenario == row.scenario)
}

/// What stands over the multiples of the first executable.
fn first_title(rows: &[Row]) -> String {
    // Behind the empty servers.
    let name = rows.iter().find(|row| !row.scenario.starts_with('(')).map_or("first", |row| &row.server);
    format!("x {name}")
}

fn ratio(
    row: &Row,
    other: Option<&Row>,
    load: fn(&Sample) -> Option<Figures>,
    value: impl Fn(&Figures) -> Option<f64>,
) -> Option<f64> {
    ratio_of(row, load, other, load, value)
}

fn ratio_of(
    row: &Row,
    load: fn(&Sample) -> Option<Figures>,
    other: Option<&Row>,
    other_load: fn(&Sample) -> Option<Figures>,
    value: impl Fn(&Figures) -> Option<f64>,
) -> Option<f64> {
    let value = |sample: &Option<Sample>, load: fn(&Sample) -> Option<Figures>| value(&load(sample.as_ref()?)?);
    let pairs = row.samples.iter().zip(&other?.samples);
    let ratios = pairs.filter_map(|(sample, other)| Some(value(sample, load)? / value(other, other_load)?));
    median(ratios.filter(|ratio| ratio.is_finite()))
}

fn of(row: &Row, load: fn(&Sample) -> Option<Figures>, value: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
    median(row.samples.iter().flatten().filter_map(|sample| value(&load(sample)?)))
}

fn range(row: &Row, load: fn(&Sample) -> Option<Figures>) -> String {
    let values = || row.samples.iter().flatten().filter_map(|sample| server(&load(sample)?));
    match values().reduce(f64::min).zip(values().reduce(f64::max)) {
        Some((low, high)) => format!("{low:.2}-{high:.2}"),
        None => "-".to_owned(),
    }
}

fn server(figures: &Figures) -> Option<f64> {
    figures.server.map(microseconds)
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn memory(row: &Row, bytes: fn(Memory) -> u64) -> String {
    let values = row.samples.iter().flatten().filter_map(|sample| sample.memory);
    number(median(values.map(|memory| megabytes(bytes(memory)))), 0)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// The first column to the left, the others to the right.
pub(crate) fn aligned<Line: AsRef<[String]>>(lines: &[Line]) -> String {
    let mut widths = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.as_ref().len()), 0);
        for (width, cell) in widths.iter_mut().zip(line.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.as_ref().iter().zip(&widths).enumerate() {
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
    use crate::visit::Percentiles;

    /// CPU times in microseconds, one for each round; 0 where the process is not known.
    fn row(scenario: &str, server: &str, microseconds: &[u64]) -> Row {
        let time = Duration::from_micros;
        let figures = |server: u64| Figures {
            server: (server > 0).then(|| time(server)),
            client: time(4),
            others: 0.25,
            checks_per_second: 1000.4,
            latency: Percentiles { median: time(500), p99: time(900), p999: time(server * 100), max: time(9000) },
            late: None,
        };
        let sample = |time: &u64| Sample {
            closed: Some(figures(*time)),
            memory: Some(Memory { resident: 20 << 20, peak: 30 << 20 }),
            ..Sample::default()
        };
        let samples = microseconds.iter().map(|time| Some(sample(time))).collect();
        Row { scenario: scenario.to_owned(), server: server.to_owned(), floor: 0, samples }
    }

    /// The cells of each line that has a number for the floor, without titles.
    fn cells(rows: &[Row]) -> Vec<Vec<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        tables(rows).lines().skip(3).map(words).collect()
    }

    #[test]
    fn rounds_that_failed_are_left_out_on_both_sides() {
        let mut rows = [
            row("(empty)", "stock", &[20, 40, 30]),
            row("(empty)", "listener", &[10, 20, 10]),
            row("one", "usher", &[40, 40, 90]),
        ];
        rows[0].samples[0] = None;
        rows[2].samples[2] = None;
        assert_eq!(cells(&rows)[2][..6], ["one", "usher", "40.00", "40.00-40.00", "1.00", "3.00"]);
        rows[2].samples.fill(None);
        assert!(cells(&rows)[2][2..].iter().all(|cell| cell == "-"));
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let mut rows = [
            row("(empty)", "stock", &[20, 40, 30]),
            row("(empty)", "listener", &[10, 20, 10]),
            row("(empty,large)", "stock", &[80, 80, 80]),
            row("(empty,large)", "listener", &[40, 40, 40]),
            row("slow", "before", &[40, 40, 90]),
            row("slow", "after", &[20, 10, 90]),
            row("large", "before", &[80, 80, 80]),
            row("peer", "other", &[0, 0, 0]),
        ];
        [2, 3, 6].into_iter().for_each(|large| rows[large].floor = 2);
        let cells = cells(&rows);
        assert_eq!(cells[0][..7], ["(empty)", "stock", "30.00", "20.00-40.00", "1.00", "2.00", "1.00"]);
        let latencies = ["1000", "500", "900", "4000", "20", "30", "4.00", "25"];
        assert_eq!(cells[4][..7], ["slow", "before", "40.00", "40.00-90.00", "2.00", "4.00", "1.00"]);
        assert_eq!(cells[4][7..], latencies);
        assert_eq!(cells[5][..7], ["slow", "after", "20.00", "10.00-90.00", "1.00", "2.00", "0.50"]);
        assert_eq!(cells[6][4..7], ["1.00", "2.00", "1.00"]);
        assert_eq!(cells[7][..7], ["peer", "other", "-", "-", "-", "-", "-"]);
        let table = tables(&rows);
        assert!(table.contains("x before") && !table.contains("open loop"), "{table}");
        let widths: Vec<usize> = table.lines().skip(2).map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
    }

    #[test]
    fn the_open_loop_has_a_table_of_its_own_and_changes_a_line() {
        let mut rows = [
            row("(empty)", "stock", &[20, 40]),
            row("(empty)", "listener", &[10, 20]),
            row("churn", "usher", &[40, 40]),
        ];
        for sample in rows.iter_mut().flat_map(|row| &mut row.samples).flatten() {
            (sample.open, sample.closed) = (sample.closed, None);
            if let Some(open) = &mut sample.open {
                open.late = Some(Duration::from_micros(7));
            }
        }
        for (sample, p999) in rows[2].samples.iter_mut().flatten().zip([6000, 8000]) {
            sample.changing = sample.open;
            sample.changing.as_mut().unwrap().latency.p999 = Duration::from_micros(p999);
        }
        let cells = cells(&rows);
        let rest = ["500", "900", "4000", "9000", "7", "20", "30", "25"];
        assert_eq!(cells[2][..7], ["churn", "usher", "1000", "40.00", "1.50", "3.00", "1.00"]);
        assert_eq!(cells[2][7..], rest);
        assert_eq!(cells[3][..8], ["churn,", "changing", "usher", "1000", "40.00", "1.50", "3.00", "1.00"]);
        assert_eq!(cells[3][10], "7000");
        let table = tables(&rows);
        assert!(table.ends_with("is 1.75 times that without (7000 µs, 4000 µs)\n"), "{table}");
        assert!(!table.contains("closed loop"), "{table}");
    }
}
