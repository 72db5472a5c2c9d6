//! The header `x-forwarded-client-cert` of Envoy.
//!
//! ```text
//! By=spiffe://a/b;Hash=1f;Cert="-----BEGIN%20…";Subject="CN=a,O=\"b\"",By=…;Cert="…"
//! ╰──────────────────────────── element ─────────────────────────────╯ ╰─ element ─╯
//! ```
//!
//! A value is in quotes, in which a backslash takes the next character literally, or it has no quote at all. Anything
//! else is refused: with an opening quote somewhere, a client could make the elements that a proxy appends appear to be
//! parts of its own. So is an element with two certificates: proxies write one, and names of the client, such as its
//! `URI`, as they are, even with a semicolon and a second `Cert` in them.

use std::borrow::Cow;

use usher_api::XfccElement;

/// The certificate of one element, still percent-encoded: its field `Cert`, or, without that, `Chain`.
///
/// # Errors
/// What is wrong with the header.
pub(super) fn certificate(header: &str, wanted: XfccElement) -> Result<Cow<'_, str>, &'static str> {
    let element = element(header, Some(wanted))?;
    [element.cert, element.chain]
        .into_iter()
        .flatten()
        .find(|value| !value.text.is_empty())
        .map(Field::into_text)
        .ok_or("client certificate not found in XFCC header")
}

/// The name of the client in one element: its field `URI`. Without a wish there must be only one element.
///
/// # Errors
/// What is wrong with the header.
pub(super) fn uri(header: &str, wanted: Option<XfccElement>) -> Result<Cow<'_, str>, &'static str> {
    let element = element(header, wanted)?;
    if element.has_several_uris {
        return Err("several URIs found in XFCC header");
    }
    let uri = element.uri.filter(|uri| !uri.text.is_empty()).map(Field::into_text);
    uri.ok_or("no SPIFFE identity found in XFCC header")
}

fn element(header: &str, wanted: Option<XfccElement>) -> Result<Element<'_>, &'static str> {
    if header.is_empty() {
        return Err("XFCC header is empty");
    }
    let mut rest = header;
    let mut chosen = None;
    loop {
        let (element, after) = Element::read(rest)?;
        if !element.is_blank {
            match wanted {
                None if chosen.is_some() => return Err("several XFCC elements found"),
                None | Some(XfccElement::Last) => chosen = Some(element),
                Some(XfccElement::First) => _ = chosen.get_or_insert(element),
            }
        }
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    chosen.ok_or("no XFCC elements found")
}

const MALFORMED: &str = "malformed XFCC header";

/// What one proxy wrote about its client.
struct Element<'a> {
    /// Whether there is nothing but white space.
    is_blank: bool,
    cert: Option<Field<'a>>,
    chain: Option<Field<'a>>,
    uri: Option<Field<'a>>,
    /// Of a certificate with several names, each is a field of its own.
    has_several_uris: bool,
}

/// A value as it stands in the header, without its quotes.
struct Field<'a> {
    text: &'a str,
    is_quoted: bool,
}

impl<'a> Element<'a> {
    /// The first element of a header, and what follows its comma, if it has one.
    fn read(header: &'a str) -> Result<(Self, Option<&'a str>), &'static str> {
        let mut element = Element { is_blank: true, cert: None, chain: None, uri: None, has_several_uris: false };
        let mut rest = header;
        loop {
            let (name, mut after) = rest.split_at(rest.find(['=', ';', ',', '"']).unwrap_or(rest.len()));
            if after.starts_with('"') {
                return Err(MALFORMED);
            }
            element.is_blank &= name.trim().is_empty();
            if let Some(value) = after.strip_prefix('=') {
                element.is_blank = false;
                let field;
                (field, after) = Field::read(value)?;
                let earlier = match name.trim() {
                    name if name.eq_ignore_ascii_case("cert") => element.cert.replace(field),
                    name if name.eq_ignore_ascii_case("chain") => element.chain.replace(field),
                    name if name.eq_ignore_ascii_case("uri") => {
                        element.has_several_uris |= element.uri.replace(field).is_some();
                        None
                    }
                    _ => None,
                };
                if earlier.is_some() {
                    return Err(MALFORMED);
                }
            }
            let mut characters = after.chars();
            match characters.next() {
                Some(';') => {
                    element.is_blank = false;
                    rest = characters.as_str();
                }
                Some(_) => return Ok((element, Some(characters.as_str()))),
                None => return Ok((element, None)),
            }
        }
    }
}

