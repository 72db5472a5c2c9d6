//! What is asked of the Kubernetes API: pages of a list, a watch line by line, one Secret.
//!
//! The client's own ways to read answers are not used: they write what they cannot read to the log, Secrets too, and
//! take answers of any size.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header::ACCEPT_ENCODING};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::{
    Client,
    api::{GetParams, ListParams, WatchParams},
    client::Body,
    core::Request,
};
use serde::{Deserialize, de::DeserializeOwned};
use usher_api::{API_VERSION, SecretName, Selector};

use crate::{NoClient, cluster::chain, reviews::trouble};

/// The largest page of a list, in bytes. Of more, smaller pages are asked for.
const MAX_PAGE: usize = 32 << 20;

/// The largest line of a watch and the largest single object, in bytes. Kubernetes itself takes about 3 MiB.
const MAX_OBJECT: usize = 8 << 20;

/// A kind of object, and which of them.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    /// What permissions call it.
    pub(super) resource: &'static str,
    path: String,
    namespace: Option<String>,
    selector: Option<String>,
    metadata_only: bool,
}

const AUTH_CONFIGS: &str = "authconfigs.authorino.kuadrant.io";
const SECRETS: &str = "secrets";

impl Collection {
    /// AuthConfigs with these labels, of a namespace or of all.
    pub(super) fn auth_configs(namespace: Option<&str>, selector: &Selector) -> Self {
        Self::new(AUTH_CONFIGS, &format!("/apis/{API_VERSION}"), "authconfigs", namespace, selector)
    }

    /// Secrets with these labels, of a namespace or of all.
    pub(super) fn secrets(namespace: Option<&str>, selector: &Selector) -> Self {
        Self::new(SECRETS, "/api/v1", "secrets", namespace, selector)
    }

    /// The metadata of all Secrets, of a namespace or of all.
    pub(super) fn metadata_of_secrets(namespace: Option<&str>) -> Self {
        Self { metadata_only: true, ..Self::secrets(namespace, &Selector::default()) }
    }

    fn new(resource: &'static str, api: &str, plural: &str, namespace: Option<&str>, selector: &Selector) -> Self {
        let path = match namespace {
            Some(namespace) => format!("{api}/namespaces/{namespace}/{plural}"),
            None => format!("{api}/{plural}"),
        };
        let selector = Some(selector.to_string()).filter(|selector| !selector.is_empty());
        Self { resource, path, namespace: namespace.map(str::to_owned), selector, metadata_only: false }
    }

    /// One page of the list: the first, or the one that `continue_token` names.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        client: &Client,
        size: u32,
        continue_token: Option<String>,
    ) -> Result<Page<T>, Failure> {
        let parameters = ListParams {
            label_selector: self.selector.clone(),
            limit: Some(size),
            continue_token,
            ..ListParams::default()
        };
        let request = Request::new(&self.path);
        let request = if self.metadata_only { request.list_metadata(&parameters) } else { request.list(&parameters) };
        let answer = self.send(client, "list", request).await?;
        let bytes = read(answer, MAX_PAGE).await?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable("list", &error))
    }

    /// Everything that happened after `version`, until the server ends it, which it does after `seconds`.
    pub(super) async fn watch(&self, client: &Client, version: &str, seconds: u32) -> Result<Lines, Failure> {
        let parameters = WatchParams {
            label_selector: self.selector.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(&self.path);
        let request = if self.metadata_only {
            request.watch_metadata(&parameters, version)
        } else {
            request.watch(&parameters, version)
        };
        let answer = self.send(client, "watch", request).await?;
        Ok(Lines { body: answer, buffer: BytesMut::new(), searched: 0 })
    }

    async fn send(
        &self,
        client: &Client,
        verb: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Body, Failure> {
        let scope = match &self.namespace {
            Some(namespace) => format!("namespace `{namespace}`"),
            None => "all namespaces".to_owned(),
        };
        send(client, request, |status, text| refusal(status, text, verb, self.resource, &scope)).await
    }
}

/// One Secret. None: there is none of that name.
pub(super) async fn secret(client: &Client, name: &SecretName) -> Result<Option<serde_json::Value>, Failure> {
    let path = format!("/api/v1/namespaces/{}/secrets", name.namespace);
    let request = Request::new(path).get(&name.name, &GetParams::default());
    let scope = format!("namespace `{}`", name.namespace);
    let answer = send(client, request, |status, text| refusal(status, text, "get", SECRETS, &scope)).await;
    match answer {
        Ok(body) => {
            let bytes = read(body, MAX_OBJECT).await?;
            serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable("Secret", &error))
        }
        Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether an object of the API can have this name: other texts must not become part of a path.
pub(super) fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 253 && text.bytes().all(known) && edge(text.as_bytes().first()) && edge(text.as_bytes().last())
}

async fn send(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    refusal: impl FnOnce(StatusCode, &str) -> String,
) -> Result<Body, Failure> {
    let mut request = request.map_err(|error| Failure { cause: Cause::NoAnswer, text: chain(&error) })?;
    // Servers may compress watches in a way that cannot be read event by event.
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let answer = client.send(request.map(Body::from)).await;
    let answer = answer.map_err(|error| Failure { cause: Cause::NoAnswer, text: chain(&error) })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer.into_body());
    }
    let body = read(answer.into_body(), MAX_OBJECT).await.unwrap_or_default();
    Err(Failure { cause: Cause::Refused(status), text: refusal(status, &trouble(status, &body)) })
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Failure { cause: Cause::TooLarge, text: format!("the answer has more than {limit} bytes") })
        }
        Err(error) => Err(Failure { cause: Cause::NoAnswer, text: chain(&*error) }),
    }
}

