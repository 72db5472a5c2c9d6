//! The one way out: every request that Usher makes to somebody else's server goes through [`Client`].
//!
//! ```text
//!  Request ──► URL rules ──► address rules ──► exchange ──► Response, of bounded size
//!                            (literal, or       no redirects, no cookies, no proxy,
//!                             as resolved)      one time limit for all of it
//! ```
//!
//! URLs come from configurations that tenants write, and from documents that their servers send. So where a request
//! goes is checked when the connection is made, not when the URL is read: a name may resolve to something else by then.

mod address;
mod dial;
mod onward;
mod url_rules;

#[cfg(test)]
pub(crate) mod test_server;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use ::http::{
    HeaderMap, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use bytes::{Bytes, BytesMut};
use url::{Host, Url};

use address::{AddressRules, GuardedResolver, RefusedAddress};
pub use address::{Cidr, InvalidCidr};
pub(in crate::resources) use dial::Dialer;
pub use onward::{NestedTooDeep, Onward};
pub use url_rules::{UrlError, parse_url};

/// What may be set about outbound requests.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most bytes of a response body.
    pub max_body: usize,
    /// Networks that may be reached although the address rules refuse them.
    pub allow_upstream: Vec<Cidr>,
    /// Whether this machine itself may be reached.
    pub allow_loopback: bool,
}

impl Default for Options {
    /// 1 MiB, no exceptions.
    fn default() -> Self {
        Self { max_body: 1 << 20, allow_upstream: Vec::new(), allow_loopback: false }
    }
}

/// Makes requests to other servers. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    addresses: Arc<AddressRules>,
    max_body: usize,
}

/// A request to make.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL; see [`parse_url`] for what is accepted. User name and password become basic authentication.
    pub url: String,
    /// The headers. Those that say where a request ends or what becomes of the connection are not sent, but for a
    /// `Content-Length` of 0 without a body.
    pub headers: HeaderMap,
    /// The body; none is sent if it is empty.
    pub body: Bytes,
    /// The most time for all of it, from the look-up of the name to the last byte of the body. [`LONGEST_EXCHANGE`]
    /// if it is not given.
    pub timeout: Option<Duration>,
}

/// An answer, with any status.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Connections to one server that are kept for later: as many as callbacks of one namespace run at a time.
const MAX_IDLE: usize = 64;

/// How long an exchange may take that has no time limit of its own.
pub const LONGEST_EXCHANGE: Duration = Duration::from_secs(60);

/// The time limit of what a rule asks others, from the milliseconds in its specification: 5 seconds if it does not say,
/// none of its own with 0.
#[must_use]
pub fn time_limit(milliseconds: Option<u64>) -> Option<Duration> {
    match milliseconds {
        None => Some(Duration::from_secs(5)),
        Some(0) => None,
        Some(milliseconds) => Some(Duration::from_millis(milliseconds)),
    }
}

impl Client {
    /// A client with the trusted authorities of the machine.
    ///
    /// Without any (as in an empty container image) a warning is logged and `https` servers are not trusted.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may be faster, with the same provider.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let addresses = Arc::new(AddressRules::new(options.allow_upstream, options.allow_loopback));
        let http = match builder(&addresses).build() {
            Ok(http) => http,
            Err(error) => {
                tracing::warn!(error = %causes(&error), "trusted certificates cannot be loaded: https servers will be refused");
                builder(&addresses).tls_certs_only([]).build().map_err(|error| ClientError(causes(&error)))?
            }
        };
        Ok(Self { http, addresses, max_body: options.max_body })
    }

    /// What makes connections by the same rules about addresses, for other protocols.
    pub(in crate::resources) fn dialer(&self) -> Dialer {
        Dialer(Arc::clone(&self.addresses))
    }

    /// Makes a request and reads the whole answer.
    ///
    /// Redirects are answers like others; a status of any class is not an error.
    ///
    /// # Errors
    /// When the URL or the address is refused, or there is no complete answer within time and size.
    pub async fn fetch(&self, request: Request) -> Result<Response, FetchError> {
        let url = parse_url(&request.url).map_err(|error| FetchError::new(FetchErrorKind::Url, error.to_string()))?;
        let place = Place { method: request.method.clone(), url: shown(&url) };
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        if let Some(address) = literal {
            self.addresses.check(address).map_err(|refused| place.error(FetchErrorKind::Address, &refused))?;
        }
        let limit = request.timeout.unwrap_or(LONGEST_EXCHANGE);
        let headers = without_framing(request.headers, request.body.is_empty());
        let mut exchange = self.http.request(request.method, url).headers(headers);
        if !request.body.is_empty() {
            exchange = exchange.body(request.body);
        }
        match tokio::time::timeout(limit, self.exchange(exchange, &place)).await {
            Ok(result) => result,
            Err(_) => Err(place.error(FetchErrorKind::Timeout, &format_args!("no complete answer within {limit:?}"))),
        }
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, place: &Place) -> Result<Response, FetchError> {
        let mut answer = request.send().await.map_err(|error| place.failed(&error))?;
        let too_large =
            || place.error(FetchErrorKind::TooLarge, &format_args!("the body has more than {} bytes", self.max_body));
        let announced = usize::try_from(answer.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > self.max_body {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| place.failed(&error))? {
            if chunk.len() > self.max_body.saturating_sub(body.len()) {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: answer.status(), headers: std::mem::take(answer.headers_mut()), body: body.freeze() })
    }
}

