//! Which URLs may be asked for.

use url::Url;

const MAX_LENGTH: usize = 2048;

/// Why a URL may not be asked for. The texts are those that users of Authorino know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than 2048 characters.
    #[error("invalid URL: exceeds maximum length of {MAX_LENGTH} characters")]
    TooLong,
    /// With a NUL.
    #[error("invalid URL: contains null byte")]
    NullByte,
    /// With another control character.
    #[error("invalid URL: contains control character")]
    ControlCharacter,
    /// Neither `http` nor `https`.
    #[error("invalid URL: unsupported scheme {0:?} (only http and https are allowed)")]
    UnsupportedScheme(String),
    /// No scheme.
    #[error("invalid URL: missing scheme (expected http or https)")]
    MissingScheme,
    /// Nothing between `//` and the path.
    #[error("invalid URL: missing host")]
    MissingHost,
    /// A host or port that cannot be.
    #[error("invalid URL: {0}")]
    Malformed(#[from] url::ParseError),
}

/// Reads an absolute URL of scheme `http` or `https`.
///
/// The URL standard repairs much (`http:/host`, `http:///host`, tabs and line breaks): what needs repair is refused,
/// since whoever looked at the text before may have read another host in it.
///
/// # Errors
/// See [`UrlError`].
pub fn parse_url(text: &str) -> Result<Url, UrlError> {
    if text.len() > MAX_LENGTH {
        return Err(UrlError::TooLong);
    }
    if text.contains('\0') {
        return Err(UrlError::NullByte);
    }
    if text.contains(|character: char| character.is_ascii_control()) {
        return Err(UrlError::ControlCharacter);
    }
    let (scheme, rest) = split_scheme(text).ok_or(UrlError::MissingScheme)?;
    if !["http", "https"].iter().any(|supported| scheme.eq_ignore_ascii_case(supported)) {
        return Err(UrlError::UnsupportedScheme(scheme.to_owned()));
    }
    let after_slashes = rest.strip_prefix("//").ok_or(UrlError::MissingHost)?;
    let authority = after_slashes.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') {
        return Err(UrlError::MissingHost);
    }
    Ok(Url::parse(text)?)
}

/// The scheme as RFC 3986 §3.1 writes it, and what follows its colon.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut characters = scheme.chars();
    let well_formed = characters.next()?.is_ascii_alphabetic()
        && characters.all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character));
    well_formed.then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_refused_with_known_texts() {
        let long = format!("http://h/{}", "a".repeat(2040));
        let cases = [
            (long.as_str(), "invalid URL: exceeds maximum length of 2048 characters"),
            ("http://h/\0", "invalid URL: contains null byte"),
            ("http://h/\u{1}", "invalid URL: contains control character"),
            ("http://h\n/", "invalid URL: contains control character"),
            ("http://h/?a=\u{7f}", "invalid URL: contains control character"),
            ("ftp://x", "invalid URL: unsupported scheme \"ftp\" (only http and https are allowed)"),
            ("file:///etc/passwd", "invalid URL: unsupported scheme \"file\" (only http and https are allowed)"),
            ("example.com/x", "invalid URL: missing scheme (expected http or https)"),
            ("//example.com/x", "invalid URL: missing scheme (expected http or https)"),
            (" http://h", "invalid URL: missing scheme (expected http or https)"),
            ("", "invalid URL: missing scheme (expected http or https)"),
            ("http:///x", "invalid URL: missing host"),
            ("http:/h/x", "invalid URL: missing host"),
            ("http:h", "invalid URL: missing host"),
            ("http:\\\\h", "invalid URL: missing host"),
            ("http://", "invalid URL: missing host"),
            ("http://user@/x", "invalid URL: missing host"),
            ("http://:80/x", "invalid URL: missing host"),
            ("http://h:99999/", "invalid URL: invalid port number"),
        ];
        for (text, message) in cases {
            assert_eq!(parse_url(text).unwrap_err().to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn ordinary_urls_are_accepted() {
        let exactly = format!("http://h/{}", "a".repeat(2039));
        for text in [
            "http://h",
            "HTTPS://Host.test:8443/a/b?c=d#e",
            "http://user:password@h/",
            "http://[::1]:80/",
            "http://10.0.0.1/",
            &exactly,
        ] {
            assert!(parse_url(text).is_ok(), "{text}");
        }
    }
}
