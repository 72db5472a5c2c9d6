//! Where a collector is.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use url::Url;

/// A collector of spans.
///
/// | written | meaning |
/// | --- | --- |
/// | `rpc://HOST:PORT` | OTLP over gRPC; port 4317 if none is given |
/// | `http://HOST:PORT` | OTLP over HTTP, at `/v1/traces` |
/// | `http://HOST:PORT/PATH` | OTLP over HTTP, at this path |
///
/// With `USER:PASSWORD@` before the host, requests carry `Authorization: Basic …`, with `:TOKEN@` `Authorization: Bearer
/// TOKEN`. All parts may be percent-encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) protocol: Protocol,
    /// `host:port` or `host`.
    authority: String,
    /// With its slash; empty for gRPC.
    path: String,
    authorization: Option<HeaderValue>,
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// Why a text names no collector. The text is not repeated: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme than `rpc` and `http`, or no URL at all.
    #[error("unsupported protocol")]
    Protocol,
    /// There is nobody to talk to.
    #[error("the endpoint has no host")]
    Host,
    /// User and password cannot be sent.
    #[error("the user or the password has characters that cannot be sent")]
    Credential,
}

const DEFAULT_GRPC_PORT: u16 = 4317;
const DEFAULT_PATH: &str = "/v1/traces";

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(|_| EndpointError::Protocol)?;
        let (protocol, default_port) = match url.scheme() {
            "rpc" => (Protocol::Grpc, Some(DEFAULT_GRPC_PORT)),
            "http" => (Protocol::Http, None),
            _ => return Err(EndpointError::Protocol),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EndpointError::Host)?;
        let authority = match url.port().or(default_port) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = match (protocol, url.path()) {
            (Protocol::Grpc, _) => "",
            (Protocol::Http, "" | "/") => DEFAULT_PATH,
            (Protocol::Http, path) => path,
        };
        Ok(Self { protocol, authority, path: path.to_owned(), authorization: authorization(&url)? })
    }

    /// The URL that spans are sent to.
    pub(crate) fn url(&self, insecure: bool) -> String {
        let scheme = if insecure { "http" } else { "https" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// The value of the header `Authorization`.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

fn authorization(url: &Url) -> Result<Option<HeaderValue>, EndpointError> {
    let decoded = |text: &str| percent_decoded(text).ok_or(EndpointError::Credential);
    let user = decoded(url.username())?;
    let value = match url.password().map(decoded).transpose()? {
        None if user.is_empty() => return Ok(None),
        Some(password) if user.is_empty() && password.is_empty() => return Ok(None),
        Some(token) if user.is_empty() => format!("Bearer {token}"),
        password => format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.unwrap_or_default()))),
    };
    let mut value = HeaderValue::try_from(value).map_err(|_| EndpointError::Credential)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The text behind `%XX`; nothing if it is not UTF-8. What is no escape stays.
fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) if digit(high).is_some() && digit(low).is_some() => {
                decoded.push(digit(high)? << 4 | digit(low)?);
                rest = behind;
            }
            _ => {
                decoded.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// As it may be logged: without user and password.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Grpc => "rpc",
            Protocol::Http => "http",
        };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_hosts_and_paths() {
        let cases = [
            ("rpc://collector:4317", "https://collector:4317", "http://collector:4317"),
            ("rpc://collector", "https://collector:4317", "http://collector:4317"),
            ("rpc://collector:80/path", "https://collector:80", "http://collector:80"),
            ("rpc://[::1]:9", "https://[::1]:9", "http://[::1]:9"),
            ("http://c.svc:4318", "https://c.svc:4318/v1/traces", "http://c.svc:4318/v1/traces"),
            ("http://c.svc:4318/", "https://c.svc:4318/v1/traces", "http://c.svc:4318/v1/traces"),
            ("http://c.svc:4318/a/b", "https://c.svc:4318/a/b", "http://c.svc:4318/a/b"),
            ("http://c.svc", "https://c.svc/v1/traces", "http://c.svc/v1/traces"),
            ("http://c.svc:80/x?q=1#f", "https://c.svc/x", "http://c.svc/x"),
        ];
        for (text, secure, insecure) in cases {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.url(false).as_str(), endpoint.url(true).as_str()), (secure, insecure), "{text}");
            assert_eq!(endpoint.protocol == Protocol::Grpc, text.starts_with("rpc"), "{text}");
            assert_eq!(endpoint.authorization(), None);
        }
        for text in ["https://c:4318", "grpc://c:4317", "c:4317", "collector", "", "http://", "//c:1", "http://c:x"] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Protocol), "{text}");
        }
        for text in ["rpc://", "rpc:///path", "rpc:collector:4317"] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Host), "{text}");
        }
        assert_eq!(EndpointError::Protocol.to_string(), "unsupported protocol");
    }

    #[test]
    fn user_information_becomes_a_header() {
        let cases = [
            ("rpc://u:p@c:1", Some("Basic dTpw")),
            ("http://u:p@c:1/x", Some("Basic dTpw")),
            ("http://:hush@c:1", Some("Bearer hush")),
            ("rpc://:a%2Fb@c:1", Some("Bearer a/b")),
            ("rpc://u%40x:p%3a@c:1", Some("Basic dUB4OnA6")),
            ("rpc://u@c:1", Some("Basic dTo=")),
            ("rpc://:@c:1", None),
            ("rpc://@c:1", None),
        ];
        for (text, expected) in cases {
            let endpoint = Endpoint::parse(text).unwrap();
            let found = endpoint.authorization().map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{text}");
            assert!(endpoint.authorization().is_none_or(HeaderValue::is_sensitive), "{text}");
            assert!(!format!("{endpoint:?} {endpoint}").contains('@'), "{endpoint:?}");
        }
        assert_eq!(Endpoint::parse("rpc://:a%0Ab@c:1"), Err(EndpointError::Credential));
        assert_eq!(Endpoint::parse("rpc://%ff:b@c:1"), Err(EndpointError::Credential));
    }

    #[test]
    fn escapes() {
        for (text, expected) in [("", ""), ("%", "%"), ("%4", "%4"), ("%41%zz%", "A%zz%"), ("é%C3%A9", "éé")] {
            assert_eq!(percent_decoded(text).as_deref(), Some(expected), "{text}");
        }
    }
}
