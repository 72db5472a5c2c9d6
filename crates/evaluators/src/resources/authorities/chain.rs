//! Whether somebody who is trusted vouches for a certificate (RFC 5280 section 6, without revocation).
//!
//! ```text
//!   leaf ──issuer──► intermediate ──issuer──► … ──issuer──► anchor
//!     │                    │                                   │
//!     └────────────────────┴──── each: valid now, for clients, no unknown critical extension
//!                          └──── may sign, with so many below it, for these names
//! ```
//!
//! Every trusted certificate is an anchor, whoever signed it, and vouches for itself: whoever presents it is its
//! subject. What is asked of certificates is what Go's `crypto/x509` asks, because Authorino uses that: a leaf may be
//! of any version and may be an authority itself; an anchor obeys the same rules as an intermediate, except that it may
//! be of version 1.
//!
//! Signatures are verified from the anchor down, and only once a path is complete: keys that the caller chose are used
//! for nothing before somebody trusted has signed them. The signatures themselves, and name constraints, are the work
//! of `webpki` and AWS-LC.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert,
};

use super::{
    certificate::{BasicConstraints, Certificate, Validity},
    time,
};

/// Trusted certificates, by subject.
#[derive(Debug, Default)]
pub(super) struct Anchors(HashMap<Bytes, Vec<Arc<Certificate>>>);

impl FromIterator<Arc<Certificate>> for Anchors {
    fn from_iter<T: IntoIterator<Item = Arc<Certificate>>>(certificates: T) -> Self {
        let mut by_subject: HashMap<_, Vec<_>> = HashMap::new();
        for certificate in certificates {
            by_subject.entry(certificate.subject().clone()).or_default().push(certificate);
        }
        Self(by_subject)
    }
}

impl Anchors {
    fn named(&self, subject: &Bytes) -> &[Arc<Certificate>] {
        self.0.get(subject).map(Vec::as_slice).unwrap_or_default()
    }

    fn contains(&self, certificate: &Certificate) -> bool {
        self.named(certificate.subject()).iter().any(|anchor| anchor.der() == certificate.der())
    }
}

/// Why nobody vouches for a certificate. The texts are those of Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No path to a trusted certificate has good signatures.
    UnknownAuthority,
    /// `now` is not within the validity of a certificate of the path.
    Expired {
        /// Seconds since 1970.
        now: i64,
        /// Of the certificate.
        validity: Validity,
    },
    /// A certificate of the path is not meant for clients.
    IncompatibleUsage,
    /// A certificate of the path has a critical extension that is not understood.
    UnhandledCriticalExtension,
    /// An issuer in the path is no authority.
    NotAuthorizedToSign,
    /// An issuer in the path has more authorities below it than it may.
    TooManyIntermediates,
    /// An issuer in the path may not vouch for such names.
    NameConstraints,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("x509: ")?;
        match self {
            Self::UnknownAuthority => formatter.write_str("certificate signed by unknown authority"),
            Self::Expired { now, validity } => {
                let (relation, limit) =
                    if *now < validity.from { ("before", validity.from) } else { ("after", validity.until) };
                let (now, limit) = (time::text(*now), time::text(limit));
                write!(
                    formatter,
                    "certificate has expired or is not yet valid: current time {now} is {relation} {limit}"
                )
            }
            Self::IncompatibleUsage => formatter.write_str("certificate specifies an incompatible key usage"),
            Self::UnhandledCriticalExtension => formatter.write_str("unhandled critical extension"),
            Self::NotAuthorizedToSign => {
                formatter.write_str("certificate is not authorized to sign other certificates")
            }
            Self::TooManyIntermediates => formatter.write_str("too many intermediates for path length constraint"),
            Self::NameConstraints => {
                formatter.write_str("a root or intermediate certificate is not authorized to sign for this name")
            }
        }
    }
}

/// How many signatures are verified at most for one certificate. More than a few are needed only where many anchors, or
/// certificates that the caller sent, have the same name.
const MOST_SIGNATURES: usize = 32;

/// How many intermediates are tried at most: each counts as often as it is tried in a different place.
const MOST_TRIES: usize = 100;

/// When `leaf` counts: it and everything above it is valid, and an anchor vouches for it through `intermediates`, which
/// nobody needs to trust.
///
/// # Errors
/// Why nobody vouches for it. Where there are several paths, the reason of the first with good signatures.
pub(super) fn verify(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &Anchors,
    now: i64,
) -> Result<Validity, Refusal> {
    leaf.check(now)?;
    if anchors.contains(leaf) {
        leaf.check_usage()?;
        return Ok(leaf.validity);
    }
    let mut search =
        Search { intermediates, anchors, now, signatures: MOST_SIGNATURES, tries: MOST_TRIES, refusal: None };
    match search.extend(&mut vec![leaf]) {
        Some(validity) => Ok(validity),
        None => Err(search.refusal.unwrap_or(Refusal::UnknownAuthority)),
    }
}

/// The search for a path.
struct Search<'a> {
    intermediates: &'a [Certificate],
    anchors: &'a Anchors,
    now: i64,
    /// How many more signatures may be verified.
    signatures: usize,
    /// How many more intermediates may be tried.
    tries: usize,
    /// Why the first path with good signatures does not count.
    refusal: Option<Refusal>,
}

