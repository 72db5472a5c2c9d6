//! Where the certificate of a request stands, and how it is written there.

use std::borrow::Cow;

use base64::{DecodeError, Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::Value;
use usher_api::{X509Source, X509Spec, XfccElement};
use usher_engine::{Context, Failure};
use usher_expr::Expression;

use super::super::xfcc;
use crate::{
    FieldPath, Problems,
    resources::authorities::{certificate::Certificate, pem},
};

/// Where the certificate stands.
#[derive(Debug)]
pub(super) enum Source {
    Connection,
    Xfcc { header: Header, element: XfccElement },
    ClientCert(Header),
    Expression(Expression),
}

/// A header, by the name that the user gave it and by its name in requests.
#[derive(Debug)]
pub(super) struct Header {
    configured: Box<str>,
    name: Box<str>,
}

/// More certificates at once are refused, and longer texts.
const MOST_CERTIFICATES: usize = 10;
const MAX_TEXT: usize = 64 * 1024;

pub(super) fn invalid() -> Failure {
    Failure::denied("invalid client certificate")
}

impl Source {
    /// Reads `x509.source` of a rule.
    pub(super) fn build(spec: &X509Spec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        let source = problems.take(at, spec.certificate_source())?;
        let element = spec.source.as_ref().and_then(|source| source.xfcc_element);
        if element.is_some() && !matches!(source, Some(X509Source::XfccHeader(_))) {
            problems.warn(&at.field("xfccElement"), "it says something only together with `xfccHeader`");
        }
        Some(match source {
            None => Self::Connection,
            Some(X509Source::XfccHeader(name)) => {
                Self::Xfcc { header: Header::new(name), element: element.unwrap_or_default() }
            }
            Some(X509Source::ClientCertHeader(name)) => Self::ClientCert(Header::new(name)),
            Some(X509Source::Expression(text)) => {
                Self::Expression(problems.take(&at.field("expression"), Expression::cel(text))?)
            }
            Some(X509Source::JsonPath(text)) => {
                Self::Expression(problems.take(&at.field("jsonPath"), Expression::json_path(text))?)
            }
        })
    }

    /// The certificate of a request as it is written there.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn text<'a>(&self, context: &'a Context<'_>) -> Result<Cow<'a, str>, Failure> {
        let text = match self {
            Self::Connection => match context.request().parts().source.certificate.as_str() {
                "" => return Err(Failure::denied("client certificate is missing")),
                text => Cow::Borrowed(text),
            },
            Self::Xfcc { header, element } => {
                let value = header
                    .value(context)
                    .map_err(|missing| Failure::denied(format!("failed to extract XFCC header: {missing}")))?;
                xfcc::certificate(value, *element)
                    .map_err(|error| Failure::denied(format!("failed to extract certificate from XFCC: {error}")))?
            }
            Self::ClientCert(header) => {
                let value = header.value(context).map_err(Failure::denied)?;
                Cow::Borrowed(between_colons(value).map_err(client_cert_failure)?)
            }
            Self::Expression(expression) => {
                let value = expression.resolve(context).map_err(|error| {
                    Failure::denied(format!("failed to obtain the client certificate: {}", error.message))
                })?;
                match value {
                    Value::String(text) if !text.is_empty() => Cow::Owned(text),
                    _ => return Err(invalid()),
                }
            }
        };
        if text.len() > MAX_TEXT { Err(invalid()) } else { Ok(text) }
    }

    /// Tells texts apart that mean different things depending on where they stand.
    pub(super) fn form(&self) -> u8 {
        u8::from(matches!(self, Self::ClientCert(_)))
    }

    /// The certificate that a text of [`text`](Self::text) stands for, and the others that come with it.
    ///
    /// # Errors
    /// When it cannot be decoded, or is no certificate.
    pub(super) fn certificates(&self, text: &str) -> Result<(Certificate, Vec<Certificate>), Failure> {
        let pem = match self {
            Self::ClientCert(_) => {
                let der = BASE64_STANDARD.decode(text).map_err(|error| client_cert_failure(base64_problem(&error)))?;
                let certificate = Certificate::parse(Bytes::from(der)).map_err(|_| invalid())?;
                return Ok((certificate, Vec::new()));
            }
            Self::Xfcc { .. } => percent_decode(text).map_err(|escape| {
                Failure::denied(format!(
                    "failed to extract certificate from XFCC: failed to URL-decode certificate from XFCC header: \
                     invalid URL escape {escape:?}"
                ))
            })?,
            Self::Connection | Self::Expression(_) => percent_decode(text).map_err(|_| invalid())?,
        };
        let mut certificates = pem::certificates(&pem, MOST_CERTIFICATES).map_err(|_| invalid())?.into_iter();
        let leaf = certificates.next().ok_or_else(invalid)?;
        Ok((leaf, certificates.collect()))
    }
}

