mod credentials;
mod urls;

use std::sync::Arc;

use serde_json::json;
use usher_api::{ObjectMeta, Secret, Selector};
use usher_engine::observe::Metrics;

use super::*;
use crate::{
    Resources, SecretReader, Secrets,
    build_context::Options,
    conditions::NamedSets,
    identity::Identities,
    resources::http::{
        self as client,
        test_server::{Reply, TestServer},
    },
};

/// A server that answers `{}` to everything below `/m`, and one client of it.
struct World {
    server: TestServer,
    resources: Arc<Resources>,
    secrets: Secrets,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        server.set("/m", Reply::json(&json!({})));
        let options = client::Options { allow_loopback: true, max_body: 1000, ..client::Options::default() };
        let client = Client::new(options).unwrap();
        let mut secrets = Secrets::complete();
        let entries = [("word", "s t"), ("token", "hush"), ("empty", ""), ("newline", "hush\n")];
        secrets.insert(Arc::new(Secret {
            metadata: ObjectMeta { namespace: "team".to_owned(), name: "s".to_owned(), ..ObjectMeta::default() },
            data: entries.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into(),
            ..Secret::default()
        }));
        Self { server, resources: Arc::new(Resources::new(client, Selector::default()).unwrap()), secrets }
    }

    /// The endpoint, its problems and its warnings. `HOST` and `URL` in the specification stand for the server's.
    fn build(&self, spec: &Value) -> (Option<HttpEndpoint>, Vec<String>, Vec<String>) {
        let host = self.server.url.strip_prefix("http://").unwrap();
        let text = spec.to_string().replace("URL", &self.server.url).replace("HOST", host);
        let spec: HttpEndpointSpec = serde_json::from_str(&text).unwrap();
        let (namespace, name) = (Arc::from("team"), Arc::from("config"));
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let mut problems = Problems::default();
        let context = BuildContext {
            namespace: &namespace,
            name: &name,
            patterns: &NamedSets::default(),
            identities: &Identities::default(),
            secrets: &SecretReader::new(&self.secrets, &namespace),
            resources: &self.resources,
            metrics: &metrics,
            options: &Options { evaluator_cache_bytes: 0, deep_metrics: false, all_namespaces: false },
        };
        let endpoint = build(&spec, &FieldPath::root("http"), &context, &mut problems);
        let (problems, warnings) = problems.into_parts();
        let texts = |list: Vec<crate::Problem>| list.iter().map(ToString::to_string).collect();
        (endpoint, texts(problems), texts(warnings))
    }

    fn endpoint(&self, spec: &Value) -> HttpEndpoint {
        let (endpoint, problems, _) = self.build(spec);
        assert!(problems.is_empty(), "{spec}: {problems:?}");
        endpoint.unwrap()
    }

    /// What the server gets at `/m`.
    async fn sent(&self, spec: &Value, document: &Value) -> String {
        let mut spec = spec.clone();
        if spec.get("url").is_none() && spec.get("urlExpression").is_none() {
            spec["url"] = json!("URL/m");
        }
        let before = self.server.count("/m");
        self.endpoint(&spec).call(document).await.unwrap();
        assert_eq!(self.server.count("/m"), before + 1, "{spec}");
        self.server.last_request("/m").unwrap()
    }

    async fn value(&self, spec: &Value) -> Result<Value, EndpointError> {
        let endpoint = self.endpoint(spec);
        endpoint.read(&endpoint.call(&Value::Null).await?)
    }
}

/// The authorization JSON of most tests.
fn document() -> Value {
    json!({
        "request": {"method": "GET", "path": "/hello", "headers": {"x-origin": "some-origin", "q": "a b"}},
        "context": {"request": {"http": {"path": "/hello"}}},
        "auth": {"identity": {"user": "mock", "n": 1, "list": ["a", 2], "object": {"b": 1, "a": "<&>"}}},
    })
}

/// A document with this text as `request.headers.x`.
fn with_x(text: &str) -> Value {
    json!({"request": {"headers": {"x": text}}})
}

