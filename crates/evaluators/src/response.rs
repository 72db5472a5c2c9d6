//! What the upstream and the gateway are told: the items of `spec.response`.

pub mod json;
pub mod plain;
pub mod wristband;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use usher_api::{SuccessResponseMethod, SuccessResponseSpec, SuccessSpec};
use usher_engine::plan::{Delivery, HeaderAction, ResponseItem, TokenIssuer};

use crate::{
    BuildContext, FieldPath, Problems,
    credentials::is_token,
    step::{Method, step},
};

/// What an allowed request is changed by.
#[derive(Debug, Default)]
pub struct Success {
    /// What is added, and where.
    pub items: Vec<ResponseItem>,
    /// Headers that are taken out: valid names in lower case.
    pub remove_headers: Vec<String>,
    /// Query parameters that are taken out.
    pub remove_query_parameters: Vec<String>,
    /// The items that issue tokens.
    pub token_issuers: Vec<(Arc<str>, TokenIssuer)>,
}

/// Builds `response.success`.
pub fn build(spec: &SuccessSpec, at: &FieldPath<'_>, context: &BuildContext<'_>, problems: &mut Problems) -> Success {
    let mut success = Success::default();
    let query_at = at.field("queryParameters");
    let query = spec.query_parameters.clone().unwrap_or_default();
    for (specs, at, place) in [
        (&spec.headers, at.field("headers"), Place::Header),
        (&spec.response_headers, at.field("responseHeaders"), Place::ResponseHeader),
        (&query.set, query_at.field("set"), Place::QueryParameter),
        (&spec.dynamic_metadata, at.field("dynamicMetadata"), Place::DynamicMetadata),
    ] {
        for (name, spec) in specs {
            let at = at.key(name);
            let delivery = delivery(name, spec, place, &at, problems);
            success.items.extend(item(name, spec, delivery, &mut success.token_issuers, &at, context, problems));
        }
    }
    actions_go_together(&spec.response_headers, &at.field("responseHeaders"), problems);
    let at = at.field("removeHeaders");
    for (index, name) in spec.remove_headers.iter().enumerate() {
        success.remove_headers.extend(problems.take(&at.index(index), response_header_name(name)));
    }
    success.remove_query_parameters = query.remove;
    success
}

/// Gateways apply what is appended to a header of the response before they replace it or ask whether there is one. So
/// items that append to it lose against others of its name, unless their values can be joined before.
fn actions_go_together(
    specs: &BTreeMap<String, Box<SuccessResponseSpec>>,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) {
    let named = |name: &str, spec: &SuccessResponseSpec| key(spec).unwrap_or(name).to_ascii_lowercase();
    let appended: BTreeSet<_> = specs
        .iter()
        .filter(|(_, spec)| spec.action == Some(usher_api::HeaderAction::Append))
        .map(|(name, spec)| named(name, spec))
        .collect();
    for (name, spec) in specs {
        let header = named(name, spec);
        let joined = match spec.action.unwrap_or_default() {
            usher_api::HeaderAction::Append => true,
            // Cookies cannot be joined (RFC 6265 §3).
            usher_api::HeaderAction::Overwrite => header != "set-cookie",
            usher_api::HeaderAction::AddIfAbsent => false,
        };
        if !joined && appended.contains(&header) {
            let message = format!("another item appends to the header `{header}`, and would be lost: append here too");
            problems.add(&at.key(name).field("action"), message);
        }
    }
}

/// The section that an item stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Header,
    ResponseHeader,
    QueryParameter,
    DynamicMetadata,
}

fn delivery(
    name: &str,
    spec: &SuccessResponseSpec,
    place: Place,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) -> Option<Delivery> {
    let key = key(spec);
    let given = key.unwrap_or(name);
    let mut header = || match key {
        Some(key) => problems.take(&at.field("key"), response_header_name(key)),
        None => problems.take(at, response_header_name(name)),
    };
    let action = match spec.action.unwrap_or_default() {
        usher_api::HeaderAction::Overwrite => HeaderAction::Overwrite,
        usher_api::HeaderAction::Append => HeaderAction::Append,
        usher_api::HeaderAction::AddIfAbsent => HeaderAction::AddIfAbsent,
    };
    let delivery = match place {
        Place::Header => header().map(|name| Delivery::Header { name, action }),
        Place::ResponseHeader => header().map(|name| Delivery::ResponseHeader { name, action }),
        Place::QueryParameter => Some(Delivery::QueryParameter(given.to_owned())),
        Place::DynamicMetadata => Some(Delivery::DynamicMetadata(given.to_owned())),
    };
    if spec.action.is_some() && matches!(place, Place::QueryParameter | Place::DynamicMetadata) {
        problems.add(&at.field("action"), "only headers have an action");
    }
    delivery
}

fn key(spec: &SuccessResponseSpec) -> Option<&str> {
    spec.key.as_deref().filter(|key| !key.is_empty())
}

fn item(
    name: &str,
    spec: &SuccessResponseSpec,
    delivery: Option<Delivery>,
    token_issuers: &mut Vec<(Arc<str>, TokenIssuer)>,
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
        SuccessResponseMethod::Wristband(spec) => {
            let built = wristband::build(spec, &at.field("wristband"), context, problems);
            let (wristband, issuer) = built.unzip();
            token_issuers.extend(issuer.map(|issuer| (name.into(), issuer)));
            Method::new("RESPONSE_WRISTBAND", wristband)
        }
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
    let reserved = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];
    if lower.starts_with(':') || reserved.contains(&lower.as_str()) {
        return Err(format!("the header `{name}` cannot be set: it belongs to the gateway"));
    }
    if !is_token(&lower) {
        return Err(format!("`{name}` is not a valid header name"));
    }
    Ok(lower)
}
