//! Host names in one spelling.

use std::{borrow::Cow, net::Ipv6Addr};

/// A host as it is compared: lower case, without a trailing dot, international names as A-labels (RFC 5890), IPv6
/// addresses in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// The name or address.
    pub name: Cow<'a, str>,
    /// The digits after the colon, if there are any.
    pub port: Option<&'a str>,
}

/// The context extension that names the host to look a configuration up by.
pub const CONTEXT_EXTENSION: &str = "host";

/// The longest name that a configuration may claim, in bytes: no name of the domain name system is longer (RFC 1035
/// §2.3.4). The lookup relies on it: clients may send names of any length.
pub const MAX_NAME: usize = 253;

impl<'a> Host<'a> {
    /// Reads what a client or a configuration wrote: `name`, `name:port`, `[address]`, `[address]:port`.
    ///
    /// Anything is accepted; what is no host is found nowhere.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        if is_plain(text) {
            return Self { name: Cow::Borrowed(text), port: None };
        }
        let (name, port) = split_port(text);
        let name = name.strip_suffix('.').unwrap_or(name);
        Self { name: canonical_name(name), port: port.filter(|port| !port.is_empty()) }
    }

    /// What may be claimed that covers this host, in the order in which it is looked up: the host with its port, the host
    /// without, then wildcards from the most specific to `*`, each with the port before without. A wildcard also covers the
    /// name that it hangs from: `*.acme.com` serves `acme.com`.
    #[inline]
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        let port = self.port.filter(|port| is_port(port));
        Candidates { name: Some(&self.name), port, is_wildcard: false, is_port_next: port.is_some() }
    }
}

/// What is left of [`Host::candidates`]. Checks run through it, so it is no chain of adapters, which cost them more.
struct Candidates<'h> {
    /// The name or the suffix whose turn it is.
    name: Option<&'h str>,
    port: Option<&'h str>,
    is_wildcard: bool,
    /// Whether the form with the port is yet to come.
    is_port_next: bool,
}

impl<'h> Iterator for Candidates<'h> {
    type Item = Candidate<'h>;

    #[inline]
    fn next(&mut self) -> Option<Candidate<'h>> {
        let mut name = self.name?;
        // Nobody claims more, and hashing every suffix of a long name would take time by the square of its length.
        while self.is_wildcard && name.len() > MAX_NAME {
            name = parent(name)?;
        }
        self.name = Some(name);
        let is_wildcard = self.is_wildcard;
        let key = match self.port {
            Some(port) if self.is_port_next => {
                self.is_port_next = false;
                Cow::Owned([name, ":", port].concat())
            }
            port => {
                self.is_port_next = port.is_some();
                if is_wildcard {
                    self.name = parent(name);
                }
                self.is_wildcard = true;
                Cow::Borrowed(name)
            }
        };
        Some(if is_wildcard { Candidate::Wildcard(key) } else { Candidate::Exact(key) })
    }
}

/// The name without its first label, down to the empty one.
#[inline]
fn parent(name: &str) -> Option<&str> {
    match name.split_once('.') {
        Some((_, parent)) => Some(parent),
        None => (!name.is_empty()).then_some(""),
    }
}

/// The same as a [`HostPattern`], made of a host that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate<'h> {
    /// [`HostPattern::Exact`].
    Exact(Cow<'h, str>),
    /// [`HostPattern::Wildcard`].
    Wildcard(Cow<'h, str>),
}

impl From<Candidate<'_>> for HostPattern {
    fn from(candidate: Candidate<'_>) -> Self {
        match candidate {
            Candidate::Exact(key) => Self::Exact(key.into_owned()),
            Candidate::Wildcard(key) => Self::Wildcard(key.into_owned()),
        }
    }
}

/// Whether a text is a name as it is compared, without a port: what nearly all clients send.
fn is_plain(text: &str) -> bool {
    let ends = text.ends_with('.');
    let differs = |byte: u8| matches!(byte, b':' | b'[' | b'A'..=b'Z' | 0x80..);
    !ends && !text.bytes().any(differs)
}

/// Whether a text is the number of a port. A client may send anything after the colon.
fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.parse::<u16>().is_ok()
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.find(']') {
            Some(end) => {
                let (address, rest) = text.split_at(end + 1);
                (address, rest.strip_prefix(':'))
            }
            None => (text, None),
        };
    }
    match text.split_once(':') {
        // An IPv6 address without brackets has no port.
        Some((_, rest)) if rest.contains(':') && text.parse::<Ipv6Addr>().is_ok() => (text, None),
        Some((name, rest)) => (name, Some(rest.split(':').next().unwrap_or(rest))),
        None => (text, None),
    }
}

