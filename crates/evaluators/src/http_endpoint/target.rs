//! Where a request goes.

use serde_json::Value;
use url::Url;
use usher_api::{HttpEndpointSpec, UrlSource};
use usher_expr::{Document, Expression, template::Template};

use super::EndpointError;
use crate::{
    FieldPath, Problems,
    resources::http::{UrlError, parse_url},
};

/// Where a request goes, or how to find out.
pub(super) enum Target {
    /// Always there.
    Fixed(String),
    /// There, with values of the document put in.
    Template(Template, Anchor),
    /// As an expression says.
    Expression(Expression),
}

/// What values may not change about a URL.
pub(super) enum Anchor {
    /// Scheme, host, port, user and password are those of this URL.
    Fixed(Box<Url>),
    /// The host is for values to say.
    None,
}

impl Target {
    pub(super) fn build(spec: &HttpEndpointSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        match problems.take(at, spec.url_source())? {
            UrlSource::Url(source) => Self::template(source, &at.field("url"), problems),
            UrlSource::Expression(source) => {
                problems.take(&at.field("urlExpression"), Expression::cel(source)).map(Self::Expression)
            }
        }
    }

    fn template(source: &str, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        let template = problems.take(at, Template::parse(source))?;
        let (before, has_placeholder) = before_first_placeholder(source);
        // With nothing to put in, what remains is what was written.
        let written = encode_controls(template.render(&Value::Null));
        if !has_placeholder {
            // Known to fail each time. It is no problem, for rules that make use of no metadata work without.
            if let Err(error) = parse_url(&written) {
                problems.warn(at, error);
            }
            return Some(Self::Fixed(written));
        }
        let prefix = encode_controls(problems.take(at, Template::parse(before))?.render(&Value::Null));
        let anchor = anchor(&prefix, &written);
        match (&anchor, parse_url(&prefix)) {
            (_, Err(error @ UrlError::UnsupportedScheme(_))) => problems.warn(at, error),
            (Anchor::Fixed(_), _) => {}
            (Anchor::None, _) => problems.warn(
                at,
                "the host depends on values of the request: end it with a slash or a port, if that is not intended",
            ),
        }
        Some(Self::Template(template, anchor))
    }

    /// The URL for this document.
    pub(super) fn resolve(&self, document: &dyn Document) -> Result<String, EndpointError> {
        match self {
            Self::Fixed(url) => Ok(url.clone()),
            Self::Template(template, anchor) => {
                let url = encode_controls(template.try_render(document)?);
                if let Anchor::Fixed(fixed) = anchor {
                    let parsed = parse_url(&url).map_err(|error| EndpointError::request(error.to_string()))?;
                    if !same_authority(&parsed, fixed) {
                        return Err(EndpointError::request("invalid URL: a value changes scheme, host or port"));
                    }
                }
                Ok(url)
            }
            Self::Expression(expression) => match expression.resolve(document)? {
                Value::String(url) => Ok(encode_controls(url)),
                _ => Err(EndpointError::request("the URL is not a string")),
            },
        }
    }
}

/// What stands in a template before its first placeholder, still with its backslashes, and whether there is one.
fn before_first_placeholder(source: &str) -> (&str, bool) {
    let mut escaped = false;
    for (at, character) in source.char_indices() {
        match character {
            '{' if !escaped => return (source.get(..at).unwrap_or_default(), true),
            _ => escaped = character == '\\' && !escaped,
        }
    }
    (source, false)
}

/// What values may not change, given the text before the first placeholder and all of the text that was written.
fn anchor(prefix: &str, written: &str) -> Anchor {
    let Ok(fixed) = parse_url(prefix) else { return Anchor::None };
    let authority = prefix.split_once("://").map_or("", |(_, rest)| rest);
    let ends_before_values = authority.contains(['/', '\\', '?', '#']) || has_port(authority) || {
        // The host may go on with values, as in `http://tenant-{x}/`, or the path may begin with them.
        let after = written.strip_prefix(prefix).unwrap_or("/");
        prefix.ends_with(|last: char| last.is_alphanumeric() || last == ']')
            && (after.is_empty() || after.starts_with(['?', '#']))
    };
    if ends_before_values { Anchor::Fixed(Box::new(fixed)) } else { Anchor::None }
}

fn has_port(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn same_authority(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin() && one.username() == other.username() && one.password() == other.password()
}

/// Control characters in query and fragment as they may stand there. Anywhere else, and NUL everywhere, they are a sign
/// of something wrong, and stay as they are so that they are refused.
fn encode_controls(url: String) -> String {
    let Some(end_of_path) = url.find(['?', '#']) else { return url };
    let (path, rest) = url.split_at(end_of_path);
    if !rest.contains(|character: char| character.is_ascii_control()) {
        return url;
    }
    let mut encoded = String::with_capacity(url.len() + 16);
    encoded.push_str(path);
    for character in rest.chars() {
        if character.is_ascii_control() && character != '\0' {
            encoded.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            encoded.push(character);
        }
    }
    encoded
}
