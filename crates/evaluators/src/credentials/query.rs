//! Credentials in the query of the request target.

use std::borrow::Cow;

/// The value of the first parameter `name`, decoded as in HTML forms: percent-encoding, and `+` for a space. Nothing
/// where that value is empty. Pairs that cannot be decoded, or hold a semicolon, which some servers take for a
/// separator, do not count.
pub(super) fn find<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| parameter(pair, name)).filter(|value| !value.is_empty())
}

fn parameter<'a>(pair: &'a str, name: &str) -> Option<Cow<'a, str>> {
    if pair.contains(';') {
        return None;
    }
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if decode(key)? != name {
        return None;
    }
    decode(value)
}

/// Nothing when a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_the_name_counts() {
        let cases = [
            ("api_key", "api_key=k1", Some("k1")),
            ("api_key", "a=1&api_key=k1&b=2", Some("k1")),
            ("api_key", "a=1", None),
            ("api_key", "my_api_key=k1", None),
            ("token[0]", "token[0]=s", Some("s")),
            ("a+b", "a%2Bb=v", Some("v")),
            ("a b", "a+b=v", Some("v")),
            ("u", "u=https%3A%2F%2Fe.com%2Fcb", Some("https://e.com/cb")),
            ("t", "t=a+b", Some("a b")),
            ("t", "t=", None),
            ("t", "t", None),
            ("t", "t=%", None),
            ("t", "t=%Z", None),
            ("t", "t=%ZZ", None),
            ("t", "t=%+1", None),
            ("t", "t=1&t=2", Some("1")),
            ("t", "t=&t=2", None),
            ("t", "t=%&t=2", Some("2")),
            ("t", "t=1;x=2", None),
            ("T", "t=1", None),
            ("t", "t=a=b", Some("a=b")),
            ("t", "t=%ff", None),
            ("t", "t=%C3%A9", Some("é")),
            ("t", "", None),
            ("t", "&&=&t=1", Some("1")),
        ];
        for (name, query, expected) in cases {
            assert_eq!(find(query, name).as_deref(), expected, "{name} in {query:?}");
        }
    }

    #[test]
    fn what_needs_no_decoding_is_borrowed() {
        assert!(matches!(find("t=abc", "t"), Some(Cow::Borrowed("abc"))));
    }
}
