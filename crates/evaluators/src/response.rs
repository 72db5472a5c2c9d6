//! What the upstream and the gateway are told: the items of `spec.response`.

pub mod json;
pub mod plain;

use usher_api::{SuccessResponseMethod, SuccessResponseSpec, SuccessSpec};
use usher_engine::plan::{Delivery, ResponseItem};

use crate::{
    BuildContext, FieldPath, Problems,
    credentials::is_token,
    step::{Method, step},
};

/// Builds the items of `success`: headers of the request to the upstream, and data for later filters of the gateway.
pub fn build(
    spec: &SuccessSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Vec<ResponseItem> {
    let mut items = Vec::with_capacity(spec.headers.len() + spec.dynamic_metadata.len());
    for (name, spec) in &spec.headers {
        let section = at.field("headers");
        let at = section.key(name);
        let header = match key(spec) {
            Some(key) => problems.take(&at.field("key"), response_header_name(key)),
            None => problems.take(&at, response_header_name(name)),
        };
        items.extend(item(name, spec, header.map(Delivery::Header), &at, context, problems));
    }
    for (name, spec) in &spec.dynamic_metadata {
        let section = at.field("dynamicMetadata");
        let member = key(spec).unwrap_or(name).to_owned();
        let delivery = Some(Delivery::DynamicMetadata(member));
        items.extend(item(name, spec, delivery, &section.key(name), context, problems));
    }
    items
}

fn key(spec: &SuccessResponseSpec) -> Option<&str> {
    spec.key.as_deref().filter(|key| !key.is_empty())
}

fn item(
    name: &str,
    spec: &SuccessResponseSpec,
    delivery: Option<Delivery>,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<ResponseItem> {
    let method = problems.take(at, spec.method()).map(|method| match method {
        SuccessResponseMethod::Plain(spec) => {
            Method::new("RESPONSE_PLAIN", plain::build(spec, &at.field("plain"), problems))
        }
        SuccessResponseMethod::Json(spec) => {
            Method::new("RESPONSE_JSON", json::build(spec, &at.field("json"), problems))
        }
        SuccessResponseMethod::Wristband(_) => Method::unsupported("wristband", at, problems),
    });
    let step = step(name, &spec.common, method, at, context, problems)?;
    Some(ResponseItem { step, delivery: delivery? })
}

/// The name of a header that an item or a denial sets, in lower case.
///
/// # Errors
/// When it is no token (RFC 9110 §5.1), or names what only the gateway may set: pseudo-headers, which would change
/// method, path or host of the request, and the headers that frame a message.
pub fn response_header_name(name: &str) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    let reserved = ["host", "content-length", "transfer-encoding", "connection"];
    if lower.starts_with(':') || reserved.contains(&lower.as_str()) {
        return Err(format!("the header `{name}` cannot be set: it belongs to the gateway"));
    }
    if !is_token(&lower) {
        return Err(format!("`{name}` is not a valid header name"));
    }
    Ok(lower)
}
