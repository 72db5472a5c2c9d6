//! TLS of a port: what is accepted, and certificates that change while serving.
//!
//! Kubernetes replaces a mounted secret by swinging a symbolic link in its directory, other tools rename or rewrite files; so the
//! directories are watched, and the files are read every few seconds in case a watch is blind (network file systems).
//! A certificate that cannot be used does not replace one that can.

mod client;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use self::client::AnyClient;
use self::watch::{POLL_INTERVAL, Watching};

/// How connections are encrypted.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// PEM file: the certificate, then the intermediate ones.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
    /// Lowest version: `1.2` or `1.3`; empty for 1.2. `1.0` and `1.1` count as 1.2, with a warning.
    pub min_version: String,
    /// Highest version: `1.2` or `1.3`; empty for 1.3.
    pub max_version: String,
    /// IANA names of the cipher suites for TLS 1.2; empty for all that are safe. Those of TLS 1.3 may be named too, and are
    /// always all allowed. Some may be unknown or not safe: they are left out, with a warning.
    pub cipher_suites: Vec<String>,
    /// What is asked of clients.
    pub client_certificates: ClientCertificates,
}

/// What is asked of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    #[default]
    NotAsked,
    /// A certificate if they have one; that they hold its key is proven, who issued it is not looked at.
    AskedNotVerified,
    /// A certificate that one of these authorities issued; without one there is no connection.
    Required {
        /// PEM file with the authorities.
        authorities: PathBuf,
    },
}

