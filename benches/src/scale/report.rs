//! Tables, and the same as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Changed, Latency, Outcome, Outcomes};
use crate::report::{aligned, number};
use crate::statistics::{Latencies, median};

/// The tables. Each ratio is that of the large to the small.
pub(super) fn tables(outcomes: &Outcomes) -> String {
    let Outcomes { small, large, .. } = outcomes;
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut section = |title: &str, table: String| _ = write!(text, "{title}\n\n{table}\n");
    section("Start", starts(small, large));
    section("Memory of each, when ready", memory(outcomes));
    section(
        "From a change to the first check that shows it (milliseconds), and CPU time of the server for a change",
        changes(small, large),
    );
    section("Checks (microseconds), 4 at a time", checks(small, large));
    text
}

fn starts(small: &Outcome, large: &Outcome) -> String {
    let mut lines = vec![["".to_owned(), label(small), label(large)]];
    let mut line = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        lines.push([name.to_owned(), value(small), value(large)]);
    };
    line("ready, s", &|of| seconds(of.start.ready));
    line("listing alone, s", &|of| seconds(of.start.listing));
    line("listed, MiB", &|of| format!("{:.1}", mebibytes(u64::try_from(of.start.listed).unwrap_or(u64::MAX))));
    line("ready, as a multiple of listing alone", &|of| number(ratio(of.start.ready, of.start.listing), 2));
    line("CPU time until ready, s", &|of| seconds(of.start.cpu));
    line("resident when ready, MiB", &|of| format!("{:.1}", mebibytes(of.start.memory.resident)));
    line("resident at the end, MiB", &|of| format!("{:.1}", mebibytes(of.memory.resident)));
    line("peak, MiB", &|of| format!("{:.1}", mebibytes(of.memory.peak)));
    aligned(&lines)
}

/// What is resident, and more with many, for each of them.
fn memory(outcomes: &Outcomes) -> String {
    let Each { auth_config, key } = Each::of(outcomes);
    let line = |name: &str, each: Option<f64>, aim: &str| [name.to_owned(), number(each, 0), aim.to_owned()];
    let titles = ["", "bytes", "aim"].map(str::to_owned);
    aligned(&[titles, line("AuthConfig", auth_config, "20000"), line("API key", key, "600")])
}

/// Bytes.
struct Each {
    auth_config: Option<f64>,
    key: Option<f64>,
}

impl Each {
    // Exact enough for memory.
    #[allow(clippy::cast_precision_loss)]
    fn of(Outcomes { small, large, keys }: &Outcomes) -> Self {
        let of = |more: u64, less: u64, count: usize| {
            Some((more as f64 - less as f64) / count as f64).filter(|bytes| bytes.is_finite())
        };
        let (many, few) = (&large.size, &small.size);
        Self {
            auth_config: of(
                large.start.memory.resident,
                keys.resident,
                many.auth_configs.saturating_sub(few.auth_configs),
            ),
            key: of(keys.resident, small.start.memory.resident, many.secrets.saturating_sub(few.secrets)),
        }
    }
}

fn changes(small: &Outcome, large: &Outcome) -> String {
    let titles =
        ["", "small p50", "p95", "large p50", "p95", "ratio", "written in", "small CPU µs", "large CPU µs", "ratio"];
    let mut lines = vec![titles.map(str::to_owned)];
    for (small, large) in small.changes.iter().zip(&large.changes) {
        let cell = |changed, percent| number(effect(changed, percent).map(milliseconds), 2);
        let both = |value: fn(&Changed) -> Option<Duration>| value(large).zip(value(small));
        lines.push([
            small.kind.word().to_owned(),
            cell(small, 50),
            cell(small, 95),
            cell(large, 50),
            cell(large, 95),
            number(both(|changed| effect(changed, 50)).and_then(|(large, small)| ratio(large, small)), 2),
            number(written(large).map(milliseconds), 2),
            number(cpu(small).map(microseconds), 0),
            number(cpu(large).map(microseconds), 0),
            number(both(cpu).and_then(|(large, small)| ratio(large, small)), 2),
        ]);
    }
    aligned(&lines)
}

fn checks(small: &Outcome, large: &Outcome) -> String {
    let titles = ["", "p50", "p99", "p50 with changes", "p99 with changes"];
    let mut lines = vec![titles.map(str::to_owned)];
    for of in [small, large] {
        let cells = [of.quiet.median, of.quiet.high, of.disturbed.median, of.disturbed.high];
        let [a, b, c, d] = cells.map(|time| format!("{:.0}", microseconds(time)));
        lines.push([label(of), a, b, c, d]);
    }
    aligned(&lines)
}

/// Everything, in seconds and bytes.
pub(super) fn json(outcomes: &Outcomes) -> Value {
    let Each { auth_config, key } = Each::of(outcomes);
    json!({
        "small": site(&outcomes.small),
        "large": site(&outcomes.large),
        "residentOfEach": {"authConfig": auth_config, "key": key},
    })
}

