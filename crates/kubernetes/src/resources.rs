//! The kinds of objects that the API is asked for: what it calls them, and where they are.

use std::fmt;

use http::StatusCode;

use crate::exchange::{Cause, Failure};

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Group and version, or the version alone where there is no group.
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    plural: &'static str,
}

pub(crate) const AUTH_CONFIGS: Resource =
    Resource { api_version: usher_api::API_VERSION, kind: usher_api::KIND, plural: "authconfigs" };

pub(crate) const SECRETS: Resource = Resource { api_version: "v1", kind: "Secret", plural: "secrets" };

pub(crate) const LEASES: Resource = Resource { api_version: "coordination.k8s.io/v1", kind: "Lease", plural: "leases" };

pub(crate) const TOKEN_REVIEWS: Resource =
    Resource { api_version: "authentication.k8s.io/v1", kind: "TokenReview", plural: "tokenreviews" };

pub(crate) const SUBJECT_ACCESS_REVIEWS: Resource =
    Resource { api_version: "authorization.k8s.io/v1", kind: "SubjectAccessReview", plural: "subjectaccessreviews" };

impl Resource {
    /// The path of all objects of this kind.
    pub(crate) fn everywhere(&self) -> String {
        let Self { api_version, plural, .. } = self;
        format!("/{}/{api_version}/{plural}", self.prefix())
    }

    /// The path of the objects of this kind in a namespace.
    ///
    /// # Errors
    ///
    /// When there can be no such namespace.
    pub(crate) fn of_namespace(&self, namespace: &str) -> Result<String, NotAName> {
        let Self { api_version, plural, .. } = self;
        let namespace = name(namespace)?;
        Ok(format!("/{}/{api_version}/namespaces/{namespace}/{plural}", self.prefix()))
    }

    /// The path of one object.
    ///
    /// # Errors
    ///
    /// When there can be no such object.
    pub(crate) fn object(&self, namespace: &str, object: &str) -> Result<String, NotAName> {
        Ok(format!("{}/{}", self.of_namespace(namespace)?, name(object)?))
    }

    fn prefix(&self) -> &'static str {
        if self.api_version.contains('/') { "apis" } else { "api" }
    }

    /// A failure of this verb, with what is to be done about it where that is known.
    pub(crate) fn explained(&self, verb: &str, namespace: Option<&str>, failure: Failure) -> Failure {
        let Failure { text, .. } = &failure;
        let text = match failure.status() {
            Some(StatusCode::FORBIDDEN) => {
                let scope = namespace.map_or_else(|| "all namespaces".to_owned(), |it| format!("namespace `{it}`"));
                format!("the permission to {verb} `{self}` in {scope} is missing: {text}")
            }
            Some(StatusCode::UNAUTHORIZED) => format!("the credentials are not accepted: {text}"),
            Some(StatusCode::NOT_FOUND) if *self == AUTH_CONFIGS => {
                format!("`{self}` is not installed: apply `deploy/crds` ({text})")
            }
            _ => return failure,
        };
        Failure { text, ..failure }
    }
}

/// What permissions and definitions call it: the plural with the group.
impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.api_version.split_once('/') {
            Some((group, _)) => write!(formatter, "{}.{group}", self.plural),
            None => formatter.write_str(self.plural),
        }
    }
}

/// No object of the API can have this name. Such a text must not become part of a path: it could lead elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotAName(String);

impl From<NotAName> for Failure {
    fn from(NotAName(text): NotAName) -> Self {
        Self::new(Cause::NotAsked, format!("no object has the name `{text}`"))
    }
}

/// The text, if objects of the API can have it as their name.
fn name(text: &str) -> Result<&str, NotAName> {
    if is_name(text) { Ok(text) } else { Err(NotAName(text.chars().take(LONGEST_NAME).collect())) }
}

/// Whether objects of the API can have this name.
pub(crate) fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= LONGEST_NAME && text.bytes().all(known) && edge(bytes.first()) && edge(bytes.last())
}

/// In bytes.
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_become_part_of_a_path() {
        for name in ["a", "my-secret.v1", "0"] {
            assert_eq!(SECRETS.object("ns", name), Ok(format!("/api/v1/namespaces/ns/secrets/{name}")));
        }
        let long = "a".repeat(254);
        for other in ["", ".", "..", "a/b", "../a", "a%2fb", "A", "a?b", "a#b", "-a", "a.", "ä", "a b", &long] {
            assert!(SECRETS.object("ns", other).is_err(), "{other}");
            assert!(SECRETS.of_namespace(other).is_err(), "{other}");
        }
    }

    #[test]
    fn kinds_are_where_the_api_has_them() {
        let cases = [
            (AUTH_CONFIGS, "/apis/authorino.kuadrant.io/v1beta3/authconfigs", "authconfigs.authorino.kuadrant.io"),
            (SECRETS, "/api/v1/secrets", "secrets"),
            (LEASES, "/apis/coordination.k8s.io/v1/leases", "leases.coordination.k8s.io"),
            (TOKEN_REVIEWS, "/apis/authentication.k8s.io/v1/tokenreviews", "tokenreviews.authentication.k8s.io"),
            (
                SUBJECT_ACCESS_REVIEWS,
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                "subjectaccessreviews.authorization.k8s.io",
            ),
        ];
        for (resource, path, name) in cases {
            assert_eq!((resource.everywhere().as_str(), resource.to_string().as_str()), (path, name));
        }
    }

    #[test]
    fn refusals_say_what_is_to_be_done() {
        let cases = [
            (403, SECRETS, None, "the permission to watch `secrets` in all namespaces is missing: why"),
            (403, SECRETS, Some("shop"), "the permission to watch `secrets` in namespace `shop` is missing: why"),
            (401, SECRETS, None, "the credentials are not accepted: why"),
            (
                404,
                AUTH_CONFIGS,
                None,
                "`authconfigs.authorino.kuadrant.io` is not installed: apply `deploy/crds` (why)",
            ),
            (500, AUTH_CONFIGS, None, "why"),
        ];
        for (status, resource, namespace, expected) in cases {
            let failure = Failure::new(Cause::Refused(StatusCode::from_u16(status).unwrap()), "why");
            let explained = resource.explained("watch", namespace, failure.clone());
            assert_eq!(explained.text, expected);
            assert_eq!(explained.cause, failure.cause);
        }
    }
}
