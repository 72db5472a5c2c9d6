//! Certificates in PEM (RFC 7468).

use bytes::Bytes;
use rustls::pki_types::pem::{PemObject, SectionKind};

use super::{certificate::Certificate, der::Malformed};

/// The certificates of a text, in its order. What else the text holds, keys for example, is passed over.
///
/// # Errors
/// When there is no certificate, there are more than `most`, or one cannot be read.
pub fn certificates(text: &[u8], most: usize) -> Result<Vec<Certificate>, Malformed> {
    let mut certificates = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|_| Malformed)?;
        if kind != SectionKind::Certificate {
            continue;
        }
        if certificates.len() == most {
            return Err(Malformed);
        }
        certificates.push(Certificate::parse(Bytes::from(der))?);
    }
    if certificates.is_empty() { Err(Malformed) } else { Ok(certificates) }
}