fn site(of: &Outcome) -> Value {
    let latency = |of: Latency| json!({"p50": of.median.as_secs_f64(), "p99": of.high.as_secs_f64()});
    let changes = of.changes.iter().map(|changed| {
        let time = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        json!({
            "change": changed.kind.word(),
            "effect": {"p50": time(effect(changed, 50)), "p95": time(effect(changed, 95))},
            "written": time(written(changed)),
            "cpu": time(cpu(changed)),
        })
    });
    json!({
        "authConfigs": of.size.auth_configs,
        "secrets": of.size.secrets,
        "otherSecrets": of.size.other_secrets,
        "ready": of.start.ready.as_secs_f64(),
        "listing": of.start.listing.as_secs_f64(),
        "listed": of.start.listed,
        "cpuUntilReady": of.start.cpu.as_secs_f64(),
        "resident": {"ready": of.start.memory.resident, "end": of.memory.resident},
        "peak": {"ready": of.start.memory.peak, "end": of.memory.peak},
        "changes": changes.collect::<Vec<_>>(),
        "checks": {"quiet": latency(of.quiet), "withChanges": latency(of.disturbed)},
    })
}

fn label(of: &Outcome) -> String {
    format!("{} AuthConfigs, {} keys, {} others", of.size.auth_configs, of.size.secrets, of.size.other_secrets)
}

fn effect(changed: &Changed, percent: usize) -> Option<Duration> {
    let mut times = Latencies::default();
    changed.times.iter().for_each(|time| times.push(time.effect));
    times.percentile(percent)
}

/// The median time until the API server had answered.
fn written(changed: &Changed) -> Option<Duration> {
    let mut times = Latencies::default();
    changed.times.iter().for_each(|time| times.push(time.written));
    times.percentile(50)
}

/// The median of the rounds.
fn cpu(changed: &Changed) -> Option<Duration> {
    median(changed.cpu.iter().map(Duration::as_secs_f64)).map(Duration::from_secs_f64)
}

fn ratio(one: Duration, other: Duration) -> Option<f64> {
    Some(one.as_secs_f64() / other.as_secs_f64()).filter(|ratio| ratio.is_finite())
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Exact enough for memory.
#[allow(clippy::cast_precision_loss)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Memory, Size, Start, Times};
    use super::*;

    fn outcome(auth_configs: usize, factor: u32) -> Outcome {
        let time = |milliseconds: u64| Duration::from_millis(milliseconds) * factor;
        let memory = Memory { resident: (u64::from(factor) * 10) << 20, peak: 30 << 20 };
        Outcome {
            size: Size { auth_configs, secrets: 100 * usize::try_from(factor).unwrap(), other_secrets: 5 },
            start: Start { ready: time(300), listing: time(100), listed: 3 << 20, cpu: time(200), memory },
            changes: vec![Changed {
                kind: Kind::Key,
                times: (1..=20).map(|at| Times { written: time(1), effect: time(at) }).collect(),
                cpu: [time(3), time(1), time(2)].into(),
            }],
            quiet: Latency { median: time(1), high: time(2) },
            disturbed: Latency { median: time(3), high: time(4) },
            memory,
        }
    }

    fn outcomes() -> Outcomes {
        let keys = Memory { resident: 15 << 20, peak: 30 << 20 };
        Outcomes { small: outcome(10, 1), large: outcome(1000, 3), keys }
    }

    #[test]
    fn the_large_is_compared_with_the_small() {
        let text = tables(&outcomes());
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
            line.strip_prefix(name).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("ready, s"), ["0.30", "0.90"]);
        assert_eq!(row("ready, as a multiple of listing alone"), ["3.00", "3.00"]);
        assert_eq!(row("peak, MiB"), ["30.0", "30.0"]);
        // 15 MiB among 990 AuthConfigs; 5 MiB among 200 keys.
        assert_eq!(row("AuthConfig "), ["15888", "20000"]);
        assert_eq!(row("API key "), ["26214", "600"]);
        let expected = ["10.00", "19.00", "30.00", "57.00", "3.00", "3.00", "2000", "6000", "3.00"];
        assert_eq!(row("API key rotated"), expected);
        assert_eq!(row("1000 AuthConfigs, 300 keys, 5 others"), ["3000", "6000", "9000", "12000"]);
    }

    #[test]
    fn json_has_the_same_numbers() {
        let value = json(&outcomes());
        assert_eq!(value["large"]["authConfigs"], 1000);
        assert_eq!(value["large"]["changes"][0]["effect"], json!({"p50": 0.03, "p95": 0.057}));
        assert_eq!(value["small"]["changes"][0]["cpu"], 0.002);
        assert_eq!(value["small"]["checks"]["withChanges"]["p99"], 0.004);
        assert_eq!(value["small"]["resident"]["end"], 10 << 20);
        assert_eq!(value["residentOfEach"]["key"], 26214.4);
    }
}
