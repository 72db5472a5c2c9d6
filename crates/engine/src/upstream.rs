//! The request as the upstream will get it: what the client sent, with what a decision sets and removes.
//!
//! Gateways do not agree on what *append* means for a header of the request, nor on whether removing comes before
//! setting. So the outcome is worked out here, from the request as the gateway showed it: a header is replaced, or
//! removed, and no name is in both lists. A gateway that shows only some of the headers (Envoy's `allowed_headers`) lets
//! those that it hides look absent.
//!
//! ```text
//!  client sent        rules                         upstream gets
//!  x-a: 1             append 2                      x-a: 1,2
//!  x-a: 1             add 2 if absent               x-a: 1
//!  x-a: 1             remove                        -
//!  x-a: 1             remove, append 2              x-a: 2
//!  cookie: a=1        append b=2                    cookie: a=1; b=2
//! ```

use std::borrow::Cow;

use crate::{Request, plan::HeaderAction, verdict::Additions};

/// The request as the upstream will get it. Names of headers are given in lower case.
#[derive(Debug)]
pub struct UpstreamRequest<'r> {
    request: &'r Request,
    headers: Vec<(String, String)>,
    /// Those of the headers above that hold nothing but what the client sent.
    of_client: Vec<String>,
    remove_headers: Vec<String>,
    query_parameters: Vec<(String, String)>,
    remove_query_parameters: Vec<String>,
}

impl<'r> UpstreamRequest<'r> {
    /// What the client sent, less what is named.
    pub(crate) fn new(request: &'r Request, headers: &[String], query_parameters: &[String]) -> Self {
        Self {
            request,
            headers: Vec::new(),
            of_client: Vec::new(),
            remove_headers: headers.to_vec(),
            query_parameters: Vec::new(),
            remove_query_parameters: query_parameters.to_vec(),
        }
    }

    /// The header as the upstream would get it now.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        match self.headers.iter().find(|(present, _)| present == name) {
            Some((_, value)) => Some(value),
            None if self.remove_headers.iter().any(|removed| removed == name) => None,
            None => self.request.header(name),
        }
    }

    /// Sets a header in place of any of that name.
    pub fn set_header(&mut self, name: &str, value: impl Into<String>) {
        let value = clean(value.into());
        self.of_client.retain(|present| present != name);
        self.remove_headers.retain(|removed| removed != name);
        match self.headers.iter_mut().find(|(present, _)| present == name) {
            Some((_, present)) => *present = value,
            None => self.headers.push((name.to_owned(), value)),
        }
    }

    /// Leaves only `value` of what the client sent in a header.
    pub fn keep_of_header(&mut self, name: &str, value: impl Into<String>) {
        self.set_header(name, value);
        self.of_client.push(name.to_owned());
    }

    /// Takes a header out.
    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(present, _)| present != name);
        add_once(&mut self.remove_headers, name);
    }

    /// Sets a query parameter in place of all of that name. Neither name nor value are encoded.
    pub fn set_query_parameter(&mut self, name: &str, value: impl Into<String>) {
        let value = clean(value.into());
        self.remove_query_parameters.retain(|removed| removed != name);
        match self.query_parameters.iter_mut().find(|(present, _)| present == name) {
            Some((_, present)) => *present = value,
            None => self.query_parameters.push((name.to_owned(), value)),
        }
    }

    /// Takes out all query parameters of that name, however the client encoded it. The name is not encoded.
    pub fn remove_query_parameter(&mut self, name: &str) {
        self.query_parameters.retain(|(present, _)| present != name);
        add_once(&mut self.remove_query_parameters, name);
    }

    /// Sets a header, or adds to it, or leaves it alone if there is one.
    pub(crate) fn deliver_header(&mut self, name: &str, value: String, action: HeaderAction) {
        let value = match (action, self.header(name)) {
            (HeaderAction::AddIfAbsent, Some(_)) => return,
            (HeaderAction::Append, Some(present)) if !present.is_empty() => {
                // RFC 9110 §5.3, with the comma as Envoy puts it; cookies as in RFC 9113 §8.2.3.
                let separator = if name == "cookie" { "; " } else { "," };
                [present, separator, &value].concat()
            }
            _ => value,
        };
        self.set_header(name, value);
    }

    /// Empties a header that is as the client sent it. It is not taken out, because gateways exist that refuse answers
    /// which take out anything.
    pub(crate) fn empty_header_of_client(&mut self, name: &str) {
        let is_ours =
            self.headers.iter().any(|(present, _)| present == name) && !self.of_client.iter().any(|kept| kept == name);
        if !is_ours && self.header(name).is_some_and(|value| !value.is_empty()) {
            self.set_header(name, "");
        }
    }

    /// Takes out the query parameters of that name, unless one is set.
    pub(crate) fn remove_query_parameter_of_client(&mut self, name: &str) {
        if !self.query_parameters.iter().any(|(present, _)| present == name) {
            self.remove_query_parameter(name);
        }
    }

    /// The changes, without those that change nothing in the query.
    pub(crate) fn into_additions(self) -> Additions {
        let remove_query_parameters = self.parameters_to_remove();
        Additions {
            headers: self.headers,
            remove_headers: self.remove_headers,
            query_parameters: self.query_parameters,
            remove_query_parameters,
            ..Additions::default()
        }
    }

    /// The names in the query that say, when decoded, a name that is removed, or one that is set and spelled otherwise
    /// there: Envoy compares names as they are spelled, agentgateway and upstreams do not. What is set goes out encoded.
    fn parameters_to_remove(&self) -> Vec<String> {
        let mut spelled = Vec::new();
        if self.remove_query_parameters.is_empty() && self.query_parameters.is_empty() {
            return spelled;
        }
        for pair in self.request.query().split('&').filter(|pair| !pair.is_empty()) {
            let raw = pair.split_once('=').map_or(pair, |(name, _)| name);
            let name = form_decoded(raw);
            let is_removed = self.remove_query_parameters.iter().any(|removed| *removed == name);
            let is_otherwise = raw != name || !name.bytes().all(is_unreserved);
            let is_set_otherwise = is_otherwise && self.query_parameters.iter().any(|(set, _)| *set == name);
            if is_removed || is_set_otherwise {
                add_once(&mut spelled, raw);
                // Other gateways decode the query before they compare. What is set must stay, if it goes out by this name.
                let goes_out_as_it_is = name.bytes().all(is_unreserved);
                if !(goes_out_as_it_is && self.query_parameters.iter().any(|(set, _)| *set == name)) {
                    add_once(&mut spelled, &name);
                }
            }
        }
        spelled
    }
}

