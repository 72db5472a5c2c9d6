//! The tables, and the same as JSON.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::Plan;
use crate::report::{aligned, number};
use crate::statistics::{Distribution, median};

/// What was measured of one server behind one Envoy.
#[derive(Debug)]
pub(super) struct Row {
    /// What is asked.
    pub(super) scenario: String,
    /// Who is asked.
    pub(super) server: String,
    /// Through which Envoy.
    pub(super) envoy: String,
    /// One for each round; none where not all was as expected.
    pub(super) samples: Vec<Option<Sample>>,
}

/// What was measured in one round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// In the closed loop.
    pub(super) closed: Option<Figures>,
    /// In the open loop.
    pub(super) open: Option<Figures>,
}

/// What was measured under one load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Of requests that are not checked.
    pub(super) without: Latency,
    /// Of the same requests with a check.
    pub(super) with: Latency,
    /// How late the load generator was in 99 of 100 requests; none in the closed loop.
    pub(super) late: Option<Duration>,
    /// The share of all cores that was used by what is not part of the measurement, from 0 to 1.
    pub(super) others: f64,
}

/// Until when so many were answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub(super) median: Duration,
    /// Of 99 of 100 requests.
    pub(super) p99: Duration,
}

impl Latency {
    pub(super) fn of(latencies: &Distribution) -> anyhow::Result<Self> {
        let quantile = |share| latencies.quantile(share).context("nothing was answered");
        Ok(Self { median: quantile(0.5)?, p99: quantile(0.99)? })
    }
}

/// What the figures depend on.
#[derive(Debug)]
pub(super) struct Conditions {
    /// The load average before the measurement.
    pub(super) before: String,
    /// And behind it.
    pub(super) after: String,
    pub(super) cores: usize,
    pub(super) elapsed: Duration,
}

