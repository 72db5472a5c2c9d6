//! The certificates of authorities that Secrets hold, and who is vouched for by them.
//!
//! ```text
//!   Secret event ──apply, remove──► certificates by namespace and name ──► generation + 1
//!                                        │
//!                                        │ selector, namespace: once per rule and generation
//!                                        ▼
//!   certificate of a request ───► Trust of a rule ──► verified before? ──► path to an anchor ──► identity
//! ```
//!
//! A Secret counts if it has the labels that the server watches, and holds certificates in PEM in its entry `tls.crt`
//! or, where there is no such entry, in `ca.crt`. All of them are trusted. If one of them cannot be read, none is: a
//! Secret that breaks takes its trust away with it.
//!
//! An event concerns no plan: a rule sees with its next request that something changed.

pub mod certificate;
mod chain;
pub(crate) mod der;
pub mod pem;
#[cfg(test)]
pub(crate) mod test_pki;
mod time;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use moka::{Expiry, sync::Cache};
use serde_json::Value;
use usher_api::{Secret, Selector};
use usher_engine::Failure;

use crate::clock::time_until;
use certificate::{Certificate, Validity};
use chain::Anchors;

/// The entries of a Secret that may hold certificates of authorities. The first that is there counts.
pub const ENTRIES: [&str; 2] = ["tls.crt", "ca.crt"];

/// Certificates of authorities by the Secret that holds them.
pub struct Authorities {
    /// What labels a Secret must have to be noticed at all.
    watched: Selector,
    secrets: Mutex<BySecret>,
    /// Grows with each change of `secrets`, and only while these are locked.
    generation: AtomicU64,
    verified: Cache<Hash, Arc<Verified>>,
}

/// By namespace, then by name.
type BySecret = HashMap<String, BTreeMap<String, Authority>>;

/// What one Secret says.
#[derive(PartialEq, Eq)]
struct Authority {
    labels: BTreeMap<String, String>,
    certificates: BTreeMap<Hash, ByDer>,
}

/// A certificate. Equal are those with the same bytes.
#[derive(Clone)]
struct ByDer(Arc<Certificate>);

/// A SHA-256: of cryptographic strength, because who finds two texts with one hash is somebody else.
type Hash = [u8; digest::SHA256_OUTPUT_LEN];

/// Somebody for whom a path to an anchor was found.
struct Verified {
    identity: Arc<Value>,
    /// When all certificates of the path count.
    validity: Validity,
    /// About how much memory this takes.
    bytes: u32,
}

/// About as many bytes of verified identities are kept.
const MAX_VERIFIED_BYTES: u64 = 32 << 20;

impl Authorities {
    /// None yet; only those of Secrets that `watched` selects will be taken.
    #[must_use]
    pub fn new(watched: Selector) -> Self {
        let verified = Cache::builder()
            .max_capacity(MAX_VERIFIED_BYTES)
            .weigher(|_, verified: &Arc<Verified>| verified.bytes)
            .expire_after(UntilExpired)
            .build();
        Self { watched, secrets: Mutex::default(), generation: AtomicU64::new(0), verified }
    }

