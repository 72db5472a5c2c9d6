//! What an answer changes: headers and query parameters of the request, headers of responses.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    protocol::{Allowed, HeaderOption, QueryParameter},
    request::Request,
};

/// What happens to a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Append,
    AddIfAbsent,
    Overwrite,
    OverwriteIfExists,
}

impl Action {
    /// `append_action`, if it says something; else `append`; else overwrite.
    fn of(option: &HeaderOption) -> Self {
        match (option.append_action, option.append) {
            (0, Some(true)) => Self::Append,
            (0 | 2, _) => Self::Overwrite,
            (1, _) => Self::AddIfAbsent,
            (3, _) => Self::OverwriteIfExists,
            _ => Self::Append,
        }
    }

    fn apply(self, headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
        match (self, headers.contains_key(&name)) {
            (Self::AddIfAbsent, true) | (Self::OverwriteIfExists, false) => {}
            (Self::Append, _) => {
                headers.append(name, value);
            }
            (Self::AddIfAbsent | Self::Overwrite | Self::OverwriteIfExists, _) => {
                headers.insert(name, value);
            }
        }
    }
}

/// Changes a request: headers go first, then others are set, then the query.
pub(super) fn change_request(request: &mut Request, allowed: &Allowed) {
    for name in &allowed.headers_to_remove {
        if !name.starts_with(':') && !name.eq_ignore_ascii_case("host") {
            request.headers.remove(name.as_str());
        }
    }
    for option in &allowed.headers {
        let Some((name, value)) = name_and_value(option) else { continue };
        let text = String::from_utf8_lossy(&value).into_owned();
        match name.as_str() {
            ":method" => request.method = text.parse().unwrap_or_else(|_| request.method.clone()),
            ":path" => request.set_target(&text),
            ":authority" | "host" => request.authority = text,
            _ => {
                let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value));
                if let (Ok(name), Ok(value)) = (name, value) {
                    Action::of(option).apply(&mut request.headers, name, value);
                }
            }
        }
    }
    change_query(request, &allowed.query_parameters_to_set, &allowed.query_parameters_to_remove);
}

/// The headers of the response of the upstream that are set. They take the place of those of the upstream, whatever the
/// action was, and of several with one name the first is left.
pub(super) fn response_headers(options: &[HeaderOption]) -> HeaderMap {
    let mut collected = HeaderMap::new();
    for option in options {
        let Some((name, value)) = name_and_value(option) else { continue };
        let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value));
        if let (Ok(name), Ok(value)) = (name, value) {
            Action::of(option).apply(&mut collected, name, value);
        }
    }
    let mut headers = HeaderMap::new();
    for name in collected.keys() {
        headers.insert(name.clone(), collected[name].clone());
    }
    headers
}

/// The status and the headers of a denial.
pub(super) fn denial(status: StatusCode, options: &[HeaderOption]) -> (StatusCode, HeaderMap) {
    let (mut status, mut headers) = (status, HeaderMap::new());
    for option in options {
        let Some((name, value)) = name_and_value(option) else { continue };
        if name == ":status" {
            status = StatusCode::from_bytes(&value).unwrap_or(status);
            continue;
        }
        let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value));
        if let (Ok(name), Ok(value)) = (name, value) {
            Action::of(option).apply(&mut headers, name, value);
        }
    }
    (status, headers)
}

/// None if there is no value: then nothing happens.
fn name_and_value(option: &HeaderOption) -> Option<(String, Vec<u8>)> {
    let header = option.header.as_ref()?;
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    (!value.is_empty()).then(|| (header.key.to_ascii_lowercase(), value.to_vec()))
}

/// The query is decoded, changed, and written anew. Without changes it stays as it was written.
fn change_query(request: &mut Request, set: &[QueryParameter], remove: &[String]) {
    if set.is_empty() && remove.is_empty() {
        return;
    }
    let query = request.query.take().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
    for parameter in set {
        pairs.retain(|(name, _)| *name != parameter.key);
        pairs.push((parameter.key.clone(), parameter.value.clone()));
    }
    pairs.retain(|(name, _)| !remove.contains(name));
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    request.query = (!pairs.is_empty()).then(|| pairs.join("&"));
}

