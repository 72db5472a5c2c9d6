//! The check: what is asked, and what becomes of the answer.
//!
//! ```text
//!  request ──► key ──► an answer that was kept? ──► attributes ──► Usher ──► answer ──► keep it ──► change the request, or deny
//!                                 └────────────────────────────────────────────────────────────────────────┘
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode, uri::PathAndQuery};
use serde_json::{Value, json};
use tonic::{client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;
use usher_proto::value::{struct_from_json, struct_to_json};

use super::{
    cache::Cache,
    expression::Expression,
    mutation,
    protocol::{
        Address, Allowed, AttributeContext, CHECK, CheckRequest, CheckResponse, HttpAttributes, HttpRequest,
        HttpResponse, Metadata, Peer, SocketAddress,
    },
    request::Request,
};

/// Of several ways to check, the first one whose condition holds. None: the request is not checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Checks(pub(super) Vec<(Option<Arc<Expression>>, Arc<ExtAuthz>)>);

/// One way to check.
#[derive(Debug)]
pub(super) struct ExtAuthz {
    /// A loopback port. None: what the configuration names does not exist.
    pub(super) target: Option<u16>,
    /// None: waits without end.
    pub(super) timeout: Option<Duration>,
    pub(super) context: HashMap<String, String>,
    /// None: claims of a verified token, if there are any.
    pub(super) metadata: Option<BTreeMap<String, Expression>>,
    pub(super) failure_mode: FailureMode,
    /// Empty: all.
    pub(super) include_request_headers: Vec<String>,
    pub(super) body: Option<BodyOptions>,
    pub(super) cache: Option<Cache<Answer>>,
    /// How often the service was asked.
    pub(super) calls: AtomicU64,
}

/// What happens when there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureMode {
    Allow,
    Deny,
    DenyWithStatus(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodyOptions {
    pub(super) max_request_bytes: usize,
    pub(super) allow_partial_message: bool,
    pub(super) pack_as_bytes: bool,
}

/// What comes of a check.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The request goes on, changed; these headers take their place in the response.
    Pass(HeaderMap),
    /// The client gets this.
    Stop(Stop),
}

/// An answer in place of that of the upstream.
#[derive(Debug, PartialEq)]
pub(super) struct Stop {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// An answer that can be given more than once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    verdict: Verdict,
    /// The variable `extauthz`, if it says something.
    metadata: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Allow(Allowed),
    Deny { status: StatusCode, headers: HeaderMap, body: Vec<u8> },
    DenyWithoutResponse,
}

impl Checks {
    /// Asks about a request, if it has to be asked about.
    pub(super) async fn run(&self, request: &mut Request) -> Outcome {
        let holds = |condition: &Option<Arc<Expression>>| condition.as_ref().is_none_or(|it| it.holds(request));
        match self.0.iter().find(|(condition, _)| holds(condition)) {
            Some((_, check)) => check.clone().run(request).await,
            None => Outcome::Pass(HeaderMap::new()),
        }
    }
}

impl ExtAuthz {
    /// One that fails closed and says nothing of its own.
    pub(super) fn of(port: u16) -> Self {
        Self {
            target: Some(port),
            timeout: Some(Duration::from_secs(10)),
            context: HashMap::new(),
            metadata: None,
            failure_mode: FailureMode::Deny,
            include_request_headers: Vec::new(),
            body: None,
            cache: None,
            calls: AtomicU64::new(0),
        }
    }

    async fn run(&self, request: &mut Request) -> Outcome {
        let key = self.cache.as_ref().and_then(|cache| cache.key(request));
        if let (Some(cache), Some(key)) = (&self.cache, &key)
            && let Some(answer) = cache.find(key)
        {
            return answer.apply(request);
        }
        let attributes = match self.attributes(request) {
            Ok(attributes) => attributes,
            Err(stop) => return Outcome::Stop(*stop),
        };
        let Some(response) = self.call(CheckRequest { attributes: Some(attributes) }).await else {
            return self.failed();
        };
        let answer = Answer::of(response);
        let outcome = answer.clone().apply(request);
        if let (Some(cache), Some(key)) = (&self.cache, key) {
            cache.insert(key, request, answer);
        }
        outcome
    }

    /// What is told about a request.
    ///
    /// # Errors
    /// The body is longer than it may be.
    fn attributes(&self, request: &Request) -> Result<AttributeContext, Box<Stop>> {
        let mut http = HttpRequest {
            id: traceparent(),
            method: request.method.to_string(),
            headers: self.headers(request),
            path: request.target(),
            host: request.authority.clone(),
            scheme: request.scheme.to_owned(),
            protocol: request.version.to_owned(),
            ..HttpRequest::default()
        };
        if let Some(options) = self.body {
            let passed_on = &request.body[..request.body.len().min(options.max_request_bytes)];
            let is_cut = passed_on.len() < request.body.len();
            if is_cut && !options.allow_partial_message {
                return Err(Box::new(Stop::external_authorization_failed(StatusCode::PAYLOAD_TOO_LARGE)));
            }
            http.size = if is_cut { -1 } else { i64::try_from(passed_on.len()).unwrap() };
            if options.pack_as_bytes {
                http.raw_body = passed_on.to_vec();
            } else {
                http.body = String::from_utf8_lossy(passed_on).into_owned();
            }
        }
        Ok(AttributeContext {
            source: Some(peer(request.peer, &request.principal)),
            destination: Some(peer(request.local, "")),
            request: Some(HttpAttributes { time: Some(request.connected_at.into()), http: Some(http) }),
            context_extensions: self.context.clone(),
            metadata_context: Some(self.metadata(request)),
        })
    }

    /// Pseudo-headers and headers, each as one text.
    fn headers(&self, request: &Request) -> HashMap<String, String> {
        let pseudo = [
            (":method", request.method.to_string()),
            (":scheme", request.scheme.to_owned()),
            (":authority", request.authority.clone()),
            (":path", request.target()),
        ];
        let mut headers: HashMap<_, _> = pseudo.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for name in request.headers.keys() {
            let values = request.headers.get_all(name).iter();
            let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            headers.insert(name.to_string(), values.join(if name == "cookie" { "; " } else { ", " }));
        }
        if !self.include_request_headers.is_empty() {
            headers.retain(|name, _| self.include_request_headers.contains(name));
        }
        headers
    }

    fn metadata(&self, request: &Request) -> Metadata {
        let object = |value: Value| match value {
            Value::Object(members) => struct_from_json(members).ok(),
            _ => None,
        };
        let filter_metadata = match (&self.metadata, &request.claims) {
            (Some(expressions), _) => expressions
                .iter()
                // What cannot be evaluated is left out, without a word.
                .filter_map(|(name, expression)| Some((name.clone(), object(expression.json(request)?)?)))
                .collect(),
            (None, Some(claims)) => {
                let claims = object(json!({"jwt_payload": claims})).unwrap();
                HashMap::from([("envoy.filters.http.jwt_authn".to_owned(), claims)])
            }
            (None, None) => HashMap::new(),
        };
        Metadata { filter_metadata }
    }

    /// None: no answer, for whatever reason.
    async fn call(&self, request: CheckRequest) -> Option<CheckResponse> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.target?)).unwrap();
        let ask = async {
            let mut client = Grpc::new(endpoint.connect().await.ok()?);
            client.ready().await.ok()?;
            let codec = ProstCodec::<CheckRequest, CheckResponse>::default();
            let answer = client.unary(tonic::Request::new(request), PathAndQuery::from_static(CHECK), codec).await;
            answer.ok().map(tonic::Response::into_inner)
        };
        match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, ask).await.ok().flatten(),
            None => ask.await,
        }
    }

    fn failed(&self) -> Outcome {
        match self.failure_mode {
            FailureMode::Allow => Outcome::Pass(HeaderMap::new()),
            FailureMode::Deny => Outcome::Stop(Stop::external_authorization_failed(StatusCode::FORBIDDEN)),
            FailureMode::DenyWithStatus(status) => Outcome::Stop(Stop {
                status: StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN),
                headers: HeaderMap::new(),
                body: b"Authorization service unavailable".to_vec(),
            }),
        }
    }
}

