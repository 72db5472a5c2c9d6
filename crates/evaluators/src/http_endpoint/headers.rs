//! The headers of a request, but for its credential.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use usher_api::NamedValuesOrSelectors;
use usher_expr::{Document, Expression};

use super::EndpointError;
use crate::{FieldPath, Problems, values};

/// Headers, in the order in which they are set: later ones replace earlier ones of the same name.
pub(super) struct Headers {
    list: Vec<(HeaderName, Text)>,
    content_type: HeaderValue,
}

enum Text {
    Fixed(HeaderValue),
    Expression(Expression),
}

impl Headers {
    pub(super) fn build(
        specs: &NamedValuesOrSelectors,
        content_type: &'static str,
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut list = Vec::with_capacity(specs.len());
        let mut complete = true;
        for (name, spec) in specs {
            let at = at.key(name);
            let expression = values::build(spec, &at, problems);
            let header = header_name(name, &at, problems);
            let (Some(expression), Some(header)) = (expression, header) else {
                complete = false;
                continue;
            };
            if concerns_connection(&header) {
                problems.warn(&at, "has no effect: the connection decides about it");
                continue;
            }
            if header == CONTENT_TYPE {
                problems.warn(&at, "has no effect: `contentType` says what the body is");
                continue;
            }
            let text = match expression {
                Expression::Value { text, .. } => match value(&text) {
                    Ok(value) => Text::Fixed(value),
                    Err(error) => {
                        problems.add(&at, error);
                        complete = false;
                        continue;
                    }
                },
                expression => Text::Expression(expression),
            };
            list.push((header, text));
        }
        complete.then_some(Self { list, content_type: HeaderValue::from_static(content_type) })
    }

    pub(super) fn resolve(&self, document: &dyn Document) -> Result<HeaderMap, EndpointError> {
        let mut headers = HeaderMap::with_capacity(self.list.len() + 2);
        for (name, text) in &self.list {
            let value = match text {
                Text::Fixed(value) => value.clone(),
                Text::Expression(expression) => value(&expression.resolve_text(document)?)
                    .map_err(|error| EndpointError::request(format!("header `{name}`: {error}")))?,
            };
            headers.insert(name.clone(), value);
        }
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        Ok(headers)
    }
}

/// The name of a header, if it can be one.
pub(super) fn header_name(name: &str, at: &FieldPath<'_>, problems: &mut Problems) -> Option<HeaderName> {
    let header = HeaderName::from_bytes(name.as_bytes());
    problems.take(at, header.map_err(|_| format!("`{name}` is not a header name")))
}

/// Whether the header is about the connection (RFC 9110 §7.6.1, §7.2, §8.6), which is not the request's to say.
pub(super) fn concerns_connection(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, CONNECTION, TE, UPGRADE].contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

/// Text as the value of a header: in UTF-8, without control characters but tabs (RFC 9110 §5.5).
fn value(text: &str) -> Result<HeaderValue, &'static str> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| "the value contains a control character")
}
