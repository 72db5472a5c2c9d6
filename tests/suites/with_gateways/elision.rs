//! Texts of which a part is left out.

/// Whether a text is what is shown of it: `…` stands for anything, also for nothing and for several lines.
pub(super) fn fits(text: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn parts_are_left_out() {
    for (text, shown, expected) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("", "", true),
        ("", "…", true),
        ("abc", "a…", true),
        ("abc", "…c", true),
        ("abcd", "a…c", false),
        ("a1b2c", "a…b…c", true),
        ("a1c2b", "a…b…c", false),
        ("ab", "ab…b", false),
        ("a\nb\nc\n", "a\n…\n", true),
    ] {
        assert_eq!(fits(text, shown), expected, "{text} {shown}");
    }
}
