//! What the body of a denial is that is configured without a `content-type`: told from how it begins, as browsers do it
//! (WHATWG MIME Sniffing, section 7.1), as far as texts are concerned.

/// So much of a body is looked at.
const LOOKED_AT: usize = 512;

const HTML: &str = "text/html; charset=utf-8";
const XML: &str = "text/xml; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const BINARY: &str = "application/octet-stream";

/// Each makes a text HTML if a space or `>` follows.
const TAGS: [&str; 17] = [
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<body",
    "<br",
    "<p",
    "<!--",
];

/// The `content-type` of a body.
pub(super) fn of(body: &str) -> &'static str {
    let start = body.as_bytes().get(..LOOKED_AT).unwrap_or(body.as_bytes());
    let blank = start.iter().take_while(|byte| matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')).count();
    let start = start.get(blank..).unwrap_or_default();
    if TAGS.iter().any(|tag| begins_with_tag(start, tag.as_bytes())) {
        HTML
    } else if start.starts_with(b"<?xml") {
        XML
    } else if start.iter().any(|byte| is_binary(*byte)) {
        BINARY
    } else {
        TEXT
    }
}

fn begins_with_tag(text: &[u8], tag: &[u8]) -> bool {
    text.split_at_checked(tag.len())
        .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(tag) && matches!(rest.first(), Some(b' ' | b'>')))
}

/// A control character that no text has.
fn is_binary(byte: u8) -> bool {
    matches!(byte, 0..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_what_they_begin_with() {
        for tag in TAGS {
            for text in [format!("{tag}>"), format!("{tag} x"), format!("\t\n\x0c\r {}>", tag.to_uppercase())] {
                assert_eq!(of(&text), HTML, "{text:?}");
            }
            for text in [tag.to_owned(), format!("{tag}\n"), format!("{tag}é"), format!(".{tag}>")] {
                assert_eq!(of(&text), TEXT, "{text:?}");
            }
        }
        let far = |blank: usize| format!("{}<p>", " ".repeat(blank));
        let cases = [
            ("<p>no</p>", HTML),
            ("<pre>no</pre>", TEXT),
            ("<b", TEXT),
            ("\u{a0}<p>", TEXT),
            ("  <?xml version=\"1.0\"?>", XML),
            ("<?XML?>", TEXT),
            ("{\"a\": 1}", TEXT),
            ("", TEXT),
            ("é\t\r\n\x0c\x1b[0m\x7f", TEXT),
            ("no\0", BINARY),
            ("<p>\0", HTML),
            ("\x0b", BINARY),
            (&far(509), HTML),
            (&far(510), TEXT),
            (&format!("{}\0", "a".repeat(511)), BINARY),
            (&format!("{}\0", "a".repeat(512)), TEXT),
            (&"é".repeat(600), TEXT),
        ];
        for (body, expected) in cases {
            assert_eq!(of(body), expected, "{body:?}");
        }
    }
}
