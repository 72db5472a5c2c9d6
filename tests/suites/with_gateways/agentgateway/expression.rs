//! Expressions of the gateway's configuration: conditions, metadata, keys and times of the cache. They are in CEL, with
//! variables of the gateway's own.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cel::{Context, Program, Value as Cel, extractors::This, objects::Key};
use serde_json::{Value, json};

use super::request::Request;
use crate::with_gateways::units::duration;

/// An expression that can be parsed.
pub(super) struct Expression {
    source: String,
    program: Program,
}

/// One member of the key of an answer that is kept. Lists and objects cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum KeyPart {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(u64),
    String(String),
    Bytes(Vec<u8>),
}

impl Expression {
    /// # Panics
    /// If it is no CEL.
    pub(super) fn new(source: &str) -> Self {
        let program = Program::compile(source).unwrap_or_else(|error| panic!("`{source}` is no CEL: {error}"));
        Self { source: source.to_owned(), program }
    }

    /// A duration as it stands, such as `5m`, or else an expression.
    pub(super) fn time(source: &str) -> Self {
        match duration(source) {
            Some(_) => Self::new(&format!("duration({source:?})")),
            None => Self::new(source),
        }
    }

    /// Whether it is true. What cannot be evaluated is not.
    pub(super) fn holds(&self, request: &Request) -> bool {
        matches!(self.evaluate(request), Some(Cel::Bool(true)))
    }

    /// Its value as JSON.
    pub(super) fn json(&self, request: &Request) -> Option<Value> {
        self.evaluate(request)?.json().ok()
    }

    /// Its value as a member of a key.
    pub(super) fn key_part(&self, request: &Request) -> Option<KeyPart> {
        if self.hands_on_an_address(request) {
            return None;
        }
        Some(match self.evaluate(request)? {
            Cel::Null => KeyPart::Null,
            Cel::Bool(value) => KeyPart::Bool(value),
            Cel::Int(value) => KeyPart::Int(value),
            Cel::UInt(value) => KeyPart::UInt(value),
            Cel::Float(value) => KeyPart::Float(value.to_bits()),
            Cel::String(value) => KeyPart::String(value.to_string()),
            Cel::Bytes(value) => KeyPart::Bytes(value.to_vec()),
            _ => return None,
        })
    }

