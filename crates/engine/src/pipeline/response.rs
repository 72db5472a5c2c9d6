//! What are the upstream, the client and the gateway told? Each item on its own: one that fails is left out. What the
//! client sent under its name does not take its place.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{Decided, step, waiting::Waiting};
use crate::{
    Context,
    context::Phase,
    evaluator::Undecided,
    plan::{Delivery, HeaderAction, IdentityRule, ResponseItem, Rules},
    upstream::{UpstreamRequest, clean},
    verdict::{Additions, ResponseHeader},
};

/// Takes out of the request what shall not reach the upstream, then runs the items and delivers them. `identity` is
/// the rule that found the caller.
///
/// *Undecidable* when the credential of the caller cannot be taken out: it must not reach the upstream.
pub(crate) async fn run(
    rules: &Rules,
    identity: &IdentityRule,
    context: &mut Context<'_>,
) -> ControlFlow<Decided, Additions> {
    let request = context.request();
    if says_nothing(rules, identity) {
        return ControlFlow::Continue(Additions::default());
    }
    let mut upstream = UpstreamRequest::new(request, &rules.remove_headers, &rules.remove_query_parameters);
    if let Some(removal) = &identity.remove_credential
        && catch_unwind(AssertUnwindSafe(|| removal.remove(request, &mut upstream))).is_err()
    {
        return ControlFlow::Break(not_removed(&identity.step.name));
    }
    let mut delivered = Delivered { upstream, response_headers: Vec::new(), dynamic_metadata: Map::new() };
    for group in rules.response.groups() {
        for (item, value) in group_results(group, context).await {
            let Some(value) = value else {
                delivered.leave_out(&item.delivery);
                continue;
            };
            delivered.add(&item.delivery, &value);
            context.add(Phase::Response, item.step.name.clone(), value);
        }
    }
    ControlFlow::Continue(Additions {
        response_headers: delivered.response_headers,
        dynamic_metadata: delivered.dynamic_metadata,
        ..delivered.upstream.into_additions()
    })
}

/// Whether a request that may pass goes on as it came, whoever sent it.
fn says_nothing(rules: &Rules, identity: &IdentityRule) -> bool {
    rules.response.is_empty()
        && rules.remove_headers.is_empty()
        && rules.remove_query_parameters.is_empty()
        && identity.remove_credential.is_none()
}

fn not_removed(rule: &Arc<str>) -> Decided {
    let detail = "removing the credential from the request panicked".to_owned();
    Decided::undecidable("authentication", rule, Undecided { reason: step::INTERNAL, detail, retry_after: None })
}

/// The results in the order of the rules, whichever of them ended first: it says which of two items of one header
/// comes first. An item that failed has no value.
async fn group_results<'p>(
    group: &'p [ResponseItem],
    context: &Context<'_>,
) -> Vec<(&'p ResponseItem, Option<Arc<Value>>)> {
    let mut found = Vec::new();
    let mut waiting = Waiting::none();
    for (index, item) in group.iter().enumerate() {
        match step::begin("response", &item.step, context) {
            step::Begun::Skipped | step::Begun::ConditionFailed(_) => {}
            step::Begun::Done(outcome) => found.push((index, item, outcome)),
            step::Begun::Running(future) => waiting.push((index, item), future),
        }
    }
    while let Some(((index, item), outcome)) = waiting.next().await {
        found.push((index, item, outcome));
    }
    drop(waiting);
    found.sort_unstable_by_key(|(index, ..)| *index);
    found
        .into_iter()
        .map(|(_, item, outcome)| match outcome {
            Ok(value) => (item, Some(value)),
            Err(failure) => {
                tracing::debug!(rule = &*item.step.name, reason = failure.detail(), "cannot build response item");
                (item, None)
            }
        })
        .collect()
}

/// What the items were delivered to.
struct Delivered<'r> {
    upstream: UpstreamRequest<'r>,
    response_headers: Vec<ResponseHeader>,
    dynamic_metadata: Map<String, Value>,
}