/// What a sample says, in a line.
pub(super) fn told(sample: &Sample) -> String {
    let added = |name: &str, figures: Option<Figures>| {
        let microseconds = |percentile| figures.map(|figures| difference(&figures, percentile) * 1e6);
        let (median, p99) = (microseconds(MEDIAN)?, microseconds(P99)?);
        Some(format!("{name}: a check adds {median:.0} µs to p50, {p99:.0} µs to p99"))
    };
    let parts = [added("closed loop", sample.closed), added("open loop", sample.open)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The tables, and what they depend on.
pub(super) fn text(plan: &Plan, rows: &[Row], conditions: &Conditions) -> String {
    let Conditions { before, after, cores, elapsed } = conditions;
    let minutes = elapsed.as_secs().div_ceil(60);
    let (rounds, seconds) = (plan.rounds, plan.time.as_secs());
    format!(
        "{}\n{rounds} rounds of {seconds} s; {cores} cores; load average {before} before, {after} after; {minutes} minutes in all\n",
        tables(plan, rows),
    )
}

/// All in microseconds, and the median of the rounds; what is added is the difference within each round.
fn tables(plan: &Plan, rows: &[Row]) -> String {
    let mut tables = Vec::new();
    if plan.loads.closed() {
        let title = "One request at a time on one connection (closed loop); microseconds";
        tables.push(format!("{title}\n\n{}", aligned(&lines(rows, closed))));
    }
    if plan.loads.open() {
        let (rate, connections) = (plan.rate, plan.connections);
        let title = format!(
            "{rate} requests each second on {connections} connections (open loop), from the time that each was due; microseconds"
        );
        tables.push(format!("{title}\n\n{}", aligned(&lines(rows, open))));
    }
    tables.join("\n")
}

type Choice = fn(&Sample) -> Option<Figures>;

fn closed(sample: &Sample) -> Option<Figures> {
    sample.closed
}

fn open(sample: &Sample) -> Option<Figures> {
    sample.open
}

type Percentile = fn(&Latency) -> Duration;

const MEDIAN: Percentile = |latency| latency.median;
const P99: Percentile = |latency| latency.p99;

fn lines(rows: &[Row], load: Choice) -> Vec<Vec<String>> {
    let titles = [
        "scenario",
        "server",
        "Envoy",
        "p50",
        "checked",
        "added",
        "(min-max)",
        "p99",
        "checked",
        "added",
        "(min-max)",
        "late",
        "others %",
    ];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    for row in rows {
        let mut line = vec![row.scenario.clone(), row.server.clone(), row.envoy.clone()];
        for percentile in [MEDIAN, P99] {
            let Spread { without, with, added } = Spread::of(row, load, percentile);
            line.extend([without, with, median(added.iter().copied())].map(microseconds));
            line.push(range(&added));
        }
        line.push(microseconds(late(row, load)));
        line.push(number(others(row, load).map(|share| share * 100.0), 0));
        lines.push(line);
    }
    lines
}

/// One percentile of all rounds, in seconds.
struct Spread {
    /// The median of the rounds.
    without: Option<f64>,
    /// The same with checks.
    with: Option<f64>,
    /// What a check adds to it in each round. Less than nothing where the machine made more of a difference than the check.
    added: Vec<f64>,
}

impl Spread {
    fn of(row: &Row, load: Choice, percentile: Percentile) -> Self {
        let all = figures(row, load);
        Self {
            without: median(all.iter().map(|figures| percentile(&figures.without).as_secs_f64())),
            with: median(all.iter().map(|figures| percentile(&figures.with).as_secs_f64())),
            added: all.iter().map(|figures| difference(figures, percentile)).collect(),
        }
    }
}

/// Between the percentiles with and without a check, in seconds. It is not a percentile of what each single request gains.
fn difference(figures: &Figures, percentile: Percentile) -> f64 {
    percentile(&figures.with).as_secs_f64() - percentile(&figures.without).as_secs_f64()
}

/// Those of the rounds in which all was as expected.
fn figures(row: &Row, load: Choice) -> Vec<Figures> {
    row.samples.iter().flatten().filter_map(load).collect()
}

fn late(row: &Row, load: Choice) -> Option<f64> {
    median(figures(row, load).iter().filter_map(|figures| Some(figures.late?.as_secs_f64())))
}

fn others(row: &Row, load: Choice) -> Option<f64> {
    median(figures(row, load).iter().map(|figures| figures.others))
}

fn microseconds(seconds: Option<f64>) -> String {
    number(seconds.map(|seconds| seconds * 1e6), 0)
}

/// The smallest and the largest. With a word between, because they may be negative.
fn range(seconds: &[f64]) -> String {
    match seconds.iter().copied().reduce(f64::min).zip(seconds.iter().copied().reduce(f64::max)) {
        Some((low, high)) => format!("{:.0} to {:.0}", low * 1e6, high * 1e6),
        None => "-".to_owned(),
    }
}

/// Everything, in seconds.
pub(super) fn json(plan: &Plan, rows: &[Row], conditions: &Conditions) -> Value {
    let versions: Map<String, Value> =
        plan.envoys.iter().map(|envoy| (envoy.name.clone(), envoy.version.clone().into())).collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "scenario": row.scenario,
                "server": row.server,
                "envoy": row.envoy,
                "closed": loads(row, closed),
                "open": loads(row, open),
            })
        })
        .collect();
    json!({
        "envoys": versions,
        "rounds": plan.rounds,
        "seconds": plan.time.as_secs(),
        "rate": plan.rate,
        "connections": plan.connections,
        "cores": conditions.cores,
        "loadAverage": {"before": conditions.before, "after": conditions.after},
        "elapsed": conditions.elapsed.as_secs_f64(),
        "rows": rows,
    })
}

