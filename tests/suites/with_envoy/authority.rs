//! Certificates.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Issues certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate, and its key.
pub(super) struct Issued {
    pub(super) certificate: rcgen::Certificate,
    pub(super) key: KeyPair,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than that of the certificates below, which would otherwise seem to have issued themselves.
        parameters.distinguished_name.push(DnType::CommonName, "authority");
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Its own certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for the server `localhost`.
    pub(super) fn server(&self) -> Issued {
        self.issue(CertificateParams::new(vec!["localhost".to_owned()]).unwrap())
    }

    /// A certificate for a client.
    pub(super) fn client(&self, organization: &str, name: &str) -> Issued {
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.distinguished_name.push(DnType::OrganizationName, organization);
        parameters.distinguished_name.push(DnType::CommonName, name);
        self.issue(parameters)
    }

    fn issue(&self, mut parameters: CertificateParams) -> Issued {
        // All authorities have one name. By this, verifiers find the one that it was.
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        Issued { certificate: parameters.signed_by(&key, &self.issuer).unwrap(), key }
    }
}

impl Issued {
    /// Writes both as PEM.
    pub(super) fn write(&self, certificate: &Path, key: &Path) {
        fs::write(certificate, self.certificate.pem()).unwrap();
        fs::write(key, self.key.serialize_pem()).unwrap();
    }
}
