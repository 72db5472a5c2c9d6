//! The body of a request.

use bytes::Bytes;
use serde_json::{Map, Value};
use url::form_urlencoded;
use usher_api::{ContentType, HttpEndpointSpec, HttpMethod};
use usher_expr::{Document, Expression, text};

use super::EndpointError;
use crate::{FieldPath, Problems, values};

/// What a request carries.
pub(super) enum Body {
    /// Nothing: the method has none.
    None,
    /// A value as text.
    Text(Expression),
    /// The fields of a form, by name.
    Form(Vec<(String, Expression)>),
    /// The members of a JSON object, by name.
    Json(Vec<(String, Expression)>),
}

impl Body {
    /// What is wrong with expressions is noted; what remains is then of no use.
    pub(super) fn build(spec: &HttpEndpointSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Self {
        let text = spec.body.as_ref().and_then(|body| values::build(body, &at.field("body"), problems));
        let parameters = values::named(&spec.body_parameters, &at.field("bodyParameters"), problems);
        if !has_body(spec.method) {
            for (field, given) in [("body", spec.body.is_some()), ("bodyParameters", !spec.body_parameters.is_empty())]
            {
                if given {
                    problems.warn(&at.field(field), format!("is not sent: {} has no body", spec.method.as_str()));
                }
            }
            return Self::None;
        }
        match (text, spec.content_type) {
            (Some(text), _) => Self::Text(text),
            (None, ContentType::Form) => Self::Form(parameters),
            (None, ContentType::Json) => Self::Json(parameters),
        }
    }

    /// Whether the method has a body, perhaps an empty one.
    pub(super) fn may_be_sent(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The value of `Content-Type`.
    pub(super) fn content_type(&self, spec: &HttpEndpointSpec) -> &'static str {
        match self {
            Self::None => "text/plain",
            Self::Text(_) | Self::Form(_) | Self::Json(_) => spec.content_type.as_str(),
        }
    }

    pub(super) fn resolve(&self, document: &dyn Document) -> Result<Bytes, EndpointError> {
        let body = match self {
            Self::None => return Ok(Bytes::new()),
            Self::Text(text) => text.resolve_text(document)?.into_owned(),
            Self::Form(fields) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, value) in fields {
                    form.append_pair(name, &value.resolve_text(document)?);
                }
                form.finish()
            }
            Self::Json(members) => {
                let members = members.iter().map(|(name, value)| Ok((name.clone(), value.resolve(document)?)));
                text::json(&Value::Object(members.collect::<Result<Map<_, _>, EndpointError>>()?))
            }
        };
        Ok(body.into())
    }
}

/// Whether requests with this method carry something. A GET must not be told apart by what it carries, and nobody
/// expects content with the others (RFC 9110 §9.3).
fn has_body(method: HttpMethod) -> bool {
    match method {
        HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch | HttpMethod::Delete => true,
        HttpMethod::Get | HttpMethod::Head | HttpMethod::Options | HttpMethod::Connect | HttpMethod::Trace => false,
    }
}
