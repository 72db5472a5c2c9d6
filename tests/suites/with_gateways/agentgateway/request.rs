//! A request on its way through the gateway.

use std::{net::SocketAddr, time::SystemTime};

use http::{HeaderMap, Method};
use serde_json::Value;

/// A request as policies see and change it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// `http` or `https`, by the connection.
    pub(super) scheme: &'static str,
    /// The host, with a port if the client gave one. It is taken out of the headers.
    pub(super) authority: String,
    pub(super) path: String,
    /// What stands after `?`.
    pub(super) query: Option<String>,
    pub(super) version: &'static str,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The client's end of the connection.
    pub(super) peer: SocketAddr,
    /// The gateway's end of it.
    pub(super) local: SocketAddr,
    pub(super) connected_at: SystemTime,
    /// The SPIFFE ID of the client's certificate, if it showed one that was verified. Empty: none. Up to 1.4.1 the gateway tells
    /// only those that name a namespace and an account.
    pub(super) principal: String,
    /// Of a token that an earlier policy verified.
    pub(super) claims: Option<Value>,
    /// What the last check that said something brought: the variable `extauthz`.
    pub(super) metadata: Option<Value>,
}

impl Request {
    /// The path with the query.
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Takes a target apart.
    pub(super) fn set_target(&mut self, target: &str) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        self.path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        self.query = query;
    }

    /// One of `www.example.com` without headers.
    pub(super) fn example(method: &str, target: &str) -> Self {
        let mut request = Self {
            method: method.parse().unwrap(),
            scheme: "http",
            authority: "www.example.com".to_owned(),
            path: String::new(),
            query: None,
            version: "HTTP/1.1",
            headers: HeaderMap::new(),
            body: Vec::new(),
            peer: ([192, 0, 2, 1], 40_000).into(),
            local: ([192, 0, 2, 2], 80).into(),
            connected_at: SystemTime::now(),
            principal: String::new(),
            claims: None,
            metadata: None,
        };
        request.set_target(target);
        request
    }
}
