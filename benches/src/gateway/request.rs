//! The requests that clients send, for which a gateway asks the checks of a scenario.

use std::fmt::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;
use usher_proto::envoy::service::auth::v3::CheckRequest;

/// Requests that are sent in turn, the first again after the last.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    /// As they go over the connection.
    texts: Vec<Bytes>,
    next: usize,
}

impl Requests {
    /// Those that these checks (gRPC frames) are about, with a prefix for their paths.
    ///
    /// # Errors
    /// If there are none, or one of them is not about a request.
    pub(super) fn of<'a>(checks: impl IntoIterator<Item = &'a Bytes>, prefix: &str) -> anyhow::Result<Self> {
        let texts = checks.into_iter().map(|check| request(check, prefix)).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!texts.is_empty(), "there are no requests");
        Ok(Self { texts, next: 0 })
    }

    /// The next one.
    pub(super) fn in_turn(&mut self) -> Bytes {
        let text = self.texts.get(self.next).cloned().unwrap_or_default();
        self.next = (self.next + 1).checked_rem(self.texts.len()).unwrap_or_default();
        text
    }
}

/// The request of a check, as HTTP/1.1.
fn request(check: &Bytes, prefix: &str) -> anyhow::Result<Bytes> {
    // Behind the five bytes that stand before each message of gRPC.
    let message = check.get(5..).context("a check is no gRPC message")?;
    let attributes = CheckRequest::decode(message)?.attributes;
    let http = attributes.and_then(|attributes| attributes.request?.http).context("a check is about no request")?;
    let mut text = format!("{} {prefix}{} HTTP/1.1\r\nhost: {}\r\n", http.method, http.path, http.host);
    for (name, value) in http.headers.iter().filter(|(name, _)| !name.starts_with(':')) {
        write!(text, "{name}: {value}\r\n")?;
    }
    text.push_str("\r\n");
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Credential, HOST, PATH, framed};

    #[test]
    fn requests_say_what_the_checks_are_about() {
        let checks = ["APIKEY a", "APIKEY b"].map(|key| framed(Credential::Authorization(key)));
        let mut requests = Requests::of(&checks, "/exempt").unwrap();
        for key in ["a", "b", "a"] {
            let text = String::from_utf8(requests.in_turn().to_vec()).unwrap();
            let start = format!("GET /exempt{PATH} HTTP/1.1\r\nhost: {HOST}\r\naccept: ");
            assert!(text.starts_with(&start) && text.ends_with("\r\n\r\n"), "{text}");
            assert!(text.contains(&format!("\r\nauthorization: APIKEY {key}\r\n")), "{text}");
            assert!(!text.contains(":authority") && text.matches("\r\n\r\n").count() == 1, "{text}");
        }
        assert!(Requests::of(&[], "").is_err());
        for broken in [&b""[..], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 2, 255, 255]] {
            assert!(Requests::of(&[Bytes::from_static(broken)], "").is_err(), "{broken:?}");
        }
    }
}
