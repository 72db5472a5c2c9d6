//! What describes this process to collectors.

use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::Resource;

const SERVICE_NAME: &str = "service.name";

/// What OpenTelemetry finds out by itself, from `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` too, below `version`,
/// below `tags`.
pub(crate) fn describe(tags: &[String], version: &'static str) -> Resource {
    with_tags(Resource::builder().build(), tags, version)
}

fn with_tags(found: Resource, tags: &[String], version: &'static str) -> Resource {
    let is_named = |name: &Value| !name.as_str().starts_with("unknown_service");
    let name = found.get(&Key::from_static_str(SERVICE_NAME)).filter(is_named).unwrap_or_else(|| "usher".into());
    let own = [KeyValue::new(SERVICE_NAME, name), KeyValue::new("service.version", version)];
    let tags = tags.iter().filter_map(|tag| {
        let Some((name, value)) = tag.split_once('=') else {
            tracing::warn!(tag, "a tag for traces has no `=`: it is left out");
            return None;
        };
        Some(KeyValue::new(name.to_owned(), value.to_owned()))
    });
    let found = found.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty().with_attributes(found.chain(own).chain(tags)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_says_counts_most() {
        let found = |attributes: &[(&'static str, &'static str)], tags: &[&str]| {
            let attributes = attributes.iter().map(|(name, value)| KeyValue::new(*name, *value));
            let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            let resource = with_tags(Resource::builder_empty().with_attributes(attributes).build(), &tags, "1.2");
            let mut all: Vec<_> = resource.iter().map(|(name, value)| format!("{name}={value}")).collect();
            all.sort();
            all.join(" ")
        };
        assert_eq!(found(&[], &[]), "service.name=usher service.version=1.2");
        assert_eq!(found(&[("service.name", "unknown_service:x")], &[]), "service.name=usher service.version=1.2");
        assert_eq!(found(&[("service.name", "gate"), ("a", "b")], &[]), "a=b service.name=gate service.version=1.2");
        let tags = ["service.name=authorino", "a=c=d", "lost", "empty="];
        assert_eq!(found(&[("a", "b")], &tags), "a=c=d empty= service.name=authorino service.version=1.2");
    }

    #[test]
    fn the_sdk_is_named() {
        let resource = describe(&[], "1.2");
        assert_eq!(resource.get(&Key::new("telemetry.sdk.language")), Some("rust".into()));
        assert_eq!(resource.get(&Key::new("service.version")), Some("1.2".into()));
    }
}
