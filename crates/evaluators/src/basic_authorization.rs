//! Who this process is at other servers: a client with an id and a secret, as a Secret says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, header::InvalidHeaderValue};
use usher_api::LocalObjectReference;

use crate::{BuildContext, FieldPath, Problems, SecretUse};

/// The `Authorization` header (`Basic`, RFC 7617) of the client whose id and secret are the entries `clientID` and
/// `clientSecret` of a Secret. Both go into it as they are, without the form encoding of RFC 6749 §2.3.1: that is what
/// servers have been given by those who kept such Secrets so far.
pub(crate) fn from_secret(
    reference: &LocalObjectReference,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<HeaderValue> {
    let at = &at.field("credentialsRef");
    let mut entry = |key| context.secrets.text(&reference.name, key, SecretUse::Credential, at, problems);
    let id = entry("clientID")?;
    let secret = entry("clientSecret")?;
    problems.take(at, header(id.reveal(), secret.reveal()))
}

/// The header of the client with this id and this secret, both as they are.
pub(crate) fn header(id: &str, secret: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_secret_are_sent_as_they_are_and_are_not_shown() {
        for (id, secret, expected) in [
            // The example of RFC 7617 §2.
            ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            // RFC 7617 §2.1: text beyond ASCII is sent as UTF-8.
            ("test", "123\u{a3}", "Basic dGVzdDoxMjPCow=="),
            ("", "", "Basic Og=="),
        ] {
            let value = header(id, secret).unwrap();
            assert_eq!(value, expected);
            assert_eq!(format!("{value:?}"), "Sensitive");
        }
    }
}
