//! The credential that a request carries, so that the server that is asked knows who asks.

use std::{fmt, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE},
};
use url::form_urlencoded;
use usher_api::{CredentialLocation, HttpEndpointSpec, OAuth2ClientAuthentication};

use super::{EndpointError, headers};
use crate::{
    BuildContext, FieldPath, Problems, SecretText, SecretUse,
    credentials::is_token,
    resources::{
        client_credentials::{ClientConfig, TokenClient},
        http::{parse_url, time_limit},
    },
};

/// A credential and its place.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) place: Place,
    pub(super) source: Source,
}

/// Where a secret comes from.
pub(super) enum Source {
    /// It is known.
    Secret(SecretText),
    /// A token server gives it; it is used until it expires.
    Token(Arc<TokenClient>),
    /// A token server gives it; it is used once.
    NewToken(Arc<TokenClient>),
}

/// Where a secret stands.
#[derive(Debug)]
pub(super) enum Place {
    /// In a header, after some text.
    Header { name: HeaderName, before: String },
    /// In the query, under a name.
    Query(String),
}

/// Reads the credential of an endpoint. The inner option is empty if there is none.
pub(super) fn build(
    spec: &HttpEndpointSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Option<Credential>> {
    let location = match &spec.credentials {
        Some(credentials) => problems.take(&at.field("credentials"), credentials.location()),
        None => Some(CredentialLocation::default()),
    };
    let place = location.and_then(|location| Place::build(location, &at.field("credentials"), problems));
    let source = match (&spec.oauth2, &spec.shared_secret_ref) {
        (Some(oauth2), shared) => {
            if shared.is_some() {
                problems.warn(&at.field("sharedSecretRef"), "has no effect: the token of `oauth2` is sent");
            }
            token(oauth2, &at.field("oauth2"), context, problems)?
        }
        (None, Some(entry)) => {
            let at = at.field("sharedSecretRef");
            let secret = context.secrets.text(&entry.name, &entry.key, SecretUse::Credential, &at, problems)?;
            if secret.is_empty() {
                return Some(None);
            }
            if let Some(Place::Header { before, .. }) = &place
                && header_value(before, secret.reveal()).is_none()
            {
                problems
                    .add(&at, format!("entry \"{}\" of Secret \"{}\" cannot stand in a header", entry.key, entry.name));
                return None;
            }
            Source::Secret(secret)
        }
        (None, None) => return Some(None),
    };
    Some(Some(Credential { place: place?, source }))
}

fn token(
    spec: &OAuth2ClientAuthentication,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Source> {
    let url = problems.take(&at.field("tokenUrl"), parse_url(&spec.token_url));
    let (entry, secret_at) = (&spec.client_secret_ref, at.field("clientSecretRef"));
    let secret = context.secrets.text(&entry.name, &entry.key, SecretUse::Credential, &secret_at, problems);
    let two_scopes = !spec.scopes.is_empty() && spec.extra_params.contains_key("scope");
    if two_scopes {
        problems.add(&at.field("extraParams").key("scope"), "oauth2: cannot overwrite parameter \"scope\"");
    }
    let (_, client_secret) = (url?, secret?);
    if two_scopes {
        return None;
    }
    let client = context.resources.tokens.client(ClientConfig {
        token_url: spec.token_url.clone(),
        client_id: spec.client_id.clone(),
        client_secret,
        scopes: spec.scopes.clone(),
        extra_params: spec.extra_params.clone(),
        timeout: time_limit(spec.timeout),
    });
    Some(if spec.cache { Source::Token(client) } else { Source::NewToken(client) })
}

impl Place {
    fn build(location: CredentialLocation<'_>, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        match location {
            CredentialLocation::AuthorizationHeader(scheme) => {
                let before = format!("{scheme} ");
                if header_value(&before, "").is_none() {
                    let header = at.field("authorizationHeader");
                    problems.add(&header.field("prefix"), "cannot stand in a header");
                    return None;
                }
                Some(Self::Header { name: AUTHORIZATION, before })
            }
            CredentialLocation::CustomHeader(name) => {
                let header = at.field("customHeader");
                let at = header.field("name");
                let name = headers::header_name(name, &at, problems)?;
                if headers::concerns_connection(&name) || name == CONTENT_TYPE {
                    problems.add(&at, format!("`{name}` cannot carry a credential"));
                    return None;
                }
                Some(Self::Header { name, before: String::new() })
            }
            CredentialLocation::Cookie(name) => {
                if !is_token(name) {
                    problems.add(&at.field("cookie").field("name"), format!("`{name}` is not the name of a cookie"));
                    return None;
                }
                Some(Self::Header { name: COOKIE, before: format!("{name}=") })
            }
            CredentialLocation::QueryString(name) => Some(Self::Query(name.to_owned())),
        }
    }

    /// Puts a secret in its place. A header of that name that the user wants otherwise stays.
    pub(super) fn put(&self, secret: &str, url: &mut String, headers: &mut HeaderMap) -> Result<(), EndpointError> {
        match self {
            Self::Header { name, .. } if headers.contains_key(name) => {}
            Self::Header { name, before } => {
                let value = header_value(before, secret).ok_or_else(|| EndpointError::Dependency {
                    reason: "token request failed",
                    detail: "the token contains characters that cannot stand in a header".to_owned(),
                })?;
                headers.insert(name.clone(), value);
            }
            Self::Query(name) => {
                let mut parsed = parse_url(url).map_err(|error| EndpointError::request(error.to_string()))?;
                let query = with_parameter(parsed.query().unwrap_or_default(), name, secret);
                parsed.set_query(Some(&query));
                *url = parsed.into();
            }
        }
        Ok(())
    }
}

fn header_value(before: &str, secret: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(format!("{before}{secret}").as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A query with one parameter set and all of them sorted by name; those of one name stay in their order.
fn with_parameter(query: &str, name: &str, value: &str) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known != name).collect();
    pairs.push((name.into(), value.into()));
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Token(_) => "Token",
            Self::NewToken(_) => "NewToken",
        })
    }
}