impl Delivered<'_> {
    fn add(&mut self, delivery: &Delivery, value: &Value) {
        let text = || usher_expr::text::stringify(value).into_owned();
        match delivery {
            Delivery::DynamicMetadata(name) => {
                self.dynamic_metadata.insert(name.clone(), value.clone());
            }
            _ if value.is_null() => self.leave_out(delivery),
            Delivery::Header { name, action } => self.upstream.deliver_header(name, text(), *action),
            Delivery::ResponseHeader { name, action } => {
                let value = clean(text());
                add_response_header(&mut self.response_headers, name, value, *action);
            }
            Delivery::QueryParameter(name) => self.upstream.set_query_parameter(name, text()),
        }
    }

    /// An item that would have replaced what the client sent must not make the upstream take that for ours, just because
    /// there is nothing to say about this caller.
    fn leave_out(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Header { name, action: HeaderAction::Overwrite } => self.upstream.empty_header_of_client(name),
            Delivery::QueryParameter(name) => self.upstream.remove_query_parameter_of_client(name),
            Delivery::Header { .. } | Delivery::ResponseHeader { .. } | Delivery::DynamicMetadata(_) => {}
        }
    }
}

/// What the upstream will send is not known yet, so the gateway is told the action. Among our own items the effect is
/// known, and gateways do not agree about headers that come several times: those that cancel each other are left out,
/// and what is added to a header that we set becomes part of it. `set-cookie` cannot be joined (RFC 6265 §3).
fn add_response_header(headers: &mut Vec<ResponseHeader>, name: &str, value: String, action: HeaderAction) {
    let mut present = headers.iter_mut().filter(|header| header.name == name);
    match action {
        HeaderAction::Overwrite => headers.retain(|header| header.name != name),
        HeaderAction::AddIfAbsent if present.next().is_some() => return,
        HeaderAction::Append if name != "set-cookie" => {
            if let Some(set) = present.find(|header| header.action == HeaderAction::Overwrite) {
                set.value = [&*set.value, ",", &value].concat();
                return;
            }
        }
        HeaderAction::AddIfAbsent | HeaderAction::Append => {}
    }
    headers.push(ResponseHeader { name: name.to_owned(), value, action });
}

#[cfg(test)]
mod tests {
    use HeaderAction::{AddIfAbsent, Append, Overwrite};

    use super::*;

    type Headers = &'static [(HeaderAction, &'static str)];

    #[test]
    fn response_headers_of_one_name() {
        let cases: &[(&str, Headers, Headers)] = &[
            ("x-a", &[(Append, "1"), (Append, "2")], &[(Append, "1"), (Append, "2")]),
            ("x-a", &[(Overwrite, "1"), (Overwrite, "2")], &[(Overwrite, "2")]),
            ("x-a", &[(Append, "1"), (AddIfAbsent, "2"), (Overwrite, "3")], &[(Overwrite, "3")]),
            ("x-a", &[(Overwrite, "1"), (Append, "2"), (Append, "3")], &[(Overwrite, "1,2,3")]),
            ("x-a", &[(AddIfAbsent, "1"), (AddIfAbsent, "2")], &[(AddIfAbsent, "1")]),
            ("x-a", &[(Append, "1"), (AddIfAbsent, "2")], &[(Append, "1")]),
            ("x-a", &[(AddIfAbsent, "1"), (Append, "2")], &[(AddIfAbsent, "1"), (Append, "2")]),
            ("set-cookie", &[(Overwrite, "a=1"), (Append, "b=2")], &[(Overwrite, "a=1"), (Append, "b=2")]),
        ];
        for (name, items, expected) in cases {
            let other = ResponseHeader { name: "x-other".to_owned(), value: String::new(), action: Overwrite };
            let mut headers = vec![other.clone()];
            for (action, value) in *items {
                add_response_header(&mut headers, name, (*value).to_owned(), *action);
            }
            assert_eq!(headers.remove(0), other);
            let headers: Vec<_> = headers.iter().map(|header| (header.action, header.value.as_str())).collect();
            assert_eq!(headers, *expected, "{name} {items:?}");
        }
    }
}
