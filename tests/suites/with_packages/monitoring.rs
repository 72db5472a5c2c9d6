//! The alerts and the dashboard: whether they parse, do what they say, and name only metrics that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    process::Command,
};

use serde_json::Value;

use super::{chart, cluster::Cluster, items, named, promtool, run, text};
use crate::support::{
    wait::until,
    workspace::{files_below, root},
};

const ALERTS: &str = "deploy/helm/usher/files/alerts.yaml";
const DASHBOARD: &str = "deploy/helm/usher/files/dashboard.json";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn alerts_do_what_they_say() {
    let Some(promtool) = promtool() else { return };
    run(Command::new(&promtool).args(["check", "rules", "--lint=all", "--lint-fatal"]).arg(root().join(ALERTS)), b"");
    run(Command::new(&promtool).args(["test", "rules"]).arg(root().join("tests/parts/packages/alerts_test.yaml")), b"");
}

#[test]
fn each_alert_is_tested_and_says_what_to_do() {
    let (alerts, tests) = (read(ALERTS), read("tests/parts/packages/alerts_test.yaml"));
    let blocks: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(blocks.len() >= 8);
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let titles: Vec<_> = items(&dashboard, "panels").iter().map(|panel| text(panel, "title")).collect();
    for block in blocks {
        let name = block.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "no test makes {name} fire");
        for part in ["for: ", "severity: ", "summary: ", "description: ", "runbook: "] {
            assert!(block.contains(part), "{name} has no {part}");
        }
        for panel in block.split("panel \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(titles.contains(&panel), "{name}: the dashboard has no panel {panel}");
        }
    }
}

#[test]
fn the_chart_brings_them() {
    let values = serde_json::json!({"monitoring": {
        "prometheusRule": {"enabled": true, "force": true}, "dashboard": {"enabled": true},
    }});
    let cases = serde_json::json!([{"name": "usher", "namespace": "gateways", "values": values}]);
    let (Some(promtool), Some(rendered)) = (promtool(), chart::ask("render", &cases)) else { return };
    let objects = items(&rendered[0], "objects");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    fs::write(&file, named(objects, "PrometheusRule", "usher")["spec"].to_string()).unwrap();
    let told = run(Command::new(&promtool).args(["check", "rules"]).arg(&file), b"");
    let count = read(ALERTS).matches("- alert: ").count();
    assert!(told.contains(&format!("{count} rules found")), "{told}");
    let dashboard = text(named(objects, "ConfigMap", "usher-dashboard"), "data/usher.json");
    let (found, expected): (Value, Value) =
        (serde_json::from_str(dashboard).unwrap(), serde_json::from_str(&read(DASHBOARD)).unwrap());
    assert_eq!(found, expected);
}

#[test]
fn panels_ask_what_prometheus_understands() {
    let Some(promtool) = promtool() else { return };
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    let queries = queries();
    for (number, (_, query)) in queries.iter().enumerate() {
        // JSON is YAML.
        writeln!(rules, "  - {{record: 'panel:{number}', expr: {}}}", Value::from(query.as_str())).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    fs::write(&file, rules).unwrap();
    let told = run(Command::new(&promtool).args(["check", "rules"]).arg(&file), b"");
    assert!(told.contains(&format!("{} rules found", queries.len())), "{told}");
}

#[test]
fn the_dashboard_is_complete() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = items(&dashboard, "panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are taken once");
    for panel in panels.iter().filter(|panel| text(panel, "type") != "row") {
        assert_eq!(text(panel, "datasource/uid"), "${datasource}", "{}", text(panel, "title"));
        assert!(!items(panel, "targets").is_empty(), "{}", text(panel, "title"));
    }
    let variables: Vec<_> = items(&dashboard, "templating/list").iter().map(|one| text(one, "name")).collect();
    assert_eq!(variables, ["datasource", "instance", "namespace", "authconfig"]);
    let asked: String = queries().into_iter().map(|(_, query)| query).collect();
    assert!(!asked.contains('$'), "a variable is not known here");
}

/// The queries of the dashboard by the titles of their panels, without variables.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let plain = |query: &str| {
        let query = query.replace("$__rate_interval", "5m");
        ["instance", "namespace", "authconfig"]
            .iter()
            .fold(query, |query, name| query.replace(&format!("${name}"), ".*"))
    };
    let of_panels = items(&dashboard, "panels").iter().flat_map(|panel| {
        items(panel, "targets").iter().map(move |target| (text(panel, "title").to_owned(), plain(text(target, "expr"))))
    });
    // `label_values(METRIC, LABEL)` is no query: the metric with the label is.
    let of_variables = items(&dashboard, "templating/list").iter().filter_map(|variable| {
        let query = text(variable, "definition").strip_prefix("label_values(")?.strip_suffix(')')?;
        let (metric, label) = query.rsplit_once(", ")?;
        Some((text(variable, "name").to_owned(), format!("count by ({label}) ({})", plain(metric))))
    });
    of_panels.chain(of_variables).collect()
}

/// The queries of the alerts by their names.
fn alert_queries() -> Vec<(String, String)> {
    let blocks = read(ALERTS);
    blocks
        .split("- alert: ")
        .skip(1)
        .map(|block| {
            let (name, rest) = block.split_once('\n').unwrap();
            let query = rest.split_once("expr: ").unwrap().1.split_once("\n        for:").unwrap().0;
            (name.to_owned(), query.trim_start_matches(">-").trim().to_owned())
        })
        .collect()
}

