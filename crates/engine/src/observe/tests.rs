//! The page of metrics that comes of checks, with and without labels of the gateway's.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::TextEncoder;
use serde_json::{Value, json};

use super::*;
use crate::{
    Request, RequestParts, check,
    context::Identity,
    request::Metadata,
    testing::{Scenario, Told, predicate, request, rule, step, yes},
};

#[test]
fn series_exist_once_something_happened_and_go_with_their_configuration() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "pets".into());
    let plan = metrics.plan(&namespace, &name);
    let step = metrics.step(&namespace, &name, "IDENTITY_APIKEY", &"keys".into());
    let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert_eq!(text(), "");
    let request = request();
    let context = Context::new(&request, None, None);
    plan.started(&context);
    plan.decided(&Verdict::not_found(), Duration::from_millis(2), &context);
    step.reached(&context);
    step.ran(false, Duration::ZERO, &context);
    plan.callbacks_dropped();
    let page = text();
    assert!(
        page.contains(
            r#"auth_server_authconfig_response_status{authconfig="pets",namespace="ns",status="NOT_FOUND"} 1"#
        )
    );
    assert!(page.contains(r#"auth_server_evaluator_denied{authconfig="pets",evaluator_name="keys",evaluator_type="IDENTITY_APIKEY",namespace="ns"} 1"#));
    assert!(page.contains(r#"le="0.951""#));
    assert!(page.contains(r#"usher_callbacks_dropped_total{authconfig="pets",namespace="ns"} 1"#));
    metrics.forget(&namespace, &name);
    assert!(!text().contains("pets"));
}

#[tokio::test]
async fn the_samples_of_a_check_have_the_labels_that_are_known_by_then() {
    let world = World::new();
    let identity = Told::Now(Ok(Arc::new(json!({"username": "john"}))));
    let mut identity = rule("i", 0, identity);
    identity.step.meters = Some(world.step("IDENTITY_PLAIN", "i"));
    let mut granting = step("a", 0, yes());
    granting.meters = Some(world.step("AUTHORIZATION_JSON", "a"));
    let mut ignored = step("b", 0, yes());
    ignored.when = Some(predicate("false"));
    ignored.meters = Some(world.step("AUTHORIZATION_JSON", "b"));
    let scenario = Scenario { identity: vec![identity], authorization: vec![granting, ignored], ..Scenario::default() };
    let plan = scenario.plan_in("ns", &world.metrics);
    let labels = json!({"tier": "gold", "m": {"cel_expr": "request.method"}, "user": {"cel_expr": "auth.identity.username"},
        "le": "1", "namespace": "other", "status": {"cel_expr": "'x'"}});
    let labelled = labelled(labels);
    for request in [&labelled, &labelled, &request()] {
        assert!(check(&plan, request, None, None).await.is_allowed());
    }
    let page = world.page();
    let early = r#"authconfig="pets",m="GET",namespace="ns",tier="gold""#;
    let late = r#"authconfig="pets",m="GET",namespace="ns",tier="gold",user="john""#;
    let of_rule = |kind: &str, rule: &str, rest: &str| {
        format!(r#"authconfig="pets",evaluator_name="{rule}",evaluator_type="{kind}",{rest}namespace="ns""#)
    };
    let (tier, user) = (r#",tier="gold""#, r#",user="john""#);
    let i = of_rule("IDENTITY_PLAIN", "i", r#"m="GET","#) + tier;
    let a = of_rule("AUTHORIZATION_JSON", "a", r#"m="GET","#) + tier + user;
    let b = of_rule("AUTHORIZATION_JSON", "b", r#"m="GET","#) + tier + user;
    for (series, value) in [
        (format!("auth_server_authconfig_total{{{early}}}"), 2.0),
        (format!("auth_server_authconfig_duration_seconds_count{{{late}}}"), 2.0),
        (
            r#"auth_server_authconfig_response_status{authconfig="pets",m="GET",namespace="ns",status="OK",tier="gold",user="john"}"#
                .to_owned(),
            2.0,
        ),
        (format!("auth_server_evaluator_total{{{i}}}"), 2.0),
        (format!("auth_server_evaluator_duration_seconds_count{{{i}}}"), 2.0),
        (format!("auth_server_evaluator_total{{{a}}}"), 2.0),
        (format!("auth_server_evaluator_ignored{{{b}}}"), 2.0),
        // That of the check without labels.
        (r#"auth_server_authconfig_total{authconfig="pets",namespace="ns"}"#.to_owned(), 1.0),
        (r#"auth_server_authconfig_response_status{authconfig="pets",namespace="ns",status="OK"}"#.to_owned(), 1.0),
        (format!("auth_server_evaluator_total{{{}}}", of_rule("IDENTITY_PLAIN", "i", "")), 1.0),
        (format!("auth_server_evaluator_ignored{{{}}}", of_rule("AUTHORIZATION_JSON", "b", "")), 1.0),
    ] {
        assert_eq!(page.samples.get(&series), Some(&value), "{series}\n{:#?}", page.samples.keys());
    }
    world.metrics.forget(&"ns".into(), &"pets".into());
    assert_eq!(world.page().samples.len(), 0);
}

#[test]
fn labelled_series_stand_in_the_families_that_they_belong_to() {
    let world = World::new();
    let (plan, rule) = (world.plan("pets"), world.step("IDENTITY_PLAIN", "i"));
    let requests = [
        request(),
        labelled(json!({"a": "1"})),
        labelled(json!({"z": "a\"b\\c\nd, {e=\"f\"} 1", "a-b": "ü\u{2028}\r\0"})),
        labelled(json!({"a": "1", "b": 2})),
    ];
    for request in &requests {
        let context = Context::new(request, None, None);
        plan.started(&context);
        plan.decided(&Verdict::not_found(), Duration::from_millis(2), &context);
        rule.reached(&context);
        rule.cancelled(&context);
        rule.ignored(&context);
        rule.ran(false, Duration::from_secs(2), &context);
    }
    let page = world.page();
    let names: BTreeSet<_> = Family::ALL.iter().map(|family| family.name().to_owned()).collect();
    assert_eq!(page.families, names);
    // The buckets of a histogram, the one of everything, their sum and count; all others are counts.
    assert_eq!(page.samples.len(), requests.len() * (2 * 23 + 6));
    let escaped =
        r#"auth_server_authconfig_total{a_b="üX",authconfig="pets",namespace="ns",z="a\"b\\c\nd, {e=\"f\"} 1"}"#
            .replace('X', "\u{2028}\r\0");
    assert_eq!(page.samples.get(&escaped), Some(&1.0));
}

#[test]
fn histograms_with_and_without_labels_are_alike() {
    let world = World::new();
    let plan = world.plan("pets");
    let (plain, with_label) = (request(), labelled(json!({"z": "1"})));
    for request in [&plain, &with_label] {
        let context = Context::new(request, None, None);
        for millis in [0, 1, 2, 51, 52, 500, 951, 952, 60_000] {
            plan.decided(&Verdict::not_found(), Duration::from_millis(millis), &context);
        }
    }
    let page = world.page();
    let of = |labelled: bool| -> BTreeMap<String, f64> {
        page.samples
            .iter()
            .filter(|(series, _)| series.contains("_seconds") && series.contains(r#",z="1""#) == labelled)
            .map(|(series, value)| (series.replace(r#",z="1""#, ""), *value))
            .collect()
    };
    assert_eq!(of(true).len(), 23);
    assert_eq!(of(true), of(false));
}

#[test]
fn there_is_no_room_for_series_without_end() {
    let world = World::new();
    let metadata: Vec<_> = (0..1005).map(|number| labelled(json!({"id": number}))).collect();
    let count = |name: &str, requests: &[Request]| {
        let plan = world.plan(name);
        for request in requests {
            plan.started(&Context::new(request, None, None));
        }
    };
    let samples = |page: &Page, part: &str| page.samples.iter().filter(|(series, _)| series.contains(part)).count();
    let plain = |page: &Page, family: &str, name: &str| {
        page.samples.get(&format!(r#"{family}{{authconfig="{name}",namespace="ns"}}"#)).copied()
    };
    for plan in 0..9 {
        count(&format!("p{plan}"), &metadata);
    }
    count("half", &metadata[..500]);
    let page = world.page();
    assert_eq!(samples(&page, "id="), 9500);
    assert_eq!(plain(&page, "auth_server_authconfig_total", "p3"), Some(5.0));
    assert_eq!(plain(&page, "usher_metric_labels_dropped_total", "p3"), Some(5.0));
    assert_eq!(plain(&page, "usher_metric_labels_dropped_total", "half"), None);

    // What exists goes on; so do checks of other configurations while there is room for them.
    count("p3", &metadata[..1]);
    assert_eq!(
        world.page().samples.get(r#"auth_server_authconfig_total{authconfig="p3",id="0",namespace="ns"}"#),
        Some(&2.0)
    );
    count("last", &metadata[..700]);
    let page = world.page();
    assert_eq!(samples(&page, "id="), 10_000);
    assert_eq!(plain(&page, "auth_server_authconfig_total", "last"), Some(200.0));

    // Room comes back with a configuration that goes.
    let before = world.plan("p0");
    world.metrics.forget(&"ns".into(), &"p0".into());
    let page = world.page();
    assert_eq!((samples(&page, "id="), samples(&page, "p0")), (9000, 0));
    before.started(&Context::new(&metadata[0], None, None));
    assert_eq!(samples(&world.page(), "p0"), 0, "a request that was still in flight");
    count("p0", &metadata[..300]);
    assert_eq!(samples(&world.page(), "p0"), 300, "a new one of the same name");
    assert_eq!(samples(&world.page(), "id="), 9300);
}

#[test]
fn a_recompiled_configuration_continues_its_series() {
    let world = World::new();
    let request = labelled(json!({"z": "1"}));
    for _ in 0..2 {
        world.plan("pets").started(&Context::new(&request, None, None));
        world.step("IDENTITY_PLAIN", "i").reached(&Context::new(&request, None, None));
    }
    let page = world.page();
    assert_eq!(page.samples.len(), 2);
    assert!(page.samples.values().all(|value| *value == 2.0));
}

#[test]
fn metadata_is_read_once_per_request_and_not_at_all_where_there_is_none() {
    let (plain, labelled) = (request(), labelled(json!({"z": "1"})));
    let others = RequestParts { metadata: Some(Metadata::default()), ..RequestParts::default() };
    for (request, expected) in [(&plain, 0), (&Request::new(others), 0), (&labelled, 1)] {
        let mut context = Context::new(request, None, None);
        let mut reads = 0;
        for _ in 0..3 {
            let read = |_: &Value| {
                reads += 1;
                None
            };
            assert!(context.metric_labels(read).is_none());
            context.set_identity(Identity { rule: "r".into(), value: Arc::default() });
        }
        assert_eq!(reads, expected);
    }
}

struct World {
    registry: Registry,
    metrics: Arc<Metrics>,
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        Self { registry, metrics }
    }

    fn plan(&self, name: &str) -> PlanMeters {
        self.metrics.plan(&"ns".into(), &name.into())
    }

    fn step(&self, kind: &'static str, rule: &str) -> StepMeters {
        self.metrics.step(&"ns".into(), &"pets".into(), kind, &rule.into())
    }

    fn page(&self) -> Page {
        Page::parse(&TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap())
    }
}

fn labelled(labels: Value) -> Request {
    let metadata =
        Metadata { filter_metadata: [(labels::METADATA_NAME.to_owned(), labels)].into(), ..Metadata::default() };
    let parts = request().parts().clone();
    Request::new(RequestParts { metadata: Some(metadata), ..parts })
}

/// A page of metrics, read back. Whatever is not as the text format wants it panics.
struct Page {
    families: BTreeSet<String>,
    /// Values by name and labels, as they stand on the page.
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self { families: BTreeSet::new(), samples: BTreeMap::new() };
        let (mut family, mut helped) = (String::new(), String::new());
        for line in text.split_terminator('\n') {
            if let Some(help) = line.strip_prefix("# HELP ") {
                helped = help.split(' ').next().unwrap().to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(["counter", "histogram"].contains(&kind), "{line}");
                assert_eq!(name, helped, "one help per family, before its type");
                assert!(page.families.insert(name.to_owned()), "{name} is there twice");
                family = name.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.strip_suffix('}').unwrap().split_once('{').unwrap();
                assert!(["", "_bucket", "_sum", "_count"].contains(&name.strip_prefix(&family).unwrap()), "{line}");
                assert_labels(labels);
                assert!(page.samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
            }
        }
        page
    }
}

fn assert_labels(mut rest: &str) {
    let mut names = BTreeSet::new();
    loop {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(!name.starts_with("__") && !name.starts_with(|first: char| first.is_ascii_digit()), "{name}");
        assert!(name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_'), "{name}");
        assert!(names.insert(name), "{name} twice");
        let mut escaped = false;
        let (end, _) = value
            .char_indices()
            .find(|(_, character)| {
                let ends = *character == '"' && !escaped;
                escaped = *character == '\\' && !escaped;
                ends
            })
            .unwrap();
        match value[end + 1..].strip_prefix(',') {
            Some(next) => rest = next,
            None => {
                assert_eq!(&value[end + 1..], "");
                return;
            }
        }
    }
}