fn target(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

fn header<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let head = request.split_once("\r\n\r\n").unwrap().0;
    head.lines().filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect()
}

fn refused(result: Result<impl Sized, EndpointError>) -> String {
    match result.err().unwrap() {
        EndpointError::Request(reason) => reason.into_owned(),
        error @ EndpointError::Dependency { .. } => panic!("{error}"),
    }
}

#[tokio::test]
async fn methods_have_their_bodies() {
    let world = World::new().await;
    let form = "application/x-www-form-urlencoded";
    let cases = [
        ("GET", "text/plain", ""),
        ("HEAD", "text/plain", ""),
        ("OPTIONS", "text/plain", ""),
        ("TRACE", "text/plain", ""),
        ("POST", form, "user=mock"),
        ("PUT", form, "user=mock"),
        ("PATCH", form, "user=mock"),
        ("DELETE", form, "user=mock"),
    ];
    for (method, content_type, expected) in cases {
        let spec = json!({"method": method, "bodyParameters": {"user": {"selector": "auth.identity.user"}}});
        let request = world.sent(&spec, &document()).await;
        assert!(request.starts_with(&format!("{method} /m HTTP/1.1\r\n")), "{request}");
        assert_eq!(header(&request, "content-type"), [content_type], "{method}");
        assert_eq!(body(&request), expected, "{method}");
        let length = if expected.is_empty() { Vec::new() } else { vec!["9"] };
        assert_eq!(header(&request, "content-length"), length, "{method}");
        let (_, _, warnings) = world.build(&json!({"url": "URL/m", "method": method, "body": {"value": 1}}));
        let warned = vec![format!("http.body: is not sent: {method} has no body")];
        assert_eq!(warnings, if expected.is_empty() { warned } else { Vec::new() });
    }
    let (endpoint, problems, _) = world.build(&json!({"url": "URL/m", "method": "CONNECT"}));
    assert!(endpoint.is_none());
    assert_eq!(problems, ["http.method: `CONNECT` asks a proxy for a tunnel: it has no answer that could be used"]);
}

