//! What is shared by all plans and outlives them: connections, key sets, API keys.
//!
//! A resource is keyed by its configuration, kept up to date in the background, and used by plans through handles.

pub mod api_keys;
pub mod authorities;
pub(crate) mod background;
pub mod client_credentials;
pub(crate) mod external_policies;
pub mod http;
pub(crate) mod in_use;
pub mod jwks;
pub mod kubernetes;
pub mod oidc;
pub mod spicedb;
pub mod uma;

use std::{io, sync::Arc, time::Duration};

use usher_api::Selector;

use crate::authorization::opa::external::Registry as RegoRegistry;

/// The resources of one process.
#[derive(Debug)]
pub struct Resources {
    /// The API keys of all Secrets.
    pub api_keys: Arc<api_keys::ApiKeys>,
    /// The certificates of authorities of all Secrets.
    pub authorities: Arc<authorities::Authorities>,
    /// Issuers and key sets for JSON Web Tokens.
    pub issuers: Arc<oidc::Issuers>,
    /// Tokens with which rules show who asks.
    pub tokens: Arc<client_credentials::Tokens>,
    /// Connections to SpiceDB.
    pub spicedb: spicedb::Servers,
    /// The Kubernetes API.
    pub kubernetes: kubernetes::Kubernetes,
    /// Servers of User-Managed Access.
    pub uma: Arc<uma::UmaServers>,
    /// Policies that are downloaded.
    pub(crate) external_policies: Arc<external_policies::ExternalPolicies<RegoRegistry>>,
    /// The client for everything outbound.
    pub http: http::Client,
}

impl Resources {
    /// The resources of a process that calls others with `http`, and takes API keys and authorities from Secrets with
    /// labels that match `watched`. There is no Kubernetes API until one is set.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn new(http: http::Client, watched: Selector) -> io::Result<Self> {
        Ok(Self {
            api_keys: Arc::new(api_keys::ApiKeys::new(watched.clone())?),
            authorities: Arc::new(authorities::Authorities::new(watched)),
            issuers: Arc::new(oidc::Issuers::new(http.clone())),
            uma: Arc::new(uma::UmaServers::new(http.clone())),
            spicedb: spicedb::Servers::new(&http),
            kubernetes: kubernetes::Kubernetes::default(),
            tokens: Arc::new(client_credentials::Tokens::new(http.clone())),
            external_policies: Arc::new(external_policies::ExternalPolicies::new()),
            http,
        })
    }

    /// Waits until everything that is fetched in the background was fetched, or that was tried once. False if that
    /// takes longer than `at_most`.
    pub async fn wait_first_attempts(&self, at_most: Duration) -> bool {
        let all = tokio::join!(
            self.issuers.wait_first_attempts(at_most),
            self.uma.wait_first_attempts(at_most),
            self.external_policies.wait_first_attempts(at_most),
        );
        all.0 && all.1 && all.2
    }
}