/// `application/x-www-form-urlencoded`, one name or value of it.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hexadecimal = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hexadecimal) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::with_gateways::agentgateway::protocol::Header;

    fn option(key: &str, value: &str, append: Option<bool>, append_action: i32) -> HeaderOption {
        let header = Header { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() };
        HeaderOption { header: Some(header), append, append_action }
    }

    fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_action_says_what_happens_to_a_header_of_the_request() {
        for (append, action, there, absent) in [
            (None, 0, &["new"][..], &["new"][..]),
            (Some(false), 0, &["new"], &["new"]),
            (Some(true), 0, &["old", "new"], &["new"]),
            (Some(false), 2, &["new"], &["new"]),
            (Some(true), 2, &["new"], &["new"]),
            (None, 1, &["old"], &["new"]),
            (None, 3, &["new"], &[]),
            (None, 9, &["old", "new"], &["new"]),
        ] {
            let mut request = Request::example("GET", "/");
            request.headers.insert("x-there", "old".parse().unwrap());
            let headers = ["X-There", "x-absent"].map(|name| option(name, "new", append, action)).to_vec();
            change_request(&mut request, &Allowed { headers, ..Allowed::default() });
            assert_eq!(values(&request.headers, "x-there"), there, "{append:?} {action}");
            assert_eq!(values(&request.headers, "x-absent"), absent, "{append:?} {action}");
        }
    }

    #[test]
    fn headers_are_removed_before_others_are_set() {
        let mut request = Request::example("GET", "/a?secret=1&b=%20&tok%65n=2&c");
        request.headers.insert("x-user", "forged".parse().unwrap());
        request.headers.insert("x-other", "old".parse().unwrap());
        let mut raw = option("x-raw", "ignored", None, 0);
        raw.header.as_mut().unwrap().raw_value = b"raw".to_vec();
        let parameter = QueryParameter { key: "secret".to_owned(), value: "a b&c".to_owned() };
        let allowed = Allowed {
            headers_to_remove: ["x-user", "x-other", "host", ":path"].map(str::to_owned).to_vec(),
            headers: vec![option("x-user", "ann", Some(false), 2), option("x-empty", "", None, 0), raw],
            query_parameters_to_set: vec![parameter],
            query_parameters_to_remove: vec!["token".to_owned()],
            ..Allowed::default()
        };
        change_request(&mut request, &allowed);
        assert_eq!(values(&request.headers, "x-user"), ["ann"]);
        assert!(!request.headers.contains_key("x-other"));
        assert!(!request.headers.contains_key("x-empty"), "an empty value says nothing");
        assert_eq!(values(&request.headers, "x-raw"), ["raw"]);
        assert_eq!(request.target(), "/a?b=+&c=&secret=a+b%26c");
        assert_eq!(request.authority, "www.example.com");

        let mut untouched = Request::example("GET", "/a?b=%20&c");
        change_request(&mut untouched, &Allowed::default());
        assert_eq!(untouched.target(), "/a?b=%20&c");
    }

    #[test]
    fn of_several_response_headers_of_one_name_one_is_left() {
        let options = [option("set-cookie", "a=1", None, 1), option("set-cookie", "b=2", Some(true), 0)];
        assert_eq!(values(&response_headers(&options), "set-cookie"), ["a=1"]);
        let (status, headers) = denial(
            StatusCode::UNAUTHORIZED,
            &[option("www-authenticate", "Basic", None, 0), option("www-authenticate", "Bearer", None, 0)],
        );
        assert_eq!((status, values(&headers, "www-authenticate")), (StatusCode::UNAUTHORIZED, vec!["Bearer"]));
        let both = [option("www-authenticate", "Basic", None, 0), option("www-authenticate", "Bearer", Some(true), 0)];
        assert_eq!(values(&denial(StatusCode::FORBIDDEN, &both).1, "www-authenticate"), ["Basic", "Bearer"]);
    }
}
