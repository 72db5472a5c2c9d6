//! One X.509 certificate (RFC 5280 section 4), read.

use bytes::Bytes;

use super::{
    der::{self, Malformed, Reader, boolean, octets, small_integer},
    time,
};

/// What a certificate says, as far as it matters for trust. Nothing here says that it is true: that takes a path to somebody who is trusted.
#[derive(Debug)]
pub struct Certificate {
    /// The whole certificate.
    der: Bytes,
    /// What was signed, how, and the signature.
    pub(super) signed: Bytes,
    pub(super) signature_algorithm: Bytes,
    pub(super) signature: Bytes,
    /// 1, 2 or 3. Only certificates of version 3 say what they may be used for.
    pub(super) version: u32,
    pub(super) issuer: Bytes,
    pub(super) validity: Validity,
    subject: Bytes,
    /// The key with its algorithm, both together and one by one.
    pub(super) key: Bytes,
    pub(super) key_algorithm: Bytes,
    pub(super) public_key: Bytes,
    pub(super) extensions: Extensions,
}

/// From when until when something counts: seconds since 1970, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub until: i64,
}

/// What the extensions of a certificate say.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) basic_constraints: Option<BasicConstraints>,
    /// Whether `keyUsage` has `keyCertSign`; nothing where there is no `keyUsage`.
    pub(super) key_cert_sign: Option<bool>,
    /// Whether `extKeyUsage` has `clientAuth` or `anyExtendedKeyUsage`; nothing where there is no `extKeyUsage`.
    pub(super) client_auth: Option<bool>,
    /// Whether there are name constraints.
    pub(super) name_constraints: bool,
    /// Whether there is an extension that must be understood, and is not.
    pub(super) unknown_critical: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BasicConstraints {
    pub(super) ca: bool,
    /// How many certificates of authorities may follow at most.
    pub(super) path_length: Option<u32>,
}

/// The tags of what may stand at the end of a certificate.
const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

/// Certificates with more extensions are refused. Usual are ten.
const MOST_EXTENSIONS: usize = 64;

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// When the bytes are not exactly one certificate, or it has an extension twice.
    pub fn parse(der: Bytes) -> Result<Self, Malformed> {
        let mut outer = Reader::within(der.clone(), der::SEQUENCE)?;
        let signed = outer.whole(der::SEQUENCE)?;
        let signature_algorithm = outer.content(der::SEQUENCE)?;
        let signature = octets(&outer.content(der::BIT_STRING)?)?;
        outer.end()?;

        let mut inner = Reader::within(signed.clone(), der::SEQUENCE)?;
        let version = match inner.optional(VERSION)? {
            Some(version) => version_number(version)?,
            None => 1,
        };
        let _serial_number = inner.content(der::INTEGER)?;
        // The inner one is signed and the outer one is used.
        if inner.content(der::SEQUENCE)? != signature_algorithm {
            return Err(Malformed);
        }
        let issuer = inner.whole(der::SEQUENCE)?;
        let validity = Validity::read(inner.content(der::SEQUENCE)?)?;
        let subject = inner.whole(der::SEQUENCE)?;
        let key = inner.whole(der::SEQUENCE)?;
        let (key_algorithm, public_key) = read_key(key.clone())?;
        if version > 1 {
            inner.optional(ISSUER_UNIQUE_ID)?;
            inner.optional(SUBJECT_UNIQUE_ID)?;
        }
        let extensions = match if version > 2 { inner.optional(EXTENSIONS)? } else { None } {
            Some(extensions) => Extensions::read(extensions)?,
            None => Extensions::default(),
        };
        inner.end()?;
        Ok(Self {
            der,
            signed,
            signature_algorithm,
            signature,
            version,
            issuer,
            validity,
            subject,
            key,
            key_algorithm,
            public_key,
            extensions,
        })
    }

    /// The whole certificate in DER.
    #[must_use]
    pub fn der(&self) -> &Bytes {
        &self.der
    }

    /// The name of whom it is about, in DER: a `Name` (RFC 5280 section 4.1.2.4).
    #[must_use]
    pub fn subject(&self) -> &Bytes {
        &self.subject
    }
}

