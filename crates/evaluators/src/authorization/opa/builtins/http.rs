//! `http.send(request)`: through the one client for everything outbound, with its rules about addresses and sizes.
//!
//! Same requests are answered once per evaluation. Redirects are not followed. While a policy is loaded there is no
//! network, and the call is undefined.

use std::{fmt::Debug, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use regorus::Value;
use serde_json::{Value as Json, json};

use super::{Trouble, argument};
use crate::{
    authorization::opa::{
        budget::{answer, charge, network_time, remember},
        values::{from_json, to_json},
    },
    resources::http::{Request, Response},
};

/// Makes requests from a thread that may wait.
pub(in crate::authorization::opa) trait HttpSend: Debug + Send + Sync {
    /// Makes one request and waits for the answer, no longer than the request's time limit. An error is a stable short
    /// text.
    fn send(&self, request: Request) -> Result<Response, &'static str>;
}

/// How long a call may take that does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls `http.send`.
pub(super) fn send(client: &dyn HttpSend, arguments: &[Value]) -> Result<Value, Trouble> {
    let Some(time) = network_time() else { return Err(Trouble::Undefined) };
    let key = argument(arguments, 0)?;
    if let Some(answer) = answer(key) {
        return Ok(answer);
    }
    let wanted = to_json(key).ok_or(Trouble::Undefined)?;
    let call = Call::parse(&wanted, time).ok_or(Trouble::Undefined)?;
    let (raise_error, decode) = (call.raise_error, call.decode);
    let answer = match client.send(call.request) {
        Ok(response) => {
            charge(response.body.len().saturating_mul(8))?;
            written(&response, decode)
        }
        Err(_) if raise_error => return Err(Trouble::Undefined),
        Err(reason) => {
            json!({"status_code": 0, "error": {"code": "eval_http_send_network_error", "message": reason}})
        }
    };
    let answer = from_json(&answer).ok_or(Trouble::Undefined)?;
    remember(key.clone(), answer.clone());
    Ok(answer)
}

struct Call {
    request: Request,
    raise_error: bool,
    decode: bool,
}

impl Call {
    /// `None` if the request makes no sense, or asks for what cannot be done.
    fn parse(wanted: &Json, time: Duration) -> Option<Self> {
        let mut method = None;
        let mut url = None;
        let mut headers = HeaderMap::new();
        let mut body = Bytes::new();
        let mut timeout = DEFAULT_TIMEOUT;
        let mut raise_error = true;
        let mut decode = false;
        for (name, value) in wanted.as_object()? {
            match name.as_str() {
                "method" => method = Some(Method::from_bytes(value.as_str()?.to_ascii_uppercase().as_bytes()).ok()?),
                "url" => url = Some(value.as_str()?.to_owned()),
                "headers" => headers = parse_headers(value)?,
                "body" => body = Bytes::from(value.to_string()),
                "raw_body" => body = Bytes::from(value.as_str()?.to_owned()),
                "timeout" => timeout = parse_duration(value)?,
                "raise_error" => raise_error = value.as_bool()?,
                "force_json_decode" => decode = value.as_bool()?,
                // Answers are remembered for the evaluation in any case, and not for longer.
                "cache"
                | "force_cache"
                | "force_cache_duration_seconds"
                | "caching_mode"
                | "cache_ignored_headers"
                | "enable_redirect"
                | "max_retry_attempts"
                | "force_yaml_decode" => {}
                "tls_use_system_certs" if value.as_bool() == Some(true) => {}
                "tls_insecure_skip_verify" if value.as_bool() == Some(false) => {}
                _ => return None,
            }
        }
        // Zero means no limit of its own.
        let timeout = if timeout.is_zero() { time } else { timeout.min(time) };
        // A tunnel has no answer that could be used.
        let method = method.filter(|method| *method != Method::CONNECT);
        let request = Request { method: method?, url: url?, headers, body, timeout: Some(timeout) };
        Some(Self { request, raise_error, decode })
    }
}

fn parse_headers(value: &Json) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in value.as_object()? {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = match value {
            Json::String(text) => HeaderValue::from_str(text),
            other => HeaderValue::from_str(&other.to_string()),
        };
        headers.append(name, value.ok()?);
    }
    Some(headers)
}

/// Nanoseconds as a number, or text like `1.5s`, `500ms`, `1m30s`.
fn parse_duration(value: &Json) -> Option<Duration> {
    if let Some(nanoseconds) = value.as_u64() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let mut rest = value.as_str()?;
    let mut total = Duration::ZERO;
    if rest.is_empty() || rest.len() > 40 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(digits);
        let length = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, next) = unit.split_at(length);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = next;
    }
    Some(total)
}

