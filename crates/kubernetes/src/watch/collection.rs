//! AuthConfigs, Secrets, or the metadata of Secrets: how a list of them is asked for, and a watch.

use http::Request;
use kube::{
    api::{ListParams, WatchParams},
    core::{self, request},
};
use serde::Deserialize;
use usher_api::Selector;

use super::{item::Item, lines::Lines};
use crate::{
    Cluster,
    exchange::{Cause, Failure},
    resources::{AUTH_CONFIGS, NotAName, Resource, SECRETS},
};

/// The largest page of a list, in bytes. Of more, smaller pages are asked for.
const MAX_PAGE: usize = 32 << 20;

/// A kind of object, and which of them.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    resource: Resource,
    namespace: Option<String>,
    selector: Option<String>,
    metadata_only: bool,
}

impl Collection {
    /// AuthConfigs with these labels, of a namespace or of all.
    pub(super) fn auth_configs(namespace: Option<&str>, selector: &Selector) -> Self {
        Self::new(AUTH_CONFIGS, namespace, selector)
    }

    /// Secrets with these labels, of a namespace or of all.
    pub(super) fn secrets(namespace: Option<&str>, selector: &Selector) -> Self {
        Self::new(SECRETS, namespace, selector)
    }

    /// The metadata of all Secrets, of a namespace or of all.
    pub(super) fn metadata_of_secrets(namespace: Option<&str>) -> Self {
        Self { metadata_only: true, ..Self::secrets(namespace, &Selector::default()) }
    }

    fn new(resource: Resource, namespace: Option<&str>, selector: &Selector) -> Self {
        let selector = Some(selector.to_string()).filter(|selector| !selector.is_empty());
        Self { resource, namespace: namespace.map(str::to_owned), selector, metadata_only: false }
    }

    fn path(&self) -> Result<String, NotAName> {
        self.namespace.as_ref().map_or_else(|| Ok(self.resource.everywhere()), |it| self.resource.of_namespace(it))
    }

    /// One page of the list: the first, or the one that `continue_token` names.
    pub(super) async fn page<T: Item>(
        &self,
        cluster: &Cluster,
        size: u32,
        continue_token: Option<String>,
    ) -> Result<Page<T>, Failure> {
        let parameters = ListParams {
            label_selector: self.selector.clone(),
            limit: Some(size),
            continue_token,
            ..ListParams::default()
        };
        let request = core::Request::new(self.path()?);
        let request = if self.metadata_only { request.list_metadata(&parameters) } else { request.list(&parameters) };
        let page = cluster.ask_and_read(made(request)?, "list", MAX_PAGE, T::read_page).await;
        page.map_err(|failure| self.resource.explained("list", self.namespace.as_deref(), failure))
    }

    /// Everything that happened after `version`, until the server ends it, which it does after `seconds`.
    pub(super) async fn watch(&self, cluster: &Cluster, version: &str, seconds: u32) -> Result<Lines, Failure> {
        let parameters = WatchParams {
            label_selector: self.selector.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = core::Request::new(self.path()?);
        let request = if self.metadata_only {
            request.watch_metadata(&parameters, version)
        } else {
            request.watch(&parameters, version)
        };
        let body = cluster.open(made(request)?).await;
        let body = body.map_err(|failure| self.resource.explained("watch", self.namespace.as_deref(), failure))?;
        Ok(Lines::new(body))
    }
}

fn made(request: Result<Request<Vec<u8>>, request::Error>) -> Result<Request<Vec<u8>>, Failure> {
    request.map_err(|error| Failure::new(Cause::NotAsked, format!("no request can be made: {error}")))
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    #[serde(default)]
    pub(super) metadata: PageMetadata,
    /// Some servers write `null` for an empty list.
    #[serde(default = "Option::default")]
    pub(super) items: Option<Vec<T>>,
}

impl<T> Page<T> {
    pub(super) fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page { metadata: self.metadata, items: self.items.map(|items| items.into_iter().map(item).collect()) }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMetadata {
    pub(super) resource_version: Option<String>,
    #[serde(rename = "continue")]
    pub(super) continue_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use kube::{Client, client::Body};
    use serde_json::Value;

    use super::*;

    #[test]
    fn paths_and_selectors_are_those_of_the_scope() {
        let selector = Selector::parse("a=b,!c").unwrap();
        let all = Collection::auth_configs(None, &selector);
        assert_eq!(all.path().unwrap(), "/apis/authorino.kuadrant.io/v1beta3/authconfigs");
        assert_eq!(all.selector.as_deref(), Some("a=b,!c"));
        let one = Collection::metadata_of_secrets(Some("shop"));
        assert_eq!((one.path().unwrap().as_str(), one.selector), ("/api/v1/namespaces/shop/secrets", None));
    }

    #[tokio::test]
    async fn an_odd_namespace_leads_nowhere() {
        let cluster = Cluster::from_kubeconfig(Vec::new());
        let collection = Collection::secrets(Some("../x"), &Selector::default());
        let failure = collection.page::<Value>(&cluster, 500, None).await.err().unwrap();
        assert_eq!((failure.cause, failure.text.as_str()), (Cause::NotAsked, "no object has the name `../x`"));
    }

    #[tokio::test]
    async fn too_large_a_page_is_told_as_such() {
        let client = Client::new(
            tower::service_fn(|_: Request<Body>| async {
                Ok::<_, Infallible>(Response::new(Body::from(vec![b' '; MAX_PAGE + 1])))
            }),
            "default",
        );
        let collection = Collection::secrets(None, &Selector::default());
        let failure = collection.page::<Value>(&Cluster::of_client(client), 500, None).await.err().unwrap();
        assert_eq!(failure.cause, Cause::TooLarge);
    }
}
