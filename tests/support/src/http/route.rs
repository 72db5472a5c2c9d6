//! What a path means.

use std::sync::Arc;

use serde_json::Value;

use super::discovery;
use crate::{failure::Failure, kind::Kind, reviews::ReviewKind, state::State};

/// What a request is about.
pub(crate) enum Route {
    Discovery(Value),
    Review(ReviewKind),
    Objects(Target),
}

/// Objects of a kind, or one of them.
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Route {
    pub(crate) fn find(state: &State, path: &str) -> Result<Self, Failure> {
        if let Some(found) = discovery::find(state, path.trim_end_matches('/')) {
            return Ok(Self::Discovery(found));
        }
        let segments: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Failure::no_such_path()),
        };
        let (namespace, rest) = match rest {
            // `namespaces/x` and `namespaces/x/status` are about the namespace itself.
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
                (Some(*namespace), rest)
            }
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
            _ => return Err(Failure::no_such_path()),
        };
        if let (Some(kind), None) = (ReviewKind::of(group, version, plural), name) {
            return Ok(Self::Review(kind));
        }
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        let kind = state.store().kind(&key).ok_or_else(Failure::no_such_path)?;
        let fits = match (kind.namespaced, namespace, name) {
            (false, namespace, _) => namespace.is_none(),
            (true, None, name) => name.is_none(),
            (true, Some(_), _) => true,
        };
        if !fits || subresource.is_some_and(|subresource| subresource != "status" || !kind.status) {
            return Err(Failure::no_such_path());
        }
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self::Objects(Target { kind, namespace: own(namespace), name: own(name), subresource: own(subresource) }))
    }
}

/// The parameters of a request.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The value of a parameter; empty if it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    ///
    /// 400 if it is something else.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!("invalid value of the parameter {name}: \"{text}\" is not a number"))
            }),
        }
    }
}

/// A segment of a path without its escapes.
fn decode(segment: &str) -> String {
    // Only escapes are to be decoded here, not the `+` of forms.
    let escaped = segment.replace('+', "%2B");
    url::form_urlencoded::parse(escaped.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}
