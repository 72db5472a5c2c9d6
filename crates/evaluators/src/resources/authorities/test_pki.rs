//! Certificates for tests, made on the spot. They are valid from 2020 to 2040.

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SigningKey, date_time_ymd,
};

use super::{certificate::Certificate, der::Reader};

/// 2026-11-21T05:20:00Z
pub(crate) const NOW: i64 = 1_795_238_400;

/// A certificate and its key.
pub(crate) struct Entity {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) der: Vec<u8>,
}

/// A certificate for a client.
pub(crate) fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A certificate for an authority.
pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut params = client(name);
    params.extended_key_usages.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(crate) fn changed(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

/// An authority that nobody else vouches for.
pub(crate) fn root(name: &str) -> Entity {
    self_signed(authority(name))
}

pub(crate) fn self_signed(params: CertificateParams) -> Entity {
    with_key(params, KeyPair::generate().unwrap())
}

pub(crate) fn with_key(params: CertificateParams, key: KeyPair) -> Entity {
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Entity { params, key, der }
}

impl Entity {
    /// A certificate for which this one vouches.
    pub(crate) fn issue(&self, params: CertificateParams) -> Entity {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        Entity { params, key, der }
    }

    /// As [`issue`](Self::issue), but what is signed was changed before: a list of values in DER.
    pub(crate) fn issue_edited(&self, params: CertificateParams, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Entity {
        let mut entity = self.issue(params);
        entity.der = edited(&entity.der, &self.key, edit);
        entity
    }

    /// As [`issue_edited`](Self::issue_edited), signed by itself.
    pub(crate) fn edited(mut self, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Entity {
        self.der = edited(&self.der, &self.key, edit);
        self
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::parse(Bytes::copy_from_slice(&self.der)).unwrap()
    }

    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }
}

/// Makes it a certificate of version 1: it says neither its version nor anything in extensions.
pub(crate) fn to_version_1(fields: &mut Vec<Vec<u8>>) {
    fields.retain(|field| !matches!(field[0], 0xa0 | 0xa3));
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// One value in DER.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match (length, content.len()) {
        (_, ..=127) => vec![tag, length[1]],
        ([0, length], _) => vec![tag, 0x81, length],
        ([high, low], _) => vec![tag, 0x82, high, low],
    };
    [header, content.to_vec()].concat()
}

/// The values that stand in a value.
pub(crate) fn values(whole: &[u8]) -> Vec<Vec<u8>> {
    let content = Reader::new(Bytes::copy_from_slice(whole)).element().unwrap().content;
    let mut reader = Reader::new(content);
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(reader.element().unwrap().whole.to_vec());
    }
    values
}

fn edited(der: &[u8], key: &KeyPair, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let outer = values(der);
    let mut fields = values(&outer[0]);
    edit(&mut fields);
    let signed = value(0x30, &fields.concat());
    let signature = [vec![0], key.sign(&signed).unwrap()].concat();
    value(0x30, &[signed, outer[1].clone(), value(0x03, &signature)].concat())
}