impl Header {
    fn new(configured: &str) -> Self {
        Self { configured: configured.into(), name: configured.to_ascii_lowercase().into() }
    }

    fn value<'a>(&self, context: &'a Context<'_>) -> Result<&'a str, String> {
        let value = context.request().header(&self.name);
        value.ok_or_else(|| format!("header {} not found in request", self.configured))
    }
}

fn client_cert_failure(problem: impl std::fmt::Display) -> Failure {
    Failure::denied(format!("failed to extract certificate from Client-Cert header: {problem}"))
}

/// The base64 of a `Client-Cert` (RFC 9440 section 2.2), which is a byte sequence of RFC 8941 section 3.3.5.
fn between_colons(value: &str) -> Result<&str, &'static str> {
    const MISSING: &str =
        "invalid Client-Cert header format: missing colon delimiters (expected format: :base64_cert:)";
    let inner = match value.trim() {
        ":" => "",
        value => value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or(MISSING)?,
    };
    match inner.trim() {
        "" => Err("empty certificate in Client-Cert header"),
        inner => Ok(inner),
    }
}

fn base64_problem(error: &DecodeError) -> String {
    let problem = "failed to base64 decode certificate: illegal base64 data";
    match error {
        DecodeError::InvalidByte(offset, _) | DecodeError::InvalidLastSymbol { offset, .. } => {
            format!("{problem} at input byte {offset}")
        }
        _ => problem.to_owned(),
    }
}

/// Decodes `%XX`. A `+` is a `+`, which base64 is full of, so that PEM may also stand there as it is; only where the
/// encoder wrote the space of `BEGIN CERTIFICATE` as `+`, as HTML forms do, every `+` was a space. The base64 itself has
/// no spaces, so neither reading can turn one certificate into another.
///
/// # Errors
/// The escape that is none.
fn percent_decode(text: &str) -> Result<Cow<'_, [u8]>, &str> {
    let is_form = text.contains("BEGIN+");
    if !is_form && !text.contains('%') {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let begin = text.len() - bytes.as_slice().len() - 1;
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    let escape = text.get(begin..).unwrap_or_default();
                    let end = escape.char_indices().nth(3).map_or(escape.len(), |(end, _)| end);
                    return Err(escape.get(..end).unwrap_or_default());
                };
                decoded.extend(u8::try_from(high * 16 + low));
            }
            b'+' if is_form => decoded.push(b' '),
            byte => decoded.push(*byte),
        }
    }
    Ok(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_base64_stands_between_colons() {
        const MISSING: &str =
            "invalid Client-Cert header format: missing colon delimiters (expected format: :base64_cert:)";
        const EMPTY: &str = "empty certificate in Client-Cert header";
        let cases = [
            (":YQ==:", Ok("YQ==")),
            ("  :YQ==:\t", Ok("YQ==")),
            (": YQ== :", Ok("YQ==")),
            ("YQ==:", Err(MISSING)),
            (":YQ==", Err(MISSING)),
            ("YQ==", Err(MISSING)),
            ("", Err(MISSING)),
            (":YQ==:;param=1", Err(MISSING)),
            ("::", Err(EMPTY)),
            (":", Err(EMPTY)),
            (":  :", Err(EMPTY)),
            (":YQ==:, :YQ==:", Ok("YQ==:, :YQ==")),
        ];
        for (value, expected) in cases {
            assert_eq!(between_colons(value), expected, "{value}");
        }
    }

    #[test]
    fn escapes_are_decoded() {
        let cases: [(&str, Result<&str, &str>); 10] = [
            ("a%20b%2Bc", Ok("a b+c")),
            ("a+b", Ok("a+b")),
            ("a+b%0a", Ok("a+b\n")),
            (
                "-----BEGIN+CERTIFICATE-----%0Aa%2Bb%0A-----END+CERTIFICATE-----",
                Ok("-----BEGIN CERTIFICATE-----\na+b\n-----END CERTIFICATE-----"),
            ),
            ("%", Err("%")),
            ("a%2", Err("%2")),
            ("%zz", Err("%zz")),
            ("%2zb", Err("%2z")),
            ("%é€x", Err("%é€")),
            ("%+1a", Err("%+1")),
        ];
        for (text, expected) in cases {
            let decoded = percent_decode(text).map(|bytes| String::from_utf8(bytes.into_owned()).unwrap());
            assert_eq!(decoded, expected.map(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_or_not(text in r"([a-f0-9]|%|%[0-9a-f]{2}|\+|é|BEGIN\+){0,40}") {
            let _ = percent_decode(&text);
            let _ = between_colons(&text);
        }
    }
}
