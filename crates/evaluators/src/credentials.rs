//! Where the credential of a request stands: after a scheme in the `Authorization` header, in a header of its own, in
//! the query, or in a cookie.
//!
//! A credential is taken from the place that the rule names and from nowhere else. Where a request can be read in two
//! ways, it carries no credential rather than a guessed one.

mod cookie;
mod query;
mod scheme;

use std::borrow::Cow;

use usher_api::CredentialLocation;
use usher_engine::{Context, Failure, Request, plan::CredentialRemoval, upstream::UpstreamRequest};

use crate::{FieldPath, Problems};

/// Where the credential of a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    place: Place,
    identifier: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The identifier is the scheme.
    AuthorizationHeader,
    /// The name as in the request: in lower case.
    CustomHeader(String),
    QueryString,
    Cookie,
}

/// The most bytes of a token. Longer ones are refused unread, and nobody is asked about them: header sections of gateways
/// are hardly ever allowed to be larger.
pub(crate) const MAX_TOKEN: usize = 64 * 1024;

/// The reason of a rule that finds no credential.
pub const NOT_FOUND: &str = "credential not found";

impl Default for Credentials {
    fn default() -> Self {
        Self::at(CredentialLocation::default())
    }
}

impl Credentials {
    /// Reads `credentials` of a rule; without it, the `Authorization` header with the scheme `Bearer`.
    pub fn build(spec: Option<&usher_api::Credentials>, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(spec) = spec else { return Some(Self::default()) };
        let location = problems.take(at, spec.location())?;
        if let CredentialLocation::CustomHeader(name) = location
            && !is_token(name)
        {
            problems.warn(&at.field("customHeader").field("name"), format!("no request has a header `{name}`"));
        }
        Some(Self::at(location))
    }

    fn at(location: CredentialLocation<'_>) -> Self {
        let place = match location {
            CredentialLocation::AuthorizationHeader(_) => Place::AuthorizationHeader,
            CredentialLocation::CustomHeader(name) => Place::CustomHeader(name.to_ascii_lowercase()),
            CredentialLocation::QueryString(_) => Place::QueryString,
            CredentialLocation::Cookie(_) => Place::Cookie,
        };
        Self { place, identifier: location.identifier().to_owned() }
    }

    /// The credential, if the request carries one. It may be empty, except in the query, where a parameter without a
    /// value is none.
    #[must_use]
    pub fn find<'r>(&self, request: &'r Request) -> Option<Cow<'r, str>> {
        match &self.place {
            Place::AuthorizationHeader => {
                scheme::find(request.header("authorization")?, &self.identifier).map(Cow::Borrowed)
            }
            Place::CustomHeader(name) => request.header(name).map(Cow::Borrowed),
            Place::QueryString if request.parts().path.bytes().any(|byte| byte.is_ascii_control()) => None,
            Place::QueryString => query::find(request.query(), &self.identifier),
            Place::Cookie => cookie::find(request.header("cookie")?, &self.identifier).map(Cow::Borrowed),
        }
    }

    /// The credential, or the failure of a rule that needs one.
    ///
    /// # Errors
    /// When the request carries no credential.
    pub fn require<'a>(&self, context: &'a Context<'a>) -> Result<Cow<'a, str>, Failure> {
        self.find(context.request()).ok_or(Failure::Denied(Cow::Borrowed(NOT_FOUND)))
    }

    /// The `WWW-Authenticate` header of the rule `name`, for example `Bearer realm="friends"` (RFC 9110 §11.6.1).
    #[must_use]
    pub fn challenge(&self, name: &str) -> String {
        challenge(&self.identifier, name)
    }
}

impl CredentialRemoval for Credentials {
    fn remove(&self, _: &Request, upstream: &mut UpstreamRequest<'_>) {
        match &self.place {
            Place::AuthorizationHeader => upstream.remove_header("authorization"),
            Place::CustomHeader(name) => upstream.remove_header(name),
            Place::QueryString => upstream.remove_query_parameter(&self.identifier),
            Place::Cookie => {
                let others = upstream.header("cookie").map(|header| cookie::without(header, &self.identifier));
                match others {
                    // A rule takes out all cookies.
                    None => {}
                    Some(others) if others.is_empty() => upstream.remove_header("cookie"),
                    Some(others) => upstream.keep_of_header("cookie", others),
                }
            }
        }
    }
}

