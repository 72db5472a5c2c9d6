//! Certificates of clients, and the authority that vouches for them.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::material::Material;

/// What the subject of every client has as `O`.
pub(crate) const ORGANIZATION: &str = "Bench Inc.";

/// An authority with keys on P-256, for itself and for its clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
}

impl Authority {
    /// Makes one, with a new certificate for a key that may be kept.
    pub(crate) fn new(material: &Material) -> anyhow::Result<Self> {
        let mut params = params("Bench CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key_pair(material, "authority.der")?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The certificate of a client, with a key of its own, in the form in which a gateway passes it on as
    /// `source.certificate`: PEM, percent-encoded.
    pub(crate) fn client(&self, number: usize) -> anyhow::Result<String> {
        let mut params = params(&format!("client-{number}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&KeyPair::generate()?, &self.issuer)?;
        Ok(percent_encoded(&certificate.pem()))
    }
}

/// A key on P-256 that may be kept.
pub(crate) fn key_pair(material: &Material, name: &str) -> anyhow::Result<KeyPair> {
    let der = material.get(name, || Ok(KeyPair::generate()?.serialize_der()))?;
    KeyPair::try_from(der).with_context(|| format!("`{name}` is no key"))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "DE");
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
    params
}

/// The characters of PEM that Envoy encodes, and in its way.
fn percent_encoded(pem: &str) -> String {
    let mut encoded = String::with_capacity(pem.len() * 2);
    for character in pem.chars() {
        match character {
            '\n' => encoded.push_str("%0A"),
            ' ' => encoded.push_str("%20"),
            '+' => encoded.push_str("%2B"),
            '/' => encoded.push_str("%2F"),
            '=' => encoded.push_str("%3D"),
            character => encoded.push(character),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_written_as_gateways_do() {
        let authority = Authority::new(&Material::default()).unwrap();
        assert!(authority.pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
        let (first, second) = (authority.client(1).unwrap(), authority.client(2).unwrap());
        assert_ne!(first, second);
        assert!(first.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"), "{first}");
        assert!(first.ends_with("-----END%20CERTIFICATE-----%0A"), "{first}");
        assert!(!first.contains(['\n', '\r', ' ', '+', '/', '=']), "{first}");
        assert!((600..900).contains(&first.len()), "{}", first.len());
    }
}
