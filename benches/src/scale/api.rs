//! A plain client of the API server: it writes objects, and reads lists without looking at them.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One connection at a time.
pub(super) struct Api {
    address: SocketAddr,
    connection: SendRequest<Full<Bytes>>,
    /// Reads and writes; ends with this.
    _driver: JoinSet<()>,
}

/// What a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The objects.
    Full,
    /// Their metadata.
    Metadata,
}

impl Api {
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        let mut drivers = JoinSet::new();
        // Its errors come to whoever asks, too.
        drivers.spawn(async move { drop(driver.await) });
        Ok(Self { address, connection, _driver: drivers })
    }

    /// Merges an object into the one that is there.
    pub(super) async fn patch(&mut self, path: &str, object: &Value) -> anyhow::Result<()> {
        self.send(Method::PATCH, path, object.to_string()).await.map(drop)
    }

    pub(super) async fn create(&mut self, collection: &str, object: &Value) -> anyhow::Result<()> {
        self.send(Method::POST, collection, object.to_string()).await.map(drop)
    }

    pub(super) async fn delete(&mut self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, String::new()).await.map(drop)
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.send(Method::GET, path, String::new()).await?)?)
    }

    /// Whether this is answered with success.
    pub(super) async fn is_well(&mut self, path: &str) -> anyhow::Result<bool> {
        Ok(self.ask(Method::GET, path, View::Full, String::new()).await?.0.is_success())
    }

    /// Reads all pages of a list, and says how many bytes they have.
    pub(super) async fn list(&mut self, path: &str, view: View) -> anyhow::Result<usize> {
        let (mut bytes, mut token) = (0, String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            // As many as the server asks for.
            let page = format!("{path}{separator}limit=500{token}");
            let (status, answer) = self.ask(Method::GET, &page, view, String::new()).await?;
            if !status.is_success() {
                bail!("`{page}` was answered with HTTP {status}");
            }
            bytes += answer.len();
            match continue_token(&answer) {
                Some(next) => token = format!("&continue={next}"),
                None => return Ok(bytes),
            }
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: String) -> anyhow::Result<Bytes> {
        let (status, answer) = self.ask(method.clone(), path, View::Full, body).await?;
        if !status.is_success() {
            bail!("{method} `{path}` was answered with HTTP {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        view: View,
        body: String,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let accept = match view {
            View::Full => "application/json",
            View::Metadata => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        };
        let content = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, content)
            .header(header::AUTHORIZATION, "Bearer test")
            .body(Full::new(Bytes::from(body)))?;
        // Connections that rest for long are closed.
        if self.connection.ready().await.is_err() {
            *self = Self::connect(self.address).await?;
            self.connection.ready().await.context("the API server closes connections")?;
        }
        let answer = self.connection.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Where a list goes on, without reading all of it: the metadata of the list stand at its beginning or its end.
fn continue_token(page: &[u8]) -> Option<String> {
    const NEAR: usize = 2000;
    const NAME: &str = "\"continue\":\"";
    let start = page.get(..NEAR).unwrap_or(page);
    let end = page.get(page.len().saturating_sub(NEAR)..).unwrap_or_default();
    [start, end].into_iter().find_map(|part| {
        let text = String::from_utf8_lossy(part);
        let (_, rest) = text.split_once(NAME)?;
        let (token, _) = rest.split_once('"')?;
        (!token.is_empty()).then(|| token.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_tell_where_the_list_goes_on() {
        let filler = "x".repeat(5000);
        for (page, expected) in [
            (String::new(), None),
            (format!(r#"{{"metadata":{{"continue":"abc"}},"items":["{filler}"]}}"#), Some("abc")),
            (format!(r#"{{"items":["{filler}"],"metadata":{{"resourceVersion":"5","continue":"d"}}}}"#), Some("d")),
            (format!(r#"{{"items":["{filler}"],"metadata":{{"continue":""}}}}"#), None),
            (format!(r#"{{"items":["{filler}\"continue\":\"no\"{filler}"]}}"#), None),
        ] {
            assert_eq!(continue_token(page.as_bytes()).as_deref(), expected, "{} bytes", page.len());
        }
    }
}
