//! `x509`: client certificates, as the proxy passes them on.
//!
//! # What it does
//! Takes the certificate that the client showed to the proxy, and looks for a path from it to a certificate that is
//! trusted: one that a Secret holds, in its entry `tls.crt` or, without that, `ca.crt`. The Secret must be one that the
//! server watches, in the namespace of the AuthConfig (in any, with `allNamespaces`, if the server watches all), with
//! labels that `selector` selects. All certificates of the entry are trusted, and changes of Secrets count at once. If
//! one of them cannot be read, none is trusted. The identity is the subject of the certificate.
//!
//! That the client has the private key is for the proxy to find out, in the TLS handshake. The proxy must therefore
//! also see to it that nobody else can write what this rule reads: a header that clients may set themselves, or the
//! first element of an `x-forwarded-client-cert` to which the proxy only appends, proves nothing.
//!
//! | `source` | the certificate |
//! | --- | --- |
//! | none | of the connection, `source.certificate`: PEM, percent-encoded |
//! | `xfccHeader` | the field `Cert`, or without it `Chain`, of one element (`xfccElement: first`, the default, or `last`) of a header in the format of Envoy's `x-forwarded-client-cert` |
//! | `clientCertHeader` | a header in the format of `Client-Cert` (RFC 9440 section 2.2), without parameters |
//! | `expression`, `jsonPath` | a string: PEM, percent-encoded or plain |
//!
//! Where there are several certificates in PEM, the first is that of the client and the others may lead from it to a
//! trusted one. There may be 10, in 64 kB.
//!
//! A path counts if all of its certificates, the trusted one included, are valid now, are meant for clients
//! (`extKeyUsage` has `clientAuth` or `anyExtendedKeyUsage`, or is absent) and have no critical extension that is not
//! understood; and if all but the first are authorities (`basicConstraints` with `cA`, `keyUsage` with `keyCertSign` or
//! absent) that may have so many others below them and vouch for such names. A trusted certificate also vouches for
//! itself. Signatures may be made with RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519, and SHA-256 or
//! longer. Whether a certificate was revoked is not looked at, nor are its alternative names.
//!
//! # Example
//! ```yaml
//! authentication:
//!   mtls:
//!     x509:
//!       selector: {matchLabels: {app: talker-api}}
//!       source: {xfccHeader: x-forwarded-client-cert}
//! ```
//!
//! The identity, for example in `auth.identity.CommonName`:
//! ```json
//! {"Country": ["PK"], "Organization": ["ACME Inc."], "OrganizationalUnit": null, "Locality": null, "Province": null,
//!  "StreetAddress": null, "PostalCode": null, "SerialNumber": "", "CommonName": "aisha",
//!  "Names": [{"Type": [2, 5, 4, 6], "Value": "PK"}, {"Type": [2, 5, 4, 10], "Value": "ACME Inc."},
//!            {"Type": [2, 5, 4, 3], "Value": "aisha"}], "ExtraNames": null}
//! ```
//!
//! # Errors
//! All of them are denials.
//! - `client certificate is missing`, `header NAME not found in request`, `failed to extract …`, `failed to obtain the
//!   client certificate: …`: there is none where the rule looks for it.
//! - `invalid client certificate`: it cannot be read.
//! - `x509: certificate signed by unknown authority`, `x509: certificate has expired or is not yet valid: …`, `x509:
//!   certificate specifies an incompatible key usage` and others with `x509: `: nobody who is trusted vouches for it.

mod source;
mod subject;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use serde_json::Value;
use usher_api::X509Spec;
use usher_engine::{Context, Evaluation, Evaluator, Failure};

use crate::{
    BuildContext, FieldPath, Problems,
    clock::now,
    resources::authorities::{Presented, Trust},
};

use source::Source;

/// Finds out whose certificate a request carries.
#[derive(Debug)]
pub struct X509 {
    source: Source,
    trust: Trust,
}

/// Reads `x509` of a rule.
pub fn build(spec: &X509Spec, at: &FieldPath<'_>, context: &BuildContext<'_>, problems: &mut Problems) -> Option<X509> {
    let selector = problems.take(&at.field("selector"), spec.selector.selector());
    let namespace = context.namespace_of_secrets(spec.all_namespaces, at, problems);
    let source = Source::build(spec, &at.field("source"), problems);
    let trust = context.resources.authorities.trust(namespace, selector?);
    Some(X509 { source: source?, trust })
}

impl Evaluator for X509 {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        self.identify(context, now()).into()
    }

    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        self.source.text(context).map(Some)
    }
}

impl X509 {
    fn identify(&self, context: &Context<'_>, now: i64) -> Result<Arc<Value>, Failure> {
        let text = self.source.text(context)?;
        self.trust.verify(self.source.form(), &text, now, || {
            let (leaf, intermediates) = self.source.certificates(&text)?;
            let (identity, identity_bytes) = subject::read(leaf.subject()).map_err(|_| source::invalid())?;
            Ok(Presented { leaf, intermediates, identity, identity_bytes })
        })
    }
}