/// Whether a byte stands for itself in a query, always (RFC 3986 §2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn add_once(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|present| present == name) {
        names.push(name.to_owned());
    }
}

/// A value that goes into a header or a query cannot hold CR, LF or NUL (RFC 9110 §5.5): a header value with one would
/// end the header and begin another.
pub(crate) fn clean(mut value: String) -> String {
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        value.retain(|character| !matches!(character, '\r' | '\n' | '\0'));
        tracing::warn!("control characters were removed from a header value or query parameter");
    }
    value
}

/// Text as HTML forms encode it. A percent sign that begins no byte stands for itself.
fn form_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, hexadecimal(after)) {
            (b'%', Some((byte, after))) => {
                decoded.push(byte);
                rest = after;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The byte that the first two digits name, and what follows them.
fn hexadecimal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let [high, low] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestParts;

    fn request(headers: &[(&str, &str)], path: &str) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request::new(RequestParts { headers, path: path.to_owned(), ..RequestParts::default() })
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    type Items = &'static [(HeaderAction, &'static str)];

    #[test]
    fn each_action_on_headers_that_are_there_and_that_are_not() {
        use HeaderAction::{AddIfAbsent, Append, Overwrite};
        let cases: &[(Option<&str>, Items, Option<&str>)] = &[
            (None, &[(Overwrite, "n")], Some("n")),
            (Some("o"), &[(Overwrite, "n")], Some("n")),
            (None, &[(Append, "n")], Some("n")),
            (Some("o"), &[(Append, "n")], Some("o,n")),
            (Some(""), &[(Append, "n")], Some("n")),
            (None, &[(AddIfAbsent, "n")], Some("n")),
            (Some("o"), &[(AddIfAbsent, "n")], None),
            (Some(""), &[(AddIfAbsent, "n")], None),
            // Each sees the value so far.
            (Some("o"), &[(Append, "1"), (Append, "2")], Some("o,1,2")),
            (None, &[(Append, "1"), (Append, "2")], Some("1,2")),
            (Some("o"), &[(Overwrite, "1"), (Append, "2")], Some("1,2")),
            (Some("o"), &[(Append, "1"), (Overwrite, "2")], Some("2")),
            (None, &[(AddIfAbsent, "1"), (AddIfAbsent, "2")], Some("1")),
            (Some("o"), &[(AddIfAbsent, "1"), (Append, "2")], Some("o,2")),
            (Some("o"), &[(Overwrite, "a\r\nx-forged: b\0")], Some("ax-forged: b")),
        ];
        for (present, items, expected) in cases {
            for name in ["x-a", "cookie"] {
                let separator = if name == "cookie" { "; " } else { "," };
                let headers: Vec<_> = present.iter().map(|value| (name, *value)).collect();
                let request = request(&headers, "/");
                let mut upstream = UpstreamRequest::new(&request, &[], &[]);
                for (action, value) in *items {
                    upstream.deliver_header(name, (*value).to_owned(), *action);
                }
                let expected: Vec<_> =
                    expected.map(|value| (name.to_owned(), value.replace(',', separator))).into_iter().collect();
                let additions = upstream.into_additions();
                assert_eq!(additions.headers, expected, "{name} {present:?} {items:?}");
                assert_eq!(additions.remove_headers, names(&[]));
            }
        }
    }

    #[test]
    fn a_header_that_is_set_is_not_removed_and_one_that_is_removed_counts_as_absent() {
        use HeaderAction::{AddIfAbsent, Append, Overwrite};
        let request = request(&[("x-a", "o"), ("x-b", "o")], "/");
        for (action, expected) in [(Overwrite, "n"), (Append, "n"), (AddIfAbsent, "n")] {
            let mut upstream = UpstreamRequest::new(&request, &names(&["x-a", "x-b"]), &[]);
            assert_eq!(upstream.header("x-a"), None);
            upstream.deliver_header("x-a", "n".to_owned(), action);
            assert_eq!(upstream.header("x-a"), Some("n"));
            let additions = upstream.into_additions();
            assert_eq!(additions.headers, pairs(&[("x-a", expected)]), "{action:?}");
            assert_eq!(additions.remove_headers, names(&["x-b"]), "{action:?}");
        }
        let mut upstream = UpstreamRequest::new(&request, &[], &[]);
        upstream.set_header("x-a", "n");
        upstream.remove_header("x-a");
        upstream.remove_header("x-a");
        let additions = upstream.into_additions();
        assert_eq!((additions.headers, additions.remove_headers), (pairs(&[]), names(&["x-a"])));
    }

    #[test]
    fn query_parameters_are_removed_however_they_are_spelled() {
        type Names = &'static [&'static str];
        let cases: &[(&str, Names, Names, Names)] = &[
            ("/", &["a"], &[], &[]),
            ("/?a=1&b=2", &[], &[], &[]),
            ("/?a=1&b=2&a=3", &["a"], &[], &["a"]),
            ("/?a=1&%61=2&%61=3&b", &["a", "b", "c"], &[], &["a", "%61", "b"]),
            ("/?api%5Bkey%5D=1&api[key]=2", &["api[key]"], &[], &["api%5Bkey%5D", "api[key]"]),
            ("/?a+b=1&a%20b=2", &["a b"], &[], &["a+b", "a b", "a%20b"]),
            ("/?%61=1", &["a"], &[], &["%61", "a"]),
            ("/?%a=1&%=2&%zz=3&%e4=4", &["%a", "%", "%zz"], &[], &["%a", "%", "%zz"]),
            ("/?A=1", &["a"], &[], &[]),
            ("/#?a=1", &["a"], &[], &[]),
            // One that is set is not removed, but its other spellings are.
            ("/?a=1&%61=2", &["a"], &["a"], &["%61"]),
            ("/?a=1", &["a"], &["a"], &[]),
            ("/?&&=1", &["a"], &["a"], &[]),
        ];
        for (path, removed, set, expected) in cases {
            let request = request(&[], path);
            let mut upstream = UpstreamRequest::new(&request, &[], &names(removed));
            for name in *set {
                upstream.set_query_parameter(name, "v\n&");
            }
            let additions = upstream.into_additions();
            assert_eq!(additions.remove_query_parameters, names(expected), "{path}");
            let values: Vec<_> = set.iter().map(|name| ((*name).to_owned(), "v&".to_owned())).collect();
            assert_eq!(additions.query_parameters, values, "{path}");
        }
        let request = request(&[], "/?a=1");
        let mut upstream = UpstreamRequest::new(&request, &[], &[]);
        upstream.set_query_parameter("a", "1");
        upstream.set_query_parameter("a", "2");
        upstream.remove_query_parameter("a");
        let additions = upstream.into_additions();
        assert_eq!((additions.query_parameters, additions.remove_query_parameters), (pairs(&[]), names(&["a"])));
    }

    #[test]
    fn a_name_that_goes_out_encoded_replaces_every_spelling() {
        let request = request(&[], "/?$=1&%24=2&user=3&%75ser=4");
        let mut upstream = UpstreamRequest::new(&request, &[], &[]);
        upstream.set_query_parameter("$", "ours");
        upstream.set_query_parameter("user", "ours");
        assert_eq!(upstream.into_additions().remove_query_parameters, names(&["$", "%24", "%75ser"]));
    }
}