impl<'a> Field<'a> {
    /// The value at the beginning, and what follows it: nothing, or something that begins with `;` or `,`.
    fn read(text: &'a str) -> Result<(Self, &'a str), &'static str> {
        let Some(quoted) = text.trim_start().strip_prefix('"') else {
            let (value, after) = text.split_at(text.find([';', ',', '"']).unwrap_or(text.len()));
            if after.starts_with('"') {
                return Err(MALFORMED);
            }
            return Ok((Self { text: value.trim(), is_quoted: false }, after));
        };
        let mut escaped = false;
        let end = quoted.find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let (value, after) = quoted.split_at(end.ok_or(MALFORMED)?);
        let after = after.strip_prefix('"').unwrap_or(after).trim_start();
        if !after.is_empty() && !after.starts_with([';', ',']) {
            return Err(MALFORMED);
        }
        Ok((Self { text: value, is_quoted: true }, after))
    }

    fn into_text(self) -> Cow<'a, str> {
        if !self.is_quoted || !self.text.contains('\\') {
            return Cow::Borrowed(self.text);
        }
        let mut text = String::with_capacity(self.text.len());
        let mut characters = self.text.chars();
        while let Some(character) = characters.next() {
            text.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
        Cow::Owned(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: Result<&str, &str> = Err("XFCC header is empty");
    const NO_ELEMENTS: Result<&str, &str> = Err("no XFCC elements found");
    const NO_CERTIFICATE: Result<&str, &str> = Err("client certificate not found in XFCC header");
    const WRONG: Result<&str, &str> = Err(MALFORMED);

    #[test]
    fn the_certificate_of_the_first_or_the_last_element() {
        let cases = [
            (r#"Hash=abc;Cert="c1";Subject="CN=a,O=b""#, Ok("c1"), Ok("c1")),
            (r#"hash=abc;CERT="c1""#, Ok("c1"), Ok("c1")),
            ("Cert=c1", Ok("c1"), Ok("c1")),
            (" Cert = c1 ; Hash = a", Ok("c1"), Ok("c1")),
            (r#"Cert = "c1" ;Hash=a"#, Ok("c1"), Ok("c1")),
            (r#"Hash=a;Chain="c1""#, Ok("c1"), Ok("c1")),
            (r#"Chain="c1";Cert="c2""#, Ok("c2"), Ok("c2")),
            (r#"Chain="c1";Cert="""#, Ok("c1"), Ok("c1")),
            (r#"Cert="c1";cert="c2""#, WRONG, WRONG),
            (r#"Hash=a;Cert="c1";URI=spiffe://x;Cert="c2""#, WRONG, WRONG),
            (r#"Chain="c1";URI=x;Chain=c2"#, WRONG, WRONG),
            (r#"Cert="c1",Cert="c2""#, Ok("c1"), Ok("c2")),
            (r#"Cert="c1", Cert="c2", Cert="c3""#, Ok("c1"), Ok("c3")),
            (r#"Hash=a,Cert="c2""#, NO_CERTIFICATE, Ok("c2")),
            (r#"Cert="c2",Hash=a"#, Ok("c2"), NO_CERTIFICATE),
            (r#"Cert="c2",;"#, Ok("c2"), NO_CERTIFICATE),
            (r#"Hash=a;Subject="CN=t""#, NO_CERTIFICATE, NO_CERTIFICATE),
            (r#"Cert="a;b,c=d""#, Ok("a;b,c=d"), Ok("a;b,c=d")),
            (r#"Cert=a=b"#, Ok("a=b"), Ok("a=b")),
            (r#"Cert="a\"b\\c\d""#, Ok(r#"a"b\cd"#), Ok(r#"a"b\cd"#)),
            (r#"Subject="O=\"x\",CN=y";Cert=c1"#, Ok("c1"), Ok("c1")),
            (r#"Subject="CN=y\\";Cert=c1"#, Ok("c1"), Ok("c1")),
            ("flag;Cert=c1;URI=", Ok("c1"), Ok("c1")),
            ("", EMPTY, EMPTY),
            (",,", NO_ELEMENTS, NO_ELEMENTS),
            (" , ", NO_ELEMENTS, NO_ELEMENTS),
            (r#",,Cert="c1",,"#, Ok("c1"), Ok("c1")),
            (r#"Cert="c1"#, WRONG, WRONG),
            (r#"Cert="c1\""#, WRONG, WRONG),
            (r#"Cert=c"1"#, WRONG, WRONG),
            (r#"Cert="c1"x"#, WRONG, WRONG),
            (r#"a"b=c;Cert=c1"#, WRONG, WRONG),
            (r#""Cert=c1""#, WRONG, WRONG),
        ];
        for (header, first, last) in cases {
            assert_eq!(certificate(header, XfccElement::First).as_deref().map_err(|error| *error), first, "{header}");
            assert_eq!(certificate(header, XfccElement::Last).as_deref().map_err(|error| *error), last, "{header}");
        }
    }

    /// A client that can set the beginning of the header tries to hide what the proxy appends.
    #[test]
    fn a_quote_at_the_beginning_swallows_nothing() {
        let appended = [
            r#"Hash=1f;Cert="mine""#,
            r#"By=x;Hash=1f;Cert="mine";Subject="CN=a\"b""#,
            r#"Hash=1f;Subject="CN=a\"b\"c";Cert="mine""#,
            r#"Hash=1f;Subject="";Cert="mine""#,
            r#"Hash=1f;Cert="mine";Subject="CN=\";x=\"";URI="#,
        ];
        let begun = ["Cert=yours;x=\"", "Cert=yours;x=\"\\", "\"", "Cert=\"", "Cert=yours;x=\"a\"b\""];
        for own in appended {
            assert_eq!(certificate(own, XfccElement::Last).as_deref(), Ok("mine"));
            assert_eq!(certificate(&format!("Cert=yours,{own}"), XfccElement::Last).as_deref(), Ok("mine"));
            for begin in begun {
                let header = format!("{begin},{own}");
                assert_eq!(certificate(&header, XfccElement::Last), Err(MALFORMED), "{header}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in r#"([a-zA-Z]{0,2}|[=;,"\\ é]|Cert=|Chain="){0,30}"#, last: bool) {
            let wanted = if last { XfccElement::Last } else { XfccElement::First };
            let _ = (certificate(&header, wanted), uri(&header, Some(wanted)), uri(&header, None));
        }

        #[test]
        fn a_quoted_value_is_read_back(value in ".{1,40}") {
            let header = format!("Cert=\"{}\";Hash=a", value.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(certificate(&header, XfccElement::First).unwrap(), value);
        }
    }
}
