//! Routes of gateways, by name.
//!
//! A gateway knows the route of a request before it asks for a decision, and some say so:
//!
//! | where | what | who |
//! | --- | --- | --- |
//! | context extension `route` | `HTTPRoute/NAMESPACE/NAME`, or with `/SECTION` | any gateway whose routes take context extensions |
//! | route metadata `envoy-gateway` | `resources`: a list of objects with `kind`, `namespace`, `name`, `sectionName` | Envoy Gateway, with `includeRouteMetadata` |
//!
//! Both come from the configuration of the gateway; no client can write them.

use serde_json::Value;

use crate::Request;

/// The context extension that names the route.
pub const CONTEXT_EXTENSION: &str = "route";

/// The namespace of route metadata that Envoy Gateway writes.
pub const ENVOY_GATEWAY: &str = "envoy-gateway";

/// So many resources of route metadata are looked at; gateways write one.
const MOST_RESOURCES: usize = 16;

/// A route or one of its sections: `HTTPRoute/shop/web`, `HTTPRoute/shop/web/checkout`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteName(String);

impl RouteName {
    /// The name of a route, or of a section of it.
    ///
    /// # Errors
    /// Says which part cannot be part of a name.
    pub fn new(kind: &str, namespace: &str, name: &str, section: Option<&str>) -> Result<Self, String> {
        for part in [Some(kind), Some(namespace), Some(name), section].into_iter().flatten() {
            if part.is_empty() || part.len() > MAX_PART || part.contains(|letter: char| !is_part_of_name(letter)) {
                return Err(format!("`{part}` is not a name"));
            }
        }
        Ok(Self(joined(kind, namespace, name, section)))
    }

    /// The name as gateways write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RouteName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The longest name of a Kubernetes object, in bytes.
const MAX_PART: usize = 253;

fn is_part_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.')
}

fn joined(kind: &str, namespace: &str, name: &str, section: Option<&str>) -> String {
    match section {
        Some(section) => [kind, "/", namespace, "/", name, "/", section].concat(),
        None => [kind, "/", namespace, "/", name].concat(),
    }
}

/// The route that the gateway names, as it is looked up first; what a gateway writes may be the name of no route.
#[must_use]
pub fn named(request: &Request) -> Option<String> {
    find(request, |name| Some(name.to_owned()))
}

/// Finds something by the route of a request: by its section, then by the route as a whole. A context extension counts
/// alone.
pub(crate) fn find<T>(request: &Request, by_name: impl Fn(&str) -> Option<T>) -> Option<T> {
    let parts = request.parts();
    if let Some(told) = parts.context_extensions.get(CONTEXT_EXTENSION) {
        return by_name(told).or_else(|| by_name(without_section(told)?));
    }
    let metadata = parts.route_metadata.as_ref()?.filter_metadata.get(ENVOY_GATEWAY)?;
    let resources = metadata.get("resources")?.as_array()?;
    resources.iter().take(MOST_RESOURCES).find_map(|resource| {
        let part = |name| resource.get(name).and_then(Value::as_str);
        let (kind, namespace, name) = (part("kind")?, part("namespace")?, part("name")?);
        let section = part("sectionName").filter(|section| !section.is_empty());
        let by_section = section.and_then(|section| by_name(&joined(kind, namespace, name, Some(section))));
        by_section.or_else(|| by_name(&joined(kind, namespace, name, None)))
    })
}

/// `HTTPRoute/shop/web` of `HTTPRoute/shop/web/checkout`.
fn without_section(told: &str) -> Option<&str> {
    let (route, _) = told.rsplit_once('/')?;
    (route.matches('/').count() == 2).then_some(route)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{RequestParts, request::Metadata};

    /// The names that are tried for a request, in order.
    fn tried(extension: Option<&str>, metadata: Value) -> Vec<String> {
        let extension = extension.map(|told| (CONTEXT_EXTENSION.to_owned(), told.to_owned()));
        let filter_metadata = BTreeMap::from([(ENVOY_GATEWAY.to_owned(), metadata)]);
        let request = Request::new(RequestParts {
            context_extensions: extension.into_iter().collect(),
            route_metadata: Some(Metadata { filter_metadata, ..Metadata::default() }),
            ..RequestParts::default()
        });
        let tried = std::cell::RefCell::new(Vec::new());
        let nothing: Option<()> = find(&request, |name| {
            tried.borrow_mut().push(name.to_owned());
            None
        });
        assert!(nothing.is_none());
        let tried = tried.into_inner();
        assert_eq!(named(&request).as_ref(), tried.first());
        tried
    }

    #[test]
    fn sections_come_before_routes_and_extensions_before_metadata() {
        let web = json!({"kind": "HTTPRoute", "namespace": "shop", "name": "web", "sectionName": "checkout"});
        let api = json!({"kind": "GRPCRoute", "namespace": "shop", "name": "api", "annotations": {"a": "b"}});
        let resources = json!({"resources": [web, api]});
        let from_metadata = ["HTTPRoute/shop/web/checkout", "HTTPRoute/shop/web", "GRPCRoute/shop/api"];
        assert_eq!(tried(None, resources.clone()), from_metadata);
        assert_eq!(tried(Some("HTTPRoute/a/b"), resources.clone()), ["HTTPRoute/a/b"]);
        assert_eq!(tried(Some("HTTPRoute/a/b/c"), resources.clone()), ["HTTPRoute/a/b/c", "HTTPRoute/a/b"]);
        // Who says something else than a route says that there is none to look for.
        assert_eq!(tried(Some("blue"), resources), ["blue"]);
    }

    #[test]
    fn odd_metadata_names_no_route() {
        let many = json!({"resources": vec![json!({"kind": "HTTPRoute", "namespace": "n", "name": "r"}); 100]});
        assert_eq!(tried(None, many).len(), MOST_RESOURCES);
        for odd in [
            json!(null),
            json!({}),
            json!({"resources": "web"}),
            json!({"resources": {"kind": "HTTPRoute"}}),
            json!({"resources": [null, "web", {"kind": "HTTPRoute", "name": "web"}]}),
            json!({"resources": [{"kind": "HTTPRoute", "namespace": 1, "name": "web"}]}),
        ] {
            assert_eq!(tried(None, odd.clone()), [""; 0], "{odd}");
        }
    }

    #[test]
    fn names_are_made_of_names() {
        let name = |name, section| RouteName::new("HTTPRoute", "shop", name, section).map(|name| name.to_string());
        assert_eq!(name("web", None).unwrap(), "HTTPRoute/shop/web");
        assert_eq!(name("web", Some("checkout")).unwrap(), "HTTPRoute/shop/web/checkout");
        assert_eq!(name("web/checkout", None).unwrap_err(), "`web/checkout` is not a name");
        assert_eq!(name("", None).unwrap_err(), "`` is not a name");
        assert_eq!(name("web", Some("")).unwrap_err(), "`` is not a name");
    }
}