fn canonical_name(name: &str) -> Cow<'_, str> {
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(parsed) => {
                let printed = format!("[{parsed}]");
                if printed == name { Cow::Borrowed(name) } else { Cow::Owned(printed) }
            }
            Err(_) => Cow::Owned(name.to_ascii_lowercase()),
        };
    }
    if !name.is_ascii() {
        return match idna::domain_to_ascii(name) {
            Ok(ascii) => Cow::Owned(ascii),
            Err(_) => Cow::Owned(name.to_lowercase()),
        };
    }
    if name.contains(':') {
        return match name.parse::<Ipv6Addr>() {
            Ok(parsed) => Cow::Owned(format!("[{parsed}]")),
            Err(_) => Cow::Owned(name.to_ascii_lowercase()),
        };
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// A host that a configuration claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host, on this port or on any: `api.acme.com`, `api.acme.com:8080`.
    Exact(String),
    /// Everything below a name, and the name itself: the text after `*.`, with its port if it has one. Empty for `*`.
    Wildcard(String),
}

impl HostPattern {
    /// Reads a host of a configuration.
    ///
    /// # Errors
    /// Says why the text can never match a request.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a host must not be empty".to_owned());
        }
        if text.chars().any(|character| {
            character.is_whitespace() || character.is_control() || matches!(character, '/' | '@' | '?' | '#')
        }) {
            return Err(format!("`{text}` is not a host: it must be a name or an address, with a port if needed"));
        }
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None if text == "*" => return Ok(Self::Wildcard(String::new())),
            None if text.starts_with("*:") => (true, text.get(1..).unwrap_or_default()),
            None => (false, text),
        };
        let host = Host::parse(rest);
        if let Some(port) = host.port
            && !is_port(port)
        {
            return Err(format!("`{port}` is not a port"));
        }
        if host.name.len() > MAX_NAME {
            return Err(format!("the host is longer than {MAX_NAME} bytes"));
        }
        let bare_port = wildcard && host.name.is_empty() && host.port.is_some();
        if !bare_port && !host.name.starts_with('[') && host.name.split('.').any(str::is_empty) {
            return Err(format!("`{text}` has an empty label"));
        }
        let key = match host.port {
            Some(port) => format!("{}:{port}", host.name),
            None => host.name.into_owned(),
        };
        Ok(if wildcard { Self::Wildcard(key) } else { Self::Exact(key) })
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => formatter.write_str(host),
            Self::Wildcard(rest) if rest.is_empty() => formatter.write_str("*"),
            Self::Wildcard(rest) if rest.starts_with(':') => write!(formatter, "*{rest}"),
            Self::Wildcard(rest) => write!(formatter, "*.{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        let cases = [
            ("api.acme.com", "api.acme.com", None),
            ("API.Acme.COM.", "api.acme.com", None),
            ("api.acme.com:8080", "api.acme.com", Some("8080")),
            ("api.acme.com.:8080", "api.acme.com", Some("8080")),
            ("api.acme.com:", "api.acme.com", None),
            ("api.acme.com:8080:1", "api.acme.com", Some("8080")),
            ("bücher.example", "xn--bcher-kva.example", None),
            ("[::1]:8080", "[::1]", Some("8080")),
            ("[0:0::1]", "[::1]", None),
            ("::1", "[::1]", None),
            ("[FE80::A]:1", "[fe80::a]", Some("1")),
            ("[::1", "[::1", None),
            ("", "", None),
            (":80", "", Some("80")),
        ];
        for (text, name, port) in cases {
            let host = Host::parse(text);
            assert_eq!((host.name.as_ref(), host.port), (name, port), "{text}");
        }
    }

    #[test]
    fn the_most_specific_candidate_comes_first() {
        let candidates = |host: &str| {
            Host::parse(host).candidates().map(|candidate| HostPattern::from(candidate).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(candidates("a.test"), ["a.test", "*.a.test", "*.test", "*"]);
        assert_eq!(
            candidates("A.test.:80"),
            ["a.test:80", "a.test", "*.a.test:80", "*.a.test", "*.test:80", "*.test", "*:80", "*"]
        );
        assert_eq!(candidates("a:http"), ["a", "*.a", "*"], "`http` is no port");
        assert_eq!(candidates(""), ["", "*"]);
        let long = candidates(&format!("{}test", "a.".repeat(130)));
        assert_eq!(
            long.get(1).map(String::len),
            Some("*.".len() + MAX_NAME - 1),
            "an odd number, as all suffixes have"
        );
        assert_eq!(long.len(), 1 + 125 + 1);
    }

    #[test]
    fn claims_that_match_nothing_are_refused() {
        for text in
            ["", "a..b", ".acme.com", "a b", "http://acme.com", "acme.com/x", "user@acme.com", "acme.com:http", "*."]
        {
            assert!(HostPattern::parse(text).is_err(), "{text:?}");
        }
        let cases = [
            ("*", "*"),
            ("*.Acme.com", "*.acme.com"),
            ("*.acme.com:8080", "*.acme.com:8080"),
            ("*:8080", "*:8080"),
            ("API.acme.com.", "api.acme.com"),
            ("api.*", "api.*"),
            ("[::1]:80", "[::1]:80"),
        ];
        for (text, printed) in cases {
            assert_eq!(HostPattern::parse(text).map(|pattern| pattern.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }
}