impl Validity {
    fn read(content: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        let validity = Self { from: time::read(&reader.element()?)?, until: time::read(&reader.element()?)? };
        reader.end()?;
        Ok(validity)
    }

    /// Whether `now` is within.
    #[must_use]
    pub fn contains(&self, now: i64) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// When both count.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }
}

impl Extensions {
    fn read(content: Bytes) -> Result<Self, Malformed> {
        let mut list = Reader::within(content, der::SEQUENCE)?;
        let mut all = Self::default();
        let mut seen = Vec::new();
        while !list.is_empty() {
            let mut extension = Reader::new(list.content(der::SEQUENCE)?);
            let id = extension.content(der::OBJECT_IDENTIFIER)?;
            let critical = match extension.optional(der::BOOLEAN)? {
                Some(critical) => boolean(&critical)?,
                None => false,
            };
            let value = extension.content(der::OCTET_STRING)?;
            extension.end()?;
            if seen.contains(&id) || seen.len() == MOST_EXTENSIONS {
                return Err(Malformed);
            }
            match *id {
                [0x55, 0x1d, 15] => all.key_cert_sign = Some(read_key_cert_sign(value)?),
                [0x55, 0x1d, 19] => all.basic_constraints = Some(BasicConstraints::read(value)?),
                [0x55, 0x1d, 30] => all.name_constraints = true,
                [0x55, 0x1d, 37] => all.client_auth = Some(read_client_auth(value)?),
                // Key identifiers, alternative names, places of revocation lists, policies: they restrict nothing that
                // is decided here.
                [0x55, 0x1d, 14 | 17 | 31 | 32 | 35] => {}
                _ => all.unknown_critical |= critical,
            }
            seen.push(id);
        }
        Ok(all)
    }
}

impl BasicConstraints {
    fn read(value: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::within(value, der::SEQUENCE)?;
        let ca = match reader.optional(der::BOOLEAN)? {
            Some(ca) => boolean(&ca)?,
            None => false,
        };
        let path_length = reader.optional(der::INTEGER)?.map(|length| small_integer(&length)).transpose()?;
        reader.end()?;
        Ok(Self { ca, path_length })
    }
}

fn version_number(content: Bytes) -> Result<u32, Malformed> {
    let mut reader = Reader::new(content);
    let number = small_integer(&reader.content(der::INTEGER)?)?;
    reader.end()?;
    if number < 3 { Ok(number + 1) } else { Err(Malformed) }
}

fn read_key(key: Bytes) -> Result<(Bytes, Bytes), Malformed> {
    let mut reader = Reader::within(key, der::SEQUENCE)?;
    let algorithm = reader.content(der::SEQUENCE)?;
    let public_key = octets(&reader.content(der::BIT_STRING)?)?;
    reader.end()?;
    Ok((algorithm, public_key))
}

/// Bit 5 of `keyUsage`, counted from the left.
fn read_key_cert_sign(value: Bytes) -> Result<bool, Malformed> {
    let mut reader = Reader::new(value);
    let content = reader.content(der::BIT_STRING)?;
    reader.end()?;
    match *content {
        [0] => Ok(false),
        [0..=7, bits] | [0..=7, bits, _] => Ok(bits & 0x04 != 0),
        _ => Err(Malformed),
    }
}

fn read_client_auth(value: Bytes) -> Result<bool, Malformed> {
    const ANY: &[u8] = &[0x55, 0x1d, 37, 0];
    const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
    let mut reader = Reader::within(value, der::SEQUENCE)?;
    let mut found = reader.content(der::OBJECT_IDENTIFIER).map(|usage| usage == ANY || usage == CLIENT_AUTH)?;
    while !reader.is_empty() {
        let usage = reader.content(der::OBJECT_IDENTIFIER)?;
        found |= usage == ANY || usage == CLIENT_AUTH;
    }
    Ok(found)
}