impl<'a> Search<'a> {
    /// Goes on from a path, the leaf first, until there is one that counts. No certificate is twice in a path, so it
    /// goes no deeper than there are intermediates.
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) -> Option<Validity> {
        let head = *path.last()?;
        let anchors = self.anchors;
        for anchor in anchors.named(&head.issuer) {
            match self.complete(path, anchor) {
                Ok(validity) => return Some(validity),
                Err(Refusal::UnknownAuthority) => {}
                Err(refusal) => _ = self.refusal.get_or_insert(refusal),
            }
        }
        for next in self.intermediates.iter().filter(|next| *next.subject() == head.issuer) {
            if path.iter().any(|certificate| certificate.subject() == next.subject() && certificate.key == next.key) {
                continue;
            }
            self.tries = self.tries.checked_sub(1)?;
            path.push(next);
            let validity = self.extend(path);
            path.pop();
            if validity.is_some() {
                return validity;
            }
        }
        None
    }

    /// Whether a path that ends below `anchor` counts.
    fn complete(&mut self, path: &[&Certificate], anchor: &Certificate) -> Result<Validity, Refusal> {
        let mut issuer = anchor;
        for certificate in path.iter().rev() {
            self.signatures = self.signatures.checked_sub(1).ok_or(Refusal::UnknownAuthority)?;
            if !issuer.has_signed(certificate) {
                return Err(Refusal::UnknownAuthority);
            }
            issuer = certificate;
        }
        let mut validity = anchor.validity;
        for (position, certificate) in path.iter().chain([&anchor]).enumerate() {
            certificate.check(self.now)?;
            // Between the leaf and the issuer at this position.
            if let Some(below) = position.checked_sub(1) {
                let is_anchor = position == path.len();
                certificate.check_authority(below, is_anchor)?;
            }
            validity = validity.and(certificate.validity);
        }
        for certificate in path.iter().chain([&anchor]) {
            certificate.check_usage()?;
        }
        check_names(path, anchor, self.now)?;
        Ok(validity)
    }
}

impl Certificate {
    /// What every certificate of a path must be.
    fn check(&self, now: i64) -> Result<(), Refusal> {
        if self.extensions.unknown_critical {
            return Err(Refusal::UnhandledCriticalExtension);
        }
        if !self.validity.contains(now) {
            return Err(Refusal::Expired { now, validity: self.validity });
        }
        Ok(())
    }

    fn check_usage(&self) -> Result<(), Refusal> {
        if self.extensions.client_auth == Some(false) { Err(Refusal::IncompatibleUsage) } else { Ok(()) }
    }

    /// What a certificate must be to vouch for others, with `below` authorities between it and the leaf. Before version
    /// 3 certificates could not say that they are of an authority; then only trust in them says it.
    fn check_authority(&self, below: usize, is_anchor: bool) -> Result<(), Refusal> {
        let path_length = match self.extensions.basic_constraints {
            Some(BasicConstraints { ca: true, path_length }) => path_length,
            None if is_anchor && self.version < 3 => None,
            _ => return Err(Refusal::NotAuthorizedToSign),
        };
        if self.extensions.key_cert_sign == Some(false) {
            return Err(Refusal::NotAuthorizedToSign);
        }
        if path_length.is_some_and(|most| below > usize::try_from(most).unwrap_or(usize::MAX)) {
            return Err(Refusal::TooManyIntermediates);
        }
        Ok(())
    }

    /// Whether the signature of `certificate` was made with the key of this one. RSA keys of fewer than 2048 or more
    /// than 8192 bits, and SHA-1, count for nothing.
    fn has_signed(&self, certificate: &Self) -> bool {
        ALL_VERIFICATION_ALGS
            .iter()
            .filter(|algorithm| *algorithm.signature_alg_id() == *certificate.signature_algorithm)
            .filter(|algorithm| *algorithm.public_key_alg_id() == *self.key_algorithm)
            .any(|algorithm| {
                algorithm.verify_signature(&self.public_key, &certificate.signed, &certificate.signature).is_ok()
            })
    }
}

/// Name constraints of the issuers, if there are any. `webpki` walks the path once more; it fails closed for forms of
/// names that it does not know, and for leaves that it does not take: authorities and those before version 3.
fn check_names(path: &[&Certificate], anchor: &Certificate, now: i64) -> Result<(), Refusal> {
    let Some((leaf, intermediates)) = path.split_first() else { return Ok(()) };
    if !intermediates.iter().chain([&anchor]).any(|issuer| issuer.extensions.name_constraints) {
        return Ok(());
    }
    let der = |certificate: &Certificate| CertificateDer::from(certificate.der().to_vec());
    let (leaf, anchor) = (der(leaf), der(anchor));
    let intermediates: Vec<_> = intermediates.iter().map(|intermediate| der(intermediate)).collect();
    let verified = || -> Result<(), webpki::Error> {
        let leaf = EndEntityCert::try_from(&leaf)?;
        let anchors = [anchor_from_trusted_cert(&anchor)?];
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, now, AnyUsage, None, None)?;
        Ok(())
    };
    verified().map_err(|_| Refusal::NameConstraints)
}

/// What certificates are meant for was checked already.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
