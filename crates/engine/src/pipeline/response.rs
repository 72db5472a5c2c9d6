//! What are the upstream and the gateway told? Each item on its own: one that fails is left out.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Map, Value};

use super::step;
use crate::{
    Context,
    context::Phase,
    plan::{Delivery, ResponseItem, Rules},
};

/// Runs the items and gives headers and dynamic metadata.
pub(crate) async fn run(rules: &Rules, context: &mut Context<'_>) -> (Vec<(String, String)>, Map<String, Value>) {
    let mut headers = Vec::new();
    let mut dynamic_metadata = Map::new();
    for group in rules.response.groups() {
        for (item, value) in group_results(group, context).await {
            deliver(item, &value, &mut headers, &mut dynamic_metadata);
            context.add(Phase::Response, item.step.name.clone(), value);
        }
    }
    (headers, dynamic_metadata)
}

async fn group_results<'p>(group: &'p [ResponseItem], context: &Context<'_>) -> Vec<(&'p ResponseItem, Arc<Value>)> {
    let mut found = Vec::new();
    let mut running = FuturesUnordered::new();
    for item in group {
        match step::begin("response", &item.step, context) {
            step::Begun::Skipped | step::Begun::ConditionFailed(_) => {}
            step::Begun::Done(outcome) => found.push((item, outcome)),
            step::Begun::Running(future) => running.push(async move { (item, future.await) }),
        }
    }
    while let Some(ended) = running.next().await {
        found.push(ended);
    }
    drop(running);
    found
        .into_iter()
        .filter_map(|(item, outcome)| match outcome {
            Ok(value) => Some((item, value)),
            Err(failure) => {
                tracing::debug!(rule = &*item.step.name, reason = failure.detail(), "cannot build response item");
                None
            }
        })
        .collect()
}

fn deliver(item: &ResponseItem, value: &Value, headers: &mut Vec<(String, String)>, metadata: &mut Map<String, Value>) {
    match &item.delivery {
        // Null leaves the header out. That does not protect a name against what the client sent: a configuration that
        // must overwrite gives a value in any case.
        Delivery::Header(_) if value.is_null() => {}
        Delivery::Header(name) => {
            let value = header_value(usher_expr::text::stringify(value).into_owned());
            match headers.iter_mut().find(|(present, _)| present == name) {
                Some((_, present)) => *present = value,
                None => headers.push((name.clone(), value)),
            }
        }
        Delivery::DynamicMetadata(name) => {
            metadata.insert(name.clone(), value.clone());
        }
    }
}

/// A header value cannot hold CR, LF or NUL (RFC 9110 §5.5): a value with one would end the header and begin another.
fn header_value(mut value: String) -> String {
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        value.retain(|character| !matches!(character, '\r' | '\n' | '\0'));
        tracing::warn!("control characters were removed from a header value");
    }
    value
}
