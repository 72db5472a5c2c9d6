//! Changes of requests on their way to the upstream: credentials taken out, headers and query parameters set and removed.
//!
//! Input: lines.
//!
//! ```text
//! cookie sid              the credential: authorization, header, query or cookie, and its name
//! /pets?a=1               the request target
//! Bearer abc              the header authorization; - for none
//! sid=v; theme=dark       the header cookie
//! k1                      the header x-key
//! append x-key v          any number of changes: set, append, absent, null, without, response,
//! query a v               query, query-null, without-query
//! ```
//!
//! `\n`, `\r` and `\0` in values stand for control characters. What the upstream gets is worked out here as Envoy does
//! it, and must be what was asked for.

#![no_main]


use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use url::form_urlencoded;
use usher_compile::Compiler;
use usher_engine::{Request, RequestParts, Verdict, verdict::Additions};
use usher_evaluators::{FieldPath, Problems, Secrets, credentials::Credentials};
use usher_fuzz::line;

fuzz_target!(|text: &str| WORLD.with(|(runtime, compiler)| run(text, runtime, compiler)));

thread_local! {
    static WORLD: (Runtime, Compiler) = (usher_fuzz::runtime(), usher_fuzz::compiler(false));
}

fn run(text: &str, runtime: &Runtime, compiler: &Compiler) {
    let (place, rest) = line(text);
    let (path, rest) = line(rest);
    let (authorization, rest) = line(rest);
    let (cookie, rest) = line(rest);
    let (key, changes) = line(rest);
    let (kind, name) = place.split_once(' ').unwrap_or((place, ""));
    let headers = [("authorization", authorization), ("cookie", cookie), ("x-key", key)];
    if headers.iter().any(|(_, value)| clean(value) != *value) {
        // No gateway takes such a header.
        return;
    }
    let headers: usher_engine::request::Headers = headers
        .into_iter()
        .filter(|(_, value)| *value != "-")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let request = Request::new(RequestParts { path: path.to_owned(), headers, ..RequestParts::default() });

    let place = match kind {
        "authorization" => json!({"authorizationHeader": {"prefix": name}}),
        "header" => json!({"customHeader": {"name": name}}),
        "query" => json!({"queryString": {"name": name}}),
        "cookie" => json!({"cookie": {"name": name}}),
        _ => return,
    };
    let spec = serde_json::from_value(place.clone()).expect("a place");
    let at = FieldPath::root("credentials");
    let Some(credentials) = Credentials::build(Some(&spec), &at, &mut Problems::default()) else { return };
    let changes: Vec<Change<'_>> = changes.lines().filter_map(Change::read).take(8).collect();
    let Some(Ok(compiled)) = usher_fuzz::compile(compiler, configuration(&place, &changes), &Secrets::complete()) else {
        return;
    };

    // What the request carries is made a key, so that it is let in with it; and if it carries nothing, without.
    let found = credentials.find(&request);
    let api_keys = &compiler.resources.api_keys;
    if let Some(found) = &found {
        api_keys.apply(&usher_fuzz::secret("key", "api_key", found.as_bytes()));
    }
    let verdict = usher_fuzz::decide(runtime, &compiled.plan, &request);
    api_keys.remove("fuzz", "key");
    let Verdict::Allow(allow) = verdict else { panic!("{verdict:?}") };
    let additions = allow.into_additions();
    let is_removed = additions.dynamic_metadata["who"] == "key";
    assert!(!is_removed || found.is_some());

    let upstream = upstream(&request, &additions);
    headers_are_as_asked_for(&request, &upstream, &changes, is_removed && kind != "query");
    query_is_as_asked_for(&upstream, &changes);
    if is_removed {
        let sets_it = |change: &Change<'_>| match kind {
            "query" => change.verb == "query" && change.name == name,
            "header" => change.sets_header(&name.to_ascii_lowercase()),
            "cookie" => change.sets_header("cookie"),
            _ => change.sets_header("authorization"),
        };
        if !changes.iter().any(sets_it) {
            assert_eq!(credentials.find(&upstream), None, "still there: {upstream:?}");
            if kind == "cookie" && !changes.iter().any(|it| it.removes_header("cookie")) {
                others_are_left(name, &request, &upstream);
            }
        }
    }
}