/// A `WWW-Authenticate` header: a scheme and, as the realm, the name of the rule.
pub(crate) fn challenge(scheme: &str, name: &str) -> String {
    // The realm is a quoted string (RFC 9110 §5.6.4).
    let realm = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{scheme} realm=\"{realm}\"")
}

/// Whether a name can be that of a header or a cookie: a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_token_character)
}

fn is_token_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use usher_engine::RequestParts;

    use super::*;

    fn credentials(spec: Value) -> Credentials {
        let spec: usher_api::Credentials = serde_json::from_value(spec).unwrap();
        let mut problems = Problems::default();
        let built = Credentials::build(Some(&spec), &FieldPath::root("credentials"), &mut problems).unwrap();
        assert!(problems.is_empty());
        built
    }

    fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request::new(RequestParts { path: path.to_owned(), headers, ..RequestParts::default() })
    }

    #[test]
    fn a_credential_is_taken_only_from_its_place() {
        let places = [
            json!({"authorizationHeader": {"prefix": "APIKEY"}}),
            json!({"customHeader": {"name": "APIKEY"}}),
            json!({"queryString": {"name": "APIKEY"}}),
            json!({"cookie": {"name": "APIKEY"}}),
        ];
        let requests = [
            request("/", &[("authorization", "APIKEY v1")]),
            request("/", &[("apikey", "v1")]),
            request("/x?a=1&APIKEY=v1&b=2", &[]),
            request("/", &[("cookie", "a=b; APIKEY=v1; c=d")]),
        ];
        for (i, place) in places.iter().enumerate() {
            for (j, request) in requests.iter().enumerate() {
                let found = credentials(place.clone()).find(request);
                assert_eq!(found.as_deref(), (i == j).then_some("v1"), "{place} in request {j}");
            }
        }
    }

    #[test]
    fn the_authorization_header_with_bearer_is_the_default() {
        let bearer = request("/", &[("authorization", "Bearer abc")]);
        for spec in [json!({}), json!({"authorizationHeader": {}}), json!({"authorizationHeader": {"prefix": ""}})] {
            assert_eq!(credentials(spec).find(&bearer).as_deref(), Some("abc"));
        }
        assert_eq!(Credentials::default().find(&bearer).as_deref(), Some("abc"));
        assert_eq!(Credentials::default().find(&request("/", &[])), None);
    }

    #[test]
    fn a_header_of_its_own_is_taken_whole() {
        let cases = [
            ("X-API-KEY", &[("x-api-key", "k1")][..], Some("k1")),
            ("X-API-KEY", &[("x-api-key", "")][..], Some("")),
            ("X-API-KEY", &[("X-Api-Key", "k1")][..], Some("k1")),
            ("Authorization", &[("authorization", "Bearer abc")][..], Some("Bearer abc")),
            ("x-api-key", &[("x-other", "k1")][..], None),
        ];
        for (name, headers, expected) in cases {
            let found = credentials(json!({"customHeader": {"name": name}}));
            assert_eq!(found.find(&request("/", headers)).as_deref(), expected, "{name} in {headers:?}");
        }
    }

    #[test]
    fn the_query_ends_at_the_fragment_and_a_path_with_control_characters_has_none() {
        let place = credentials(json!({"queryString": {"name": "t"}}));
        let cases = [
            ("/p?t=1", Some("1")),
            ("/p?t=1#x", Some("1")),
            ("/#?t=1", None),
            ("/p", None),
            ("/a\0b?t=1", None),
            ("/p?t=1\u{7f}", None),
            ("/%zz?t=1", Some("1")),
            ("//evil/?t=1", Some("1")),
        ];
        for (path, expected) in cases {
            assert_eq!(place.find(&request(path, &[])).as_deref(), expected, "{path:?}");
        }
    }

    #[test]
    fn a_challenge_names_scheme_and_rule() {
        let cases = [
            (json!({"authorizationHeader": {"prefix": "APIKEY"}}), "friends", r#"APIKEY realm="friends""#),
            (json!({}), "kc", r#"Bearer realm="kc""#),
            (json!({"customHeader": {"name": "X-Key"}}), "k", r#"X-Key realm="k""#),
            (json!({"queryString": {"name": "api_key"}}), "k", r#"api_key realm="k""#),
            (json!({"cookie": {"name": "sid"}}), "k", r#"sid realm="k""#),
            (json!({}), r#"a "b\c"#, r#"Bearer realm="a \"b\\c""#),
        ];
        for (spec, name, expected) in cases {
            assert_eq!(credentials(spec).challenge(name), expected);
        }
    }

    #[test]
    fn several_places_are_refused_and_impossible_headers_doubted() {
        let at = FieldPath::root("credentials");
        let mut problems = Problems::default();
        let two = serde_json::from_value(json!({"cookie": {"name": "a"}, "queryString": {"name": "b"}})).unwrap();
        assert_eq!(Credentials::build(Some(&two), &at, &mut problems), None);
        let odd = serde_json::from_value(json!({"customHeader": {"name": "x key"}})).unwrap();
        assert!(Credentials::build(Some(&odd), &at, &mut problems).is_some());
        let (problems, warnings) = problems.into_parts();
        assert_eq!(problems.len(), 1);
        assert_eq!(warnings[0].to_string(), "credentials.customHeader.name: no request has a header `x key`");
    }

    fn text() -> impl Strategy<Value = String> {
        // Mostly what the parsers look for, so that their branches are reached.
        proptest::string::string_regex("([a-c=;,&%+?#\" \tB-]|Bearer |sid=|%[0-9a-zA-Z]{0,2}|\\PC){0,24}").unwrap()
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_found_was_sent(value in text(), name in text()) {
            let request = request(&value, &[("authorization", &value), ("cookie", &value), ("x", &value)]);
            for place in ["authorizationHeader", "customHeader", "queryString", "cookie"] {
                let key = if place == "authorizationHeader" { "prefix" } else { "name" };
                let spec = serde_json::from_value(json!({place: {key: name}})).unwrap();
                let place = Credentials::build(Some(&spec), &FieldPath::root("c"), &mut Problems::default()).unwrap();
                if let Some(Cow::Borrowed(found)) = place.find(&request) {
                    prop_assert!(value.contains(found));
                }
                prop_assert!(place.challenge(&value).contains("realm="));
            }
        }

        #[test]
        fn what_is_removed_is_not_found_any_more(header in r#"(sid=|a=|[=;, "]|[a-z]{1,2}){0,16}"#) {
            let rest = cookie::without(&header, "sid");
            prop_assert_eq!(cookie::find(&rest, "sid"), None, "{:?}", rest);
        }

        #[test]
        fn a_lone_cookie_is_found_whatever_surrounds_it(value in "[a-zA-Z0-9._=-]{0,20}", other in "[a-z]{4}=[a-z \",]{0,10}") {
            let header = format!("{other}; sid={value}; {other}");
            prop_assert_eq!(cookie::find(&header, "sid"), Some(&*value));
        }
    }

    #[test]
    fn long_hostile_headers_take_linear_time() {
        let started = std::time::Instant::now();
        for unit in [",", ", ", "a,", "\",", ";", "=,", ",a=", "Bearer a,"] {
            let value = unit.repeat(200_000);
            let request = request("/", &[("authorization", &format!("Bearer {value}")), ("cookie", &value)]);
            assert_eq!(credentials(json!({"cookie": {"name": "sid"}})).find(&request), None);
            let found = Credentials::default().find(&request);
            assert_eq!(found.is_some(), unit != "Bearer a,");
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(20));
    }
}
