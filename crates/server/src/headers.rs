//! What may be a header of an answer, and text from bytes.

/// Whether a configuration may set this header: a lower-case token (RFC 9110 §5.1) that does not steer the transport. Pseudo
/// headers are not tokens.
pub(crate) fn may_be_set(name: &str) -> bool {
    const RESERVED: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];
    !name.is_empty() && name.bytes().all(is_lower_case_token) && !RESERVED.contains(&name)
}

/// A value without control characters, which would end the header, split the answer or be refused (RFC 9110 §5.5). Tabs stay.
pub(crate) fn clean(value: String) -> String {
    let forbidden = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    if !value.bytes().any(forbidden) {
        return value;
    }
    value.chars().filter(|&character| !character.is_ascii_control() || character == '\t').collect()
}

/// Text of bytes as Envoy makes it: every byte that is not UTF-8 becomes `!`.
pub(crate) fn text(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

fn is_lower_case_token(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["x", "x-auth-data", "www-authenticate", "x_y.z~1"] {
            assert!(may_be_set(name), "{name}");
        }
        for name in [
            "",
            ":path",
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "X-Up",
            "a b",
            "a:b",
            "a\r\nb",
            "é",
        ] {
            assert!(!may_be_set(name), "{name:?}");
        }
    }

    #[test]
    fn values() {
        assert_eq!(clean("plain é\tvalue".to_owned()), "plain é\tvalue");
        assert_eq!(clean("a\r\nset-cookie: b\0\u{7f}".to_owned()), "aset-cookie: b");
    }

    #[test]
    fn bytes_become_text() {
        for (bytes, expected) in [
            (&b"abc"[..], "abc"),
            (b"", ""),
            (b"a\xffb", "a!b"),
            (b"\xe2\x82", "!!"),
            ("a€b".as_bytes(), "a€b"),
            (b"\xc3\xa9\xc3", "é!"),
        ] {
            assert_eq!(text(bytes), expected, "{bytes:?}");
        }
    }
}