    /// How long from now: a duration, a point in time, or one as a number of seconds since 1970. None if it lies behind, or
    /// there is no value.
    pub(super) fn time_to_live(&self, request: &Request) -> Option<Duration> {
        let until = |seconds: f64| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
            Duration::try_from_secs_f64(seconds - now).ok()
        };
        match self.evaluate(request)? {
            Cel::Duration(value) => value.to_std().ok(),
            Cel::Timestamp(value) => until(value.timestamp_millis() as f64 / 1000.0),
            Cel::Int(value) => until(value as f64),
            Cel::UInt(value) => until(value as f64),
            Cel::Float(value) if value.is_finite() && !value.is_sign_negative() => until(value),
            _ => None,
        }
    }

    /// The gateway has `request.uri` and `request.pathAndQuery` as values of a kind of their own. Comparisons and functions, such
    /// as `string`, take the text from them; as they are, they are no member of a key. Here they are texts, so this looks whether
    /// something else in their place would be handed on in the same way.
    fn hands_on_an_address(&self, request: &Request) -> bool {
        let mut variable = variable(request);
        for name in ["uri", "pathAndQuery"] {
            variable[name] = json!({ADDRESS: name});
        }
        let address = Key::from(ADDRESS.to_owned());
        matches!(self.evaluate_with(variable, request), Some(Cel::Map(it)) if it.map.contains_key(&address))
    }

    fn evaluate(&self, request: &Request) -> Option<Cel> {
        self.evaluate_with(variable(request), request)
    }

    /// With this in the place of the variable `request`.
    fn evaluate_with(&self, variable: Value, request: &Request) -> Option<Cel> {
        let mut context = Context::default();
        context.add_variable("request", variable).unwrap();
        let source = json!({"address": request.peer.ip().to_string(), "port": request.peer.port()});
        context.add_variable("source", source).unwrap();
        for (name, value) in [("jwt", &request.claims), ("extauthz", &request.metadata)] {
            if let Some(value) = value {
                context.add_variable(name, value).unwrap();
            }
        }
        context.add_function("join", |This(headers): This<Cel>| joined(&headers)).unwrap();
        self.program.execute(&context).ok()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

/// Not the name of a header: where the joined values stand beside the first ones.
const JOINED: &str = "\0joined";

/// By which a value is known that stands for an address of the request.
const ADDRESS: &str = "\0address";

/// The variable `request`.
fn variable(request: &Request) -> Value {
    let mut headers = serde_json::Map::new();
    let mut all = serde_json::Map::new();
    for name in request.headers.keys() {
        let values: Vec<_> = request.headers.get_all(name).iter().map(|value| value.to_str()).collect();
        // The first value alone: what `request.headers["name"]` finds is not what the check tells.
        if let Some(Ok(first)) = values.first() {
            headers.insert(name.to_string(), json!(first));
        }
        if let Ok(values) = values.into_iter().collect::<Result<Vec<_>, _>>() {
            all.insert(name.to_string(), json!(values.join(",")));
        }
    }
    headers.insert(JOINED.to_owned(), all.into());
    json!({
        "method": request.method.as_str(),
        "uri": format!("{}://{}{}", request.scheme, request.authority, request.target()),
        "host": request.authority,
        "scheme": request.scheme,
        "path": request.path,
        "pathAndQuery": request.target(),
        "version": request.version,
        "headers": headers,
        "body": String::from_utf8_lossy(&request.body),
    })
}

/// `request.headers.join()`: all values of each header.
fn joined(headers: &Cel) -> Cel {
    match headers {
        Cel::Map(headers) => headers.map.get(&Key::from(JOINED.to_owned())).cloned().unwrap_or(Cel::Null),
        _ => Cel::Null,
    }
}

#[test]
fn expressions_see_the_request_as_the_gateway_does() {
    let mut request = Request::example("GET", "/a?b=c");
    request.headers.append("x-tenant", "one".parse().unwrap());
    request.headers.append("x-tenant", "two".parse().unwrap());
    let text = |source: &str| Expression::new(source).key_part(&request);
    let string = |value: &str| Some(KeyPart::String(value.to_owned()));
    assert_eq!(text("request.path"), string("/a"), "without the query");
    assert_eq!(text("string(request.pathAndQuery)"), string("/a?b=c"));
    assert_eq!(text("string(request.uri)"), string("http://www.example.com/a?b=c"));
    for bare in ["request.pathAndQuery", "request.uri", "request[\"pathAndQuery\"]", "true ? request.uri : \"\""] {
        assert_eq!(text(bare), None, "{bare}: not a text yet");
    }
    assert!(Expression::new(r#"request.pathAndQuery == "/a?b=c""#).holds(&request), "which does not matter elsewhere");
    assert_eq!(text(r#"request.headers["x-tenant"]"#), string("one"), "the first one alone");
    assert_eq!(text(r#"request.headers.join()["x-tenant"]"#), string("one,two"));
    assert_eq!(text(r#"request.headers.join()["x-other"]"#), None);
    assert_eq!(text("request.headers"), None, "an object is no key");
    assert_eq!(text("extauthz.cacheTtl"), None, "nobody was asked yet");
    assert!(!Expression::new("extauthz.a == 1").holds(&request), "what cannot be evaluated does not hold");
    assert!(!Expression::new("request.path").holds(&request) && Expression::new("true").holds(&request));
}

#[test]
fn times_to_live_are_durations_and_points_in_time() {
    let mut request = Request::example("GET", "/");
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
    request.metadata = Some(json!({"ttl": "30s", "none": "0s", "until": soon as f64, "past": 1.0, "zero": 0}));
    let live = |source: &str| Expression::time(source).time_to_live(&request);
    assert_eq!(live("30s"), Some(Duration::from_secs(30)));
    assert_eq!(live("duration(extauthz.ttl)"), Some(Duration::from_secs(30)));
    assert_eq!(live("duration(extauthz.none)"), Some(Duration::ZERO));
    let until = live("extauthz.until").unwrap();
    assert!(until > Duration::from_secs(30) && until <= Duration::from_secs(60), "{until:?}");
    for nothing in ["extauthz.past", "extauthz.zero", "extauthz.missing", "extauthz.ttl", "duration(extauthz.missing)"]
    {
        assert_eq!(live(nothing), None, "{nothing}");
    }
}
