//! A small HTTP client.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use usher_test_support::ApiServer;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const AUTHCONFIGS: &str = "/apis/authorino.kuadrant.io/v1beta3/namespaces/ns/authconfigs";
pub(crate) const SECRETS: &str = "/api/v1/namespaces/ns/secrets";
pub(crate) const DEFINITION: &str = include_str!("../../../../deploy/crds/authconfigs.yaml");
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) struct Ask<'a> {
    address: String,
    method: &'a str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A request to the server.
pub(crate) fn ask<'a>(server: &ApiServer, method: &'a str, path: impl Into<String>) -> Ask<'a> {
    ask_url(&server.url(), method, path)
}

pub(crate) fn ask_url<'a>(url: &str, method: &'a str, path: impl Into<String>) -> Ask<'a> {
    let address = url.trim_start_matches("http://").to_owned();
    Ask { address, method, path: path.into(), headers: Vec::new(), body: String::new() }
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self
    }

    /// A merge patch.
    pub(crate) fn merge(self, body: &Value) -> Self {
        self.header("content-type", "application/merge-patch+json").json(body)
    }

    pub(crate) async fn send(self) -> Result<http::Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(self.method).uri(self.path).header("host", "localhost");
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        Ok(sender.send_request(request.body(Full::new(Bytes::from(self.body)))?).await?)
    }

    pub(crate) async fn said(self) -> Said {
        let answer = tokio::time::timeout(DEADLINE, self.send()).await.expect("an answer in time").unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Said { code: parts.status.as_u16(), headers: parts.headers, body: serde_json::from_slice(&body).unwrap() }
    }

    /// The body of an answer that must have this status code.
    pub(crate) async fn expect(self, code: u16) -> Value {
        let said = self.said().await;
        assert_eq!(said.code, code, "{}", said.body);
        said.body
    }

    pub(crate) async fn watch(self) -> Lines {
        let answer = self.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Lines { body: answer.into_body(), rest: Vec::new(), lines: VecDeque::new() }
    }
}

/// The events of a watch.
pub(crate) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    lines: VecDeque<Value>,
}

impl Lines {
    /// The next event; none if the watch is over.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        while self.lines.is_empty() {
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("an event in time")?;
            let Ok(frame) = frame else { return None };
            self.rest.extend_from_slice(&frame.into_data().unwrap());
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                self.lines.push_back(serde_json::from_slice(&line).unwrap());
            }
        }
        self.lines.pop_front()
    }

    /// Type and name of the next event.
    pub(crate) async fn told(&mut self) -> String {
        let event = self.next().await.expect("an event");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap())
    }
}

/// A Secret in the namespace `ns`, with labels such as `a=b,c=d`.
pub(crate) fn secret(name: &str, labels: &str) -> Value {
    let labels: serde_json::Map<String, Value> = labels
        .split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    serde_json::json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "ns", "labels": labels}, "data": {"key": "dmFsdWU="},
    })
}

/// An AuthConfig in the namespace `ns`.
pub(crate) fn auth_config(name: &str, host: &str) -> Value {
    serde_json::json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3", "kind": "AuthConfig",
        "metadata": {"name": name, "namespace": "ns"}, "spec": {"hosts": [host]},
    })
}
