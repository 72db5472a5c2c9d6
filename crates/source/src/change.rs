//! What a source tells.

use std::path::PathBuf;
use std::sync::Arc;

use usher_api::{AuthConfigDocument, AuthorizationPolicyDocument, Secret, SecretName};

use crate::directory::FileProblem;

/// One difference to what a source told before.
///
/// Changes come in batches (`Vec<Change>`): first what is gone, then what is new or different in the order in which it
/// stands in the source, then [`Change::Problems`] and [`Change::InitialLoadDone`]. What is new claims its hosts in
/// that order. Each object is in a batch at most once.
#[derive(Debug, Clone)]
pub enum Change {
    /// An AuthConfig that is new, or different from the one of the same namespace and name that was told before. Its
    /// document may have problems; then the last good one goes on being served.
    AuthConfig(Arc<AuthConfigObject>),
    /// An AuthConfig was removed, or is no longer one of those that this server is to serve.
    AuthConfigGone {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// An AuthorizationPolicy that is new, or different from the one of the same name that was told before. Its document
    /// may have problems; then the last good one goes on being served.
    AuthorizationPolicy(Arc<AuthorizationPolicyObject>),
    /// An AuthorizationPolicy was removed, or is no longer one of those that this server is to serve.
    AuthorizationPolicyGone {
        /// `metadata.name`
        name: String,
    },
    /// A Secret that is new, or different from the one of the same namespace and name that was told before.
    Secret(Arc<Secret>),
    /// A Secret was removed.
    SecretGone {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// A Secret with the labels that keys and authorities must have, new or different. Its key or authority counts from
    /// now on; nobody can name it. Sources that tell of Secrets in this way tell of named ones with
    /// [`Change::NamedSecret`].
    LabelledSecret(Arc<Secret>),
    /// A Secret that was told as [`Change::LabelledSecret`] was removed, or has lost the labels.
    LabelledSecretGone {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// What a Secret that AuthConfigs name is now. Its key or authority, if it holds any, does not count by this.
    NamedSecret {
        /// Which Secret.
        name: SecretName,
        /// The Secret. None: there is none of that name.
        secret: Option<Arc<Secret>>,
    },
    /// Everything that is wrong in the source now; replaces what was told before. An empty list: all is well.
    Problems(Arc<[FileProblem]>),
    /// Everything that is in the source at the start was told, this batch included. Told once.
    InitialLoadDone,
}

/// An AuthConfig and where it comes from.
#[derive(Debug, Clone)]
pub struct AuthConfigObject {
    /// The AuthConfig, or what is wrong with it.
    ///
    /// The name of a document that has none is made up of the file and the line, so that its hosts can be claimed all
    /// the same; no object of the user can have such a name.
    pub document: AuthConfigDocument,
    /// The file that it was read from, as the user would name it. None if it comes from elsewhere.
    pub file: Option<PathBuf>,
}

/// An AuthorizationPolicy and where it comes from.
#[derive(Debug, Clone)]
pub struct AuthorizationPolicyObject {
    /// The AuthorizationPolicy, or what is wrong with it. One without a name is named like an AuthConfig without one.
    pub document: AuthorizationPolicyDocument,
    /// The file that it was read from, as the user would name it. None if it comes from elsewhere.
    pub file: Option<PathBuf>,
}