impl Answer {
    /// The status decides, and nothing else.
    pub(super) fn of(response: CheckResponse) -> Self {
        let metadata = response.dynamic_metadata.map(struct_to_json).filter(|members| !members.is_empty());
        let is_ok = response.status.is_none_or(|status| status.code == 0);
        let verdict = match (is_ok, response.http_response) {
            (true, Some(HttpResponse::Ok(allowed))) => Verdict::Allow(allowed),
            (true, Some(HttpResponse::Denied(_)) | None) => Verdict::Allow(Allowed::default()),
            (false, Some(HttpResponse::Denied(denied))) => {
                let status = denied.status.and_then(|status| u16::try_from(status.code).ok());
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                let (status, headers) = mutation::denial(status.unwrap_or(StatusCode::FORBIDDEN), &denied.headers);
                Verdict::Deny { status, headers, body: denied.body.into_bytes() }
            }
            (false, Some(HttpResponse::Ok(_)) | None) => Verdict::DenyWithoutResponse,
        };
        Self { verdict, metadata: metadata.map(Value::Object) }
    }

    /// Changes the request, or stops it. Metadata of an earlier check of the same request stays, where this one brings none.
    pub(super) fn apply(self, request: &mut Request) -> Outcome {
        if self.metadata.is_some() {
            request.metadata = self.metadata;
        }
        match self.verdict {
            Verdict::Allow(allowed) => {
                mutation::change_request(request, &allowed);
                Outcome::Pass(mutation::response_headers(&allowed.response_headers_to_add))
            }
            Verdict::Deny { status, headers, body } => Outcome::Stop(Stop { status, headers, body }),
            Verdict::DenyWithoutResponse => Outcome::Stop(Stop::external_authorization_failed(StatusCode::FORBIDDEN)),
        }
    }
}

impl Stop {
    /// The gateway's own words.
    fn external_authorization_failed(status: StatusCode) -> Self {
        Self::text(status, "external authorization failed")
    }

    /// A text of the gateway.
    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, "text/plain".parse().unwrap())]);
        Self { status, headers, body: text.as_bytes().to_vec() }
    }
}

fn peer(address: SocketAddr, principal: &str) -> Peer {
    let address = SocketAddress { address: address.ip().to_string(), port_value: address.port().into() };
    Peer { address: Some(Address { socket_address: Some(address) }), principal: principal.to_owned() }
}

/// A trace of its own for each check.
fn traceparent() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("00-{number:032x}-{number:016x}-01")
}

#[cfg(test)]
mod tests;
