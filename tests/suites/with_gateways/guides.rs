//! The guides `docs/gateways/*.md`: the manifests that they show are those that are shipped and run, and their commands do what
//! they show.
//!
//! ```text
//!  docs/gateways/GATEWAY.md ──► script.rs: what each command means ──► follow.rs: does it, and compares what comes
//!                               kubectl.rs, shell.rs, curl.rs          through the gateway's Envoys, or a client in its place
//! ```

mod curl;
mod follow;
mod kubectl;
mod script;
mod shell;

use std::{fs, thread};

use serde_json::Value;
use usher_test_support::read_yaml;

pub(super) use follow::{Applied, Caller, Running};
use follow::{Guide, follow};
use script::{Action, steps};

use super::{agentgateway, envoy, envoy_gateway, istio, istio_waypoint, kgateway, manifests};
use crate::support::{
    documents::Folder,
    fenced::blocks,
    workspace::{files_below, root},
};

const GUIDES: [Guide; 6] = [
    Guide { name: "agentgateway", start: agentgateway::of_guide },
    Guide { name: "envoy", start: envoy::of_guide },
    Guide { name: "envoy-gateway", start: envoy_gateway::of_guide },
    Guide { name: "istio", start: istio::of_guide },
    Guide { name: "istio-waypoint", start: istio_waypoint::of_guide },
    Guide { name: "kgateway", start: kgateway::of_guide },
];

/// Every command of every page: those that can be run are, in the order of the page, with what the page has applied until then.
/// A command that is not known is an error, so none is left out without a word.
#[test]
fn guides_show_what_comes() {
    let pages = files_below(&root().join("docs/gateways"));
    let names: Vec<_> = pages.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    assert!(manifests::folders().all(|folder| names.contains(&folder)), "a guide is missing: {names:?}");
    let (first, second) = names.split_at(names.len() / 2);
    // In two threads: most of the time goes into waiting for Envoys to start.
    let wrong: Vec<_> = thread::scope(|scope| {
        let threads = [first, second]
            .map(|names| scope.spawn(|| names.iter().flat_map(|name| wrong(name, &page(name))).collect::<Vec<_>>()));
        threads.into_iter().flat_map(|thread| thread.join().expect("a page could not be followed")).collect()
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n\n"));
}

/// The test above can tell right from wrong: each of these changes of a page is noticed.
#[test]
fn guides_that_show_something_else_are_noticed() {
    let changes = [
        ("HTTP/1.1 200 OK\n```\n\n## 2.", "HTTP/1.1 403 Forbidden\n```\n\n## 2."),
        ("x-ext-authz-check-result: denied\n", "x-ext-authz-check-result: refused\n"),
        ("for not found header `x-ext-authz: allow` in the request\n", "for no reason\n"),
        ("HTTP/1.1 401 Unauthorized\n", "HTTP/1.1 401 Unknown\n"),
        ("content-length: 28\n", "content-length: 29\n"),
        ("localhost:8080/v1/models ", "localhost:8081/v1/models "),
        ("--status 403 ", "--status 4030 "),
        ("rollout status deployment echo", "rollout status deployment tools"),
        ("gtw/agentgateway-proxy", "gtw/agentgateway"),
        ("port-forward deployment/agentgateway-proxy", "port-forward deployment/agentgateway"),
        ("authconfig/sample", "authconfig/authz"),
        ("ai wait --for=condition=Ready authconfigs", "elsewhere wait --for=condition=Ready authconfigs"),
    ];
    let mut text = page("agentgateway");
    for (from, to) in changes {
        assert!(text.contains(from), "the guide has no `{from}` any more");
        text = text.replacen(from, to, 1);
    }
    let wrong = wrong("agentgateway", &text);
    assert_eq!(wrong.len(), changes.len(), "{}", wrong.join("\n\n"));
}

/// What is wrong in a page.
fn wrong(name: &str, text: &str) -> Vec<String> {
    let steps = match steps(&format!("docs/gateways/{name}.md"), text) {
        Ok(steps) => steps,
        Err(wrong) => return wrong,
    };
    let guide = GUIDES.into_iter().find(|guide| guide.name == name);
    let count = |is_it: fn(&Action) -> bool| steps.iter().filter(|step| is_it(&step.action)).count();
    let requests = count(|action| matches!(action, Action::Curl(..)));
    let others = count(|action| matches!(action, Action::Usher { .. } | Action::Serve(_)));
    eprintln!("{name}: {requests} requests, {others} commands of usher");
    assert_eq!(requests > 0, guide.is_some(), "{name}: requests, and a gateway to send them to");
    follow(&steps, guide)
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs/gateways").join(name).with_extension("md")).unwrap()
}

/// The object of a kind and a name that a guide shows.
pub(super) fn shown(guide: &str, kind: &str, name: &str) -> Value {
    let yaml = blocks(&page(guide)).into_iter().filter(|block| block.language == "yaml");
    let mut documents = yaml.flat_map(|block| read_yaml(&block.text()).unwrap());
    let is_it = |document: &Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents.find(is_it).unwrap_or_else(|| panic!("the guide `{guide}` shows no {kind} `{name}`"))
}

#[test]
fn guides_show_what_is_there() {
    for gateway in manifests::folders() {
        let mut folder = Folder::read(&format!("deploy/gateways/{gateway}"));
        folder.documents.extend(in_place_of_something(gateway));
        assert_shows(gateway, &folder);
    }
}

/// What readers put in the place of something that is shipped. The tests of the gateway do the same.
fn in_place_of_something(gateway: &str) -> Vec<Value> {
    match gateway {
        "kgateway" => vec![kgateway::guide::through_second_service()],
        _ => Vec::new(),
    }
}

/// The YAML in a guide is part of the documents. Whole AuthConfigs that are not among them are examples of something else: a
/// house rule validates these.
fn assert_shows(gateway: &str, folder: &Folder) {
    let guide = format!("docs/gateways/{gateway}.md");
    let blocks: Vec<_> = blocks(&page(gateway)).into_iter().filter(|block| block.language == "yaml").collect();
    // The guide to a plain Envoy has links to its one file instead.
    assert!(!blocks.is_empty() || gateway == "envoy", "{guide} shows nothing");
    for block in blocks {
        let text = block.text();
        for shown in read_yaml(&text).unwrap() {
            let is_there = folder.documents.iter().any(|document| is_somewhere_in(document, &shown));
            assert!(
                is_there || is_example(&shown, folder),
                "{guide} shows what is not below {}:\n{text}",
                folder.path.display()
            );
        }
    }
}

fn is_example(shown: &Value, folder: &Folder) -> bool {
    let name = |config: &Value| (config["metadata"]["namespace"].clone(), config["metadata"]["name"].clone());
    let is_shipped = || folder.of_kind("AuthConfig").any(|config| name(config) == name(shown));
    shown["kind"] == "AuthConfig" && shown["spec"].is_object() && !is_shipped()
}

fn is_somewhere_in(whole: &Value, part: &Value) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match whole {
        Value::Object(members) => Box::new(members.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new([].iter()),
    };
    is_part(whole, part) || inner.any(|inner| is_somewhere_in(inner, part))
}

/// Objects may have more members, and lists more items, than what is shown of them.
fn is_part(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| is_part(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            let mut whole = whole.iter();
            part.iter().all(|part| whole.any(|whole| is_part(whole, part)))
        }
        (whole, part) => whole == part,
    }
}
