//! Requests as a browser would send them through a gateway.

use usher_engine::{
    Request, RequestParts,
    request::{Address, Peer, Port, Time},
};

/// What differs between the requests of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) host: String,
    /// The header `authorization`, if there is one.
    pub(crate) authorization: Option<String>,
}

impl Question {
    /// A request for [`HOST`] that shows nothing of who sends it.
    pub(crate) fn anonymous() -> Self {
        Self { host: HOST.to_owned(), authorization: None }
    }

    /// A request for [`HOST`] with this header `authorization`.
    pub(crate) fn authorization(value: String) -> Self {
        Self { authorization: Some(value), ..Self::anonymous() }
    }
}

/// The host that most scenarios configure.
pub(crate) const HOST: &str = "api.bench.example.com";

/// The path of every request, without its query.
pub(crate) const URL_PATH: &str = "/v1/orders/42";

/// The address of every client.
pub(crate) const CLIENT: &str = "203.0.113.7";

/// What the engine is asked: a request with 14 headers.
pub(crate) fn canonical(question: &Question) -> Request {
    let path = format!("{URL_PATH}?expand=items&page=2");
    let (name, value) = match &question.authorization {
        Some(value) => ("authorization", value.as_str()),
        None => ("x-request-id", "3b0f1b52-8a4f-4c50-9f3c-6d6d3f1c2a77"),
    };
    let headers = [
        (":authority", question.host.as_str()),
        (":method", "GET"),
        (":path", path.as_str()),
        (":scheme", "https"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("cookie", "session=6f1c0b5e2d; theme=dark; locale=en-GB; consent=all"),
        ("referer", "https://bench.example.com/orders"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("x-envoy-attempt-count", "1"),
        ("x-forwarded-for", CLIENT),
        ("x-forwarded-proto", "https"),
        (name, value),
    ];
    Request::new(RequestParts {
        id: "3b0f1b52-8a4f-4c50-9f3c-6d6d3f1c2a77".to_owned(),
        time: Some(Time { seconds: 1_790_000_000, nanos: 123_456_000 }),
        protocol: "HTTP/1.1".to_owned(),
        scheme: "https".to_owned(),
        host: question.host.clone(),
        method: "GET".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        path,
        size: -1,
        source: peer(CLIENT, 51724),
        destination: peer("10.244.1.17", 8443),
        ..RequestParts::default()
    })
}

fn peer(address: &str, port: u32) -> Peer {
    let address = Address::Socket { protocol: 0, address: address.to_owned(), port: Port::Number(port) };
    Peer { address: Some(address), ..Peer::default() }
}