/// The text of a parse error could quote a Secret.
fn unreadable(what: &str, error: &serde_json::Error) -> Failure {
    let text = format!("the answer is not a {what} (line {}, column {})", error.line(), error.column());
    Failure { cause: Cause::Unreadable, text }
}

fn refusal(status: StatusCode, text: &str, verb: &str, resource: &str, scope: &str) -> String {
    match status {
        StatusCode::FORBIDDEN => format!("the permission to {verb} `{resource}` in {scope} is missing: {text}"),
        StatusCode::UNAUTHORIZED => format!("the credentials are not accepted: {text}"),
        StatusCode::NOT_FOUND if resource == AUTH_CONFIGS => {
            format!("`{resource}` is not installed: apply `deploy/crds` ({text})")
        }
        _ => text.to_owned(),
    }
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

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMetadata {
    pub(super) resource_version: Option<String>,
    #[serde(rename = "continue")]
    pub(super) continue_token: Option<String>,
}

/// A watch, line by line.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// So much of the buffer has no end of line.
    searched: usize,
}

impl Lines {
    /// The next line. None: the watch has ended, or nothing came for as long as `silence`.
    pub(super) async fn next(&mut self, silence: Duration) -> Option<Bytes> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                return Some(line);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_OBJECT {
                return None;
            }
            // A half line at the end is lost; the watch that follows tells the event again.
            let frame = tokio::time::timeout(silence, self.body.frame()).await.ok()??.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

/// One line of a watch.
#[derive(Deserialize)]
pub(super) struct Line<T> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: T,
}

/// Why there is no answer that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// In words for whoever runs the server.
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server cannot be reached, or it takes too long.
    NoAnswer,
    /// The server refuses.
    Refused(StatusCode),
    /// The answer is larger than what is read.
    TooLarge,
    /// The answer is not what was asked for.
    Unreadable,
}

impl Failure {
    pub(super) fn timed_out(limit: Duration) -> Self {
        Self { cause: Cause::NoAnswer, text: format!("no answer within {limit:?}") }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match self.cause {
            Cause::Refused(status) => Some(status),
            _ => None,
        }
    }
}

impl From<NoClient> for Failure {
    fn from(error: NoClient) -> Self {
        Self { cause: Cause::NoAnswer, text: error.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_become_part_of_a_path() {
        for name in ["a", "my-secret.v1", "0"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(254);
        for other in ["", ".", "..", "a/b", "../a", "a%2fb", "A", "a?b", "-a", "a.", "ä", "a b", &long] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn paths_and_selectors_are_those_of_the_scope() {
        let selector = Selector::parse("a=b,!c").unwrap();
        let all = Collection::auth_configs(None, &selector);
        assert_eq!(all.path, "/apis/authorino.kuadrant.io/v1beta3/authconfigs");
        assert_eq!(all.selector.as_deref(), Some("a=b,!c"));
        let one = Collection::metadata_of_secrets(Some("shop"));
        assert_eq!((one.path.as_str(), one.selector.as_deref()), ("/api/v1/namespaces/shop/secrets", None));
    }

    #[test]
    fn refusals_say_what_is_to_be_done() {
        let cases = [
            (403, SECRETS, "the permission to watch `secrets` in all namespaces is missing: why"),
            (401, SECRETS, "the credentials are not accepted: why"),
            (404, AUTH_CONFIGS, "`authconfigs.authorino.kuadrant.io` is not installed: apply `deploy/crds` (why)"),
            (500, AUTH_CONFIGS, "why"),
        ];
        for (status, resource, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refusal(status, "why", "watch", resource, "all namespaces"), expected);
        }
    }

    #[tokio::test]
    async fn lines_are_put_together_and_half_ones_are_not_told() {
        let text = "{\"a\":1}\n\n{\"b\":";
        let mut lines = Lines { body: Body::from(text.as_bytes().to_vec()), buffer: BytesMut::new(), searched: 0 };
        let second = Duration::from_secs(1);
        assert_eq!(lines.next(second).await.as_deref(), Some(&b"{\"a\":1}\n"[..]));
        assert_eq!(lines.next(second).await.as_deref(), Some(&b"\n"[..]));
        assert_eq!(lines.next(second).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_falls_silent_ends() {
        use futures_util::{StreamExt as _, stream};
        use http_body_util::StreamBody;
        use hyper::body::Frame;

        let client = Client::new(
            tower::service_fn(|_: http::Request<Body>| async {
                let line = Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"{}\n")));
                let lines = stream::iter([line]).chain(stream::pending());
                Ok::<_, std::io::Error>(http::Response::new(StreamBody::new(lines)))
            }),
            "default",
        );
        let collection = Collection::secrets(None, &Selector::default());
        let mut lines = collection.watch(&client, "1", 60).await.unwrap();
        assert_eq!(lines.next(Duration::from_secs(70)).await.as_deref(), Some(&b"{}\n"[..]));
        assert_eq!(lines.next(Duration::from_secs(70)).await, None);
    }

    #[tokio::test]
    async fn too_large_a_page_is_told_as_such() {
        let client = Client::new(
            tower::service_fn(|_: http::Request<Body>| async {
                let page = vec![b' '; MAX_PAGE + 1];
                Ok::<_, std::io::Error>(http::Response::new(Body::from(page)))
            }),
            "default",
        );
        let collection = Collection::secrets(None, &Selector::default());
        let failure = collection.page::<serde_json::Value>(&client, 500, None).await.err().unwrap();
        assert_eq!(failure.cause, Cause::TooLarge);
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        let error = serde_json::from_str::<Page<serde_json::Value>>(r#"{"items": "hunter2"}"#).err().unwrap();
        let failure = unreadable("list", &error);
        assert!(!failure.text.contains("hunter2"), "{failure}");
    }
}