fn written(response: &Response, decode: bool) -> Json {
    let mut headers = serde_json::Map::new();
    for (name, value) in &response.headers {
        let value = Json::from(String::from_utf8_lossy(value.as_bytes()));
        match headers.entry(name.as_str()).or_insert_with(|| Json::Array(Vec::new())) {
            Json::Array(values) => values.push(value),
            other => *other = value,
        }
    }
    let is_json = response
        .headers
        .get(::http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| {
            let kind = kind.trim().to_ascii_lowercase();
            kind == "application/json" || kind.ends_with("+json")
        });
    let body = (is_json || decode).then(|| serde_json::from_slice(&response.body).ok()).flatten();
    json!({
        "status": response.status.to_string(),
        "status_code": response.status.as_u16(),
        "headers": headers,
        "body": body.unwrap_or(Json::Null),
        "raw_body": String::from_utf8_lossy(&response.body),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ::http::StatusCode;

    use super::*;
    use crate::authorization::opa::budget;

    #[derive(Debug, Default)]
    struct Server {
        seen: Mutex<Vec<String>>,
    }

    impl HttpSend for Server {
        fn send(&self, request: Request) -> Result<Response, &'static str> {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let header = request.headers.get("x-a").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            let line = format!("{} {} {header:?} {body} {:?}", request.method, request.url, request.timeout.unwrap());
            self.seen.lock().unwrap().push(line);
            let (kind, body) = match request.url.as_str() {
                "http://json.test/" => ("application/json; charset=utf-8", r#"{"ok": true}"#),
                "http://text.test/" => ("text/plain", r#"{"ok": true}"#),
                "http://bad.test/" => ("application/json", "{"),
                _ => return Err("connection failed"),
            };
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(kind));
            headers.append("x-b", HeaderValue::from_static("1"));
            headers.append("x-b", HeaderValue::from_static("2"));
            Ok(Response { status: StatusCode::CREATED, headers, body: Bytes::from_static(body.as_bytes()) })
        }
    }

    fn call(server: &Server, request: &Json) -> Json {
        let request = from_json(request).unwrap();
        send(server, &[request]).map_or(json!("undefined"), |value| to_json(&value).unwrap())
    }

    #[test]
    fn an_answer_shows_all_of_it() {
        let server = Server::default();
        let (answer, _) = budget::run(Duration::from_secs(9), true, || {
            call(
                &server,
                &json!({"method": "post", "url": "http://json.test/", "body": {"a": 1}, "headers": {"X-A": "v"}, "timeout": "1s500ms"}),
            )
        });
        let expected = json!({
            "status": "201 Created",
            "status_code": 201,
            "headers": {"content-type": ["application/json; charset=utf-8"], "x-b": ["1", "2"]},
            "body": {"ok": true},
            "raw_body": "{\"ok\": true}",
        });
        assert_eq!(answer, expected);
        assert_eq!(*server.seen.lock().unwrap(), ["POST http://json.test/ \"v\" {\"a\":1} 1.5s"]);
    }

    #[test]
    fn bodies_are_decoded_when_they_say_so_or_when_told() {
        let server = Server::default();
        budget::run(Duration::from_secs(9), true, || {
            for (request, body) in [
                (json!({"method": "get", "url": "http://text.test/"}), json!(null)),
                (json!({"method": "get", "url": "http://text.test/", "force_json_decode": true}), json!({"ok": true})),
                (json!({"method": "get", "url": "http://bad.test/"}), json!(null)),
            ] {
                assert_eq!(call(&server, &request)["body"], body, "{request}");
            }
        });
    }

    #[test]
    fn failures_are_undefined_unless_asked_for() {
        let server = Server::default();
        budget::run(Duration::from_secs(9), true, || {
            assert_eq!(call(&server, &json!({"method": "get", "url": "http://gone.test/"})), json!("undefined"));
            let answer = call(&server, &json!({"method": "get", "url": "http://gone.test/", "raise_error": false}));
            assert_eq!(answer["status_code"], json!(0));
            assert_eq!(answer["error"]["message"], json!("connection failed"));
            for request in [
                json!({"url": "http://json.test/"}),
                json!({"method": "get"}),
                json!({"method": "g t", "url": "http://json.test/"}),
                json!({"method": "get", "url": "http://json.test/", "tls_insecure_skip_verify": true}),
                json!({"method": "get", "url": "http://json.test/", "tls_ca_cert_file": "/etc/passwd"}),
                json!({"method": "get", "url": "http://json.test/", "headers": {"a\n": "b"}}),
                json!({"method": "get", "url": "http://json.test/", "timeout": "1 fortnight"}),
                json!("http://json.test/"),
            ] {
                assert_eq!(call(&server, &request), json!("undefined"), "{request}");
            }
        });
    }

    #[test]
    fn the_same_request_is_made_once_and_none_without_a_network() {
        let server = Server::default();
        let request = json!({"method": "get", "url": "http://json.test/"});
        budget::run(Duration::from_secs(9), true, || {
            assert_eq!(call(&server, &request), call(&server, &request));
        });
        assert_eq!(server.seen.lock().unwrap().len(), 1);
        budget::run(Duration::from_secs(9), false, || assert_eq!(call(&server, &request), json!("undefined")));
        assert_eq!(server.seen.lock().unwrap().len(), 1);
    }

    #[test]
    fn durations() {
        for (value, expected) in [
            (json!(1_000_000), Some(Duration::from_millis(1))),
            (json!("5s"), Some(Duration::from_secs(5))),
            (json!("1m30s"), Some(Duration::from_secs(90))),
            (json!("1.5s"), Some(Duration::from_millis(1500))),
            (json!("5"), None),
            (json!(""), None),
            (json!("-1s"), None),
            (json!("1e400s"), None),
            (json!(null), None),
        ] {
            assert_eq!(parse_duration(&value), expected, "{value}");
        }
    }
}