#[tokio::test]
async fn bodies_are_forms_json_or_text() {
    let world = World::new().await;
    let selector = |path: &str| json!({"selector": path});
    let both = json!({"user": selector("auth.identity.user"), "n": selector("auth.identity.n")});
    let missing = json!({"x": selector("auth.identity.none")});
    let odd = json!({"a b": {"value": "c&d=é"}, "o": selector("auth.identity.object"), "t": {"value": true}});
    let cases = [
        (json!({"bodyParameters": both}), "n=1&user=mock"),
        (json!({"bodyParameters": both, "contentType": "application/json"}), r#"{"n":1,"user":"mock"}"#),
        (json!({"body": {"selector": r#"\{"u":"{auth.identity.user}"\}"#}}), r#"{"u":"mock"}"#),
        (json!({"body": {"value": {"a": 1}}}), r#"{"a":1}"#),
        (json!({"body": {"value": "as it is"}, "contentType": "application/json"}), "as it is"),
        (json!({"body": {"expression": "{'p': request.path}"}}), r#"{"p":"/hello"}"#),
        (json!({"body": {"value": null}}), ""),
        (json!({"body": selector("auth.identity.none")}), ""),
        (json!({"body": {"value": true}}), "true"),
        (json!({"bodyParameters": missing}), "x="),
        (json!({"bodyParameters": missing, "contentType": "application/json"}), r#"{"x":null}"#),
        (json!({}), ""),
        (json!({"contentType": "application/json"}), "{}"),
        (
            json!({"bodyParameters": odd}),
            "a+b=c%26d%3D%C3%A9&o=%7B%22a%22%3A%22%5Cu003c%5Cu0026%5Cu003e%22%2C%22b%22%3A1%7D&t=true",
        ),
        (
            json!({"bodyParameters": odd, "contentType": "application/json"}),
            r#"{"a b":"c\u0026d=é","o":{"b":1,"a":"\u003c\u0026\u003e"},"t":true}"#,
        ),
    ];
    for (mut spec, expected) in cases {
        spec["method"] = json!("POST");
        let request = world.sent(&spec, &document()).await;
        assert_eq!(body(&request), expected, "{spec}");
        let content_type = spec["contentType"].as_str().unwrap_or("application/x-www-form-urlencoded");
        assert_eq!(header(&request, "content-type"), [content_type]);
        assert_eq!(header(&request, "content-length"), [expected.len().to_string()], "{spec}");
    }
    let spec = json!({"url": "URL/m", "method": "POST", "body": {"expression": "request.headers['none']"}});
    assert_eq!(refused(world.endpoint(&spec).call(&document()).await), "no such key: none");
}

#[tokio::test]
async fn headers_are_values_and_replace_each_other_in_order() {
    let world = World::new().await;
    let spec = json!({
        "sharedSecretRef": {"name": "s", "key": "token"},
        "headers": {
            "X-Text": {"value": "fixed"},
            "X-Number": {"value": 12},
            "X-Path": {"selector": "p={request.path}"},
            "X-Object": {"selector": "auth.identity.object"},
            "X-Missing": {"selector": "auth.identity.none"},
            "X-Unicode": {"value": "é"},
            "User-Agent": {"value": "mine"},
            "Authorization": {"value": "Own credential"},
            "Content-Type": {"value": "text/html"},
            "Host": {"value": "evil.test"},
            "Content-Length": {"value": "5"},
            "Transfer-Encoding": {"value": "chunked"},
            "Trailer": {"value": "x"},
            "Connection": {"value": "upgrade"},
        },
    });
    let request = world.sent(&spec, &document()).await;
    for (name, expected) in [
        ("x-text", "fixed"),
        ("x-number", "12"),
        ("x-path", "p=/hello"),
        ("x-object", r#"{"a":"\u003c\u0026\u003e","b":1}"#),
        ("x-missing", ""),
        ("x-unicode", "é"),
        ("user-agent", "mine"),
        ("authorization", "Own credential"),
        ("content-type", "text/plain"),
        ("host", world.server.url.strip_prefix("http://").unwrap()),
    ] {
        assert_eq!(header(&request, name), [expected], "{name}");
    }
    for name in ["content-length", "transfer-encoding", "trailer", "connection"] {
        assert!(header(&request, name).is_empty(), "{name}: {request}");
    }
    let mut spec = spec;
    spec["url"] = json!("URL/m");
    let (_, _, warnings) = world.build(&spec);
    let expected = ["Connection", "Content-Length", "Content-Type", "Host", "Trailer", "Transfer-Encoding"];
    let named: Vec<_> = warnings.iter().map(|warning| warning.split(':').next().unwrap()).collect();
    assert_eq!(named, expected.map(|name| format!("http.headers.{name}")));
}

#[tokio::test]
async fn headers_that_cannot_be_are_refused_when_they_are_known() {
    let world = World::new().await;
    let cases = [
        (json!({"x y": {"value": "a"}}), r#"http.headers["x y"]: `x y` is not a header name"#),
        (json!({"x\ny": {"value": "a"}}), "http.headers.x\ny: `x\ny` is not a header name"),
        (json!({"": {"value": "a"}}), "http.headers.: `` is not a header name"),
        (json!({"x": {"value": "a\r\nevil: 1"}}), "http.headers.x: the value contains a control character"),
    ];
    for (headers, problem) in cases {
        let (endpoint, problems, _) = world.build(&json!({"url": "URL/m", "headers": headers}));
        assert!(endpoint.is_none());
        assert_eq!(problems, [problem]);
    }
    let endpoint = world.endpoint(&json!({"url": "URL/m", "headers": {"X-A": {"selector": "request.headers.x"}}}));
    for x in ["a\r\nevil: 1", "a\n", "\0", "a\rb", "\u{7f}"] {
        let reason = refused(endpoint.call(&with_x(x)).await);
        assert_eq!(reason, "header `x-a`: the value contains a control character");
    }
    let spec = json!({"url": "URL/m", "headers": {"x": {"expression": "request.headers['none']"}}});
    assert_eq!(refused(world.endpoint(&spec).call(&document()).await), "no such key: none");
    assert_eq!(world.server.count("/m"), 0);
}

#[tokio::test]
async fn the_status_matters_only_where_it_is_said_to() {
    let world = World::new().await;
    world.server.set("/m", Reply::text(503, r#"{"error":"x"}"#).with_header("content-type", "application/json"));
    assert_eq!(world.value(&json!({"url": "URL/m"})).await.unwrap(), json!({"error": "x"}));
    assert_eq!(world.value(&json!({"url": "URL/none"})).await.unwrap(), json!(""));
    assert!(world.value(&json!({"url": "URL/m", "expectStatus": ["2xx", 503]})).await.is_ok());
    let error = world.value(&json!({"url": "URL/m", "expectStatus": ["2xx", "404"]})).await.unwrap_err();
    let detail = "the answer has the status 503, which is not expected".to_owned();
    assert_eq!(error, EndpointError::Dependency { reason: "unexpected response", detail });
}

#[tokio::test]
async fn an_answer_without_content_is_an_empty_string() {
    let world = World::new().await;
    assert_eq!(world.value(&json!({"url": "URL/m", "method": "HEAD"})).await.unwrap(), json!(""));
    world.server.set("/m", Reply::text(204, "").with_header("content-type", "application/json"));
    assert_eq!(world.value(&json!({"url": "URL/m"})).await.unwrap(), json!(""));
}

#[tokio::test]
async fn failures_say_whose_they_are() {
    let world = World::new().await;
    world.server.set("/large", Reply::text(200, &"x".repeat(1001)));
    world.server.set("/stalled", Reply::text(200, "x").stalled());
    let secret = json!({"name": "s", "key": "token"});
    let dependency = |reason: &'static str| Some(reason);
    let cases = [
        (json!({"url": "http://127.0.0.1:1/"}), dependency("connection failed")),
        (json!({"url": "URL/large"}), dependency("response too large")),
        (json!({"url": "URL/stalled", "timeout": 50}), dependency("request timed out")),
        (json!({"url": "http://169.254.169.254/latest"}), None),
    ];
    for (mut spec, expected) in cases {
        spec["sharedSecretRef"] = secret.clone();
        spec["credentials"] = json!({"queryString": {"name": "k"}});
        let error = world.endpoint(&spec).call(&Value::Null).await.unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
        match (Failure::from(error), expected) {
            (Failure::Undecidable(undecided), Some(reason)) => assert_eq!(undecided.reason, reason, "{spec}"),
            (Failure::Denied(reason), None) => assert_eq!(reason, "address not allowed", "{spec}"),
            (failure, _) => panic!("{spec}: {failure:?}"),
        }
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let world = World::new().await;
    world.server.set("/from", Reply::text(302, "moved").with_header("location", "/m"));
    assert_eq!(world.value(&json!({"url": "URL/from"})).await.unwrap(), json!("moved"));
    assert_eq!(world.server.count("/m"), 0);
}

#[tokio::test]
async fn a_call_may_move_between_threads() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let world = World::new().await;
    let endpoint = world.endpoint(&json!({"url": "URL/m"}));
    let document: &dyn Document = &Value::Null;
    assert!(sent(endpoint.call(document)).await.is_ok());
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let world = World::new().await;
    let endpoint = world.endpoint(&json!({
        "url": "http://user:hush@HOST/m?key=hush",
        "headers": {"X-Key": {"value": "hush"}},
        "method": "POST",
        "body": {"value": "hush"},
        "sharedSecretRef": {"name": "s", "key": "token"},
    }));
    let shown = format!("{endpoint:?}");
    assert!(shown.contains("POST") && !shown.contains("hush"), "{shown}");
}