/// What was measured under one load; null if nothing was.
fn loads(row: &Row, load: Choice) -> Value {
    if figures(row, load).is_empty() {
        return Value::Null;
    }
    let spread = |percentile| {
        let Spread { without, with, added } = Spread::of(row, load, percentile);
        json!({
            "without": without,
            "with": with,
            "added": median(added.iter().copied()),
            "addedInRounds": added,
        })
    };
    json!({"p50": spread(MEDIAN), "p99": spread(P99), "late": late(row, load), "others": others(row, load)})
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::options::Loads;

    /// In microseconds: p50 and p99 without checks, and with them.
    fn figures([median, p99, with_median, with_p99]: [u64; 4]) -> Option<Figures> {
        let latency = |median, p99| Latency { median: Duration::from_micros(median), p99: Duration::from_micros(p99) };
        Some(Figures { without: latency(median, p99), with: latency(with_median, with_p99), late: None, others: 0.25 })
    }

    fn row(closed: &[[u64; 4]]) -> Row {
        let samples = closed.iter().map(|values| Some(Sample { closed: figures(*values), open: None })).collect();
        Row { scenario: "anonymous".to_owned(), server: "usher".to_owned(), envoy: "1.40.0".to_owned(), samples }
    }

    fn plan(loads: Loads) -> Plan {
        Plan {
            own: "usher-benches".into(),
            envoys: Vec::new(),
            ushers: Vec::new(),
            scenarios: Vec::new(),
            rounds: 3,
            time: Duration::from_secs(2),
            loads,
            rate: NonZeroU32::new(1000).unwrap(),
            connections: 16,
        }
    }

    fn cells(rows: &[Row], load: Choice) -> Vec<Vec<String>> {
        lines(rows, load).split_off(1)
    }

    #[test]
    fn what_is_added_is_the_median_of_the_differences_within_rounds() {
        // The second round is slow, with checks and without: the difference of the medians would be 250 for p50.
        let row = row(&[[100, 900, 250, 1000], [1000, 5000, 1300, 4000], [50, 700, 350, 950]]);
        let expected = ["100", "350", "300", "150 to 300", "900", "1000", "100", "-1000 to 250", "-", "25"];
        assert_eq!(cells(&[row], closed)[0][3..], expected);
    }

    #[test]
    fn rounds_that_failed_are_left_out() {
        let mut row = row(&[[100, 900, 250, 1000], [1, 1, 1, 1], [50, 700, 350, 950]]);
        row.samples[1] = None;
        assert_eq!(cells(&[row], closed)[0][3..7], ["75", "300", "225", "150 to 300"]);
        let failed = Row { samples: vec![None, None], ..self::row(&[]) };
        assert!(cells(&[failed], closed)[0][3..].iter().all(|cell| cell == "-"));
    }

    #[test]
    fn each_load_has_a_table_and_the_open_one_says_how_late_it_was() {
        let mut row = row(&[[100, 900, 250, 1000]]);
        let open = Figures { late: Some(Duration::from_micros(70)), ..figures([200, 300, 400, 600]).unwrap() };
        row.samples[0].as_mut().unwrap().open = Some(open);
        assert_eq!(cells(&[row], self::open)[0][3..9], ["200", "400", "200", "200 to 200", "300", "600"]);
        let row = Row { samples: vec![Some(Sample { closed: None, open: Some(open) })], ..self::row(&[]) };
        let conditions = Conditions {
            before: "0.50".to_owned(),
            after: "1.25".to_owned(),
            cores: 2,
            elapsed: Duration::from_secs(61),
        };
        let rows = [row];
        let both = text(&plan(Loads::Both), &rows, &conditions);
        assert!(both.contains("(closed loop)") && both.contains("1000 requests each second on 16"), "{both}");
        assert!(both.ends_with("load average 0.50 before, 1.25 after; 2 minutes in all\n"), "{both}");
        let only = text(&plan(Loads::Open), &rows, &conditions);
        assert!(!only.contains("(closed loop)") && only.contains("  70  "), "{only}");
        let widths: Vec<usize> = only.lines().skip(2).take(2).map(|line| line.chars().count()).collect();
        assert_eq!(widths[0], widths[1], "{only}");
        assert_eq!(told(rows[0].samples[0].as_ref().unwrap()), "open loop: a check adds 200 µs to p50, 300 µs to p99");
        let json = json(&plan(Loads::Open), &rows, &conditions);
        assert_eq!(json["loadAverage"]["after"], "1.25");
        assert_eq!(json["rows"][0]["closed"], Value::Null);
        let p99 = &json["rows"][0]["open"]["p99"];
        let added = [&p99["added"], &p99["addedInRounds"][0]].map(|added| added.as_f64().unwrap());
        assert!(added.iter().all(|added| (added - 300e-6).abs() < 1e-9), "{json:#}");
        assert_eq!((&json["rows"][0]["open"]["late"], &json["rows"][0]["envoy"]), (&70e-6.into(), &"1.40.0".into()));
    }
}
