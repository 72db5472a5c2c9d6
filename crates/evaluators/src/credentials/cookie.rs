//! Credentials in the `Cookie` header.

/// The value of the first cookie `name`, neither unquoted nor decoded; it may be empty. Names are case-sensitive.
///
/// Cookies are parted by semicolons (RFC 6265 §4.2.1). Some gateways join repeated `Cookie` headers with a comma
/// instead. A comma is taken for such a seam where another cookie follows, since the RFC keeps commas out of values;
/// but a cookie that stands alone between semicolons is preferred to one that stands behind a comma. Otherwise text
/// that somebody put into another cookie could pose as this one.
pub(super) fn find<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let parts = || header.split(';').map(str::trim);
    parts().find_map(|part| value(part, name)).or_else(|| parts().find_map(|part| value_behind_comma(part, name)))
}

/// The header without the cookies `name`, wherever [`find`] could see one. Other cookies stay as they are: what stands
/// behind a comma in the value of one must not become a cookie of its own.
pub(super) fn without(header: &str, name: &str) -> String {
    // Characters that cannot be sent on (RFC 9110 §5.5) go first, or a name that begins with one would come to light.
    let header: String = header.chars().filter(|character| !matches!(character, '\r' | '\n' | '\0')).collect();
    let mut kept = Vec::new();
    for part in header.split(';').map(str::trim) {
        let mut pieces = Vec::new();
        let mut rest = part;
        while let Some((pair, next)) = seam(rest) {
            pieces.push(pair.trim_end_matches([' ', ',']));
            rest = next;
        }
        pieces.push(rest);
        let before = pieces.len();
        pieces.retain(|pair| value(pair, name).is_none());
        if pieces.len() == before {
            kept.push(part.to_owned());
        } else {
            kept.push(pieces.join(","));
        }
    }
    kept.retain(|part| !part.is_empty());
    kept.join("; ")
}

/// The value of the pair at the beginning of `text`, if it is `name`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.strip_prefix(name)?.strip_prefix('=')?;
    Some(match seam(value) {
        Some((value, _)) => value.trim_end_matches([' ', ',']),
        None => value,
    })
}

fn value_behind_comma<'a>(mut text: &'a str, name: &str) -> Option<&'a str> {
    while let Some((_, next)) = seam(text) {
        if let Some(value) = value(next, name) {
            return Some(value);
        }
        text = next;
    }
    None
}

/// Splits at the first comma, outside double quotes, that a name and an equals sign follow. Nothing is looked at more
/// than twice: the header may be as long as the gateway allows, and may be all commas.
fn seam(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                let (before, after) = text.split_at_checked(at)?;
                let next = after.strip_prefix(',')?.trim_start_matches(' ');
                let after_name = next.trim_start_matches(super::is_token_character);
                if after_name.len() < next.len() && after_name.starts_with('=') {
                    return Some((before, next));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{find, without};

    #[test]
    fn a_cookie_is_taken_out_from_among_others() {
        for (header, expected) in [
            ("a=1; k=v; b=2", "a=1; b=2"),
            ("k=v", ""),
            ("k=v; k=w;a=1", "a=1"),
            ("a=1,k=v", "a=1"),
            ("a=1, k=v, b=2; c=3", "a=1,b=2; c=3"),
            ("b=2,a=1; a=3; k=v", "b=2,a=1; a=3"),
            ("a=1,,k=v", "a=1"),
            ("b=2, a=1; k=v", "b=2, a=1"),
            ("k=v;\0k=w; a=1", "a=1"),
            ("kk=1; k =2; ak=3", "kk=1; k =2; ak=3"),
            ("a=\"x,k=v\"; k=w", "a=\"x,k=v\""),
            ("flag; k=v", "flag"),
            ("", ""),
        ] {
            assert_eq!(without(header, "k"), expected, "{header}");
            assert_eq!(find(&without(header, "k"), "k"), None, "{header}");
        }
    }

    #[test]
    fn cookies_are_parted_by_semicolons() {
        let cases = [
            ("API-KEY", "Expires=Tue, 01-Jan-2016 21:47:38 GMT; API-KEY=k1", Some("k1")),
            ("API-KEY", "API-KEY=SGk=; a=b", Some("SGk=")),
            ("API-KEY", "api-key=k1", None),
            ("API-KEY", "X-API-KEY=k1", None),
            ("k", "k=a; k=b", Some("a")),
            ("k", "k=\"a b\"", Some("\"a b\"")),
            ("k", "k=", Some("")),
            ("k", "k =a", None),
            ("k", "k", None),
            ("k", "k=a%20b", Some("a%20b")),
            ("sid", "a=1;sid=v=1==;b=2", Some("v=1==")),
            ("sid", "  sid=v  ;b=2", Some("v")),
            ("sid", "", None),
            ("sid", ";;;", None),
        ];
        for (name, header, expected) in cases {
            assert_eq!(find(header, name), expected, "{name} in {header:?}");
        }
    }

    #[test]
    fn headers_joined_with_a_comma_are_parted_again() {
        let cases = [
            ("a=1,sid=v", Some("v")),
            ("a=1, sid=v", Some("v")),
            ("sid=v,a=1", Some("v")),
            ("sid=v ,a=1; b=2", Some("v")),
            ("a=1,b=2,sid=v,c=3; d=4", Some("v")),
            ("a=1; b=2,sid=v; c=3", Some("v")),
            ("a=1,,sid=v", Some("v")),
            ("sid=v,w", Some("v,w")),
            ("sid=v,", Some("v,")),
            ("sid=first,sid=second", Some("first")),
        ];
        for (header, expected) in cases {
            assert_eq!(find(header, "sid"), expected, "{header:?}");
        }
    }

    #[test]
    fn text_inside_another_cookie_does_not_pose_as_this_one() {
        let cases = [
            ("theme=x,sid=forged; sid=real", Some("real")),
            ("theme=\"x,sid=forged\"", None),
            ("theme=\"x,sid=forged\",sid=real", Some("real")),
            ("theme=\"x,sid=unbalanced", None),
            ("sid=\"a,b=c\"", Some("\"a,b=c\"")),
        ];
        for (header, expected) in cases {
            assert_eq!(find(header, "sid"), expected, "{header:?}");
        }
    }
}