#[test]
fn all_metrics_are_there() {
    let families = families();
    let literals = literals();
    let mut seen = BTreeSet::new();
    for (place, query) in queries().into_iter().chain(alert_queries()) {
        for (metric, labels) in metrics(&query) {
            let suffix = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| metric.strip_suffix(suffix));
            let family = suffix.filter(|family| literals.contains(*family) || families.contains_key(*family));
            let family = family.unwrap_or(&metric);
            match families.get(family) {
                Some(known) => {
                    let ours = labels.iter().filter(|label| !["instance", "le"].contains(&label.as_str()));
                    let missing: Vec<_> = ours.filter(|label| !known.contains(*label)).collect();
                    assert!(missing.is_empty(), "{place}: `{family}` has no label {missing:?}, but {known:?}");
                }
                // Some are there only after something happened that does not happen here.
                None => assert!(literals.contains(family), "{place}: nothing counts `{family}`"),
            }
            seen.insert(family.to_owned());
        }
    }
    for needed in [
        "auth_server_response_status",
        "auth_server_evaluator_denied",
        "controller_runtime_reconcile_total",
        "leader_election_master_status",
        "usher_source_connected",
        "process_resident_memory_bytes",
    ] {
        assert!(seen.contains(needed), "no panel shows {needed}");
        assert!(families.contains_key(needed), "{needed} is not among {:?}", families.keys());
    }
}

/// The metrics that a query names, with the labels that it supposes.
fn metrics(query: &str) -> Vec<(String, Vec<String>)> {
    const WORDS: [&str; 12] = [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "and",
        "or",
        "unless",
        "bool",
        "offset",
        "inf",
    ];
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut grouped = Vec::new();
    let mut rest = query;
    let word = |text: &str| -> usize {
        text.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'))
            .unwrap_or(text.len())
    };
    while let Some(first) = rest.chars().next() {
        if first == '[' {
            rest = &rest[rest.find(']').unwrap()..];
        } else if first == '{' {
            let (inner, after) = rest[1..].split_once('}').unwrap();
            let labels = inner.split(',').filter_map(|matcher| matcher.split(['=', '!']).next());
            found.last_mut().unwrap().1.extend(labels.map(str::to_owned));
            rest = after;
            continue;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let (name, after) = rest.split_at(word(rest));
            let next = after.trim_start();
            if ["by", "on"].contains(&name) {
                let (labels, after) = next[1..].split_once(')').unwrap();
                grouped.extend(labels.split(", ").map(str::to_owned));
                rest = after;
                continue;
            }
            let is_called = ["(", "by (", "without ("].iter().any(|call| next.starts_with(call));
            if !is_called && !WORDS.contains(&name) {
                found.push((name.to_owned(), Vec::new()));
            }
            rest = after;
            continue;
        } else if first.is_ascii_digit() {
            rest = &rest[word(rest)..];
            continue;
        }
        rest = &rest[rest.chars().next().unwrap().len_utf8()..];
    }
    for (_, labels) in &mut found {
        labels.extend(grouped.iter().cloned());
    }
    found
}

#[test]
fn metrics_are_found_in_queries() {
    let query =
        r#"topk(10, sum by (le, a) (rate(x_bucket{b="1,c",d!~"y|z"}[5m])) > 0) / on (a) vector(0) or absent(up)"#;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let found = metrics(query);
    assert_eq!(found[0].0, "x_bucket");
    assert!(names(&["b", "d", "le", "a"]).iter().all(|label| found[0].1.contains(label)), "{found:?}");
    assert_eq!((found.len(), found[1].0.as_str()), (2, "up"));
}

/// Names of metrics in the code, as text.
fn literals() -> BTreeSet<String> {
    let is_name =
        |text: &str| text.contains('_') && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    let sources = files_below(&root().join("crates"));
    let sources = sources.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let production = |text: String| text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
    let texts = sources.map(|file| production(fs::read_to_string(file).unwrap()));
    texts.flat_map(|text| text.split('"').filter(|part| is_name(part)).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The metrics of a server that has decided, and their labels.
fn families() -> BTreeMap<String, BTreeSet<String>> {
    const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];
    let cluster = Cluster::start(&["--deep-metrics-enabled", "--enable-leader-election"]);
    assert_eq!(cluster.check("open.test", &[]).status, 200);
    assert_eq!(cluster.check("closed.test", &[]).status, 401);
    let page = until("a leader", || {
        let page = cluster.metrics("/metrics");
        if page.contains("leader_election_master_status{") { Ok(page) } else { Err("none".to_owned()) }
    });
    let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().chain(cluster.metrics("/server-metrics").lines()) {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) {
            families.entry(name.to_owned()).or_default();
        } else if let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let family = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
            let family = family.filter(|name| families.contains_key(*name)).unwrap_or(name);
            let labels = rest.rsplit_once('}').unwrap().0.split("\",");
            let names = labels.filter_map(|label| label.split_once('=').map(|(name, _)| name.to_owned()));
            families.get_mut(family).unwrap().extend(names);
        }
    }
    families
}