    /// Takes in a Secret that is new or has changed. One that is not watched, or holds no certificates, is as good as
    /// gone.
    pub fn apply(&self, secret: &Secret) {
        let authority = if self.watched.matches(&secret.metadata.labels) { Authority::read(secret) } else { None };
        let (namespace, name) = (&secret.metadata.namespace, &secret.metadata.name);
        let mut secrets = self.lock();
        let present = secrets.get(namespace).and_then(|secrets| secrets.get(name));
        if present == authority.as_ref() {
            return;
        }
        match authority {
            Some(authority) => {
                secrets.entry(namespace.clone()).or_default().insert(name.clone(), authority);
            }
            None => forget(&mut secrets, namespace, name),
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Forgets a Secret.
    pub fn remove(&self, namespace: &str, name: &str) {
        let mut secrets = self.lock();
        if secrets.get(namespace).is_some_and(|secrets| secrets.contains_key(name)) {
            forget(&mut secrets, namespace, name);
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// How many Secrets with certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().values().map(BTreeMap::len).sum()
    }

    /// Whether there is no certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Trust in the certificates of the Secrets that `selector` selects, in `namespace` or, where none is given, in
    /// all.
    #[must_use]
    pub fn trust(self: &Arc<Self>, namespace: Option<Arc<str>>, selector: Selector) -> Trust {
        let trusted = ArcSwap::from_pointee(Trusted {
            generation: 0,
            anchors: Arc::new(Anchors::default()),
            fingerprint: fingerprint(&BTreeMap::new()),
        });
        Trust { authorities: Arc::clone(self), namespace, selector, trusted }
    }

    fn lock(&self) -> MutexGuard<'_, BySecret> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(secrets: &mut BySecret, namespace: &str, name: &str) {
    if let Some(of_namespace) = secrets.get_mut(namespace) {
        of_namespace.remove(name);
        if of_namespace.is_empty() {
            secrets.remove(namespace);
        }
    }
}

impl Authority {
    fn read(secret: &Secret) -> Option<Self> {
        let (entry, text) = ENTRIES.iter().find_map(|entry| Some((entry, secret.data.get(*entry)?)))?;
        let Ok(certificates) = pem::certificates(text, usize::MAX) else {
            let (namespace, name) = (&secret.metadata.namespace, &secret.metadata.name);
            tracing::warn!(
                namespace,
                secret = name,
                entry,
                "the Secret vouches for nobody: its entry holds no certificate in PEM, or one that cannot be read"
            );
            return None;
        };
        let certificates = certificates.into_iter().map(|certificate| {
            let hash = hash(&[certificate.der()]);
            (hash, ByDer(Arc::new(certificate)))
        });
        Some(Self { labels: secret.metadata.labels.clone(), certificates: certificates.collect() })
    }
}

impl PartialEq for ByDer {
    fn eq(&self, other: &Self) -> bool {
        self.0.der() == other.0.der()
    }
}

impl Eq for ByDer {}

/// What one rule trusts.
pub struct Trust {
    authorities: Arc<Authorities>,
    namespace: Option<Arc<str>>,
    selector: Selector,
    trusted: ArcSwap<Trusted>,
}

/// What a rule trusts while nothing changes.
struct Trusted {
    generation: u64,
    anchors: Arc<Anchors>,
    /// Of all anchors together.
    fingerprint: Hash,
}

impl Trust {
    /// Finds out who presents the text `presented`, in the form `form`. Whoever did so before, and still counts, is
    /// remembered; otherwise `read` makes certificates and identity of the text.
    ///
    /// # Errors
    /// When `read` fails, or nobody that is trusted vouches for the certificate.
    pub fn verify(
        &self,
        form: u8,
        presented: &str,
        now: i64,
        read: impl FnOnce() -> Result<Presented, Failure>,
    ) -> Result<Arc<Value>, Failure> {
        let trusted = self.trusted();
        let hash = hash(&[&trusted.fingerprint, &[form], presented.as_bytes()]);
        let verified = &self.authorities.verified;
        if let Some(known) = verified.get(&hash).filter(|known| known.validity.contains(now)) {
            return Ok(Arc::clone(&known.identity));
        }
        let Presented { leaf, intermediates, identity, identity_bytes } = read()?;
        let validity = chain::verify(&leaf, &intermediates, &trusted.anchors, now)
            .map_err(|refusal| Failure::denied(refusal.to_string()))?;
        let identity = Arc::new(identity);
        let bytes = u32::try_from(identity_bytes).unwrap_or(u32::MAX);
        verified.insert(hash, Arc::new(Verified { identity: Arc::clone(&identity), validity, bytes }));
        Ok(identity)
    }

    /// What is trusted now.
    fn trusted(&self) -> Arc<Trusted> {
        let trusted = self.trusted.load();
        if trusted.generation == self.authorities.generation.load(Ordering::Acquire) {
            return Arc::clone(&trusted);
        }
        drop(trusted);
        // Who waits for the lock finds that the work is done.
        let secrets = self.authorities.lock();
        let generation = self.authorities.generation.load(Ordering::Acquire);
        let trusted = self.trusted.load_full();
        if trusted.generation == generation {
            return trusted;
        }
        let certificates = self.select(&secrets);
        let fingerprint = fingerprint(&certificates);
        let anchors = if fingerprint == trusted.fingerprint {
            Arc::clone(&trusted.anchors)
        } else {
            Arc::new(certificates.into_values().map(|certificate| certificate.0).collect())
        };
        let trusted = Arc::new(Trusted { generation, anchors, fingerprint });
        self.trusted.store(Arc::clone(&trusted));
        trusted
    }

    /// Each certificate once.
    fn select(&self, secrets: &BySecret) -> BTreeMap<Hash, ByDer> {
        let authorities: Box<dyn Iterator<Item = &Authority>> = match &self.namespace {
            Some(namespace) => Box::new(secrets.get(&**namespace).into_iter().flat_map(BTreeMap::values)),
            None => Box::new(secrets.values().flat_map(BTreeMap::values)),
        };
        authorities
            .filter(|authority| self.selector.matches(&authority.labels))
            .flat_map(|authority| &authority.certificates)
            .map(|(hash, certificate)| (*hash, certificate.clone()))
            .collect()
    }
}

/// What a request presents.
#[derive(Debug)]
pub struct Presented {
    /// The certificate of who it is.
    pub leaf: Certificate,
    /// Certificates that may lead from there to an anchor.
    pub intermediates: Vec<Certificate>,
    /// Who it is, if somebody vouches for it.
    pub identity: Value,
    /// About how much memory the identity takes.
    pub identity_bytes: usize,
}

fn fingerprint(certificates: &BTreeMap<Hash, ByDer>) -> Hash {
    let hashes: Vec<&[u8]> = certificates.keys().map(<[u8; 32]>::as_slice).collect();
    hash(&hashes)
}

/// The hash of everything, one after the other.
fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let digest = context.finish();
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Drops identities that nobody can use any more. Only to free memory: validity is checked with each use.
struct UntilExpired;

impl Expiry<Hash, Arc<Verified>> for UntilExpired {
    fn expire_after_create(&self, _: &Hash, verified: &Arc<Verified>, _: Instant) -> Option<Duration> {
        Some(time_until(verified.validity.until))
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authorities").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trust")
            .field("namespace", &self.namespace)
            .field("selector", &self.selector)
            .finish_non_exhaustive()
    }
}