/// What is wrong with settings of TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate without a key, or a key without a certificate.
    #[error("TLS needs both a certificate and a key, and only the {given} is given")]
    Half {
        /// Which of the two is given.
        given: &'static str,
    },
    /// A version that does not exist.
    #[error("unknown TLS version `{0}`; known are `1.2` and `1.3`")]
    UnknownVersion(String),
    /// A version that exists and is not safe any more (RFC 8996).
    #[error("TLS version `{0}` is not supported, because it is not safe; supported are `1.2` and `1.3`")]
    OldVersion(String),
    /// The lowest version is above the highest.
    #[error("the lowest TLS version `{min}` is above the highest, `{max}`")]
    Versions {
        /// Lowest.
        min: String,
        /// Highest.
        max: String,
    },
    /// A cipher suite that is not known, or not safe any more.
    #[error("cipher suite `{name}` is not supported; supported are {supported}")]
    CipherSuite {
        /// As given.
        name: String,
        /// Names of those that are.
        supported: String,
    },
    /// Versions and cipher suites exclude each other.
    #[error("no cipher suite is left for the TLS versions that are allowed")]
    NothingLeft,
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{path}` holds no {expected}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate, key and authorities do not work together.
    #[error("cannot use the certificate `{path}`")]
    Unusable {
        /// File of the certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authorities for clients cannot be used.
    #[error("cannot use the authorities for client certificates")]
    Authorities(#[source] rustls::server::VerifierBuilderError),
}

/// TLS of a port, always with the newest certificate that could be used.
#[derive(Clone)]
pub struct Tls {
    current: Arc<ArcSwap<ServerConfig>>,
    watching: Arc<Watching>,
}

impl Tls {
    /// Settings from two files, none without either.
    ///
    /// # Errors
    ///
    /// [`TlsError::Half`] if one is given and the other is not.
    pub fn settings(certificate: PathBuf, key: PathBuf) -> Result<Option<TlsSettings>, TlsError> {
        match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => Ok(None),
            (false, true) => Err(TlsError::Half { given: "certificate" }),
            (true, false) => Err(TlsError::Half { given: "key" }),
            (false, false) => Ok(Some(TlsSettings { certificate, key, ..TlsSettings::default() })),
        }
    }

    /// Reads everything, and begins to watch the files. To be called within a runtime, which the watch needs.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the settings and the files.
    pub fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        Self::load_and_poll(settings, POLL_INTERVAL)
    }

    fn load_and_poll(settings: TlsSettings, poll_interval: Duration) -> Result<Self, TlsError> {
        let policy = Policy::new(&settings)?;
        let files = Files::read(&settings)?;
        let current = Arc::new(ArcSwap::from(policy.config(&settings, &files)?));
        let watching = Arc::new(Watching::start(settings, policy, files, Arc::clone(&current), poll_interval));
        Ok(Self { current, watching })
    }

    /// For the next connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// How often other files have been taken into use; changes are announced to the receiver.
    #[must_use]
    pub fn reloads(&self) -> tokio::sync::watch::Receiver<u64> {
        self.watching.reloads()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What does not change: versions and cipher suites.
struct Policy {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Policy {
    fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let min = lowest(&settings.min_version)?;
        let max = version(&settings.max_version)?.unwrap_or(Version::Tls13);
        if min > max {
            let (min, max) = (settings.min_version.clone(), settings.max_version.clone());
            return Err(TlsError::Versions { min, max });
        }
        let mut provider = aws_lc_rs::default_provider();
        if !settings.cipher_suites.is_empty() {
            let known = provider.cipher_suites;
            let is_known = |name: &&String| known.iter().any(|suite| iana_name(suite) == **name);
            let (_, unknown): (Vec<_>, Vec<_>) = settings.cipher_suites.iter().partition(is_known);
            if let Some(name) = unknown.first()
                && unknown.len() == settings.cipher_suites.len()
            {
                let supported =
                    known.iter().map(|suite| format!("`{}`", iana_name(suite))).collect::<Vec<_>>().join(", ");
                return Err(TlsError::CipherSuite { name: (*name).clone(), supported });
            }
            for name in unknown {
                tracing::warn!(name, "this cipher suite is not supported: it is left out");
            }
            let is_allowed = |suite: &SupportedCipherSuite| {
                suite.tls13().is_some() || settings.cipher_suites.contains(&iana_name(suite))
            };
            provider.cipher_suites = known.into_iter().filter(is_allowed).collect();
        }
        let has_tls12 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
        let mut versions = Vec::new();
        if min == Version::Tls12 && has_tls12 {
            versions.push(&rustls::version::TLS12);
        }
        if max == Version::Tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if versions.is_empty() {
            return Err(TlsError::NothingLeft);
        }
        Ok(Self { provider: Arc::new(provider), versions })
    }

    fn config(&self, settings: &TlsSettings, files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
        let unusable = |source| TlsError::Unusable { path: settings.certificate.clone(), source };
        let chain = certificates(&settings.certificate, &files.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| TlsError::Content { path: settings.key.clone(), expected: "private key in PEM" })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(unusable)?;
        let builder = match (&settings.client_certificates, &files.authorities) {
            (ClientCertificates::Required { authorities }, Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(authorities, pem)? {
                    let expected = "authority for client certificates";
                    roots.add(authority).map_err(|_| TlsError::Content { path: authorities.clone(), expected })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
                builder.with_client_cert_verifier(verifier.build().map_err(TlsError::Authorities)?)
            }
            (ClientCertificates::AskedNotVerified, _) => {
                builder.with_client_cert_verifier(Arc::new(AnyClient::new(&self.provider)))
            }
            (ClientCertificates::NotAsked | ClientCertificates::Required { .. }, _) => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        // HTTP/1.1 on a port for gRPC too, so that a client with a wrong setting gets words instead of an alert.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// What is in the files.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// Present if and only if client certificates are required.
    authorities: Option<Vec<u8>>,
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source });
        let authorities = match &settings.client_certificates {
            ClientCertificates::Required { authorities } => Some(read(authorities)?),
            ClientCertificates::NotAsked | ClientCertificates::AskedNotVerified => None,
        };
        Ok(Self { certificate: read(&settings.certificate)?, key: read(&settings.key)?, authorities })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Tls12,
    Tls13,
}

/// The lowest version. One that is older than what is safe asks for no less than what is safe.
fn lowest(text: &str) -> Result<Version, TlsError> {
    match version(text) {
        Err(TlsError::OldVersion(version)) => {
            tracing::warn!(version, "this version of TLS is not safe: the lowest is 1.2");
            Ok(Version::Tls12)
        }
        result => Ok(result?.unwrap_or(Version::Tls12)),
    }
}

fn version(text: &str) -> Result<Option<Version>, TlsError> {
    match text {
        "" => Ok(None),
        "1.2" => Ok(Some(Version::Tls12)),
        "1.3" => Ok(Some(Version::Tls13)),
        "1.0" | "1.1" => Err(TlsError::OldVersion(text.to_owned())),
        _ => Err(TlsError::UnknownVersion(text.to_owned())),
    }
}

/// Name in the registry of TLS cipher suites, where those of TLS 1.3 do not carry the version.
fn iana_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = || TlsError::Content { path: path.to_owned(), expected: "certificate in PEM" };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| content())?;
    if certificates.is_empty() { Err(content()) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests;