/// One line of the input.
struct Change<'t> {
    verb: &'t str,
    name: &'t str,
    value: String,
}

impl<'t> Change<'t> {
    fn read(line: &'t str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (verb, name) = (words.next()?, words.next()?);
        let value = words.next().unwrap_or_default();
        let value = value.replace("\\n", "\n").replace("\\r", "\r").replace("\\0", "\0");
        Some(Self { verb, name, value })
    }

    fn sets_header(&self, name: &str) -> bool {
        matches!(self.verb, "set" | "append" | "absent" | "null") && self.name.eq_ignore_ascii_case(name)
    }

    fn removes_header(&self, name: &str) -> bool {
        self.verb == "without" && self.name.eq_ignore_ascii_case(name)
    }

    /// The value as it can be sent.
    fn clean(&self) -> String {
        clean(&self.value)
    }
}

/// A value as it can be sent.
fn clean(value: &str) -> String {
    value.replace(['\n', '\r', '\0'], "")
}

/// An AuthConfig that makes these changes. Items have one priority each, so that the last one counts.
fn configuration(place: &Value, changes: &[Change<'_>]) -> Value {
    let mut sections = [Map::new(), Map::new(), Map::new()];
    let mut remove_headers = Vec::new();
    let mut remove_parameters = Vec::new();
    for (index, Change { verb, name, value }) in changes.iter().enumerate() {
        let mut item = json!({"key": name, "plain": {"value": value}, "priority": index});
        let section = match *verb {
            "set" | "append" | "absent" | "response" => {
                let action = match *verb {
                    "append" => "append",
                    "absent" => "addIfAbsent",
                    _ => "overwrite",
                };
                item["action"] = action.into();
                usize::from(*verb == "response")
            }
            "null" => {
                item["plain"] = json!({"selector": "request.nothing"});
                0
            }
            "query" => 2,
            "query-null" => {
                item["plain"] = json!({"selector": "request.nothing"});
                2
            }
            "without" => {
                remove_headers.push(*name);
                continue;
            }
            "without-query" => {
                remove_parameters.push(*name);
                continue;
            }
            _ => continue,
        };
        // An empty key is none.
        let title = if name.is_empty() { String::new() } else { format!("i{index}") };
        sections[section].insert(title, item);
    }
    let [headers, response_headers, parameters] = sections;
    json!({
        "hosts": ["made.test"],
        "authentication": {
            "key": {
                "apiKey": {"selector": {"matchLabels": {"group": "made"}}},
                "credentials": place,
                "removeCredential": true,
            },
            "anyone": {"anonymous": {}, "priority": 1},
        },
        "response": {"success": {
            "headers": headers,
            "responseHeaders": response_headers,
            "removeHeaders": remove_headers,
            "queryParameters": {"set": parameters, "remove": remove_parameters},
            "dynamicMetadata": {"who": {"plain": {"selector": "auth.identity.metadata.name"}}},
        }},
    })
}

/// The request as the upstream gets it through Envoy, which sets first, then removes, and does not decode the query.
fn upstream(request: &Request, additions: &Additions) -> Request {
    let mut headers = request.parts().headers.clone();
    headers.extend(additions.headers.iter().cloned());
    let is_kept = |name: &str| !additions.remove_headers.iter().any(|removed| removed == name);
    let headers = headers.iter().filter(|(name, _)| is_kept(name)).collect();
    let set: Vec<_> = additions.query_parameters.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
    let mut path = request.parts().path.clone();
    if !set.is_empty() || !additions.remove_query_parameters.is_empty() {
        let pairs = request.query().split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<(String, String)> = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in &set {
            pairs.retain(|(present, _)| present != name);
            pairs.push((name.clone(), value.clone()));
        }
        // The server tells gateways about no parameter that it is both set and removed.
        let is_set = |name: &String| set.iter().any(|(set, _)| set == name);
        let removed = &additions.remove_query_parameters;
        pairs.retain(|(name, _)| !removed.contains(name) || is_set(name));
        let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let before = path.split(['?', '#']).next().unwrap_or_default();
        path = format!("{before}?{}", query.join("&"));
    }
    Request::new(RequestParts { path, headers, ..RequestParts::default() })
}

fn encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn headers_are_as_asked_for(request: &Request, upstream: &Request, changes: &[Change<'_>], is_credential: bool) {
    let removed = |name: &str| changes.iter().any(|it| it.removes_header(name));
    for change in changes {
        let name = change.name.to_ascii_lowercase();
        if change.verb == "without" && !changes.iter().any(|it| it.sets_header(&name)) {
            assert_eq!(upstream.header(&name), None);
        }
        // With one change of a header, the outcome is known.
        if !change.sets_header(&name) || changes.iter().filter(|it| it.sets_header(&name)).count() > 1 {
            continue;
        }
        let (before, after) = (request.header(&name), upstream.header(&name));
        let before = before.filter(|_| !removed(&name));
        let value = change.clean();
        let touched = is_credential && request.header(&name).is_some();
        match change.verb {
            "set" => assert_eq!(after, Some(&*value)),
            "append" => {
                let before = before.filter(|_| !touched).unwrap_or_default();
                assert!(
                    after.is_some_and(|after| after.starts_with(before) && after.ends_with(&value)),
                    "{upstream:?}"
                );
            }
            "absent" if !touched => assert_eq!(after, before.or(Some(&value))),
            // What the client sent must not be taken for ours.
            "null" => assert!(after.unwrap_or_default().is_empty()),
            _ => {}
        }
    }
}

/// As a server reads the query that decodes it.
fn query_is_as_asked_for(upstream: &Request, changes: &[Change<'_>]) {
    let last = |name: &str| changes.iter().rev().find(|it| it.verb.starts_with("query") && it.name == name);
    for change in changes {
        let pairs = form_urlencoded::parse(upstream.query().as_bytes());
        let values: Vec<_> = pairs.filter(|(name, _)| name == change.name).map(|(_, value)| value).collect();
        match (change.verb, last(change.name)) {
            ("without-query", None) => assert!(values.is_empty(), "{} is in {upstream:?}", change.name),
            ("query", Some(last)) if last.verb == "query" => {
                assert_eq!(values, [last.clean()], "{} in {upstream:?}", change.name);
            }
            ("query-null", Some(_)) if changes.iter().all(|it| it.verb != "query" || it.name != change.name) => {
                assert!(values.is_empty(), "{} is in {upstream:?}", change.name);
            }
            _ => {}
        }
    }
}

/// Other cookies mean what they meant. What stands behind a comma after the credential, which came first, is a cookie of
/// its own afterwards: a gateway may have joined two headers there.
fn others_are_left(name: &str, request: &Request, upstream: &Request) {
    let header = request.header("cookie").unwrap_or_default();
    let leads =
        |part: &str| part.trim().strip_prefix(name).is_some_and(|rest| rest.starts_with('=') && rest.contains(','));
    if header.split(';').any(leads) {
        return;
    }
    for other in ["a", "theme"] {
        let spec = serde_json::from_value(json!({"cookie": {"name": other}})).expect("a place");
        let at = FieldPath::root("credentials");
        let other_cookie = Credentials::build(Some(&spec), &at, &mut Problems::default()).expect("a cookie");
        if other != name {
            assert_eq!(other_cookie.find(request), other_cookie.find(upstream), "cookie {other} of {request:?}");
        }
    }
}
