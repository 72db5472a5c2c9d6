//! What is shared by all plans and outlives them: connections, key sets, API keys.
//!
//! A resource is keyed by its configuration, kept up to date in the background, and used by plans through handles.

pub mod api_keys;
pub mod http;
pub mod jwks;
pub mod oidc;

use std::sync::Arc;

/// The resources of one process.
#[derive(Debug)]
pub struct Resources {
    /// The API keys of all Secrets.
    pub api_keys: Arc<api_keys::ApiKeys>,
    /// Issuers and key sets for JSON Web Tokens.
    pub issuers: Arc<oidc::Issuers>,
    /// The client for everything outbound.
    pub http: http::Client,
}
