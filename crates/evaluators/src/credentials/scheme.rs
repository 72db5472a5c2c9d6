//! Credentials in the `Authorization` header.

/// What follows `scheme` in the value of an `Authorization` header: the scheme in any case, one or more spaces, then
/// the credential up to the end (RFC 9110 §11.4). It may be empty.
///
/// Gateways join repeated headers with a comma. Which of them the service behind us would take cannot be known, so a
/// value that holds a second set of credentials holds none.
pub(super) fn find<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (first, rest) = value.split_at_checked(scheme.len())?;
    let credential = rest.trim_start_matches(' ');
    let found = first.eq_ignore_ascii_case(scheme) && credential.len() < rest.len() && !is_repeated(credential);
    found.then_some(credential)
}

/// Whether a comma is followed by what looks like the scheme of other credentials. Parameters of one and the same
/// credentials (`a="b", c="d"`) have an equals sign instead of the space.
fn is_repeated(credential: &str) -> bool {
    // Without a way out of the loop it is compiled to vector instructions, and tokens are long.
    let has_comma = credential.bytes().fold(false, |found, byte| found | (byte == b','));
    if !has_comma {
        return false;
    }
    credential.split(',').skip(1).any(|part| {
        let part = part.trim_start_matches([' ', '\t']);
        let after_token = part.trim_start_matches(super::is_token_character);
        after_token.len() < part.len() && after_token.starts_with(' ')
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_scheme_is_compared_without_case_and_parted_by_spaces() {
        let cases = [
            ("Bearer", "Bearer abc", Some("abc")),
            ("Bearer", "bearer abc", Some("abc")),
            ("Bearer", "BEARER abc", Some("abc")),
            ("Bearer", "Bearer  abc", Some("abc")),
            ("Bearer", "Bearer abc ", Some("abc ")),
            ("Bearer", "Bearer ", Some("")),
            ("Bearer", "Bearer", None),
            ("Bearer", "", None),
            ("Bearer", "Bearerabc", None),
            ("Bearer", "Bearer\tabc", None),
            ("Bearer", " Bearer abc", None),
            ("APIKEY", "APIKEY k1", Some("k1")),
            ("APIKEY", "ApiKey k1", Some("k1")),
            ("APIKEY", "Bearer k1", None),
            ("Token v1", "Token v1 abc", Some("abc")),
            ("Token v1", "Token v2 abc", None),
            ("Bearer", "Béarer abc", None),
            ("Bearé", "Bearer abc", None),
        ];
        for (scheme, value, expected) in cases {
            assert_eq!(find(value, scheme), expected, "{value:?} for {scheme}");
        }
    }

    #[test]
    fn repeated_headers_are_not_guessed_about() {
        let cases = [
            ("Bearer a,Bearer b", None),
            ("Bearer a, Bearer b", None),
            ("Bearer a,\tbearer b", None),
            ("Bearer a,Basic dXNlcg==", None),
            ("Bearer a,,Basic x", None),
            ("Basic x,Bearer a", None),
            ("Basic x, Bearer a", None),
            (",Bearer a", None),
            ("Bearer a,b", Some("a,b")),
            ("Bearer a, b", Some("a, b")),
            ("Bearer a=\"1\", b=\"2 3\"", Some("a=\"1\", b=\"2 3\"")),
        ];
        for (value, expected) in cases {
            assert_eq!(find(value, "Bearer"), expected, "{value:?}");
        }
    }
}