/// Headers without those that frame a message or concern the connection (RFC 9112 §6, RFC 9110 §7.6.1). Connections are
/// shared by all who ask the same server: a request that announced more than is sent would make the next one its body.
fn without_framing(mut headers: HeaderMap, is_empty: bool) -> HeaderMap {
    for name in [TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE, EXPECT] {
        headers.remove(name);
    }
    if headers.get(CONTENT_LENGTH).is_some_and(|length| !is_empty || length != "0") {
        headers.remove(CONTENT_LENGTH);
    }
    headers
}

fn builder(addresses: &Arc<AddressRules>) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("usher/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .dns_resolver(GuardedResolver(Arc::clone(addresses)))
        .pool_max_idle_per_host(MAX_IDLE)
        .pool_idle_timeout(Duration::from_secs(30))
}

impl Request {
    /// A request for what is at a URL.
    #[must_use]
    pub fn get(url: impl Into<String>, timeout: Option<Duration>) -> Self {
        Self { method: Method::GET, url: url.into(), headers: HeaderMap::new(), body: Bytes::new(), timeout }
    }
}

impl Response {
    /// Whether the answer says to be JSON. Types with a name of their own, such as `application/problem+json`, do not.
    pub(crate) fn says_json(&self) -> bool {
        self.headers.get_all(CONTENT_TYPE).iter().any(|value| {
            const JSON: &[u8] = b"application/json";
            value.as_bytes().windows(JSON.len()).any(|part| part.eq_ignore_ascii_case(JSON))
        })
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("the http client cannot be set up: {0}")]
pub struct ClientError(String);

/// Why there is no answer. Displayed with details for logs, without the secrets that a URL may hold.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct FetchError {
    kind: FetchErrorKind,
    detail: String,
}

/// What kept an answer from coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// The URL is not one that may be asked for: the configuration's fault, or that of a value put into it.
    Url,
    /// The server's address is one that configurations may not reach.
    Address,
    /// The time was over.
    Timeout,
    /// No connection: unknown name, nobody there, or not who they should be.
    Connection,
    /// The answer is larger than allowed.
    TooLarge,
    /// The connection broke, or what came over it was not HTTP.
    Exchange,
}

impl FetchError {
    /// What kept the answer from coming.
    #[must_use]
    pub fn kind(&self) -> FetchErrorKind {
        self.kind
    }

    /// A stable short text that callers may see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.kind {
            FetchErrorKind::Url => "invalid URL",
            FetchErrorKind::Address => "address not allowed",
            FetchErrorKind::Timeout => "request timed out",
            FetchErrorKind::Connection => "connection failed",
            FetchErrorKind::TooLarge => "response too large",
            FetchErrorKind::Exchange => "request failed",
        }
    }

    fn new(kind: FetchErrorKind, detail: String) -> Self {
        Self { kind, detail }
    }
}

/// Where a request goes, as shown in errors.
struct Place {
    method: Method,
    url: String,
}

impl Place {
    fn error(&self, kind: FetchErrorKind, cause: &dyn fmt::Display) -> FetchError {
        FetchError::new(kind, format!("{} {}: {cause}", self.method, self.url))
    }

    fn failed(&self, error: &reqwest::Error) -> FetchError {
        let mut cause = error.source();
        while let Some(source) = cause {
            if let Some(refused) = source.downcast_ref::<RefusedAddress>() {
                return self.error(FetchErrorKind::Address, refused);
            }
            cause = source.source();
        }
        let kind = if error.is_timeout() {
            FetchErrorKind::Timeout
        } else if error.is_connect() {
            FetchErrorKind::Connection
        } else {
            FetchErrorKind::Exchange
        };
        self.error(kind, &causes(error))
    }
}

/// A URL as it may be logged: without user, password, query and fragment, all of which may be secrets.
#[must_use]
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// The causes of an error, outermost first. The outermost text of the HTTP library repeats the URL, so it counts only
/// when it is all there is.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(source) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&source.to_string());
        cause = source.source();
    }
    if text.is_empty() { if error.is_decode() { "unreadable answer".into() } else { "no answer".into() } } else { text }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("addresses", &self.addresses).field("max_body", &self.max_body).finish()
    }
}

/// Bodies and headers may be secret.
impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Response").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

#[cfg(test)]
mod tests;
